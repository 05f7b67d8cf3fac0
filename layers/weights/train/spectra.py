"""How far apart two sounds are: what the codec is trained to make small, and what it is measured by."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from weights.train.bands import mel_bank

_SCALES = ((2048, 128), (1024, 80), (512, 48), (256, 24), (128, 12))
"""Sizes of the windows and numbers of mel bands that the losses are made of."""
_FLOOR = 1e-5  # of a magnitude, 1/2 being that of a full-scale sine


class Spectra:
    """Distances between spectra at several resolutions."""

    def __init__(self, device: torch.device) -> None:
        self._scales = [
            (size, torch.hann_window(size, device=device), torch.from_numpy(mel_bank(size, bands)).to(device))
            for size, bands in _SCALES
        ]

    def __call__(self, made: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        """Compare [n, samples] with [n, samples].

        Returns
        -------
        mel : Tensor
            Mean distance of the log10 of mel bands.
        linear : Tensor
            Spectral convergence (Arık et al. 2019, arXiv:1808.06719) and a part of log magnitudes.
        """
        mel = made.new_zeros(())
        linear = made.new_zeros(())
        for size, window, bank in self._scales:
            with torch.no_grad():
                wanted = _magnitudes(given, size, window)
                wanted_mel = _log_mel(wanted, bank)
            found = _magnitudes(made, size, window)
            mel = mel + (_log_mel(found, bank) - wanted_mel).abs().mean()
            apart = (found - wanted).square().sum((1, 2)).add(1e-9).sqrt()
            whole = wanted.square().sum((1, 2)).add(1e-6).sqrt()
            logs = ((found + 1e-4).log() - (wanted + 1e-4).log()).abs().mean()
            linear = linear + (apart / whole).clamp(max=3).mean() + 0.3 * logs
        return mel / len(self._scales), linear / len(self._scales)


def _magnitudes(audio: Tensor, size: int, window: Tensor) -> Tensor:
    spectrum = torch.stft(audio, size, size // 4, window=window, return_complex=True, pad_mode="reflect")
    power = torch.view_as_real(spectrum).square().sum(-1)
    return (power + 1e-9).sqrt() * (2.0 / size)


def _log_mel(magnitudes: Tensor, bank: Tensor) -> Tensor:
    return torch.einsum("bft,fm->bmt", magnitudes, bank).clamp(min=_FLOOR).log10()


def log_mel_distance(made: Tensor, given: Tensor) -> float:
    """The figure that codecs are compared by: L1 of log10 mel, 80 bands, windows of 1024, of [n, samples]."""
    window = torch.hann_window(1024, device=made.device)
    bank = torch.from_numpy(mel_bank(1024, 80)).to(made.device)

    def mel(audio: Tensor) -> Tensor:
        spectrum = torch.stft(audio, 1024, 256, window=window, return_complex=True).abs() / 512
        return _log_mel(spectrum, bank)

    return float((mel(made) - mel(given)).abs().mean())


def si_sdr(made: Tensor, given: Tensor) -> Tensor:
    """Scale-invariant signal-to-distortion ratio in dB [n] (Le Roux et al. 2019, arXiv:1811.02508)."""
    given = given - given.mean(1, keepdim=True)
    made = made - made.mean(1, keepdim=True)
    scale = (made * given).sum(1, keepdim=True) / given.square().sum(1, keepdim=True).clamp(min=1e-9)
    target = scale * given
    noise = (made - target).square().sum(1).clamp(min=1e-9)
    return 10 * torch.log10(target.square().sum(1).clamp(min=1e-9) / noise)


class Balancer:
    """Make each loss move the output with its given share, whatever its scale (EnCodec, section 3.4).

    Parameters
    ----------
    shares : mapping of str to float
    device : torch.device
    """

    def __init__(self, shares: Mapping[str, float], device: torch.device) -> None:
        self._shares = dict(shares)
        self._norms = {name: torch.zeros((), device=device) for name in shares}
        self._weight = torch.zeros((), device=device)

    def __call__(self, losses: Mapping[str, Tensor], output: Tensor) -> Tensor:
        """The gradient for the output [n, samples] that the losses were computed of."""
        total = torch.zeros_like(output)
        whole = sum(self._shares.values())
        self._weight.mul_(0.97).add_(0.03)  # what a moving average that began at zero lacks
        for index, (name, share) in enumerate(self._shares.items()):
            keep = index + 1 < len(self._shares)
            (gradient,) = torch.autograd.grad(losses[name], output, retain_graph=keep)
            gradient = torch.nan_to_num(gradient, 0.0, 0.0, 0.0)
            # The mean norm of a row, times their number: what the sum over rows has.
            norm = gradient.norm(dim=1).mean() * len(gradient)
            self._norms[name].mul_(0.97).add_(norm, alpha=0.03)
            total += gradient * (share / whole / (self._norms[name] / self._weight + 1e-12))
        return total
