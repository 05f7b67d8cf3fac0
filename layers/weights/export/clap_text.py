"""The text tower of a CLAP checkpoint, for `music.clap.text_encoder.ClapText`."""

from __future__ import annotations

from weights.check import Checkpoint
from weights.export.layers import Exported, Tensors, embedding, linear, norm


def export(checkpoint: Checkpoint, precision: str) -> Exported:
    """Export the text tower (see `weights.export.export`).

    Matrices have the given precision, the embedding of words is float32, or float16 beside integers; all else
    is float32.
    """
    config = checkpoint.config["text_config"]
    embeddings = "text_model.embeddings"
    tensors: Tensors = {
        "words": embedding(checkpoint.tensor(f"{embeddings}.word_embeddings.weight"), precision)
    }
    # Positions are counted from behind the padding token's number, and there is one type of token.
    first = config["pad_token_id"] + 1
    kind = checkpoint.tensor(f"{embeddings}.token_type_embeddings.weight")[0]
    tensors["positions"] = checkpoint.tensor(f"{embeddings}.position_embeddings.weight")[first:] + kind
    tensors |= norm(checkpoint, "embeddings.norm", f"{embeddings}.LayerNorm")
    for index in range(config["num_hidden_layers"]):
        layer = f"text_model.encoder.layer.{index}"
        qkv = (f"{layer}.attention.self.{part}" for part in ("query", "key", "value"))
        tensors |= linear(checkpoint, precision, f"{index}.qkv", *qkv)
        tensors |= linear(checkpoint, precision, f"{index}.out", f"{layer}.attention.output.dense")
        tensors |= norm(checkpoint, f"{index}.after_attention", f"{layer}.attention.output.LayerNorm")
        tensors |= linear(checkpoint, precision, f"{index}.up", f"{layer}.intermediate.dense")
        tensors |= linear(checkpoint, precision, f"{index}.down", f"{layer}.output.dense")
        tensors |= norm(checkpoint, f"{index}.after_feed", f"{layer}.output.LayerNorm")
    tensors |= linear(checkpoint, precision, "pooler", "text_model.pooler.dense")
    tensors |= linear(checkpoint, precision, "projection.1", "text_projection.linear1")
    tensors |= linear(checkpoint, precision, "projection.2", "text_projection.linear2")
    return tensors, {
        "network": "clap_text",
        "precision": precision,
        "layers": config["num_hidden_layers"],
        "heads": config["num_attention_heads"],
        "epsilon": config["layer_norm_eps"],
        "padding": config["pad_token_id"],
    }
