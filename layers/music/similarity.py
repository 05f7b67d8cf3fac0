"""How alike two pieces of music are: the three scores that a generation reports, each from 0 to 1."""

from __future__ import annotations

import numpy as np


def embedding(a: np.ndarray, b: np.ndarray) -> float:
    """Cosine of two embeddings, negative ones counted as 0. This score alone chooses among candidates.

    Parameters
    ----------
    a, b : np.ndarray [shape=(dimension,)]
        Vectors of one identity; they need not be of unit length.

    Returns
    -------
    float
        From 0 to 1; 0 where one of the vectors is zero.
    """
    return _cosine(a, b)


def chroma(a: np.ndarray, b: np.ndarray) -> float:
    """Cosine of two mean chroma vectors, the best of the twelve transpositions of one of them.

    Parameters
    ----------
    a, b : np.ndarray [shape=(12,)]
        Strength of the pitch classes, not negative.

    Returns
    -------
    float
        From 0 to 1; 0 where one of the pieces has no pitch.
    """
    return max(_cosine(a, np.roll(b, shift)) for shift in range(12))


def tempo(a: float, b: float) -> float:
    """Compare two tempos as ``2 ** -d``, where d octaves are left of their ratio without whole octaves.

    Half and double tempo count as the same, so the lowest score, at half an octave, is 0.71.

    Parameters
    ----------
    a, b : float
        Beats per minute; 0 where there is no pulse.

    Returns
    -------
    float
        From 0.71 to 1; 1 where neither piece has a pulse, and 0 where only one has.

    Examples
    --------
    >>> tempo(60.0, 120.0)
    1.0
    """
    if a <= 0.0 or b <= 0.0:
        return float(a <= 0.0 and b <= 0.0)
    octaves = float(np.log2(a / b))
    return float(2.0 ** -abs(octaves - round(octaves)))


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Return the cosine of the angle between two vectors, clipped to 0 to 1; 0 where one of them is zero."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.clip(a @ b / norms, 0.0, 1.0)) if norms > 0.0 else 0.0
