"""Delay pattern: how parallel codebooks become one sequence of positions.

A frame's codes are spread over several positions, each codebook later than the ones it builds on. Position 0
holds no codes; at position s codebook k holds those of frame ``s - 1 - delays[k]``:

    position     0   1   2   3   4   5   6
    codebook 0   .   a0  a1  a2  .   .   .
    codebook 1   .   .   b0  b1  b2  .   .
    codebook 2   .   .   .   c0  c1  c2  .
    codebook 3   .   .   .   .   d0  d1  d2

Dots are the language model's own token of open places.

References
----------
.. [1] Copet et al., "Simple and Controllable Music Generation", NeurIPS 2023.
"""

from __future__ import annotations

import numpy as np

UNKNOWN = -1
"""Marks codes that are not made yet."""


def delays(codebooks: int) -> np.ndarray:
    """Return the delay of each codebook, in positions [codebooks].

    Mono models have 4 codebooks, stereo models 8: left and right in turn, each pair with one delay.

    Raises
    ------
    ValueError
        If there are neither 4 nor 8.

    Examples
    --------
    >>> delays(8)
    array([0, 0, 1, 1, 2, 2, 3, 3])
    """
    if codebooks not in {4, 8}:
        raise ValueError(f"there is no delay pattern for {codebooks} codebooks")
    return np.arange(codebooks) // (codebooks // 4)


def positions(frames: int, codebooks: int) -> int:
    """Count the positions of a sequence of frames, the first included; the last needs no pass of its own."""
    return frames + int(delays(codebooks)[-1]) + 1


def spread(codes: np.ndarray, first: int, last: int, frames: int, filler: int) -> np.ndarray:
    """Return what the codebooks hold at positions [first, last).

    Parameters
    ----------
    codes : np.ndarray [..., codebooks, at least frames]
        The codes, `UNKNOWN` where there is none yet.
    first, last : int
        The positions, at most ``positions(frames, codebooks)``.
    frames : int
        The length of the sequence: later frames are open places, too.
    filler : int
        The token of open places.

    Returns
    -------
    np.ndarray [..., last - first, codebooks]

    Raises
    ------
    ValueError
        If one of the codes is not known yet.
    """
    codebooks = codes.shape[-2]
    frame = np.arange(first, last)[:, None] - 1 - delays(codebooks)
    inside = (frame >= 0) & (frame < frames)
    taken = codes[..., np.arange(codebooks), np.clip(frame, 0, frames - 1)]
    if (taken[..., inside] == UNKNOWN).any():
        raise ValueError(f"codes of positions {first} to {last - 1} are not known yet")
    return np.where(inside, taken, filler).astype(np.int64)


def place(codes: np.ndarray, position: int, frames: int, tokens: np.ndarray) -> None:
    """Put the tokens of a position where they belong; known codes and open places stay as they are.

    Parameters
    ----------
    codes : np.ndarray [codebooks, at least frames]
        The codes, which are changed.
    position, frames : int
        See `spread`.
    tokens : np.ndarray [codebooks]
        A token for each codebook.
    """
    codebooks = np.arange(len(codes))
    frame = position - 1 - delays(len(codes))
    free = (frame >= 0) & (frame < frames)
    free[free] = codes[codebooks[free], frame[free]] == UNKNOWN
    codes[codebooks[free], frame[free]] = tokens[free]
