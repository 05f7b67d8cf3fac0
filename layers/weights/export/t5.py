"""The text encoder of a MusicGen checkpoint, for `music.musicgen.t5.T5`."""

from __future__ import annotations

from weights.check import Checkpoint
from weights.export.layers import Calibration, Exported, Tensors, calibrated, embedding

_ENCODER = "text_encoder.encoder"


def matrices(checkpoint: Checkpoint) -> dict[str, tuple[str, ...]]:
    """List the matrices, and the tensors of the checkpoint that are stacked on each other in each."""
    found: dict[str, tuple[str, ...]] = {}
    for index in range(checkpoint.config["text_encoder"]["num_layers"]):
        attention, feed = (f"{_ENCODER}.block.{index}.layer.{part}" for part in (0, 1))
        found[f"{index}.attention.qkv"] = tuple(f"{attention}.SelfAttention.{part}.weight" for part in "qkv")
        found[f"{index}.attention.out"] = (f"{attention}.SelfAttention.o.weight",)
        found[f"{index}.feed.in"] = (f"{feed}.DenseReluDense.wi.weight",)
        found[f"{index}.feed.out"] = (f"{feed}.DenseReluDense.wo.weight",)
    return found


def others(checkpoint: Checkpoint, precision: str) -> Exported:
    """Export all but the matrices: float32, but for the embedding beside integers, which is float16."""
    config = checkpoint.config["text_encoder"]
    first = f"{_ENCODER}.block.0.layer.0.SelfAttention"
    tensors: Tensors = {
        "embedding": embedding(checkpoint.tensor("text_encoder.shared.weight"), precision),
        "position": checkpoint.tensor(f"{first}.relative_attention_bias.weight"),
        "norm": checkpoint.tensor(f"{_ENCODER}.final_layer_norm.weight"),
    }
    for index in range(config["num_layers"]):
        for part, name in enumerate(("attention", "feed")):
            tensors[f"{index}.{name}.norm"] = checkpoint.tensor(
                f"{_ENCODER}.block.{index}.layer.{part}.layer_norm.weight"
            )
    return tensors, {
        "layers": config["num_layers"],
        "heads": config["num_heads"],
        "head_size": config["d_kv"],
        "epsilon": config["layer_norm_epsilon"],
        "furthest": config["relative_attention_max_distance"],
    }


def export(
    checkpoint: Checkpoint,
    precision: str,
    calibration: Calibration = Calibration(),  # noqa: B008  (frozen)
) -> Exported:
    """Export the encoder (see `weights.export.export`): matrices of the given precision, columns apart."""
    if calibration.exact.issuperset(matrices(checkpoint)):
        precision = "float32"
    tensors, metadata = others(checkpoint, precision)
    for name, sources in matrices(checkpoint).items():
        tensors[name] = calibrated(checkpoint, precision, name, sources, calibration)
    return tensors, metadata
