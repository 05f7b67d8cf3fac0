"""How much of a device's memory MusicGen takes, from its config alone: before anything is loaded.

Nothing here imports torch.

References
----------
.. [1] Copet et al., "Simple and Controllable Music Generation", NeurIPS 2023: what the networks are made of.
.. [2] Raffel et al., "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer",
   JMLR 2020: the text encoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from music.musicgen import delay

GUIDED = 2
"""Rows of a stream: its condition, and what guidance leads away from."""
FRAMES = 1500
"""The longest sequence of frames: 30 s."""
SHARE = 2
"""Of what is free once the weights are there, streams take one part in so many: the rest is for the recorded
steps, and for the audio that the codec makes."""
ITEM_BYTES = {"float32": 4, "bfloat16": 2}

_DEFAULTS: dict[str, dict[str, Any]] = {  # of transformers, for what a published config leaves out
    "decoder": {
        "num_hidden_layers": 24,
        "hidden_size": 1024,
        "ffn_dim": 4096,
        "num_codebooks": 4,
        "vocab_size": 2048,
    },
    "text_encoder": {
        "vocab_size": 32128,
        "d_model": 512,
        "d_kv": 64,
        "d_ff": 2048,
        "num_layers": 6,
        "num_heads": 8,
        "relative_attention_num_buckets": 32,
        "feed_forward_proj": "relu",
    },
}
_CODEC_BYTES = 300_000_000
"""EnCodec at 32 kHz in float32: 59 million numbers, and what it holds while it decodes a second."""


def stream_bytes(layers: int, width: int, positions: int, item: int) -> int:
    """Count the bytes of the keys and values that a stream holds.

    Parameters
    ----------
    layers, width : int
        Of the language model.
    positions : int
        Those of its codes and its text together.
    item : int
        Bytes of a number.
    """
    return 2 * layers * GUIDED * positions * width * item


def language_parameters(config: Mapping[str, Any]) -> int:
    """Count the numbers of the language model of a checkpoint, by its config."""
    own = _DEFAULTS["decoder"] | dict(config["decoder"])
    melody = config["model_type"] == "musicgen_melody"
    width, layers, books = own["hidden_size"], own["num_hidden_layers"], own["num_codebooks"]
    attentions = 1 if melody else 2  # to itself, and where text does not come as a prefix, to the text
    layer = attentions * (4 * width * width + 2 * width) + 2 * width * own["ffn_dim"] + 2 * width
    inputs = (_text(config)["d_model"] + 1) * width
    if melody:
        inputs += (config.get("num_chroma", 12) + 1) * width
    embeddings = books * (2 * own["vocab_size"] + 1) * width
    return int(embeddings + layers * layer + 2 * width + inputs)


def text_parameters(config: Mapping[str, Any]) -> int:
    """Count the numbers of the text encoder of a checkpoint, by its config."""
    own = _text(config)
    width, heads, inner = own["d_model"], own["num_heads"], own["num_heads"] * own["d_kv"]
    feeds = 3 if str(own["feed_forward_proj"]).startswith("gated") else 2
    layer = 4 * width * inner + feeds * width * own["d_ff"] + 2 * width
    buckets = own["relative_attention_num_buckets"] * heads
    return int(own["vocab_size"] * width + own["num_layers"] * layer + buckets + width)


def needed(config: Mapping[str, Any], precision: str, streams: int, texts: int, spare: int) -> int:
    """Predict the bytes that running so many streams side by side takes.

    Parameters
    ----------
    config : mapping
        The `config.json` of a MusicGen checkpoint.
    precision : str
        A key of `ITEM_BYTES`, of the language model; the text encoder and the codec are float32.
    streams : int
        Candidates that are made at the same time.
    texts : int
        Tokens of text that each may have.
    spare : int
        What the runtime itself takes.

    Raises
    ------
    ValueError
        If the config is none of MusicGen's.
    """
    if config.get("model_type") not in {"musicgen", "musicgen_melody"}:
        raise ValueError(f"config.json: model_type {config.get('model_type')!r} is none of MusicGen's")
    own, item = _DEFAULTS["decoder"] | dict(config["decoder"]), ITEM_BYTES[precision]
    prefix = config.get("chroma_length", 235) if config["model_type"] == "musicgen_melody" else 0
    positions = delay.positions(FRAMES, own["num_codebooks"]) + texts + prefix
    each = stream_bytes(own["num_hidden_layers"], own["hidden_size"], positions, item)
    weights = language_parameters(config) * item + text_parameters(config) * ITEM_BYTES["float32"]
    return weights + _CODEC_BYTES + spare + SHARE * streams * each


def _text(config: Mapping[str, Any]) -> dict[str, Any]:
    return _DEFAULTS["text_encoder"] | dict(config["text_encoder"])
