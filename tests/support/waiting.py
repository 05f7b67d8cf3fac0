"""Waiting for what other threads and processes do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_SECONDS = 300.0
"""When a wait is given up. It only ends a hang: no test is faster, slower or stricter for it."""


def eventually(condition: Callable[[], T], every: float = 0.05, patience: float = PATIENCE_SECONDS) -> T:
    """Wait until something is true, and return it.

    Parameters
    ----------
    condition : callable
        Is asked until its answer is true.
    every : float
        Seconds between two questions.
    patience : float
        Seconds until the wait is given up.

    Raises
    ------
    AssertionError
        It did not happen; with the last answer.
    """
    deadline = time.monotonic() + patience
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"did not happen within {patience:.0f} s; the last answer was {answer!r}")
        time.sleep(every)
    return answer
