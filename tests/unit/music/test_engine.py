"""The operations of the CPU engine against numpy, and the promise that a result has one value."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.special import erf

from music.engine import library, ops
from music.engine.packing import PRECISIONS, Tensors, Weight, WeightsError, pack, write
from tests.benchmarks import floor

SHAPES = [(1, 70, 33), (2, 256, 64), (7, 100, 64), (8, 64, 1), (9, 130, 17), (300, 448, 40)]


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_linear_is_a_product(shape: tuple[int, int, int], precision: str) -> None:
    rows, inputs, outputs = shape
    x, bias, residual = normal(rows, inputs), normal(outputs, seed=1), normal(rows, outputs, seed=2)
    weight = pack(normal(outputs, inputs, seed=3), precision)
    expected = x @ weight.unpack().T + bias
    found = ops.linear(x, weight, bias=bias, residual=residual)
    np.testing.assert_allclose(found, expected + residual, atol=4e-4 * expected.std(), rtol=0)
    found = ops.linear(x, weight, bias=bias, activation="relu")
    np.testing.assert_allclose(found, np.maximum(expected, 0), atol=4e-4 * expected.std(), rtol=0)
    found = ops.linear(x, weight, bias=bias, activation="relu", residual=residual)
    np.testing.assert_allclose(found, np.maximum(expected, 0) + residual, atol=4e-4 * expected.std(), rtol=0)
    found = ops.linear(x, weight, bias=bias, activation="relu", residual=residual, activate_sum=True)
    np.testing.assert_allclose(found, np.maximum(expected + residual, 0), atol=4e-4 * expected.std(), rtol=0)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_row_does_not_depend_on_its_batch(precision: str) -> None:
    x, weight = normal(137, 192), pack(normal(80, 192, seed=1), precision, np.array([5, 64, 191]))
    together = ops.linear(x, weight)
    for rows in (1, 2, 3, 5, 8, 16):
        parts = [ops.linear(x[start : start + rows], weight) for start in range(0, len(x), rows)]
        assert np.array_equal(np.concatenate(parts), together)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("columns", [None, np.array([0, 100])])
def test_what_one_layer_hands_to_the_next_is_what_two_products_give(
    precision: str, columns: np.ndarray | None
) -> None:
    for inputs, between, outputs in ((64, 192, 40), (2112, 128, 64), (96, 100, 32)):
        inner = pack(normal(between, inputs), precision)
        outer = pack(
            normal(outputs, between, seed=1), precision, None if columns is None else columns % between
        )
        for rows in (1, 2, 5, 8, 9):
            x, y = normal(rows, inputs, seed=rows), normal(rows, outputs, seed=2)
            expected = ops.linear(ops.linear(x, inner, activation="gelu"), outer, residual=y)
            found = ops.feed_forward(
                x,
                inner,
                outer,
                activation="gelu",
                hidden=np.empty((rows, between), np.float32),
                residual=y,
                out=y,
            )
            assert np.array_equal(found, expected)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_columns_apart_are_exact_and_leave_the_others_their_scale(
    shape: tuple[int, int, int], precision: str
) -> None:
    rows, inputs, outputs = shape
    columns = np.array([inputs - 1, 3, 0, 40])
    x, matrix = normal(rows, inputs), normal(outputs, inputs, seed=3)
    x[:, columns] *= 1000
    matrix[:, columns] /= 1000
    weight = pack(matrix, precision, columns)
    assert weight.columns is not None
    assert weight.columns.tolist() == sorted(columns)
    np.testing.assert_array_equal(weight.unpack()[:, columns], matrix[:, columns])
    others = np.delete(np.arange(inputs), columns)
    x_others, matrix_others = x.copy(), matrix.copy()
    x_others[:, columns] = matrix_others[:, columns] = 0
    plain = pack(matrix_others, precision)
    np.testing.assert_array_equal(weight.unpack()[:, others], plain.unpack()[:, others])
    expected = ops.linear(x_others, plain) + x[:, columns] @ matrix[:, columns].T
    np.testing.assert_allclose(ops.linear(x, weight), expected, atol=2e-6 * expected.std() + 1e-5)


def test_no_columns_are_as_none() -> None:
    for columns in (None, np.empty(0, np.int64)):
        assert pack(normal(4, 64), "int8", columns).columns is None
    assert pack(normal(4, 64), "float32", np.array([3])).columns is None


@pytest.mark.parametrize("precision", PRECISIONS)
def test_packing_keeps_what_the_precision_can_hold(precision: str) -> None:
    matrix = normal(50, 100)
    error = np.sqrt(np.mean((pack(matrix, precision).unpack() - matrix) ** 2))
    assert error <= {"float32": 0.0, "int8": 0.007, "int4": 0.11}[precision]


def test_packing_survives_zeros_and_refuses_the_rest() -> None:
    zeros = np.zeros((20, 64), np.float32)
    zeros[3, 5] = 1e-9  # far below the smallest scale
    assert not pack(zeros, "int8").unpack().any()
    with pytest.raises(WeightsError, match="not finite"):
        pack(np.array([[np.nan]], np.float32), "int8")
    with pytest.raises(WeightsError, match="shape"):
        pack(np.zeros(3, np.float32))
    with pytest.raises(WeightsError, match="int3"):
        pack(zeros, "int3")


def test_a_convolution_is_a_product_over_windows() -> None:
    signal, kernel = normal(50, 6), normal(4, 6, 3, seed=1)  # [time, channels], [out, in, taps]
    weight = pack(kernel.transpose(0, 2, 1).reshape(4, -1))
    windows = np.lib.stride_tricks.as_strided(signal, (24, 18), (2 * 6 * 4, 4))
    expected = np.einsum("twc,ocw->to", np.stack([signal[2 * t : 2 * t + 3] for t in range(24)]), kernel)
    np.testing.assert_allclose(ops.linear(windows, weight), expected, atol=1e-5)


def test_activations() -> None:
    x = np.linspace(-20, 20, 40_001, dtype=np.float32)
    np.testing.assert_allclose(ops.unary(x, "gelu"), x / 2 * (1 + erf(x / 2**0.5)), atol=2e-6)
    np.testing.assert_allclose(ops.unary(x, "elu"), np.where(x > 0, x, np.expm1(x)), atol=2e-7)
    np.testing.assert_array_equal(ops.unary(x, "relu"), np.maximum(x, 0))


def test_norms() -> None:
    x, gain, shift = normal(11, 70) * 3 + 5, normal(70, seed=1), normal(70, seed=2)
    centred = x - x.mean(1, keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5) * gain + shift
    np.testing.assert_allclose(ops.norm(x, gain, shift), expected, atol=2e-5)
    expected = x / np.sqrt((x**2).mean(1, keepdims=True) + 1e-6) * gain
    np.testing.assert_allclose(ops.norm(x, gain, epsilon=1e-6, root_mean_square=True), expected, atol=2e-5)


def attention(qkv: np.ndarray, heads: int, bias: np.ndarray | None, causal: bool) -> np.ndarray:
    sequences, length, _ = qkv.shape
    q, k, v = (
        part.reshape(sequences, length, heads, -1).transpose(0, 2, 1, 3) for part in np.split(qkv, 3, axis=2)
    )
    scores = q @ k.transpose(0, 1, 3, 2) * q.shape[-1] ** -0.5
    if bias is not None:
        scores = scores + bias[np.arange(sequences) % len(bias)]
    if causal:
        scores[..., ~np.tri(length, dtype=bool)] = -np.inf
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return (weights @ v).transpose(0, 2, 1, 3).reshape(sequences * length, -1)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 2e-6), ("int8", 0.03)])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("size", [24, 64, 80])
def test_attention(precision: str, tolerance: float, causal: bool, size: int) -> None:
    sequences, length, heads = 3, 37, 2
    width = heads * size
    qkv, bias = normal(sequences, length, 3 * width), normal(2, heads, length, length, seed=1)
    flat = qkv.reshape(sequences * length, -1)
    for used in (None, bias):
        cache = ops.Cache(sequences, heads, size, length, precision)
        q, k, v = flat[:, :width], flat[:, width : 2 * width], flat[:, 2 * width :]
        found = ops.attend(q, cache, k, v, scale=size**-0.5, causal=causal, bias=used)
        np.testing.assert_allclose(found, attention(qkv, heads, used, causal), atol=tolerance)


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize(("size", "length"), [(32, 45), (50, 45), (64, 45), (64, 1100)])
def test_attention_step_by_step_is_attention_at_once(precision: str, size: int, length: int) -> None:
    sequences, heads = 2, 3
    width = heads * size
    qkv = normal(sequences, length, 3 * width)

    def attend(cache: ops.Cache, part: np.ndarray) -> np.ndarray:
        flat = np.ascontiguousarray(part).reshape(-1, 3 * width)
        q, k, v = flat[:, :width], flat[:, width : 2 * width], flat[:, 2 * width :]
        out = ops.attend(q, cache, k, v, scale=size**-0.5, causal=True)
        cache.lengths += part.shape[1]
        return out.reshape(sequences, -1, width)

    at_once = attend(ops.Cache(sequences, heads, size, length, precision), qkv)
    for pieces in ([1] * length, [7, 30, length - 37], [length - 1, 1]):
        cache = ops.Cache(sequences, heads, size, length, precision)
        ends = np.cumsum(pieces)
        parts = [attend(cache, qkv[:, end - piece : end]) for end, piece in zip(ends, pieces, strict=True)]
        assert np.array_equal(np.concatenate(parts, axis=1), at_once)


def test_a_sequence_without_keys_attends_to_zeros() -> None:
    cache = ops.Cache(2, 1, 16, 5)
    cache.put(1, normal(3, 16), np.full((3, 16), 7, np.float32))
    found = ops.attend(normal(2, 16), cache, scale=1.0)
    assert not found[0].any()
    np.testing.assert_allclose(found[1], 7, rtol=1e-6)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 2e-6), ("int16", 1e-4)])
@pytest.mark.parametrize("sequences", [1, 2, 3, 7])
def test_lstm(precision: str, tolerance: float, sequences: int) -> None:
    units, steps = 32, 9
    gates, recurrent = normal(steps, sequences, 4 * units), normal(4 * units, units, seed=1) / 4
    hidden, cell = normal(sequences, units, seed=2), normal(sequences, units, seed=3)

    def sigmoid(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    expected, h, c = [], hidden.copy(), cell.copy()
    for step in gates:
        i, f, g, o = np.split(step + h @ recurrent.T, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        expected.append(h)
    order = ops.interleave_gates(np.arange(4 * units)[:, None])[:, 0]
    gates = np.ascontiguousarray(gates[:, :, order])
    weight = pack(ops.interleave_gates(recurrent), precision)
    before = hidden.copy(), cell.copy()
    found = ops.lstm(gates, weight, hidden, cell)
    np.testing.assert_allclose(found, np.stack(expected), atol=tolerance)
    np.testing.assert_allclose(hidden, expected[-1], atol=tolerance)
    np.testing.assert_allclose(cell, c, atol=tolerance)
    for sequence in range(sequences):  # alone, and in two parts
        state = [part[sequence : sequence + 1].copy() for part in before]
        one = np.ascontiguousarray(gates[:, sequence : sequence + 1])
        alone = [ops.lstm(part, weight, *state) for part in np.split(one, [4])]
        assert np.array_equal(np.concatenate(alone)[:, 0], found[:, sequence])


def test_int16_is_all_but_exact_and_not_for_linear_layers() -> None:
    matrix = normal(50, 100)
    matrix[7] = 0
    matrix[8, 0] = 1e6
    error = np.abs(pack(matrix, "int16").unpack() - matrix)
    assert (error <= 0.51 / 32767 * np.abs(matrix).max(axis=1, keepdims=True)).all()
    with pytest.raises(ValueError, match="int16"):
        ops.linear(normal(1, 100), pack(matrix, "int16"))


def test_what_is_not_a_number_stays_seen() -> None:
    x = normal(3, 64)
    x[1, 5] = np.nan
    for precision in PRECISIONS:
        for columns in (None, np.array([5]), np.array([6])):
            found = ops.linear(x, pack(normal(16, 64), precision, columns), activation="gelu")
            assert np.isnan(found[1]).all()
            assert np.isfinite(found[[0, 2]]).all()
    for precision in ("float32", "int8"):
        cache = ops.Cache(3, 1, 64, 1, precision)
        found = ops.attend(x, cache, x, x, scale=1.0)
        assert np.isnan(found[1]).any()
        assert np.isfinite(found[[0, 2]]).all()


@pytest.mark.parametrize("activation", ["relu", "gelu", "elu"])
def test_no_activation_makes_a_number_of_what_is_none(activation: str) -> None:
    x = normal(40)
    x[::3] = np.nan
    assert np.array_equal(np.isnan(ops.unary(x, activation)), np.isnan(x))


@pytest.mark.parametrize("gate", range(4))
def test_no_gate_makes_a_number_of_what_is_none(gate: int) -> None:
    weight, gates = pack(normal(64, 16)), normal(1, 1, 64)
    gates[0, 0, 16 * gate : 16 * gate + 8] = np.nan
    hidden = ops.lstm(gates, weight, np.zeros((1, 16), np.float32), np.zeros((1, 16), np.float32))
    assert np.array_equal(np.isnan(hidden[0, 0]), np.arange(16) < 8)


def test_whoever_observes_sees_what_goes_into_every_linear_layer_of_this_thread() -> None:
    x, weight = normal(2, 64), pack(normal(64, 64, seed=1))
    seen = []

    def observe(given: np.ndarray, matrix: Weight) -> None:
        seen.append((given.copy(), matrix))
        ops.linear(given, matrix)  # is not shown

    with ops.observing(observe):
        ops.linear(x, weight, residual=x, out=x)
        ops.norm(x, np.ones(64, np.float32))
    ops.linear(x, weight)
    ((given, matrix),) = seen
    inner, outer = pack(normal(128, 64), "int8"), pack(normal(64, 128), "int8")
    hidden, out = np.empty((2, 128), np.float32), normal(2, 64)
    with ops.observing(lambda given, matrix: seen.append((given.copy(), matrix))):
        ops.feed_forward(x, inner, outer, activation="relu", hidden=hidden, residual=out, out=out)
    assert [matrix for _, matrix in seen] == [weight, inner, outer]
    np.testing.assert_array_equal(seen[2][0], ops.linear(x, inner, activation="relu"))
    np.testing.assert_array_equal(given, normal(2, 64))
    assert matrix is weight


def test_a_recorded_program_runs_on_what_its_arrays_hold() -> None:
    x, weight = normal(2, 64), pack(normal(32, 64, seed=1))
    with ops.recording() as program:
        y = ops.linear(ops.unary(x, "relu"), weight)
    for seed in (5, 6):
        x[:] = normal(2, 64, seed=seed)
        program.run()
        assert np.array_equal(y, ops.linear(np.maximum(x, 0), weight))


def test_a_probe_reads_and_computes_whole_multiples() -> None:
    data = np.ones(2 * ops.PROBED, np.int8)
    with ops.recording() as program:
        ops.probe(data)
        ops.probe(data, ops.PROBED)
    program.run()
    reads, dots = (arrays[1] for arrays in program._kept)
    assert reads is not None
    assert dots is not None
    assert reads.tolist() == [0x01010101 * (ops.PROBED // 64) % 2**32] * 2
    assert dots.tolist() == [2 * 257 * 257 * ops.PROBED % 2**32]
    for wrong in (lambda: ops.probe(data[1:]), lambda: ops.probe(data, 1), lambda: ops.probe(data[::2])):
        with pytest.raises(ValueError, match="multiple"):
            wrong()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_floor_counts_the_bytes_of_weights_and_caches(precision: str) -> None:
    weight = pack(normal(48, 128), precision, np.array([3, 7]) if precision != "float32" else None)
    cache = ops.Cache(2, 2, 24, 160, "int8" if precision == "int8" else "float32")
    cache.lengths[:] = 159
    with ops.recording() as program:
        q = ops.linear(normal(2, 128), weight)
        ops.attend(q, cache, q, q, scale=1.0, causal=True)
    parts = (weight.data, weight.scales, weight.apart, cache.keys, cache.scales)
    values = cache.values[..., :24].nbytes
    need = floor.work(program)
    assert need.bytes == values + sum(0 if part is None else part.nbytes for part in parts)
    linear = 0 if precision == "float32" else 2 * 48 * 128 / 32
    attend = 2 * 2 * 2 * 160 * 24 / 32 if precision == "int8" else 0
    assert need.dots == linear + attend


@pytest.mark.parametrize("wrong", ["width", "type", "stride", "bias", "out", "capacity", "causal"])
def test_shapes_are_checked_before_memory_is_touched(wrong: str) -> None:
    weight, x = pack(normal(8, 64)), normal(2, 64)
    cache = ops.Cache(1, 1, 64, 4)
    calls = {
        "width": lambda: ops.linear(x[:, :63], weight),
        "type": lambda: ops.linear(x.astype(np.float64), weight),
        "stride": lambda: ops.linear(normal(2, 128)[:, ::2], weight),
        "bias": lambda: ops.linear(x, weight, bias=normal(9)),
        "out": lambda: ops.linear(x, weight, out=normal(3, 8)),
        "capacity": lambda: ops.attend(normal(17, 64), cache, normal(17, 64), normal(17, 64), scale=1.0),
        "causal": lambda: ops.attend(normal(2, 64), cache, scale=1.0, causal=True),
    }
    with pytest.raises(ValueError, match=r"\w"):
        calls[wrong]()


SCRIPT = """
import hashlib, numpy as np
from music.engine import ops
from music.engine.packing import pack
draw = np.random.default_rng(0)
digest = hashlib.sha256()
for precision in ("float32", "int8", "int4"):
    for rows in (1, 2, 4, 9, 100):
        x = draw.standard_normal((rows, 320)).astype(np.float32)
        apart = np.array([0, 70, 319]) if rows != 4 else None
        w = pack(draw.standard_normal((100, 320)).astype(np.float32), precision, apart)
        h = ops.norm(ops.linear(x, w, activation="gelu"), np.ones(100, np.float32))
        if precision != "int4":
            cache = ops.Cache(rows, 2, 50, 3, precision)
            h = ops.attend(h, cache, h, h, scale=0.1)
        digest.update(ops.unary(h, "elu").tobytes())
