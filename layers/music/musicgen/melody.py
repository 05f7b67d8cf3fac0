"""What MusicGen Melody takes of a track: at every moment the one pitch class that is strongest.

References
----------
.. [1] Copet et al., "Simple and Controllable Music Generation", NeurIPS 2023, section 2.3: a quantised
   chromagram, an information bottleneck against copying.
.. [2] Ellis, "Chroma Feature Analysis and Synthesis", 2007: the filter bank.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np

from music.dsp.spectra import hann

SAMPLE_RATE = 32000
SIZE = 16384
HOP = 4096
PITCH_CLASSES = 12
SECONDS = 30
"""The length of the melody that the model sees at once."""


def chroma(mono: np.ndarray) -> np.ndarray:
    """Find the strongest pitch class of each frame.

    As the published feature extractor does it: power spectra with a periodic Hann window, the signal mirrored
    at its ends (one that is shorter than a window is padded with zeros on both sides first), 12 Gaussian
    filters weighted towards 880 Hz, and the maximum.

    Parameters
    ----------
    mono : np.ndarray [n], float32
        The track at `SAMPLE_RATE`, not empty.

    Returns
    -------
    np.ndarray [1 + n // HOP, PITCH_CLASSES], float32
        One-hot rows, C first. Silence is C.

    Raises
    ------
    ValueError
        If there are no samples.
    """
    if not len(mono):
        raise ValueError("a melody has samples")
    if len(mono) < SIZE:
        missing = SIZE - len(mono)
        mono = np.pad(mono, (missing // 2, missing - missing // 2))
    filters = filter_bank()
    rows = [
        np.eye(PITCH_CLASSES, dtype=np.float32)[(power @ filters).argmax(axis=1)] for power in _powers(mono)
    ]
    return np.concatenate(rows)


def stretch(mono: np.ndarray, start: float) -> np.ndarray:
    """Return the `SECONDS` of melody that a window which begins at `start` seconds is given.

    A track that ends before is begun again, as often as it takes.
    """
    first = round(start * SAMPLE_RATE)
    return np.take(mono, np.arange(first, first + SECONDS * SAMPLE_RATE), mode="wrap")


def _powers(mono: np.ndarray) -> Iterator[np.ndarray]:
    """Yield power spectra, a few frames at a time [frames, 1 + SIZE // 2]."""
    padded = np.pad(mono, SIZE // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, SIZE)[::HOP]
    window = hann(SIZE).astype(np.float32)
    for first in range(0, len(frames), 64):
        spectra = np.fft.rfft(frames[first : first + 64] * window, axis=1)
        yield (spectra.real**2 + spectra.imag**2).astype(np.float32)


@cache
def filter_bank() -> np.ndarray:
    """Compute the weights from the bins of a spectrum to pitch classes [1 + SIZE // 2, PITCH_CLASSES].

    Gaussians in pitch, at least a semitone wide, each bin of equal energy; then the octaves are weighted by
    another Gaussian, around 880 Hz and two octaves wide.
    """
    bins = np.linspace(0.0, SAMPLE_RATE, SIZE, endpoint=False)[1:]
    pitch = PITCH_CLASSES * np.log2(bins / (440.0 / 16.0))
    # The bin of 0 Hz has no pitch: it is put an octave and a half below the next one.
    pitch = np.concatenate([[pitch[0] - 1.5 * PITCH_CLASSES], pitch])
    width = np.concatenate([np.maximum(np.diff(pitch), 1.0), [1.0]])
    half = PITCH_CLASSES / 2
    apart = np.mod(pitch[:, None] - np.arange(PITCH_CLASSES) + half, PITCH_CLASSES) - half
    weights = np.exp(-0.5 * (2.0 * apart / width[:, None]) ** 2)
    weights /= np.sqrt((weights**2).sum(axis=1, keepdims=True))
    weights *= np.exp(-0.5 * ((pitch / PITCH_CLASSES - 5.0) / 2.0) ** 2)[:, None]
    weights = np.roll(weights, -3, axis=1)  # from A first to C first
    return np.ascontiguousarray(weights[: 1 + SIZE // 2], dtype=np.float32)
