"""Drawing tokens on the device: `music.musicgen.sampling.draw` for many streams at once, step for step."""

from __future__ import annotations

import torch


def draw(
    logits: torch.Tensor,
    temperature: torch.Tensor,
    top_k: torch.Tensor,
    top_p: torch.Tensor,
    uniform: torch.Tensor,
) -> torch.Tensor:
    """Draw one token for each codebook of each stream.

    Parameters
    ----------
    logits : torch.Tensor [streams, codebooks, vocabulary]
        Finite logits, guided already.
    temperature, top_p : torch.Tensor [streams, 1], float64
        See `music.musicgen.sampling.Sampling`. A temperature of 0 takes the likeliest token; a `top_p` over 1
        keeps all.
    top_k : torch.Tensor [streams, 1], int64
        In [1, vocabulary].
    uniform : torch.Tensor [streams, codebooks], float64
        A number in [0, 1) for each token.

    Returns
    -------
    torch.Tensor [streams, codebooks], int64

    Notes
    -----
    Everything is computed in float64 in the order in which NumPy computes it there, so the same logits and
    numbers give the same tokens on both. There is no branch on a value: a CUDA graph holds all of it.
    """
    books, vocabulary = logits.shape[1:]
    likeliest = logits.argmax(-1)
    scaled = logits.double() / torch.where(temperature == 0, 1.0, temperature)[..., None]
    scaled = scaled - scaled.amax(-1, keepdim=True)
    ordered, order = scaled.sort(dim=-1, descending=True, stable=True)
    least = ordered.gather(-1, (top_k - 1)[:, None].expand(-1, books, 1))
    weights = torch.where(scaled < least, 0.0, scaled.exp())
    ranked = weights.gather(-1, order)
    before = ranked.cumsum(-1) - ranked
    kept = before < top_p[..., None] * ranked.sum(-1, keepdim=True)
    weights = torch.zeros_like(weights).scatter(-1, order, torch.where(kept, ranked, 0.0))
    summed = weights.cumsum(-1)
    whole = summed[..., -1:]
    wanted = torch.minimum(uniform[..., None] * whole, torch.nextafter(whole, torch.zeros_like(whole)))
    drawn = (summed <= wanted).sum(-1).clamp(max=vocabulary - 1)
    return torch.where(temperature == 0, likeliest, drawn)
