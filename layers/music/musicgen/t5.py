"""T5's encoder (Raffel et al. 2020), which turns a prompt into what MusicGen is conditioned on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from music.engine.ops import Cache, attend, linear, norm
from music.engine.packing import Tensors


class T5:
    """The encoder.

    Parameters
    ----------
    tensors : Tensors
        Those of a bundle's ``t5``.
    """

    def __init__(self, tensors: Tensors) -> None:
        self._tensors = tensors
        self._config = tensors.metadata
        self._embedding = tensors.array("embedding")

    def encode(self, ids: Sequence[int]) -> np.ndarray:
        """Encode one prompt.

        Parameters
        ----------
        ids : sequence of int
            The tokens of the prompt, the end token included.

        Returns
        -------
        np.ndarray [shape=(tokens, width), float32]
            The hidden states after the last layer.

        Raises
        ------
        ValueError
            If there are none, or one is not in the vocabulary.
        """
        tokens = np.asarray(ids, dtype=np.int64)
        if not len(tokens) or tokens.min() < 0 or tokens.max() >= len(self._embedding):
            raise ValueError(f"a prompt has at least one token, each in [0, {len(self._embedding)})")
        w, heads, size = self._tensors, self._config["heads"], self._config["head_size"]
        width = heads * size
        bias = self._bias(len(tokens))
        x = self._embedding[tokens].astype(np.float32)  # (tokens, width of the model)
        for index in range(self._config["layers"]):
            h = self._norm(x, f"{index}.attention.norm")
            qkv = linear(h, w.weight(f"{index}.attention.qkv"))  # (tokens, 3 * heads * head size)
            q, k, v = qkv[:, :width], qkv[:, width : 2 * width], qkv[:, 2 * width :]
            # T5 does not scale its scores.
            cache = Cache(1, heads, size, len(tokens))
            h = attend(q, cache, k, v, scale=1.0, bias=bias)  # (tokens, heads * head size)
            x = linear(h, w.weight(f"{index}.attention.out"), residual=x)  # (tokens, width of the model)
            h = self._norm(x, f"{index}.feed.norm")
            h = linear(h, w.weight(f"{index}.feed.in"), activation="relu")  # (tokens, inner width)
            x = linear(h, w.weight(f"{index}.feed.out"), residual=x)
        return self._norm(x, "norm")

    def _norm(self, x: np.ndarray, name: str) -> np.ndarray:
        return norm(x, self._tensors.array(name), epsilon=self._config["epsilon"], root_mean_square=True)

    def _bias(self, tokens: int) -> np.ndarray:
        """Look up the bias of the scores by distance [1, heads, tokens, tokens]."""
        table = self._tensors.array("position")
        distance = np.arange(tokens)[None, :] - np.arange(tokens)[:, None]
        buckets = buckets_of(distance, len(table), self._config["furthest"])
        return np.ascontiguousarray(table[buckets].transpose(2, 0, 1)[None])


def buckets_of(distance: np.ndarray, buckets: int, furthest: int) -> np.ndarray:
    """Number the buckets of distances from a query to a key (Raffel et al. 2020, section 2.1).

    Half of the buckets are for keys behind the query. Of each half, the first half holds one distance each,
    and the rest grow logarithmically up to `furthest`.
    """
    half = buckets // 2
    exact = half // 2
    far = np.abs(distance)
    # In float32, as the published code computes it: it decides at the borders.
    ratio = np.log(np.maximum(far, 1).astype(np.float32) / np.float32(exact)) / np.float32(
        np.log(furthest / exact)
    )
    grown = np.minimum(exact + (ratio * np.float32(half - exact)).astype(np.int64), half - 1)
    return np.where(far < exact, far, grown) + half * (distance > 0)
