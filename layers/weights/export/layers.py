"""The kinds of layers that several networks have, as a bundle holds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from music.engine.packing import Weight, pack
from weights.check import Checkpoint

Tensors = dict[str, np.ndarray | Weight]
Exported = tuple[Tensors, dict[str, Any]]
"""Tensors by name, and metadata."""


@dataclass(frozen=True)
class Calibration:
    """What integers have to be told of a network's activations (see `weights.calibrate`), by matrix.

    Attributes
    ----------
    columns : mapping of str to np.ndarray
        The inputs that stand apart from the integers.
    rows, inputs : mapping of str to np.ndarray [shape=(outputs,)] or [shape=(inputs,)]
        The powers of two that outputs and inputs are multiplied by: what goes out of a matrix larger goes
        into another smaller, so that the network computes what it did.
    exact : frozenset of str
        The matrices that stay float32.
    """

    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    rows: Mapping[str, np.ndarray] = field(default_factory=dict)
    inputs: Mapping[str, np.ndarray] = field(default_factory=dict)
    exact: frozenset[str] = frozenset()


def calibrated(
    checkpoint: Checkpoint, precision: str, name: str, sources: tuple[str, ...], calibration: Calibration
) -> Weight:
    """Pack a matrix, several stacked on each other as one, as the calibration says."""
    values = np.concatenate([checkpoint.tensor(source) for source in sources])
    if name in calibration.rows:
        values = np.ldexp(values, calibration.rows[name][:, None])
    if name in calibration.inputs:
        values = np.ldexp(values, calibration.inputs[name])
    if name in calibration.exact:
        precision = "float32"
    return pack(values, precision, calibration.columns.get(name))


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
