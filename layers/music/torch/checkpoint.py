"""What the torch runtime looks up in a checkpoint's folder by itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from tokenizers import Tokenizer
from transformers import PreTrainedModel

_PARTS = (
    r"^decoder\.(model|lm_heads)\.",
    r"^text_encoder\.",
    r"^audio_encoder\.",
    r"^(audio_)?enc_to_dec_proj\.",
)
"""Tensors of a whole MusicGen, by the parts that they belong to."""


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


def model(
    kind: type[PreTrainedModel], folder: Path, device: str, part: str | None = None, config: Any = None
) -> Any:
    """Load a model of transformers from a checkpoint, whole or a part of MusicGen, float32.

    Parameters
    ----------
    kind : type
        Its class.
    folder : Path
        A checkpoint as published on the Hugging Face hub.
    device : str
        The device as torch names it.
    part : str, optional
        What the names of the part's tensors begin with, such as ``audio_encoder``.
    config : optional
        The part's configuration.

    Raises
    ------
    ValueError
        If tensors are missing, or have another shape than the configuration says.
    """
    if part:  # the others' tensors are no surprise
        kind = type(kind.__name__, (kind,), {"_keys_to_ignore_on_load_unexpected": _PARTS})
    loaded, report = kind.from_pretrained(
        folder,
        config=config,
        key_mapping={rf"^{part}\.": ""} if part else None,
        dtype=torch.float32,
        use_safetensors=has_safetensors(folder),
        local_files_only=True,
        output_loading_info=True,
    )
    if missing := report["missing_keys"] or report["mismatched_keys"]:
        raise ValueError(f"{folder}: {missing} of {part or 'the model'}")
    return loaded.to(device).eval()


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
