"""Checkpoints in the layout that transformers reads: written as float16, read as float32."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from music.engine import safetensors

SHARD = 14_500_000
"""Bytes of a file, at most."""

_LARGEST = 65_000.0  # of float16


def rounded(tensor: Tensor) -> Tensor:
    """A tensor as it will be read again: through float16, which checkpoints are stored in."""
    return tensor.clamp(-_LARGEST, _LARGEST).half().float()


def write(
    folder: Path, tensors: Mapping[str, Tensor], files: Mapping[str, Any], tokenizer: Tokenizer | None = None
) -> None:
    """Write a checkpoint: floating tensors as float16, in files of at most `SHARD` bytes.

    Parameters
    ----------
    folder : Path
    tensors : mapping of str to Tensor
        By their published names.
    files : mapping
        JSON files by name.
    tokenizer : Tokenizer, optional

    Raises
    ------
    ValueError
        If a tensor holds values that are not finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, np.ndarray] = {}
    for name, tensor in sorted(tensors.items()):
        value = tensor.detach().cpu()
        if value.is_floating_point():
            if not torch.isfinite(value).all():
                raise ValueError(f"{name} is not finite")
            value = value.clamp(-_LARGEST, _LARGEST).half()
        arrays[name] = value.numpy()
    shards: list[dict[str, np.ndarray]] = [{}]
    filled = 0
    for name, array in arrays.items():
        if shards[-1] and filled + array.nbytes > SHARD:
            shards.append({})
            filled = 0
        shards[-1][name] = array
        filled += array.nbytes
    names = (
        ["model.safetensors"]
        if len(shards) == 1
        else [f"model-{number:05}-of-{len(shards):05}.safetensors" for number in range(1, len(shards) + 1)]
    )
    for name, shard in zip(names, shards, strict=True):
        declared = safetensors.widest_first(
            {key: (_KINDS[str(array.dtype)], array.shape) for key, array in shard.items()}
        )
        safetensors.write(folder / name, declared, shard.__getitem__, {"format": "pt"})
    contents = dict(files)
    if len(shards) > 1:
        contents["model.safetensors.index.json"] = {
            "metadata": {"total_size": sum(array.nbytes for array in arrays.values())},
            "weight_map": {key: name for name, shard in zip(names, shards, strict=True) for key in shard},
        }
    for name, content in contents.items():
        (folder / name).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", "utf-8")
    if tokenizer is not None:
        tokenizer.save(str(folder / "tokenizer.json"))
        if files["config.json"]["model_type"] == "clap":
            tokenizer.model.save(str(folder))  # vocab.json and merges.txt


_KINDS = {"float16": "F16", "int64": "I64"}


def read(folder: Path) -> dict[str, Tensor]:
    """Read all tensors of a checkpoint, float32 or int64, by their names; empty if there is none."""
    tensors: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        for name, entry in safetensors.read(path)[0].items():
            array = entry.raw() if entry.dtype == "I64" else entry.float32()
            tensors[name] = torch.from_numpy(np.array(array))
    return tensors


def read_tokenizer(folder: Path) -> Tokenizer:
    """Read the tokenizer beside a checkpoint."""
    return Tokenizer.from_file(str(folder / "tokenizer.json"))
