"""The audio tower of CLAP against the same network written plainly: pictures rolled, cut up and put back."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from music.clap import audio_encoder
from music.engine import ops
from music.engine.packing import Tensors, write
from weights.export import clap_audio

WINDOW, WIDTH, DEPTHS, HEADS, BINS, PICTURE = 4, 8, [2, 2, 1], [2, 2, 4], 16, 64


class Checkpoint:
    """What `export` asks of a checkpoint, random."""

    def __init__(self) -> None:
        self.config: dict[str, Any] = {
            "projection_dim": 12,
            "audio_config": {
                "window_size": WINDOW, "num_mel_bins": BINS, "spec_size": PICTURE, "patch_size": 4,
                "patch_stride": [4, 4], "depths": DEPTHS, "num_attention_heads": HEADS, "hidden_act": "gelu",
                "patch_embeds_hidden_size": WIDTH, "hidden_size": WIDTH * 4, "enable_fusion": False,
                "patch_embed_input_channels": 1, "enable_patch_layer_norm": True,
                "flatten_patch_embeds": True, "projection_hidden_act": "relu", "qkv_bias": True,
                "layer_norm_eps": 1e-5,
            },
        }  # fmt: skip
        draw = np.random.default_rng(5)
        self.tensors: dict[str, np.ndarray] = {}

        def add(name: str, *shape: int, mean: float = 0.0) -> None:
            value = mean + draw.standard_normal(shape) * (0.3 if len(shape) == 1 else shape[-1] ** -0.5)
            self.tensors[name] = value.astype(np.float32)

        def linear(name: str, outputs: int, inputs: int) -> None:
            add(f"{name}.weight", outputs, inputs)
            add(f"{name}.bias", outputs)

        def norm(name: str, width: int) -> None:
            add(f"{name}.weight", width, mean=1.0)
            add(f"{name}.bias", width)

        encoder = "audio_model.audio_encoder"
        norm(f"{encoder}.batch_norm", BINS)
        add(f"{encoder}.batch_norm.running_mean", BINS)
        self.tensors[f"{encoder}.batch_norm.running_var"] = draw.uniform(0.5, 2, BINS).astype(np.float32)
        add(f"{encoder}.patch_embed.proj.weight", WIDTH, 1, 4, 4)
        add(f"{encoder}.patch_embed.proj.bias", WIDTH)
        norm(f"{encoder}.patch_embed.norm", WIDTH)
        for stage, depth in enumerate(DEPTHS):
            width = WIDTH << stage
            for block in range(depth):
                layer = f"{encoder}.layers.{stage}.blocks.{block}"
                for part in ("query", "key", "value"):
                    linear(f"{layer}.attention.self.{part}", width, width)
                table = f"{layer}.attention.self.relative_position_bias_table"
                add(table, (2 * WINDOW - 1) ** 2, HEADS[stage])
                linear(f"{layer}.attention.output.dense", width, width)
                norm(f"{layer}.layernorm_before", width)
                norm(f"{layer}.layernorm_after", width)
                linear(f"{layer}.intermediate.dense", 4 * width, width)
                linear(f"{layer}.output.dense", width, 4 * width)
            if stage + 1 < len(DEPTHS):
                norm(f"{encoder}.layers.{stage}.downsample.norm", 4 * width)
                add(f"{encoder}.layers.{stage}.downsample.reduction.weight", 2 * width, 4 * width)
        norm(f"{encoder}.norm", WIDTH * 4)
        linear("audio_projection.linear1", 12, WIDTH * 4)
        linear("audio_projection.linear2", 12, 12)

    def tensor(self, name: str) -> np.ndarray:
        return self.tensors[name]


def plain(checkpoint: Checkpoint, mel: np.ndarray) -> np.ndarray:
    """The network for one spectrogram of exactly PICTURE^2 / BINS frames, in float64."""
    t = {name: value.astype(np.float64) for name, value in checkpoint.tensors.items()}

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ t[f"{name}.weight"].T + t.get(f"{name}.bias", 0)

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return scaled * t[f"{name}.weight"] + t[f"{name}.bias"]

    def attention(x: np.ndarray, name: str, heads: int, seen: np.ndarray) -> np.ndarray:
        """Of one window [WINDOW^2, width]; `seen` is added to the scores."""
        qkv = (linear(x, f"{name}.self.{part}") for part in ("query", "key", "value"))
        q, k, v = (part.reshape(len(x), heads, -1) for part in qkv)
        scores = np.einsum("qhd,khd->hqk", q, k) / math.sqrt(q.shape[2])
        table = t[f"{name}.self.relative_position_bias_table"]
        for i in range(len(x)):
            for j in range(len(x)):
                down, right = i // WINDOW - j // WINDOW, i % WINDOW - j % WINDOW
                scores[:, i, j] += table[(down + WINDOW - 1) * (2 * WINDOW - 1) + right + WINDOW - 1]
        weights = np.exp(scores + seen)
        weights /= weights.sum(-1, keepdims=True)
        return linear(np.einsum("hqk,khd->qhd", weights, v).reshape(len(x), -1), f"{name}.output.dense")

    encoder = "audio_model.audio_encoder"
    batch = f"{encoder}.batch_norm"
    mel = (mel - t[f"{batch}.running_mean"]) / np.sqrt(t[f"{batch}.running_var"] + 1e-5)
    mel = mel * t[f"{batch}.weight"] + t[f"{batch}.bias"]
    picture = np.concatenate([part.T for part in np.split(mel, PICTURE // BINS)])
    kernel = t[f"{encoder}.patch_embed.proj.weight"][:, 0]
    cells = PICTURE // 4
    x = np.zeros((cells, cells, WIDTH))
    for i in range(cells):
        for j in range(cells):
            x[i, j] = (kernel * picture[4 * i : 4 * i + 4, 4 * j : 4 * j + 4]).sum((1, 2))
    x = norm(x + t[f"{encoder}.patch_embed.proj.bias"], f"{encoder}.patch_embed.norm")
    for stage, depth in enumerate(DEPTHS):
        grid = len(x)
        for block in range(depth):
            name = f"{encoder}.layers.{stage}.blocks.{block}"
            shift = WINDOW // 2 if block % 2 and grid > WINDOW else 0
            rolled = np.roll(norm(x, f"{name}.layernorm_before"), (-shift, -shift), (0, 1))
            # A rolled row or column that came from the other end is of another region.
            far = np.arange(grid) >= grid - shift
            region = 2 * far[:, None] + far
            result = np.zeros_like(rolled)
            for i in range(0, grid, WINDOW):
                for j in range(0, grid, WINDOW):
                    here = np.s_[i : i + WINDOW, j : j + WINDOW]
                    regions = region[here].ravel()
                    seen = np.where(regions[:, None] == regions, 0.0, -100.0)
                    window = rolled[here].reshape(WINDOW**2, -1)
                    mixed = attention(window, f"{name}.attention", HEADS[stage], seen)
                    result[here] = mixed.reshape(WINDOW, WINDOW, -1)
            x = x + np.roll(result, (shift, shift), (0, 1))
            hidden = linear(norm(x, f"{name}.layernorm_after"), f"{name}.intermediate.dense")
            hidden = hidden * 0.5 * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2)))
            x = x + linear(hidden, f"{name}.output.dense")
        if stage + 1 < len(DEPTHS):
            name = f"{encoder}.layers.{stage}.downsample"
            merged = np.concatenate([x[::2, ::2], x[1::2, ::2], x[::2, 1::2], x[1::2, 1::2]], axis=-1)
            x = linear(norm(merged, f"{name}.norm"), f"{name}.reduction")
    pooled = norm(x, f"{encoder}.norm").mean((0, 1))
    return linear(np.maximum(0, linear(pooled, "audio_projection.linear1")), "audio_projection.linear2")


def opened(folder: Path, precision: str = "float32") -> audio_encoder.ClapAudio:
    checkpoint: Any = Checkpoint()
    write(folder / "audio.safetensors", *clap_audio.export(checkpoint, precision))
    return audio_encoder.ClapAudio(Tensors(folder / "audio.safetensors"))


@pytest.fixture(scope="module")
def mels() -> np.ndarray:
    return np.random.default_rng(7).standard_normal((5, PICTURE**2 // BINS, BINS)).astype(np.float32)


@pytest.mark.parametrize(("precision", "error"), [("float32", 2e-6), ("int8", 0.03)])
def test_it_computes_what_the_plain_network_does(
    precision: str, error: float, tmp_path: Path, mels: np.ndarray
) -> None:
    wanted = np.stack([plain(Checkpoint(), mel) for mel in mels[:2]])
    found = opened(tmp_path, precision)(mels[:2])
    assert found.shape == (2, 12)
    assert found.dtype == np.float32
    assert np.sqrt(((found - wanted) ** 2).mean() / (wanted**2).mean()) < error


def test_a_vector_does_not_depend_on_its_batch(
    tmp_path: Path, mels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = opened(tmp_path)
    alone = np.concatenate([network(mels[i : i + 1]) for i in range(5)])
    assert (network(mels) == alone).all()
    assert (network(mels[1:4]) == alone[1:4]).all()
    for rows in (1, 100, 10**6):  # pieces of less than a window, of some, of all
        monkeypatch.setattr(audio_encoder, "_ROWS_AT_ONCE", rows)
        assert (opened(tmp_path)(mels) == alone).all()


def test_fewer_frames_are_stretched_to_the_picture(tmp_path: Path) -> None:
    """A spectrogram that is a straight line in time stays one, whatever its number of frames."""
    network, frames = opened(tmp_path), PICTURE**2 // BINS
    line = np.linspace(-1, 1, frames, dtype=np.float32)[:, None] * np.ones(BINS, np.float32)
    exact = network(line[None])
    # Keys' kernel with a = -0.75 bends lines a little between samples: close, not equal.
    fewer = np.linspace(-1, 1, 250, dtype=np.float32)[:, None] * line[-1]
    nearly = network(fewer[None])
    assert np.abs(nearly - exact).max() < 0.02 * np.abs(exact).max()
    with pytest.raises(ValueError, match="257 frames"):
        network(np.zeros((1, 257, BINS), np.float32))


def test_gather_takes_rows_and_refuses_what_is_not_there() -> None:
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    index = np.array([3, 0, 3, 1, 2], np.int32)
    assert (ops.gather(x, index) == x[index]).all()
    assert (ops.gather(x[:, 1:], index) == x[index, 1:]).all()
    for wrong in ([4], [-1]):
        with pytest.raises(ValueError, match="outside"):
            ops.gather(x, np.array(wrong, np.int32))
    with pytest.raises(ValueError, match="int32"):
        ops.gather(x, index.astype(np.int64))
