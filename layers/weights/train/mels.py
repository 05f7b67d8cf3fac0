"""From audio at 32 kHz to the log mels at 48 kHz that CLAP hears, for many windows at once.

`music.clap.mel` is what makes them of tracks.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (as torch itself calls it)
from torch import Tensor

from weights.train.recipe import SAMPLE_RATE

WINDOW = 10 * SAMPLE_RATE
"""Samples that CLAP hears at once, at 32 kHz."""
FRAMES, BINS = 1001, 64
_SIZE, _HOP, _RATE = 1024, 480, 48_000
_AT_ONCE = 32
_HALF = 16
"""Samples at 32 kHz on either side that a resampled one is made of."""


def resampler() -> Tensor:
    """Kaiser-windowed sinc from 32 to 48 kHz, as a convolution: 3 outputs every 2 samples [3, 1, taps]."""
    n = np.arange(-3 * _HALF - 2, 3 * _HALF + 5)
    cutoff = 0.955 * SAMPLE_RATE / 2  # of a signal at 96 kHz
    h = 2 * cutoff / SAMPLE_RATE * np.sinc(2 * cutoff / (3 * SAMPLE_RATE) * n)
    reach = 3 * _HALF + 3
    inside = np.sqrt(np.maximum(0, 1 - (n / reach) ** 2))
    h *= np.where(np.abs(n) <= reach, np.i0(8.0 * inside) / np.i0(8.0), 0)
    at = dict(zip(n.tolist(), h.tolist(), strict=True))
    taps = np.array(
        [[at.get(2 * phase - 3 * j, 0.0) for j in range(-_HALF, _HALF + 2)] for phase in range(3)]
    )
    taps /= taps.sum(1, keepdims=True)
    return torch.tensor(taps[:, None], dtype=torch.float32)


def mel_bank() -> Tensor:
    """Slaney's triangles of equal area from 50 Hz to 14 kHz [513, 64]."""
    ends = [50.0 * 3 / 200, 15 + 27 * np.log(14.0) / np.log(6.4)]
    mels = np.linspace(ends[0], ends[1], BINS + 2)
    edges = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp(np.log(6.4) / 27 * (mels - 15)))
    bins = np.linspace(0, _RATE / 2, _SIZE // 2 + 1)
    up = (bins[:, None] - edges[:-2]) / np.diff(edges)[:-1]
    down = (edges[2:] - bins[:, None]) / np.diff(edges)[1:]
    return torch.tensor(
        np.maximum(0, np.minimum(up, down)) * (2.0 / (edges[2:] - edges[:-2])), dtype=torch.float32
    )


class Mels:
    """Makes log mels, in dB."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._taps, self._bank = resampler().to(device), mel_bank().to(device)
        self._window = torch.hann_window(_SIZE, device=device)
        self._frequencies = torch.linspace(0, _RATE / 2, _SIZE // 2 + 1, device=device).clamp(min=20)

    @torch.no_grad()
    def __call__(self, audio: Tensor, vary: bool = False) -> Tensor:
        """[n, WINDOW] to [n, FRAMES, BINS].

        With `vary`, each row is changed as recordings of one piece differ: its level, its tone, its band, and
        noise.
        """
        out = []
        for rows in audio.split(_AT_ONCE):
            sound = F.conv1d(F.pad(rows[:, None], (_HALF, _HALF + 1)), self._taps, stride=2)
            sound = sound.transpose(1, 2).flatten(1)
            spectra = torch.stft(
                sound, _SIZE, _HOP, window=self._window, return_complex=True, pad_mode="reflect"
            )
            power = torch.view_as_real(spectra).square().sum(-1)
            if vary:
                power = self._vary(power)
            out.append(10 * (power.transpose(1, 2) @ self._bank).clamp(min=1e-10).log10())
        return torch.cat(out)

    def _vary(self, power: Tensor) -> Tensor:
        n = len(power)

        def draw(low: float, high: float) -> Tensor:
            return torch.rand(n, 1, 1, device=self._device) * (high - low) + low

        def some(share: float) -> Tensor:
            return torch.rand(n, 1, 1, device=self._device) < share

        frequencies = self._frequencies[None, :, None]
        gain = 10 ** (draw(-14, 6) / 10)
        tilt = (frequencies / 1000) ** (draw(-0.35, 0.35) * some(0.5))
        dull = 1 / (1 + (frequencies / torch.where(some(0.3), draw(3000, 12000), 1e9)) ** 8)
        edge = torch.where(frequencies > torch.where(some(0.4), draw(11000, 16500), 1e9), 1e-6, 1.0)
        noise = power.mean((1, 2), keepdim=True) * 10 ** (draw(-50, -18) / 10) * some(0.4)
        hiss = -torch.rand_like(power).clamp(min=1e-9).log()
        return gain * (power * tilt * dull * edge + noise * hiss)
