"""The embedder of the built-in profile, on sound made here; the benchmark judges it on real music."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from music import profiles
from music.mir512 import embedder
from music.mir512.embedder import Mir512

RATE = embedder.SAMPLE_RATE


def piece(seed: int, seconds: float = 20.0) -> np.ndarray:
    """Music of a kind: a scale, an instrument, a tempo and a drum of its own, and notes that never repeat."""
    style = np.random.default_rng(seed)
    tonic, beat = style.integers(36, 60), 60.0 / style.uniform(70, 150)
    scale = (0, 2, 4, 5, 7, 9, 11) if style.random() < 0.5 else (0, 2, 3, 5, 7, 8, 10)
    partials = style.uniform(0.1, 1.0, 8) ** 2 / np.arange(1, 9) ** style.uniform(0.3, 1.5)
    decay, drum_level, drum_decay = style.uniform(1, 10), style.uniform(0, 0.3), style.uniform(20, 200)
    notes = np.random.default_rng(seed + 1000)
    t = np.arange(int(1.2 * RATE)) / RATE
    instrument = {}
    for pitch in (tonic + step + octave for step in scale for octave in (0, 12)):
        frequency = 440.0 * 2 ** ((pitch - 69) / 12)
        sound = sum(level * np.sin(2 * np.pi * k * frequency * t) for k, level in enumerate(partials, 1))
        instrument[pitch] = 0.1 * sound * np.exp(-decay * t)
    y = np.zeros(int((seconds + 2) * RATE))
    for index, start in enumerate(np.arange(0.0, seconds, beat / 2)):
        hit = notes.standard_normal(len(t)) * np.exp(-drum_decay * t) * (index % 2 == 0) * drum_level
        pitch = tonic + scale[notes.integers(7)] + 12 * notes.integers(2)
        y[int(start * RATE) :][: len(t)] += instrument[pitch] + hit
    return y[: int(seconds * RATE)].astype(np.float32)


@pytest.fixture(scope="module")
def pieces() -> list[np.ndarray]:
    return [piece(seed, 24.0) for seed in range(12)]


@pytest.fixture(scope="module")
def vectors(pieces: list[np.ndarray]) -> np.ndarray:
    return np.array([Mir512().embed(y) for y in pieces])


def test_it_is_what_the_profile_declares() -> None:
    embedder = Mir512()
    assert embedder.identity == profiles.MIR_512
    assert embedder.identity.id.startswith("mir-512/")
    assert (embedder.dimension, embedder.sample_rate) == (512, 22050)


def test_other_constants_need_another_revision() -> None:
    """Vectors of different constants must not meet: the revision is the beginning of their hash."""
    digest = hashlib.sha256(embedder.CONSTANTS.read_bytes()).hexdigest()
    assert profiles.MIR_512.revision == digest[:12]
    assert embedder.CONSTANTS.stat().st_size < 1_500_000


def test_the_constants_say_what_they_were_fitted_on() -> None:
    with np.load(embedder.CONSTANTS, allow_pickle=False) as stored:
        assert {name.split("/")[0] for name in stored["tracks"]} == {"supertux-data"}
        assert stored["projection"].shape == (697, 511)
        assert all(np.isfinite(stored[name]).all() for name in ("mean", "scale", "centre", "projection"))


def test_vectors_are_of_unit_length(vectors: np.ndarray) -> None:
    assert vectors.dtype == np.float32
    assert vectors.shape == (12, 512)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)


def test_either_half_of_a_piece_finds_the_other(pieces: list[np.ndarray]) -> None:
    half = 12 * RATE
    one = np.array([Mir512().embed(y[:half]) for y in pieces])
    other = np.array([Mir512().embed(y[half:]) for y in pieces])
    assert np.array_equal(np.argmax(one @ other.T, axis=1), np.arange(len(pieces)))


def test_a_rearrangement_finds_its_source(pieces: list[np.ndarray], vectors: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    for index, y in enumerate(pieces):
        starts = rng.integers(0, len(y) - RATE, 12)
        shuffled = np.concatenate([y[start : start + RATE] for start in starts])
        cosines = vectors @ Mir512().embed(shuffled)
        assert int(np.argmax(cosines)) == index


def test_unlike_pieces_are_apart(vectors: np.ndarray) -> None:
    cosines = (vectors @ vectors.T)[np.triu_indices(len(vectors), 1)]
    assert np.median(cosines) < 0.6
    assert cosines.max() < 0.97


@pytest.mark.parametrize("gain", [0.5, 0.01, 30.0])
def test_level_does_not_matter(gain: float, pieces: list[np.ndarray], vectors: np.ndarray) -> None:
    for y, vector in list(zip(pieces, vectors, strict=True))[:3]:
        assert Mir512().embed(y * np.float32(gain)) @ vector > 0.999


def test_a_little_noise_does_not_matter(pieces: list[np.ndarray], vectors: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    for y, vector in list(zip(pieces, vectors, strict=True))[:4]:
        noisy = y + (y.std() * 10 ** (-50 / 20) * rng.standard_normal(len(y))).astype(np.float32)
        assert Mir512().embed(noisy) @ vector > 0.98


def test_how_often_a_piece_is_repeated_does_not_matter(pieces: list[np.ndarray], vectors: np.ndarray) -> None:
    assert Mir512().embed(np.tile(pieces[0], 4)) @ vectors[0] > 0.97


def test_silence_is_like_silence_alone(vectors: np.ndarray) -> None:
    silence = Mir512().embed(np.zeros(5 * RATE, dtype=np.float32))
    dither = (np.random.default_rng(0).integers(-1, 2, 5 * RATE) / 32768).astype(np.float32)
    expected = np.zeros(512, dtype=np.float32)
    expected[-1] = 1.0
    np.testing.assert_array_equal(silence, expected)
    np.testing.assert_array_equal(Mir512().embed(dither), expected)
    np.testing.assert_array_equal(Mir512().embed(np.zeros(0, dtype=np.float32)), expected)
    assert not (vectors @ silence).any()


def test_silence_around_a_piece_does_not_matter(pieces: list[np.ndarray], vectors: np.ndarray) -> None:
    gap = np.zeros(20 * RATE, dtype=np.float32)
    assert Mir512().embed(np.concatenate([gap, pieces[1], gap])) @ vectors[1] > 0.9


@pytest.mark.parametrize("n", [1, 2, 511, 512, 2048, RATE, 5 * RATE, 6 * RATE + 1])
def test_any_length_has_a_vector(n: int, pieces: list[np.ndarray]) -> None:
    for y in (pieces[2][1000 : 1000 + n], np.ones(n, dtype=np.float32)):
        vector = Mir512().embed(y)
        assert np.isfinite(vector).all()
        assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-5)


def test_noise_has_a_vector() -> None:
    noise = np.random.default_rng(0).standard_normal(20 * RATE).astype(np.float32)
    one, other = Mir512().embed(noise[: 10 * RATE]), Mir512().embed(noise[10 * RATE :])
    assert np.linalg.norm(one) == pytest.approx(1.0, abs=1e-5)
    assert one @ other > 0.7


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_sound_is_refused(bad: float) -> None:
    y = np.zeros(RATE, dtype=np.float32)
    y[5] = bad
    with pytest.raises(ValueError, match="finite"):
        Mir512().embed(y)
    with pytest.raises(ValueError, match="shape"):
        Mir512().embed(np.zeros((1, 2, RATE), dtype=np.float32))


_PROGRAM = """
import hashlib, numpy as np
from music.mir512.embedder import Mir512
from music.features import measure
y = np.random.default_rng(3).standard_normal(30 * 22050).astype(np.float32)
y *= (np.arange(len(y)) % 11025 < 3000)
print(hashlib.sha256(Mir512().embed(y).tobytes()).hexdigest(), measure(y, -20.0))
"""


def test_the_bytes_do_not_depend_on_threads_or_runs() -> None:
    answers = set()
    for threads in ("1", "2", "4"):
        environment = os.environ | {
            "OPENBLAS_NUM_THREADS": threads,
            "OMP_NUM_THREADS": threads,
            "PYTHONPATH": os.pathsep.join(["layers", os.environ.get("PYTHONPATH", "")]),
        }
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM], env=environment, capture_output=True, text=True, check=True
        )
        answers.add(done.stdout)
    assert len(answers) == 1


def test_nothing_slow_is_imported() -> None:
    program = "import sys, music.mir512.embedder, music.features; print(*sys.modules)"
    environment = os.environ | {"PYTHONPATH": "layers"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & {"scipy", "librosa", "numba", "sklearn", "torch", "av"}
