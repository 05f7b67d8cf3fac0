from __future__ import annotations

import numpy as np
import pytest

from music import similarity


def test_embedding_is_the_cosine_without_its_negative_half() -> None:
    a, b = np.array([1.0, 0.0]), np.array([1.0, 1.0])
    assert similarity.embedding(a, b) == pytest.approx(0.5**0.5)
    assert similarity.embedding(a, 5 * a) == 1.0
    assert similarity.embedding(a, -a) == 0.0
    assert similarity.embedding(a, np.zeros(2)) == 0.0


def test_chroma_takes_the_best_transposition() -> None:
    major = np.array([1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0], dtype=np.float32)
    minor = np.array([1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0], dtype=np.float32)
    for shift in range(12):
        assert similarity.chroma(major, np.roll(major, shift)) == pytest.approx(1.0)
    assert similarity.chroma(major, minor) == pytest.approx(2 / 3)
    assert similarity.chroma(major, np.zeros(12)) == 0.0


@pytest.mark.parametrize(
    ("a", "b", "score"),
    [
        (120, 120, 1.0),
        (120, 60, 1.0),
        (60, 240, 1.0),
        (120, 120 * 2**0.25, 2**-0.25),
        (120, 120 * 2**0.5, 2**-0.5),
        (120, 120 * 2**0.75, 2**-0.25),
        (0, 0, 1.0),
        (0, 120, 0.0),
        (120, 0, 0.0),
    ],
)
def test_tempo_is_octave_aware(a: float, b: float, score: float) -> None:
    assert similarity.tempo(a, b) == pytest.approx(score)
    assert similarity.tempo(b, a) == pytest.approx(score)
