"""EnCodec against the same network written plainly, and as a stream against itself."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from music.engine.packing import Tensors, Weight, WeightsError, write
from music.musicgen import encodec
from music.musicgen.encodec import Encodec
from weights.export import encodec as exporter
from weights.export.layers import Exported

FILTERS, RATIOS, HIDDEN, ENTRIES, BOOKS, KERNEL, LAST, WIDE = 4, [3, 2], 8, 16, 3, 7, 5, 3
UNITS, HOP = FILTERS * 4, 6


class Checkpoint:
    """What `export` asks of a checkpoint, random."""

    def __init__(self) -> None:
        self.config: dict[str, Any] = {
            "audio_encoder": {
                "model_type": "encodec", "sampling_rate": 600, "audio_channels": 1, "normalize": False,
                "chunk_length_s": None, "hidden_size": HIDDEN, "num_filters": FILTERS,
                "num_residual_layers": 1, "upsampling_ratios": RATIOS, "norm_type": "weight_norm",
                "kernel_size": KERNEL,
                "last_kernel_size": LAST, "residual_kernel_size": WIDE, "use_causal_conv": False,
                "pad_mode": "reflect", "compress": 2, "num_lstm_layers": 2, "codebook_size": ENTRIES,
                "codebook_dim": HIDDEN, "use_conv_shortcut": False, "target_bandwidths": [0.4, 1.2],
            },
        }  # fmt: skip
        draw = np.random.default_rng(3)
        self.tensors: dict[str, np.ndarray] = {}

        def add(name: str, *shape: int, scale: float = 1.0) -> None:
            self.tensors[f"audio_encoder.{name}"] = (draw.standard_normal(shape) * scale).astype(np.float32)

        def conv(name: str, first: int, second: int, taps: int, outputs: int) -> None:
            add(f"{name}.conv.weight_g", first, 1, 1)
            add(f"{name}.conv.weight_v", first, second, taps)
            add(f"{name}.conv.bias", outputs, scale=0.3)

        def residual(name: str, size: int) -> None:
            conv(f"{name}.block.1", size // 2, size, WIDE, size // 2)
            conv(f"{name}.block.3", size, size // 2, 1, size)

        def lstm(name: str) -> None:
            for layer in range(2):
                for part in ("ih", "hh"):
                    add(f"{name}.lstm.weight_{part}_l{layer}", 4 * UNITS, UNITS, scale=0.3)
                    add(f"{name}.lstm.bias_{part}_l{layer}", 4 * UNITS, scale=0.3)

        conv("encoder.layers.0", FILTERS, 1, KERNEL, FILTERS)
        residual("encoder.layers.1", FILTERS)
        conv("encoder.layers.3", 2 * FILTERS, FILTERS, 4, 2 * FILTERS)
        residual("encoder.layers.4", 2 * FILTERS)
        conv("encoder.layers.6", 4 * FILTERS, 2 * FILTERS, 6, 4 * FILTERS)
        lstm("encoder.layers.7")
        conv("encoder.layers.9", HIDDEN, UNITS, LAST, HIDDEN)
        for book in range(BOOKS):
            add(f"quantizer.layers.{book}.codebook.embed", ENTRIES, HIDDEN)
        conv("decoder.layers.0", UNITS, HIDDEN, KERNEL, UNITS)
        lstm("decoder.layers.1")
        conv("decoder.layers.3", UNITS, UNITS // 2, 6, UNITS // 2)
        residual("decoder.layers.4", UNITS // 2)
        conv("decoder.layers.6", UNITS // 2, UNITS // 4, 4, UNITS // 4)
        residual("decoder.layers.7", UNITS // 4)
        conv("decoder.layers.9", 1, FILTERS, LAST, 1)

    def tensor(self, name: str) -> np.ndarray:
        return self.tensors[name]


class Plain:
    """The network in float64 over [channels, time], a sample at a time."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.t = {
            name[len("audio_encoder.") :]: v.astype(np.float64) for name, v in checkpoint.tensors.items()
        }

    def kernel(self, name: str) -> np.ndarray:
        direction = self.t[f"{name}.conv.weight_v"]
        lengths = np.sqrt((direction**2).sum((1, 2), keepdims=True))
        return self.t[f"{name}.conv.weight_g"] * direction / lengths

    def conv(self, x: np.ndarray, name: str, stride: int = 1) -> np.ndarray:
        kernel, n = self.kernel(name), x.shape[1]
        taps = kernel.shape[2]
        outputs = -(-n // stride)
        right = (taps - stride) // 2
        left, right = taps - stride - right, right + outputs * stride - n
        short = max(max(left, right) + 1 - n, 0)  # reflection needs more samples than it makes
        padded = np.pad(np.pad(x, ((0, 0), (0, short))), ((0, 0), (left, right)), mode="reflect")
        padded = padded[:, : padded.shape[1] - short]
        y = [np.einsum("oit,it->o", kernel, padded[:, i * stride :][:, :taps]) for i in range(outputs)]
        return np.stack(y, axis=1) + self.t[f"{name}.conv.bias"][:, None]

    def transposed(self, x: np.ndarray, name: str, stride: int) -> np.ndarray:
        kernel, n = self.kernel(name), x.shape[1]
        full = np.zeros((kernel.shape[1], (n + 1) * stride))
        for i in range(n):
            full[:, i * stride : (i + 2) * stride] += np.einsum("iot,i->ot", kernel, x[:, i])
        left = stride - stride // 2
        return full[:, left : left + n * stride] + self.t[f"{name}.conv.bias"][:, None]

    def residual(self, x: np.ndarray, name: str) -> np.ndarray:
        return x + self.conv(elu(self.conv(elu(x), f"{name}.block.1")), f"{name}.block.3")

    def lstm(self, x: np.ndarray, name: str) -> np.ndarray:
        y = x
        for layer in range(2):
            part = {key: self.t[f"{name}.lstm.{key}_l{layer}"]
                    for key in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}  # fmt: skip
            hidden, cell, rows = np.zeros(UNITS), np.zeros(UNITS), []
            for now in y.T:
                gates = (
                    part["weight_ih"] @ now + part["weight_hh"] @ hidden + part["bias_ih"] + part["bias_hh"]
                )
                enter, forget, new, leave = gates.reshape(4, UNITS)
                cell = sigmoid(forget) * cell + sigmoid(enter) * np.tanh(new)
                hidden = sigmoid(leave) * np.tanh(cell)
                rows.append(hidden)
            y = np.stack(rows, axis=1)
        return x + y

    def encode(self, audio: np.ndarray) -> np.ndarray:
        x = self.residual(self.conv(audio[None], "encoder.layers.0"), "encoder.layers.1")
        x = self.residual(self.conv(elu(x), "encoder.layers.3", 2), "encoder.layers.4")
        x = self.lstm(self.conv(elu(x), "encoder.layers.6", 3), "encoder.layers.7")
        x = self.conv(elu(x), "encoder.layers.9")
        codes = []
        for book in range(BOOKS):
            entries = self.t[f"quantizer.layers.{book}.codebook.embed"]
            codes.append(((x.T[:, None] - entries) ** 2).sum(2).argmin(1))
            x = x - entries[codes[-1]].T
        return np.stack(codes)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        books = enumerate(codes)
        x = sum(self.t[f"quantizer.layers.{book}.codebook.embed"][row] for book, row in books).T
        x = self.lstm(self.conv(x, "decoder.layers.0"), "decoder.layers.1")
        x = self.residual(self.transposed(elu(x), "decoder.layers.3", 3), "decoder.layers.4")
        x = self.residual(self.transposed(elu(x), "decoder.layers.6", 2), "decoder.layers.7")
        return self.conv(elu(x), "decoder.layers.9")


def elu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def exported(precision: str = "float32", checkpoint: Checkpoint | None = None) -> Exported:
    given: Any = checkpoint or Checkpoint()
    return exporter.export(given, precision)


def saved(folder: Path, **changes: np.ndarray | Weight) -> Encodec:
    tensors, metadata = exported()
    write(folder / "codec.safetensors", tensors | changes, metadata)
    return Encodec(Tensors(folder / "codec.safetensors"))


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Encodec:
    return saved(tmp_path_factory.mktemp("codec"))


def some_codes(frames: int, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(frames).integers(0, ENTRIES, (channels * BOOKS, frames))


def some_audio(samples: int, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(samples).standard_normal((channels, samples)).astype(np.float32)


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 6, 17, 150])
def test_audio_is_that_of_the_plain_network(codec: Encodec, frames: int) -> None:
    """Short ones, too: shorter than the padding of the first or last convolution."""
    codes = some_codes(frames)
    audio = codec.decode(codes)
    assert audio.dtype == np.float32
    assert audio.shape == (1, frames * HOP)
    np.testing.assert_allclose(audio, Plain(Checkpoint()).decode(codes), atol=3e-6)


@pytest.mark.parametrize("samples", [1, 2, 3, 4, 5, 6, 7, 11, 100, 601, 1300])
def test_codes_are_those_of_the_plain_network(codec: Encodec, samples: int) -> None:
    """Any number of samples, whole frames or not; more than a second is read piece by piece."""
    audio = some_audio(samples)
    codes = codec.encode(audio)
    assert codes.shape == (BOOKS, -(-samples // HOP))
    assert (codes == Plain(Checkpoint()).encode(audio[0].astype(np.float64))).all()


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_smaller_bundles_sound_the_same(codec: Encodec, tmp_path: Path, precision: str) -> None:
    write(tmp_path / "codec.safetensors", *exported(precision))
    codes = some_codes(100)
    difference = Encodec(Tensors(tmp_path / "codec.safetensors")).decode(codes) - codec.decode(codes)
    assert 0 < np.abs(difference).max() < 1e-4


def test_all_codebooks_of_the_largest_bandwidth_are_used(codec: Encodec) -> None:
    assert (codec.codebooks, codec.codebook_size, codec.hop, codec.sample_rate) == (BOOKS, ENTRIES, HOP, 600)


@pytest.mark.parametrize("pieces", [[1] * 40, [40], [0, 3, 0, 1, 36, 0], [7, 33], [2, 2, 2, 2, 32], [39, 1]])
@pytest.mark.parametrize("block", [1, 50, 1 << 18])
def test_a_stream_is_the_whole_bit_for_bit(
    codec: Encodec, pieces: list[int], block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = some_codes(40)
    whole = codec.decode(codes)
    monkeypatch.setattr(encodec, "_BLOCK", block)
    monkeypatch.setattr(encodec, "_FRAMES", min(block, 96))
    decoder = codec.decoder(1)
    parts = [decoder.push(part[None]) for part in np.split(codes, np.cumsum(pieces)[:-1], axis=1)]
    assert np.array_equal(np.concatenate([*parts, decoder.finish()], axis=2)[0], whole)


def test_a_stream_holds_back_a_few_frames_only(codec: Encodec) -> None:
    decoder, samples = codec.decoder(1), 0
    for frames in range(1, 60):
        samples += decoder.push(some_codes(1)[None]).shape[2]
        assert (frames - 8) * HOP <= samples < frames * HOP


@pytest.mark.parametrize("block", [1, 7, 1 << 18])
def test_codes_do_not_depend_on_the_blocks(
    codec: Encodec, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio = some_audio(1000)
    whole = codec.encode(audio)
    monkeypatch.setattr(encodec, "_BLOCK", block)
    monkeypatch.setattr(encodec, "_FRAMES", min(block, 96))
    assert np.array_equal(codec.encode(audio), whole)


def test_stereo_is_two_channels_in_turn(codec: Encodec) -> None:
    codes = some_codes(30, channels=2)
    audio = codec.decode(codes)
    assert audio.shape == (2, 30 * HOP)
    for channel in range(2):
        assert np.array_equal(audio[channel], codec.decode(codes[channel::2])[0])
    both = some_audio(400, channels=2)
    again = codec.encode(both)
    for channel in range(2):
        assert np.array_equal(again[channel::2], codec.encode(both[channel : channel + 1]))


def test_streams_do_not_meet(codec: Encodec) -> None:
    codes = some_codes(20), some_codes(21)
    decoders = codec.decoder(1), codec.decoder(1)
    parts = [[decoder.push(c[None, :, :9]) for decoder, c in zip(decoders, codes, strict=True)]]
    parts.append([decoder.push(c[None, :, 9:]) for decoder, c in zip(decoders, codes, strict=True)])
    parts.append([decoder.finish() for decoder in decoders])
    for whole, *found in zip(codes, *parts, strict=True):
        assert np.array_equal(np.concatenate(found, axis=2)[0], codec.decode(whole))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("candidates", [2, 3, 4, 5])
def test_candidates_side_by_side_are_each_as_if_alone(codec: Encodec, candidates: int, channels: int) -> None:
    codes = np.stack([some_codes(30 + n, channels=channels)[:, n:] for n in range(candidates)])
    decoder = codec.decoder(channels, candidates)
    found = np.concatenate(
        [decoder.push(codes[..., :13]), decoder.push(codes[..., 13:]), decoder.finish()], axis=2
    )
    assert found.shape == (candidates, channels, 30 * HOP)
    for audio, alone in zip(found, codes, strict=True):
        assert np.array_equal(audio, codec.decode(alone))


def test_memory_does_not_grow_with_the_stream(codec: Encodec) -> None:
    def peak(frames: int) -> int:
        decoder = codec.decoder(1)
        codes = some_codes(frames)
        tracemalloc.start()
        for start in range(0, frames, 100):
            decoder.push(codes[None, :, start : start + 100])
        decoder.finish()
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(300)
    assert peak(3_000) < 1.2 * peak(600)


def test_nothing_in_nothing_out(codec: Encodec) -> None:
    assert codec.decode(some_codes(0)).shape == (1, 0)
    assert codec.encode(np.zeros((1, 0), np.float32)).shape == (BOOKS, 0)
    assert codec.decoder(2, 3).finish().shape == (3, 2, 0)


def test_weights_that_are_not_numbers_are_refused() -> None:
    checkpoint = Checkpoint()
    checkpoint.tensors["audio_encoder.decoder.layers.3.conv.bias"][0] = np.nan
    with pytest.raises(WeightsError, match=r"decoder\.layers\.3\.conv\.bias"):
        exported(checkpoint=checkpoint)


def test_an_incomplete_file_is_refused(tmp_path: Path) -> None:
    tensors, metadata = exported()
    path = tmp_path / "codec.safetensors"
    write(
        path,
        {name: tensor for name, tensor in tensors.items() if name != "decoder.layers.4.block.1.weight"},
        metadata,
    )
    with pytest.raises(WeightsError, match=r"decoder\.layers\.4\.block\.1\.weight"):
        Encodec(Tensors(path))
    write(path, tensors, {"sample_rate": 600})
    with pytest.raises(WeightsError, match="codebooks"):
        Encodec(Tensors(path))
