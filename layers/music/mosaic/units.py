"""Cutting a source into musical units, and describing what each one sounds like.

A unit is a beat (or half of a slow one); where there is no pulse it is a slice of a regular grid. All
positions are in samples at the source's rate unless a name says otherwise.

References
----------
.. [1] Jehan, "Creating Music by Listening", PhD thesis, MIT, 2005.
.. [2] Schwarz, "Data-Driven Concatenative Sound Synthesis", PhD thesis, Université Paris 6, 2004.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import resample_poly

from music.dsp import harmony, spectra
from music.dsp.channels import folded
from music.dsp.rhythm import pick_onsets, superflux

_MEL_RATE, _MEL_HOP = 16000, 160  # Hz, and samples: 10 ms frames show where a beat begins
_LOW_RATE, _CHROMA_HOP = 8000, 400  # Hz, and samples: 50 ms frames
_LONGEST, _SHORTEST = 0.75, 0.08  # seconds of a unit; longer beats are halved, shorter sources cut no finer
_SHORTFALL = 0.05  # of a beat that the first and the last one may lack
_FEWEST = 12  # units worth walking through; a shorter source is cut finer
_LONGEST_BAR = 3.6  # seconds
_SAME = 0.87  # correlation from which two units count as the same recording
_MERGES = 4  # rounds of comparing labels


@dataclass(frozen=True, eq=False)
class Units:
    """A source as units, N of them.

    Attributes
    ----------
    rate : int
        Sample rate of the source in Hz.
    bounds : np.ndarray [shape=(N + 1,), int64]
        Unit ``u`` is ``source[:, bounds[u]:bounds[u + 1]]``.
    pulsed : bool
        Whether units follow beats.
    meter : int
        Units per bar, or half of a bar of over 3.6 s; where there are no bars, per beat, and at least 1.
    whole_bar : int
        Units per whole bar; 0 where there are no bars.
    per_beat : int
        Units per beat; 0 where they do not follow beats.
    phase : np.ndarray [shape=(N,), int64]
        Position in the bar, or in the beat where there are no bars, 0 to ``meter - 1``.
    chroma, timbre : np.ndarray [shape=(N, 2, 12), float32]
        Pitch classes (unit length) and scaled cepstrum of each half of the unit.
    loudness : np.ndarray [shape=(N,), float32]
        Mean power in dB relative to full scale.
    rhythm : np.ndarray [shape=(N, 4), float32]
        Onset strength in each quarter of the unit, relative to the track's mean.
    section : np.ndarray [shape=(N, D), float32]
        Sound and harmony smoothed over phrases; two units of different parts of the track are about 1 apart.
    playable : np.ndarray [shape=(N,), bool]
        False inside long silences.
    label : np.ndarray [shape=(N,), int64]
        Equal for units that are the same recording, as in loops.
    onsets : np.ndarray [shape=(onsets,), float64]
        When sounds begin, in seconds, ascending.
    shift : np.ndarray [shape=(N,), float64]
        Seconds by which the recording lies later in the unit than in others of its label (borders vary a
        little).
    """

    rate: int
    bounds: np.ndarray
    pulsed: bool
    meter: int
    whole_bar: int
    per_beat: int
    phase: np.ndarray
    chroma: np.ndarray
    timbre: np.ndarray
    loudness: np.ndarray
    rhythm: np.ndarray
    section: np.ndarray
    playable: np.ndarray
    label: np.ndarray
    shift: np.ndarray
    onsets: np.ndarray

    def __len__(self) -> int:
        return len(self.phase)


def cut(
    source: np.ndarray,
    rate: int,
    beats: Sequence[float],
    bars: Sequence[float],
    progress: Callable[[float], None],
) -> Units:
    """Cut a source into units.

    Parameters
    ----------
    source : np.ndarray [shape=(channels, n), float32]
        Not silent, at least 0.1 s.
    rate : int
        Sample rate in Hz, a multiple of 8000.
    beats : sequence of float
        Beat times in seconds; may be empty.
    bars : sequence of float
        When bars begin, in seconds; empty where none were found.
    progress : callable
        Called with the share done, in [0, 1]; whatever it raises passes through.

    Returns
    -------
    Units
    """
    n = source.shape[1]
    small = _decimated(source, rate // _MEL_RATE, lambda done: progress(0.15 * done))
    mel = _mel(small, lambda done: progress(0.15 + 0.35 * done))
    whole = small[:, : small.shape[1] // _MEL_HOP * _MEL_HOP].reshape(len(small), -1, _MEL_HOP)
    power = np.einsum("ctk,ctk->t", whole, whole).astype(np.float64) / (len(small) * _MEL_HOP)
    low = resample_poly(small, 1, _MEL_RATE // _LOW_RATE, axis=1).astype(np.float32)
    del small, whole
    chroma = harmony.chroma(low, _LOW_RATE, _CHROMA_HOP)
    progress(0.75)
    flux = superflux(mel)

    marks, per_beat = _grid(np.asarray(beats), n / rate)
    pulsed = per_beat > 0
    if pulsed:
        marks = _onto_onsets(marks, flux)
    bounds = np.round(marks * rate).astype(np.int64)
    bounds[0], bounds[-1] = max(bounds[0], 0), min(bounds[-1], n)

    edges = bounds / rate
    loudness = 10.0 * np.log10(_means(power[None], edges, _MEL_RATE / _MEL_HOP, 1)[:, 0, 0] + 1e-10)
    cepstrum = spectra.mfcc(mel, 13)[1:]
    spread = np.maximum(cepstrum.std(axis=1), 4.0)
    timbre = _means(cepstrum / spread[:, None], edges, _MEL_RATE / _MEL_HOP, 2)
    pitch = _means(chroma, edges, _LOW_RATE / _CHROMA_HOP, 2)
    pitch /= np.maximum(np.sqrt((pitch**2).sum(axis=2, keepdims=True)), 1e-6)
    rhythm = _means(flux[None], edges, _MEL_RATE / _MEL_HOP, 4)[:, :, 0] / max(float(flux.mean()), 1e-6)
    whole_bar, meter, phase = _places_in_bars(edges, bars if pulsed else (), per_beat)
    progress(0.85)
    label, shift = _recordings(
        folded(low), edges, pitch, timbre, loudness, lambda done: progress(0.85 + 0.15 * done)
    )
    progress(1.0)
    return Units(
        rate=rate,
        bounds=bounds,
        pulsed=pulsed,
        meter=meter,
        whole_bar=whole_bar,
        per_beat=per_beat,
        phase=phase,
        chroma=pitch.astype(np.float32),
        timbre=timbre.astype(np.float32),
        loudness=loudness.astype(np.float32),
        rhythm=rhythm.astype(np.float32),
        section=_sections(pitch, timbre, loudness, edges),
        playable=_playable(loudness, edges),
        label=label,
        shift=shift,
        onsets=pick_onsets(flux, _MEL_RATE / _MEL_HOP) / (_MEL_RATE / _MEL_HOP),
    )


def _decimated(source: np.ndarray, factor: int, progress: Callable[[float], None]) -> np.ndarray:
    """Bring the channels to a `factor`-th of the rate [shape=(channels, n // factor)], a minute at a time."""
    block = factor * 960_000
    margin = factor * 200
    parts = []
    for begin in range(0, source.shape[1], block):
        first = max(begin - margin, 0)
        piece = source[:, first : begin + block + margin]
        small = resample_poly(piece, 1, factor, axis=1).astype(np.float32)
        start = (begin - first) // factor
        parts.append(small[:, start : start + block // factor])
        progress(min((begin + block) / source.shape[1], 1.0))
    return np.concatenate(parts, axis=1)


def _mel(audio: np.ndarray, progress: Callable[[float], None]) -> np.ndarray:
    """Compute a mel spectrogram [shape=(40, 1 + n // _MEL_HOP)], a minute at a time."""
    margin, frames = 10, 60 * _MEL_RATE // _MEL_HOP
    total = 1 + audio.shape[1] // _MEL_HOP
    parts = []
    for first in range(0, total, frames):
        early = max(first - margin, 0)
        last = min(first + frames, total)
        piece = audio[:, early * _MEL_HOP : (last + margin) * _MEL_HOP]
        mel = spectra.mel_spectrogram(piece, _MEL_RATE, 1024, _MEL_HOP, n_mels=40, fmin=30.0)
        parts.append(mel[:, first - early : last - early])
        progress(last / total)
    return np.concatenate(parts, axis=1)


def _grid(beats: np.ndarray, duration: float) -> tuple[np.ndarray, int]:
    """Lay borders of units over a source of `duration` seconds.

    What comes before the first whole beat and after the last one is no unit, but for a beat that lacks no
    more than `_SHORTFALL` of itself: the beat after it comes too early by that.

    Returns
    -------
    marks : np.ndarray [shape=(N + 1,)]
        The borders in seconds.
    per_beat : int
        Units per beat; 0 where they do not follow beats.
    """
    steady = False
    if len(beats) >= 4:
        intervals = np.diff(beats)
        period = float(np.median(intervals))
        near = np.abs(np.log2(np.maximum(intervals, 1e-3) / period)) < 0.25
        steady = bool(near.mean() > 0.6 and (beats[-1] - beats[0]) > 0.4 * duration)
    if not steady:
        length = float(np.clip(duration / 16, _SHORTEST, 0.5))
        return np.linspace(0.0, duration, max(round(duration / length), 2) + 1), 0
    filled = [float(beats[0])]
    for beat in beats[1:]:
        gap = float(beat) - filled[-1]
        if gap < 0.6 * period:
            continue
        missing = max(round(gap / period), 1)
        filled.extend(np.linspace(filled[-1], float(beat), missing + 1)[1:])
    before = np.arange(filled[0] - period, -_SHORTFALL * period, -period)[::-1]
    after = np.arange(filled[-1] + period, duration + _SHORTFALL * period, period)
    marks = np.clip(np.concatenate([before, filled, after]), 0.0, duration)
    marks = marks[np.concatenate([[True], np.diff(marks) > 0.3 * period])]
    halves = 1
    while (period / halves > _LONGEST or len(marks) <= _FEWEST) and period / halves > 2 * _SHORTEST:
        between = (marks[:-1] + marks[1:]) / 2
        marks = np.sort(np.concatenate([marks, between]))
        halves *= 2
    return marks, halves


def _onto_onsets(marks: np.ndarray, flux: np.ndarray) -> np.ndarray:
    """Move borders to 8 ms before a clear onset within 40 ms, so that a unit owns its whole attack."""
    rate = _MEL_RATE / _MEL_HOP
    reach = round(0.04 * rate)
    frames = np.round(marks * rate).astype(np.int64)
    padded = np.pad(flux, (reach, reach + 2))
    around = np.stack([padded[np.clip(frames + k, 0, len(padded) - 1)] for k in range(2 * reach + 1)], axis=1)
    best = around.argmax(axis=1)
    clear = around.max(axis=1) > 2.0 * np.median(flux) + 0.02
    moved = marks + np.where(clear, (best - reach) / rate, 0.0) - 0.008
    moved[0], moved[-1] = marks[0], marks[-1]
    return np.maximum.accumulate(moved)


def _means(curves: np.ndarray, edges: np.ndarray, rate: float, parts: int) -> np.ndarray:
    """Average curves [shape=(d, frames)] of `rate` Hz over parts of units [shape=(N, parts, d)]."""
    fractions = np.arange(parts) / parts
    starts = edges[:-1, None] + np.diff(edges)[:, None] * fractions
    cuts = np.concatenate([starts.ravel(), edges[-1:]]) * rate
    sums = np.concatenate([np.zeros((len(curves), 1)), np.cumsum(curves, axis=1, dtype=np.float64)], axis=1)
    first = np.clip(np.round(cuts[:-1]).astype(np.int64), 0, curves.shape[1] - 1)
    last = np.clip(np.maximum(np.round(cuts[1:]).astype(np.int64), first + 1), 1, curves.shape[1])
    means = (sums[:, last] - sums[:, first]) / (last - first)
    return means.T.reshape(len(edges) - 1, parts, len(curves))


def _places_in_bars(edges: np.ndarray, bars: Sequence[float], per_beat: int) -> tuple[int, int, np.ndarray]:
    """Count units from the beginning of each bar, or beat where there are no bars.

    Long bars are taken for two, for no more of a source is played at once than that.

    Returns
    -------
    whole, meter : int
        Units for each whole bar, 0 where there are no bars; and for each that counts as one.
    place : np.ndarray [shape=(N,), int64]
        Of each unit in its bar. Before the first bar and after the last they are counted on.
    """
    count = len(edges) - 1
    first = np.unique([int(np.abs(edges - bar).argmin()) for bar in bars])
    first = first[first < count]  # a bar may begin where the last unit ends
    if len(first) < 2:
        meter = max(per_beat, 1)
        return 0, meter, np.arange(count) % meter
    whole = meter = max(int(np.median(np.diff(first))), 1)
    bar = float(np.median(np.diff(edges[first])))
    while bar > _LONGEST_BAR and meter % 2 == 0:
        meter, bar = meter // 2, bar / 2.0
    units = np.arange(count)
    before = np.maximum(np.searchsorted(first, units, side="right") - 1, 0)
    return whole, meter, (units - first[before]) % meter


def _sections(pitch: np.ndarray, timbre: np.ndarray, loudness: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Describe what part of the track units belong to [shape=(N, D), float32]: some 4 s to either side."""
    level = np.clip(loudness, loudness.max() - 50.0, None)[:, None] / 5.0
    local = np.concatenate([3.0 * pitch.mean(axis=1), timbre.mean(axis=1), level], axis=1)
    sigma = max(4.0 / float(np.median(np.diff(edges))) / 2, 0.5)
    smooth = gaussian_filter1d(local, sigma, axis=0, mode="nearest")
    half = len(smooth) // 2
    typical = float(np.median(np.sqrt(((smooth - np.roll(smooth, half, axis=0)) ** 2).sum(axis=1))))
    return (smooth / max(typical, 0.5)).astype(np.float32)


def _playable(loudness: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Rule out silences longer than 1.5 s [shape=(N,), bool]: a rest is music, a gap is not."""
    quiet = loudness < max(float(np.percentile(loudness, 95)) - 50.0, -75.0)
    playable = np.ones(len(loudness), dtype=bool)
    u = 0
    while u < len(quiet):
        if quiet[u]:
            end = u
            while end < len(quiet) and quiet[end]:
                end += 1
            at_edge = u == 0 or end == len(quiet)
            if at_edge or edges[end] - edges[u] > 1.5:
                playable[u:end] = False
            u = end
        else:
            u += 1
    return playable if playable.any() else np.ones(len(loudness), dtype=bool)


def _recordings(
    low: np.ndarray,
    edges: np.ndarray,
    pitch: np.ndarray,
    timbre: np.ndarray,
    loudness: np.ndarray,
    progress: Callable[[float], None],
) -> tuple[np.ndarray, np.ndarray]:
    """Label units so that exact repetitions (loops, samples, copied bars) share a label, and align them.

    Units most alike by description are compared as waveforms below 2 kHz, at any lag up to 40 ms; then one
    unit of each label with its own nearest, and so on, so that labels of the same recording meet.

    Returns
    -------
    tuple of (np.ndarray [shape=(N,), int64], np.ndarray [shape=(N,), float64])
        `Units.label` and `Units.shift`.
    """
    count = len(loudness)
    flat = np.concatenate(
        [pitch.reshape(count, -1) * 2.0, timbre.reshape(count, -1) / 2.0, loudness[:, None] / 4.0], axis=1
    ).astype(np.float32)
    rate = _LOW_RATE // 2
    wave = resample_poly(low, 1, 2).astype(np.float32)
    begin = np.round(edges[:-1] * rate).astype(np.int64)
    length, reach = int(np.median(np.diff(edges)) * rate), round(0.04 * rate)
    wave = np.pad(wave, (reach, length + reach))
    parent, shift = list(range(count)), [0] * count  # shift: of a unit against its parent, in samples

    def root(u: int) -> tuple[int, int]:
        total = 0
        while parent[u] != u:
            total += shift[u]
            u = parent[u]
        return u, total

    for merge in range(_MERGES):
        apart = np.flatnonzero(np.array(parent) == np.arange(count))
        if len(apart) < 2:
            break
        matches: list[tuple[int, int, int]] = []
        pairs = _alike(flat, apart)
        for some in range(0, len(pairs), 1024):
            progress((merge + some / len(pairs)) / _MERGES)
            matches.extend(_matches(wave, begin, length, reach, pairs[some : some + 1024]))
        for u, v, lag in matches:
            (one, from_one), (two, from_two) = root(u), root(v)
            if one != two:
                parent[one], shift[one] = two, from_two - from_one - lag
    roots = [root(u) for u in range(count)]
    label = np.unique([first for first, _ in roots], return_inverse=True)[1].astype(np.int64)
    return label, np.array([total for _, total in roots]) / rate


def _alike(points: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Pair rows of `points` [shape=(pairs, 2)]: each of `among` with its nearest eight there."""
    some = points[among]
    norms = (some * some).sum(axis=1)
    near = min(8, len(among) - 1)
    limit = (0.35**2) * points.shape[1]
    pairs = [np.zeros((0, 2), dtype=np.int64)]
    for first in range(0, len(some), 256):
        rows = np.arange(first, min(first + 256, len(some)))
        apart = norms[rows, None] + norms[None] - 2.0 * np.einsum("ik,jk->ij", some[rows], some)
        apart[np.arange(len(rows)), rows] = np.inf
        nearest = np.argpartition(apart, near - 1, axis=1)[:, :near]
        row, column = np.nonzero(np.take_along_axis(apart, nearest, axis=1) < limit)
        pairs.append(np.stack([among[rows[row]], among[nearest[row, column]]], axis=1))
    return np.concatenate(pairs)


def _matches(
    wave: np.ndarray, begin: np.ndarray, length: int, reach: int, pairs: np.ndarray
) -> Iterator[tuple[int, int, int]]:
    """Find the pairs of units that are the same recording.

    `wave` has `reach` samples before unit 0's `begin` of 0; each unit is compared over `length` samples.

    Yields
    ------
    one, other : int
        The units.
    lag : int
        Samples by which the recording lies later in the other.
    """
    size = 1 << int(np.ceil(np.log2(length + 2 * reach + 1)))
    for some in range(0, len(pairs), 128):
        us, vs = pairs[some : some + 128].T
        a = wave[begin[us][:, None] + reach + np.arange(length)]
        b = wave[begin[vs][:, None] + np.arange(length + 2 * reach)]
        spectrum = np.fft.rfft(b, size, axis=1) * np.conj(np.fft.rfft(a, size, axis=1))
        dots = np.fft.irfft(spectrum, size, axis=1)[:, : 2 * reach + 1]
        sums = np.cumsum(np.pad(b.astype(np.float64) ** 2, ((0, 0), (1, 0))), axis=1)
        energy = (sums[:, length:] - sums[:, : 2 * reach + 1]) * (a.astype(np.float64) ** 2).sum(axis=1)[
            :, None
        ]
        match = dots / np.sqrt(np.maximum(energy, 1e-12))
        for row in np.flatnonzero(match.max(axis=1) > _SAME):
            yield int(us[row]), int(vs[row]), int(match[row].argmax()) - reach
