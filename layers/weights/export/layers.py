"""The kinds of layers that several networks have, as a bundle holds them."""

from __future__ import annotations

from typing import Any

import numpy as np

from music.engine.packing import Weight, pack
from weights.check import Checkpoint

Tensors = dict[str, np.ndarray | Weight]
Exported = tuple[Tensors, dict[str, Any]]
"""Tensors by name, and metadata."""


def matrix(checkpoint: Checkpoint, precision: str, *names: str) -> Weight:
    """Pack a matrix, or those of layers that read the same input, stacked on each other, as one."""
    return pack(np.concatenate([checkpoint.tensor(name) for name in names]), precision)


def linear(checkpoint: Checkpoint, precision: str, name: str, *sources: str, bias: bool = True) -> Tensors:
    """Export a linear layer, or several that read the same input as one.

    Parameters
    ----------
    checkpoint : Checkpoint
    precision : str
        The precision of the matrix. Biases are float32.
    name : str
        The bundle gets ``{name}.weight`` and ``{name}.bias``.
    *sources : str
        What the layers are called in the checkpoint.
    bias : bool
        Whether the layers have biases.
    """
    tensors: Tensors = {
        f"{name}.weight": matrix(checkpoint, precision, *(f"{source}.weight" for source in sources))
    }
    if bias:
        tensors[f"{name}.bias"] = np.concatenate([checkpoint.tensor(f"{source}.bias") for source in sources])
    return tensors


def norm(checkpoint: Checkpoint, name: str, source: str) -> Tensors:
    """Export a layer norm as ``{name}.gain`` and ``{name}.shift``."""
    return {
        f"{name}.gain": checkpoint.tensor(f"{source}.weight"),
        f"{name}.shift": checkpoint.tensor(f"{source}.bias"),
    }


def embedding(tensor: np.ndarray, precision: str) -> np.ndarray:
    """Store an embedding as float32, or as float16 beside integer matrices."""
    return tensor.astype(np.float32 if precision == "float32" else np.float16)
