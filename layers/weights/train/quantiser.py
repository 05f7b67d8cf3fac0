"""Residual vector quantisation with codebooks that follow what they stand for.

Each codebook codes what the ones before it left over. Codebooks are moving averages (van den Oord et al.
2017, arXiv:1711.00937, appendix A); an entry that nothing is coded with begins again elsewhere (Dhariwal et
al. 2020, arXiv:2005.00341).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from weights.train.recipe import BOOKS, CodecRecipe

_UNUSED = 0.1
"""Below this share of the usual number of vectors an entry is given up."""


class Quantiser:
    """The codebooks.

    Attributes
    ----------
    entries : Tensor [books, entries, latent]
    memory : Tensor
        How many vectors for each entry a codebook remembers, a scalar on the device. Latents move fast at
        first: then it has to be few, later many.
    """

    def __init__(self, recipe: CodecRecipe, device: torch.device) -> None:
        self.recipe = recipe
        shape = BOOKS, recipe.entries, recipe.latent
        self.entries = torch.randn(shape, device=device)
        self.memory = torch.tensor(10.0, device=device)
        self._sums = self.entries.clone()
        self._counts = torch.ones(shape[:2], device=device)

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds of it, by name (without ``audio_encoder.``)."""
        out = {}
        for book in range(BOOKS):
            name = f"quantizer.layers.{book}.codebook"
            out[f"{name}.embed"] = self.entries[book]
            out[f"{name}.embed_avg"] = self._sums[book]
            out[f"{name}.cluster_size"] = self._counts[book]
            out[f"{name}.inited"] = torch.ones(1)
        return out

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over codebooks by name."""
        for book in range(BOOKS):
            name = f"quantizer.layers.{book}.codebook"
            self.entries[book] = tensors[f"{name}.embed"]
            self._sums[book] = tensors[f"{name}.embed_avg"]
            self._counts[book] = tensors[f"{name}.cluster_size"]

    def __call__(self, latents: Tensor, learn: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Code latents.

        Parameters
        ----------
        latents : Tensor [n, latent, frames]
        learn : bool
            Whether the codebooks follow.

        Returns
        -------
        coded : Tensor [n, latent, frames]
            Its gradient is that of the latents.
        codes : Tensor [n, books, frames], int64
        commitment : Tensor
            Mean square of what each codebook misses, summed over codebooks.
        """
        n, size, frames = latents.shape
        flat = latents.permute(0, 2, 1).reshape(-1, size)
        rest, total, codes = flat, torch.zeros_like(flat), []
        commitment = flat.new_zeros(())
        for book in range(BOOKS):
            with torch.no_grad():
                index = self._nearest(rest.detach(), book)
                chosen = self.entries[book][index]
                if learn:
                    self._follow(book, rest.detach(), index)
            commitment = commitment + (rest - chosen).square().mean()
            total = total + chosen
            rest = rest - chosen
            codes.append(index.view(n, frames))
        coded = flat + (total - flat).detach()
        return coded.view(n, frames, size).permute(0, 2, 1).contiguous(), torch.stack(codes, 1), commitment

    def latents(self, codes: Tensor) -> Tensor:
        """[n, books, frames] to [n, latent, frames]; fewer books give a coarser result."""
        parts = [self.entries[book][codes[:, book].long()] for book in range(codes.shape[1])]
        return torch.stack(parts).sum(0).permute(0, 2, 1).contiguous()

    @torch.no_grad()
    def begin(self, latents: Tensor, turns: int = 12) -> None:
        """Place all entries by k-means, one codebook after the other."""
        rest = latents.permute(0, 2, 1).reshape(-1, latents.shape[1])
        count = self.recipe.entries
        for book in range(BOOKS):
            self.entries[book] = rest[torch.randint(len(rest), (count,), device=rest.device)]
            for _ in range(turns):
                index = self._nearest(rest, book)
                counts, sums = _gather(rest, index, count)
                other = rest[torch.randint(len(rest), (count,), device=rest.device)]
                means = sums / counts.clamp(min=1)[:, None]
                self.entries[book] = torch.where((counts > 0)[:, None], means, other)
            index = self._nearest(rest, book)
            counts, _ = _gather(rest, index, count)
            # As if they had been seen in one step of training.
            vectors = self.recipe.batch * self.recipe.segment / 640
            self._counts[book] = (counts * (vectors / len(rest))).clamp(min=1e-2)
            self._sums[book] = self.entries[book] * self._counts[book][:, None]
            rest = rest - self.entries[book][index]

    def _nearest(self, vectors: Tensor, book: int) -> Tensor:
        entries = self.entries[book]
        return torch.addmm(-0.5 * entries.square().sum(1), vectors, entries.t()).argmax(1)

    def _follow(self, book: int, vectors: Tensor, index: Tensor) -> None:
        count = self.recipe.entries
        usual = len(vectors) / count
        new = (usual / self.memory).clamp(max=0.1)
        counts, sums = _gather(vectors, index, count)
        self._counts[book].lerp_(counts, new)
        self._sums[book].lerp_(sums, new)
        unused = self._counts[book] < _UNUSED * usual
        other = vectors[torch.randint(len(vectors), (count,), device=vectors.device)]
        self._sums[book] = torch.where(unused[:, None], other * (0.4 * usual), self._sums[book])
        self._counts[book] = torch.where(unused, torch.full_like(counts, 0.4 * usual), self._counts[book])
        self.entries[book] = self._sums[book] / self._counts[book].clamp(min=1e-5)[:, None]


def _gather(vectors: Tensor, index: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """How many vectors each entry has [count], and their sums [count, size]."""
    counts = torch.zeros(count, device=vectors.device).index_add_(0, index, torch.ones_like(vectors[:, 0]))
    sums = torch.zeros(count, vectors.shape[1], device=vectors.device).index_add_(0, index, vectors)
    return counts, sums


def entropies(codes: Tensor, entries: int) -> list[float]:
    """Entropy of each codebook's codes, in bits.

    Parameters
    ----------
    codes : Tensor [n, books, frames]
    entries : int
        Of a codebook.
    """
    out = []
    for book in codes.unbind(1):
        share = torch.bincount(book.flatten().long(), minlength=entries).double()
        share = share[share > 0] / share.sum()
        out.append(float(-(share * share.log2()).sum()))
    return out
