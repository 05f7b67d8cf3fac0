"""The embed function: what of an event is believed, and what an embedding leaves behind."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from botocore.exceptions import EndpointConnectionError

from backend import jobs
from backend.jobs import Lease
from backend.purge import purge
from backend.records import MIN_CHARGE_SECONDS, Audio, Limits
from backend.storage import upload_key
from music.audio import AudioError
from tests.support.hostile import many_samples
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
    found = stack.records.contents.find("default", hashlib.sha256(b"sound").hexdigest())
    assert found
    assert found.id == uploaded.id


def test_an_upload_becomes_an_embedding(stack: Stack, app: Any, uploaded: Audio) -> None:
    first, second = stack.submit(uploaded), stack.submit(uploaded)
    assert stack.deliver(app, event(uploaded)) == []
    audio = stack.get_audio(uploaded)
    assert (audio.status, audio.progress, audio.attempt) == ("ready", 1.0, 1)
    assert audio.size == 5
    assert audio.etag == f'"{hashlib.md5(b"sound").hexdigest()}"'
    assert audio.identity == asdict(app.embedder().identity)
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
    assert answer[0]["metadata"]["identity"] == app.embedder().identity.id
    assert answer[0]["metadata"]["windows"] == 3
    sent = stack.drain("generate")
    assert {body["generation_id"] for body in sent} == {first.id, second.id}
    assert all(body["correlation_id"] == "corr-generation" for body in sent)
    assert stack.get_generation(first).status == "queued"
    assert [told["status"] for told in stack.published] == ["ready"]


def test_silence_is_like_nothing(
    stack: Stack, app: Any, uploaded: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its vector is kept in its record, but nothing finds it."""
    assert stack.deliver(app, event(uploaded)) == []
    assert stack.vectors() == [f"default/{uploaded.id}"]
    analyse = app.analyse

    def silent(*arguments: Any, **options: Any) -> Any:
        analysis = analyse(*arguments, **options)
        return replace(analysis, features=replace(analysis.features, loudness=None))

    monkeypatch.setattr(app, "analyse", silent)
    stack.upload(uploaded, b"silence")
    other = stack.audio()
    stack.upload(other, b"silence, too")
    for audio in (uploaded, other):
        assert stack.deliver(app, event(audio)) == []
        found = stack.get_audio(audio)
        assert (found.status, found.silent) == ("ready", True)
        assert found.vector
    assert stack.vectors() == []
    assert stack.sweep() == {}


def test_a_small_file_that_takes_minutes_to_decode_is_refused_and_charged(stack: Stack) -> None:
    """8 channels at 655,350 Hz for a quarter of an hour: 4.7 billion samples in 340 kB."""
    limits = Limits(10, 36000, 10**9)
    audio, content = stack.audio(limits=limits), many_samples(900)
    assert len(content) < 400_000
    stack.upload(audio, content)
    assert stack.deliver(stack.app("embed"), event(audio)) == []
    failed = stack.get_audio(audio)
    assert failed.status == "failed"
    assert failed.error
    assert failed.error["code"] == "too_complex"
    assert failed.charged == max(failed.worked, MIN_CHARGE_SECONDS)
    assert failed.worked > 0


def test_as_many_samples_of_a_shorter_file_are_embedded(stack: Stack) -> None:
    audio = stack.audio()
    stack.upload(audio, many_samples(2))
    assert stack.deliver(stack.app("embed"), event(audio)) == []
    assert stack.get_audio(audio).status in {"ready", "failed"}
    assert (stack.get_audio(audio).error or {"code": "silent"})["code"] != "too_complex"


def derived(stack: Stack, audio: Audio) -> list[str]:
    """Return the keys of what was derived from an audio, which its record names."""
    revision = (stack.get_audio(audio).derived or {})["revision"]
    return [f"derived/{audio.tenant}/{audio.id}/{revision}.{end}" for end in ("json", "mp3")]


def test_an_embedding_leaves_what_a_player_needs(stack: Stack, app: Any, uploaded: Audio) -> None:
    assert stack.deliver(app, event(uploaded)) == []
    document, preview = derived(stack, uploaded)
    stored = stack.s3.get_object(Bucket="music", Key=preview)
    assert (stored["Body"].read()[:3], stored["ContentType"]) == (b"mp3", "audio/mpeg")
    told = json.loads(stack.s3.get_object(Bucket="music", Key=document)["Body"].read())
    assert (told["audio_id"], told["duration"], told["peaks"]) == (uploaded.id, 5.0, [0.25, 0.5])
    assert told["beats"] == [0.5, 1.0]
    assert told["chroma"]["hop"] == 0.5
    assert told["chroma"]["values"][0] == [1.0] + [0.0] * 11


