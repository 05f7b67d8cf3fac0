"""The operations of the engine on numpy arrays.

Every array is float32 with adjacent elements in its last axis; rows may have any stride. What an operation
computes does not depend on the number of threads, nor a row on the rows beside it.

An operation runs at once, or, inside `recording`, is noted and runs whenever the recorded program does: a
decode step is recorded once and then replayed on the same arrays without Python in between.

Examples
--------
>>> weight = pack(np.eye(2, dtype=np.float32))
>>> linear(np.array([[1.0, 2.0]], np.float32), weight)
array([[1., 2.]], dtype=float32)
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np

from music.engine import library
from music.engine.memory import zeros
from music.engine.packing import GROUPS, LANES, Weight, pack

__all__ = [
    "Cache", "EngineError", "attend", "feed_forward", "gather", "linear", "lstm", "norm", "observing", "pack",
    "probe", "recording", "unary",
]  # fmt: skip

_PRECISIONS = {"float32": 0, "int8": 1, "int4": 2}
_ACTIVATIONS = {None: 0, "relu": 1, "gelu": 2, "elu": 3}


class EngineError(Exception):
    """The engine cannot run here: its library is missing or old, or there is no memory."""


_LINEAR, _NORM, _ATTEND, _UNARY, _LSTM, _GATHER, _PROBE = range(7)
_INTEGER, _POINTER = ctypes.c_int64, ctypes.c_void_p


class _Op(ctypes.Structure):
    """An operation: the structures of kernels.c field by field; what they mean is said there."""

    _fields_ = [("kind", _INTEGER)]


class _Linear(_Op):
    _fields_ = [
        ("rows", _INTEGER), ("inputs", _INTEGER), ("outputs", _INTEGER),
        ("x_stride", _INTEGER), ("y_stride", _INTEGER), ("residual_stride", _INTEGER),
        ("precision", _INTEGER), ("group", _INTEGER),
        ("activation", _INTEGER), ("activate_sum", _INTEGER),
        ("x", _POINTER), ("weights", _POINTER), ("scales", _POINTER),
        ("columns", _INTEGER), ("column", _POINTER), ("apart", _POINTER),
        ("bias", _POINTER), ("residual", _POINTER), ("y", _POINTER),
        ("given", _POINTER), ("handed", _POINTER),
    ]  # fmt: skip


class _Norm(_Op):
    _fields_ = [
        ("rows", _INTEGER), ("width", _INTEGER),
        ("x_stride", _INTEGER), ("y_stride", _INTEGER),
        ("root_mean_square", _INTEGER),
        ("x", _POINTER), ("gain", _POINTER), ("shift", _POINTER), ("y", _POINTER),
        ("epsilon", ctypes.c_float),
    ]  # fmt: skip


class _Attend(_Op):
    _fields_ = [
        ("sequences", _INTEGER), ("queries", _INTEGER), ("heads", _INTEGER),
        ("size", _INTEGER), ("capacity", _INTEGER), ("new_keys", _INTEGER),
        ("precision", _INTEGER), ("causal", _INTEGER),
        ("q_stride", _INTEGER), ("kv_stride", _INTEGER), ("y_stride", _INTEGER),
        ("biases", _INTEGER), ("bias_stride", _INTEGER),
        ("q", _POINTER), ("k", _POINTER), ("v", _POINTER),
        ("keys", _POINTER), ("values", _POINTER), ("scales", _POINTER),
        ("lengths", _POINTER), ("bias", _POINTER), ("y", _POINTER),
        ("scale", ctypes.c_float),
    ]  # fmt: skip


class _Unary(_Op):
    _fields_ = [
        ("count", _INTEGER), ("activation", _INTEGER),
        ("x", _POINTER), ("y", _POINTER),
    ]  # fmt: skip


class _Lstm(_Op):
    _fields_ = [
        ("steps", _INTEGER), ("sequences", _INTEGER),
        ("units", _INTEGER), ("int16", _INTEGER),
        ("gates", _POINTER), ("recurrent", _POINTER), ("scales", _POINTER),
        ("hidden", _POINTER), ("cell", _POINTER), ("y", _POINTER),
    ]  # fmt: skip


class _Gather(_Op):
    _fields_ = [
        ("rows", _INTEGER), ("width", _INTEGER),
        ("x_stride", _INTEGER), ("y_stride", _INTEGER),
        ("x", _POINTER), ("index", _POINTER), ("y", _POINTER),
    ]  # fmt: skip


class _Probe(_Op):
    _fields_ = [
        ("bytes", _INTEGER), ("dots", _INTEGER),
        ("data", _POINTER), ("sums", _POINTER),
    ]  # fmt: skip


class _Engine:
    """The loaded library and its threads."""

    def __init__(self) -> None:
        wanted = os.environ.get("ENGINE_VARIANT")
        variants = library.supported()
        if wanted and wanted not in variants:
            raise EngineError(
                f"ENGINE_VARIANT {wanted!r} does not run here; what does: {', '.join(variants)}"
            )
        if not variants:
            raise EngineError(f"no variant of the engine runs on this {library.architecture()} processor")
        self.variant = wanted or variants[0]
        path = library.path(self.variant)
        if not path.exists():
            raise EngineError(f"{path.name} is missing: python -m music.engine.build makes it")
        kernels = ctypes.CDLL(str(path))
        kernels.engine_version.restype = ctypes.c_char_p
        if library.version() not in (None, kernels.engine_version().decode()):
            raise EngineError(f"{path.name} is of another source: python -m music.engine.build makes it anew")
        kernels.engine_open.restype = ctypes.c_void_p
        kernels.engine_open.argtypes = [ctypes.c_int]
        kernels.engine_run.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
        self._kernels = kernels
        self.threads = int(os.environ.get("ENGINE_THREADS") or library.processors())
        self._pool = kernels.engine_open(self.threads)
        if not self._pool:
            raise EngineError(f"no pool of {self.threads} threads")
        self._lock = threading.Lock()

    def run(self, ops: ctypes.Array[ctypes.c_void_p], count: int) -> None:
        """Run operations; `ops` are their addresses."""
        with self._lock:
            if self._kernels.engine_run(self._pool, ops, count):
                raise EngineError("no memory for the engine's scratch")


@cache
def _engine() -> _Engine:
    return _Engine()


def variant() -> str:
    """Name the instruction set in use, such as ``avx512``."""
    return _engine().variant


def threads() -> int:
    """Count the threads in use: ``ENGINE_THREADS``, or as many as there are processors for the process."""
    return _engine().threads


class Program:
    """A recorded list of operations.

    It keeps every array that they use; `run` computes them all again, in order, on what the arrays hold then.
    """

    def __init__(self) -> None:
        self._list: list[_Op] = []
        self._kept: list[tuple[np.ndarray | None, ...]] = []
        self._addresses: ctypes.Array[ctypes.c_void_p] | None = None

    def run(self) -> None:
        """Run the operations."""
        if self._addresses is None:
            self._addresses = (_POINTER * len(self._list))(*map(ctypes.addressof, self._list))
        _engine().run(self._addresses, len(self._list))


_recorder = threading.local()


@contextmanager
def recording() -> Iterator[Program]:
    """Note this thread's operations instead of running them.

    Arrays that the operations return are then written by `Program.run`; what numpy computes in between is
    computed once, now, and not by the program.
    """
    program = Program()
    _recorder.program = program
    try:
        yield program
    finally:
        _recorder.program = None


@contextmanager
def observing(observe: Callable[[np.ndarray, Weight], object]) -> Iterator[None]:
    """Show every linear layer that this thread runs: what goes in [shape=(rows, inputs)], and its weights.

    It is how weights are judged when a bundle is made; `observe` may compute linear layers, which are not
    shown to it.
    """

    def once(x: np.ndarray, weight: Weight) -> None:
        _recorder.observe = None
        try:
            observe(x, weight)
        finally:
            _recorder.observe = once

    _recorder.observe = once
    try:
        yield
    finally:
        _recorder.observe = None


def _submit(op: _Op, *arrays: np.ndarray | None) -> None:
    """Run an operation or note it; `arrays` are what it points to, which a program has to keep."""
    program: Program | None = getattr(_recorder, "program", None)
    if program is None:
        _engine().run(_One(ctypes.addressof(op)), 1)
    else:
        program._list.append(op)
        program._kept.append(arrays)


_One = _POINTER * 1


def _at(array: np.ndarray | None) -> int | None:
    """Give the address of an array's first element, NULL for none."""
    return None if array is None else array.ctypes.data


