"""The audio tower of a CLAP checkpoint, for `music.clap.audio_encoder.ClapAudio`."""

from __future__ import annotations

import numpy as np

from music.clap.audio_encoder import NORM_EPSILON
from music.engine.packing import pack
from weights.check import Checkpoint
from weights.export.layers import Exported, Tensors, linear, norm


def export(checkpoint: Checkpoint, precision: str) -> Exported:
    """Export the audio tower (see `weights.export.export`).

    The matrices of the blocks have the given precision, everything else is float32. The batch norm of the
    spectrogram becomes a factor and a summand for each mel band.
    """
    config = checkpoint.config["audio_config"]
    depths, heads = config["depths"], config["num_attention_heads"]
    encoder = "audio_model.audio_encoder"
    mean, variance, gain, shift = (
        checkpoint.tensor(f"{encoder}.batch_norm.{part}").astype(np.float64)
        for part in ("running_mean", "running_var", "weight", "bias")
    )
    scale = gain / np.sqrt(variance + NORM_EPSILON)
    kernel = checkpoint.tensor(f"{encoder}.patch_embed.proj.weight")
    tensors: Tensors = {
        "mel.scale": scale.astype(np.float32),
        "mel.shift": (shift - mean * scale).astype(np.float32),
        "patches.weight": pack(kernel.reshape(len(kernel), -1)),
        "patches.bias": checkpoint.tensor(f"{encoder}.patch_embed.proj.bias"),
    }
    tensors |= norm(checkpoint, "patches.norm", f"{encoder}.patch_embed.norm")
    for stage, depth in enumerate(depths):
        for number in range(depth):
            block, layer = f"{stage}.{number}", f"{encoder}.layers.{stage}.blocks.{number}"
            tensors[f"{block}.positions"] = checkpoint.tensor(
                f"{layer}.attention.self.relative_position_bias_table"
            )
            tensors |= norm(checkpoint, f"{block}.before", f"{layer}.layernorm_before")
            qkv = (f"{layer}.attention.self.{part}" for part in ("query", "key", "value"))
            tensors |= linear(checkpoint, precision, f"{block}.qkv", *qkv)
            tensors |= linear(checkpoint, precision, f"{block}.out", f"{layer}.attention.output.dense")
            tensors |= norm(checkpoint, f"{block}.after", f"{layer}.layernorm_after")
            tensors |= linear(checkpoint, precision, f"{block}.up", f"{layer}.intermediate.dense")
            tensors |= linear(checkpoint, precision, f"{block}.down", f"{layer}.output.dense")
        if stage + 1 < len(depths):
            merge = f"{encoder}.layers.{stage}.downsample"
            tensors |= norm(checkpoint, f"{stage}.merge.norm", f"{merge}.norm")
            tensors |= linear(checkpoint, precision, f"{stage}.merge", f"{merge}.reduction", bias=False)
    tensors |= norm(checkpoint, "norm", f"{encoder}.norm")
    tensors |= linear(checkpoint, precision, "projection.1", "audio_projection.linear1")
    tensors |= linear(checkpoint, precision, "projection.2", "audio_projection.linear2")
    return tensors, {
        "network": "clap_audio",
        "precision": precision,
        "bins": config["num_mel_bins"],
        "picture": config["spec_size"],
        "patch": config["patch_size"],
        "window": config["window_size"],
        "depths": list(depths),
        "heads": list(heads),
        "epsilon": config["layer_norm_eps"],
        "dimension": checkpoint.config["projection_dim"],
    }
