"""Bars: the meter, and which beats are the first of a bar.

Beats come from `music.dsp.rhythm`. They may be twice or half as fast as a musician counts, so that a bar of
4/4 has 4 of them, 2 or 8. Every kind of bar that is known, in every phase, is a candidate of a multinomial
logit, and so is none. The weights are fitted on composed music of which the bars are known (``python -m
tests.benchmarks.fit_bars``). A Viterbi search then follows the bars through the track: a player may drop a
beat.

References
----------
.. [1] Klapuri, Eronen and Astola, "Analysis of the meter of acoustic musical signals", IEEE TASLP 14(1),
   2006.
.. [2] Goto, "An audio-based real-time beat tracking system for music with or without drum-sounds", J. New
   Music Research 30(2), 2001: changes of harmony tell where bars begin.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from music.dsp.harmony import chroma_from_salience
from music.dsp.rhythm import CURVES, PLACES, beat_shape

WEIGHTS = Path(__file__).with_name("bars.npz")

KINDS = (("4/4", 4), ("4/4", 2), ("4/4", 8), ("3/4", 3), ("3/4", 6), ("6/8", 2))
"""The kinds of bars that are known: meter, and beats found in a bar."""

CLUES = CURVES + 4
"""What is measured at each beat: onset strengths, and changes of harmony."""

_NEAR = 2  # frames to either side of a beat in which its onset is looked for
_BASS_NOTES = 22  # up to F#3
_WINDOW = 30.0  # seconds of music that are judged at once: the weights are fitted on as much
_FEWEST_BARS = 3
_SLIP = 6.0  # cost of a bar that is too short or too long, in logarithms of likelihood
_STEPS = tuple(range(1, PLACES))  # of a beat: whether it is divided by two or by three


@dataclass(frozen=True)
class Bars:
    """The bars of a track.

    Attributes
    ----------
    meter : str
        ``4/4``, ``3/4`` or ``6/8``.
    downbeats : list of float
        When bars begin, in seconds, ascending; each is one of the beats.
    confidence : float
        How likely meter and phase are, 0 to 1.
    """

    meter: str
    downbeats: list[float]
    confidence: float


@cache
def weights() -> dict[str, np.ndarray]:
    """Return the fitted weights: ``kinds`` [shape=(6, most clues)], and ``none``, the score of no bars."""
    with np.load(WEIGHTS, allow_pickle=False) as stored:
        return {name: stored[name].astype(np.float64) for name in stored.files}


def at_beats(curves: np.ndarray, salience: np.ndarray, frame_rate: float, beats: np.ndarray) -> np.ndarray:
    """Measure what marks a beat out.

    Parameters
    ----------
    curves : np.ndarray [shape=(CURVES, frames)]
        As `music.dsp.rhythm.onset_curves` gives them.
    salience : np.ndarray [shape=(NOTES, about frames / 2)]
        As `music.dsp.harmony.pitch_salience` gives it, with twice the hop.
    frame_rate : float
        Frames of `curves` per second.
    beats : np.ndarray [shape=(beats,)]
        In seconds, at least two.

    Returns
    -------
    np.ndarray [shape=(CLUES, beats), float64]
        Onset strengths, and how much the chroma changes there: of all notes and of the bass, from one beat to
        the next and over two; each over its own mean and deviation.
    """
    frames = np.clip(np.round(beats * frame_rate).astype(np.int64), 0, curves.shape[1] - 1)
    padded = np.pad(curves, ((0, 0), (_NEAR, _NEAR)))
    rows = list(np.max([padded[:, frames + k] for k in range(2 * _NEAR + 1)], axis=0))
    for notes in (salience, salience[:_BASS_NOTES]):
        chroma = _between(np.sqrt(chroma_from_salience(notes)), beats * frame_rate / 2.0)
        for beats_long in (1, 2):
            rows.append(_change(chroma, beats_long))
    found = np.array(rows, dtype=np.float64)
    found -= found.mean(axis=1, keepdims=True)
    return found / (found.std(axis=1, keepdims=True) + 1e-9)


def _between(chroma: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Mean chroma after each of some frames, up to the next [shape=(12, len(frames))]."""
    ends = np.clip(np.round(np.append(frames, 2 * frames[-1] - frames[-2])), 0, chroma.shape[1]).astype(int)
    sums = np.concatenate([np.zeros((12, 1)), np.cumsum(chroma, axis=1, dtype=np.float64)], axis=1)
    mean: np.ndarray = (sums[:, ends[1:]] - sums[:, ends[:-1]]) / np.maximum(np.diff(ends), 1)
    return mean


def _change(chroma: np.ndarray, reach: int) -> np.ndarray:
    """1 less the cosine between the chroma `reach` beats from each beat on and before it [shape=(beats,)]."""
    sums = np.cumsum(np.pad(chroma, ((0, 0), (reach + 1, reach))), axis=1)
    whole = sums[:, reach:] - sums[:, :-reach]
    before, after = whole[:, : chroma.shape[1]], whole[:, reach : reach + chroma.shape[1]]
    size = np.sqrt((before**2).sum(axis=0) * (after**2).sum(axis=0))
    change: np.ndarray = 1.0 - (before * after).sum(axis=0) / np.maximum(size, 1e-9)
    return np.where(size > 1e-9, change, 0.0)


