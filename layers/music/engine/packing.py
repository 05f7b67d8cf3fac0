"""Matrices as the kernels want them, quantised or not, and the files that hold them.

A network's file is a safetensors file (see `music.engine.safetensors`) whose metadata name the packed
matrices. It is mapped, so that pages come in when they are touched and belong to the page cache, or copied.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from music.engine import safetensors
from music.engine.safetensors import WeightsError

LANES = 16
"""The outputs of a block, as many as the kernels' vectors have lanes."""

PRECISIONS = ("float32", "int8", "int4")
GROUPS = {"float32": 0, "int8": 64, "int4": 32}
"""How many inputs share a scale, at each precision; 0 where there are no scales."""

_PARTS = ("scales", "columns", "apart")  # of a packed matrix, which a file holds beside its data
_NAMES = {np.dtype(dtype): name for name, dtype in safetensors.DTYPES.items() if name != "BF16"}


@dataclass(frozen=True, eq=False)
class Weight:
    """A packed matrix.

    Attributes
    ----------
    outputs, inputs : int
        The shape of the matrix.
    precision : str
        One of `PRECISIONS`, or int16.
    data : np.ndarray
        float32: [blocks, inputs, 16]; int8: [blocks, inputs / 2, 16, 2]; int4: [blocks, inputs / 2, 16] of
        uint8, the first input of two in the low half, 8 added. Inputs are padded to whole groups.
        int16: as float32.
    scales : np.ndarray [shape=(blocks, groups, 16), float16] or None
        The scales of integer weights; those of int16 have [shape=(blocks, 16), float32].
    group : int
        How many inputs share a scale, 0 where there are no groups.
    columns : np.ndarray [shape=(columns,), int32] or None
        The inputs of an integer matrix whose weights stand apart, ascending; in `data` they are zeros.
    apart : np.ndarray [shape=(blocks, columns, 16), float32] or None
        Those weights.
    """

    outputs: int
    inputs: int
    precision: str
    data: np.ndarray
    scales: np.ndarray | None = None
    group: int = 0
    columns: np.ndarray | None = None
    apart: np.ndarray | None = None

    def unpack(self) -> np.ndarray:
        """Return the matrix [shape=(outputs, inputs), float32] that the weights stand for."""
        whole = self.data
        if self.precision == "int4":
            whole = np.stack([whole & 15, whole >> 4], axis=-1).astype(np.int8) - 8
        if self.scales is None:
            matrix = whole.transpose(0, 2, 1)
        elif self.precision == "int16":
            matrix = whole.transpose(0, 2, 1) * self.scales[:, :, None]
        else:
            values = whole.transpose(0, 2, 1, 3).reshape(len(whole), LANES, -1).astype(np.float32)
            matrix = values * np.repeat(self.scales.astype(np.float32).transpose(0, 2, 1), self.group, axis=2)
        if self.columns is not None and self.apart is not None:
            matrix[:, :, self.columns] = self.apart.transpose(0, 2, 1)
        return np.ascontiguousarray(matrix.reshape(-1, matrix.shape[2])[: self.outputs, : self.inputs])


