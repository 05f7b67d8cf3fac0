"""The transformer of a MusicGen or MusicGen Melody checkpoint, for `music.musicgen.transformer.MusicGen`."""

from __future__ import annotations

import numpy as np

from weights.check import Checkpoint
from weights.export.layers import Exported, Tensors, embedding, matrix


def export(checkpoint: Checkpoint, precision: str) -> Exported:
    """Export the transformer (see `weights.export.export`).

    Matrices have the given precision, embeddings are float32 or, beside integers, float16; norms and biases
    are float32. The heads of the codebooks are one matrix, and so are the three projections of an attention
    that read the same input.
    """
    config = checkpoint.config["decoder"]
    melody = checkpoint.config["model_type"] == "musicgen_melody"
    books, decoder = range(config["num_codebooks"]), "decoder.model.decoder"
    embeddings = [checkpoint.tensor(f"{decoder}.embed_tokens.{book}.weight") for book in books]
    tensors: Tensors = {
        "embedding": embedding(np.stack(embeddings), precision),  # (codebooks, vocabulary + 1, width)
        "text": matrix(checkpoint, precision, "enc_to_dec_proj.weight"),
        "text.bias": checkpoint.tensor("enc_to_dec_proj.bias"),
        "heads": matrix(checkpoint, precision, *(f"decoder.lm_heads.{book}.weight" for book in books)),
    }
    tensors |= _norm(checkpoint, "norm", f"{decoder}.layer_norm")
    if melody:
        tensors["chroma"] = matrix(checkpoint, precision, "audio_enc_to_dec_proj.weight")
        tensors["chroma.bias"] = checkpoint.tensor("audio_enc_to_dec_proj.bias")
    for index in range(config["num_hidden_layers"]):
        layer = f"{decoder}.layers.{index}"
        tensors |= _norm(checkpoint, f"{index}.self.norm", f"{layer}.self_attn_layer_norm")
        qkv = (f"{layer}.self_attn.{part}_proj.weight" for part in "qkv")
        tensors[f"{index}.self.qkv"] = matrix(checkpoint, precision, *qkv)
        tensors[f"{index}.self.out"] = matrix(checkpoint, precision, f"{layer}.self_attn.out_proj.weight")
        if not melody:
            cross = f"{layer}.encoder_attn"
            tensors |= _norm(checkpoint, f"{index}.cross.norm", f"{cross}_layer_norm")
            tensors[f"{index}.cross.q"] = matrix(checkpoint, precision, f"{cross}.q_proj.weight")
            kv = (f"{cross}.{part}_proj.weight" for part in "kv")
            tensors[f"{index}.cross.kv"] = matrix(checkpoint, precision, *kv)
            tensors[f"{index}.cross.out"] = matrix(checkpoint, precision, f"{cross}.out_proj.weight")
        tensors |= _norm(checkpoint, f"{index}.feed.norm", f"{layer}.final_layer_norm")
        tensors[f"{index}.feed.in"] = matrix(checkpoint, precision, f"{layer}.fc1.weight")
        tensors[f"{index}.feed.out"] = matrix(checkpoint, precision, f"{layer}.fc2.weight")
    return tensors, {
        "layers": config["num_hidden_layers"],
        "heads": config["num_attention_heads"],
        "vocabulary": config["vocab_size"],
        "precision": precision,
        "prefix": checkpoint.config["chroma_length"] if melody else 0,
    }


def _norm(checkpoint: Checkpoint, name: str, source: str) -> Tensors:
    return {
        name: checkpoint.tensor(f"{source}.weight"),
        f"{name}.bias": checkpoint.tensor(f"{source}.bias"),
    }
