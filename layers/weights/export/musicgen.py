"""The transformer of a MusicGen or MusicGen Melody checkpoint, for `music.musicgen.transformer.MusicGen`."""

from __future__ import annotations

import numpy as np

from weights.check import Checkpoint
from weights.export.layers import Calibration, Exported, Tensors, calibrated, embedding

_DECODER = "decoder.model.decoder"


def matrices(checkpoint: Checkpoint) -> dict[str, tuple[str, ...]]:
    """List the matrices, and the tensors of the checkpoint that are stacked on each other in each.

    The heads of the codebooks are one matrix, and so are the three projections of an attention that read the
    same input.
    """
    config = checkpoint.config["decoder"]
    melody = checkpoint.config["model_type"] == "musicgen_melody"
    books = range(config["num_codebooks"])
    found: dict[str, tuple[str, ...]] = {
        "text": ("enc_to_dec_proj.weight",),
        "heads": tuple(f"decoder.lm_heads.{book}.weight" for book in books),
    }
    if melody:
        found["chroma"] = ("audio_enc_to_dec_proj.weight",)
    for index in range(config["num_hidden_layers"]):
        layer = f"{_DECODER}.layers.{index}"
        found[f"{index}.self.qkv"] = tuple(f"{layer}.self_attn.{part}_proj.weight" for part in "qkv")
        found[f"{index}.self.out"] = (f"{layer}.self_attn.out_proj.weight",)
        if not melody:
            cross = f"{layer}.encoder_attn"
            found[f"{index}.cross.q"] = (f"{cross}.q_proj.weight",)
            found[f"{index}.cross.kv"] = tuple(f"{cross}.{part}_proj.weight" for part in "kv")
            found[f"{index}.cross.out"] = (f"{cross}.out_proj.weight",)
        found[f"{index}.feed.in"] = (f"{layer}.fc1.weight",)
        found[f"{index}.feed.out"] = (f"{layer}.fc2.weight",)
    return found


def others(checkpoint: Checkpoint, precision: str) -> Exported:
    """Export all but the matrices: float32, but for embeddings beside integers, which are float16."""
    config = checkpoint.config["decoder"]
    melody = checkpoint.config["model_type"] == "musicgen_melody"
    books = range(config["num_codebooks"])
    embeddings = [checkpoint.tensor(f"{_DECODER}.embed_tokens.{book}.weight") for book in books]
    tensors: Tensors = {
        "embedding": embedding(np.stack(embeddings), precision),  # (codebooks, vocabulary + 1, width)
        "text.bias": checkpoint.tensor("enc_to_dec_proj.bias"),
    }
    tensors |= _norm(checkpoint, "norm", f"{_DECODER}.layer_norm")
    if melody:
        tensors["chroma.bias"] = checkpoint.tensor("audio_enc_to_dec_proj.bias")
    for index in range(config["num_hidden_layers"]):
        layer = f"{_DECODER}.layers.{index}"
        tensors |= _norm(checkpoint, f"{index}.self.norm", f"{layer}.self_attn_layer_norm")
        if not melody:
            tensors |= _norm(checkpoint, f"{index}.cross.norm", f"{layer}.encoder_attn_layer_norm")
        tensors |= _norm(checkpoint, f"{index}.feed.norm", f"{layer}.final_layer_norm")
    return tensors, {
        "layers": config["num_hidden_layers"],
        "heads": config["num_attention_heads"],
        "vocabulary": config["vocab_size"],
        "precision": precision,
        "prefix": checkpoint.config["chroma_length"] if melody else 0,
        "text_length": checkpoint.config.get("text_length", 0),
    }


def export(
    checkpoint: Checkpoint,
    precision: str,
    calibration: Calibration = Calibration(),  # noqa: B008  (frozen)
) -> Exported:
    """Export the transformer (see `weights.export.export`).

    Matrices have the given precision, but for what the calibration keeps in float32. The cache of a layer is
    float32 where its projections are.
    """
    if calibration.exact.issuperset(matrices(checkpoint)):
        precision = "float32"
    tensors, metadata = others(checkpoint, precision)
    for name, sources in matrices(checkpoint).items():
        tensors[name] = calibrated(checkpoint, precision, name, sources, calibration)
    if calibration.exact:
        metadata["exact"] = sorted(
            int(name.partition(".")[0]) for name in calibration.exact if name.endswith(".self.qkv")
        )
    return tensors, metadata


def _norm(checkpoint: Checkpoint, name: str, source: str) -> Tensors:
    return {
        name: checkpoint.tensor(f"{source}.weight"),
        f"{name}.bias": checkpoint.tensor(f"{source}.bias"),
    }
