"""The embed function: what of an event is believed, and what an embedding leaves behind."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from botocore.exceptions import EndpointConnectionError

from backend import jobs
from backend.jobs import Lease
from backend.records import Audio
from backend.storage import upload_key
from tests.support.stack import Stack, fake_models, s3_event


@pytest.fixture
def app(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Any:
    fake_models(stack, monkeypatch)
    return stack.app("embed")


@pytest.fixture
def uploaded(stack: Stack) -> Audio:
    audio = stack.audio()
    stack.upload(audio)
    return audio


def event(audio: Audio, **changes: str) -> dict[str, Any]:
    return s3_event(upload_key(audio.tenant, audio.id), **changes)


def runs(app: Any, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What every run of the analysis gets to hear."""
    heard: list[bytes] = []
    analyse = app.analyse

    def listen(path: Any, *more: Any, **options: Any) -> Any:
        heard.append(path.read_bytes())
        return analyse(path, *more, **options)

    monkeypatch.setattr(app, "analyse", listen)
    return heard


def test_the_same_content_again_is_recognised(stack: Stack, app: Any, uploaded: Audio) -> None:
    again, other, elsewhere = stack.audio(), stack.audio(), stack.audio("somebody")
    for audio, body in ((again, b"sound"), (other, b"another"), (elsewhere, b"sound")):
        stack.upload(audio, body)
    for audio in (uploaded, again, other, elsewhere):
        assert stack.deliver(app, event(audio)) == []
    assert stack.get_audio(again).duplicate_of == uploaded.id
    for audio in (uploaded, other, elsewhere):
        assert stack.get_audio(audio).duplicate_of is None
    assert stack.get_audio(again).sha256 == hashlib.sha256(b"sound").hexdigest()
    stack.records.embed_again("default", uploaded.id)
    assert stack.deliver(app, event(uploaded)) == []
    assert stack.get_audio(uploaded).duplicate_of is None
    found = stack.records.find_content("default", hashlib.sha256(b"sound").hexdigest())
    assert found
    assert found.id == uploaded.id


def test_an_upload_becomes_an_embedding(stack: Stack, app: Any, uploaded: Audio) -> None:
    first, second = stack.submit(uploaded), stack.submit(uploaded)
    assert stack.deliver(app, event(uploaded)) == []
    audio = stack.get_audio(uploaded)
    assert (audio.status, audio.progress, audio.attempt) == ("ready", 1.0, 1)
    assert audio.size == 5
    assert audio.etag == f'"{hashlib.md5(b"sound").hexdigest()}"'
    assert audio.identity == asdict(app.embedder.identity)
    assert audio.features
    assert audio.features["tempo"] == 120.0
    assert audio.tags == ["fast", "jazz"]
    assert (audio.tag_scores, audio.windows) == ({"genre": {"jazz": 0.7}}, 3)
    assert audio.vector
    vector = np.frombuffer(audio.vector, "<f4")
    assert vector.shape == (512,)
    answer = stack.s3vectors.get_vectors(
        vectorBucketName="music-vectors", indexName="embeddings", keys=[f"default/{audio.id}"],
        returnData=True, returnMetadata=True,
    )["vectors"]  # fmt: skip
    assert np.allclose(answer[0]["data"]["float32"], vector)
    assert answer[0]["metadata"]["tenant"] == "default"
    assert answer[0]["metadata"]["identity"] == app.embedder.identity.id
    assert answer[0]["metadata"]["windows"] == 3
    sent = stack.drain("generate")
    assert {body["generation_id"] for body in sent} == {first.id, second.id}
    assert all(body["correlation_id"] == "corr-generation" for body in sent)
    assert stack.get_generation(first).status == "queued"
    assert [told["status"] for told in stack.published] == ["ready"]


