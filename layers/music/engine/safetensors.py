"""Safetensors files [1]_: read as views of the mapped file, written one tensor at a time.

The format is eight bytes of header length, a JSON header, and the tensors without gaps. The package of that
name (0.8) does not do what is needed here. It copies what it reads: 400 MB of float32 take 0.45 s and 393 MB
of the process's own memory, where a mapped file takes nothing until it is touched, and then pages of the page
cache. In numpy it knows no bfloat16. To write a file it wants all of its tensors in memory, and the 13 GB of
a large checkpoint do not fit there.

References
----------
.. [1] https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
import mmap
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from music.engine.memory import pages

DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
"""What the format calls a type, and how numpy reads it; bfloat16 is read as its 16 bits."""

_ALIGNMENT = 64  # bytes: where the first tensor starts, so that vector loads from a mapped file are aligned
_READ = 1 << 26  # bytes read at a time: one call reads at most 2 GB
_MAX_HEADER = 100_000_000  # bytes, the format's own limit


class WeightsError(Exception):
    """A file of weights is not what it should be; the message names the file or the tensor."""


@dataclass(frozen=True)
class Entry:
    """A tensor of a mapped file.

    Attributes
    ----------
    dtype : str
        A key of `DTYPES`.
    shape : tuple of int
    data : memoryview
        Its bytes, a view of the mapped file.
    """

    dtype: str
    shape: tuple[int, ...]
    data: memoryview

    def raw(self) -> np.ndarray:
        """Return the tensor as it is stored, a read-only view (bfloat16 as uint16)."""
        return np.frombuffer(self.data, dtype=DTYPES[self.dtype]).reshape(self.shape)

    def float32(self) -> np.ndarray:
        """Return the tensor as float32: a read-only view if it is stored so, else converted.

        The conversion is exact, but for F64.

        Raises
        ------
        TypeError
            If the tensor holds integers.
        """
        if self.dtype == "BF16":
            return (self.raw().astype(np.uint32) << 16).view(np.float32)
        if not self.dtype.startswith("F"):
            raise TypeError(f"{self.dtype} is not a floating type")
        return self.raw().astype(np.float32, copy=False)


def read(path: Path, copied: bool = False) -> tuple[dict[str, Entry], dict[str, str]]:
    """Map a file, or copy it into memory.

    Parameters
    ----------
    path : Path
        A safetensors file; it must not change while the entries are in use, unless it is copied.
    copied : bool
        Whether the process takes memory of its own for the file. That may have pages of 2 MB. Those of the
        page cache mostly have 4 kB, and looking up their addresses makes reading take a tenth longer.

    Returns
    -------
    entries : dict of str to Entry
    metadata : dict of str to str

    Raises
    ------
    WeightsError
        If the file is missing, cut short, longer than its tensors, or not in the format.
    """
    try:
        with path.open("rb", buffering=0) as file:
            view = memoryview(_copy(file) if copied else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:  # mapping an empty file is a ValueError
        raise WeightsError(f"{path}: cannot be read: {error}") from error
    length = int.from_bytes(view[:8], "little")
    if len(view) < 8 or length > min(_MAX_HEADER, len(view) - 8):
        raise WeightsError(f"{path}: not a safetensors file, or cut short")
    try:
        header = json.loads(bytes(view[8 : 8 + length]))
        metadata = dict(header.pop("__metadata__", None) or {})
        entries = {name: _entry(view[8 + length :], **value) for name, value in header.items()}
        held = sum(len(entry.data) for entry in entries.values())
        if held != len(view) - 8 - length:
            raise ValueError(f"{held} bytes of tensors in {len(view) - 8 - length}")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise WeightsError(f"{path}: damaged header or cut short: {error}") from error
    return entries, metadata


def _copy(file: BinaryIO) -> memoryview:
    """Read a whole file into memory."""
    view = pages(os.fstat(file.fileno()).st_size)
    at = 0
    while at < len(view):
        if not (count := file.readinto(view[at : at + _READ])):  # type: ignore[attr-defined]
            raise OSError(f"ends after {at} of {len(view)} bytes")
        at += count
    return view.toreadonly()


def _entry(data: memoryview, dtype: str, shape: list[int], data_offsets: list[int]) -> Entry:
    start, end = data_offsets
    wanted = math.prod(shape) * DTYPES[dtype].itemsize
    if min(shape, default=0) < 0 or not 0 <= start <= end <= len(data) or end - start != wanted:
        raise ValueError(f"{dtype} of shape {shape} at bytes {start} to {end} of {len(data)}")
    return Entry(dtype, tuple(shape), data[start:end])


Declared = Mapping[str, tuple[str, tuple[int, ...]]]
"""Type (a key of `DTYPES`) and shape of each tensor."""


def widest_first(tensors: Declared) -> Declared:
    """Order tensors by the width of their types, then by name: each one is aligned to its own type then."""
    return dict(sorted(tensors.items(), key=lambda item: (-DTYPES[item[1][0]].itemsize, item[0])))


def write(
    path: Path,
    tensors: Declared,
    values: Callable[[str], np.ndarray | Iterable[np.ndarray]],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a file; the same arguments give the same bytes.

    Parameters
    ----------
    path : Path
        It appears under this name only when it is complete.
    tensors : mapping of str to (str, tuple of int)
        Type and shape of each tensor, in the order in which they are written.
    values : callable
        Gives a tensor by name: an array of that type and size, or its consecutive pieces.
    metadata : mapping of str to str, optional
        Goes into the header.

    Raises
    ------
    ValueError
        If `values` gives another type or another number of elements than declared.
    """
    header: dict[str, object] = {"__metadata__": dict(metadata or {})}
    end = 0
    for name, (dtype, shape) in tensors.items():
        start, end = end, end + math.prod(shape) * DTYPES[dtype].itemsize
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for name, (dtype, shape) in tensors.items():
            value = values(name)
            written = 0
            for piece in [value] if isinstance(value, np.ndarray) else value:
                if piece.dtype != DTYPES[dtype]:
                    raise ValueError(f"{name}: {piece.dtype} given where {dtype} is declared")
                file.write(np.ascontiguousarray(piece).data)
                written += piece.size
            if written != math.prod(shape):
                raise ValueError(f"{name}: {written} elements given where {shape} is declared")
    partial.replace(path)
