"""Harmony: notes from spectral peaks, pitch classes, the key.

The conventions are those of `music.dsp.spectra`, and so are the reasons not to use librosa.

References
----------
.. [1] Gómez, "Tonal description of music audio signals", PhD thesis, UPF Barcelona, 2006.
.. [2] Temperley, "Music and Probability", MIT Press, 2007: key profiles after the Kostka-Payne corpus.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from music.dsp.fitted import fitted
from music.dsp.spectra import BLOCK, HOP, power_blocks, vertex

PITCH_CLASSES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")

MODES = ("major", "minor")

NOTES = 66
"""Notes from A1 (55 Hz) to D7 (2349 Hz)."""
LOWEST_NOTE = -27
"""A1, in semitones from middle C (261.6 Hz)."""

_LOWEST_HZ, _HIGHEST_HZ = 53.0, 2300.0  # the range of peaks that count
_WINDOW_SECONDS = 0.186  # long enough to part semitones above 100 Hz
_BELOW_PEAK = 1e-5  # 50 dB below the strongest of its frame, a peak says little about harmony,
_BELOW_FULL_SCALE = 1e-9  # and 90 dB below full scale it says nothing
_IN_TUNE = 0.02  # of the strength of all peaks: what speaks for concert pitch before anything is heard

CLUES = 5
"""Rows of `key_clues`."""
_REGISTERS = (0, 18, 40, 66)  # notes: bass up to D3, middle up to C5, treble
_ENDS_SECONDS = 2.0
_PAUSE = 0.05  # of the mean strength of all frames, below which one hardly counts

_LATER = 0.093  # seconds after which
_HELD = 0.35  # of what sounds is still there in music: 0.43 and more, but 0.28 and less of drums and clicks,
_SPREAD = np.log(16.0)  # whose peaks in a moment are those of over 20 notes; short notes are of few
_FEWEST_CLASSES = 3  # of a key: a tone and its fifth are of many
_PARTIALS = 10
_ONE_TONE = 0.9  # share of what stands out that the partials of one tone have,
_LOW_PARTIALS = 0.15  # and its first two: those of a chord fit a tone far below, which is not there
_FUNDAMENTAL = 0.02  # and its first, where that is a note that is looked for,
_PRESENT = 0.1  # of the strongest pitch class, from which one counts
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
        place = k + low + vertex(a, b, c, 1e-6)
        pitch = 12.0 * np.log2(place * (rate / n_fft) / 440.0) + 9.0
        yield first, frame.astype(np.int16), pitch.astype(np.float32), np.sqrt(here[frame, k])


def pitch_salience(y: np.ndarray, rate: float, hop: int = HOP) -> np.ndarray:
    """Measure the strength of every note over time, from spectral peaks (after [1]_).

    The tuning of the recording is measured first and taken out, so that a piece tuned a quarter tone off
    still falls on its nearest notes. Peaks that agree on no tuning leave it at concert pitch: a tuning drawn
    from chance would put the notes of one copy a semitone beside those of another.

    Parameters
    ----------
    y : np.ndarray [shape=(n,) or (channels, n)]
        Audio.
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
    turn = sum(
        complex(np.sum(weight * (np.exp(2j * np.pi * pitch) + _IN_TUNE))) for _, _, pitch, weight in blocks
    )
    tuning = float(np.angle(turn)) / (2.0 * np.pi)
    salience = np.zeros((NOTES, 1 + y.shape[-1] // hop), dtype=np.float32)
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
    y : np.ndarray [shape=(n,) or (channels, n)]
        Audio.
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
    key_clues : what speaks for a key.
    """
    return chroma_from_salience(pitch_salience(y, rate, hop))


def key_clues(salience: np.ndarray, frame_rate: float) -> np.ndarray:
    """Measure what speaks for a key: which pitch classes sound, in which register, and where.

    Parameters
    ----------
    salience : np.ndarray [shape=(NOTES, frames)]
        As `pitch_salience` gives it.
    frame_rate : float
        Frames per second.

    Returns
    -------
    np.ndarray [shape=(CLUES, 12), float64]
        From C to B: of the bass, the middle and the treble; of the first and the last 2 s that sound. Each
        row has a mean of 1; it is 0 where nothing sounds.
    """
    total = salience.sum(axis=0)
    sounding = np.flatnonzero(total > _PAUSE * total.mean()) if salience.size else np.zeros(0, np.int64)
    clues = np.zeros((CLUES, 12))
    if not len(sounding):
        return clues
    notes = _shares(salience, total)
    first, last, some = int(sounding[0]), int(sounding[-1]), max(round(_ENDS_SECONDS * frame_rate), 1)
    spans = (slice(None), slice(first, first + some), slice(max(last - some, 0), last + 1))
    whole, begin, end = (notes[:, span].mean(axis=1, dtype=np.float64) for span in spans)
    pitch_class = (np.arange(NOTES) + LOWEST_NOTE) % 12
    for clue, (low, high) in zip(clues, pairwise(_REGISTERS), strict=False):
        clue[:] = np.bincount(pitch_class[low:high], weights=whole[low:high], minlength=12)
    clues[3] = np.bincount(pitch_class, weights=begin, minlength=12)
    clues[4] = np.bincount(pitch_class, weights=end, minlength=12)
    sums = clues.sum(axis=1, keepdims=True)
    return np.divide(12.0 * clues, sums, out=np.zeros_like(clues), where=sums > 0.0)


def estimate_key(salience: np.ndarray, frame_rate: float) -> tuple[str, str, float] | None:
    """Estimate the key: the likeliest of twenty-four, or none.

    Each pitch class of each clue (`key_clues`) speaks for a key with a weight that depends on its step above
    the tonic, as in key profiles [2]_; the weights are fitted (`music.dsp.fitted`).

    Parameters
    ----------
    salience : np.ndarray [shape=(NOTES, frames)]
        As `pitch_salience` gives it.
    frame_rate : float
        Frames per second.

    Returns
    -------
    tuple of (str, str, float) or None
        Tonic (``"C"`` to ``"B"``), mode (``"major"`` or ``"minor"``) and how likely that is, 0 to 1. ``None``
        where the pitch classes are not those of any key: silence, noise, unpitched percussion, a single tone.
    """
    if not _has_pitch(salience, frame_rate) or not has_key(salience.mean(axis=1)):
        return None
    score = _key_scores(key_clues(salience, frame_rate)[None])[0]
    share = np.exp(score - score.max())
    share /= share.sum()
    mode, tonic = divmod(int(np.argmax(score)), 12)
    return PITCH_CLASSES[tonic], MODES[mode], float(share[mode, tonic])


def key_votes(salience: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Measure how much each of some spans of a piece speaks for each key.

    Of spans that are played one after another `estimate_key` finds nearly the key for which they speak most
    in their mean.

    Parameters
    ----------
    salience : np.ndarray [shape=(NOTES, frames)]
        As `pitch_salience` gives it.
    edges : np.ndarray [shape=(N + 1,), int64]
        Where spans begin, and the last of them ends, in frames.

    Returns
    -------
    np.ndarray [shape=(N, 2, 12), float64]
        Of major and minor keys, from C to B, as logarithms of likelihoods up to a constant of each span.
    """
    notes = _shares(salience, salience.sum(axis=0))
    sums = np.concatenate([np.zeros((NOTES, 1)), np.cumsum(notes, axis=1, dtype=np.float64)], axis=1)
    first = np.clip(edges[:-1], 0, salience.shape[1])
    last = np.clip(np.maximum(edges[1:], first + 1), 0, salience.shape[1])
    means = (sums[:, last] - sums[:, first]) / np.maximum(last - first, 1)
    into = np.eye(12)[(np.arange(NOTES) + LOWEST_NOTE) % 12]
    clues = np.ones((len(first), CLUES, 12))
    for clue, (low, high) in enumerate(pairwise(_REGISTERS)):
        folded = np.einsum("kn,kp->np", means[low:high], into[low:high])
        total = folded.sum(axis=1, keepdims=True)
        clues[:, clue] = np.divide(12.0 * folded, total, out=np.ones_like(folded), where=total > 0.0)
    return _key_scores(clues)


def _shares(salience: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Return the square root of each note's share: neither the loudest frame nor note has all the say."""
    return np.sqrt(salience / np.maximum(total + _PAUSE * total.mean(), 1e-20))


def _key_scores(clues: np.ndarray) -> np.ndarray:
    """Weigh clues [shape=(N, CLUES, 12)] for major and minor keys [shape=(N, 2, 12)]."""
    turned = np.stack([np.roll(clues, -tonic, axis=2) for tonic in range(12)], axis=1) - 1.0
    score = np.einsum("ntcp,mcp->nmt", turned, fitted()["key"])
    score[:, 1] += float(fitted()["minor"])
    return np.asarray(score)


def _has_pitch(salience: np.ndarray, frame_rate: float) -> bool:
    """Whether notes are held, or a few stand out: the spectral peaks of strikes are short and many."""
    lag = max(round(_LATER * frame_rate), 1)
    total = salience.sum(axis=0, dtype=np.float64)
    held = np.minimum(salience[:, :-lag], salience[:, lag:]).sum(dtype=np.float64)
    if held > _HELD * total.sum():
        return True
    share = salience / np.maximum(total, 1e-20)
    entropy = -(share * np.log(np.maximum(share, 1e-12))).sum(axis=0)
    return bool((entropy * total).sum() < _SPREAD * total.sum())


def has_key(notes: np.ndarray) -> bool:
    """Return whether some notes are those of a key, more or less: three, not the partials of one tone.

    Parameters
    ----------
    notes : np.ndarray [shape=(NOTES,)]
        Mean strength of each note, from A1 to D7.
    """
    weights = chroma_from_salience(notes[:, None])[:, 0].astype(np.float64)
    if weights.std() <= _FLAT * weights.mean() or _is_one_tone(notes.astype(np.float64)):
        return False
    if np.count_nonzero(weights > _PRESENT * weights.max()) < _FEWEST_CLASSES:
        return False
    likeness = [
        _correlation(np.roll(profile, tonic), weights) for profile in (_MAJOR, _MINOR) for tonic in range(12)
    ]
    return max(likeness) >= _CLEAR_KEY


def _is_one_tone(notes: np.ndarray) -> bool:
    """Whether what stands out among some notes are the partials of one tone, as of a hum or a single key."""
    excess = np.maximum(notes - np.median(notes), 0.0)
    steps = 12.0 * np.log2(np.arange(1, _PARTIALS + 1))
    for tone in range(-12, NOTES):
        if tone >= 0 and excess[tone] <= _FUNDAMENTAL * excess.sum():
            continue  # a chord may be the upper partials of a tone that does not sound
        places = np.unique(np.concatenate([tone + np.floor(steps), tone + np.ceil(steps)]).astype(np.int64))
        inside = places[(places >= 0) & (places < NOTES)]
        low = inside[inside <= tone + 12]
        if (
            excess[inside].sum() > _ONE_TONE * excess.sum()
            and excess[low].sum() > _LOW_PARTIALS * excess.sum()
        ):
            return True
    return False


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Compute Pearson's correlation of two vectors; `np.corrcoef` would call BLAS."""
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()))