def test_the_same_event_again_changes_nothing(
    stack: Stack, app: Any, uploaded: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = runs(app, monkeypatch)
    assert stack.deliver(app, event(uploaded), event(uploaded)) == []
    assert stack.deliver(app, event(uploaded), received=2) == []
    assert heard == [b"sound"]


def test_our_own_message_does_the_same(stack: Stack, app: Any, uploaded: Audio) -> None:
    assert stack.deliver(app, {"tenant": "default", "audio_id": uploaded.id}) == []
    assert stack.get_audio(uploaded).status == "ready"


def test_tenants_keep_apart(stack: Stack, app: Any) -> None:
    audio = stack.audio("acme")
    stack.upload(audio)
    assert stack.deliver(app, event(audio)) == []
    assert stack.get_audio(audio).status == "ready"
    assert stack.vectors() == [f"acme/{audio.id}"]


def test_events_that_are_not_ours_are_ignored(stack: Stack, app: Any, uploaded: Audio) -> None:
    assert (
        stack.deliver(
            app,
            {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "music"},
            event(uploaded, name="ObjectRemoved:Delete"),
            event(uploaded, bucket="another"),
            s3_event("uploads/default/not-an-id"),
            s3_event("uploads/default/my söng + you.mp3"),
            s3_event("uploads/../secrets"),
            s3_event(f"generated/default/{uploaded.id}.wav"),
            {"Records": []},
        )
        == []
    )
    assert stack.get_audio(uploaded).status == "awaiting_upload"
    assert stack.vectors() == []


def test_an_event_for_an_unknown_audio_is_acknowledged(stack: Stack, app: Any) -> None:
    stack.s3.put_object(Bucket="music", Key="uploads/default/01ARZ3NDEKTSV4RRFFQ69G5FAV", Body=b"x")
    assert stack.deliver(app, s3_event("uploads/default/01ARZ3NDEKTSV4RRFFQ69G5FAV")) == []


def test_several_objects_in_one_event(stack: Stack, app: Any, uploaded: Audio) -> None:
    other = stack.audio()
    stack.upload(other)
    keys = [upload_key("default", audio.id) for audio in (uploaded, other)]
    assert stack.deliver(app, s3_event(*keys)) == []
    assert [stack.get_audio(audio).status for audio in (uploaded, other)] == ["ready", "ready"]


@pytest.mark.parametrize(("body", "code"), [(b"", "empty_audio"), (b"12345678", "too_large")])
def test_sizes_are_checked(
    body: bytes, code: str, stack: Stack, app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "MAX_UPLOAD_BYTES", 7)
    audio = stack.audio()
    stack.upload(audio, body)
    assert stack.deliver(app, event(audio)) == []
    error = stack.get_audio(audio).error
    assert error
    assert error["code"] == code


def test_the_last_upload_counts(
    stack: Stack, app: Any, uploaded: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = runs(app, monkeypatch)
    stack.deliver(app, event(uploaded))
    stack.upload(uploaded, b"another sound")
    assert stack.deliver(app, event(uploaded)) == []
    audio = stack.get_audio(uploaded)
    assert (audio.status, audio.size) == ("ready", 13)
    assert heard == [b"sound", b"another sound"]


def test_a_source_replaced_on_the_way_is_read_again(
    stack: Stack, app: Any, uploaded: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = runs(app, monkeypatch)
    download = app.download_source

    def too_late(storage: Any, audio: Audio, path: Any) -> None:
        stack.upload(audio, b"another sound")
        monkeypatch.setattr(app, "download_source", download)
        download(storage, audio, path)

    monkeypatch.setattr(app, "download_source", too_late)
    assert stack.deliver(app, event(uploaded)) == ["0"]
    audio = stack.get_audio(uploaded)
    assert audio.status == "uploaded"
    assert audio.error
    assert audio.error["code"] == "source_changed"
    assert stack.deliver(app, event(uploaded), received=2) == []
    assert heard == [b"another sound"]
    assert stack.get_audio(uploaded).status == "ready"


def test_a_source_that_is_gone_fails_the_record(
    stack: Stack, app: Any, uploaded: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    download = app.download_source

    def too_late(storage: Any, audio: Audio, path: Any) -> None:
        stack.s3.delete_object(Bucket="music", Key=upload_key(audio.tenant, audio.id))
        download(storage, audio, path)

    monkeypatch.setattr(app, "download_source", too_late)
    assert stack.deliver(app, event(uploaded)) == []
    error = stack.get_audio(uploaded).error
    assert error
    assert error["code"] == "source_missing"


def test_an_audio_deleted_while_it_is_embedded_leaves_nothing(
    stack: Stack, app: Any, uploaded: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    analyse = app.analyse

    def deleted(*arguments: Any, **options: Any) -> Any:
        stack.records.bury(stack.get_audio(uploaded))
        return analyse(*arguments, **options)

    monkeypatch.setattr(app, "analyse", deleted)
    assert stack.deliver(app, event(uploaded)) == []
    assert stack.get_audio(uploaded).status == "deleted"
    assert stack.vectors() == []
    assert stack.objects() == []


def test_the_analysis_tells_its_progress_and_hears_that_time_is_up(
    stack: Stack, app: Any, uploaded: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares: list[float] = []
    analyse, tell = app.analyse, Lease.progress

    def listen(lease: Any, share: float) -> None:
        shares.append(share)
        tell(lease, share)

    def working(path: Any, profile: Any, progress: Any, **more: Any) -> Any:
        for done in (0.0, 0.5, 1.0):
            progress(done)
        return analyse(path, profile, progress, **more)

    monkeypatch.setattr(Lease, "progress", listen)
    monkeypatch.setattr(app, "analyse", working)
    assert stack.deliver(app, event(uploaded)) == []
    assert shares == sorted(shares)
    assert pytest.approx([0.0, 0.2, 0.2, 0.55, 0.9]) == shares[:5]

    def too_long(path: Any, profile: Any, progress: Any, **_: Any) -> Any:
        monkeypatch.setattr(jobs, "RESERVE_SECONDS", 1e9)
        progress(0.5)
        raise AssertionError("the analysis went on")

    monkeypatch.setattr(app, "analyse", too_long)
    another = stack.audio()
    stack.upload(another)
    assert stack.deliver(app, event(another)) == ["0"]
    assert (stack.get_audio(another).error or {})["code"] == "timed_out"


def test_an_upload_that_comes_after_its_deletion_is_removed(stack: Stack, app: Any) -> None:
    audio = stack.audio()
    stack.records.bury(audio)
    stack.upload(audio)
    assert stack.deliver(app, event(audio)) == []
    assert stack.objects() == []
    assert stack.get_audio(audio).status == "deleted"


def test_released_generations_are_not_lost_with_the_queue(
    stack: Stack, app: Any, uploaded: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation = stack.submit(uploaded)

    def fails(*arguments: Any) -> None:
        raise EndpointConnectionError(endpoint_url="https://sqs")

    monkeypatch.setattr(app.queues, "send_generate", fails)
    assert stack.deliver(app, event(uploaded)) == []
    assert stack.get_audio(uploaded).status == "ready"
    assert stack.get_generation(generation).status == "queued"
    stack.clock.now += 130
    stack.sweep()
    assert [body["generation_id"] for body in stack.drain("generate")] == [generation.id]
