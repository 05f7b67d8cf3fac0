"""PyTorch's files, as ``torch.save`` writes them since 1.6, read without PyTorch: tensors, and nothing else.

Such a file is a zip archive of stored members: ``NAME/data.pkl``, a pickle of what was saved, in which a
tensor is its shape and strides over a storage, and ``NAME/data/KEY``, the bytes of each storage. The pickle
is not unpickled: a list of instructions that is enough for dictionaries of tensors is interpreted here. Every
other instruction, and every name that stands for something else than a tensor, is an error, so that a file
can neither run anything nor make anything but tensors. Storages are mapped: a tensor costs memory when it is
looked at.
"""

from __future__ import annotations

import io
import math
import mmap
import os
import pickletools
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np

from music.engine import safetensors
from weights import CheckpointError

_STORAGES = {
    "torch DoubleStorage": "F64",
    "torch FloatStorage": "F32",
    "torch HalfStorage": "F16",
    "torch BFloat16Storage": "BF16",
    "torch LongStorage": "I64",
    "torch IntStorage": "I32",
    "torch ShortStorage": "I16",
    "torch CharStorage": "I8",
    "torch ByteStorage": "U8",
    "torch BoolStorage": "BOOL",
}
"""The types of storages: what a pickle calls them, and `safetensors.DTYPES`."""

Order = Literal["<", ">"]
_ORDERS: dict[bytes, Order] = {b"little": "<", b"big": ">"}
_MOST_PICKLE = 4 << 20  # bytes; ten thousand tensors take half of that
_MOST_DIRECTORY = 4 << 20  # bytes of the archive's list of members
_MOST_AXES = 32  # as many as every numpy has
_MOST_REPEATED = 1 << 20  # bytes of a tensor that has more than its storage, because an axis repeats it


class _Refused(Exception):
    """What a file holds is not read here."""


