"""Random checkpoints in exactly the published layout: the loader cannot tell them from the real thing.

They prove every line of the path from a checkpoint to sound where nothing can be downloaded. What they make
is noise. Large ones are written shard by shard and tensor by tensor; a tensor depends only on the seed, its
name and, by a factor, the number of layers.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from music.engine import safetensors
from weights import CheckpointError, configs, tokenizers
from weights.layouts import Tensor, layout
from weights.sources import models_of

SHARD = 5_000_000_000  # bytes, as the hub's own tools split
_PIECE = 1 << 22  # elements drawn at a time


def write(profile: str, folder: str | Path, layers: int | None = None, seed: int = 0) -> None:
    """Write the random checkpoints of a profile, one folder per part.

    Parameters
    ----------
    profile : str
        The name of the profile, one of `sources.profiles`.
    folder : str or Path
        Gets the folders ``musicgen`` and ``clap``.
    layers : int, optional
        How many layers MusicGen's decoder gets, instead of the published number.
    seed : int

    Raises
    ------
    CheckpointError
        If there is no such profile, or it is not one of published sizes.
    """
    if profile == "pocket":
        raise CheckpointError("pocket is not made at random: its weights are in layers/weights/pocket")
    for part, model in models_of(profile).items():
        target = Path(folder) / part
        target.mkdir(parents=True, exist_ok=True)
        files = configs.files(model.name, layers)
        for name, content in files.items():
            (target / name).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", "utf-8")
        config = files["config.json"]
        _tokenizer(target, config)
        _weights(target, config, seed)


def _tokenizer(target: Path, config: dict[str, Any]) -> None:
    if config["model_type"] == "clap":
        made = tokenizers.byte_level_bpe(config["text_config"]["vocab_size"])
        made.model.save(str(target))  # vocab.json and merges.txt
    else:
        # The published embedding has 28 rows more than the tokenizer has ids.
        made = tokenizers.unigram(config["text_encoder"]["vocab_size"] - 28)
    made.save(str(target / "tokenizer.json"))


def _weights(target: Path, config: dict[str, Any], seed: int) -> None:
    floating = {"float32": "F32", "float16": "F16"}[config["torch_dtype"]]
    tensors = layout(config)
    declared = {
        name: ("I64" if is_integer(tensor) else floating, tensor.shape)
        for name, tensor in sorted(tensors.items())
    }
    sizes = {
        name: math.prod(shape) * safetensors.DTYPES[dtype].itemsize
        for name, (dtype, shape) in declared.items()
    }
    shards: list[list[str]] = [[]]
    filled = 0
    for name, size in sizes.items():
        if filled + size > SHARD:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += size
    files = (
        ["model.safetensors"]
        if len(shards) == 1
        else [f"model-{number:05}-of-{len(shards):05}.safetensors" for number in range(1, len(shards) + 1)]
    )
    for file, names in zip(files, shards, strict=True):
        safetensors.write(
            target / file,
            safetensors.widest_first({name: declared[name] for name in names}),
            lambda name: _draw(name, tensors[name], safetensors.DTYPES[declared[name][0]], seed),
            {"format": "pt"},
        )
    if len(shards) > 1:
        where = {name: file for file, names in zip(files, shards, strict=True) for name in names}
        index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": where}
        (target / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", "utf-8")


def is_integer(tensor: Tensor) -> bool:
    """Say whether a tensor is stored as int64 rather than in the checkpoint's floating type."""
    return tensor.constant is not None and tensor.constant().dtype.kind == "i"


def _draw(name: str, tensor: Tensor, dtype: np.dtype[Any], seed: int) -> Iterator[np.ndarray]:
    if tensor.constant:
        yield tensor.constant().astype(dtype)
        return
    digest = hashlib.blake2b(f"{seed} {name}".encode(), digest_size=16).digest()
    draws = np.random.Generator(np.random.SFC64(int.from_bytes(digest, "little")))
    left = math.prod(tensor.shape)
    while left:
        piece = draws.standard_normal(min(left, _PIECE), dtype=np.float32)
        piece *= np.float32(tensor.deviation)
        piece += np.float32(tensor.mean)
        yield piece.astype(dtype, copy=False)
        left -= len(piece)
