"""Checkpoints with outliers put into them, as trained transformers have them and random weights do not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from weights import Checkpoint

Changes = dict[str, tuple[list[int], int, float]]
"""By a pattern of names: places along an axis, that axis, and what they are multiplied by."""


class Injected(Checkpoint):
    """A checkpoint of which some tensors are multiplied in some places.

    Parameters
    ----------
    folder : Path
    changes : mapping
    """

    def __init__(self, folder: Path, changes: Changes) -> None:
        super().__init__(folder)
        for pattern in changes:
            assert any(re.search(pattern, name) for name in self.names()), pattern
        self._changes = changes

    def tensor(self, name: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
        """Read a tensor, and change it."""
        found = super().tensor(name, shape)
        for pattern, (places, axis, factor) in self._changes.items():
            if re.search(pattern, name):
                found = found.copy()
                np.moveaxis(found, axis, 0)[places] *= np.float32(factor)
        return found


_NORMS = r"layers\.\d+\..*layer_norm\.weight$"
_READERS = r"(self_attn\.[qkv]_proj|encoder_attn\.q_proj|fc1)\.weight$"
_FEED_IN, _FEED_OUT = r"fc1\.weight$", r"fc2\.weight$"
_Q, _K, _V, _OUT = (rf"self_attn\.{part}_proj\.weight$" for part in ("q", "k", "v", "out"))
_CROSS_Q, _CROSS_K, _CROSS_V, _CROSS_OUT = (
    rf"encoder_attn\.{part}_proj\.weight$" for part in ("q", "k", "v", "out")
)
_SINK = r"embed_tokens\.0\.weight$"
_TEXT_NORMS, _TEXT_RESIDUAL = r"layer\.0\.layer_norm\.weight$", r"DenseReluDense\.wo\.weight$"


def injections(some: list[int], keys: list[int], text: list[int]) -> dict[str, dict[float, Changes]]:
    """List what is injected: by its name, by the factor.

    Where another matrix takes a factor back, the network computes what it did before; where none does, it is
    another network, whose activations the outliers dominate.

    Parameters
    ----------
    some : list of int
        Channels of the hidden state.
    keys : list of int
        Channels of the keys.
    text : list of int
        Channels of the text encoder's hidden state.
    """

    def each(
        factors: tuple[float, ...], changes: Mapping[str, tuple[list[int], int, int]]
    ) -> dict[float, Changes]:
        return {
            factor: {
                pattern: (places, axis, factor**power) for pattern, (places, axis, power) in changes.items()
            }
            for factor in factors
        }

    wide, narrow = (30.0, 100.0, 300.0, 1000.0), (30.0, 100.0, 300.0)
    return {
        "inputs, taken back": each(wide, {_NORMS: (some, 0, 1), _READERS: (some, 1, -1)}),
        "inputs": each(wide, {_NORMS: (some, 0, 1)}),
        "feed-forward, taken back": each(wide, {_FEED_IN: (some, 0, 1), _FEED_OUT: (some, 1, -1)}),
        "residual": each(wide, {_FEED_OUT: (some, 0, 1)}),
        "keys, taken back": each(narrow, {_K: (keys, 0, 1), _Q: (keys, 0, -1)}),
        "keys": each(narrow, {_K: (keys, 0, 1)}),
        "values, taken back": each(wide, {_V: (some, 0, 1), _OUT: (some, 1, -1)}),
        "values": each(wide, {_V: (some, 0, 1)}),
        "cross keys, taken back": each(narrow, {_CROSS_K: (keys, 0, 1), _CROSS_Q: (keys, 0, -1)}),
        "cross keys": each(narrow, {_CROSS_K: (keys, 0, 1)}),
        "cross values": each(wide, {_CROSS_V: (some, 0, 1)}),
        "attention sink": each(wide, {_SINK: ([-1], 0, 1)}),
        "text, inputs": each(wide, {_TEXT_NORMS: (text, 0, 1)}),
        "text, residual": each(wide, {_TEXT_RESIDUAL: (text, 0, 1)}),
    }
