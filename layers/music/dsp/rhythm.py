"""Rhythm: onset strength, onsets, tempo, beats.

The conventions are those of `music.dsp.spectra`, and so are the reasons not to use librosa.

Which of many regularities is the tempo, and which of many places in it is the beat, is a matter of weights.
They are fitted on composed music of known tempo (``python -m tests.benchmarks.fit_analysis``, which writes
`music.dsp.fitted`): tempo and beat are each a multinomial logit over candidates. What speaks for a tempo in
4/4 speaks against it in 3/4, and 6/8 divides its beats by three: so every tempo is a candidate in each meter,
and its likelihood is the sum over meters [3]_.

References
----------
.. [1] Böck and Widmer, "Maximum filter vibrato suppression for onset detection", DAFx 2013.
.. [2] Ellis, "Beat tracking by dynamic programming", J. New Music Research 36(1), 2007.
.. [3] Klapuri, Eronen and Astola, "Analysis of the meter of acoustic musical signals", IEEE TASLP 14(1),
   2006: tactus, its divisions and the measure are estimated together.
"""

from itertools import pairwise
from typing import Literal

import numpy as np

from music.dsp.fitted import fitted
from music.dsp.spectra import EMPTY, mel_spectrogram, vertex

HOP = 256
"""The step between frames of an onset envelope, in samples: 12 ms at 22,050 Hz."""

_WINDOW_SECONDS = 0.046
_BANDS, _LOWEST_HZ, _HIGHEST_HZ = 80, 30.0, 11000.0
_LAG = 2  # frames over which a rise is measured: an attack takes longer than one
_LOUD_PERCENTILE = 95  # of the frames' levels: what stands for the loudness of the audio
_SOFTEST = 1e3  # levels flatten out 30 dB below that
_SOUNDING = 1e-6  # of the loudest frame: a frame 60 dB below it is silence

CURVES = 7
"""Onset curves, as `onset_curves` gives them."""
_REGISTERS = (0, 4, 18, 50, 80)  # mel bands: up to 0.2, 0.8, 3 and 11 kHz
_BASS_NOTES = 22  # up to F#3
_NOTE_LAG = 3  # frames of the salience, 70 ms, to either side of a moment at which notes begin
_SOFTEST_NOTE = 3.6

_ONSETS_APART = 0.05  # seconds
_ONSET_SURROUNDINGS = 0.4  # seconds to either side that an onset must stand out from,
_ONSET_RISE, _ONSET_RATIO = 0.04, 1.3  # by so much above their mean, and by this factor

_PULSE_SURROUNDINGS = 0.5  # seconds to either side whose mean is a slow change
_PULSE_SMOOTHING = 0.02  # seconds

_SLOWEST, _FASTEST = 40.0, 240.0  # BPM
_TEMPO_STEP = 0.012  # octaves between tempos that are tried
_PIECE_SECONDS = 12.0  # of the audio that is autocorrelated at once: tempo may drift over more
_VOTES_APART = 3.0  # seconds between pieces of which each speaks for tempos
_LEAST_OVERLAP = 0.33  # of a piece with itself; beyond it too few products are left to trust
_SHORTEST_SECONDS = 1.9  # with which there may be a tempo: four beats at the usual one
_LONGEST_LAG = 8.2  # seconds
# Of the period; the autocorrelation there speaks for a tempo or against it.
_DIVISIONS = (1 / 12, 1 / 8, 1 / 6, 1 / 4, 1 / 3, 3 / 8, 1 / 2, 2 / 3, 3 / 4)
_BETWEEN = (4 / 3, 3 / 2, 5 / 3, 5 / 2, 8 / 3, 7 / 2, 9 / 2)
_MULTIPLES = (*_DIVISIONS, 1, *_BETWEEN, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 16)
CLUES = CURVES * len(_MULTIPLES) + 3
"""What is measured for each tempo, as `periodicity` gives it."""
METERS = ("4/4", "3/4", "6/8")
"""Meters in which a tempo may be."""
_SAME_TEMPO = 0.058  # octaves, 4 %: candidates this near are one tempo

PLACES = 12
"""Places of a beat that the music is looked at: sixteenths and triplets fall on some of them."""

_FEWEST_BEATS = 4  # whose surroundings tell beats from off-beats
_STAYS = 0.5  # logarithm of the likelihood ratio that it takes to move a chain of strong onsets
_MARKED = 0.2  # share of the strength of a chain's onsets, below which a place of the beat is no beat
_TIGHTNESS = 500.0  # cost of one squared natural logarithm of a spacing over the tempo's own
_WEAK_BEAT = 0.1  # share of the median beat's strength below which a first or last beat is extrapolation