def pack(matrix: np.ndarray, precision: str = "float32", columns: np.ndarray | None = None) -> Weight:
    """Pack a matrix.

    Parameters
    ----------
    matrix : np.ndarray [shape=(outputs, inputs)]
        The matrix as a linear layer stores it.
    precision : str
        One of `PRECISIONS`: integers are symmetric, scaled for each output and group of inputs. Or int16,
        which `lstm` takes and `linear` does not: scaled for each output, all but exact.
    columns : np.ndarray [shape=(columns,)], optional
        The inputs whose weights an integer matrix of `PRECISIONS` keeps in float32, as their activations are
        kept: those that are far larger than the others (Dettmers et al. 2022, arXiv:2208.07339).

    Raises
    ------
    WeightsError
        If the matrix is not two-dimensional, is empty, or holds values that are not finite.
    """
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise WeightsError(f"a matrix is needed, not an array of shape {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise WeightsError("a matrix holds values that are not finite")
    if precision not in (*PRECISIONS, "int16"):
        raise WeightsError(f"unknown precision {precision!r}; known: {', '.join(PRECISIONS)}, int16")
    outputs, inputs = matrix.shape
    group = GROUPS.get(precision, 0)
    rows = np.zeros(
        (-(-outputs // LANES) * LANES, inputs if not group else -(-inputs // group) * group), np.float32
    )
    rows[:outputs, :inputs] = matrix
    if not group:
        data = np.ascontiguousarray(rows.reshape(-1, LANES, inputs).transpose(0, 2, 1))
        if precision == "float32":
            return Weight(outputs, inputs, precision, data)
        scale = np.maximum(np.abs(data).max(axis=1) / np.float32(32767), np.finfo(np.float32).tiny)
        return Weight(outputs, inputs, precision, np.rint(data / scale[:, None]).astype(np.int16), scale)
    apart = None
    if columns is not None and len(columns):
        columns = np.unique(columns).astype(np.int32)
        apart = np.ascontiguousarray(rows[:, columns].reshape(-1, LANES, len(columns)).transpose(0, 2, 1))
        rows[:, columns] = 0
    else:
        columns = None
    most = 127 if precision == "int8" else 7
    grouped = rows.reshape(len(rows), -1, group)
    scales = (np.abs(grouped).max(axis=2) / most).astype(np.float16)
    # A scale below float16's smallest number is a group of zeros.
    inverse = np.divide(1, scales, where=scales > 0, out=np.zeros(scales.shape, np.float32), dtype=np.float32)
    whole = np.clip(np.rint(grouped * inverse[:, :, None]), -most, most).astype(np.int8)
    pairs = whole.reshape(-1, LANES, rows.shape[1] // 2, 2).transpose(0, 2, 1, 3)
    data = np.ascontiguousarray(pairs)
    if precision == "int4":
        nibbles = (data + 8).astype(np.uint8)
        data = nibbles[..., 0] | (nibbles[..., 1] << 4)
    return Weight(
        outputs, inputs, precision, data,
        np.ascontiguousarray(scales.reshape(-1, LANES, scales.shape[1]).transpose(0, 2, 1)), group,
        columns, apart,
    )  # fmt: skip


def write(
    path: Path, tensors: Mapping[str, np.ndarray | Weight], metadata: Mapping[str, Any] | None = None
) -> None:
    """Write arrays and packed matrices as one safetensors file: the same ones give the same bytes.

    Parameters
    ----------
    path : Path
        The file to write; it is replaced if it is there.
    tensors : mapping
        Arrays and packed matrices by name. No name ends in ``.scales``, ``.columns`` or ``.apart``.
    metadata : mapping, optional
        What `Tensors.metadata` gives back; it must be JSON-ready.
    """
    arrays: dict[str, np.ndarray] = {}
    packed = {}
    for name, tensor in tensors.items():
        if isinstance(tensor, Weight):
            arrays[name] = tensor.data
            packed[name] = [tensor.outputs, tensor.inputs, tensor.precision, tensor.group]
            for part in _PARTS:
                if (array := getattr(tensor, part)) is not None:
                    arrays[f"{name}.{part}"] = array
        else:
            arrays[name] = np.ascontiguousarray(tensor)
    # Whole vectors first: all that follows 64-byte data of a multiple of 64 bytes is aligned, too.
    order = sorted(arrays, key=lambda name: (arrays[name].nbytes % 64 != 0, name))
    described = {
        "packed": json.dumps(packed, sort_keys=True),
        "metadata": json.dumps(dict(metadata or {}), sort_keys=True),
    }
    declared = {name: (_NAMES[arrays[name].dtype], arrays[name].shape) for name in order}
    safetensors.write(path, declared, arrays.__getitem__, described)


class Tensors:
    """The tensors of one network's file, mapped or copied.

    Parameters
    ----------
    path : Path
        A file that `write` wrote.
    copied : bool
        Whether the process takes memory of its own for it (see `safetensors.read`): for a network that reads
        all of its weights again and again.

    Attributes
    ----------
    path : Path
    metadata : dict
        What `write` was given.

    Raises
    ------
    WeightsError
        If the file is not there or not such a file.
    """

    def __init__(self, path: Path, copied: bool = False) -> None:
        self.path = path
        self._entries, described = safetensors.read(path, copied)
        try:
            self._packed: dict[str, Any] = json.loads(described["packed"])
            self.metadata: dict[str, Any] = json.loads(described["metadata"])
        except (ValueError, KeyError, TypeError) as error:
            raise WeightsError(f"{path}: not a file of packed weights") from error

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    @property
    def matrices(self) -> list[str]:
        """The names of the packed matrices."""
        return list(self._packed)

    def array(self, name: str) -> np.ndarray:
        """Return a tensor, read-only and not copied.

        Raises
        ------
        WeightsError
            If there is none of that name.
        """
        if name not in self._entries:
            raise WeightsError(f"{self.path}: has no tensor {name}")
        return self._entries[name].raw()

    def optional(self, name: str) -> np.ndarray | None:
        """Return a tensor, None where there is none."""
        return self.array(name) if name in self else None

    def weight(self, name: str) -> Weight:
        """Return a packed matrix, not copied.

        Raises
        ------
        WeightsError
            If there is none of that name.
        """
        if name not in self._packed:
            raise WeightsError(f"{self.path}: has no matrix {name}")
        outputs, inputs, precision, group = self._packed[name]
        scales, columns, apart = (self.optional(f"{name}.{part}") for part in _PARTS)
        return Weight(outputs, inputs, precision, self.array(name), scales, group, columns, apart)
