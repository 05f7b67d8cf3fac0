"""Our language model on torch against transformers: logits, streams side by side, and whole generations."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from music.musicgen import delay, sampling
from music.musicgen.decoding import Decoding, Steps, blank, plan
from music.musicgen.networks import Condition
from music.musicgen.sampling import Sampling
from music.resume import Take
from music.torch import checkpoint
from music.torch.encodec import Encodec
from music.torch.language import Network, Slots
from music.torch.musicgen import T5, MusicGen
from music.torch.sampling import draw
from tests.support import published
from weights import synthetic

IDS = [5, 9, 33, 7, 88, 21, 1]
FRAMES = 60
GREEDY = Sampling(temperature=0.0)
WARM = Sampling(temperature=1.0, top_k=50)


@dataclass
class Pair:
    """A small random checkpoint, in transformers and in ours."""

    folder: Path
    theirs: Any
    network: Network
    text: np.ndarray

    def condition(self, seed: int = 1) -> Condition:
        """A text, and a melody where the model takes one."""
        if not self.network.shape.chroma:
            return Condition(self.text[: len(self.text) - seed % 3])
        chroma = np.eye(12, dtype=np.float32)[np.random.default_rng(seed).integers(0, 12, 235)]
        return Condition(self.text, chroma)


@pytest.fixture(scope="module", params=["tiny", "tiny-stereo", "tiny-melody", "tiny-melody of 12 tokens"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    profile, _, length = request.param.removesuffix(" tokens").partition(" of ")
    folder: Path = tmp_path_factory.mktemp(profile)
    synthetic.write(profile, folder)
    folder /= "musicgen"
    if length:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        (folder / "config.json").write_text(json.dumps(config | {"text_length": int(length)}), "utf-8")
    theirs = published.load(folder)
    return Pair(folder, theirs, Network(folder, "cpu", torch.float32), published.T5(theirs).encode(IDS))


def codes(pair: Pair, frames: int, seed: int = 0) -> np.ndarray:
    """A prompt [codebooks, frames], and room for as much again."""
    shape = pair.network.shape
    made = np.full((shape.codebooks, 2 * frames), delay.UNKNOWN, np.int16)
    made[:, :frames] = np.random.default_rng(seed).integers(0, shape.vocabulary, (shape.codebooks, frames))
    return made


def joined(slots: Slots, pair: Pair, frames: int, seed: int, sampling: Sampling = GREEDY) -> int:
    numbers = np.random.default_rng(seed).random((frames + 3, pair.network.shape.codebooks))
    both = pair.condition(seed), Condition(None)
    return slots.join(codes(pair, frames, seed), frames + 1, both, sampling, numbers)


@torch.inference_mode()
def test_logits_are_those_of_transformers_after_a_prompt_and_after_steps(pair: Pair) -> None:
    slots = Slots(pair.network, 2, FRAMES, 16)
    joined(slots, pair, 20, 1)
    position = 21
    for steps in (0, 1, 15):
        slots.step(steps)
        made, position = slots.codes()[0][0], position + steps
        inputs = delay.spread(made, 0, position, 40, pair.network.shape.vocabulary)
        state = published.MusicGen(pair.theirs).start([pair.condition(1), Condition(None)], FRAMES)
        expected = state.advance(np.stack([inputs, inputs]))
        assert np.abs(slots.logits().numpy() - expected).max() < 1e-4


@pytest.mark.parametrize("chosen", [GREEDY, WARM, Sampling(guidance_scale=1.0), Sampling(top_k=0, top_p=0.8)])
def test_generations_are_those_of_the_loop_on_the_host(pair: Pair, chosen: Sampling) -> None:
    """Transformers' logits, and the tokens drawn by NumPy: the same codes, window by window."""
    language = MusicGen(pair.network, 2**28, 16)
    books = language.codebooks
    prompt = np.random.default_rng(4).integers(0, language.vocabulary, (books, 10))

    def made(decode: Callable[..., Steps]) -> list[np.ndarray]:
        takes = [blank(seed, books, 50, prompt) for seed in (1, 2**40)]
        decoding = decode(plan(50, 10, 30, 18), lambda window: pair.condition(), chosen, takes)
        while decoding.step < decoding.steps:
            decoding.advance()
        return [take.codes for take in takes]

    host = made(partial(Decoding, published.MusicGen(pair.theirs)))
    device = made(partial(language.decode, against=Condition(None)))
    assert all(np.array_equal(*both) for both in zip(host, device, strict=True))
    assert np.array_equal(device[0], device[1]) == (chosen.temperature == 0)


