"""Rhythm: onset strength, onsets, tempo, beats.

The conventions are those of `music.dsp.spectra`, and so are the reasons not to use librosa.

References
----------
.. [1] Böck and Widmer, "Maximum filter vibrato suppression for onset detection", DAFx 2013.
.. [2] Ellis, "Beat tracking by dynamic programming", J. New Music Research 36(1), 2007.
"""

from typing import Literal

import numpy as np

from music.dsp.spectra import EMPTY, mel_spectrogram

HOP = 256
"""The step between frames of an onset envelope, in samples: 12 ms at 22,050 Hz."""

_WINDOW_SECONDS = 0.046
_BANDS, _LOWEST_HZ, _HIGHEST_HZ = 80, 30.0, 11000.0
_LAG = 2  # frames over which a rise is measured: an attack takes longer than one
_LOUD_PERCENTILE = 95  # of the frames' levels: what stands for the loudness of the audio
_SOFTEST = 1e3  # levels flatten out 30 dB below that

_ONSETS_APART = 0.05  # seconds
_ONSET_SURROUNDINGS = 0.4  # seconds to either side that an onset must stand out from,
_ONSET_RISE, _ONSET_RATIO = 0.04, 1.3  # by so much above their mean, and by this factor

_PULSE_SURROUNDINGS = 0.5  # seconds to either side whose mean is a slow change
_PULSE_SMOOTHING = 0.02  # seconds
_NO_PULSE = 0.02  # of the envelope's 98th percentile, below which nothing pulses

_SLOWEST, _FASTEST = 40.0, 240.0  # BPM
_TEMPO_STEP = 0.004  # octaves between tempos that are tried
_PIECE_SECONDS = 12.0  # of the audio that is autocorrelated at once: tempo may drift over more
_LEAST_OVERLAP = 0.33  # of a piece with itself; beyond it too few products are left to trust
_COMB = ((1, 1.0), (2, 0.8), (3, 0.4), (4, 0.6))  # periods that a beat must hold on for, and their weights
_USUAL_TEMPO, _TEMPO_DEVIATION = 120.0, 0.9  # BPM and octaves of the prior

_TIGHTNESS = 400.0  # cost of one squared natural logarithm of a spacing over the tempo's own
_WEAK_BEAT = 0.1  # share of the median beat's strength below which a first or last beat is extrapolation


def onset_envelope(y: np.ndarray, rate: float, hop: int = HOP) -> np.ndarray:
    """Measure onset strength over time.

    Levels are relative to the audio's own loud parts, so a softer copy gives the same envelope.

    Parameters
    ----------
    y : np.ndarray [shape=(n,)]
        Mono audio.
    rate : float
        Sample rate in Hz.
    hop : int
        Step between frames, in samples; the window is about 46 ms.

    Returns
    -------
    np.ndarray [shape=(1 + n // hop,), float32]
        Not negative; about 0.1 to 1 at a clear onset.

    See Also
    --------
    superflux : the same of mel bands.
    """
    n_fft = 2 ** round(np.log2(_WINDOW_SECONDS * rate))
    highest = min(rate / 2, _HIGHEST_HZ)
    return superflux(mel_spectrogram(y, rate, n_fft, hop, n_mels=_BANDS, fmin=_LOWEST_HZ, fmax=highest))


def superflux(mel: np.ndarray) -> np.ndarray:
    """Measure how much mel bands rise: spectral flux with vibrato suppression [1]_.

    Each band's logarithmic level is compared with the highest of itself and its two neighbours two frames
    ago, so that a pitch which only wavers rises nowhere.

    Parameters
    ----------
    mel : np.ndarray [shape=(n_mels, frames)]
        Power in mel bands.

    Returns
    -------
    np.ndarray [shape=(frames,), float32]
        Mean rise over the bands, not negative. A sound that is cut off at the first sample is no onset: its
        rise lies before the audio began.
    """
    envelope = np.zeros(mel.shape[1], dtype=np.float32)
    reference = float(np.percentile(mel.mean(axis=0), _LOUD_PERCENTILE)) if mel.size else 0.0
    if reference <= EMPTY:
        return envelope
    level = np.log10(1.0 + mel * np.float32(_SOFTEST / reference))
    around = level.copy()
    np.maximum(around[1:], level[:-1], out=around[1:])
    np.maximum(around[:-1], level[1:], out=around[:-1])
    envelope[_LAG:] = np.maximum(level[:, _LAG:] - around[:, :-_LAG], 0.0).mean(axis=0)
    return envelope


