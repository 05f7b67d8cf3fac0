"""EnCodec on the engine against transformers, with random weights of the published size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from music.engine.packing import Tensors, Weight, write
from music.musicgen.encodec import Encodec
from music.torch.encodec import Encodec as TorchEncodec
from tests.models.parity import note
from weights import Checkpoint, synthetic
from weights.export import export

TOLERANCE = 1e-5
"""Of audio whose standard deviation is 0.16."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    synthetic.write("small", folder, layers=1)
    return folder / "musicgen"


@pytest.fixture(scope="module")
def reference(checkpoint: Path) -> TorchEncodec:
    return TorchEncodec(checkpoint)


@pytest.fixture(scope="module", params=["float32", "int8"])
def precision(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def codec(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory, precision: str) -> Encodec:
    path = tmp_path_factory.mktemp("codec") / "codec.safetensors"
    write(path, *export("encodec", Checkpoint(checkpoint), precision))
    return Encodec(Tensors(path))


def some_codes(frames: int, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(frames).integers(0, 2048, (4 * channels, frames))


def some_audio(samples: int, kind: str) -> np.ndarray:
    """Samples in [-1, 1], [1, samples]."""
    draw, time = np.random.default_rng(samples), np.arange(samples) / 32000
    if kind == "noise":
        audio = 0.2 * draw.standard_normal(samples)
    elif kind == "chord":
        hertz, phase = np.array([[220.0], [277.2], [329.6]]), draw.uniform(0, 6, (3, 1))
        audio = 0.2 * np.sin(2 * np.pi * hertz * time + phase).sum(axis=0) * np.exp(-3 * (time % 0.5))
    else:
        audio = np.zeros(samples)
    return np.clip(audio, -1, 1).astype(np.float32)[None]


def decoded(model: torch.nn.Module, codes: np.ndarray) -> np.ndarray:
    """Audio [n] by transformers, of codes [4, frames]."""
    with torch.inference_mode():
        return model.decode(torch.tensor(codes)[None, None], [None]).audio_values[0, 0].numpy()


def test_the_config_says_what_the_reference_takes_from_it(codec: Encodec, reference: TorchEncodec) -> None:
    for name in ("sample_rate", "hop", "codebooks", "codebook_size"):
        assert getattr(codec, name) == getattr(reference, name)


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 7, 50, 250])
def test_audio(codec: Encodec, reference: TorchEncodec, frames: int, precision: str) -> None:
    codes = some_codes(frames)
    expected, found = decoded(reference.model, codes), codec.decode(codes)[0]
    assert expected.std() > 0.05  # the comparison means something
    assert found.shape == expected.shape
    if frames == 250:
        note(f"EnCodec, {precision}", "sample of 5 s, max abs", np.abs(found - expected).max(), TOLERANCE)
    np.testing.assert_allclose(found, expected, atol=TOLERANCE, rtol=0)


def test_a_stream(codec: Encodec, reference: TorchEncodec) -> None:
    codes = some_codes(250)
    decoder = codec.decoder(1)
    parts = [decoder.push(part[None]) for part in np.split(codes, [1, 2, 10, 60, 61, 200], axis=1)]
    found = np.concatenate([*parts, decoder.finish()], axis=2)[0, 0]
    np.testing.assert_allclose(found, decoded(reference.model, codes), atol=TOLERANCE, rtol=0)


def test_stereo(codec: Encodec, reference: TorchEncodec) -> None:
    codes = some_codes(40, channels=2)
    left, right = decoded(reference.model, codes[::2]), decoded(reference.model, codes[1::2])
    np.testing.assert_allclose(codec.decode(codes), np.stack([left, right]), atol=TOLERANCE, rtol=0)
    assert np.abs(left - right).max() > 0.05
    np.testing.assert_allclose(reference.decode(codes), np.stack([left, right]), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("kind", ["noise", "chord", "silence"])
@pytest.mark.parametrize("samples", [1, 639, 640, 641, 5000, 32_000 * 12 + 7])
def test_codes(codec: Encodec, reference: TorchEncodec, samples: int, kind: str, precision: str) -> None:
    audio = some_audio(samples, kind)
    with torch.inference_mode():
        expected = reference.model.encode(torch.tensor(audio)[None], bandwidth=2.2).audio_codes[0, 0].numpy()
    found = codec.encode(audio)
    assert found.shape == expected.shape
    # Entries may be as near as rounding; all codes that follow in the frame differ then, too.
    same = (found == expected).all(axis=0)
    if samples > 32_000:
        note(f"EnCodec, {precision}", f"share of frames with another code, {kind}", 1 - same.mean(), 0.005)
    assert same.mean() >= 0.995


def test_stereo_codes(codec: Encodec, reference: TorchEncodec) -> None:
    audio = np.concatenate([some_audio(9999, "noise"), some_audio(9999, "chord")])
    found = codec.encode(audio)
    for channel in range(2):
        np.testing.assert_array_equal(found[channel::2], codec.encode(audio[channel : channel + 1]))
    np.testing.assert_array_equal(found, reference.encode(audio))


@pytest.mark.parametrize("part", ["decoder.layers.0", "decoder.layers.3", "decoder.layers.13.block.3"])
def test_a_slightly_wrong_network_is_noticed(
    checkpoint: Path, reference: TorchEncodec, tmp_path: Path, part: str
) -> None:
    """One weight of 50 million, off by a hundredth of the largest, is more than the tolerance allows."""
    tensors, metadata = export("encodec", Checkpoint(checkpoint), "float32")
    weight = tensors[f"{part}.weight"]
    assert isinstance(weight, Weight)
    weight.data[0, 5, 3] += 0.01 * np.abs(weight.data).max()
    write(tmp_path / "codec.safetensors", tensors, metadata)
    codes = some_codes(20)
    found = Encodec(Tensors(tmp_path / "codec.safetensors")).decode(codes)[0]
    assert np.abs(found - decoded(reference.model, codes)).max() > TOLERANCE
