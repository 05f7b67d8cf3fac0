"""Files as ``torch.save`` writes them, written without torch: checkpoints, and what torch would never write.

A pickle is a program; the functions here give its pieces, each of which leaves one value on the stack.
"""

from __future__ import annotations

import json
import shutil
import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

KINDS = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}
"""Storages by the types of numpy; bfloat16's is BFloat16Storage."""


def text(value: str) -> bytes:
    """A text."""
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def integer(value: int) -> bytes:
    """A whole number of any size."""
    width = value.bit_length() // 8 + 1
    return b"\x8a" + bytes([width]) + value.to_bytes(width, "little", signed=True)


def items(*values: bytes) -> bytes:
    """A tuple."""
    return b"(" + b"".join(values) + b"t"


def name(module: str, attribute: str) -> bytes:
    """Something that unpickling would import."""
    return f"c{module}\n{attribute}\n".encode()


def call(called: bytes, *arguments: bytes) -> bytes:
    """What a call gives."""
    return called + items(*arguments) + b"R"


def storage(kind: str, key: str, elements: int) -> bytes:
    """A storage, such as a FloatStorage."""
    return items(text("storage"), name("torch", kind), text(key), text("cpu"), integer(elements)) + b"Q"


def tensor(over: bytes, offset: int, shape: Sequence[int], strides: Sequence[int]) -> bytes:
    """A tensor over a storage; offset and strides count elements."""
    sizes, apart = items(*map(integer, shape)), items(*map(integer, strides))
    hooks = call(name("collections", "OrderedDict"))
    return call(
        name("torch._utils", "_rebuild_tensor_v2"), over, integer(offset), sizes, apart, b"\x89", hooks
    )


def dictionary(values: Mapping[str, bytes]) -> bytes:
    """The whole pickle of what a module's state_dict is."""
    pairs = b"".join(text(key) + value for key, value in values.items())
    versions = b"}(" + text("_metadata") + call(name("collections", "OrderedDict")) + b"ub"
    return b"\x80\x02" + call(name("collections", "OrderedDict")) + b"(" + pairs + b"u" + versions + b"."


def archive(
    path: Path,
    pickle: bytes,
    storages: Mapping[str, bytes],
    order: str | None = "little",
    root: str = "archive",
) -> None:
    """Write the archive."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{root}/data.pkl", pickle)
        if order:
            file.writestr(f"{root}/byteorder", order)
        for key, data in storages.items():
            file.writestr(f"{root}/data/{key}", data)
        file.writestr(f"{root}/version", "3\n")


def save(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as torch saves tensors of them."""
    values = {}
    for number, (key, array) in enumerate(arrays.items()):
        strides = [stride // array.itemsize for stride in array.strides]
        values[key] = tensor(
            storage(KINDS[str(array.dtype)], str(number), array.size), 0, array.shape, strides
        )
    archive(
        path,
        dictionary(values),
        {str(number): array.tobytes() for number, array in enumerate(arrays.values())},
    )


def checkpoint(source: Path, target: Path, shards: int = 1) -> Path:
    """Copy a checkpoint as older releases of transformers saved it: T5's tied embedding under both names."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.safetensors"))
    tensors = load_file(source / "model.safetensors")
    if "text_encoder.shared.weight" in tensors:
        tensors["text_encoder.encoder.embed_tokens.weight"] = tensors["text_encoder.shared.weight"]
    if shards == 1:
        save(target / "pytorch_model.bin", tensors)
        return target
    where: dict[str, str] = {}
    for number in range(shards):
        file = f"pytorch_model-{number + 1:05}-of-{shards:05}.bin"
        mine = {key: tensors[key] for key in sorted(tensors)[number::shards]}
        save(target / file, mine)
        where |= dict.fromkeys(mine, file)
    (target / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return target