def clues(found: np.ndarray, shape: np.ndarray, kind: int) -> np.ndarray:
    """Gather what speaks for a kind of bars in each phase.

    Parameters
    ----------
    found : np.ndarray [shape=(CLUES, beats)]
        As `at_beats` gives it.
    shape : np.ndarray [shape=(CURVES, PLACES)]
        As `music.dsp.rhythm.beat_shape` gives it.
    kind : int
        Of `KINDS`.

    Returns
    -------
    np.ndarray [shape=(beats in a bar, D), float64]
        For each place of the first beat in its bar: the means over bars at each place, from the downbeat on;
        then, the same for every phase, how like each other bars are, how beats are divided, and 1.
    """
    size = KINDS[kind][1]
    count = found.shape[1]
    places = np.arange(count) % size
    mean = np.stack([found[:, places == place].mean(axis=1) for place in range(size)], axis=1)
    likeness = [
        (found[:, lag:] * found[:, :-lag]).mean(axis=1) if lag < count else np.zeros(len(found))
        for lag in (size, 2 * size)
    ]
    shared = np.concatenate([*likeness, np.arcsinh(shape[0, list(_STEPS)]), [1.0]])
    rows = [np.concatenate([np.roll(mean, first, axis=1).T.ravel(), shared]) for first in range(size)]
    return np.array(rows)


def length(kind: int) -> int:
    """Return the number of clues of a kind of bars: D of `clues`."""
    return (KINDS[kind][1] + 2) * CLUES + len(_STEPS) + 1


def find_bars(curves: np.ndarray, salience: np.ndarray, frame_rate: float, beats: np.ndarray) -> Bars | None:
    """Find the bars, or none.

    Parameters
    ----------
    curves, salience, frame_rate
        As `at_beats` takes them.
    beats : np.ndarray [shape=(beats,)]
        In seconds, ascending.

    Returns
    -------
    Bars or None
        None where no kind of bars fits: without beats, in music of another meter, and in less than 3 bars.
    """
    if len(beats) < _FEWEST_BARS * 2:
        return None
    found = at_beats(curves, salience, frame_rate, beats)
    shape = beat_shape(curves, frame_rate, beats * frame_rate)
    period = float(np.median(np.diff(beats)))
    window = max(round(_WINDOW / period), 2)
    pieces = [
        found[:, first : first + window] for first in range(0, max(len(beats) - window // 2, 1), window)
    ]
    scores = []
    for kind, (_, size) in enumerate(KINDS):
        if len(beats) < _FEWEST_BARS * size or min(piece.shape[1] for piece in pieces) < size:
            scores.append(np.full(size, -np.inf))
            continue
        row = weights()["kinds"][kind, : length(kind)]
        by_piece = [np.einsum("pd,d->p", clues(piece, shape, kind), row) for piece in pieces]
        # Where a beat was dropped the phase changes, so each piece speaks for the kind by its best one.
        clearest = max(by_piece, key=lambda score: float(score.max()))
        scores.append(clearest + np.mean([score.max() for score in by_piece]) - clearest.max())
    none = float(weights()["none"])
    top = max(max(float(score.max()) for score in scores), none)
    share = [np.exp(score - top) for score in scores]
    total = sum(float(part.sum()) for part in share) + np.exp(none - top)
    kind = max(range(len(KINDS)), key=lambda at: float(scores[at].max()))
    if scores[kind].max() <= none:
        return None
    meter, size = KINDS[kind]
    at_place = weights()["kinds"][kind, : size * CLUES].reshape(size, CLUES)
    evidence = np.einsum("pc,cb->bp", at_place, found) * (size * period / _WINDOW)
    first = np.flatnonzero(follow(evidence) == 0)
    downbeats = [round(float(beat), 3) for beat in beats[first]]
    return Bars(meter, downbeats, round(float(share[kind].max()) / total, 3))


def follow(evidence: np.ndarray) -> np.ndarray:
    """Find the likeliest place of each beat in its bar, from evidence for each [shape=(beats, size)]."""
    count, size = evidence.shape
    states = np.arange(size)
    score, back = evidence[0].copy(), np.zeros((count, size), dtype=np.int64)
    for beat in range(1, count):
        regular = np.roll(score, 1)
        jump = int(score.argmax())
        slipped = score[jump] - _SLIP
        back[beat] = np.where(regular >= slipped, (states - 1) % size, jump)
        score = np.maximum(regular, slipped) + evidence[beat]
    place = np.empty(count, dtype=np.int64)
    place[-1] = int(score.argmax())
    for beat in range(count - 1, 0, -1):
        place[beat - 1] = back[beat, place[beat]]
    return place
