"""The decode loop against transformers' own `generate`, greedy; and the chroma against its extractor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers.models.musicgen_melody.feature_extraction_musicgen_melody import (
    MusicgenMelodyFeatureExtractor,
)

from music.engine.packing import Tensors, write
from music.musicgen import melody
from music.musicgen.decoding import Decoding, blank, plan
from music.musicgen.networks import Condition, StepwiseModel
from music.musicgen.sampling import Sampling
from music.musicgen.transformer import MusicGen
from tests.support import published
from weights import Checkpoint, synthetic
from weights.export import export

IDS = [5, 9, 33, 7, 88, 21, 1]
FRAMES = 100
GREEDY = Sampling(temperature=0.0, guidance_scale=3.0)


@dataclass
class Pair:
    """A small random checkpoint in transformers, and on both of our runtimes."""

    model: Any
    ours: dict[str, StepwiseModel]


@pytest.fixture(scope="module", params=["tiny", "tiny-stereo", "tiny-melody"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder: Path = tmp_path_factory.mktemp(request.param)
    synthetic.write(request.param, folder)
    model = published.load(folder / "musicgen")
    write(folder / "packed", *export("musicgen", Checkpoint(folder / "musicgen"), "float32"))
    return Pair(
        model, {"engine": MusicGen(Tensors(folder / "packed")), "reference": published.MusicGen(model)}
    )


@torch.inference_mode()
def theirs(pair: Pair, frames: int, monkeypatch: pytest.MonkeyPatch, **inputs: Any) -> np.ndarray:
    """Codes that transformers' `generate` hands to the codec [codebooks, frames]."""
    seen: list[np.ndarray] = []
    codec = pair.model.audio_encoder
    decode = codec.decode

    def spy(codes: torch.Tensor, *more: Any, **options: Any) -> Any:
        seen.append(codes.reshape(-1, codes.shape[-1]).numpy().copy())
        return decode(codes, *more, **options)

    monkeypatch.setattr(codec, "decode", spy)
    pair.model.generate(
        input_ids=torch.tensor([IDS]), attention_mask=torch.ones(1, len(IDS), dtype=torch.long),
        do_sample=False, guidance_scale=GREEDY.guidance_scale, max_new_tokens=frames + 3, **inputs,
    )  # fmt: skip
    if len(seen) == 2:  # left and right, which our codes have in turn
        return np.stack(seen, axis=1).reshape(-1, seen[0].shape[-1])
    return seen[0]


def made(language: StepwiseModel, condition: Condition, frames: int, prompt: np.ndarray | None = None) -> Any:
    take = blank(1, language.codebooks, frames, prompt)
    windows = plan(frames, 0 if prompt is None else prompt.shape[1], 1500, 900)
    decoding = Decoding(language, windows, lambda window: condition, GREEDY, [take])
    while decoding.step < decoding.steps:
        decoding.advance()
    return take.codes


@pytest.mark.parametrize("runtime", ["engine", "reference"])
def test_the_loop_makes_the_codes_that_generate_makes(
    pair: Pair, runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    language = pair.ours[runtime]
    chroma = np.eye(12, dtype=np.float32)[np.random.default_rng(3).integers(0, 12, 235)]
    inputs = {"input_features": torch.from_numpy(chroma)[None]} if language.chroma else {}
    expected = theirs(pair, FRAMES, monkeypatch, **inputs)
    condition = Condition(published.T5(pair.model).encode(IDS), chroma if language.chroma else None)
    found = made(language, condition, FRAMES)
    assert found.shape == expected.shape
    assert np.array_equal(found, expected)


def test_a_prompt_of_codes_is_continued_alike(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers gives the prompt back first, and ours is where the caller put it."""
    language = pair.ours["engine"]
    if language.chroma:
        pytest.skip("transformers takes the audio of the melody model as a melody, never as a prompt")
    prompt = np.random.default_rng(4).integers(0, language.vocabulary, (language.codebooks, 40))
    pad = np.full((language.codebooks, 1), language.vocabulary)
    given = torch.from_numpy(np.concatenate([pad, prompt], axis=1))
    expected = theirs(pair, 60, monkeypatch, decoder_input_ids=given)
    found = made(language, Condition(published.T5(pair.model).encode(IDS)), 100, prompt)
    assert np.array_equal(found[:, :40], prompt)
    frames = min(expected.shape[1], found.shape[1])
    assert frames >= 97
    assert np.array_equal(found[:, :frames], expected[:, :frames])


@pytest.mark.parametrize("samples", [100, 16383, 16384, 50000, 960000])
def test_chroma_is_that_of_the_feature_extractor(samples: int) -> None:
    """Its own code, but for torchaudio's spectrogram, which torch's does as well."""
    from transformers.audio_utils import chroma_filter_bank

    theirs: Any = object.__new__(MusicgenMelodyFeatureExtractor)
    theirs.n_fft = melody.SIZE
    filters = chroma_filter_bank(num_frequency_bins=melody.SIZE, num_chroma=12, sampling_rate=32000, tuning=0)
    theirs.chroma_filters = torch.from_numpy(filters).float()
    window = torch.hann_window(melody.SIZE)
    theirs.spectrogram = lambda wave: (
        torch.stft(wave, melody.SIZE, melody.HOP, window=window, center=True, return_complex=True).abs() ** 2
        / window.pow(2).sum()
    )
    t = np.arange(samples) / 32000
    rng = np.random.default_rng(0)
    swell = [1 + np.sin(2 * np.pi * 0.3 * k * t) for k in range(1, 7)]
    pitches = (220.0, 277.2, 329.6, 440.0, 392.0, 523.3)
    wave = sum(level * np.sin(2 * np.pi * pitch * t) for level, pitch in zip(swell, pitches, strict=True))
    mono = (0.1 * wave + 0.05 * rng.standard_normal(samples)).astype(np.float32)
    expected = theirs._torch_extract_fbank_features(torch.from_numpy(mono)[None])[0].numpy()
    found = melody.chroma(mono)
    assert found.shape == expected.shape
    assert (found != expected).any(axis=1).mean() <= 0.01  # where two pitch classes are as strong
