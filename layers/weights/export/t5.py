"""The text encoder of a MusicGen checkpoint, for `music.musicgen.t5.T5`."""

from __future__ import annotations

from weights.check import Checkpoint
from weights.export.layers import Exported, Tensors, embedding, matrix


def export(checkpoint: Checkpoint, precision: str) -> Exported:
    """Export the encoder: matrices of the given precision, norms in float32 (see `weights.export.export`)."""
    config = checkpoint.config["text_encoder"]
    encoder = "text_encoder.encoder"
    tensors: Tensors = {
        "embedding": embedding(checkpoint.tensor("text_encoder.shared.weight"), precision),
        "position": checkpoint.tensor(
            f"{encoder}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        ),
        "norm": checkpoint.tensor(f"{encoder}.final_layer_norm.weight"),
    }
    for index in range(config["num_layers"]):
        attention, feed = (f"{encoder}.block.{index}.layer.{part}" for part in (0, 1))
        qkv = (f"{attention}.SelfAttention.{part}.weight" for part in "qkv")
        tensors |= {
            f"{index}.attention.norm": checkpoint.tensor(f"{attention}.layer_norm.weight"),
            f"{index}.attention.qkv": matrix(checkpoint, precision, *qkv),
            f"{index}.attention.out": matrix(checkpoint, precision, f"{attention}.SelfAttention.o.weight"),
            f"{index}.feed.norm": checkpoint.tensor(f"{feed}.layer_norm.weight"),
            f"{index}.feed.in": matrix(checkpoint, precision, f"{feed}.DenseReluDense.wi.weight"),
            f"{index}.feed.out": matrix(checkpoint, precision, f"{feed}.DenseReluDense.wo.weight"),
        }
    return tensors, {
        "layers": config["num_layers"],
        "heads": config["num_heads"],
        "head_size": config["d_kv"],
        "epsilon": config["layer_norm_epsilon"],
        "furthest": config["relative_attention_max_distance"],
    }
