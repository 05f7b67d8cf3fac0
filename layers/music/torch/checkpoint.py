"""What the torch runtime looks up in a checkpoint's folder by itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from tokenizers import Tokenizer


def has_safetensors(folder: Path) -> bool:
    """Say whether a checkpoint has whole safetensors; its pickles are read where it has not."""
    return bool(_shards(folder, "model.safetensors"))


def read(folder: Path, prefixes: Sequence[str]) -> dict[str, torch.Tensor]:
    """Read the tensors of a checkpoint whose names begin with one of the prefixes.

    Parameters
    ----------
    folder : Path
        A checkpoint as published on the Hugging Face hub: safetensors where they are whole, else what
        `torch.save` wrote, of which nothing but tensors is read.
    prefixes : sequence of str

    Returns
    -------
    dict of str to torch.Tensor
        On the CPU, in the type that they are stored in.

    Raises
    ------
    ValueError
        If there are neither.
    """
    found: dict[str, torch.Tensor] = {}
    wanted = tuple(prefixes)
    if shards := _shards(folder, "model.safetensors"):
        for shard in shards:
            with safe_open(shard, "pt") as file:
                found |= {name: file.get_tensor(name) for name in file.keys() if name.startswith(wanted)}  # noqa: SIM118
    elif shards := _shards(folder, "pytorch_model.bin"):
        for shard in shards:
            tensors = torch.load(shard, map_location="cpu", weights_only=True, mmap=True)
            found |= {name: tensor for name, tensor in tensors.items() if name.startswith(wanted)}
    else:
        raise ValueError(f"{folder}: no whole model.safetensors and no whole pytorch_model.bin")
    return found


def tokenizer(folder: Path) -> Tokenizer:
    """Load a checkpoint's tokenizer. It neither cuts nor pads a text, whatever it was saved with."""
    whole = Tokenizer.from_file(str(folder / "tokenizer.json"))
    whole.no_truncation()
    whole.no_padding()
    return whole


def _shards(folder: Path, name: str) -> list[Path]:
    """List the files of a checkpoint in one format; empty where one of them is not there."""
    if (folder / name).is_file():
        return [folder / name]
    index = folder / f"{name}.index.json"
    if not index.is_file():
        return []
    shards = [
        folder / shard for shard in sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
    ]
    return shards if all(shard.is_file() for shard in shards) else []
