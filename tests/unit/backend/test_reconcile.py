"""What no record that is due would tell: objects, vectors and records that lost each other."""

from __future__ import annotations

import time
from typing import Any

import pytest

from backend.reconcile import ORPHAN_SECONDS, REST_SECONDS
from backend.records import Audio, Generation, new_id
from backend.storage import analysis_key, candidate_key, generated_key, preview_key, upload_key
from tests.support.stack import Context, Stack, fake_models

DAY = 86400


@pytest.fixture(autouse=True)
def _models(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_models(stack, monkeypatch)
    stack.clock.now = time.time()  # what the bucket dates its objects by


@pytest.fixture
def audio(stack: Stack) -> Audio:
    """An embedded audio."""
    made = stack.audio()
    stack.upload(made)
    assert stack.deliver(stack.app("embed"), {"tenant": "default", "audio_id": made.id}) == []
    return stack.get_audio(made)


@pytest.fixture
def generation(stack: Stack, audio: Audio) -> Generation:
    """A finished generation."""
    made = stack.submit(audio, format="flac")
    assert stack.deliver(stack.app("generate"), {"tenant": "default", "generation_id": made.id}) == []
    return stack.get_generation(made)


def put(stack: Stack, key: str) -> None:
    stack.s3.put_object(Bucket="music", Key=key, Body=b"x")


def again(stack: Stack) -> dict[str, int]:
    """Sweep when there has been enough rest."""
    stack.clock.now += REST_SECONDS + 1
    return stack.sweep()


def embeds(stack: Stack) -> None:
    """Deliver what was sent to embed."""
    for body in stack.drain("embed"):
        assert stack.deliver(stack.app("embed"), body) == []


def test_what_belongs_together_is_left_alone(stack: Stack, audio: Audio, generation: Generation) -> None:
    for _ in range(3):
        assert stack.sweep() == {}
        stack.clock.now += DAY
    assert stack.get_audio(audio) == audio
    assert stack.get_generation(generation) == generation
    assert len(stack.objects()) == 7


def test_objects_of_nobody_are_deleted_after_a_day(stack: Stack, generation: Generation) -> None:
    orphans = [
        upload_key("default", new_id()),
        generated_key("default", new_id(), "mp3"),
        preview_key("default", new_id(), "0" * 16),
        analysis_key("default", generation.audio_id, "0" * 16),
        candidate_key("default", new_id(), 0, "flac"),
    ]
    for key in orphans:
        put(stack, key)
    assert again(stack) == {}
    stack.clock.now += ORPHAN_SECONDS + 60
    assert stack.sweep() == {"orphan_object": 5}
    assert not set(orphans) & set(stack.objects())
    assert len(stack.objects()) == 7
    assert again(stack) == {}


def test_objects_that_came_after_their_record_was_deleted_are_deleted(
    stack: Stack, audio: Audio, generation: Generation
) -> None:
    app = stack.app("sweeper")
    app.expire(audio, app.records, app.storage, app.vectors)
    stack.upload(audio)
    put(stack, generated_key("default", generation.id, "flac"))
    stack.clock.now += ORPHAN_SECONDS + 60
    assert stack.sweep() == {"orphan_object": 2}
    assert stack.objects() == []


def test_a_source_that_came_when_its_time_was_over_is_deleted(stack: Stack) -> None:
    late, broken, awaited = stack.audio(), stack.audio(), stack.audio()
    stack.records.fail_audio(late, "expired", "The file was not uploaded in time.")
    for audio in (late, broken, awaited):
        stack.upload(audio)
    noted = stack.records.mark_uploaded("default", broken.id, etag='"e"', size=5)
    stack.records.fail_audio(noted, "undecodable", "This is not audio.")
    stack.drain("embed")
    stack.clock.now += ORPHAN_SECONDS + 60
    assert stack.sweep()["orphan_object"] == 1
    # What is counted stays for as long as its record; what is awaited has come.
    assert set(stack.objects()) == {upload_key("default", audio.id) for audio in (broken, awaited)}


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_a_result_that_is_not_one_is_deleted(stack: Stack, audio: Audio, end: str) -> None:
    generation = stack.submit(audio, format="wav")
    if end == "failed":
        failed = stack.records.fail_generation(generation, "interrupted", "The worker died.")
        stack.records.event_sent(failed)
    else:
        stack.records.cancel_generation("default", generation.id)
    put(stack, generated_key("default", generation.id, "wav"))
    stack.clock.now += ORPHAN_SECONDS + 60
    assert stack.sweep() == {"orphan_object": 1}


def test_what_somebody_else_put_there_is_reported_and_left(stack: Stack) -> None:
    for key in ("notes.txt", "uploads/default/my song.mp3", f"generated/default/{new_id()}.exe"):
        put(stack, key)
    stack.clock.now += 2 * DAY
    assert stack.sweep() == {"unknown_object": 3}
    assert len(stack.objects()) == 3


def test_receipts_of_an_endpoint_are_left_alone(stack: Stack) -> None:
    put(stack, "receipts/done/0d9c.out")
    put(stack, "receipts/failed/0d9c-error.out")
    stack.clock.now += 2 * DAY
    assert stack.sweep() == {}
    assert len(stack.objects()) == 2


def test_vectors_of_nobody_are_deleted(stack: Stack, audio: Audio) -> None:
    vectors = stack.app("sweeper").vectors
    failed, gone = stack.audio(), stack.audio()
    stack.records.event_sent(stack.records.fail_audio(failed, "undecodable", "This is not audio.")[0])
    stack.records.purged(stack.records.bury(gone))
    for audio_id in (failed.id, gone.id, new_id()):
        vectors.put("default", audio_id, [1.0] + [0.0] * 511, "identity")
    assert stack.sweep() == {"orphan_vector": 3}
    assert stack.vectors() == [f"default/{audio.id}"]


def test_a_lost_vector_is_made_again(stack: Stack, audio: Audio) -> None:
    stack.app("sweeper").vectors.delete("default", audio.id)
    assert stack.sweep() == {"vector_missing": 1}
    embeds(stack)
    assert stack.vectors() == [f"default/{audio.id}"]
    assert stack.get_audio(audio).status == "ready"
    assert again(stack) == {}


def test_a_source_overwritten_after_its_embedding_is_reported_and_embedded(
    stack: Stack, audio: Audio, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    stack.upload(audio, b"another sound")
    stack.drain("embed")  # the bucket's event is lost
    assert stack.sweep() == {"source_overwritten": 1}
    (told,) = [line for line in caplog.records if line.message == "source_overwritten"]
    assert told.key == f"audio#default/{audio.id}"  # type: ignore[attr-defined]
    assert '"Sweep_source_overwritten":[1.0]' in capsys.readouterr().out  # the metric
    embeds(stack)
    current = stack.get_audio(audio)
    assert (current.status, current.size) == ("ready", len(b"another sound"))
    assert current.etag != audio.etag
    assert again(stack) == {}


def test_an_audio_whose_source_is_gone_says_so(stack: Stack, audio: Audio) -> None:
    stack.s3.delete_object(Bucket="music", Key=upload_key("default", audio.id))
    assert stack.sweep() == {"source_missing": 1}
    embeds(stack)
    current = stack.get_audio(audio)
    assert current.status == "failed"
    assert current.error
    assert current.error["code"] == "source_missing"
    assert stack.vectors() == []
    assert again(stack) == {}


def test_a_generation_whose_result_is_gone_expires(stack: Stack, generation: Generation) -> None:
    stack.s3.delete_object(Bucket="music", Key=generated_key("default", generation.id, "flac"))
    assert stack.sweep() == {"result_missing": 1}
    assert stack.get_generation(generation).status == "expired"
    assert again(stack) == {}


def test_all_of_it_is_seen_in_turn(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    run = stack.app("sweeper").Reconciliation.run
    monkeypatch.setattr("backend.reconcile.Reconciliation.run", lambda self, in_time: run(self, in_time, 2))
    for _ in range(7):
        put(stack, upload_key("default", new_id()))
    stack.clock.now += ORPHAN_SECONDS + 60
    assert [stack.sweep().get("orphan_object", 0) for _ in range(4)] == [2, 2, 2, 1]
    put(stack, upload_key("default", new_id()))
    stack.clock.now += ORPHAN_SECONDS
    assert stack.sweep() == {}  # the end of this pass
    assert stack.sweep() == {}  # and rest
    assert again(stack) == {"orphan_object": 1}


def test_one_that_cannot_be_helped_does_not_hold_up_the_others(
    stack: Stack, audio: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = sorted(upload_key("default", new_id()) for _ in range(3))
    for key in keys:
        put(stack, key)
    storage = stack.app("sweeper").storage
    delete = storage.delete

    def broken(key: str) -> Any:
        if key == keys[0]:
            raise RuntimeError("broken")
        delete(key)

    monkeypatch.setattr(storage, "delete", broken)
    stack.clock.now += ORPHAN_SECONDS + 60
    assert stack.sweep() == {"errors": 1, "orphan_object": 2}


def test_it_ends_before_its_function_is_killed(stack: Stack) -> None:
    put(stack, upload_key("default", new_id()))
    stack.clock.now += ORPHAN_SECONDS + 60
    assert stack.app("sweeper").handler({}, Context(5)) == {}
    assert stack.sweep() == {"orphan_object": 1}
