"""What no step of a network can be faster than: the bytes that it reads and the products that it computes.

Both are counted from the recorded operations, and held against what the same threads reach in the same run.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from music.engine import ops

_BUFFER = 512 << 20  # more than a step reads, so that it stays in no cache
_DOTS = 1000 * ops.PROBED


class Work(NamedTuple):
    """What operations need, or a machine does in a second.

    Attributes
    ----------
    bytes : float
        Bytes of weights, scales and caches. Activations stay in a cache: they are a few hundred kB.
    dots : float
        Times that 16 sums get a product of two pairs of integers.
    """

    bytes: float
    dots: float

    def seconds(self, machine: Work) -> float:
        """Return the least time that the machine needs."""
        return max(self.bytes / machine.bytes, self.dots / machine.dots)


def measure(repeats: int = 5) -> Work:
    """Measure what the engine's threads do in a second: the best of some repeats."""
    data = np.ones(_BUFFER, np.int8)
    return Work(
        len(data) / _least(lambda: ops.probe(data), repeats),
        _DOTS / _least(lambda: ops.probe(data[: ops.PROBED], _DOTS), repeats),
    )


def _least(work: Callable[[], object], repeats: int) -> float:
    took = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        took.append(time.perf_counter() - begun)
    return min(took)


def work(program: ops.Program) -> Work:
    """Count what the operations of a program need at the lengths that its caches have now."""
    total = np.zeros(2)
    for op in program._list:
        if isinstance(op, ops._Linear):
            total += _linear(op)
        elif isinstance(op, ops._Attend):
            total += _attend(op)
    return Work(*map(float, total))


def _linear(op: ops._Linear) -> tuple[float, float]:
    blocks = -(-op.outputs // 16)
    if not op.group:
        return 64 * blocks * op.inputs, 0
    groups = -(-op.inputs // op.group)
    pairs = groups * op.group / 2
    size = 32 if op.precision == ops._PRECISIONS["int8"] else 16  # bytes of a pair of inputs for 16 outputs
    # Of the matrix unit, which does the tall products, the rate is not measured: bytes are their floor.
    unit = ops.variant() == "amx" and op.rows > 8 and size == 32
    return blocks * (pairs * size + 32 * groups + 64 * op.columns), 0 if unit else op.rows * blocks * pairs


def _attend(op: ops._Attend) -> tuple[float, float]:
    lengths = np.ctypeslib.as_array((ctypes.c_int32 * op.sequences).from_address(op.lengths))
    keys = float(lengths.sum(dtype=np.int64)) + op.sequences * op.new_keys
    elements = 2 * op.heads * op.size * keys  # of keys and of values
    if op.precision == ops._PRECISIONS["float32"]:
        return 4 * elements, 0
    return elements + 8 * op.heads * keys, op.queries * elements / 32