for precision in ("float32", "int8"):  # a cache that grows step by step, its lengths unlike
    for sequences, size in ((1, 64), (2, 64), (8, 50)):
        cache = ops.Cache(sequences, 3, size, 160, precision)
        cache.lengths[:] = np.arange(sequences) * 9
        for _ in range(90):
            q, k, v = draw.standard_normal((3, sequences, 3 * size)).astype(np.float32)
            digest.update(ops.attend(q, cache, k, v, scale=size**-0.5, causal=True).tobytes())
            cache.lengths += 1
for rows in (1, 2, 3, 5, 8, 12, 17):  # products of many items, wide and long
    for inputs, outputs in ((64, 1600), (2112, 304), (320, 1000)):
        w = pack(draw.standard_normal((outputs, inputs)).astype(np.float32), "int8")
        digest.update(ops.linear(draw.standard_normal((rows, inputs)).astype(np.float32), w).tobytes())
for rows in (1, 2, 8):  # what one product hands to the next
    x = draw.standard_normal((rows, 320)).astype(np.float32)
    w = [pack(draw.standard_normal(shape).astype(np.float32), "int8") for shape in ((704, 320), (320, 704))]
    hidden = np.empty((rows, 704), np.float32)
    h = ops.feed_forward(x, *w, activation="gelu", hidden=hidden, residual=x, out=np.empty_like(x))
    digest.update(h.tobytes())