def mel_bands(y: np.ndarray, rate: float) -> np.ndarray:
    """Compute the mel bands that onsets are measured in.

    Parameters
    ----------
    y : np.ndarray [shape=(n,) or (channels, n)]
        Audio.
    rate : float
        Sample rate in Hz.

    Returns
    -------
    np.ndarray [shape=(80, 1 + n // HOP), float32]
        Power in bands from 30 Hz to 11 kHz; the window is about 46 ms.
    """
    n_fft = 2 ** round(np.log2(_WINDOW_SECONDS * rate))
    highest = min(rate / 2, _HIGHEST_HZ)
    return mel_spectrogram(y, rate, n_fft, HOP, n_mels=_BANDS, fmin=_LOWEST_HZ, fmax=highest)


def superflux(mel: np.ndarray) -> np.ndarray:
    """Measure onset strength over time: spectral flux with vibrato suppression [1]_.

    Each band's logarithmic level is compared with the highest of itself and its two neighbours two frames
    ago, so that a pitch which only wavers rises nowhere. Levels are relative to the audio's own loud parts,
    so a softer copy gives the same envelope.

    Parameters
    ----------
    mel : np.ndarray [shape=(n_mels, frames)]
        Power in mel bands.

    Returns
    -------
    np.ndarray [shape=(frames,), float32]
        Mean rise over the bands, not negative; about 0.1 to 1 at a clear onset. A sound that is cut off at
        the first sample is no onset: its rise lies before the audio began.
    """
    rises = _rises(mel, _SOFTEST, _LAG)
    return rises.mean(axis=0) if len(rises) else np.zeros(mel.shape[1], dtype=np.float32)


def onset_curves(mel: np.ndarray, salience: np.ndarray) -> np.ndarray:
    """Measure onset strength over time in registers, and as notes that begin.

    Slow attacks hardly rise from frame to frame; that a note is there which was not shows all the same.

    Parameters
    ----------
    mel : np.ndarray [shape=(80, frames)]
        As `mel_bands` gives it.
    salience : np.ndarray [shape=(NOTES, 1 + n // (2 * HOP))]
        As `music.dsp.harmony.pitch_salience` gives it, with twice the hop.

    Returns
    -------
    np.ndarray [shape=(CURVES, frames), float32]
        All bands (`superflux`), bands up to 0.2, 0.8, 3 and 11 kHz, all notes, notes of the bass.
    """
    rises = _rises(mel, _SOFTEST, _LAG)
    curves = np.empty((CURVES, mel.shape[1]), dtype=np.float32)
    curves[0] = rises.mean(axis=0)
    for curve, (first, last) in zip(curves[1:5], pairwise(_REGISTERS), strict=True):
        curve[:] = rises[first:last].mean(axis=0)
    notes = _rises(salience, _SOFTEST_NOTE, 2 * _NOTE_LAG)
    half = np.arange(mel.shape[1]) / 2.0 + _NOTE_LAG  # the rise lies in the middle of the lag
    for curve, rising in ((curves[5], notes), (curves[6], notes[:_BASS_NOTES])):
        curve[:] = np.interp(half, np.arange(notes.shape[1]), rising.mean(axis=0), right=0.0)
    return curves


def _rises(power: np.ndarray, softest: float, lag: int) -> np.ndarray:
    """How much each row's logarithmic level rises over `lag` frames [shape=(rows, frames), float32].

    Levels flatten out at a `softest`-th of the mean power of the loud frames. These are the loudest of those
    that sound: in a minute of silence a second of music is as loud as alone.
    """
    rises = np.zeros(power.shape, dtype=np.float32)
    total = power.mean(axis=0) if power.size else np.zeros(1)
    sounding = total[total > max(float(total.max()) * _SOUNDING, EMPTY)]
    if not len(sounding) or power.shape[1] <= lag:
        return rises
    reference = float(np.percentile(sounding, _LOUD_PERCENTILE))
    level = np.log10(1.0 + power * np.float32(softest / reference))
    around = level.copy()
    np.maximum(around[1:], level[:-1], out=around[1:])
    np.maximum(around[:-1], level[1:], out=around[:-1])
    rises[:, lag:] = np.maximum(level[:, lag:] - around[:, :-lag], 0.0)
    return rises


