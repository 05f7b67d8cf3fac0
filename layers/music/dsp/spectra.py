"""Spectra: windows, power spectra in blocks, mel bands, cepstra, the spectral centroid.

Conventions, everywhere in `music.dsp`:

- audio is ``np.ndarray [shape=(n,) or (channels, n), float32]``, and ``rate`` is its sample rate in Hz;
- the power of several channels is the mean of theirs, so that no phase between them makes a sound vanish;
- a time-frequency array has shape ``(bins, frames)``; frame ``t`` is centred on sample ``t * hop``, the audio
  counts as zero outside its ends, and so there are always ``1 + n // hop`` frames;
- long audio is worked through in blocks of frames: memory grows with what is kept (mel bands, notes), not
  with the spectra, and 15 minutes stay below 200 MB;
- no function calls BLAS, whose sums depend on the number of threads: the same audio gives the same bytes with
  any number of them.

We do not use librosa, which has all of this. For the cepstra, chroma and beats of half a minute a fresh
process takes 28 s of processor time with it, 3.7 s once numba has cached what it compiled, and 0.2 s with
this; and it brings 285 MB of packages (numba, llvmlite, scikit-learn) into an image. The tests compare with
it.

References
----------
.. [1] Slaney, "Auditory Toolbox", technical report 1998-010, Interval Research Corporation, 1998: the mel
   scale that is linear to 1000 Hz, and triangular filters of equal area.
"""

from collections.abc import Iterator
from functools import cache

import numpy as np

N_FFT = 2048
"""The usual window, in samples: 93 ms at 22,050 Hz."""
HOP = 512
"""The usual step between frames, in samples: 23 ms at 22,050 Hz."""
BLOCK = 256
"""Frames in a block of spectra: 2 MB at the usual window, which stays in the processor's cache."""
EMPTY = 1e-10
"""Power, relative to full scale, at or below which a band counts as empty: -100 dB."""

_BREAK_HZ, _BREAK_MEL = 1000.0, 15.0  # where Slaney's scale turns from linear to logarithmic
_LOWEST_BIN = 2  # what lies below, a rest of an offset, is no sound
_CENTROID_FLOOR = 1e-4  # mean magnitude of a bin, relative to full scale, below which nothing sounds


@cache
def hann(n: int) -> np.ndarray:
    """Return a periodic Hann window.

    Parameters
    ----------
    n : int
        Length in samples.

    Returns
    -------
    np.ndarray [shape=(n,), float64]
        It is read-only and cached.
    """
    window = np.hanning(n + 1)[:-1]
    window.setflags(write=False)
    return window


