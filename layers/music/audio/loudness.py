"""Loudness and true peak after ITU-R BS.1770-4, with numpy alone.

References
----------
.. [1] ITU-R BS.1770-4 (2015), Algorithms to measure audio programme loudness and true-peak audio level.
.. [2] B. De Man, "Evaluation of implementations of the EBU R128 loudness measurement", AES 145 (2018): the
   analogue prototype of the K-weighting filters, from which their coefficients follow at any sample rate.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache

import numpy as np

OVERSAMPLING = 4

_HALF_TAPS = 12
_ROW = 32
_CHUNK = _ROW << 10

# Weights by number of channels, in their usual order: 1.41 for surrounds at 60 to 120 degrees, none for the
# low frequency channel of 5.1, 6.1 and 7.1.
_WEIGHTS = {
    1: (1.0,),
    2: (1.0, 1.0),
    3: (1.0, 1.0, 1.0),
    4: (1.0, 1.0, 1.0, 1.0),
    5: (1.0, 1.0, 1.0, 1.41, 1.41),
    6: (1.0, 1.0, 1.0, 0.0, 1.41, 1.41),
    7: (1.0, 1.0, 1.0, 0.0, 1.0, 1.41, 1.41),
    8: (1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.41, 1.41),
}


def integrated_loudness(audio: np.ndarray, rate: int) -> float:
    """Gated loudness of a whole piece.

    Parameters
    ----------
    audio : np.ndarray [shape=(channels, n)]
        One to eight channels.
    rate : int
        Hz.

    Returns
    -------
    float
        LUFS; ``-inf`` where nothing is above the absolute gate of -70 LUFS. A piece shorter than one gating
        block (0.4 s) is measured as one block.

    See Also
    --------
    streamed_loudness : the same, of blocks that are never held together.
    """
    return streamed_loudness([audio], rate)


def streamed_loudness(blocks: Iterable[np.ndarray], rate: int) -> float:
    """Gated loudness of a piece that comes in blocks.

    Parameters
    ----------
    blocks : iterable of np.ndarray [shape=(channels, n)]
        Any lengths, all of the same number of channels.
    rate : int
        Hz.

    Returns
    -------
    float
        See `integrated_loudness`.
    """
    energies = np.fromiter(_hop_energies(blocks, rate), dtype=np.float64)
    if not len(energies):
        return -np.inf
    # Four hops of 0.1 s make a gating block of 0.4 s, each block overlapping the next by three quarters.
    width = min(4, len(energies))
    power = np.convolve(energies, np.full(width, 1.0 / width), mode="valid")
    power = power[_lufs(power) > -70.0]
    if not len(power):
        return -np.inf
    power = power[_lufs(power) > _lufs(power.mean()) - 10.0]
    return float(_lufs(power.mean()))


def true_peak(audio: np.ndarray, rate: int) -> float:
    """Highest level between the samples, by fourfold oversampling.

    Parameters
    ----------
    audio : np.ndarray [shape=(channels, n)]
    rate : int
        Hz; the measure does not depend on it.

    Returns
    -------
    float
        dBTP; ``-inf`` for silence.
    """
    peak = max((float(envelope.max(initial=0.0)) for envelope in _peak_chunks(audio)), default=0.0)
    return 20.0 * float(np.log10(peak)) if peak > 0.0 else -np.inf


def peak_envelope(audio: np.ndarray) -> np.ndarray:
    """The highest magnitude of any channel at and up to the sample after each sample, fourfold oversampled.

    Parameters
    ----------
    audio : np.ndarray [shape=(channels, n)]

    Returns
    -------
    np.ndarray [shape=(n,)]
        float32; its maximum is the true peak as a linear value.
    """
    return np.concatenate([np.empty(0, np.float32), *_peak_chunks(audio)])


def _lufs(power: np.ndarray) -> np.ndarray:
    return -0.691 + 10.0 * np.log10(np.maximum(power, 1e-20))


def _hop_energies(blocks: Iterable[np.ndarray], rate: int) -> Iterator[float]:
    """Weighted mean squares of the K-weighted signal, for every 0.1 s of it.

    The weighting is applied by overlap-save: its impulse response has decayed by 200 dB after one hop.
    """
    hop = round(rate / 10)
    hops = 64
    size = 1 << (hop * (hops + 1) - 1).bit_length()
    history: np.ndarray | None = None
    for chunk in _rechunked(blocks, hop * hops):
        if history is None:
            history = np.zeros((len(chunk), hop), dtype=np.float32)
        extended = np.concatenate([history, chunk], axis=1)
        history = extended[:, -hop:]
        spectrum = np.fft.rfft(extended, size) * _k_weighting(rate, size)
        squares = np.fft.irfft(spectrum, size)[:, hop : extended.shape[1]] ** 2
        weights = np.array(_WEIGHTS[len(chunk)])
        full = squares.shape[1] // hop
        squares = squares[:, : full * hop].reshape(len(chunk), full, hop)
        yield from weights @ squares.mean(axis=2, dtype=np.float64)


def _rechunked(blocks: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """The same samples in chunks of ``size``; the last one may be shorter."""
    held: list[np.ndarray] = []
    n = 0
    for block in blocks:
        at = 0
        while n + block.shape[1] - at >= size:
            yield np.concatenate([*held, block[:, at : at + size - n]], axis=1)
            at += size - n
            held, n = [], 0
        if at < block.shape[1]:
            held.append(block[:, at:])
            n += block.shape[1] - at
    if n:
        yield np.concatenate(held, axis=1)


@cache
def _k_weighting(rate: int, size: int) -> np.ndarray:
    """Frequency response of the two K-weighting filters at the bins of an ``rfft`` of ``size``."""
    z1 = np.exp(-2j * np.pi * np.arange(size // 2 + 1) / size)
    z2 = z1**2

    k = np.tan(np.pi * 1681.974450955533 / rate)
    q, high = 0.7071752369554196, 10.0 ** (3.999843853973347 / 20.0)
    band = high**0.4996667741545416
    a0 = 1.0 + k / q + k * k
    shelf = (
        (high + band * k / q + k * k) + 2.0 * (k * k - high) * z1 + (high - band * k / q + k * k) * z2
    ) / (a0 + 2.0 * (k * k - 1.0) * z1 + (1.0 - k / q + k * k) * z2)

    k = np.tan(np.pi * 38.13547087602444 / rate)
    q = 0.5003270373238773
    a0 = 1.0 + k / q + k * k
    high_pass = (1.0 - 2.0 * z1 + z2) / (1.0 + (2.0 * (k * k - 1.0) * z1 + (1.0 - k / q + k * k) * z2) / a0)
    return (shelf * high_pass).astype(np.complex64)


@cache
def _interpolator() -> np.ndarray:
    """Matrix that takes ``_ROW + 2 * _HALF_TAPS - 1`` samples to the points that follow ``_ROW`` of them.

    Its columns are windowed sincs: the first point after each sample, then the second point after each, ...
    As a matrix product, interpolation runs at the speed of BLAS.
    """
    matrix = np.zeros((_ROW + 2 * _HALF_TAPS - 1, OVERSAMPLING - 1, _ROW), dtype=np.float32)
    for point in range(OVERSAMPLING - 1):
        distance = np.arange(1 - _HALF_TAPS, _HALF_TAPS + 1) - (point + 1) / OVERSAMPLING
        taps = np.sinc(distance) * np.i0(7.0 * np.sqrt(1.0 - (distance / _HALF_TAPS) ** 2))
        for sample in range(_ROW):
            matrix[sample : sample + len(taps), point, sample] = taps / taps.sum()
    return matrix.reshape(len(matrix), -1)


def _peak_chunks(audio: np.ndarray) -> Iterator[np.ndarray]:
    """`peak_envelope` chunk by chunk."""
    matrix = _interpolator()
    n = audio.shape[1]
    for start in range(0, n, _CHUNK):
        stop = min(start + _CHUNK, n)
        low, high = start + 1 - _HALF_TAPS, start + _CHUNK + _HALF_TAPS
        envelope = np.zeros(_CHUNK, dtype=np.float32)
        for channel in audio:
            part = np.pad(channel[max(low, 0) : high], (max(-low, 0), max(high - n, 0)))
            rows = np.lib.stride_tricks.sliding_window_view(part, len(matrix))[::_ROW]
            between = np.abs(np.ascontiguousarray(rows) @ matrix).reshape(-1, OVERSAMPLING - 1, _ROW)
            np.maximum(envelope, np.abs(part[_HALF_TAPS - 1 : -_HALF_TAPS]), out=envelope)
            for point in range(OVERSAMPLING - 1):
                np.maximum(envelope, between[:, point].reshape(-1), out=envelope)
        yield envelope[: stop - start]
