"""The codec of a MusicGen checkpoint, for `music.musicgen.encodec.Encodec`."""

from __future__ import annotations

from typing import Any

import numpy as np

from music.engine.ops import interleave_gates
from music.engine.packing import WeightsError, pack
from music.musicgen.encodec import TOGETHER, codebook_names, decoder_layers, encoder_layers
from weights.check import Checkpoint
from weights.export.layers import Exported, Tensors
from weights.layouts import codebooks


def export(checkpoint: Checkpoint, precision: str) -> Exported:
    """Export the codec (see `weights.export.export`); names are those of the checkpoint.

    What a codec loses is heard, so it is float32 in every bundle; but in those of integers, the LSTM's
    recurrent matrices, whose reading takes a third of the time, are int16: the audio differs by 2.6e-6 of its
    level, as much as between two orders of summation. Weight norm (Salimans and Kingma 2016,
    arXiv:1602.07868) is folded into the kernels.
    """
    codec = _metadata(checkpoint.config["audio_encoder"])
    tensors: Tensors = {}

    def read(name: str) -> np.ndarray:
        tensor = checkpoint.tensor(f"audio_encoder.{name}")
        if not np.isfinite(tensor).all():
            raise WeightsError(f"tensor audio_encoder.{name} holds values that are not finite")
        return tensor

    def kernel(name: str) -> np.ndarray:
        """Read a kernel (taps, second axis, first axis), its weight norm folded."""
        gain, direction = read(f"{name}.conv.weight_g"), read(f"{name}.conv.weight_v")
        lengths = np.sqrt(np.square(direction, dtype=np.float64).sum(axis=(1, 2), keepdims=True))
        return (gain * direction / lengths).astype(np.float32).transpose(2, 1, 0)

    def convolution(name: str) -> None:
        taps = kernel(name)
        tensors[f"{name}.weight"] = pack(taps.reshape(-1, taps.shape[2]).T)
        tensors[f"{name}.bias"] = read(f"{name}.conv.bias")

    for kind, name, channels, _, stride in encoder_layers(codec) + decoder_layers(codec):
        if kind == "conv":
            convolution(name)
        elif kind == "residual":
            convolution(f"{name}.block.1")
            convolution(f"{name}.block.3")
        elif kind == "last":
            # Row i computes the i-th of some neighbouring samples: the same taps, i samples later.
            taps = kernel(name).reshape(-1)
            matrix = np.zeros((TOGETHER, len(taps) + (TOGETHER - 1) * channels), np.float32)
            for i, row in enumerate(matrix):
                row[i * channels : i * channels + len(taps)] = taps
            tensors[f"{name}.weight"] = pack(matrix)
            tensors[f"{name}.bias"] = np.repeat(read(f"{name}.conv.bias"), TOGETHER)
        elif kind == "transposed":
            # The later half of the kernel meets the frame before, the earlier half the frame itself.
            taps = kernel(name)
            matrix = np.concatenate([taps[stride:], taps[:stride]], axis=2)
            tensors[f"{name}.weight"] = pack(matrix.reshape(-1, 2 * channels))
            tensors[f"{name}.bias"] = np.tile(read(f"{name}.conv.bias"), stride)
        else:
            for layer in range(codec["lstm_layers"]):
                for part, origin in (("input", "weight_ih"), ("recurrent", "weight_hh")):
                    rows = interleave_gates(read(f"{name}.lstm.{origin}_l{layer}"))
                    kept = "int16" if part == "recurrent" and precision != "float32" else "float32"
                    tensors[f"{name}.{layer}.{part}"] = pack(rows, kept)
                both = read(f"{name}.lstm.bias_ih_l{layer}") + read(f"{name}.lstm.bias_hh_l{layer}")
                tensors[f"{name}.{layer}.bias"] = interleave_gates(both)
    for name in codebook_names(codec):
        book = read(f"{name}.embed")
        tensors[f"{name}.embed"] = book
        # The entry e nearest to x has the greatest x e - |e|^2 / 2.
        tensors[f"{name}.weight"] = pack(book)
        tensors[f"{name}.bias"] = (-np.square(book, dtype=np.float64).sum(axis=1) / 2).astype(np.float32)
    return tensors, codec


def _metadata(config: dict[str, Any]) -> dict[str, Any]:
    """Take from a codec's config what `music.musicgen.encodec.Encodec` has to know."""
    return {
        "sample_rate": config["sampling_rate"],
        "codebooks": codebooks(config),
        "codebook_size": config["codebook_size"],
        "hidden": config["hidden_size"],
        "filters": config["num_filters"],
        "ratios": list(config["upsampling_ratios"]),
        "kernel": config["kernel_size"],
        "last_kernel": config["last_kernel_size"],
        "residual_kernel": config["residual_kernel_size"],
        "lstm_layers": config["num_lstm_layers"],
    }