def _rows(array: np.ndarray, name: str) -> int:
    """Check a matrix of rows and return its row stride in elements."""
    if array.ndim != 2 or array.dtype != np.float32 or (array.shape[1] > 1 and array.strides[1] != 4):
        raise ValueError(
            f"{name} must be float32 rows, not {array.dtype} {array.shape} with strides {array.strides}"
        )
    return array.strides[0] // 4


def _vector(array: np.ndarray | None, size: int, name: str) -> None:
    if array is not None and (
        array.shape != (size,) or array.dtype != np.float32 or not array.flags.c_contiguous
    ):
        raise ValueError(f"{name} must be {size} contiguous float32, not {array.dtype} {array.shape}")


def linear(
    x: np.ndarray,
    weight: Weight,
    *,
    bias: np.ndarray | None = None,
    activation: str | None = None,
    residual: np.ndarray | None = None,
    activate_sum: bool = False,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Compute ``residual + activation(x @ W.T + bias)``, or ``activation(residual + x @ W.T + bias)``.

    Parameters
    ----------
    x : np.ndarray [shape=(rows, inputs)]
        Its rows may overlap: a one-dimensional convolution is a linear layer over windows of its signal
        (``np.lib.stride_tricks.as_strided``), the taps of a kernel side by side.
    weight : Weight
        With integer weights, activations are quantised to 16 bits for each row and group of inputs, but for
        those of its `columns`.
    bias : np.ndarray [shape=(outputs,)], optional
    activation : {"relu", "gelu", "elu"}, optional
        The activation; gelu is the exact one, with erf.
    residual : np.ndarray [shape=(rows, outputs)], optional
        What is added; it may be `out` itself.
    activate_sum : bool
        Whether to compute the second form.
    out : np.ndarray [shape=(rows, outputs)], optional
        The array to write into, which must not be `x`.

    Returns
    -------
    np.ndarray [shape=(rows, outputs)]
    """
    op, out = _linear(x, weight, bias, activation, residual, activate_sum, out)
    if len(x):
        # What is seen is what goes in: `out` may be `residual`, which the product replaces.
        if observe := getattr(_recorder, "observe", None):
            observe(x, weight)
        _submit(op, x, weight.data, weight.scales, weight.columns, weight.apart, bias, residual, out)
    return out


def feed_forward(
    x: np.ndarray,
    inner: Weight,
    outer: Weight,
    *,
    activation: str,
    hidden: np.ndarray,
    residual: np.ndarray,
    out: np.ndarray,
) -> np.ndarray:
    """Compute ``residual + activation(x @ inner.T) @ outer.T``, as two calls of `linear` do.

    A few rows are handed from the first product to the second as the 16-bit integers that it takes: whoever
    makes 64 of them quantises them at once, and half as many bytes pass from one core to another.

    Parameters
    ----------
    x : np.ndarray [shape=(rows, inputs)]
    inner, outer : Weight
    activation : {"relu", "gelu", "elu"}
    hidden : np.ndarray [shape=(rows, inner.outputs)], contiguous
        Memory for what is in between. What it holds then is not said.
    residual : np.ndarray [shape=(rows, outer.outputs)]
        What is added; it may be `out` itself.
    out : np.ndarray [shape=(rows, outer.outputs)]
        The array to write into, which must not be `x`.

    Returns
    -------
    np.ndarray [shape=(rows, outer.outputs)]
    """
    handed = (
        0 < len(x) <= _FEW
        and outer.precision != "float32"
        and outer.group == _HANDED
        and outer.columns is None
        and inner.outputs % _HANDED == 0
        and hidden.flags.c_contiguous
        and not getattr(_recorder, "observe", None)
    )
    if not handed:
        linear(x, inner, activation=activation, out=hidden)
        return linear(hidden, outer, residual=residual, out=out)
    first, _ = _linear(x, inner, None, activation, None, False, hidden)
    second, _ = _linear(hidden, outer, None, None, residual, False, out)
    first.handed = second.given = _at(hidden)
    _submit(first, x, inner.data, inner.scales, inner.columns, inner.apart, hidden)
    _submit(second, hidden, outer.data, outer.scales, residual, out)
    return out


_FEW, _HANDED = 8, 64
"""Rows that are handed over, at most, and outputs that share a scale: FEW and MOST_GROUP of kernels.c."""


def _linear(
    x: np.ndarray,
    weight: Weight,
    bias: np.ndarray | None,
    activation: str | None,
    residual: np.ndarray | None,
    activate_sum: bool,
    out: np.ndarray | None,
) -> tuple[_Linear, np.ndarray]:
    """Check what `linear` is given; return the operation, and what it writes into."""
    stride = _rows(x, "x")
    if weight.precision not in _PRECISIONS:
        raise ValueError(f"{weight.precision} weights are not for a linear layer")
    if x.shape[1] != weight.inputs:
        raise ValueError(f"x has {x.shape[1]} inputs, the weights have {weight.inputs}")
    if weight.group != GROUPS[weight.precision]:
        raise ValueError(
            f"{weight.precision} weights have groups of {GROUPS[weight.precision]}, not {weight.group}"
        )
    _vector(bias, weight.outputs, "bias")
    if out is None:
        out = np.empty((len(x), weight.outputs), np.float32)
    if out.shape != (len(x), weight.outputs) or (residual is not None and residual.shape != out.shape):
        raise ValueError(f"out and residual must have the shape {(len(x), weight.outputs)}")
    op = _Linear(
        _LINEAR,
        rows=len(x), inputs=weight.inputs, outputs=weight.outputs,
        x_stride=stride, y_stride=_rows(out, "out"),
        residual_stride=0 if residual is None else _rows(residual, "residual"),
        precision=_PRECISIONS[weight.precision], group=weight.group,
        activation=_ACTIVATIONS[activation], activate_sum=activate_sum,
        x=_at(x), weights=_at(weight.data), scales=_at(weight.scales),
        columns=0 if weight.columns is None else len(weight.columns),
        column=_at(weight.columns), apart=_at(weight.apart),
        bias=_at(bias), residual=_at(residual), y=_at(out),
    )  # fmt: skip
    return op, out


def norm(
    x: np.ndarray,
    gain: np.ndarray,
    shift: np.ndarray | None = None,
    *,
    epsilon: float = 1e-5,
    root_mean_square: bool = False,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Normalise each row: layer norm (Ba et al. 2016), or root mean square norm (Zhang and Sennrich 2019).

    Parameters
    ----------
    x : np.ndarray [shape=(rows, width)]
    gain, shift : np.ndarray [shape=(width,)]
    epsilon : float
        What is added to the variance.
    root_mean_square : bool
        Whether to leave the mean in.
    out : np.ndarray [shape=(rows, width)], optional
        The array to write into, which may be `x`.
    """
    width = x.shape[1]
    _vector(gain, width, "gain")
    _vector(shift, width, "shift")
    if out is None:
        out = np.empty(x.shape, np.float32)
    if out.shape != x.shape:
        raise ValueError(f"out must have the shape {x.shape}")
    if len(x):
        op = _Norm(
            _NORM,
            rows=len(x), width=width, x_stride=_rows(x, "x"), y_stride=_rows(out, "out"),
            root_mean_square=root_mean_square, epsilon=epsilon,
            x=_at(x), gain=_at(gain), shift=_at(shift), y=_at(out),
        )  # fmt: skip
        _submit(op, x, gain, shift, out)
    return out


class Cache:
    """Keys and values of an attention, in the kernels' layout.

    Parameters
    ----------
    sequences, heads, size : int
        How many of each there are; `size` is the width of a head.
    capacity : int
        How many positions there is room for.
    precision : {"float32", "int8"}
        int8 has a scale for each position and head, so that nothing needs calibration.
    lengths : np.ndarray [shape=(sequences,), int32], optional
        Positions that are filled, at first none. The caller raises it after what was appended has been
        computed; caches that grow together can share it.
    """

    def __init__(
        self,
        sequences: int,
        heads: int,
        size: int,
        capacity: int,
        precision: str = "float32",
        lengths: np.ndarray | None = None,
    ) -> None:
        capacity = -(-capacity // LANES) * LANES
        self.sequences, self.heads, self.size, self.capacity = sequences, heads, size, capacity
        self.precision = precision
        dtype = {"float32": np.float32, "int8": np.int8}[precision]
        if size % 2:
            raise ValueError(f"the size of a head must be even, not {size}")
        self.keys = zeros((sequences, heads, capacity // LANES, size, LANES), dtype)
        self.values = zeros((sequences, heads, capacity, -(-size // LANES) * LANES), dtype)
        self.scales = zeros((sequences, heads, 2, capacity), np.float32) if precision == "int8" else None
        self.lengths = np.zeros(sequences, np.int32) if lengths is None else lengths

    def put(self, sequence: int, k: np.ndarray, v: np.ndarray) -> None:
        """Fill one sequence of a float32 cache from the start.

        Parameters
        ----------
        sequence : int
        k, v : np.ndarray [shape=(positions, heads * size)]
        """
        if self.precision != "float32" or len(k) > self.capacity:
            raise ValueError(f"only a float32 cache of at least {len(k)} positions can be filled")
        split = (len(k), self.heads, self.size)
        keys = np.zeros((self.capacity, self.heads, self.size), np.float32)
        keys[: len(k)] = k.reshape(split)
        self.keys[sequence] = keys.reshape(-1, LANES, self.heads, self.size).transpose(2, 0, 3, 1)
        self.values[sequence, :, : len(k), : self.size] = v.reshape(split).transpose(1, 0, 2)
        self.lengths[sequence] = len(k)


def attend(
    q: np.ndarray,
    cache: Cache,
    k: np.ndarray | None = None,
    v: np.ndarray | None = None,
    *,
    scale: float,
    causal: bool = False,
    bias: np.ndarray | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Attend to the keys and values of a cache, after appending new ones.

    Parameters
    ----------
    q : np.ndarray [shape=(sequences * queries, heads * size)]
        The queries of the first sequence, then of the next.
    cache : Cache
        What it holds up to its `lengths` is seen. New keys and values go behind that; `lengths` stays.
    k, v : np.ndarray [shape=(sequences * new, heads * size)], optional
        The keys and values to append; their rows have equal strides.
    scale : float
        The factor of the scores, usually ``size ** -0.5``.
    causal : bool
        Query i of a sequence sees what was there and the first i + 1 of the new positions.
    bias : np.ndarray [shape=(1 or more, heads, queries, keys)], optional
        Added to the scores; sequence s takes number ``s % len(bias)``.
    out : np.ndarray [shape=(sequences * queries, heads * size)], optional

    Returns
    -------
    np.ndarray [shape=(sequences * queries, heads * size)]
        Zeros where a sequence has no keys.
    """
    width = cache.heads * cache.size
    queries, rest = divmod(len(q), cache.sequences)
    new, odd = divmod(0 if k is None else len(k), cache.sequences)
    if q.shape[1] != width or rest or odd or (k is None) != (v is None):
        raise ValueError(
            f"{q.shape} does not fit {cache.sequences} sequences of {cache.heads} x {cache.size}"
        )
    if (
        k is not None
        and v is not None
        and (k.shape != v.shape or k.shape[1] != width or k.strides != v.strides)
    ):
        raise ValueError("k and v must have the same shape and strides")
    if int(cache.lengths.max()) + new > cache.capacity:
        raise ValueError(f"the cache holds {cache.capacity} positions")
    if causal and new != queries:
        raise ValueError("a causal query comes with its own key and value")
    if bias is not None and (bias.dtype != np.float32 or not bias.flags.c_contiguous or bias.ndim != 4
                             or bias.shape[1:3] != (cache.heads, queries)):  # fmt: skip
        raise ValueError("bias must be contiguous float32 [sequences, heads, queries, keys]")
    if out is None:
        out = np.empty((len(q), width), np.float32)
    op = _Attend(
        _ATTEND,
        sequences=cache.sequences, queries=queries, heads=cache.heads, size=cache.size,
        capacity=cache.capacity, new_keys=new, precision=_PRECISIONS[cache.precision], causal=causal,
        q_stride=_rows(q, "q"), kv_stride=0 if k is None else _rows(k, "k"), y_stride=_rows(out, "out"),
        biases=1 if bias is None else len(bias), bias_stride=0 if bias is None else bias.shape[3],
        q=_at(q), k=_at(k), v=_at(v), keys=_at(cache.keys), values=_at(cache.values),
        scales=_at(cache.scales), lengths=_at(cache.lengths), bias=_at(bias), y=_at(out), scale=scale,
    )  # fmt: skip
    _submit(op, q, k, v, cache.keys, cache.values, cache.scales, cache.lengths, bias, out)
    return out


def unary(x: np.ndarray, activation: str, *, out: np.ndarray | None = None) -> np.ndarray:
    """Apply an activation (see `linear`) to each element of a contiguous array; `out` may be `x`."""
    if out is None:
        out = np.empty(x.shape, np.float32)
    if (
        x.dtype != np.float32
        or not x.flags.c_contiguous
        or not out.flags.c_contiguous
        or out.shape != x.shape
    ):
        raise ValueError("x and out must be contiguous float32 of one shape")
    if x.size:
        op = _Unary(_UNARY, count=x.size, activation=_ACTIVATIONS[activation], x=_at(x), y=_at(out))
        _submit(op, x, out)
    return out


def gather(x: np.ndarray, index: np.ndarray, *, out: np.ndarray | None = None) -> np.ndarray:
    """Compute ``x[index]``.

    Parameters
    ----------
    x : np.ndarray [shape=(any, width)]
    index : np.ndarray [shape=(rows,), int32]
        Rows of `x`. Checked now: inside `recording` it must stay as it is.
    out : np.ndarray [shape=(rows, width)], optional
        The array to write into, which must not be `x`.
    """
    if index.ndim != 1 or index.dtype != np.int32 or not index.flags.c_contiguous:
        raise ValueError("index must be contiguous int32")
    if len(index) and not 0 <= index.min() <= index.max() < len(x):
        raise ValueError(f"index points outside {len(x)} rows")
    if out is None:
        out = np.empty((len(index), x.shape[1]), np.float32)
    if out.shape != (len(index), x.shape[1]):
        raise ValueError(f"out must have the shape {(len(index), x.shape[1])}")
    if len(index):
        op = _Gather(
            _GATHER,
            rows=len(index), width=x.shape[1], x_stride=_rows(x, "x"), y_stride=_rows(out, "out"),
            x=_at(x), index=_at(index), y=_at(out),
        )  # fmt: skip
        _submit(op, x, index, out)
    return out


def lstm(gates: np.ndarray, recurrent: Weight, hidden: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Run the recurrent half of an LSTM layer (Hochreiter and Schmidhuber 1997).

    Parameters
    ----------
    gates : np.ndarray [shape=(steps, sequences, 4 * units)]
        What the input adds to the gates, both biases included. The outputs are interleaved: for each 16 units
        their 16 input, forget, cell and output gates (see `interleave_gates`).
    recurrent : Weight
        The weights of the state, float32 or int16, their outputs interleaved likewise. The number of units is
        a multiple of 16.
    hidden, cell : np.ndarray [shape=(sequences, units)]
        The state, replaced by the state after the last step.

    Returns
    -------
    np.ndarray [shape=(steps, sequences, units)]
    """
    units = recurrent.inputs
    if units % LANES or recurrent.outputs != 4 * units or recurrent.precision not in ("float32", "int16"):
        raise ValueError(
            "the recurrent weights must be float32 or int16, four outputs for each of 16 n inputs"
        )
    steps, sequences = gates.shape[0], len(hidden)
    for array, shape in (
        (gates, (steps, sequences, 4 * units)),
        *[(s, (sequences, units)) for s in (hidden, cell)],
    ):
        if array.shape != shape or array.dtype != np.float32 or not array.flags.c_contiguous:
            raise ValueError(f"contiguous float32 {shape} is needed, not {array.dtype} {array.shape}")
    out = np.empty((steps, sequences, units), np.float32)
    if out.size:
        op = _Lstm(
            _LSTM,
            steps=steps, sequences=sequences, units=units, int16=recurrent.precision == "int16",
            gates=_at(gates), recurrent=_at(recurrent.data), scales=_at(recurrent.scales),
            hidden=_at(hidden), cell=_at(cell), y=_at(out),
        )  # fmt: skip
        _submit(op, gates, recurrent.data, recurrent.scales, hidden, cell, out)
        hidden[:] = out[-1]
    return out


PROBED = 1 << 18
"""Bytes or dot products of which a `probe` takes whole multiples."""


def probe(data: np.ndarray, dots: int = 0) -> None:
    """Read memory, or compute dot products, as fast as this machine can: what benchmarks compare with.

    Parameters
    ----------
    data : np.ndarray [shape=(bytes,), int8]
        What is read once, a multiple of `PROBED`; or, where there are `dots`, what they are computed of.
    dots : int
        How many times 16 sums get another product of two pairs, a multiple of `PROBED`.
    """
    if data.dtype != np.int8 or not data.flags.c_contiguous or not data.size or data.size % PROBED:
        raise ValueError(f"data must be contiguous int8, a multiple of {PROBED}")
    if dots < 0 or dots % PROBED:
        raise ValueError(f"dots must be a multiple of {PROBED}, not {dots}")
    size = 0 if dots else data.size
    sums = np.empty((size + dots) // PROBED, np.int32)
    op = _Probe(_PROBE, bytes=size, dots=dots, data=_at(data), sums=_at(sums))
    _submit(op, data, sums)


def interleave_gates(rows: np.ndarray) -> np.ndarray:
    """Reorder the 4 * units rows of PyTorch's LSTM weights and biases as `lstm` takes them."""
    units = len(rows) // 4
    return np.ascontiguousarray(rows.reshape(4, units // LANES, LANES, -1).swapaxes(0, 1).reshape(rows.shape))
