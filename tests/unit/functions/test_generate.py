"""The generate function: one result per generation, whatever happens on the way."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from backend.jobs import MAX_ATTEMPTS
from backend.records import LEASE_SECONDS, MIN_RECORD_BYTES, Audio, Generation, Limits
from backend.storage import generated_key, pack, unpack
from music.audio import AudioError
from music.interfaces import Parameters
from music.profiles import ProfileError
from tests.support.stack import Stack, fake_models


@pytest.fixture
def app(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Any:
    fake_models(stack, monkeypatch)
    return stack.app("generate")


@pytest.fixture
def source(stack: Stack, app: Any) -> Audio:
    """An audio that is ready."""
    return stack.embedded()


def run(stack: Stack, app: Any, generation: Generation) -> list[str]:
    body = {"tenant": "default", "generation_id": generation.id, "correlation_id": "corr"}
    return stack.deliver(app, body)


def failed(stack: Stack, generation: Generation) -> str:
    """The code with which a generation has failed."""
    current = stack.get_generation(generation)
    assert current.status == "failed"
    assert current.error
    code: str = current.error["code"]
    return code


def test_a_result(stack: Stack, app: Any, source: Audio) -> None:
    generation = stack.submit(source, format="flac", temperature=0.5)
    assert run(stack, app, generation) == []
    done = stack.get_generation(generation)
    assert (done.status, done.progress, done.error) == ("succeeded", 1.0, None)
    assert done.result
    assert done.result["run"] == "0"
    assert (done.result["format"], done.result["bytes"]) == ("flac", 1)
    assert done.result["parameters"]["temperature"] == 0.5
    assert done.result["parameters"]["seed"] == 7
    stored = stack.s3.get_object(Bucket="music", Key=generated_key("default", generation.id, "flac"))
    assert stored["Body"].read() == b"0"
    assert stored["ContentType"] == "audio/wav"
    assert stack.published[-1]["status"] == "succeeded"


def test_no_reader_sees_a_result_whose_bytes_are_not_counted(
    stack: Stack, app: Any, source: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = SimpleNamespace(
        audio=bytes(100_000), content_type="audio/wav", report={"candidates": [{"seed": 7}]}
    )
    monkeypatch.setattr(app, "generate", lambda *arguments, **options: made)
    limits = Limits(unfinished=10, worker_seconds_per_day=1000, stored_bytes=10**6)
    generation = stack.submit(source, format="wav", limits=limits)
    seen: list[tuple[str, int]] = []

    def read(**_: Any) -> None:
        """Read between any two requests of the function."""
        status = stack.get_generation(generation).status
        seen.append((status, stack.records.usage.stored("default")))

    requests = app.records.items.table.meta.client.meta.events
    requests.register("after-call", read)
    try:
        assert run(stack, app, generation) == []
    finally:
        requests.unregister("after-call", read)
    assert ("running", MIN_RECORD_BYTES) in seen
    assert {count for status, count in seen if status == "succeeded"} == {100_000}


def test_what_the_model_gets(stack: Stack, app: Any, source: Audio, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def generate(
        path: Any, profile: Any, parameters: Any, vector: Any, features: Any, progress: Any, **more: Any
    ) -> Any:
        given.update(
            tags=more["tags"],
            sound=path.read_bytes(),
            parameters=parameters,
            vector=vector,
            features=features,
        )
        progress(0.5)
        return SimpleNamespace(audio=b"x", content_type="audio/wav", report={"candidates": [{}]})

    monkeypatch.setattr(app, "generate", generate)
    run(stack, app, stack.submit(source, seed=11, duration=9.0, top_k=5))
    assert given["sound"] == b"sound"
    assert given["parameters"] == Parameters(seed=11, duration=9.0, top_k=5)
    assert given["vector"].shape == (512,)
    assert given["features"].tempo == 120.0
    assert given["tags"] == ["fast", "jazz"]


def test_how_fast_it_was_is_noted_once(stack: Stack, app: Any, source: Audio) -> None:
    generation = stack.submit(source)
    assert run(stack, app, generation) == []
    assert run(stack, app, generation) == []
    speed = stack.records.speeds.read("builtin")
    assert speed
    assert speed.measured_jobs == 1
    assert speed.music_seconds_per_second > 0


def test_without_a_seed_every_attempt_has_the_same(stack: Stack, app: Any, source: Audio) -> None:
    first, second = stack.submit(source, seed=None), stack.submit(source, seed=None)
    seeds = [app.parameters_of(generation).seed for generation in (first, first, second)]
    assert seeds[0] == seeds[1] != seeds[2]
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_an_object_of_an_earlier_attempt_is_adopted(stack: Stack, app: Any, source: Audio) -> None:
    generation = stack.submit(source, format="wav")
    app.storage.put(
        generated_key("default", generation.id, "wav"), b"earlier", "audio/wav",
        metadata={"result": pack({"run": "earlier"})},
    )  # fmt: skip
    assert run(stack, app, generation) == []
    result = stack.get_generation(generation).result
    assert result
    assert (result["run"], result["bytes"]) == ("earlier", 7)


def test_the_faster_of_two_attempts_wins(
    stack: Stack, app: Any, source: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation = stack.submit(source, format="wav")
    make = app.generate

    def overtaken(*arguments: Any, **keywords: Any) -> Any:
        app.storage.put(
            generated_key("default", generation.id, "wav"), b"faster", "audio/wav",
            metadata={"result": pack({"run": "faster"})},
        )  # fmt: skip
        return make(*arguments, **keywords)

    monkeypatch.setattr(app, "generate", overtaken)
    assert run(stack, app, generation) == []
    result = stack.get_generation(generation).result
    assert result
    assert result["run"] == "faster"
    stored = stack.s3.get_object(Bucket="music", Key=generated_key("default", generation.id, "wav"))
    assert stored["Body"].read() == b"faster"


@pytest.mark.parametrize("end", ["cancelled", "deleted"])
def test_what_is_cancelled_while_it_runs_leaves_nothing(
    end: str, stack: Stack, app: Any, source: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation = stack.submit(source, format="wav")
    make = app.generate

    def meanwhile(*arguments: Any, **keywords: Any) -> Any:
        if end == "cancelled":
            stack.records.cancel_generation("default", generation.id)
        else:
            stack.records.bury(stack.get_generation(generation))
        return make(*arguments, **keywords)

    monkeypatch.setattr(app, "generate", meanwhile)
    assert run(stack, app, generation) == []
    assert stack.get_generation(generation).status == end
    assert not [key for key in stack.objects() if generation.id in key]
    assert run(stack, app, generation) == []
    assert stack.get_generation(generation).status == end


def test_a_cancelled_generation_is_not_begun(stack: Stack, app: Any, source: Audio) -> None:
    generation = stack.submit(source)
    stack.records.cancel_generation("default", generation.id)
    assert run(stack, app, generation) == []
    assert stack.get_generation(generation).attempt == 0


def test_a_waiting_generation_is_not_begun(stack: Stack, app: Any) -> None:
    audio = stack.audio()
    generation = stack.submit(audio)
    assert run(stack, app, generation) == []
    assert stack.get_generation(generation).status == "waiting"


def test_sources_that_are_not_fit(
    stack: Stack, app: Any, source: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    deleted, stale, foreign, damaged, long = (stack.submit(source) for _ in range(5))

    def undecodable(*arguments: Any, **keywords: Any) -> None:
        raise AudioError("undecodable", "the file is damaged")

    with monkeypatch.context() as patch:
        patch.setattr(app, "generate", undecodable)
        assert run(stack, app, damaged) == []
        assert failed(stack, damaged) == "undecodable"
    with monkeypatch.context() as patch:
        patch.setattr(app, "Identity", lambda **parts: "another model's")
        assert run(stack, app, stale) == []
        assert failed(stack, stale) == "stale_embedding"
    with monkeypatch.context() as patch:
        patch.setattr(app, "settings", replace(app.settings, profile="small"))
        assert run(stack, app, foreign) == []
        assert failed(stack, foreign) == "unsupported_by_profile"
    with monkeypatch.context() as patch:  # asked for while another host was in force
        patch.setitem(app.profiles.LENGTHS["lambda"], "builtin", app.profiles.Length(4.0, 8.0))
        assert run(stack, app, long) == []
        assert failed(stack, long) == "unsupported_by_profile"
    stack.records.bury(stack.get_audio(source))
    assert run(stack, app, deleted) == []
    assert failed(stack, deleted) == "source_deleted"


def test_a_source_that_is_embedded_again_is_waited_for(stack: Stack, app: Any, source: Audio) -> None:
    generation = stack.submit(source)
    stack.records.embed_again("default", source.id)
    assert run(stack, app, generation) == ["0"]
    assert stack.get_generation(generation).status == "queued"
    stack.deliver(stack.app("embed"), {"tenant": "default", "audio_id": source.id})
    assert run(stack, app, generation) == []
    assert stack.get_generation(generation).status == "succeeded"


def test_the_file_that_was_embedded_and_no_other(
    stack: Stack, app: Any, source: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation = stack.submit(source)
    stack.upload(source, b"another sound")
    assert run(stack, app, generation) == ["0"]
    current = stack.get_generation(generation)
    assert current.error
    assert current.error["code"] == "source_changed"
    stack.s3.delete_object(Bucket="music", Key=f"uploads/default/{source.id}")
    assert run(stack, app, generation) == []
    assert failed(stack, generation) == "source_missing"


def test_a_report_with_everything_fits_into_metadata(app: Any) -> None:
    """Eight candidates with long seeds and scores, all timings, long names."""
    scores = {"embedding": 0.123456, "chroma": 0.654321, "tempo": 0.987654}
    report = {
        "engine": "musicgen",
        "model": "facebook/musicgen-stereo-melody-large",
        "revision": "0123456789abcdef0123456789abcdef01234567",
        "precision": "dynamic-int8",
        "license": "CC-BY-NC-4.0",
        "seed": 2**64 - 1,
        "similarity": scores,
        "candidates": [
            {
                "seed": 2**63 + 7919**index,
                "similarity": {
                    name: round((score * (index + 1.37)) % 1, 6) for name, score in scores.items()
                },
            }
            for index in range(8)
        ]
        + [{"seed": 2**32 - index, "faults": ["silent", "silent_edge"]} for index in range(4)],
        "faults": [],
        "loudness": {"integrated": -14.03, "true_peak": -1.2, "target": -14.0, "limited": True},
        "duration": 300.0,
        "sample_rate": 32000,
        "channels": 2,
        "timings": dict.fromkeys(("decode", "generate", "master", "score", "encode"), 123.456),
        "details": {
            "steps": 15048,
            "steps_per_second": 39.87,
            "resumed": 3,
            "machine": "engine x86_64-v3, 2 threads then engine x86_64-v4, 2 threads",
            "description": "keywords: medium, minor, percussive, electronic, energetic, synthesizer, drums. "
            "bpm: 128. key: F# minor",
        },
    }
    packed = pack(report)
    assert len(packed) < 2000
    assert packed.isascii()
    assert unpack(packed) == report


def test_a_generation_that_is_given_up_leaves_nothing(stack: Stack, app: Any, source: Audio) -> None:
    generation = stack.submit(source, format="wav")
    for _ in range(MAX_ATTEMPTS):  # each dies, the last one after its object is written
        stack.records.claim_generation("default", generation.id)
        stack.clock.now += LEASE_SECONDS + 1
    key = generated_key("default", generation.id, "wav")
    app.storage.put(key, b"last", "audio/wav", metadata={"result": pack({"run": "last"})})
    assert run(stack, app, generation) == []
    assert stack.get_generation(generation).status == "failed"
    assert key not in stack.objects()


def test_a_late_writer_leaves_nothing_of_a_failed_generation(
    stack: Stack, app: Any, source: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation = stack.submit(source, format="wav")
    make = app.generate

    def meanwhile(*arguments: Any, **keywords: Any) -> Any:
        stack.records.fail_generation(stack.get_generation(generation), "interrupted", "by another worker")
        return make(*arguments, **keywords)

    monkeypatch.setattr(app, "generate", meanwhile)
    assert run(stack, app, generation) == []
    assert stack.get_generation(generation).status == "failed"
    assert generated_key("default", generation.id, "wav") not in stack.objects()


def test_what_the_profile_cannot_do_fails_at_once(
    stack: Stack, app: Any, source: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **keywords: Any) -> Any:
        raise ProfileError("profile builtin does not know mode 'melody'")

    monkeypatch.setattr(app, "generate", refuse)
    generation = stack.submit(source, mode="melody")
    assert run(stack, app, generation) == []
    error = stack.get_generation(generation).error
    assert error
    assert error["code"] == "unsupported_by_profile"
