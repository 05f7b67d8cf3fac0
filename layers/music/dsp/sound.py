"""A piece of sound that several measure: what more than one of them needs is measured once."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from music.dsp import harmony, spectra
from music.dsp.channels import levelled


class Sound:
    """A piece, levelled, and its spectra; each is measured when it is first asked for, and kept.

    Parameters
    ----------
    audio : np.ndarray [shape=(channels, n) or (n,)]
        Finite audio of any length.
    rate : int
        Its sample rate in Hz.

    Attributes
    ----------
    samples : np.ndarray [shape=(channels, n), float32]
        Without offset, with an RMS of -20 dBFS over all channels; zero for silence.
    gain : float
        What the audio was multiplied by for that; 0 for silence.
    rate : int
        As it was given.
    """

    def __init__(self, audio: np.ndarray, rate: int) -> None:
        self.samples, self.gain = levelled(audio)
        self.rate = rate

    @cached_property
    def salience(self) -> np.ndarray:
        """`music.dsp.harmony.pitch_salience` [shape=(NOTES, 1 + n // HOP), float32]."""
        return harmony.pitch_salience(self.samples, self.rate)

    @property
    def mel(self) -> np.ndarray:
        """`music.dsp.spectra.mel_spectrogram` [shape=(128, 1 + n // HOP), float32]."""
        return self._timbre[0]

    @property
    def centroid(self) -> np.ndarray:
        """`music.dsp.spectra.centroid` [shape=(1 + n // HOP,), float32], in Hz."""
        return self._timbre[1]

    @cached_property
    def _timbre(self) -> tuple[np.ndarray, np.ndarray]:
        return spectra.timbre(self.samples, self.rate)
