"""Checkpoints in the layout that MusicGen Melody and CLAP are published in, and what else is the project's own.

This is the one module of the package that knows the rest of the project.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from functools import cache
from math import log2
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

import models.embedders
from models.checkpoints import configs, tensorfile, vocabulary
from weights.train.recipe import BOOKS, FRAME_RATE, Recipe

SHARD = 14_500_000
"""Bytes of a file, at most: results of a machine that is lent come back in files of 16 MB."""

_TAGS = Path(models.embedders.__file__).with_name("vocabulary.toml")
_LARGEST = 65_000.0  # of float16


def base_text() -> str:
    """The page of text that tokenizers learn the parts of words from."""
    return vocabulary.TEXT.read_text("utf-8")


@cache
def tags() -> dict[str, list[str]]:
    """The tags that CLAP may give, by category."""
    given = tomllib.loads(_TAGS.read_text("utf-8"))
    return {name: value["tags"] for name, value in given.items() if isinstance(value, dict)}


@cache
def tag_phrases() -> dict[str, list[str]]:
    """The tags in the phrases of their categories, by category."""
    given = tomllib.loads(_TAGS.read_text("utf-8"))
    return {
        name: [value["phrase"].format(tag) for tag in value["tags"]]
        for name, value in given.items()
        if isinstance(value, dict)
    }


def musicgen_files(recipe: Recipe) -> dict[str, Any]:
    """The JSON files beside the weights of the codec and the language model, by name."""
    codec, language = recipe.codec, recipe.language
    files = configs.files("tiny-melody")
    config = files["config.json"]
    config["audio_encoder"] |= {
        "num_filters": codec.filters,
        "hidden_size": codec.latent,
        "codebook_dim": codec.latent,
        "codebook_size": codec.entries,
        "target_bandwidths": [BOOKS * int(log2(codec.entries)) * FRAME_RATE / 1000],
    }
    config["text_encoder"] |= {
        "vocab_size": language.text_vocabulary,
        "d_model": language.text_width,
        "d_kv": language.text_head,
        "d_ff": language.text_feed,
        "num_layers": language.text_layers,
        "num_decoder_layers": language.text_layers,
        "num_heads": language.text_heads,
    }
    config["decoder"] |= {
        "vocab_size": codec.entries,
        "num_hidden_layers": language.layers,
        "hidden_size": language.width,
        "ffn_dim": language.feed,
        "num_attention_heads": language.heads,
        "pad_token_id": codec.entries,
        "bos_token_id": codec.entries,
    }
    for part in (config, config["audio_encoder"], config["text_encoder"], config["decoder"]):
        part["torch_dtype"] = "float16"
    for key in ("bos_token_id", "decoder_start_token_id", "pad_token_id"):
        files["generation_config.json"][key] = codec.entries
    return files


def clap_files(recipe: Recipe) -> dict[str, Any]:
    """The JSON files beside the weights of CLAP, by name."""
    clap = recipe.clap
    files = configs.files("tiny-clap")
    config = files["config.json"]
    config["text_config"] |= {
        "vocab_size": clap.text_vocabulary,
        "hidden_size": clap.text_width,
        "num_hidden_layers": clap.text_layers,
        "num_attention_heads": clap.text_heads,
        "intermediate_size": 4 * clap.text_width,
    }
    config["audio_config"] |= {
        "patch_embeds_hidden_size": clap.width,
        "hidden_size": clap.width << (len(clap.depths) - 1),
        "depths": list(clap.depths),
        "num_attention_heads": list(clap.heads),
    }
    config |= {
        "hidden_size": clap.text_width,
        "num_hidden_layers": clap.text_layers + len(clap.depths),
        "torch_dtype": "float16",
    }
    return files


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
        declared = {key: (_KINDS[str(array.dtype)], array.shape) for key, array in shard.items()}
        tensorfile.write(folder / name, declared, shard.__getitem__, {"format": "pt"})
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
        for name, entry in tensorfile.read(path).items():
            array = entry.raw() if entry.dtype == "I64" else entry.float32()
            tensors[name] = torch.from_numpy(np.array(array))
    return tensors


def read_tokenizer(folder: Path) -> Tokenizer:
    """Read the tokenizer beside a checkpoint."""
    return Tokenizer.from_file(str(folder / "tokenizer.json"))
