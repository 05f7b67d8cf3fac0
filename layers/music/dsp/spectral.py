"""Time-frequency analysis with numpy alone: spectra, mel bands, chroma, onsets, tempo, beats, key.

Conventions, everywhere in this module:

- audio is mono, ``np.ndarray [shape=(n,), float32]``, and ``rate`` is its sample rate in Hz;
- a time-frequency array has shape ``(bins, frames)``; frame ``t`` is centred on sample ``t * hop``, the audio
  counting as zero outside its ends, so there are always ``1 + n // hop`` frames;
- long audio is worked through in blocks of frames, so memory grows with what is kept (mel bands, chroma), not
  with the spectra: 15 minutes stay below 200 MB;
- no BLAS: sums run in a fixed order whatever the number of threads, so equal audio gives equal bytes.

References
----------
.. [1] Ellis, "Beat tracking by dynamic programming", J. New Music Research 36(1), 2007.
.. [2] Böck and Widmer, "Maximum filter vibrato suppression for onset detection", DAFx 2013.
.. [3] Gómez, "Tonal description of music audio signals", PhD thesis, UPF Barcelona, 2006.
.. [4] Temperley, "Music and Probability", MIT Press, 2007 (key profiles after the Kostka-Payne corpus).
"""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

N_FFT = 2048
HOP = 512
ONSET_HOP = 256
PITCH_CLASSES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")

NOTES = 66
LOWEST_NOTE = -27  # A1 (55 Hz), in semitones from middle C (261.6 Hz)

_BLOCK = 256  # frames per block of spectra: 2 MB at n_fft 2048, which stays in cache
_FLOOR = 1e-10  # power below which a band counts as empty: -100 dB re full scale

_CLEAR_KEY = 0.45  # correlation below which no key is claimed: noise reaches 0.35, music 0.5 to 0.95

# Weight of each pitch class in music of a key, tonic first (Temperley 2007, Kostka-Payne corpus).
_MAJOR = np.array([0.748, 0.060, 0.488, 0.082, 0.670, 0.460, 0.096, 0.715, 0.104, 0.366, 0.057, 0.400])
_MINOR = np.array([0.712, 0.084, 0.474, 0.618, 0.049, 0.460, 0.105, 0.747, 0.404, 0.067, 0.133, 0.330])


@lru_cache(maxsize=8)
def _hann(n: int) -> np.ndarray:
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(n) / n)
    return window.astype(np.float32)


