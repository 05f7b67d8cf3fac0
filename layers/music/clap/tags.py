"""The tags of `tags.toml`, embedded once: naming a track then takes no text tower."""

from __future__ import annotations

import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from music.clap import text_encoder
from music.engine.packing import Tensors, Weight, write

if TYPE_CHECKING:
    from weights import Checkpoint

VOCABULARY = Path(__file__).with_name("tags.toml")


def export(
    checkpoint: Checkpoint, precision: str = "float32"
) -> tuple[dict[str, np.ndarray | Weight], dict[str, Any]]:
    """Embed every tag of the vocabulary.

    Parameters
    ----------
    checkpoint : Checkpoint
        Of a `ClapModel`.
    precision : str
        Of the towers beside it. Tags are always embedded in float32: it costs nothing here.

    Returns
    -------
    tensors, metadata : dict
        For `music.engine.packing.write`.
    """
    from tokenizers import Tokenizer  # a runtime that only names tracks does without

    tokenizer = Tokenizer.from_file(str(checkpoint.tokenizer))
    vocabulary = tomllib.loads(VOCABULARY.read_text("utf-8"))
    prompt = vocabulary.pop("prompt")
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "text", *text_encoder.export(checkpoint))
        text = text_encoder.ClapText(Tensors(Path(folder) / "text"))
        vectors = [
            text(tokenizer.encode(prompt.format(category["phrase"].format(tag))).ids)
            for category in vocabulary.values()
            for tag in category["tags"]
        ]
    unit = np.stack(vectors) / np.linalg.norm(vectors, axis=1, keepdims=True)
    return {"tags": unit.astype(np.float32)}, {
        "network": "clap_tags",
        "precision": "float32",
        "scale": float(np.exp(checkpoint.tensor("logit_scale_a"))),
        "categories": [
            {"name": name, "tags": category["tags"], "shown": category["shown"]}
            for name, category in vocabulary.items()
        ],
    }


class ClapTags:
    """What tracks can be called.

    Parameters
    ----------
    tensors : Tensors
        What `export` made.
    """

    def __init__(self, tensors: Tensors) -> None:
        self._vectors = tensors.array("tags")
        self._scale: float = tensors.metadata["scale"]
        self._categories: list[dict[str, Any]] = tensors.metadata["categories"]

    def __call__(self, vector: np.ndarray) -> dict[str, dict[str, float]]:
        """Name a track.

        Parameters
        ----------
        vector : np.ndarray [shape=(dimension,)]
            Its embedding, of unit length.

        Returns
        -------
        dict of str to dict of str to float
            For each category its likeliest tags, best first, with their shares of all of the category's tags.
        """
        return name_by(vector, self._vectors, self._scale, self._categories)


def name_by(
    vector: np.ndarray, tags: np.ndarray, scale: float, categories: list[dict[str, Any]]
) -> dict[str, dict[str, float]]:
    """See `ClapTags`; `tags` [shape=(tags, dimension)] are unit vectors, category after category."""
    logits = scale * (tags.astype(np.float64) @ vector.astype(np.float64))
    found = {}
    start = 0
    for category in categories:
        names = category["tags"]
        own = logits[start : start + len(names)]
        shares = np.exp(own - own.max())
        shares /= shares.sum()
        best = np.argsort(-shares, kind="stable")[: category["shown"]]
        found[category["name"]] = {names[i]: round(float(shares[i]), 4) for i in best}
        start += len(names)
    return found
