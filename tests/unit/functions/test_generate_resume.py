"""Generations that take longer than one invocation: split, killed, cancelled, and always the same music."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import soundfile

from backend.records import LEASE_SECONDS, Audio, Generation
from backend.storage import generated_key, pack, parse_generated_key
from music import resume
from music.interfaces import Identity
from music.loading import Profile, load
from music.musicgen.generator import MusicGen
from music.musicgen.networks import Condition
from tests.support.networks import FakeCodec, FakeLanguage, FakeState, FakeText, FakeTokenizer
from tests.support.stack import Context, Stack, fake_models, sqs_event


class Died(BaseException):
    """The process is gone: nobody catches this."""


class Slow(FakeLanguage):
    """Takes a second of its function's time for each step, and dies when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.context = Context()
        self.dies_in: int | None = None

    def start(self, conditions: Sequence[Condition], capacity: int) -> FakeState:
        state = super().start(conditions, capacity)
        advance = state.advance

        def slowly(codes: np.ndarray) -> np.ndarray:
            if self.dies_in is not None:
                if self.dies_in == 0:
                    raise Died
                self.dies_in -= 1
            self.context.left -= 1.0
            return advance(codes)

        state.advance = slowly  # type: ignore[method-assign]
        return state


@pytest.fixture
def language() -> Slow:
    return Slow()