@dataclass(frozen=True)
class Strided(safetensors.Entry):
    """A tensor of a mapped file whose elements need not be adjacent.

    Attributes
    ----------
    strides : tuple of int
        How many elements apart neighbours are along each axis; 0 where an axis repeats one.
    order : str
        The order of bytes, ``<`` or ``>``.
    """

    strides: tuple[int, ...]
    order: Order

    def raw(self) -> np.ndarray:
        """Return the tensor as it is stored, a read-only view (bfloat16 as uint16)."""
        flat = np.frombuffer(self.data, safetensors.DTYPES[self.dtype].newbyteorder(self.order))
        apart = [stride * flat.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(flat, self.shape, apart, writeable=False)


def read(path: Path) -> dict[str, safetensors.Entry]:
    """Map a file.

    Parameters
    ----------
    path : Path
        A file that ``torch.save`` wrote of a dictionary of tensors, as ``model.state_dict()`` is; it must not
        change while the entries are in use.

    Returns
    -------
    dict of str to Entry

    Raises
    ------
    CheckpointError
        If the file is missing or damaged, is of the format before PyTorch 1.6, or holds anything but tensors.
    """
    try:
        archive = _Archive(path)
        found = _Interpreter(archive.storage).run(archive.pickle)
        if not isinstance(found, dict) or not all(isinstance(value, Strided) for value in found.values()):
            raise _Refused("holds more than tensors")
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from error
    except _Refused as error:
        raise CheckpointError(f"{path}: {error}") from error
    return found


@dataclass(frozen=True)
class _Storage:
    """The bytes of a storage, and their type."""

    dtype: str
    data: memoryview
    order: Order


class _Archive:
    """A mapped archive.

    Attributes
    ----------
    pickle : bytes
        Its ``data.pkl``.
    """

    def __init__(self, path: Path) -> None:
        with _Bounded(path) as file:
            if file.read(4) != b"PK\3\4":
                raise _Refused(
                    "not a file of torch.save since PyTorch 1.6 (an archive); older ones are not read: "
                    "load it there and save it anew, or take a checkpoint with safetensors"
                )
            try:
                members = zipfile.ZipFile(file).infolist()
            except (NotImplementedError, OverflowError, struct.error) as error:  # of a damaged list
                raise _Refused(f"the archive's list of members is damaged: {error}") from error
            self._view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        self._members = {member.filename: member for member in members}
        if len(self._members) != len(members):
            raise _Refused("the archive has two members of one name")
        roots = [name.removesuffix("/data.pkl") for name in self._members if name.endswith("/data.pkl")]
        if len(roots) != 1 or "/" in roots[0]:
            raise _Refused("the archive has no data.pkl, or several")
        self._root = roots[0]
        pickle = self._member("data.pkl")
        if len(pickle) > _MOST_PICKLE:
            raise _Refused(f"data.pkl has {len(pickle)} bytes; {_MOST_PICKLE} are allowed")
        self.pickle = bytes(pickle)
        if zlib.crc32(self.pickle) != self._members[f"{self._root}/data.pkl"].CRC:
            raise _Refused("data.pkl is damaged")
        order = bytes(self._member("byteorder")) if f"{self._root}/byteorder" in self._members else b"little"
        if order not in _ORDERS:
            raise _Refused(f"the order of bytes is {order[:20]!r}, neither little nor big")
        self._order = _ORDERS[order]

    def storage(self, dtype: str, key: str, elements: int) -> _Storage:
        """Look a storage up; its size must be what the pickle says."""
        data = self._member(f"data/{key}")
        if len(data) != elements * safetensors.DTYPES[dtype].itemsize:
            raise _Refused(f"storage {key[:80]!r} has {len(data)} bytes, not {elements} elements of {dtype}")
        return _Storage(dtype, data, self._order)

    def _member(self, name: str) -> memoryview:
        """Find the bytes of a member."""
        name = f"{self._root}/{name}"
        member = self._members.get(name)
        if member is None:
            raise _Refused(f"the archive has no {name[:80]!r}")
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
            raise _Refused(f"{name!r} is compressed or encrypted, which torch.save never does")
        if member.header_offset < 0:
            raise _Refused(f"{name!r} lies outside of the archive")
        # The local header has 30 bytes, then the name and what was added to align the data.
        header = self._view[member.header_offset :][:30]
        start = member.header_offset + 30 + int.from_bytes(header[26:28], "little")
        start += int.from_bytes(header[28:30], "little")
        end = start + member.file_size
        if header[:4] != b"PK\3\4" or member.compress_size != member.file_size or end > len(self._view):
            raise _Refused(f"{name!r} lies outside of the archive")
        return self._view[start:end]


class _Bounded(io.FileIO):
    """A file of which nothing long is read at once: the list of members is, before it is looked at."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as any file does, but no more than a list of members may have."""
        left = os.fstat(self.fileno()).st_size - self.tell()
        if min(left, left if size is None or size < 0 else size) > _MOST_DIRECTORY:
            raise zipfile.BadZipFile("the archive's list of members is too long")
        return super().read(size)


@dataclass(frozen=True)
class _Name:
    """A name of a pickle, of which nothing is imported."""

    text: str


class _Interpreter:
    """Carries out the instructions of a pickle that make dictionaries of tensors.

    Parameters
    ----------
    storage : callable
        Looks a storage up by its type (a key of `safetensors.DTYPES`), key and number of elements.
    """

    def __init__(self, storage: Callable[[str, str, int], _Storage]) -> None:
        self._storage = storage
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []  # the stacks under each mark
        self._memo: dict[int, Any] = {}

    def run(self, pickle: bytes) -> object:
        """Return what the pickle makes."""
        try:
            for instruction, argument, _ in pickletools.genops(pickle):
                if instruction.name == "STOP":
                    return self._stack.pop()
                self._do(instruction.name, argument)
        except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
            raise _Refused(f"data.pkl is damaged: {error!r}") from error
        raise _Refused("data.pkl is cut short")

    def _do(self, name: str, argument: Any) -> None:
        stack = self._stack
        match name:
            case "PROTO" if argument == 2:
                pass
            case "BINUNICODE" | "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT":
                stack.append(argument)
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[name])
            case "GLOBAL":
                stack.append(_Name(argument))
            case "EMPTY_TUPLE":
                stack.append(())
            case "EMPTY_DICT":
                stack.append({})
            case "MARK":
                self._below.append(stack)
                self._stack = []
            case "TUPLE":
                self._stack = self._below.pop()
                self._stack.append(tuple(stack))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(name[-1])
                stack[-count:] = [tuple(stack[-count:])]
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                self._set(stack[-1], [key, value])
            case "SETITEMS":
                self._stack = self._below.pop()
                self._set(self._stack[-1], stack)
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self._memo[argument])
            case "BINPERSID":
                stack.append(self._persistent(stack.pop()))
            case "REDUCE":
                arguments, called = stack.pop(), stack.pop()
                stack.append(self._call(called, arguments))
            case "BUILD" if isinstance(stack[-2], dict):
                stack.pop()  # the versions of the modules that a state_dict carries
            case _:
                raise _Refused(f"its pickle has an instruction {name} that no dictionary of tensors needs")

    def _set(self, target: object, pairs: list[Any]) -> None:
        if not isinstance(target, dict) or len(pairs) % 2:
            raise _Refused("its pickle sets items of what is no dictionary")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if not isinstance(key, str):
                raise _Refused(f"a tensor's name is {type(key).__name__}, not text")
            target[key] = value

    def _persistent(self, identifier: object) -> _Storage:
        match identifier:
            case ("storage", _Name(kind), str(key), str(), int(elements)) if kind in _STORAGES:
                return self._storage(_STORAGES[kind], key, elements)
            case ("storage", _Name(kind), *_):
                raise _Refused(f"holds {kind[:80]}, which is no storage of plain numbers")
        raise _Refused("its pickle names something else than a storage")

    def _call(self, called: object, arguments: object) -> object:
        match called, arguments:
            case _Name("collections OrderedDict"), ():
                return {}
            case _Name("torch._utils _rebuild_tensor_v2"), (_Storage() as over, offset, shape, strides, *_):
                return _tensor(over, offset, shape, strides)
            case _Name("torch._utils _rebuild_parameter"), (Strided() as tensor, *_):
                return tensor
            case _Name(text), _:
                raise _Refused(f"holds {text[:80]}, which is no tensor")
        raise _Refused("its pickle calls what is no name")