def test_what_an_earlier_attempt_derived_is_adopted(
    stack: Stack, app: Any, uploaded: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = app.storage.put

    def dies(key: str, *arguments: Any, **options: Any) -> Any:
        if key.endswith(".json"):
            raise EndpointConnectionError(endpoint_url="https://s3")
        return put(key, *arguments, **options)

    monkeypatch.setattr(app.storage, "put", dies)
    assert stack.deliver(app, event(uploaded)) == ["0"]
    assert [key for key in stack.objects() if key.endswith(".mp3")]
    monkeypatch.setattr(app.storage, "put", put)
    assert stack.deliver(app, event(uploaded)) == []
    assert sorted(stack.objects()) == [*derived(stack, uploaded), f"uploads/default/{uploaded.id}"]
    preview = stack.s3.get_object(Bucket="music", Key=derived(stack, uploaded)[1])["Body"].read()
    assert (stack.get_audio(uploaded).derived or {})["preview"] == len(preview)


def test_another_file_makes_another_preview_and_removes_the_old_one(
    stack: Stack, app: Any, uploaded: Audio
) -> None:
    assert stack.deliver(app, event(uploaded)) == []
    before = derived(stack, uploaded)
    stack.upload(uploaded, b"another sound")
    assert stack.deliver(app, event(uploaded)) == []
    after = derived(stack, uploaded)
    assert not set(before) & set(after)
    assert sorted(stack.objects()) == [*after, f"uploads/default/{uploaded.id}"]


def test_nothing_derived_stays_of_an_audio_that_fails_or_goes(
    stack: Stack, app: Any, uploaded: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stack.deliver(app, event(uploaded)) == []

    def fails(*arguments: Any, **options: Any) -> Any:
        raise AudioError("undecodable", "no sound")

    monkeypatch.setattr(app, "analyse", fails)
    stack.upload(uploaded, b"another sound")
    assert stack.deliver(app, event(uploaded)) == []
    audio = stack.get_audio(uploaded)
    assert (audio.status, audio.derived) == ("failed", None)
    assert stack.objects() == [f"uploads/default/{uploaded.id}"]


def test_a_late_writer_leaves_nothing_derived_of_a_deleted_audio(
    stack: Stack, app: Any, uploaded: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = app.storage.put

    def meanwhile(*arguments: Any, **options: Any) -> Any:
        audio = stack.get_audio(uploaded)
        if not audio.deleted:
            stack.records.bury(audio)
            purge(audio, stack.records, app.storage, app.vectors)
        return put(*arguments, **options)

    monkeypatch.setattr(app.storage, "put", meanwhile)
    assert stack.deliver(app, event(uploaded)) == []
    assert stack.objects() == []
    assert stack.vectors() == []


def test_what_is_derived_counts_from_when_the_audio_is_ready(
    stack: Stack, app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.records.types.MIN_RECORD_BYTES", 0)
    limits = Limits(unfinished=10, worker_seconds_per_day=1000, stored_bytes=10_000)
    audio = stack.audio(size=5, limits=limits)
    stack.upload(audio)
    waiting = stack.submit(audio, limits=limits)
    assert stack.records.usage.stored("default") == 5
    assert stack.deliver(app, event(audio)) == []
    sizes = {item["Key"]: item["Size"] for item in stack.s3.list_objects_v2(Bucket="music")["Contents"]}
    assert len(sizes) == 3
    assert stack.records.usage.stored("default") == sum(sizes.values())
    assert stack.get_audio(audio).counted == sum(sizes.values())
    assert stack.get_generation(waiting).status == "queued"
    stack.upload(audio, b"another sound")
    assert stack.deliver(app, event(audio)) == []
    sizes = {item["Key"]: item["Size"] for item in stack.s3.list_objects_v2(Bucket="music")["Contents"]}
    assert stack.records.usage.stored("default") == sum(sizes.values())
    purge(stack.records.bury(stack.get_audio(audio)), stack.records, app.storage, app.vectors)
    assert stack.records.usage.stored("default") == 0


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


def test_a_file_that_comes_when_its_time_is_over_is_deleted(
    stack: Stack, app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = Limits(10, 1000, 10**6)
    late, awaited = stack.audio(limits=limits), stack.audio(limits=limits)
    stack.records.fail_audio(late, "expired", "The file was not uploaded in time.")
    for audio in (late, awaited):
        stack.upload(audio)
    assert stack.deliver(app, event(late), event(awaited)) == []
    assert stack.get_audio(late).status == "failed"
    assert stack.get_audio(awaited).status == "ready"
    sources = [key for key in stack.objects() if key.startswith("uploads/")]
    assert sources == [upload_key("default", awaited.id)]


def test_a_file_that_cannot_be_used_stays_for_as_long_as_its_record(
    stack: Stack, app: Any, uploaded: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    def analyse(*arguments: Any, **options: Any) -> None:
        raise AudioError("undecodable", "This is not audio.")

    monkeypatch.setattr(app, "analyse", analyse)
    for _ in range(2):
        assert stack.deliver(app, event(uploaded)) == []
    assert stack.get_audio(uploaded).status == "failed"
    assert stack.objects() == [upload_key("default", uploaded.id)]


def test_what_an_embedding_took_is_charged(stack: Stack, app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    audio = stack.audio(limits=Limits(10, 1000, 10**6))
    stack.upload(audio)
    assert stack.records.usage.charged("default") == 3.0
    monkeypatch.setattr("backend.jobs.time.monotonic", itertools.count(0, 7).__next__)
    assert stack.deliver(app, event(audio)) == []
    assert stack.records.usage.charged("default") >= 7.0
    assert stack.records.usage.charged("default") == stack.get_audio(audio).worked


def test_posting_another_file_to_the_same_place_is_charged_and_has_an_end(
    stack: Stack, app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = runs(app, monkeypatch)
    monkeypatch.setattr("backend.jobs.time.monotonic", lambda: 0.0)  # each takes what is charged at least
    cost = app.costs.embedding_of(5).seconds
    limits = Limits(10, math.ceil(3.0 + MIN_CHARGE_SECONDS + cost), 10**6)
    for name in ("limits", "consumer.runner._limits"):
        monkeypatch.setattr(f"{app.__name__}.{name}", limits)
    audio = stack.audio(limits=limits)
    for number in range(20):
        stack.upload(audio, b"take%d" % (number % 10))
        assert stack.deliver(app, event(audio)) == []
    assert stack.get_audio(audio).status == "ready"
    assert 2 <= len(heard) < 10
    assert stack.records.usage.charged("default") <= limits.worker_seconds_per_day


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
