"""Memory that is used at each step: weights, caches, activations."""

from __future__ import annotations

import math
import mmap
from contextlib import suppress
from typing import Any

import numpy as np


def pages(size: int) -> memoryview:
    """Allocate zeros, in pages as large as the system gives: what is read at each step is found sooner there.

    Parameters
    ----------
    size : int
        How many bytes, at least 1.
    """
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel without them: it is slower there, and nothing else
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(memory)


def zeros(shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
    """Allocate an array of zeros in such pages; it has at least one element.

    Examples
    --------
    >>> zeros((2, 3)).sum()
    np.float32(0.0)
    """
    return np.ndarray(shape, dtype, pages(math.prod(shape) * np.dtype(dtype).itemsize))
