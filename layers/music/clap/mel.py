"""The mel spectrograms that CLAP hears: `ClapFeatureExtractor` of transformers, without feature fusion.

Hann windows of 1024 samples every 480 at 48 kHz, the signal mirrored at both ends; power; 64 triangular bands
from 50 to 14000 Hz on Slaney's mel scale, each of equal area; dB relative to 1, from -100 dB. With fusion
transformers takes another filter bank (HTK's scale, equal height): vectors made with that one look the same
and compare with nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from music.dsp.spectra import hann, hz_to_mel, mel_to_hz

SAMPLE_RATE = 48_000
WINDOW = 480_000
"""The number of samples of one window of sound."""
BINS = 64
FRAMES = 1001

SETTINGS = {
    "feature_extractor_type": "ClapFeatureExtractor",
    "feature_size": BINS,
    "sampling_rate": SAMPLE_RATE,
    "hop_length": 480,
    "fft_window_size": 1024,
    "frequency_min": 50,
    "frequency_max": 14_000,
    "max_length_s": WINDOW // SAMPLE_RATE,
    "top_db": None,
    "padding": "repeatpad",
    "truncation": "rand_trunc",
}
"""What a checkpoint's `preprocessor_config.json` must say for these spectrograms to be its own."""

_HOP, _LENGTH = 480, 1024
_FLOOR = 1e-10
_FRAMES_AT_ONCE = 128  # a megabyte: what the steps hand to each other stays in a cache


def log_mel(sound: np.ndarray) -> np.ndarray:
    """Compute the spectrogram of one window.

    Parameters
    ----------
    sound : np.ndarray [shape=(480000,)]
        The samples, float32 at 48 kHz.

    Returns
    -------
    np.ndarray [shape=(1001, 64), float32]
        The spectrogram in dB, -100 or more.
    """
    if sound.shape != (WINDOW,):
        raise ValueError(f"a window has {WINDOW} samples, not {sound.shape}")
    mirrored = np.pad(sound, _LENGTH // 2, mode="reflect").astype(np.float64)
    frames = np.lib.stride_tricks.sliding_window_view(mirrored, _LENGTH)[::_HOP]
    pieces = range(0, FRAMES, _FRAMES_AT_ONCE)
    return np.concatenate([_decibels(frames[first : first + _FRAMES_AT_ONCE]) for first in pieces])


def _decibels(frames: np.ndarray) -> np.ndarray:
    # The extractor keeps spectra as complex64, its only rounding before the dB.
    spectra = np.fft.rfft(frames * hann(_LENGTH)).astype(np.complex64)
    power = np.square(spectra.real, dtype=np.float64)
    power += np.square(spectra.imag, dtype=np.float64)
    bands = _bands()
    heard = power[:, bands.first : bands.last]
    rising = np.add.reduceat(heard * bands.rising, bands.starts, axis=1)
    falling = np.add.reduceat(heard * (1.0 - bands.rising), bands.starts, axis=1)
    mel = (rising[:, :-1] + falling[:, 1:]) * bands.height
    return (10.0 * np.log10(np.maximum(mel, _FLOOR))).astype(np.float32)


@dataclass(frozen=True, eq=False)
class _Bands:
    """The triangles of `librosa.filters.mel` (Slaney 1998) without the zeros around them.

    Between two neighbouring edges of the 66 one triangle rises and the one before it falls.

    Attributes
    ----------
    first, last : int
        The frequencies that any band hears.
    starts : np.ndarray [shape=(65,)]
        Where the spaces between edges begin, counted from `first`.
    rising : np.ndarray [shape=(last - first,)]
        Weights of the triangle that rises; the rest to one is that of the other.
    height : np.ndarray [shape=(64,)]
        The height of each triangle.
    """

    first: int
    last: int
    starts: np.ndarray
    rising: np.ndarray
    height: np.ndarray


@cache
def _bands() -> _Bands:
    edges = mel_to_hz(np.linspace(hz_to_mel(50.0), hz_to_mel(14_000.0), BINS + 2))
    frequencies = np.linspace(0, SAMPLE_RATE // 2, _LENGTH // 2 + 1)
    bounds = np.searchsorted(frequencies, edges)
    first, last = int(bounds[0]), int(bounds[-1])
    space = np.repeat(np.arange(BINS + 1), np.diff(bounds))
    rising = (frequencies[first:last] - edges[space]) / np.diff(edges)[space]
    return _Bands(first, last, bounds[:-1] - first, rising, 2.0 / (edges[2:] - edges[:-2]))
