"""Harmony: notes from spectral peaks, pitch classes, the key.

The conventions are those of `music.dsp.spectra`, and so are the reasons not to use librosa.

References
----------
.. [1] Gómez, "Tonal description of music audio signals", PhD thesis, UPF Barcelona, 2006.
.. [2] Temperley, "Music and Probability", MIT Press, 2007: key profiles after the Kostka-Payne corpus.
"""

from collections.abc import Iterator

import numpy as np

from music.dsp.spectra import BLOCK, HOP, power_blocks

PITCH_CLASSES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")

NOTES = 66
"""Notes from A1 (55 Hz) to D7 (2349 Hz)."""
LOWEST_NOTE = -27
"""A1, in semitones from middle C (261.6 Hz)."""

_LOWEST_HZ, _HIGHEST_HZ = 53.0, 2300.0  # the range of peaks that count
_WINDOW_SECONDS = 0.186  # long enough to part semitones above 100 Hz
_BELOW_PEAK = 1e-5  # 50 dB below the strongest of its frame, a peak says little about harmony,
_BELOW_FULL_SCALE = 1e-9  # and 90 dB below full scale it says nothing

_CLEAR_KEY = 0.45  # correlation below which no key is claimed: noise reaches 0.35, music 0.5 to 0.95
_FLAT = 0.05  # deviation over mean up to which no pitch class stands out

# Weight of each pitch class in music of a key, tonic first [2]_.
_MAJOR = np.array([0.748, 0.060, 0.488, 0.082, 0.670, 0.460, 0.096, 0.715, 0.104, 0.366, 0.057, 0.400])
_MINOR = np.array([0.712, 0.084, 0.474, 0.618, 0.049, 0.460, 0.105, 0.747, 0.404, 0.067, 0.133, 0.330])


