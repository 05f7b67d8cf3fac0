"""All pieces as codes and melodies, and windows of them: what the language model learns from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from weights.train import chroma
from weights.train.codec import Codec
from weights.train.quantiser import Quantiser
from weights.train.recipe import BOOKS, HOP
from weights.train.schedule import Budget
from weights.train.store import Store

_PART, _MARGIN = 750, 75
"""Frames of a piece that are coded at once, and frames around them that are heard with them."""
ALIGNED = 32
"""Codes and melody meet every so many frames of codes, which are `_MELODY` of melody."""
_MELODY = ALIGNED * HOP // chroma.HOP


@dataclass(frozen=True)
class Coded:
    """Pieces.

    Attributes
    ----------
    codes : Tensor [pieces, books, frames], int16
    melody : Tensor [pieces, melody frames], int8
    """

    codes: Tensor
    melody: Tensor

    def windows(self, rows: Tensor, starts: Tensor, frames: int) -> tuple[Tensor, Tensor]:
        """Cut windows out.

        Parameters
        ----------
        rows, starts : Tensor [n], int64
            Pieces, and first frames. The melody begins at the last multiple of `ALIGNED` before.
        frames : int

        Returns
        -------
        codes : Tensor [n, books, frames], int64
        melody : Tensor [n, PREFIX], int64
            As many frames as 30 s have. A window that ends before begins again, as at inference.
        """
        device = self.codes.device
        books = torch.arange(BOOKS, device=device)[None, :, None]
        places = (starts[:, None] + torch.arange(frames, device=device))[:, None]
        heard = 1 + frames * HOP // chroma.HOP
        notes = torch.arange(chroma.PREFIX, device=device) % heard + starts[:, None] // ALIGNED * _MELODY
        codes = self.codes[rows[:, None, None], books, places]
        return codes.long(), self.melody[rows[:, None], notes].long()


@torch.no_grad()
def encode(codec: Codec, quantiser: Quantiser, store: Store, count: int, budget: Budget) -> Coded:
    """Code the first `count` pieces, or as many as the time allows.

    Pieces are coded in parts that overlap, so that the recurrent layers have fewer steps to go one by one;
    what they say of the overlap is dropped.
    """
    device = store.device
    codec.precision = torch.float32
    frames = store.samples // HOP
    batch = 64 if device.type == "cuda" else 4
    notes = 1 + store.samples // chroma.HOP
    codes = torch.zeros(count, BOOKS, frames, dtype=torch.int16, device=device)
    melody = torch.zeros(count, notes, dtype=torch.int8, device=device)
    listen = chroma.Chroma(device)
    done = 0
    for first in range(0, count, batch):
        last = min(first + batch, count)
        rows = torch.arange(first, last, device=device)
        for start in range(0, frames, _PART):
            stop = min(start + _PART, frames)
            low, high = max(0, start - _MARGIN), min(frames, stop + _MARGIN)
            audio = store.cut(rows, torch.full_like(rows, low * HOP), (high - low) * HOP)
            found = quantiser(codec.encode(audio))[1][:, :, start - low : stop - low]
            codes[first:last, :, start:stop] = found.to(torch.int16)
        whole = store.cut(rows, torch.zeros_like(rows), store.samples)
        melody[first:last] = listen(whole).to(torch.int8)
        done = last
        if device.type == "cuda":
            torch.cuda.synchronize()
        if budget.spent() >= 1.0:
            break
    return Coded(codes[:done], melody[:done])
