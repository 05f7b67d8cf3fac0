"""Waiting for what other threads and processes do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_SECONDS = 900.0
"""When a wait is given up. It only ends a hang: no test is faster, slower or stricter for it."""


def eventually(
    ask: Callable[[], T],
    until: Callable[[T], object] = bool,
    *,
    every: float = 0.05,
    patience: float = PATIENCE_SECONDS,
) -> T:
    """Ask until the answer is the awaited one, and return it.

    Parameters
    ----------
    ask : callable
        Gives the answer of now.
    until : callable
        Whether an answer is the awaited one. By default it is one that is true.
    every : float
        Seconds between two questions.
    patience : float
        Seconds until the wait is given up.

    Raises
    ------
    AssertionError
        It did not happen; with the end of the last answer.
    """
    deadline = time.monotonic() + patience
    while not until(answer := ask()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {patience:.0f} s; the last answer was {repr(answer)[-3000:]}")
        time.sleep(every)
    return answer
