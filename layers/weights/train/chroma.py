"""What MusicGen Melody takes of a track (`generators.melody`), for many tracks at once.

Here a melody is the number of the strongest pitch class of each frame; one-hot, the model is given it.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (as torch itself calls it)
from torch import Tensor

from weights.train.recipe import SAMPLE_RATE

HOP = 4096
"""Samples of a frame of melody."""
CLASSES = 12
PREFIX = 235
"""Frames of melody in 30 s, which stand before the codes."""
_SIZE = 16384
_AT_ONCE = 4  # tracks


def filter_bank() -> np.ndarray:
    """Weights from the bins of a spectrum to pitch classes [8193, 12], C first: `generators.melody`'s."""
    bins = np.linspace(0.0, SAMPLE_RATE, _SIZE, endpoint=False)[1:]
    pitch = CLASSES * np.log2(bins / (440.0 / 16.0))
    pitch = np.concatenate([[pitch[0] - 1.5 * CLASSES], pitch])
    width = np.concatenate([np.maximum(np.diff(pitch), 1.0), [1.0]])
    half = CLASSES / 2
    apart = np.mod(pitch[:, None] - np.arange(CLASSES) + half, CLASSES) - half
    weights = np.exp(-0.5 * (2.0 * apart / width[:, None]) ** 2)
    weights /= np.sqrt((weights**2).sum(axis=1, keepdims=True))
    weights *= np.exp(-0.5 * ((pitch / CLASSES - 5.0) / 2.0) ** 2)[:, None]
    return np.ascontiguousarray(np.roll(weights, -3, axis=1)[: 1 + _SIZE // 2], dtype=np.float32)


class Chroma:
    """Finds melodies."""

    def __init__(self, device: torch.device) -> None:
        self._bank = torch.tensor(filter_bank(), device=device)
        window = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(_SIZE) / _SIZE)
        self._window = torch.tensor(window.astype(np.float32), device=device)

    @torch.no_grad()
    def __call__(self, audio: Tensor) -> Tensor:
        """[n, samples] at 32 kHz to pitch classes [n, 1 + samples // HOP], int64."""
        found = []
        for rows in audio.split(_AT_ONCE):
            padded = F.pad(rows[:, None], (_SIZE // 2, _SIZE // 2), mode="reflect")[:, 0]
            spectra = torch.fft.rfft(padded.unfold(1, _SIZE, HOP) * self._window)
            power = torch.view_as_real(spectra).square().sum(-1)
            found.append((power @ self._bank).argmax(-1))
        return torch.cat(found)