def pick_onsets(envelope: np.ndarray, frame_rate: float) -> np.ndarray:
    """Find the frames where something begins: local maxima that stand out from their surroundings.

    Parameters
    ----------
    envelope : np.ndarray [shape=(frames,)]
        As `superflux` gives it.
    frame_rate : float
        Frames per second.

    Returns
    -------
    np.ndarray [shape=(onsets,), int64]
        Frame indices, ascending, at least 50 ms apart.
    """
    if len(envelope) < 3:
        return np.zeros(0, dtype=np.int64)
    near = max(round(_ONSETS_APART * frame_rate), 1)
    padded = np.pad(envelope, near)
    is_peak = envelope >= np.lib.stride_tricks.sliding_window_view(padded, 2 * near + 1).max(axis=1)
    wide = max(round(_ONSET_SURROUNDINGS * frame_rate), 1)
    mean = _moving_mean(envelope, wide, mode="constant")
    candidates = np.flatnonzero(is_peak & (envelope > mean + _ONSET_RISE) & (envelope > _ONSET_RATIO * mean))
    kept: list[int] = []
    for frame in candidates:  # plateaus: the first of equal neighbours
        if not kept or frame - kept[-1] > near:
            kept.append(int(frame))
    return np.array(kept, dtype=np.int64)


def tempos() -> np.ndarray:
    """Return the tempos that are tried [shape=(tempos,), float64], in BPM."""
    return _SLOWEST * 2.0 ** np.arange(0.0, np.log2(_FASTEST / _SLOWEST) + 1e-9, _TEMPO_STEP)


def periodicity(curves: np.ndarray, frame_rate: float) -> np.ndarray:
    """Measure what speaks for each tempo.

    Parameters
    ----------
    curves : np.ndarray [shape=(CURVES, frames)]
        As `onset_curves` gives them.
    frame_rate : float
        Frames per second.

    Returns
    -------
    np.ndarray [shape=(tempos, CLUES), float64]
        The autocorrelation of each curve at multiples of the period; the tempo in octaves from 120 BPM, and
        its square; and 1.
    """
    bpm = tempos()
    lags = 60.0 * frame_rate / bpm
    rows = []
    for curve in curves:
        correlation = _autocorrelation(_pulse(curve, frame_rate), frame_rate)
        axis = np.arange(len(correlation))
        rows += [np.interp(lags * multiple, axis, correlation, right=0.0) for multiple in _MULTIPLES]
    octaves = np.log2(bpm / 120.0)
    return np.stack([*rows, octaves, octaves**2, np.ones_like(octaves)], axis=1)