@pytest.fixture
def app(stack: Stack, language: Slow, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The function, with a MusicGen that is all arithmetic."""
    app = stack.app("generate")
    generator = MusicGen(
        "musicgen-fake", language, FakeTokenizer(), FakeText(), FakeCodec(), license="CC-BY-NC-4.0",
        identity=Identity("fake/musicgen", "abc", "1", "float32"), machine="arithmetic",
    )  # fmt: skip
    profile = Profile("builtin", load("builtin").embedder, generator)
    monkeypatch.setattr(app, "profile", lambda: profile)
    return app


@pytest.fixture
def source(stack: Stack, app: Any, monkeypatch: pytest.MonkeyPatch) -> Audio:
    """An audio that is ready: two seconds of a chord."""
    t = np.arange(2 * 32000) / 32000
    file = io.BytesIO()
    soundfile.write(
        file, 0.1 * np.sin(2 * np.pi * 440 * t) + 0.1 * np.sin(2 * np.pi * 550 * t), 32000, format="WAV"
    )
    audio = stack.audio()
    stack.upload(audio, file.getvalue())
    with monkeypatch.context() as patch:
        fake_models(stack, patch)
        assert stack.deliver(stack.app("embed"), {"tenant": "default", "audio_id": audio.id}) == []
    return audio


def run(app: Any, generation: Generation, language: Slow, left: float) -> bool:
    """One invocation; whether its message is to come again."""
    language.context = Context(left)
    body = {"tenant": "default", "generation_id": generation.id, "correlation_id": "corr"}
    answer = app.handler(sqs_event(body), language.context)
    return bool(answer["batchItemFailures"])


def submit(stack: Stack, source: Audio, **changed: Any) -> Generation:
    asked = {"seed": 7, "duration": 1.0, "top_k": 20, "candidates": 2, "format": "wav", **changed}
    return stack.submit(source, **asked)


def content(stack: Stack, generation: Generation) -> bytes:
    found: bytes = stack.s3.get_object(
        Bucket="music", Key=generated_key("default", generation.id, "wav")
    )["Body"].read()  # fmt: skip
    return found


def snapshots(stack: Stack, generation: Generation) -> list[str]:
    return [key for key in stack.objects() if key.startswith(f"generated/default/{generation.id}/")]


def test_what_does_not_fit_is_split_and_gives_the_same_file(
    stack: Stack, app: Any, source: Audio, language: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    postponed: list[float] = []
    monkeypatch.setattr(app.queues, "set_visibility", lambda url, receipt, seconds: postponed.append(seconds))
    whole = submit(stack, source)
    assert not run(app, whole, language, left=600.0)
    split, invocations = submit(stack, source), 1
    while run(app, split, language, left=50.0 if invocations < 4 else 600.0):
        invocations += 1
        current = stack.get_generation(split)
        assert (current.status, current.error) == ("queued", None)
        assert current.tries == 0  # no try is used up
        (kept,) = snapshots(stack, split)  # the last one alone
        assert parse_generated_key(kept) == ("default", split.id)
    assert invocations == 4
    assert postponed == [0.0] * 3
    done = stack.get_generation(split)
    assert (done.status, done.attempt, done.tries) == ("succeeded", 4, 1)
    assert content(stack, split) == content(stack, whole)
    assert not snapshots(stack, split)
    assert done.result
    assert done.result["details"]["resumed"] == 3
    assert done.result["details"]["machine"] == "arithmetic"
    assert done.result["faults"] == []
    assert stack.published[-1]["status"] == "succeeded"
    assert sum(event["id"] == split.id for event in stack.published) == 1


def test_more_invocations_than_tries_are_no_failure(
    stack: Stack, app: Any, source: Audio, language: Slow
) -> None:
    generation, invocations = submit(stack, source, candidates=1), 0
    while run(app, generation, language, left=33.0 if invocations < 12 else 600.0):
        invocations += 1
    assert invocations == 12
    assert stack.get_generation(generation).status == "succeeded"


@pytest.mark.parametrize("step", [0, 1, 17, 40, 52])
def test_a_worker_that_dies_is_gone_on_from(
    step: int, stack: Stack, app: Any, source: Audio, language: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "SAVE_SECONDS", 0.0)
    whole = submit(stack, source)
    assert not run(app, whole, language, left=600.0)
    killed = submit(stack, source)
    language.dies_in = step
    with pytest.raises(Died):
        run(app, killed, language, left=600.0)
    assert len(snapshots(stack, killed)) == (1 if step else 0)
    language.dies_in = None
    stack.clock.now += LEASE_SECONDS + 1
    assert stack.sweep()["requeued"] == 1
    language.calls.clear()
    assert not run(app, killed, language, left=600.0)
    assert content(stack, killed) == content(stack, whole)
    assert not snapshots(stack, killed)
    assert len(language.calls) == 53 - step  # what was kept is not made again
    assert stack.get_generation(killed).tries == 2


def test_a_split_generation_that_is_cancelled_leaves_nothing(
    stack: Stack, app: Any, source: Audio, language: Slow
) -> None:
    generation = submit(stack, source)
    assert run(app, generation, language, left=50.0)
    assert snapshots(stack, generation)
    stack.records.cancel_generation("default", generation.id)
    assert not run(app, generation, language, left=600.0)
    assert not [key for key in stack.objects() if generation.id in key]


def test_one_that_is_deleted_meanwhile_leaves_nothing(
    stack: Stack, app: Any, source: Audio, language: Slow
) -> None:
    generation = submit(stack, source)
    assert run(app, generation, language, left=50.0)
    stack.records.bury(stack.get_generation(generation))
    stack.clock.now += 3600
    stack.sweep()
    assert not [key for key in stack.objects() if generation.id in key]


def test_one_that_is_cancelled_while_it_runs_stops_and_leaves_nothing(
    stack: Stack, app: Any, source: Audio, language: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled at the moment when it is split."""
    generation = submit(stack, source)
    save = app.GenerationSnapshots.save

    def cancelled(self: Any, data: bytes, step: int) -> None:
        save(self, data, step)
        stack.records.cancel_generation("default", generation.id)

    monkeypatch.setattr(app.GenerationSnapshots, "save", cancelled)
    assert not run(app, generation, language, left=50.0)
    assert stack.get_generation(generation).status == "cancelled"
    assert not [key for key in stack.objects() if generation.id in key]


def test_a_snapshot_that_cannot_be_read_is_made_again(
    stack: Stack, app: Any, source: Audio, language: Slow
) -> None:
    whole, split = submit(stack, source), submit(stack, source)
    assert not run(app, whole, language, left=600.0)
    assert run(app, split, language, left=50.0)
    (key,) = snapshots(stack, split)
    stack.s3.put_object(Bucket="music", Key=key, Body=b"damaged")
    assert not run(app, split, language, left=600.0)
    assert content(stack, split) == content(stack, whole)
    assert not snapshots(stack, split)


def test_a_result_that_is_there_already_needs_no_snapshot(
    stack: Stack, app: Any, source: Audio, language: Slow
) -> None:
    generation = submit(stack, source)
    assert run(app, generation, language, left=50.0)
    app.storage.put(
        generated_key("default", generation.id, "wav"), b"earlier", "audio/wav",
        metadata={"result": pack({"run": "earlier"})},
    )  # fmt: skip
    assert not run(app, generation, language, left=600.0)
    assert content(stack, generation) == b"earlier"
    assert not snapshots(stack, generation)


def test_logits_that_are_never_finite_fail_with_the_step(
    stack: Stack, app: Any, source: Audio, language: Slow
) -> None:
    language.broken = (0, 5)
    generation = submit(stack, source, candidates=1)
    assert not run(app, generation, language, left=600.0)
    failed = stack.get_generation(generation)
    assert failed.status == "failed"
    assert failed.error
    assert failed.error["code"] == "nothing_made"
    assert "step 4" in failed.error["detail"]
    assert not snapshots(stack, generation)