@torch.inference_mode()
def test_a_row_does_not_care_who_shares_the_batch(pair: Pair) -> None:
    """They join and leave at any time; the logits stay within 1e-4, and the codes the same."""
    alone = Slots(pair.network, 1, FRAMES, 16)
    joined(alone, pair, 20, 1, WARM)
    shared = Slots(pair.network, 4, FRAMES, 16)
    joined(shared, pair, 5, 2, GREEDY)
    shared.step(3)
    joined(shared, pair, 10, 3, WARM)
    slot = joined(shared, pair, 20, 1, WARM)
    for change in ("", "leave", "join"):
        if change == "leave":
            moved = shared.leave(0)
            assert moved == slot
            slot = 0
        if change == "join":
            joined(shared, pair, 20, 4, GREEDY)
        rows = slice(2 * slot, 2 * slot + 2)
        assert (shared.logits()[rows] - alone.logits()).abs().max() < 1e-4
        alone.step(5)
        shared.step(5)
        assert np.array_equal(shared.codes()[0][slot], alone.codes()[0][0])


def test_an_interrupted_generation_ends_with_the_same_codes(pair: Pair) -> None:
    language = MusicGen(pair.network, 2**28, 16)

    def decoded(take: Take, until: int | None = None) -> Take:
        decoding = language.decode(
            plan(80, 0, 60, 40), lambda window: pair.condition(), WARM, [take], Condition(None)
        )
        while decoding.step < (until or decoding.steps):
            decoding.advance()
        decoding.close()
        return take

    whole = decoded(blank(7, language.codebooks, 80))
    cut = decoded(blank(7, language.codebooks, 80), until=30)
    assert 30 <= cut.step < whole.step
    assert np.array_equal(decoded(cut).codes, whole.codes)


def test_generations_of_several_threads_share_the_batch_and_more_than_fit_wait(pair: Pair) -> None:
    language = MusicGen(pair.network, 2 * Slots.bytes_of_each(pair.network, 1500, 16), 16)
    assert language.streams == 2
    found: dict[int, np.ndarray] = {}
    together: set[int] = set()

    def make(seed: int, frames: int) -> None:
        takes = [blank(seed + more, language.codebooks, frames) for more in range(2)]
        decoding = language.decode(
            plan(frames, 0, 1500, 900), lambda window: pair.condition(), WARM, takes, Condition(None)
        )
        while decoding.step < decoding.steps:
            decoding.advance()
        together.update(int(count) for count in decoding.details["batch"].split(", "))
        found.update({take.seed: take.codes for take in takes})

    for seed, frames in ((1, 40), (3, 60), (5, 30)):
        make(seed, frames)
    alone, found = found, {}
    threads = [threading.Thread(target=make, args=job) for job in ((1, 40), (3, 60), (5, 30))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) == {1, 2, 3, 4, 5, 6}
    assert all(np.array_equal(found[seed], alone[seed]) for seed in found)
    assert together <= {1, 2}


