"""What a track can be called: tags, embedded once, so that naming takes no text tower.

The tags are those of `tags.toml`, or of the checkpoint itself where it brings some.
"""

from __future__ import annotations

import json
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from music.engine.packing import Tensors

TAGS = Path(__file__).with_name("tags.toml")


class ClapTags:
    """Names tracks by their vectors.

    Parameters
    ----------
    tensors : Tensors
        Those of a bundle's ``clap_tags``.
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
        return likeliest(vector, self._vectors, self._scale, self._categories)


def likeliest(
    vector: np.ndarray, tags: np.ndarray, scale: float, categories: list[dict[str, Any]]
) -> dict[str, dict[str, float]]:
    """Find the tags of each category that are likeliest for a vector.

    Parameters
    ----------
    vector : np.ndarray [shape=(dimension,)]
        The embedding of a track, of unit length.
    tags : np.ndarray [shape=(tags, dimension)]
        The embeddings of the tags, of unit length, category after category.
    scale : float
        The factor of the cosines before the softmax over a category's tags.
    categories : list of dict
        What `categories` returns.

    Returns
    -------
    dict of str to dict of str to float
        See `ClapTags.__call__`.
    """
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


def tags_of(checkpoint: Path) -> Path:
    """Find the file of tags of a checkpoint: its own ``tags.json``, or `TAGS`.

    A network that has heard of few words says nothing true of the others, so it has to bring its own.
    """
    own = checkpoint / "tags.json"
    return own if own.exists() else TAGS


def categories(path: Path = TAGS) -> list[dict[str, Any]]:
    """List the categories of a file of tags: the name of each, its tags, and how many of them are shown.

    Parameters
    ----------
    path : Path
        TOML, or JSON of the same structure.
    """
    return [
        {"name": name, "tags": category["tags"], "shown": category["shown"]}
        for name, category in _read(path).items()
        if name != "prompt"
    ]


def prompts(path: Path = TAGS) -> list[str]:
    """Write the text that stands for each tag of a file, category after category."""
    content = _read(path)
    return [
        content["prompt"].format(category["phrase"].format(tag))
        for name, category in content.items()
        if name != "prompt"
        for tag in category["tags"]
    ]


@cache
def _read(path: Path) -> dict[str, Any]:
    text = path.read_text("utf-8")
    content: dict[str, Any] = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    return content
