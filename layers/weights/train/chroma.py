"""What MusicGen Melody takes of a track (`music.musicgen.melody`), for many tracks at once.

Here a melody is the number of the strongest pitch class of each frame; one-hot, the model is given it.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (as torch itself calls it)
from torch import Tensor

from music.musicgen.melody import HOP, PITCH_CLASSES, SAMPLE_RATE, SECONDS, SIZE, filter_bank

CLASSES = PITCH_CLASSES
PREFIX = 1 + SECONDS * SAMPLE_RATE // HOP
"""Frames of melody in 30 s, which stand before the codes."""
_AT_ONCE = 4  # tracks


class Chroma:
    """Finds melodies."""

    def __init__(self, device: torch.device) -> None:
        self._bank = torch.tensor(filter_bank(), device=device)
        window = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(SIZE) / SIZE)
        self._window = torch.tensor(window.astype(np.float32), device=device)

    @torch.no_grad()
    def __call__(self, audio: Tensor) -> Tensor:
        """[n, samples] at 32 kHz to pitch classes [n, 1 + samples // HOP], int64."""
        found = []
        for rows in audio.split(_AT_ONCE):
            padded = F.pad(rows[:, None], (SIZE // 2, SIZE // 2), mode="reflect")[:, 0]
            spectra = torch.fft.rfft(padded.unfold(1, SIZE, HOP) * self._window)
            power = torch.view_as_real(spectra).square().sum(-1)
            found.append((power @ self._bank).argmax(-1))
        return torch.cat(found)
