"""Words for what is measured of a piece, near enough to what `music.features.tags` says of a track.

At inference these words are part of what the language model is told of a source, so it has to know them. The
measures are cheap ones: loudness is the level, and onsets are peaks of the spectral flux.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812  (as torch itself calls it)
from torch import Tensor

from weights.train.bands import mel_bank
from weights.train.recipe import HOP, SAMPLE_RATE
from weights.train.schedule import Budget
from weights.train.store import Store

_SIZE, _BANDS, _TOP = 2048, 64, 11_025.0  # of the spectra, and the highest frequency of the centroid in Hz
_SECONDS = 30
_AT_ONCE = 32


@torch.no_grad()
def listen(store: Store, count: int, budget: Budget) -> int:
    """Give the first `count` pieces their words, or as many as the time allows; returns how many."""
    measures = Measures(store.device)
    length = min(store.samples, _SECONDS * SAMPLE_RATE)
    for rows in torch.arange(count, device=store.device).split(_AT_ONCE):
        measured = measures(store.cut(rows, torch.zeros_like(rows), length))
        for row, centroid, level, onsets in zip(
            rows.tolist(), *(values.tolist() for values in measured), strict=True
        ):
            store.pieces[row].heard = words(centroid, level, onsets)
        if budget.spent() >= 1.0:
            return int(rows[-1]) + 1
    return count


def words(centroid: float, level: float, onsets: float) -> tuple[str, ...]:
    """Put measures into words, by the thresholds of `music.features.tags`.

    Parameters
    ----------
    centroid : float
        Hz.
    level : float
        LUFS.
    onsets : float
        Per second.

    Examples
    --------
    >>> words(2500.0, -20.0, 1.0)
    ('sparse', 'bright')
    """
    said = ["busy"] if onsets >= 4.0 else ["sparse"] if onsets < 1.5 else []
    said += ["bright"] if centroid >= 2400.0 else ["dark"] if centroid < 1200.0 else []
    said += ["loud"] if level >= -12.0 else ["quiet"] if level < -24.0 else []
    return tuple(said)


class Measures:
    """Spectral centroid, level and onset rate of many tracks at once."""

    def __init__(self, device: torch.device) -> None:
        self._window = torch.hann_window(_SIZE, device=device)
        self._bank = torch.from_numpy(mel_bank(_SIZE, _BANDS)).to(device)
        self._bins = int(_TOP / SAMPLE_RATE * _SIZE)
        self._frequencies = torch.arange(self._bins, device=device) * (SAMPLE_RATE / _SIZE)

    def __call__(self, audio: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[n, samples] to centroids in Hz, levels in dB and onsets per second, [n] each."""
        spectrum = torch.stft(audio, _SIZE, HOP, window=self._window, return_complex=True, pad_mode="reflect")
        magnitudes = spectrum.abs()
        low = magnitudes[:, : self._bins]
        total = low.sum(1)
        sounding = (total > 1e-4 * _SIZE).float()
        centroid = torch.einsum("bft,f->bt", low, self._frequencies) / (total + 1e-9)
        centroid = (centroid * sounding).sum(1) / sounding.sum(1).clamp(min=1)
        level = 10 * audio.square().mean(1).clamp(min=1e-9).log10() - 0.7
        bands = torch.einsum("bft,fm->bmt", magnitudes, self._bank)
        bands = (bands / bands.amax((1, 2), keepdim=True).clamp(min=1e-9) + 1e-3).log10()
        flux = bands.diff(dim=2).clamp(min=0).mean(1)
        highest = F.max_pool1d(flux[:, None], 7, 1, 3)[:, 0]
        usual = F.avg_pool1d(flux[:, None], 51, 1, 25)[:, 0]
        onsets = ((flux == highest) & (flux > usual + 0.04)).float().sum(1)
        return centroid, level, onsets / (audio.shape[1] / SAMPLE_RATE)