def _autocorrelation(pulse: np.ndarray, frame_rate: float) -> np.ndarray:
    """Autocorrelation of a curve, the mean over pieces of 12 s, 1 at lag 0; loud pieces count more."""
    longest, size = round(_LONGEST_LAG * frame_rate), round(_PIECE_SECONDS * frame_rate)
    total, weight = np.zeros(longest), np.zeros(longest)
    for start in range(0, max(len(pulse) - size // 2, 1), size // 2):
        piece = pulse[start : start + size]
        n = len(piece)
        spectrum = np.fft.rfft(piece - piece.mean(), 2 * n)
        correlation = np.fft.irfft(spectrum.real**2 + spectrum.imag**2)[: min(n, longest)]
        overlap = 1.0 - np.arange(len(correlation)) / n
        kept = overlap > _LEAST_OVERLAP
        total[: len(correlation)][kept] += correlation[kept] / overlap[kept]
        weight[: len(correlation)][kept] += correlation[0]
    return np.divide(total, weight, out=np.zeros(longest), where=weight > 1e-12)


def estimate_tempo(curves: np.ndarray, frame_rate: float) -> tuple[float, float]:
    """Estimate the tempo: the likeliest of many, or none.

    Parameters
    ----------
    curves : np.ndarray [shape=(CURVES, frames)]
        As `onset_curves` gives them.
    frame_rate : float
        Frames per second.

    Returns
    -------
    tempo : float
        In BPM, 40 to 240; 0 where nothing moves, or for less than 2 s.
    confidence : float
        The likelihood that this, its half or its double is the tempo, 0 to 1.

    See Also
    --------
    periodicity : what is weighed.
    track_beats : the beats at a tempo.
    """
    if curves.shape[1] < _SHORTEST_SECONDS * frame_rate or not curves.any():
        return 0.0, 0.0
    score, none = _tempo_scores(curves, frame_rate), float(fitted()["no_tempo"])
    highest = max(float(score.max()), none)
    share = np.exp(score - highest)
    share /= share.sum() + np.exp(none - highest)
    best = int(np.argmax(score))
    octaves = np.abs(np.arange(len(score)) - best) * _TEMPO_STEP
    same = np.abs(octaves - np.minimum(np.round(octaves), 1.0)) < _SAME_TEMPO
    inner = min(max(best, 1), len(score) - 2)
    place = float(_between_frames(score, np.array([inner]))[0]) if inner == best else float(best)
    return _SLOWEST * 2.0 ** (place * _TEMPO_STEP), float(share[same].sum())


def _tempo_scores(curves: np.ndarray, frame_rate: float) -> np.ndarray:
    """Weigh each of `tempos` in all meters [shape=(tempos,)], as logarithms of likelihoods."""
    in_meters = np.einsum("td,md->mt", periodicity(curves, frame_rate), fitted()["tempo"])
    return np.asarray(np.logaddexp.reduce(in_meters, axis=0))


def tempo_votes(curves: np.ndarray, frame_rate: float, times: np.ndarray) -> np.ndarray:
    """Measure how much the music around each of some times speaks for each tempo.

    Of music in which it is played `estimate_tempo` finds more likely what it speaks for.

    Parameters
    ----------
    curves : np.ndarray [shape=(CURVES, frames)]
        As `onset_curves` gives them.
    frame_rate : float
        Frames per second.
    times : np.ndarray [shape=(N,)]
        In seconds.

    Returns
    -------
    np.ndarray [shape=(N, tempos), float64]
        As logarithms of likelihoods up to a constant, by `tempos`: of the 12 s around each time.
    """
    size = round(_PIECE_SECONDS * frame_rate)
    middles = np.arange(0.0, curves.shape[1] / frame_rate + _VOTES_APART, _VOTES_APART)
    scores = []
    for middle in middles:
        first = max(min(round(middle * frame_rate) - size // 2, curves.shape[1] - size), 0)
        scores.append(_tempo_scores(curves[:, first : first + size], frame_rate))
    return np.stack([np.interp(times, middles, score) for score in np.transpose(scores)], axis=1)


def track_beats(curves: np.ndarray, frame_rate: float, tempo: float) -> np.ndarray:
    """Find the beats.

    Dynamic programming [2]_ finds a chain of strong onsets, evenly spaced. These may as well be off-beats: so
    the chain is moved by the share of a beat that makes the music around it most like that around beats, if
    that is clearly likelier than the chain as it is. It is not moved to where next to nothing begins.

    Parameters
    ----------
    curves : np.ndarray [shape=(CURVES, frames)]
        As `onset_curves` gives them.
    frame_rate : float
        Frames per second.
    tempo : float
        In BPM, as `estimate_tempo` gives it; 0 gives no beats.

    Returns
    -------
    np.ndarray [shape=(beats,), float64]
        Beat times in seconds, ascending.
    """
    chain = evenly_spaced(curves[0], frame_rate, tempo)
    if len(chain) < _FEWEST_BEATS:
        return chain / frame_rate
    around = beat_shape(curves, frame_rate, chain)
    turned = np.stack([np.roll(around, -place, axis=1) for place in range(PLACES)])
    score = np.einsum("pcs,cs->p", turned, fitted()["beat"]) + fitted()["beat_place"]
    score[0] += _STAYS
    strength = 1.0 + around[0]
    place = int(np.argmax(np.where(strength >= _MARKED * strength[0], score, -np.inf)))
    if place:
        spacing = np.diff(chain, append=2.0 * chain[-1] - chain[-2])
        chain = np.concatenate([chain[:1] - spacing[:1], chain])
        chain = chain + np.concatenate([spacing[:1], spacing]) * (place / PLACES)
        chain = chain[(chain >= 0.0) & (chain < curves.shape[1])]
    return chain / frame_rate


def beat_shape(curves: np.ndarray, frame_rate: float, beats: np.ndarray) -> np.ndarray:
    """Measure the mean strength of onsets at each place of a beat.

    Parameters
    ----------
    curves : np.ndarray [shape=(CURVES, frames)]
        As `onset_curves` gives them.
    frame_rate : float
        Frames per second.
    beats : np.ndarray [shape=(beats,)]
        In frames, at least two.

    Returns
    -------
    np.ndarray [shape=(CURVES, PLACES), float64]
        Over the mean of each curve, less 1.
    """
    steps = np.arange(PLACES) / PLACES
    places = beats[:-1, None] + np.diff(beats)[:, None] * steps
    frames = np.clip(np.round(places).astype(np.int64), 0, curves.shape[1] - 1)
    shape = np.empty((len(curves), PLACES))
    for row, curve in zip(shape, curves, strict=True):
        pulse = _pulse(curve, frame_rate)
        padded = np.pad(pulse, 1)
        near = np.maximum(np.maximum(padded[:-2], padded[1:-1]), padded[2:])
        mean = near[frames].mean(axis=0)
        row[:] = mean / (mean.mean() + 1e-9) - 1.0
    return shape


def evenly_spaced(envelope: np.ndarray, frame_rate: float, tempo: float) -> np.ndarray:
    """Strong onsets about a period of `tempo` apart [shape=(onsets,), float64], in frames [2]_."""
    if tempo <= 0.0 or len(envelope) < 3:
        return np.zeros(0)
    pulse = _pulse(envelope, frame_rate)
    scale = pulse.std()
    if scale <= 1e-9:
        return np.zeros(0)
    local = pulse / scale
    period = 60.0 * frame_rate / tempo
    steps = np.arange(int(np.ceil(period / 2)), int(2 * period) + 1)
    penalty = -_TIGHTNESS * np.log(steps / period) ** 2
    n, reach, stride = len(local), int(steps[-1]), int(steps[0])
    score = np.full(n + reach, -np.inf)  # `reach` frames before the audio, where no beat can be
    score[:reach] = 0.0
    previous = np.full(n, -1, dtype=np.int64)
    # Frames closer than the shortest step cannot follow each other, so they are scored as one block.
    for begin in range(0, n, stride):
        frame = np.arange(begin, min(begin + stride, n))
        before = frame[:, None] - steps[None, :]
        options = score[before + reach] + penalty
        best = np.argmax(options, axis=1)
        chosen = options[np.arange(len(frame)), best]
        score[frame + reach] = local[frame] + chosen
        previous[frame] = before[np.arange(len(frame)), best]
    score = score[reach:]
    tail = max(n - round(period), 0)
    beat = tail + int(np.argmax(score[tail:]))
    beats = []
    while beat >= 0:
        beats.append(beat)
        beat = int(previous[beat])
    frames = np.array(beats[::-1])
    # Beats in silence before the music begins or after it ended are extrapolation: leave them out.
    strong = np.flatnonzero(local[frames] > _WEAK_BEAT * np.median(local[frames]) + 1e-6)
    if not len(strong):
        return np.zeros(0)
    frames = frames[strong[0] : strong[-1] + 1]
    return _between_frames(pulse, frames)


def _pulse(envelope: np.ndarray, frame_rate: float) -> np.ndarray:
    """Remove an envelope's slow changes, keep what is above them, and smooth it by 20 ms."""
    wide = max(round(_PULSE_SURROUNDINGS * frame_rate), 1)
    sharp = np.maximum(envelope - _moving_mean(envelope, wide, mode="edge"), 0.0)
    sigma = _PULSE_SMOOTHING * frame_rate
    reach = int(np.ceil(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    # Not `np.convolve`, which calls BLAS; the kernel is its own mirror image.
    around = np.lib.stride_tricks.sliding_window_view(np.pad(sharp, reach), len(kernel))
    return np.einsum("tk,k->t", around, kernel)


def _moving_mean(curve: np.ndarray, wide: int, mode: Literal["constant", "edge"]) -> np.ndarray:
    """Average each value with `wide` neighbours on either side, the ends padded as `np.pad` does it."""
    sums = np.cumsum(np.pad(curve.astype(np.float64), (wide + 1, wide), mode=mode))
    return (sums[2 * wide + 1 :] - sums[: -2 * wide - 1]) / (2 * wide + 1)


def _between_frames(curve: np.ndarray, peaks: np.ndarray) -> np.ndarray:
    """Place local maxima between frames, by a parabola through three values."""
    inner = np.clip(peaks, 1, len(curve) - 2)
    a, b, c = curve[inner - 1], curve[inner], curve[inner + 1]
    is_top = (b >= a) & (b >= c) & (inner == peaks)
    shift = np.zeros(len(peaks))
    shift[is_top] = vertex(a[is_top], b[is_top], c[is_top], float(np.finfo(curve.dtype).tiny))
    return peaks + shift
