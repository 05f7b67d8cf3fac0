"""Loudness and true peak after ITU-R BS.1770-4, with numpy alone.

We do not use pyloudnorm, which measures whole pieces only and has no true peak: fifteen minutes of stereo
take 660 MB of memory in it and 25 MB here, and no less processor time. The tests compare with it.

References
----------
.. [1] ITU-R BS.1770-4 (2015), Algorithms to measure audio programme loudness and true-peak audio level.
.. [2] B. De Man, "Evaluation of implementations of the EBU R128 loudness measurement", AES 145 (2018): the
   analogue prototype of the K-weighting filters, from which their coefficients follow at any sample rate.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np

OVERSAMPLING = 4
"""Points for each sample between which a true peak may hide, after BS.1770-4, annex 2."""

ABSOLUTE_GATE = -70.0
"""LUFS: what is softer does not count in BS.1770."""

_HOPS_PER_SECOND = 10
_HOPS_PER_BLOCK = 4  # 0.4 s, each gating block overlapping the next by three quarters
_FFT = 1 << 16  # samples that are filtered at once: what is in between stays in the processor's cache
_RELATIVE_GATE = -10.0  # LU below the mean of what passes the absolute one

_HALF_TAPS = 12  # of the interpolation filter
_ROW = 32  # samples that one row of the interpolation matrix goes on by
_CHUNK = _ROW << 10  # samples that are interpolated at once: what is in between stays below 20 MB

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


class Loudness:
    """A meter of the integrated loudness of a piece that comes in blocks [1]_.

    Parameters
    ----------
    rate : int
        Sample rate in Hz.

    See Also
    --------
    integrated_loudness : the loudness of a piece that is there as a whole.

    Examples
    --------
    >>> meter = Loudness(48_000)
    >>> for start in range(0, 480_000, 48_000):
    ...     meter.push(0.1 * np.sin(np.arange(start, start + 48_000) * 0.13)[None])
    >>> round(meter.integrated(), 1)
    -23.0
    """

    def __init__(self, rate: int) -> None:
        self._rate, self._hop = rate, round(rate / _HOPS_PER_SECOND)
        self._most = self._hop * max(_FFT // self._hop - 1, 1)  # samples, with a hop of history before them
        self._energies: list[np.ndarray] = []
        self._history: np.ndarray | None = None
        self._held: list[np.ndarray] = []
        self._n = 0  # samples in what is held

    def push(self, block: np.ndarray) -> None:
        """Take the next samples.

        Parameters
        ----------
        block : np.ndarray [shape=(channels, n)]
            One to eight channels, the same number in each block; of any length.
        """
        while self._n + block.shape[1] >= self._most:
            missing = self._most - self._n
            chunk = np.concatenate([*self._held, block[:, :missing]], axis=1)
            self._energies.append(self._measure(chunk))
            block, self._held, self._n = block[:, missing:], [], 0
        if block.shape[1]:
            self._held.append(block)
            self._n += block.shape[1]

    def integrated(self, absolute_gate: float = ABSOLUTE_GATE) -> float:
        """Return the gated loudness of all that was pushed.

        Parameters
        ----------
        absolute_gate : float
            In LUFS; a lower one than BS.1770's measures music that is softer than any broadcast.

        Returns
        -------
        float
            In LUFS; ``-inf`` where nothing is above the absolute gate. A piece shorter than one gating block
            (0.4 s) is measured as one block.
        """
        rest = [self._measure(np.concatenate(self._held, axis=1))] if self._held else []
        energies = np.concatenate([np.zeros(0), *self._energies, *rest])
        if not len(energies):
            return -np.inf
        width = min(_HOPS_PER_BLOCK, len(energies))
        power = np.convolve(energies, np.full(width, 1.0 / width), mode="valid")
        power = power[_lufs(power) > absolute_gate]
        if not len(power):
            return -np.inf
        power = power[_lufs(power) > _lufs(power.mean()) + _RELATIVE_GATE]
        return float(_lufs(power.mean()))

    def _measure(self, chunk: np.ndarray) -> np.ndarray:
        """Return the weighted mean squares of the K-weighted signal, for every whole 0.1 s of a chunk.

        The weighting is applied by overlap-save: its impulse response has decayed by 200 dB after one hop.
        Before the piece began there was its offset, so that an offset is no click.
        """
        hop = self._hop
        size = 1 << (hop + self._most - 1).bit_length()
        history = self._history
        if history is None:
            history = np.repeat(chunk.mean(axis=1, keepdims=True, dtype=np.float64), hop, axis=1).astype(
                np.float32
            )
        extended = np.concatenate([history, chunk], axis=1)
        if chunk.shape[1] == self._most:  # else it is the rest, and `push` may go on with it
            self._history = extended[:, -hop:]
        spectrum = np.fft.rfft(extended, size) * _k_weighting(self._rate, size)
        squares = np.fft.irfft(spectrum, size)[:, hop : extended.shape[1]] ** 2
        full = squares.shape[1] // hop
        squares = squares[:, : full * hop].reshape(len(chunk), full, hop)
        energies: np.ndarray = np.array(_WEIGHTS[len(chunk)]) @ squares.mean(axis=2, dtype=np.float64)
        return energies


def integrated_loudness(audio: np.ndarray, rate: int, absolute_gate: float = ABSOLUTE_GATE) -> float:
    """Measure the gated loudness of a whole piece [1]_.

    Parameters
    ----------
    audio : np.ndarray [shape=(channels, n)]
        One to eight channels.
    rate : int
        Sample rate in Hz.
    absolute_gate : float
        In LUFS.

    Returns
    -------
    float
        See `Loudness.integrated`.

    See Also
    --------
    Loudness : the same, of blocks that are never held together.
    """
    meter = Loudness(rate)
    meter.push(audio)
    return meter.integrated(absolute_gate)


def true_peak(audio: np.ndarray) -> float:
    """Measure the highest level between the samples, by fourfold oversampling [1]_.

    Parameters
    ----------
    audio : np.ndarray [shape=(channels, n)]
        At any sample rate: the measure does not depend on it.

    Returns
    -------
    float
        In dBTP; ``-inf`` for silence.

    See Also
    --------
    peak_envelope : the peaks over time.
    """
    peak = max((float(envelope.max(initial=0.0)) for envelope in _peak_chunks(audio)), default=0.0)
    return 20.0 * float(np.log10(peak)) if peak > 0.0 else -np.inf


def peak_envelope(audio: np.ndarray) -> np.ndarray:
    """Find the highest magnitude of any channel from each sample to the next, fourfold oversampled.

    Parameters
    ----------
    audio : np.ndarray [shape=(channels, n)]

    Returns
    -------
    np.ndarray [shape=(n,), float32]
        Linear; its maximum is the true peak.
    """
    return np.concatenate([np.empty(0, np.float32), *_peak_chunks(audio)])


def _lufs(power: np.ndarray) -> np.ndarray:
    """Convert weighted mean squares to LUFS; the constant makes a 997 Hz sine at full scale -3.01 LUFS."""
    return -0.691 + 10.0 * np.log10(np.maximum(power, 1e-20))


@cache
def _k_weighting(rate: int, size: int) -> np.ndarray:
    """Return the frequency response of the K-weighting filters at the bins of an ``rfft`` of ``size``.

    ``H(z) = (b0 + b1 z^-1 + b2 z^-2) / (1 + a1 z^-1 + a2 z^-2)`` for each of the two, by the bilinear
    transform of the analogue prototypes [2]_, whose constants stand here.
    """
    z1 = np.exp(-2j * np.pi * np.arange(size // 2 + 1) / size)
    z2 = z1**2

    # A high shelf of 4 dB above 1.7 kHz, for the head,
    k = np.tan(np.pi * 1681.974450955533 / rate)
    q, high = 0.7071752369554196, 10.0 ** (3.999843853973347 / 20.0)
    band = high**0.4996667741545416
    a0 = 1.0 + k / q + k * k
    shelf = (
        (high + band * k / q + k * k) + 2.0 * (k * k - high) * z1 + (high - band * k / q + k * k) * z2
    ) / (a0 + 2.0 * (k * k - 1.0) * z1 + (1.0 - k / q + k * k) * z2)

    # and a high pass at 38 Hz.
    k = np.tan(np.pi * 38.13547087602444 / rate)
    q = 0.5003270373238773
    a0 = 1.0 + k / q + k * k
    high_pass = (1.0 - 2.0 * z1 + z2) / (1.0 + (2.0 * (k * k - 1.0) * z1 + (1.0 - k / q + k * k) * z2) / a0)
    return (shelf * high_pass).astype(np.complex64)


@cache
def _interpolator() -> np.ndarray:
    """Return the matrix that takes samples to the points between ``_ROW`` of them.

    Its columns are sincs under Kaiser windows: those of the first point after each sample, then those of the
    second point after each, and so on. As a matrix product, interpolation runs at the speed of BLAS.

    Returns
    -------
    np.ndarray [shape=(_ROW + 2 * _HALF_TAPS - 1, (OVERSAMPLING - 1) * _ROW), float32]
    """
    matrix = np.zeros((_ROW + 2 * _HALF_TAPS - 1, OVERSAMPLING - 1, _ROW), dtype=np.float32)
    for point in range(OVERSAMPLING - 1):
        distance = np.arange(1 - _HALF_TAPS, _HALF_TAPS + 1) - (point + 1) / OVERSAMPLING
        taps = np.sinc(distance) * np.i0(7.0 * np.sqrt(1.0 - (distance / _HALF_TAPS) ** 2))
        for sample in range(_ROW):
            matrix[sample : sample + len(taps), point, sample] = taps / taps.sum()
    return matrix.reshape(len(matrix), -1)


def _peak_chunks(audio: np.ndarray) -> Iterator[np.ndarray]:
    """Yield what `peak_envelope` returns [shape=(at most _CHUNK,)], chunk by chunk."""
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