def _tensor(over: _Storage, offset: object, shape: object, strides: object) -> Strided:
    """Lay a tensor over a storage, if it lies within."""
    sizes, apart = _integers(shape), _integers(strides)
    (first,) = _integers((offset,))
    width = safetensors.DTYPES[over.dtype].itemsize
    last = first + sum((size - 1) * stride for size, stride in zip(sizes, apart, strict=True))
    end = (last + 1 if all(sizes) else first) * width
    if end > len(over.data):
        raise _Refused(f"a tensor of shape {sizes} lies outside of its storage")
    if math.prod(sizes) * width > max(len(over.data), _MOST_REPEATED):
        raise _Refused(f"a tensor of shape {sizes} repeats a storage of {len(over.data)} bytes too often")
    return Strided(over.dtype, sizes, over.data[first * width : end], apart, over.order)


def _integers(values: object) -> tuple[int, ...]:
    """Take sizes, strides or an offset: whole numbers that are not negative, and not many."""
    if not isinstance(values, tuple) or len(values) > _MOST_AXES:
        _wrong(values)
    for value in values:
        if type(value) is not int or not 0 <= value < 1 << 62:
            _wrong(value)
    return values


def _wrong(value: object) -> NoReturn:
    raise _Refused(f"a tensor's shape, strides or offset hold {type(value).__name__}, no plain count")
