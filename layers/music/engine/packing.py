"""Matrices as the kernels want them, and the safetensors files that hold them.

A file is plain safetensors; its metadata name the packed matrices. It is mapped, not read: pages come in when
they are touched and belong to the page cache.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

LANES = 16
"""Outputs of a block: the lanes of the kernels' vectors."""

PRECISIONS = ("float32", "int8", "int4")
GROUPS = {"float32": 0, "int8": 64, "int4": 32}
"""Inputs that share a scale."""

_DTYPES = {
    "F32": np.float32,
    "F16": np.float16,
    "I8": np.int8,
    "U8": np.uint8,
    "I16": np.int16,
    "I32": np.int32,
    "I64": np.int64,
}
_NAMES = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}


class WeightsError(Exception):
    """A file of weights is not what it should be; the message names the file or the tensor."""


@dataclass(frozen=True, eq=False)
class Weight:
    """A packed matrix.

    Attributes
    ----------
    outputs, inputs : int
        Its shape.
    precision : str
        One of `PRECISIONS`, or int16.
    data : np.ndarray
        float32: [blocks, inputs, 16]; int8: [blocks, inputs / 2, 16, 2]; int4: [blocks, inputs / 2, 16] of
        uint8, the first input of two in the low half, 8 added. Inputs are padded to whole groups.
        int16: as float32.
    scales : np.ndarray [shape=(blocks, groups, 16), float16] or None
        Of integer weights; int16: [shape=(blocks, 16), float32].
    group : int
        Inputs that share a scale, 0 where there are no groups.
    """

    outputs: int
    inputs: int
    precision: str
    data: np.ndarray
    scales: np.ndarray | None = None
    group: int = 0

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
        return np.ascontiguousarray(matrix.reshape(-1, matrix.shape[2])[: self.outputs, : self.inputs])


def pack(matrix: np.ndarray, precision: str = "float32") -> Weight:
    """Pack a matrix.

    Parameters
    ----------
    matrix : np.ndarray [shape=(outputs, inputs)]
        As a linear layer stores it.
    precision : str
        One of `PRECISIONS`: integers are symmetric, scaled for each output and group of inputs. Or int16,
        which `lstm` takes and `linear` does not: scaled for each output, all but exact.

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
    )  # fmt: skip


def write(
    path: Path, tensors: Mapping[str, np.ndarray | Weight], metadata: Mapping[str, Any] | None = None
) -> None:
    """Write arrays and packed matrices as one safetensors file: the same ones give the same bytes.

    Parameters
    ----------
    path : Path
        Replaced if it is there.
    tensors : mapping
        Names to arrays or `Weight`. Their names must not end in ``.scales``.
    metadata : mapping, optional
        JSON-ready; what `Tensors.metadata` gives back.
    """
    arrays: dict[str, np.ndarray] = {}
    packed = {}
    for name, tensor in tensors.items():
        if isinstance(tensor, Weight):
            arrays[name] = tensor.data
            packed[name] = [tensor.outputs, tensor.inputs, tensor.precision, tensor.group]
            if tensor.scales is not None:
                arrays[f"{name}.scales"] = tensor.scales
        else:
            arrays[name] = np.ascontiguousarray(tensor)
    # Whole vectors first: all that follows 64-byte data of a multiple of 64 bytes is aligned, too.
    order = sorted(arrays, key=lambda name: (arrays[name].nbytes % 64 != 0, name))
    header: dict[str, Any] = {
        "__metadata__": {
            "packed": json.dumps(packed, sort_keys=True),
            "metadata": json.dumps(dict(metadata or {}), sort_keys=True),
        }
    }
    offset = 0
    for name in order:
        array = arrays[name]
        header[name] = {
            "dtype": _NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % 64)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            file.write(arrays[name].tobytes())


class Tensors:
    """The tensors of one file, mapped.

    Parameters
    ----------
    path : Path
        A file of `write`.

    Raises
    ------
    WeightsError
        If it is not there or not such a file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise WeightsError(f"{path.name} cannot be read: {error}") from error
        length = int.from_bytes(self._map[:8], "little")
        try:
            self._header: dict[str, Any] = json.loads(self._map[8 : 8 + length])
            described = self._header.pop("__metadata__")
            self._packed: dict[str, Any] = json.loads(described["packed"])
            self.metadata: dict[str, Any] = json.loads(described["metadata"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise WeightsError(f"{path.name} is not a file of weights") from error
        self._data = 8 + length
        end = max((entry["data_offsets"][1] for entry in self._header.values()), default=0)
        if self._data + end != len(self._map):
            raise WeightsError(f"{path.name} has {len(self._map)} bytes instead of {self._data + end}")

    def __contains__(self, name: str) -> bool:
        return name in self._header

    def array(self, name: str) -> np.ndarray:
        """Return a tensor, read-only and not copied.

        Raises
        ------
        WeightsError
            If there is none of that name.
        """
        try:
            entry = self._header[name]
        except KeyError:
            raise WeightsError(f"{self.path.name} has no tensor {name}") from None
        count = int(np.prod(entry["shape"], dtype=np.int64))
        start = self._data + entry["data_offsets"][0]
        return np.frombuffer(self._map, _DTYPES[entry["dtype"]], count, start).reshape(entry["shape"])

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
            raise WeightsError(f"{self.path.name} has no matrix {name}")
        outputs, inputs, precision, group = self._packed[name]
        return Weight(outputs, inputs, precision, self.array(name), self.optional(f"{name}.scales"), group)

    def will_need(self) -> None:
        """Have the system read the whole file ahead."""
        self._map.madvise(mmap.MADV_WILLNEED)

    def done(self) -> None:
        """Give the file's pages back; they come again when they are touched."""
        self._map.madvise(mmap.MADV_DONTNEED)