def pick_onsets(envelope: np.ndarray, frame_rate: float) -> np.ndarray:
    """Find the frames where something begins: local maxima that stand out from their surroundings.

    Parameters
    ----------
    envelope : np.ndarray [shape=(frames,)]
        As `onset_envelope` gives it.
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


def estimate_tempo(envelope: np.ndarray, frame_rate: float) -> tuple[float, float]:
    """Estimate the tempo of an onset envelope: a comb over its autocorrelation, and a prior.

    A tempo scores by the autocorrelation at one, two, three and four periods, so that a beat must hold on;
    the broad log-normal prior (120 BPM, deviation 0.9 octave) settles which octave people would tap.

    Parameters
    ----------
    envelope : np.ndarray [shape=(frames,)]
        As `onset_envelope` gives it.
    frame_rate : float
        Frames per second.

    Returns
    -------
    tempo : float
        In BPM, 40 to 240; 0 where nothing pulses.
    clarity : float
        How periodic the envelope is at that tempo, 0 to 1.

    See Also
    --------
    track_beats : the beats at a tempo.
    """
    pulse = _pulse(envelope, frame_rate)
    size = round(_PIECE_SECONDS * frame_rate)
    if len(pulse) < frame_rate or np.percentile(pulse, 98) < _NO_PULSE:
        return 0.0, 0.0
    longest = round(60.0 / _SLOWEST * _COMB[-1][0] * frame_rate) + 2  # lag of the comb's last tooth
    pieces = [pulse[i : i + size] for i in range(0, max(len(pulse) - size // 2, 1), size // 2)]
    total, weight = np.zeros(longest), np.zeros(longest)
    for piece in pieces:
        piece = piece - piece.mean()
        n = len(piece)
        spectrum = np.fft.rfft(piece, 2 * n)
        correlation = np.fft.irfft(spectrum.real**2 + spectrum.imag**2)[: min(n, longest)]
        if correlation[0] <= 1e-12:
            continue
        correlation /= correlation[0]
        overlap = 1.0 - np.arange(len(correlation)) / n
        kept = overlap > _LEAST_OVERLAP
        total[: len(correlation)][kept] += correlation[kept] / overlap[kept]
        weight[: len(correlation)][kept] += 1.0
    correlation = np.divide(total, weight, out=np.zeros(longest), where=weight > 0)
    bpm = _SLOWEST * 2.0 ** np.arange(0.0, np.log2(_FASTEST / _SLOWEST), _TEMPO_STEP)
    lags = 60.0 * frame_rate / bpm
    comb, share = np.zeros(len(bpm)), np.zeros(len(bpm))
    axis = np.arange(longest)
    for multiple, strength in _COMB:
        valid = np.interp(lags * multiple, axis, (weight > 0).astype(float), right=0.0) > 0.99
        comb += np.where(valid, strength * np.interp(lags * multiple, axis, correlation), 0.0)
        share += strength * valid
    comb = np.divide(comb, share, out=np.zeros(len(bpm)), where=share > 0)
    prior = np.exp(-0.5 * (np.log2(bpm / _USUAL_TEMPO) / _TEMPO_DEVIATION) ** 2)
    best = int(np.argmax(np.maximum(comb, 0.0) * prior))
    clarity = float(np.clip(comb[best], 0.0, 1.0))
    return (float(bpm[best]), clarity) if clarity > 0.0 else (0.0, 0.0)


def track_beats(envelope: np.ndarray, frame_rate: float, tempo: float) -> np.ndarray:
    """Find the beats by dynamic programming [2]_: strong onsets, evenly spaced.

    Parameters
    ----------
    envelope : np.ndarray [shape=(frames,)]
        As `onset_envelope` gives it.
    frame_rate : float
        Frames per second.
    tempo : float
        In BPM, as `estimate_tempo` gives it; 0 gives no beats.

    Returns
    -------
    np.ndarray [shape=(beats,), float64]
        Beat times in seconds, ascending.
    """
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
    return _between_frames(pulse, frames) / frame_rate


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
    bend = a - 2.0 * b + c
    is_top = (b >= a) & (b >= c) & (bend < 0) & (inner == peaks)
    return peaks + np.where(is_top, 0.5 * (a - c) / np.where(is_top, bend, 1.0), 0.0)