def _blocks(y: np.ndarray, n_fft: int, hop: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield ``(first frame, power [shape=(frames, bins)])`` for successive blocks of frames."""
    frames = 1 + len(y) // hop
    window = _hann(n_fft)
    for first in range(0, frames, _BLOCK):
        last = min(first + _BLOCK, frames)
        begin, end = first * hop - n_fft // 2, (last - 1) * hop + n_fft - n_fft // 2
        piece = np.zeros(end - begin, dtype=np.float32)
        inside = y[max(begin, 0) : min(end, len(y))]
        piece[max(-begin, 0) : max(-begin, 0) + len(inside)] = inside
        spectrum = np.fft.rfft(np.lib.stride_tricks.sliding_window_view(piece, n_fft)[::hop] * window, axis=1)
        yield first, spectrum.real**2 + spectrum.imag**2


def power_stft(y: np.ndarray, n_fft: int = N_FFT, hop: int = HOP) -> np.ndarray:
    """Power spectrogram, Hann window.

    Parameters
    ----------
    y : np.ndarray [shape=(n,)]
        Mono audio.
    n_fft, hop : int
        Window length and step, in samples.

    Returns
    -------
    np.ndarray [shape=(1 + n_fft // 2, 1 + n // hop), float32]
        Squared magnitudes. All of them, 4 bytes each: about 160 MB for 15 minutes at 22,050 Hz.
        `mel_spectrogram` and the others never hold them all.
    """
    power = np.empty((1 + len(y) // hop, 1 + n_fft // 2), dtype=np.float32)
    for first, block in _blocks(y, n_fft, hop):
        power[first : first + len(block)] = block
    return power.T


def _hz_to_mel(hz: np.ndarray) -> np.ndarray:
    """Slaney's scale: linear (3 mel per 200 Hz) below 1 kHz, 27 mel per factor 6.4 above it."""
    hz = np.asarray(hz, dtype=np.float64)
    return np.where(
        hz < 1000.0, hz * 0.015, 15.0 + 27.0 * np.log(np.maximum(hz, 1e-3) / 1000.0) / np.log(6.4)
    )


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    mel = np.asarray(mel, dtype=np.float64)
    return np.where(mel < 15.0, mel / 0.015, 1000.0 * np.exp((mel - 15.0) * np.log(6.4) / 27.0))


@lru_cache(maxsize=8)
def mel_filterbank(
    rate: float, n_fft: int = N_FFT, n_mels: int = 128, fmin: float = 0.0, fmax: float | None = None
) -> np.ndarray:
    """Triangular filters of equal area on Slaney's mel scale.

    Parameters
    ----------
    rate : float
        Sample rate in Hz.
    n_fft : int
        Window length in samples.
    n_mels : int
        Number of filters.
    fmin, fmax : float
        Range covered, in Hz; `fmax` defaults to ``rate / 2``.

    Returns
    -------
    np.ndarray [shape=(n_mels, 1 + n_fft // 2), float32]
        Read-only; cached.
    """
    low, high = _hz_to_mel(np.array([fmin, fmax or rate / 2]))
    edges = _mel_to_hz(np.linspace(low, high, n_mels + 2))
    bins = np.arange(1 + n_fft // 2) * rate / n_fft
    below, centre, above = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    triangle = np.minimum((bins - below) / (centre - below), (above - bins) / (above - centre))
    filters = (np.maximum(triangle, 0.0) * 2.0 / (above - below)).astype(np.float32)
    filters.setflags(write=False)
    return filters


def mel_spectrogram(
    y: np.ndarray,
    rate: float,
    n_fft: int = N_FFT,
    hop: int = HOP,
    n_mels: int = 128,
    fmin: float = 0.0,
    fmax: float | None = None,
) -> np.ndarray:
    """Power in mel bands.

    Parameters
    ----------
    y : np.ndarray [shape=(n,)]
        Mono audio.
    rate : float
        Sample rate in Hz.
    n_fft, hop : int
        Window length and step, in samples.
    n_mels : int
        Number of bands.
    fmin, fmax : float
        Range covered, in Hz.

    Returns
    -------
    np.ndarray [shape=(n_mels, 1 + n // hop), float32]

    See Also
    --------
    mel_filterbank
    """
    filters = mel_filterbank(rate, n_fft, n_mels, fmin, fmax)
    spans = [np.flatnonzero(row) for row in filters]
    mel = np.zeros((n_mels, 1 + len(y) // hop), dtype=np.float32)
    for first, power in _blocks(y, n_fft, hop):
        for band, span in enumerate(spans):
            if len(span):
                weights = filters[band, span[0] : span[-1] + 1]
                mel[band, first : first + len(power)] = np.einsum(
                    "tk,k->t", power[:, span[0] : span[-1] + 1], weights
                )
    return mel


def to_db(power: np.ndarray, range_db: float | None = 80.0) -> np.ndarray:
    """Power as decibels, no lower than `range_db` below its own maximum (``None``: no lower than -100 dB)."""
    db = 10.0 * np.log10(np.maximum(power, _FLOOR))
    return db if range_db is None or not db.size else np.maximum(db, db.max() - range_db)


@lru_cache(maxsize=8)
def _dct(n_out: int, n_in: int) -> np.ndarray:
    """Orthonormal DCT-II matrix [shape=(n_out, n_in)]."""
    basis = np.cos(np.pi * np.arange(n_out)[:, None] * (np.arange(n_in) + 0.5) / n_in) * np.sqrt(2.0 / n_in)
    basis[0] /= np.sqrt(2.0)
    return basis.astype(np.float32)


def cepstra(levels: np.ndarray, count: int) -> np.ndarray:
    """Orthonormal DCT-II over bands [shape=(bands, frames)] -> [shape=(count, frames)]."""
    return np.einsum("cm,mt->ct", _dct(count, levels.shape[0]), levels)


def mfcc_from_mel(mel: np.ndarray, n_mfcc: int = 20) -> np.ndarray:
    """Cepstral coefficients [shape=(n_mfcc, frames)] of a mel spectrogram [shape=(n_mels, frames)]."""
    return cepstra(to_db(mel).astype(np.float32), n_mfcc)


def mfcc(y: np.ndarray, rate: float, n_mfcc: int = 20, n_fft: int = N_FFT, hop: int = HOP) -> np.ndarray:
    """Mel-frequency cepstral coefficients: orthonormal DCT-II of 128 mel bands in decibels.

    Parameters
    ----------
    y : np.ndarray [shape=(n,)]
        Mono audio.
    rate : float
        Sample rate in Hz.
    n_mfcc : int
        Number of coefficients; the first one is the level.
    n_fft, hop : int
        Window length and step, in samples.

    Returns
    -------
    np.ndarray [shape=(n_mfcc, 1 + n // hop), float32]
    """
    return mfcc_from_mel(mel_spectrogram(y, rate, n_fft, hop), n_mfcc)


def _pitch_peaks(
    y: np.ndarray, rate: float, hop: int, fmin: float, fmax: float
) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield spectral peaks of successive blocks: first frame, then frame from there on, semitones above
    middle C and magnitude, each [shape=(peaks,)].

    The window is about 0.19 s, enough to part semitones above 100 Hz; a peak is placed between bins by a
    parabola through the logarithms of its neighbours.
    """
    n_fft = 2 ** round(np.log2(0.186 * rate))
    low, high = max(int(fmin * n_fft / rate), 2), min(int(fmax * n_fft / rate) + 1, n_fft // 2 - 1)
    for first, power in _blocks(y, n_fft, hop):
        here = power[:, low:high]
        # 50 dB below the strongest of its frame a peak says little about harmony, and below -90 dB nothing.
        floor = np.maximum(here.max(axis=1, keepdims=True) * 1e-5, (n_fft / 4) ** 2 * 1e-9)
        left, right = power[:, low - 1 : high - 1], power[:, low + 1 : high + 1]
        frame, k = np.nonzero((here > left) & (here >= right) & (here > floor))
        a, b, c = (np.log(np.maximum(part[frame, k], 1e-20)) for part in (left, here, right))
        shift = 0.5 * (a - c) / np.minimum(a - 2.0 * b + c, -1e-6)
        pitch = 12.0 * np.log2((k + low + shift) * (rate / n_fft) / 440.0) + 9.0
        yield first, frame.astype(np.int16), pitch.astype(np.float32), np.sqrt(here[frame, k])


def pitch_salience(
    y: np.ndarray, rate: float, hop: int = HOP, fmin: float = 53.0, fmax: float = 2300.0
) -> np.ndarray:
    """Strength of every note over time, from spectral peaks (after [3]_).

    The tuning of the recording is measured first and taken out, so that a piece tuned a quarter tone off
    still falls on its nearest notes.

    Parameters
    ----------
    y : np.ndarray [shape=(n,)]
        Mono audio.
    rate : float
        Sample rate in Hz, at least 8000.
    hop : int
        Step in samples.
    fmin, fmax : float
        Range in which peaks count, in Hz; nothing outside A1 to D7 does.

    Returns
    -------
    np.ndarray [shape=(66, 1 + n // hop), float32]
        From A1 (55 Hz) to D7. Sums of peak magnitudes, not normalised; partials count as notes of their own.

    See Also
    --------
    chroma
    """
    blocks = list(_pitch_peaks(y, rate, hop, fmin, fmax))
    turn = sum(complex(np.sum(weight * np.exp(2j * np.pi * pitch))) for _, _, pitch, weight in blocks)
    tuning = float(np.angle(turn)) / (2.0 * np.pi)
    salience = np.zeros((NOTES, 1 + len(y) // hop), dtype=np.float32)
    for first, frame, pitch, weight in blocks:
        here = salience[:, first : first + _BLOCK]
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
    """Fold notes [shape=(66, frames)] into pitch classes [shape=(12, frames)], from C to B."""
    folded = np.zeros((12, salience.shape[1]), dtype=np.float32)
    for note, row in enumerate(salience):
        folded[(note + LOWEST_NOTE) % 12] += row
    return folded


def chroma(
    y: np.ndarray, rate: float, hop: int = HOP, fmin: float = 53.0, fmax: float = 2300.0
) -> np.ndarray:
    """Strength of the pitch classes over time: `pitch_salience` folded into one octave.

    Parameters
    ----------
    y : np.ndarray [shape=(n,)]
        Mono audio.
    rate : float
        Sample rate in Hz, at least 8000.
    hop : int
        Step in samples.
    fmin, fmax : float
        Range in which peaks count, in Hz.

    Returns
    -------
    np.ndarray [shape=(12, 1 + n // hop), float32]
        From C to B. Not normalised: in a mean over frames loud ones weigh more; zero where nothing sounds.

    See Also
    --------
    key_of
    """
    return chroma_from_salience(pitch_salience(y, rate, hop))


def key_of(pitch_classes: np.ndarray) -> tuple[str, str, float] | None:
    """Key of a mean chroma by correlation with Temperley's profiles [4]_.

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
    >>> key_of(np.array([1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0]))[:2]
    ('C', 'major')
    """
    weights = np.asarray(pitch_classes, dtype=np.float64)
    if weights.std() <= 0.05 * weights.mean():
        return None
    best = ("C", "major", -2.0)
    for mode, profile in (("major", _MAJOR), ("minor", _MINOR)):
        for tonic in range(12):
            score = float(np.corrcoef(np.roll(profile, tonic), weights)[0, 1])
            if score > best[2]:
                best = (PITCH_CLASSES[tonic], mode, score)
    return best if best[2] >= _CLEAR_KEY else None


def spectral_centroid(y: np.ndarray, rate: float, n_fft: int = N_FFT, hop: int = HOP) -> np.ndarray:
    """Magnitude-weighted mean frequency per frame [shape=(1 + n // hop,)], in Hz; 0 where nothing sounds."""
    frequencies = (np.arange(1 + n_fft // 2) * (rate / n_fft)).astype(np.float32)
    centroid = np.zeros(1 + len(y) // hop, dtype=np.float32)
    for first, power in _blocks(y, n_fft, hop):
        magnitude = np.sqrt(power)
        total = magnitude.sum(axis=1)
        weighted = np.einsum("tk,k->t", magnitude, frequencies)
        sounding = total > 1e-4 * n_fft
        centroid[first : first + len(power)][sounding] = weighted[sounding] / total[sounding]
    return centroid


def onset_envelope(y: np.ndarray, rate: float, hop: int = ONSET_HOP) -> np.ndarray:
    """Onset strength over time: spectral flux of log mel bands with vibrato suppression ("superflux" [2]_).

    Levels are relative to the audio's own loud parts, so a softer copy gives the same envelope.

    Parameters
    ----------
    y : np.ndarray [shape=(n,)]
        Mono audio.
    rate : float
        Sample rate in Hz.
    hop : int
        Step in samples; the window is about 46 ms.

    Returns
    -------
    np.ndarray [shape=(1 + n // hop,), float32]
        Mean rise over the bands since two frames ago, not negative; about 0.1 to 1 at a clear onset.
    """
    n_fft = 2 ** round(np.log2(0.046 * rate))
    mel = mel_spectrogram(y, rate, n_fft, hop, n_mels=80, fmin=30.0, fmax=min(rate / 2, 11000.0))
    return flux(mel)


def flux(mel: np.ndarray, lag: int = 2) -> np.ndarray:
    """Superflux of a mel spectrogram [shape=(n_mels, frames)] -> (frames,); see `onset_envelope`."""
    envelope = np.zeros(mel.shape[1], dtype=np.float32)
    reference = float(np.percentile(mel.mean(axis=0), 95)) if mel.size else 0.0
    if reference <= _FLOOR:
        return envelope
    level = np.log10(1.0 + mel * np.float32(1e3 / reference))
    around = level.copy()
    np.maximum(around[1:], level[:-1], out=around[1:])
    np.maximum(around[:-1], level[1:], out=around[:-1])
    envelope[lag:] = np.maximum(level[:, lag:] - around[:, :-lag], 0.0).mean(axis=0)
    # A sound cut off at the first sample is an onset too, but its rise lies before the audio began.
    return envelope


def pick_onsets(envelope: np.ndarray, frame_rate: float) -> np.ndarray:
    """Frames where something begins: local maxima that stand out from their surroundings.

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
    near = max(round(0.05 * frame_rate), 1)
    padded = np.pad(envelope, near)
    is_peak = envelope >= np.lib.stride_tricks.sliding_window_view(padded, 2 * near + 1).max(axis=1)
    wide = max(round(0.4 * frame_rate), 1)
    sums = np.cumsum(np.pad(envelope.astype(np.float64), (wide + 1, wide)))
    mean = (sums[2 * wide + 1 :] - sums[: -2 * wide - 1]) / (2 * wide + 1)
    candidates = np.flatnonzero(is_peak & (envelope > mean + 0.04) & (envelope > 1.3 * mean))
    kept: list[int] = []
    for frame in candidates:  # plateaus: the first of equal neighbours
        if not kept or frame - kept[-1] > near:
            kept.append(int(frame))
    return np.array(kept, dtype=np.int64)


def _pulse(envelope: np.ndarray, frame_rate: float) -> np.ndarray:
    """Envelope with its slow changes removed, half-wave rectified, and smoothed by 20 ms."""
    wide = max(round(0.5 * frame_rate), 1)
    sums = np.cumsum(np.pad(envelope.astype(np.float64), (wide + 1, wide), mode="edge"))
    mean = (sums[2 * wide + 1 :] - sums[: -2 * wide - 1]) / (2 * wide + 1)
    sharp = np.maximum(envelope - mean, 0.0)
    sigma = 0.02 * frame_rate
    reach = int(np.ceil(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.convolve(np.pad(sharp, reach), kernel / kernel.sum(), mode="valid")


def estimate_tempo(
    envelope: np.ndarray, frame_rate: float, low: float = 40.0, high: float = 240.0
) -> tuple[float, float]:
    """Tempo of an onset envelope: comb over its autocorrelation, with a prior around 120 BPM.

    A tempo scores by the autocorrelation at one, two, three and four periods, so a beat must hold on; the
    broad log-normal prior (deviation 0.9 octave) settles which octave people would tap.

    Parameters
    ----------
    envelope : np.ndarray [shape=(frames,)]
        As `onset_envelope` gives it.
    frame_rate : float
        Frames per second.
    low, high : float
        Range in BPM.

    Returns
    -------
    tuple of (float, float)
        Tempo in BPM (0 where nothing pulses) and clarity, 0 to 1: how periodic the envelope is at that tempo.
    """
    pulse = _pulse(envelope, frame_rate)
    size = round(12.0 * frame_rate)
    if len(pulse) < frame_rate or np.percentile(pulse, 98) < 0.02:
        return 0.0, 0.0
    longest = round(60.0 / low * 4.0 * frame_rate) + 2
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
        # Unbiased down to a third of the piece; beyond that too few products are left to trust.
        kept = overlap > 0.33
        total[: len(correlation)][kept] += correlation[kept] / overlap[kept]
        weight[: len(correlation)][kept] += 1.0
    correlation = np.divide(total, weight, out=np.zeros(longest), where=weight > 0)
    bpm = low * 2.0 ** np.arange(0.0, np.log2(high / low), 0.004)
    lags = 60.0 * frame_rate / bpm
    comb, share = np.zeros(len(bpm)), np.zeros(len(bpm))
    axis = np.arange(longest)
    for multiple, strength in ((1, 1.0), (2, 0.8), (3, 0.4), (4, 0.6)):
        valid = np.interp(lags * multiple, axis, (weight > 0).astype(float), right=0.0) > 0.99
        comb += np.where(valid, strength * np.interp(lags * multiple, axis, correlation), 0.0)
        share += strength * valid
    comb = np.divide(comb, share, out=np.zeros(len(bpm)), where=share > 0)
    prior = np.exp(-0.5 * (np.log2(bpm / 120.0) / 0.9) ** 2)
    best = int(np.argmax(np.maximum(comb, 0.0) * prior))
    clarity = float(np.clip(comb[best], 0.0, 1.0))
    return (float(bpm[best]), clarity) if clarity > 0.0 else (0.0, 0.0)


def track_beats(
    envelope: np.ndarray, frame_rate: float, tempo: float, tightness: float = 400.0
) -> np.ndarray:
    """Beats by dynamic programming [1]_: strong onsets, evenly spaced.

    Parameters
    ----------
    envelope : np.ndarray [shape=(frames,)]
        As `onset_envelope` gives it.
    frame_rate : float
        Frames per second.
    tempo : float
        BPM, as `estimate_tempo` gives it; 0 gives no beats.
    tightness : float
        How much a spacing other than the tempo's costs.

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
    penalty = -tightness * np.log(steps / period) ** 2
    n, reach, stride = len(local), int(steps[-1]), int(steps[0])
    score = np.full(n + reach, -np.inf)  # `reach` frames before the audio, where no beat can be
    score[:reach] = 0.0
    previous = np.full(n, -1, dtype=np.int64)
    for begin in range(
        0, n, stride
    ):  # frames closer than the shortest step cannot follow each other: one block
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
    strong = np.flatnonzero(local[frames] > 0.1 * np.median(local[frames]) + 1e-6)
    if not len(strong):
        return np.zeros(0)
    frames = frames[strong[0] : strong[-1] + 1]
    return _between_frames(pulse, frames) / frame_rate


def _between_frames(curve: np.ndarray, peaks: np.ndarray) -> np.ndarray:
    """Positions of local maxima between frames, by a parabola through three values."""
    inner = np.clip(peaks, 1, len(curve) - 2)
    a, b, c = curve[inner - 1], curve[inner], curve[inner + 1]
    bend = a - 2.0 * b + c
    is_top = (b >= a) & (b >= c) & (bend < 0) & (inner == peaks)
    return peaks + np.where(is_top, 0.5 * (a - c) / np.where(is_top, bend, 1.0), 0.0)