for precision in ("float32", "int16"):
    w = pack(draw.standard_normal((256, 64)).astype(np.float32) / 8, precision)
    shapes = (7, 64), (7, 64), (5, 7, 256)
    h, c, gates = (draw.standard_normal(shape).astype(np.float32) for shape in shapes)
    digest.update(ops.lstm(gates, w, h, c).tobytes())
print(digest.hexdigest())
"""


def test_results_do_not_depend_on_threads_or_instruction_set() -> None:
    """The same bytes from one thread, three and nine, from the widest vectors and the narrowest."""

    def run(variant: str, threads: int) -> str:
        environment = os.environ | {
            "PYTHONPATH": str(Path(ops.__file__).parents[2]),
            "ENGINE_VARIANT": variant,
            "ENGINE_THREADS": str(threads),
        }
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    digests = {run(variant, threads) for variant in library.supported() for threads in (1, 3, 9)}
    assert len(digests) == 1


@pytest.mark.parametrize("name", ["Linear", "Norm", "Attend", "Unary", "Lstm", "Gather", "Probe"])
def test_the_structures_of_python_are_those_of_c(name: str) -> None:
    """Field by field: the same names in the same order, integers, addresses and floats alike."""
    source = library.SOURCE.read_text()
    end = source.index(f"}} {name};")
    body = re.sub(r"/\*.*?\*/", "", source[source.rindex("typedef struct ", 0, end) : end], flags=re.S)
    declared = []
    for kind, star, names in re.findall(
        r"(?:const )?(int64_t|int32_t|int8_t|_Float16|float|void) (\*?)([^;]+);", body
    ):
        address = {"*": ctypes.c_void_p, "": {"int64_t": ctypes.c_int64, "float": ctypes.c_float}.get(kind)}[
            star
        ]
        declared += [(field.strip(" *"), address) for field in names.split(",")]
    mirror = getattr(ops, f"_{name}")
    assert declared == [*ops._Op._fields_, *mirror._fields_]


@pytest.mark.parametrize(
    ("megabytes", "wanted"), [("512", 1), ("1769", 1), ("2048", 1), ("3008", 2), ("5307", 3), ("10240", 6)]
)
def test_threads_follow_the_memory_of_a_function_on_lambda(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, megabytes: str, wanted: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
    environment = {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": megabytes}
    assert library.processors(tmp_path / "none", environment) == 6  # the local stack sets that, too
    environment["AWS_LAMBDA_RUNTIME_API"] = "127.0.0.1:9001"
    assert library.processors(tmp_path / "none", environment) == wanted


@pytest.mark.parametrize(
    ("time", "wanted"), [("max", 6), ("50000", 1), ("100000", 1), ("140000", 1), ("170000", 2), ("", 6)]
)
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("group", ["", "outer", "outer/inner", "seen/from/elsewhere"])
def test_threads_follow_the_quota_of_a_group_and_of_those_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, time: str, wanted: int, version: int, group: str
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
    (tmp_path / "membership").write_text(
        f"0::/{group}\n" if version == 2 else f"4:memory:/\n2:cpu,cpuacct:/{group}\n0::/\n"
    )
    top = tmp_path / "cpu" if version == 1 else tmp_path
    quota = top / "outer" if group.startswith("outer") else top
    (top / "outer" / "inner").mkdir(parents=True)
    if version == 2:
        (quota / "cpu.max").write_text(f"{time} 100000" if time else "")
        (top / "outer" / "inner" / "cpu.max").write_text("max 100000")
    else:
        (quota / "cpu.cfs_quota_us").write_text("-1\n" if time == "max" else time)
        (quota / "cpu.cfs_period_us").write_text("100000\n")
    assert library.processors(tmp_path, {}, tmp_path / "membership") == wanted
    assert library.processors(tmp_path / "none", {}, tmp_path / "membership") == 6
    assert library.processors(tmp_path, {}, tmp_path / "none") == 6


def test_the_matrix_unit_is_used_where_the_kernel_grants_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = sorted(set().union(*library._FLAGS["x86_64"].values()))
    (tmp_path / "cpuinfo").write_text(f"model name\t: x\nflags\t\t: {' '.join(flags)}\n")
    monkeypatch.setattr(library, "architecture", lambda: "x86_64")
    others = ["avx512", "avxvnni", "avx2"]
    for granted, expected in ((True, ["amx", *others]), (False, others)):
        monkeypatch.setattr(library, "_tiles_granted", lambda granted=granted: granted)
        assert library.supported(tmp_path / "cpuinfo") == expected


def test_a_processor_without_wide_vectors_may_have_their_dot_products(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "architecture", lambda: "x86_64")
    for more, expected in (("avx_vnni", ["avxvnni", "avx2"]), ("", ["avx2"])):
        (tmp_path / "cpuinfo").write_text(f"flags\t\t: fpu sse4_2 avx2 fma f16c bmi2 {more}\n")
        assert library.supported(tmp_path / "cpuinfo") == expected


def test_a_library_of_another_source_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "version", lambda: "0" * 16)
    with pytest.raises(ops.EngineError, match="another source"):
        ops._Engine()
    monkeypatch.setattr(library, "path", lambda variant: Path("nowhere.so"))
    with pytest.raises(ops.EngineError, match="is missing"):
        ops._Engine()


def test_an_image_needs_neither_the_source_nor_the_compiler(tmp_path: Path) -> None:
    engine = tmp_path / "music" / "engine"
    engine.mkdir(parents=True)
    for name in (
        "__init__.py",
        "library.py",
        "memory.py",
        "ops.py",
        "packing.py",
        "safetensors.py",
        "bundle.py",
    ):
        shutil.copy(library.FOLDER / name, engine)
    for path in library.FOLDER.glob("*.so"):
        shutil.copy(path, engine)
    code = (
        "import numpy as np; from music.engine import bundle, ops; ops.unary(np.ones(3, np.float32), 'elu')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_variant_that_does_not_run_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_VARIANT", "altivec")
    with pytest.raises(ops.EngineError, match="altivec"):
        ops._Engine()


@pytest.mark.parametrize("copied", [False, True])
def test_a_file_of_weights_gives_back_what_was_written(tmp_path: Path, copied: bool) -> None:
    tensors: dict[str, np.ndarray | Weight] = {
        "a": normal(3, 5), "b": np.arange(7, dtype=np.int32), "half": normal(9).astype(np.float16),
        **{precision: pack(normal(20, 70), precision) for precision in PRECISIONS},
        "columns": pack(normal(20, 70), "int8", np.array([1, 69])),
    }  # fmt: skip
    write(tmp_path / "one", tensors, {"layers": 2})
    write(tmp_path / "two", dict(reversed(tensors.items())), {"layers": 2})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    read = Tensors(tmp_path / "one", copied)
    assert read.metadata == {"layers": 2}
    for name in ("a", "b", "half"):
        assert np.array_equal(read.array(name), np.asarray(tensors[name]))
    for name in (*PRECISIONS, "columns"):
        weight = read.weight(name)
        expected = tensors[name]
        assert isinstance(expected, Weight)
        assert np.array_equal(weight.unpack(), expected.unpack())
        assert weight.data.ctypes.data % 64 == 0
    with pytest.raises(WeightsError, match="no tensor c"):
        read.array("c")
    with pytest.raises(WeightsError, match="no matrix a"):
        read.weight("a")


@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "longer", "header"])
def test_a_damaged_file_of_weights_is_refused_by_name(tmp_path: Path, damage: str, copied: bool) -> None:
    path = tmp_path / "net.safetensors"
    if damage != "missing":
        write(path, {"a": normal(3, 5)})
        data = path.read_bytes()
        path.write_bytes(
            {"empty": b"", "cut": data[:-1], "longer": data + b"x", "header": data[:8] + b"x" + data[9:]}[
                damage
            ]
        )
    with pytest.raises(WeightsError, match=r"net\.safetensors"):
        Tensors(path, copied)
