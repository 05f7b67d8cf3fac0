"""The text tower of CLAP: RoBERTa and a projection into the space that the audio tower shares.

RoBERTa: Liu et al. 2019 (arXiv:1907.11692); CLAP: Wu et al. 2023 (arXiv:2211.06687). It computes what the
text half of `ClapModel` of transformers does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from music.engine.ops import Cache, attend, linear, norm
from music.engine.packing import Tensors, Weight, WeightsError, pack

if TYPE_CHECKING:
    from weights import Checkpoint


def export(
    checkpoint: Checkpoint, precision: str = "float32"
) -> tuple[dict[str, np.ndarray | Weight], dict[str, Any]]:
    """Turn the text tower of a checkpoint into what `ClapText` runs.

    Parameters
    ----------
    checkpoint : Checkpoint
        Of a `ClapModel`.
    precision : {"float32", "int8"}
        Of the matrices. The embedding of words is float32, or float16 beside integers.

    Returns
    -------
    tensors, metadata : dict
        For `music.engine.packing.write`.

    Raises
    ------
    WeightsError
        If its config describes a network that this is not.
    """
    config = checkpoint.config["text_config"]
    expected = {
        "hidden_act": "gelu",
        "projection_hidden_act": "relu",
        "position_embedding_type": "absolute",
        "is_decoder": False,
    }
    for name, value in expected.items():
        if config.get(name, value) != value:
            raise WeightsError(f"text_config: {name} is {config[name]!r}; only {value!r} is supported")
    if config["hidden_size"] % config["num_attention_heads"]:
        raise WeightsError(f"text_config: {config['num_attention_heads']} heads do not fit hidden_size")

    tensors: dict[str, np.ndarray | Weight] = {}

    def dense(name: str, *sources: str) -> None:
        """Pack linear layers on top of each other as one."""
        matrices = [checkpoint.tensor(f"{source}.weight") for source in sources]
        tensors[f"{name}.weight"] = pack(np.concatenate(matrices), precision)
        tensors[f"{name}.bias"] = np.concatenate([checkpoint.tensor(f"{source}.bias") for source in sources])

    def normalised(name: str, source: str) -> None:
        tensors[f"{name}.gain"] = checkpoint.tensor(f"{source}.weight")
        tensors[f"{name}.shift"] = checkpoint.tensor(f"{source}.bias")

    embeddings = "text_model.embeddings"
    table = np.float32 if precision == "float32" else np.float16
    tensors["words"] = checkpoint.tensor(f"{embeddings}.word_embeddings.weight").astype(table)
    # Positions are counted from behind the padding token's number; there is one type of token.
    first = config["pad_token_id"] + 1
    kind = checkpoint.tensor(f"{embeddings}.token_type_embeddings.weight")[0]
    tensors["positions"] = checkpoint.tensor(f"{embeddings}.position_embeddings.weight")[first:] + kind
    normalised("embeddings.norm", f"{embeddings}.LayerNorm")
    for index in range(config["num_hidden_layers"]):
        layer = f"text_model.encoder.layer.{index}"
        dense(f"{index}.qkv", *(f"{layer}.attention.self.{part}" for part in ("query", "key", "value")))
        dense(f"{index}.out", f"{layer}.attention.output.dense")
        normalised(f"{index}.after_attention", f"{layer}.attention.output.LayerNorm")
        dense(f"{index}.up", f"{layer}.intermediate.dense")
        dense(f"{index}.down", f"{layer}.output.dense")
        normalised(f"{index}.after_feed", f"{layer}.output.LayerNorm")
    dense("pooler", "text_model.pooler.dense")
    dense("projection.1", "text_projection.linear1")
    dense("projection.2", "text_projection.linear2")
    return tensors, {
        "network": "clap_text",
        "precision": precision,
        "layers": config["num_hidden_layers"],
        "heads": config["num_attention_heads"],
        "epsilon": config["layer_norm_eps"],
        "padding": config["pad_token_id"],
    }


class ClapText:
    """The text tower.

    Parameters
    ----------
    tensors : Tensors
        What `export` made.
    """

    def __init__(self, tensors: Tensors) -> None:
        self._tensors = tensors
        self._words = tensors.array("words")
        self._positions = tensors.array("positions")

    @property
    def most_tokens(self) -> int:
        """Tokens that a text may have, its begin and end included."""
        return len(self._positions)

    def __call__(self, ids: Sequence[int]) -> np.ndarray:
        """Embed one text.

        Parameters
        ----------
        ids : sequence of int
            Its tokens, begin and end included, without padding.

        Returns
        -------
        np.ndarray [shape=(dimension,), float32]
            Not normalised.

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
        x = self._words[tokens].astype(np.float32) + self._positions[: len(tokens)]
        x = self._norm(x, "embeddings.norm")
        heads, width = made["heads"], x.shape[1]
        for index in range(made["layers"]):
            q, k, v = np.split(self._linear(x, f"{index}.qkv"), 3, axis=1)
            cache = Cache(1, heads, width // heads, len(tokens))
            mixed = attend(q, cache, k, v, scale=(width // heads) ** -0.5)
            x = self._norm(self._linear(mixed, f"{index}.out", residual=x), f"{index}.after_attention")
            hidden = self._linear(x, f"{index}.up", activation="gelu")
            x = self._norm(self._linear(hidden, f"{index}.down", residual=x), f"{index}.after_feed")
        pooled = np.tanh(self._linear(x[:1], "pooler"))
        return self._linear(self._linear(pooled, "projection.1", activation="relu"), "projection.2")[0]

    def _linear(self, x: np.ndarray, name: str, **more: Any) -> np.ndarray:
        weight, bias = self._tensors.weight(f"{name}.weight"), self._tensors.array(f"{name}.bias")
        return linear(x, weight, bias=bias, **more)

    def _norm(self, x: np.ndarray, name: str) -> np.ndarray:
        gain, shift = self._tensors.array(f"{name}.gain"), self._tensors.array(f"{name}.shift")
        return norm(x, gain, shift, epsilon=self._tensors.metadata["epsilon"], out=x)
