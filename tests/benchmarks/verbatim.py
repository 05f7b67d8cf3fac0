"""How much of an output repeats its source, heard from the audio alone: no path, no units."""

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.signal import resample_poly

RATE = 4000  # Hz at which sounds are compared: everything below 2 kHz
WINDOW, HOP = 0.5, 0.25  # seconds
SAME = 0.95  # correlation from which a window of the output is a copy of a place in the source
LONG = 4.0  # seconds


def verbatim(output: np.ndarray, source: np.ndarray, rate: int) -> tuple[float, float]:
    """Longest stretch of the source that the output repeats, and the share of it in stretches of over `LONG`.

    Windows of the output are correlated with the whole source; successive windows that match places which
    advance with them make a run. A loop matches in many places: every chain is followed.

    Parameters
    ----------
    output, source : np.ndarray [shape=(channels, n)]
    rate : int
        Of both, in Hz; a multiple of `RATE`.

    Returns
    -------
    tuple of (float, float)
        Seconds, and a share from 0 to 1.
    """
    heard = resample_poly(output.mean(axis=0), 1, rate // RATE).astype(np.float32)
    known = resample_poly(source.mean(axis=0), 1, rate // RATE).astype(np.float32)
    window, hop = round(WINDOW * RATE), round(HOP * RATE)
    known = np.pad(known, (0, max(window - len(known), 0)))
    size = next_fast_len(len(known) + window, real=True)
    spectrum = rfft(known, size)
    sums = np.cumsum(np.concatenate([[0.0], known.astype(np.float64) ** 2]))
    norms = np.sqrt(np.maximum(sums[window:] - sums[:-window], 1e-9))
    audible = norms > 1e-3 * np.sqrt(window) * max(float(np.abs(known).max()), 1e-9)

    starts: dict[int, int] = {}  # offset of source against output -> where the run on it began
    longest, long, covered = 0, 0, 0
    for begin in range(0, len(heard) - window + 1, hop):
        piece = heard[begin : begin + window]
        energy = float(np.sqrt((piece**2).sum()))
        offsets: np.ndarray = np.zeros(0, dtype=np.int64)
        if energy > 1e-4 * np.sqrt(window):
            dots = irfft(spectrum * np.conj(rfft(piece, size)), size)[: len(norms)]
            offsets = np.flatnonzero((dots > SAME * energy * norms) & audible) - begin
        # A run may slip by a sample: offsets are whole samples of a lower rate.
        starts = {
            int(offset): min(starts.get(int(offset) + slip, begin) for slip in (-1, 0, 1))
            for offset in offsets
        }
        if starts:
            end, first = begin + window, min(starts.values())
            longest = max(longest, end - first)
            if end - first > LONG * RATE:
                long += end - max(first, covered)
                covered = end
    return longest / RATE, long / max(len(heard), 1)