def _pitch_peaks(
    y: np.ndarray, rate: float, hop: int
) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
    """Find the spectral peaks of one block of frames after another.

    A peak is placed between bins by a parabola through the logarithms of its neighbours.

    Yields
    ------
    first : int
        The number of the block's first frame.
    frame : np.ndarray [shape=(peaks,), int16]
        The frame of each peak, counted from `first`.
    pitch : np.ndarray [shape=(peaks,), float32]
        In semitones above middle C.
    magnitude : np.ndarray [shape=(peaks,), float32]
    """
    n_fft = 2 ** round(np.log2(_WINDOW_SECONDS * rate))
    low = max(int(_LOWEST_HZ * n_fft / rate), 2)
    high = min(int(_HIGHEST_HZ * n_fft / rate) + 1, n_fft // 2 - 1)
    for first, power in power_blocks(y, n_fft, hop):
        here = power[:, low:high]
        full_scale = (n_fft / 4) ** 2
        floor = np.maximum(here.max(axis=1, keepdims=True) * _BELOW_PEAK, full_scale * _BELOW_FULL_SCALE)
        left, right = power[:, low - 1 : high - 1], power[:, low + 1 : high + 1]
        frame, k = np.nonzero((here > left) & (here >= right) & (here > floor))
        a, b, c = (np.log(np.maximum(part[frame, k], 1e-20)) for part in (left, here, right))
        shift = 0.5 * (a - c) / np.minimum(a - 2.0 * b + c, -1e-6)
        pitch = 12.0 * np.log2((k + low + shift) * (rate / n_fft) / 440.0) + 9.0
        yield first, frame.astype(np.int16), pitch.astype(np.float32), np.sqrt(here[frame, k])


def pitch_salience(y: np.ndarray, rate: float, hop: int = HOP) -> np.ndarray:
    """Measure the strength of every note over time, from spectral peaks (after [1]_).

    The tuning of the recording is measured first and taken out, so that a piece tuned a quarter tone off
    still falls on its nearest notes.

    Parameters
    ----------
    y : np.ndarray [shape=(n,)]
        Mono audio.
    rate : float
        Sample rate in Hz, at least 8000.
    hop : int
        Step between frames, in samples.

    Returns
    -------
    np.ndarray [shape=(NOTES, 1 + n // hop), float32]
        From A1 (55 Hz) to D7. Sums of peak magnitudes, not normalised; partials count as notes of their own.

    See Also
    --------
    chroma : the same folded into one octave.
    """
    blocks = list(_pitch_peaks(y, rate, hop))
    turn = sum(complex(np.sum(weight * np.exp(2j * np.pi * pitch))) for _, _, pitch, weight in blocks)
    tuning = float(np.angle(turn)) / (2.0 * np.pi)
    salience = np.zeros((NOTES, 1 + len(y) // hop), dtype=np.float32)
    for first, frame, pitch, weight in blocks:
        here = salience[:, first : first + BLOCK]
        place = pitch - np.float32(tuning + LOWEST_NOTE)
        below = np.floor(place).astype(np.int64)
        part = place - below
        for note, share in ((below, 1.0 - part), (below + 1, part)):
            inside = (note >= 0) & (note < NOTES)
            index = note[inside] * here.shape[1] + frame[inside]
            size = (weight * share)[inside]
            here += np.bincount(index, weights=size, minlength=here.size).reshape(here.shape)
    return salience / np.float32(rate / 8.0)


def chroma_from_salience(salience: np.ndarray) -> np.ndarray:
    """Fold notes into pitch classes.

    Parameters
    ----------
    salience : np.ndarray [shape=(NOTES, frames)]
        Strength of notes, as `pitch_salience` gives it.

    Returns
    -------
    np.ndarray [shape=(12, frames), float32]
        From C to B.
    """
    folded = np.zeros((12, salience.shape[1]), dtype=np.float32)
    for note, row in enumerate(salience):
        folded[(note + LOWEST_NOTE) % 12] += row
    return folded


def chroma(y: np.ndarray, rate: float, hop: int = HOP) -> np.ndarray:
    """Measure the strength of the pitch classes over time.

    Parameters
    ----------
    y : np.ndarray [shape=(n,)]
        Mono audio.
    rate : float
        Sample rate in Hz, at least 8000.
    hop : int
        Step between frames, in samples.

    Returns
    -------
    np.ndarray [shape=(12, 1 + n // hop), float32]
        From C to B, zero where nothing sounds. Not normalised: in a mean over frames loud ones weigh more.

    See Also
    --------
    pitch_salience : the notes that are folded.
    estimate_key : the key of a mean chroma.
    """
    return chroma_from_salience(pitch_salience(y, rate, hop))


def estimate_key(pitch_classes: np.ndarray) -> tuple[str, str, float] | None:
    """Estimate the key of a mean chroma, by correlation with Temperley's profiles [2]_.

    Parameters
    ----------
    pitch_classes : np.ndarray [shape=(12,)]
        Weight of C to B, not negative.

    Returns
    -------
    tuple of (str, str, float) or None
        Tonic (``"C"`` to ``"B"``), mode (``"major"`` or ``"minor"``) and correlation, -1 to 1. ``None`` where
        no pitch class stands out: silence, noise, unpitched percussion.

    Examples
    --------
    >>> estimate_key(np.array([1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0]))[:2]
    ('C', 'major')
    """
    weights = np.asarray(pitch_classes, dtype=np.float64)
    if weights.std() <= _FLAT * weights.mean():
        return None
    best = ("C", "major", -2.0)
    for mode, profile in (("major", _MAJOR), ("minor", _MINOR)):
        for tonic in range(12):
            score = _correlation(np.roll(profile, tonic), weights)
            if score > best[2]:
                best = (PITCH_CLASSES[tonic], mode, score)
    return best if best[2] >= _CLEAR_KEY else None


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Compute Pearson's correlation of two vectors; `np.corrcoef` would call BLAS."""
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()))
