"""What published checkpoints say of themselves, and what else is the project's own.

This and `checkpoint` are the modules of the package that know the rest of the project.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from functools import cache
from math import log2
from pathlib import Path
from typing import Any

import music.clap
from weights import configs
from weights.train.pieces import Piece
from weights.train.recipe import BOOKS, FRAME_RATE, Recipe

_TAGS = Path(music.clap.__file__).with_name("tags.toml")


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
    config["text_length"] = language.text_length
    files["tokenizer_config.json"]["model_max_length"] = language.text_length
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


def known_tags(pieces: Iterable[Piece]) -> dict[str, Any]:
    """Write the tags that CLAP may give when it has heard of no others: what is true of the pieces.

    A piece has one style, so only the best is shown.
    """
    given = tomllib.loads(_TAGS.read_text("utf-8"))
    words: dict[str, set[str]] = {name: set() for name in ("genre", "mood", "instrument", "energy")}
    for piece in pieces:
        words["genre"].add(piece.style)
        words["mood"].update(piece.moods)
        words["instrument"].update(piece.instruments)
        words["energy"].add(piece.energy)
    found: dict[str, Any] = {"prompt": given["prompt"]}
    for name, known in words.items():
        shown = 1 if name == "genre" else given[name]["shown"]
        found[name] = {"phrase": given[name]["phrase"], "shown": shown, "tags": sorted(known)}
    return found


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
