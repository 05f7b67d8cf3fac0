"""Schedules by time: a stage is given seconds, not steps, and ends well whatever the machine does in them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable


class Budget:
    """The time of a stage.

    Parameters
    ----------
    seconds : float
        From now on.
    clock : callable
        Returns seconds.

    Examples
    --------
    >>> now = iter([0.0, 30.0])
    >>> Budget(60.0, lambda: next(now)).spent()
    0.5
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        if not seconds > 0:
            raise ValueError(f"a stage needs time, not {seconds} s")
        self.seconds, self._clock = seconds, clock
        self._began = clock()

    def spent(self) -> float:
        """Share of the time that is over, 0 to 1 or more."""
        return (self._clock() - self._began) / self.seconds

    def elapsed(self) -> float:
        """Seconds that are over."""
        return self._clock() - self._began


def warm(step: int, steps: int) -> float:
    """Rise from nearly 0 to 1 within the first `steps` steps."""
    return min(1.0, (step + 1) / steps)


def cosine(spent: float, hold: float = 0.0, floor: float = 0.0) -> float:
    """Fall from 1 to `floor` along half a cosine, after `hold` of the time.

    Examples
    --------
    >>> cosine(0.1, hold=0.2), round(cosine(0.6, hold=0.2), 3), cosine(1.5, floor=0.02)
    (1.0, 0.5, 0.02)
    """
    part = min(1.0, max(0.0, (spent - hold) / (1.0 - hold)))
    return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * part))
