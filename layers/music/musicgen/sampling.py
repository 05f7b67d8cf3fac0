"""From logits to tokens: guidance, temperature, top-k, top-p, and a random stream for each candidate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn.

    Attributes
    ----------
    temperature : float
        Divides the logits. 0 takes the likeliest token always (greedy), and nothing is drawn.
    top_k : int
        Only this many of the likeliest tokens are drawn from, and those as likely as the last one; 0 is all.
    top_p : float
        Only the likeliest tokens that together have this probability, the one that reaches it included; 0 is
        all. Where both are given, `top_k` comes first and the probabilities are those of what it left.
    guidance_scale : float
        The scale of classifier-free guidance (see `guide`); 1 is none.
    """

    temperature: float = 1.0
    top_k: int = 250
    top_p: float = 0.0
    guidance_scale: float = 3.0


def guide(conditional: np.ndarray, null: np.ndarray, scale: float) -> np.ndarray:
    """Combine the logits of both conditions by classifier-free guidance [1]_.

    References
    ----------
    .. [1] Ho and Salimans, "Classifier-free diffusion guidance", 2022.
    """
    return null + (conditional - null) * np.float32(scale)


def stream(seed: int, drawn: int = 0) -> np.random.Generator:
    """Return a candidate's random stream after `drawn` numbers: seed and count are all of its state."""
    bits = np.random.PCG64(seed % 2**64)
    return np.random.Generator(bits.advance(drawn))


def draw(logits: np.ndarray, sampling: Sampling, rng: np.random.Generator) -> np.ndarray:
    """Draw one token for each codebook.

    Parameters
    ----------
    logits : np.ndarray [codebooks, vocabulary]
        Finite logits.
    sampling : Sampling
        How to draw; guidance was done before.
    rng : np.random.Generator
        The stream of the candidate. Exactly one number is taken for each codebook, none when greedy.

    Returns
    -------
    np.ndarray [codebooks], int64
    """
    if sampling.temperature == 0.0:
        return logits.argmax(axis=1)
    scaled = logits.astype(np.float64) / sampling.temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    vocabulary = scaled.shape[1]
    weights = np.exp(scaled)
    if 0 < sampling.top_k < vocabulary:
        least = np.partition(scaled, vocabulary - sampling.top_k, axis=1)[:, vocabulary - sampling.top_k]
        weights[scaled < least[:, None]] = 0.0
    if sampling.top_p > 0.0:
        order = np.argsort(-weights, axis=1, kind="stable")
        ordered = np.take_along_axis(weights, order, axis=1)
        before = np.cumsum(ordered, axis=1) - ordered
        ordered[before >= sampling.top_p * ordered.sum(axis=1, keepdims=True)] = 0.0
        np.put_along_axis(weights, order, ordered, axis=1)
    summed = np.cumsum(weights, axis=1)
    wanted = rng.random(len(weights)) * summed[:, -1]
    # The product may round up to the whole sum: then it is the last token that has any probability.
    wanted = np.minimum(wanted, np.nextafter(summed[:, -1], 0.0))
    return (summed <= wanted[:, None]).sum(axis=1)
