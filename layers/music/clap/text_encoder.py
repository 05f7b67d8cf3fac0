"""The text tower of CLAP: RoBERTa and a projection into the space that the audio tower shares.

RoBERTa: Liu et al. 2019 (arXiv:1907.11692); CLAP: Wu et al. 2023 (arXiv:2211.06687). It computes what the
text half of `ClapModel` of transformers does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from music.engine.ops import Cache, attend, linear, norm
from music.engine.packing import Tensors


class ClapText:
    """The text tower.

    Parameters
    ----------
    tensors : Tensors
        Those of a bundle's ``clap_text``.
    """

    def __init__(self, tensors: Tensors) -> None:
        self._tensors = tensors
        self._words = tensors.array("words")
        self._positions = tensors.array("positions")

    @property
    def most_tokens(self) -> int:
        """How many tokens a text may have, its begin and end included."""
        return len(self._positions)

    def __call__(self, ids: Sequence[int]) -> np.ndarray:
        """Embed one text.

        Parameters
        ----------
        ids : sequence of int
            The tokens of the text, begin and end included, without padding.

        Returns
        -------
        np.ndarray [shape=(dimension,), float32]
            The vector, not normalised.

        Raises
        ------
        ValueError
            If there are none or too many, or one is not a token of a text.
        """
        made = self._tensors.metadata
        tokens = np.asarray(ids, np.int64)
        if not 0 < len(tokens) <= self.most_tokens:
            raise ValueError(f"a text has 1 to {self.most_tokens} tokens, not {len(tokens)}")
        if tokens.min() < 0 or tokens.max() >= len(self._words) or made["padding"] in tokens:
            raise ValueError("a token is padding or not in the vocabulary")
        x = self._words[tokens].astype(np.float32) + self._positions[: len(tokens)]  # (tokens, width)
        x = self._norm(x, "embeddings.norm")
        heads, width = made["heads"], x.shape[1]
        for index in range(made["layers"]):
            q, k, v = np.split(self._linear(x, f"{index}.qkv"), 3, axis=1)  # each (tokens, heads * size)
            cache = Cache(1, heads, width // heads, len(tokens))
            mixed = attend(q, cache, k, v, scale=(width // heads) ** -0.5)  # (tokens, heads * size)
            x = self._norm(self._linear(mixed, f"{index}.out", residual=x), f"{index}.after_attention")
            hidden = self._linear(x, f"{index}.up", activation="gelu")  # (tokens, 4 * width)
            x = self._norm(self._linear(hidden, f"{index}.down", residual=x), f"{index}.after_feed")
        pooled = np.tanh(self._linear(x[:1], "pooler"))  # (1, width)
        return self._linear(self._linear(pooled, "projection.1", activation="relu"), "projection.2")[0]

    def _linear(self, x: np.ndarray, name: str, **more: Any) -> np.ndarray:
        weight, bias = self._tensors.weight(f"{name}.weight"), self._tensors.array(f"{name}.bias")
        return linear(x, weight, bias=bias, **more)

    def _norm(self, x: np.ndarray, name: str) -> np.ndarray:
        gain, shift = self._tensors.array(f"{name}.gain"), self._tensors.array(f"{name}.shift")
        return norm(x, gain, shift, epsilon=self._tensors.metadata["epsilon"], out=x)