@torch.inference_mode()
def test_logits_that_are_not_finite_end_one_stream_and_no_other(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    language = MusicGen(pair.network, 2**28, 16)
    forward = Slots._forward

    def broken(self: Slots, slots: int, *more: Any) -> torch.Tensor:
        logits = forward(self, slots, *more)
        bad = (self._position[:slots] == 12) & (self._scale[:slots] == 5.0)
        logits[bad.repeat_interleave(2)] = float("nan")
        return logits

    monkeypatch.setattr(Slots, "_forward", broken)
    decodings, every = [], []
    for scale in (5.0, 3.0):
        takes = [blank(1, language.codebooks, 40)]
        every += takes
        decodings.append(
            language.decode(
                plan(40, 0, 1500, 900),
                lambda window: pair.condition(),
                Sampling(guidance_scale=scale),
                takes,
                Condition(None),
            )
        )
    decodings[0].advance()
    assert every[0].failed == 11
    assert decodings[0].failed
    while decodings[1].step < decodings[1].steps:
        decodings[1].advance()
    assert every[1].failed is None
    assert (every[1].codes != delay.UNKNOWN).all()


def test_who_waits_hears_that_the_device_failed(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    language = MusicGen(pair.network, 2**28, 16)

    def fail(*given: Any) -> None:
        raise RuntimeError("out of memory")

    def decoding() -> Steps:
        take = blank(1, language.codebooks, 40)
        return language.decode(
            plan(40, 0, 1500, 900), lambda window: pair.condition(), WARM, [take], Condition(None)
        )

    with monkeypatch.context() as patch:
        patch.setattr(Slots, "step", fail)
        with pytest.raises(RuntimeError, match="failed on its device") as raised:
            decoding().advance()
        assert "out of memory" in str(raised.value.__cause__)
    decoding().advance()  # and the next one begins anew


@pytest.mark.parametrize(
    "chosen", [WARM, Sampling(0.5, 10, 0.7), Sampling(1.5, 0, 0.0), GREEDY, Sampling(1, 1)]
)
def test_tokens_are_drawn_as_numpy_draws_them(chosen: Sampling) -> None:
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((40, 4, 300)).astype(np.float32)
    logits[:, 0] = np.round(logits[:, 0])  # many are as likely as the last one that is kept
    expected, numbers = [], []
    for row, one in enumerate(logits):
        expected.append(sampling.draw(one, chosen, sampling.stream(row)))
        numbers.append(sampling.stream(row).random(4))
    streams = (len(logits), 1)
    found = draw(
        torch.from_numpy(logits),
        torch.full(streams, chosen.temperature, dtype=torch.float64),
        torch.full(streams, chosen.top_k or 300),
        torch.full(streams, chosen.top_p or 2.0, dtype=torch.float64),
        torch.from_numpy(np.stack(numbers)),
    )
    assert np.array_equal(found.numpy(), np.stack(expected))


def test_bfloat16_costs_little(pair: Pair) -> None:
    both = []
    for dtype in (torch.float32, torch.bfloat16):
        network = Network(pair.folder, "cpu", dtype)
        slots = Slots(network, 1, FRAMES, 16)
        with torch.inference_mode():
            slots.join(
                codes(pair, 20),
                21,
                (pair.condition(), Condition(None)),
                GREEDY,
                np.zeros((23, 8))[:, : network.shape.codebooks],
            )
            both.append(slots.logits().numpy())
    error = np.sqrt(np.mean((both[1] - both[0]) ** 2) / np.mean(both[0] ** 2))
    assert 0 < error < 0.015


def test_a_text_is_encoded_as_in_the_whole_model(pair: Pair) -> None:
    assert np.array_equal(T5(pair.folder).encode(IDS), pair.text)


@pytest.mark.parametrize("pushes", [[1] * 23, [23], [2, 15, 6]])
def test_audio_that_is_decoded_in_parts_is_the_whole(pair: Pair, pushes: list[int]) -> None:
    codec = Encodec(pair.folder)
    channels = pair.network.shape.codebooks // codec.codebooks
    made = np.random.default_rng(0).integers(0, codec.codebook_size, (channels * codec.codebooks, 23))
    both = np.stack([made, made[:, ::-1]])
    decoder, parts, at = codec.decoder(channels, 2), [], 0
    for count in pushes:
        parts.append(decoder.push(both[..., at : at + count]))
        at += count
    parts.append(decoder.finish())
    for found, codes in zip(np.concatenate(parts, axis=2), both, strict=True):
        whole = codec.decode(codes)
        assert whole.shape == (channels, 23 * codec.hop)
        assert np.abs(found - whole).max() < 1e-5 * np.abs(whole).max()
    if len(pushes) > 1:
        assert sum(part.shape[2] for part in parts[:-1]) > 0  # it did not wait for the end


def test_a_checkpoint_that_lacks_a_tensor_is_refused_by_name(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(folder: Path, prefixes: Any) -> dict[str, torch.Tensor]:
        found = checkpoint.read(folder, prefixes)
        del found["decoder.model.decoder.layers.1.fc1.weight"]
        return found

    monkeypatch.setattr("music.torch.language.read", read)
    with pytest.raises(ValueError, match=r"layers\.1\.fc1\.weight.*missing"):
        Network(pair.folder, "cpu", torch.float32)