def power_blocks(y: np.ndarray, n_fft: int, hop: int) -> Iterator[tuple[int, np.ndarray]]:
    """Compute power spectra with a Hann window, one block of frames after another.

    Parameters
    ----------
    y : np.ndarray [shape=(n,) or (channels, n)]
        Audio.
    n_fft, hop : int
        Window length and step, in samples.

    Yields
    ------
    first : int
        The number of the block's first frame.
    power : np.ndarray [shape=(frames, 1 + n_fft // 2), float32]
        Squared magnitudes of at most `BLOCK` frames, the mean over the channels.
    """
    channels = np.atleast_2d(y)
    n = channels.shape[1]
    frames = 1 + n // hop
    window = hann(n_fft).astype(np.float32)
    for first in range(0, frames, BLOCK):
        last = min(first + BLOCK, frames)
        begin, end = first * hop - n_fft // 2, (last - 1) * hop + n_fft - n_fft // 2
        piece = np.zeros((len(channels), end - begin), dtype=np.float32)
        inside = channels[:, max(begin, 0) : min(end, n)]
        piece[:, max(-begin, 0) : max(-begin, 0) + inside.shape[1]] = inside
        if len(piece) == 2 and np.array_equal(piece[0], piece[1]):
            piece = piece[:1]
        power = np.zeros((last - first, 1 + n_fft // 2), dtype=np.float32)
        for channel in piece:
            windows = np.lib.stride_tricks.sliding_window_view(channel, n_fft)[::hop]  # (frames, n_fft)
            spectrum = np.fft.rfft(windows * window, axis=1)
            power += spectrum.real**2
            power += spectrum.imag**2
        if len(piece) > 1:
            power /= np.float32(len(piece))
        yield first, power


def hz_to_mel(hz: np.ndarray | float) -> np.ndarray:
    """Convert frequencies in Hz to Slaney's mel scale [1]_: linear to 1000 Hz, logarithmic above.

    See Also
    --------
    mel_to_hz : the inverse.

    Examples
    --------
    >>> hz_to_mel(np.array([200.0, 1000.0, 6400.0]))
    array([ 3., 15., 42.])
    """
    hz = np.asarray(hz, dtype=np.float64)
    # `np.where` evaluates both branches: 0 Hz must not reach the logarithm.
    above = _BREAK_MEL + 27 * np.log(np.maximum(hz, 1e-3) / _BREAK_HZ) / np.log(6.4)
    return np.where(hz < _BREAK_HZ, hz * 3 / 200, above)


def mel_to_hz(mel: np.ndarray | float) -> np.ndarray:
    """Convert Slaney's mel scale [1]_ to frequencies in Hz.

    See Also
    --------
    hz_to_mel : the inverse.
    """
    mel = np.asarray(mel, dtype=np.float64)
    above = _BREAK_HZ * np.exp(np.log(6.4) / 27 * (mel - _BREAK_MEL))
    return np.where(mel < _BREAK_MEL, mel * 200 / 3, above)


@cache
def mel_filterbank(
    rate: float, n_fft: int = N_FFT, n_mels: int = 128, fmin: float = 0.0, fmax: float | None = None
) -> np.ndarray:
    """Return triangular filters of equal area on Slaney's mel scale [1]_.

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
        It is read-only and cached.
    """
    low, high = hz_to_mel(np.array([fmin, fmax or rate / 2]))
    edges = mel_to_hz(np.linspace(low, high, n_mels + 2))
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
    """Compute the power in mel bands.

    Parameters
    ----------
    y : np.ndarray [shape=(n,) or (channels, n)]
        Audio.
    rate : float
        Sample rate in Hz.
    n_fft, hop : int
        Window length and step, in samples.
    n_mels : int
        Number of bands.
    fmin, fmax : float
        Range covered, in Hz; `fmax` defaults to ``rate / 2``.

    Returns
    -------
    np.ndarray [shape=(n_mels, 1 + n // hop), float32]

    See Also
    --------
    mel_filterbank : the bands.
    """
    filters = mel_filterbank(rate, n_fft, n_mels, fmin, fmax)
    mel = np.zeros((n_mels, 1 + y.shape[-1] // hop), dtype=np.float32)
    for first, power in power_blocks(y, n_fft, hop):
        _add_mel(power, filters, mel[:, first : first + len(power)])
    return mel


def _add_mel(power: np.ndarray, filters: np.ndarray, mel: np.ndarray) -> None:
    """Write the power in mel bands [shape=(n_mels, frames)] of a block of spectra [shape=(frames, bins)]."""
    for band, weights in zip(mel, filters, strict=True):
        span = np.flatnonzero(weights)
        if len(span):
            inside = slice(span[0], span[-1] + 1)
            band[:] = np.einsum("tk,k->t", power[:, inside], weights[inside])


def to_db(power: np.ndarray, range_db: float = 80.0) -> np.ndarray:
    """Express power in decibels.

    Parameters
    ----------
    power : np.ndarray [shape=(...)]
        Power relative to full scale, not negative.
    range_db : float
        Levels further than this below the highest one are raised to there.

    Returns
    -------
    np.ndarray [shape=(...)]
        dB relative to full scale, at least -100.
    """
    db = 10.0 * np.log10(np.maximum(power, EMPTY))
    return np.maximum(db, db.max() - range_db) if db.size else db


@cache
def _dct(n_out: int, n_in: int) -> np.ndarray:
    """Return the first rows of the orthonormal DCT-II matrix [shape=(n_out, n_in), float32]."""
    basis = np.cos(np.pi * np.arange(n_out)[:, None] * (np.arange(n_in) + 0.5) / n_in) * np.sqrt(2.0 / n_in)
    basis[0] /= np.sqrt(2.0)
    return basis.astype(np.float32)


def cepstra(levels: np.ndarray, count: int) -> np.ndarray:
    """Transform levels by an orthonormal DCT-II over the bands.

    Parameters
    ----------
    levels : np.ndarray [shape=(bands, frames)]
        Logarithmic levels of bands, in any unit.
    count : int
        Number of coefficients to keep; the first one is the mean level times ``sqrt(bands)``.

    Returns
    -------
    np.ndarray [shape=(count, frames)]
        In the unit of `levels`.
    """
    return np.einsum("cm,mt->ct", _dct(count, levels.shape[0]), levels)


def mfcc(mel: np.ndarray, count: int = 20) -> np.ndarray:
    """Compute mel-frequency cepstral coefficients.

    Parameters
    ----------
    mel : np.ndarray [shape=(n_mels, frames)]
        Power in mel bands, as `mel_spectrogram` gives it.
    count : int
        Number of coefficients to keep.

    Returns
    -------
    np.ndarray [shape=(count, frames), float32]
        In dB.

    See Also
    --------
    cepstra : the transform alone.
    """
    return cepstra(to_db(mel).astype(np.float32), count)


def centroid(y: np.ndarray, rate: float) -> np.ndarray:
    """Compute the mean frequency of each frame, weighted by magnitude.

    Parameters
    ----------
    y : np.ndarray [shape=(n,) or (channels, n)]
        Audio.
    rate : float
        Sample rate in Hz.

    Returns
    -------
    np.ndarray [shape=(1 + n // HOP,), float32]
        In Hz; 0 where nothing sounds.
    """
    means = np.zeros(1 + y.shape[-1] // HOP, dtype=np.float32)
    for first, power in power_blocks(y, N_FFT, HOP):
        _add_centroid(power, rate, means[first : first + len(power)])
    return means


def _add_centroid(power: np.ndarray, rate: float, means: np.ndarray) -> None:
    """Write the mean frequency [shape=(frames,)] of each of a block of spectra [shape=(frames, bins)]."""
    frequencies = (np.arange(1 + N_FFT // 2) * (rate / N_FFT)).astype(np.float32)
    magnitude = np.sqrt(power)
    total = magnitude.sum(axis=1)
    weighted = np.einsum("tk,k->t", magnitude, frequencies)
    sounding = magnitude[:, _LOWEST_BIN:].sum(axis=1) > _CENTROID_FLOOR * N_FFT
    means[sounding] = weighted[sounding] / total[sounding]


def timbre(y: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Compute mel bands and centroids from the same spectra.

    Parameters
    ----------
    y : np.ndarray [shape=(n,) or (channels, n)]
        Audio.
    rate : float
        Sample rate in Hz.

    Returns
    -------
    mel : np.ndarray [shape=(128, 1 + n // HOP), float32]
        As `mel_spectrogram` gives it.
    centroid : np.ndarray [shape=(1 + n // HOP,), float32]
        As `centroid` gives it.
    """
    filters = mel_filterbank(rate)
    mel = np.zeros((len(filters), 1 + y.shape[-1] // HOP), dtype=np.float32)
    means = np.zeros(mel.shape[1], dtype=np.float32)
    for first, power in power_blocks(y, N_FFT, HOP):
        here = slice(first, first + len(power))
        _add_mel(power, filters, mel[:, here])
        _add_centroid(power, rate, means[here])
    return mel, means


def vertex(left: np.ndarray, middle: np.ndarray, right: np.ndarray, flattest: float) -> np.ndarray:
    """Place the top of a parabola through three values.

    Parameters
    ----------
    left, middle, right : np.ndarray [shape=(...)]
        Values one step apart, of which the middle one is the highest.
    flattest : float
        The least curvature that counts, over 0; a curve that is flatter is taken to bend so much.

    Returns
    -------
    np.ndarray [shape=(...)]
        Steps from the middle one, -0.5 to 0.5.
    """
    return 0.5 * (left - right) / np.minimum(left - 2.0 * middle + right, -flattest)
