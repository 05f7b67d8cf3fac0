"""MusicGen's text encoder and transformer on the engine against transformers.

The checkpoints are random, of the published size and layout, one at a time; medium and large have their full
width and two layers.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from music.engine.packing import Tensors, write
from music.musicgen.networks import Condition
from music.musicgen.t5 import T5
from music.musicgen.transformer import MusicGen
from tests.models.parity import note
from tests.support import published
from weights import Checkpoint, pack, synthetic
from weights.export import export

IDS = [5, 9, 33, 7, 88, 21, 1]
STEPS = 100
GUIDANCE = 3.0


@dataclass
class Pair:
    """One checkpoint, loaded by both."""

    name: str
    folder: Path
    model: Any
    t5: T5
    musicgen: MusicGen


def packed(folder: Path, precision: str) -> tuple[T5, MusicGen]:
    """Pack the networks of a checkpoint."""
    checkpoint, files = Checkpoint(folder / "musicgen"), []
    for network in ("t5", "musicgen"):
        files.append(folder / f"{network}.{precision}")
        write(files[-1], *export(network, checkpoint, precision))
    return T5(Tensors(files[0])), MusicGen(Tensors(files[1]))


# Whole where time allows; the widths of medium and large with two layers.
LAYERS = {"small": None, "stereo-small": None, "melody": None, "medium": 2, "large": 2}


@pytest.fixture(scope="module", params=LAYERS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp(request.param)
    synthetic.write(request.param, folder, layers=LAYERS[request.param])
    both = packed(folder, "float32")  # before transformers takes as much memory again
    name = f"{request.param}, {layers} layers" if (layers := LAYERS[request.param]) else request.param
    yield Pair(name, folder, published.load(folder / "musicgen"), *both)
    shutil.rmtree(folder)


def conditions(pair: Pair, seed: int = 1) -> list[Condition]:
    text = published.T5(pair.model).encode(IDS)
    if not pair.musicgen.prefix:
        return [Condition(text), Condition(None)]
    chroma = np.eye(12, dtype=np.float32)[np.random.default_rng(seed).integers(0, 12, 100)]
    return [Condition(text, chroma), Condition(None)]


def guided(logits: np.ndarray) -> np.ndarray:
    return logits[1] + GUIDANCE * (logits[0] - logits[1])


def test_text(pair: Pair) -> None:
    expected = published.T5(pair.model).encode(IDS)
    error = np.abs(pair.t5.encode(IDS) - expected).max() / expected.std()
    note(pair.name, "T5: largest error of hidden states, over their deviation", error, 1e-4)


def test_greedy_tokens_and_logits(pair: Pair) -> None:
    given = conditions(pair)
    theirs = published.MusicGen(pair.model).start(given, STEPS)
    states = {"float32": pair.musicgen.start(given, STEPS)}
    states["int8"] = packed(pair.folder, "int8")[1].start(given, STEPS)
    codes = np.full((2, 1, pair.musicgen.codebooks), pair.musicgen.vocabulary)
    worst, same, errors = 0.0, 0, []
    for _ in range(STEPS):
        expected = theirs.advance(codes)
        found = {name: state.advance(codes) for name, state in states.items()}
        worst = max(worst, float(np.abs(found["float32"] - expected).max()))
        same += int((guided(found["float32"]).argmax(-1) == guided(expected).argmax(-1)).all())
        errors.append(np.mean((found["int8"] - expected) ** 2) / np.mean(expected**2))
        codes = np.broadcast_to(guided(expected).argmax(-1), (2, 1, pair.musicgen.codebooks))
    note(pair.name, f"float32: largest error of logits, {STEPS} steps", worst, 1e-3)
    note(pair.name, f"float32: steps of {STEPS} with other greedy tokens", STEPS - same, 0)
    error = float(np.sqrt(np.mean(errors)))
    note(pair.name, "int8 (random weights): relative RMS error of logits", error, 0.03)


def test_a_prefill_continues_like_transformers(pair: Pair) -> None:
    """A prompt of audio: many positions at once, then steps."""
    given, books = conditions(pair), pair.musicgen.codebooks
    prompt = np.random.default_rng(3).integers(0, pair.musicgen.vocabulary, (1, 150, books)).repeat(2, axis=0)
    ours, theirs = pair.musicgen.start(given, 160), published.MusicGen(pair.model).start(given, 160)
    worst, codes = 0.0, prompt
    for _ in range(5):
        found, expected = ours.advance(codes), theirs.advance(codes)
        worst = max(worst, float(np.abs(found - expected).max()))
        codes = np.broadcast_to(guided(expected).argmax(-1), (2, 1, books))
    note(pair.name, "float32: largest error of logits after a prompt of 150 frames", worst, 1e-3)


def test_two_melodies_give_two_results(pair: Pair) -> None:
    if not pair.musicgen.prefix:
        pytest.skip("only the melody model takes one")
    codes = np.full((2, 1, 4), pair.musicgen.vocabulary)
    one, other = (pair.musicgen.start(conditions(pair, seed), 1).advance(codes) for seed in (1, 2))
    assert np.abs(one[0] - other[0]).max() > 0.01
    assert np.array_equal(one[1], other[1])  # the null condition has no melody


def test_a_text_that_is_filled_up_is_one_that_transformers_was_told_to_pad(tmp_path: Path) -> None:
    shutil.copytree(Path(pack.__file__).with_name("pocket") / "musicgen", tmp_path / "musicgen")
    t5, musicgen = packed(tmp_path, "float32")
    model: Any = published.load(tmp_path / "musicgen")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "musicgen")
    texts = ["keywords: slow, jazz. bpm: 80. key: A minor", "a fast techno track"]
    padded = tokenizer(texts, padding="max_length", return_tensors="pt")
    assert padded.input_ids.shape == (2, musicgen.text_length)
    rng = np.random.default_rng(1)
    codes = rng.integers(0, musicgen.vocabulary, (2, 20, musicgen.codebooks))
    notes = np.eye(12, dtype=np.float32)[rng.integers(0, 12, (2, 100))]
    with torch.inference_mode():
        expected = model(
            **padded,
            input_features=torch.from_numpy(notes),
            decoder_input_ids=torch.from_numpy(codes.transpose(0, 2, 1).reshape(-1, 20)),
        ).logits[:, -1]
    ids = [
        row[: int(length)].tolist()
        for row, length in zip(padded.input_ids, padded.attention_mask.sum(1), strict=True)
    ]
    given = [Condition(t5.encode(row), melody) for row, melody in zip(ids, notes, strict=True)]
    found = musicgen.start(given, 20).advance(codes)
    error = float(np.abs(found - expected.reshape(found.shape).numpy()).max())
    note("pocket", "float32: largest error of logits behind a padded text", error, 1e-3)
