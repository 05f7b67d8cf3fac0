"""Every row of what the sweeper does, and that it does it once."""

from __future__ import annotations

from collections import Counter
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from backend.records import (
    LEASE_SECONDS,
    MIN_RECORD_BYTES,
    RESEND_LIMIT_SECONDS,
    RESEND_SECONDS,
    UPLOAD_GRACE_SECONDS,
    Audio,
    Fenced,
    Generation,
    Limits,
)
from backend.storage import generated_key
from tests.support.stack import Context, Stack, fake_models

RETENTION = 30 * 86400


@pytest.fixture(autouse=True)
def _models(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_models(stack, monkeypatch)


@pytest.fixture
def audio(stack: Stack) -> Audio:
    """An audio whose file is there, and of which nobody was told."""
    made = stack.audio()
    stack.upload(made)
    return made


def uploaded(stack: Stack, audio: Audio) -> Audio:
    return stack.records.mark_uploaded("default", audio.id, etag='"e"', size=5)


def ready(stack: Stack, audio: Audio) -> Audio:
    assert stack.deliver(stack.app("embed"), {"tenant": "default", "audio_id": audio.id}) == []
    stack.drain("generate")
    return stack.get_audio(audio)


def test_nothing_is_due_at_first(stack: Stack, audio: Audio) -> None:
    assert stack.sweep() == {}
    stack.submit(uploaded(stack, audio))
    assert stack.sweep() == {}
    assert stack.drain("embed") == []


def test_an_upload_whose_event_was_lost_is_taken_in(stack: Stack, audio: Audio) -> None:
    stack.clock.now += 901 + UPLOAD_GRACE_SECONDS
    assert stack.sweep() == {"event_missed": 1}
    current = stack.get_audio(audio)
    assert (current.status, current.size) == ("uploaded", 5)
    sent = stack.drain("embed")
    assert sent == [
        {"tenant": "default", "audio_id": audio.id, "correlation_id": "corr-audio", "called": True}
    ]


def test_an_upload_is_found_within_minutes_where_its_event_was_lost(stack: Stack) -> None:
    audio = stack.audio()
    for _ in range(5):
        stack.clock.now += 60
        stack.sweep()
    assert stack.get_audio(audio).status == "awaiting_upload"
    stack.upload(audio)  # and whoever takes the event dies before the record is touched
    begun = stack.clock.now
    while not stack.drain("embed"):
        stack.clock.now += 60
        stack.sweep()
    assert stack.clock.now - begun <= 2 * 300
    assert stack.get_audio(audio).status == "uploaded"


def test_an_upload_is_looked_for_ever_more_rarely_and_until_it_cannot_come(stack: Stack) -> None:
    audio = stack.audio()
    begun, looked = stack.clock.now, 0
    while stack.get_audio(audio).status == "awaiting_upload":
        stack.clock.now += 60
        looked += stack.sweep().get("still_awaited", 0)
    assert stack.clock.now - begun == pytest.approx(900 + UPLOAD_GRACE_SECONDS, abs=60)
    assert 4 <= looked <= 8


def test_an_upload_that_never_came_fails_with_what_waits_for_it(stack: Stack) -> None:
    audio = stack.audio()
    waiting = stack.submit(audio)
    stack.clock.now += 901 + UPLOAD_GRACE_SECONDS
    assert stack.sweep()["upload_expired"] == 1
    current = stack.get_audio(audio)
    assert current.status == "failed"
    assert current.error
    assert current.error["code"] == "expired"
    assert stack.get_generation(waiting).status == "failed"
    assert {(told["id"], told["status"]) for told in stack.published} >= {
        (audio.id, "failed"),
        (waiting.id, "failed"),
    }


def test_what_had_no_message_for_long_is_sent_again_ever_more_rarely(stack: Stack, audio: Audio) -> None:
    uploaded(stack, audio)
    sent_at = []
    for _ in range(110):
        stack.clock.now += 120
        if stack.sweep().get("sent_again"):
            sent_at.append(stack.clock.now)
        for body in stack.drain("embed"):
            assert body["audio_id"] == audio.id
    pauses = [later - sooner for sooner, later in pairwise(sent_at)]
    assert pauses == sorted(pauses)
    assert pauses[0] >= 2 * RESEND_SECONDS
    assert pauses[-1] == pytest.approx(RESEND_LIMIT_SECONDS, abs=120)


def test_a_job_that_was_claimed_is_soon_sent_again_however_long_it_had_waited(
    stack: Stack, audio: Audio
) -> None:
    uploaded(stack, audio)
    for _ in range(30):  # in a long backlog
        stack.clock.now += 120
        stack.sweep()
    stack.records.claim_audio("default", audio.id)
    stack.clock.now += LEASE_SECONDS + 1  # its worker died
    assert stack.sweep() == {"requeued": 1}
    stack.drain("embed")  # and whoever took the next message died before the claim
    stack.clock.now += RESEND_SECONDS + 1
    assert stack.sweep() == {"sent_again": 1}
    stack.clock.now += 2 * RESEND_SECONDS + 1
    assert stack.sweep() == {"sent_again": 1}


def test_a_queued_generation_is_sent_again(stack: Stack, audio: Audio) -> None:
    generation = stack.submit(ready(stack, audio))
    stack.clock.now += RESEND_SECONDS + 1
    assert stack.sweep() == {"sent_again": 1}
    assert [body["generation_id"] for body in stack.drain("generate")] == [generation.id]
    assert stack.sweep() == {}


def test_the_work_of_a_dead_worker_is_requeued(stack: Stack, audio: Audio) -> None:
    generation = stack.submit(ready(stack, audio))
    stack.records.embed_again("default", audio.id)
    stack.records.claim_audio("default", audio.id)
    stack.records.claim_generation("default", generation.id)
    stack.clock.now += LEASE_SECONDS - 1
    assert stack.sweep() == {}
    stack.clock.now += 2
    assert stack.sweep() == {"requeued": 2}
    assert stack.get_audio(audio).status == "uploaded"
    assert stack.get_generation(generation).status == "queued"
    assert [body["audio_id"] for body in stack.drain("embed")] == [audio.id]
    assert [body["generation_id"] for body in stack.drain("generate")] == [generation.id]


@pytest.mark.parametrize("kind", ["audio", "generation"])
def test_a_renewed_lease_is_left_alone_and_its_end_is_noticed(stack: Stack, audio: Audio, kind: str) -> None:
    claimed: Audio | Generation
    if kind == "audio":
        uploaded(stack, audio)
        claimed, queue = stack.records.claim_audio("default", audio.id), "embed"
    else:
        generation = stack.submit(ready(stack, audio))
        claimed, queue = stack.records.claim_generation("default", generation.id), "generate"
    stack.drain(queue)

    def due_at() -> float:
        record = stack.get_audio(claimed) if isinstance(claimed, Audio) else stack.get_generation(claimed)
        return record.due_at

    renewals, seen = 40, {due_at()}
    for renewal in range(renewals):  # ten minutes
        stack.clock.now += 15
        stack.records.renew(claimed, progress=renewal / renewals)
        seen.add(due_at())
        if renewal % 4 == 3:
            assert stack.sweep().keys() <= {"still_worked_on"}
    assert stack.drain(queue) == []
    # The index is rewritten by the sweeper, once a lease at most, and not with each renewal.
    assert 2 <= len(seen) <= 1 + renewals * 15 / (LEASE_SECONDS - 15)
    stack.clock.now += LEASE_SECONDS - 1
    assert "requeued" not in stack.sweep()
    stack.clock.now += 2
    assert stack.sweep() == {"requeued": 1}
    assert len(stack.drain(queue)) == 1


def test_a_sweep_that_was_slower_than_another_changes_nothing(stack: Stack, audio: Audio) -> None:
    uploaded(stack, audio)
    claimed = stack.records.claim_audio("default", audio.id)
    stack.clock.now += LEASE_SECONDS - 1
    stack.records.renew(claimed)
    stack.clock.now += 2
    seen = stack.get_audio(audio)
    assert stack.sweep() == {"still_worked_on": 1}
    with pytest.raises(Fenced):
        stack.records.schedule.await_lease(seen)


def test_a_generation_whose_release_was_lost_is_released(
    stack: Stack, audio: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = stack.submit(audio)
    with monkeypatch.context() as patch:
        patch.setattr("backend.records.Records.release_waiting", lambda *arguments: None)
        ready(stack, audio)
    assert stack.get_generation(waiting).status == "waiting"
    stack.clock.now += RESEND_SECONDS + 1
    assert stack.sweep() == {"released": 1}
    assert stack.get_generation(waiting).status == "queued"
    assert [body["generation_id"] for body in stack.drain("generate")] == [waiting.id]


def test_a_generation_waits_as_long_as_its_audio_needs(stack: Stack) -> None:
    waiting = stack.submit(stack.audio())
    stack.clock.now += RESEND_SECONDS + 1
    assert stack.sweep() == {"still_waiting": 1, "still_awaited": 1}
    assert stack.get_generation(waiting).status == "waiting"
    assert stack.sweep() == {}


@pytest.mark.parametrize("end", ["failed", "deleted"])
def test_a_generation_does_not_wait_for_what_will_never_come(
    end: str, stack: Stack, audio: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = stack.submit(audio)
    with monkeypatch.context() as patch:
        patch.setattr("backend.records.Records.fail_waiting", lambda *arguments: None)
        if end == "failed":
            stack.records.fail_audio(uploaded(stack, audio), "undecodable", "The file is damaged.")
        else:
            stack.records.purged(stack.records.bury(audio))
    stack.clock.now += RESEND_SECONDS + 1
    assert stack.sweep()["failed"] == 1
    current = stack.get_generation(waiting)
    assert current.status == "failed"
    assert current.error
    assert current.error["code"] == f"source_{end}"


def finished(stack: Stack, audio: Audio) -> Any:
    generation = stack.submit(ready(stack, audio), format="wav")
    message = {"tenant": "default", "generation_id": generation.id}
    assert stack.deliver(stack.app("generate"), message) == []
    assert len(stack.objects()) == 7
    assert stack.vectors() == [f"default/{audio.id}"]
    return generation


def audio_that_failed(stack: Stack, audio: Audio) -> Audio:
    return stack.records.fail_audio(uploaded(stack, audio), "undecodable", "The file is damaged.")[0]


def generation_that_failed(stack: Stack, audio: Audio) -> Generation:
    return stack.records.fail_generation(stack.submit(ready(stack, audio)), "too_long", "It is too long.")


@pytest.mark.parametrize("end", [ready, finished, audio_that_failed, generation_that_failed])
def test_the_event_of_an_end_is_published_once_whatever_fails_meanwhile(
    end: Any, stack: Stack, audio: Audio
) -> None:
    stack.bus_is_down = True  # or the process died before it said so
    record = end(stack, audio)
    tried_at = []
    for _ in range(60):
        stack.clock.now += 60
        if stack.sweep().get("event_not_sent"):
            tried_at.append(stack.clock.now)
    pauses = [later - sooner for sooner, later in pairwise(tried_at)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == RESEND_LIMIT_SECONDS
    stack.bus_is_down = False
    stack.clock.now += RESEND_LIMIT_SECONDS
    assert stack.sweep()["event_sent"] >= 1
    stack.clock.now += RESEND_LIMIT_SECONDS
    assert stack.sweep() == {}
    assert [told["id"] for told in stack.published].count(record.id) == 1
    current = stack.get_audio(record) if isinstance(record, Audio) else stack.get_generation(record)
    assert current.updated_at == record.updated_at  # nothing that its owner sees has changed


def test_a_bus_that_does_not_answer_is_asked_once_in_a_sweep(stack: Stack) -> None:
    stack.bus_is_down = True
    for _ in range(5):
        audio = stack.audio()
        stack.upload(audio)
        ready(stack, audio)
    stack.clock.now += RESEND_SECONDS + 1
    stack.asked.clear()
    assert stack.sweep() == {"event_not_sent": 5}
    assert stack.asked.count("PutEvents") == 1


def test_a_sweep_that_dies_of_a_bus_leaves_the_next_one_to_others(
    stack: Stack, audio: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lambda ends a function that waits for too long; what is the longest overdue is looked at first."""

    class Killed(BaseException):
        pass

    def hang(record: Audio | Generation) -> bool:
        raise Killed

    stack.bus_is_down = True
    ready(stack, audio)
    stack.clock.now += 30
    uploaded(stack, stack.audio())
    stack.clock.now += RESEND_SECONDS + 1
    with monkeypatch.context() as patch:
        patch.setattr(stack.app("sweeper").events, "publish", hang)
        with pytest.raises(Killed):
            stack.sweep()
    stack.clock.now += 60
    assert stack.sweep() == {"sent_again": 1}


def test_an_event_is_sent_though_candidates_have_gone_meanwhile(stack: Stack, audio: Audio) -> None:
    stack.bus_is_down = True
    generation = finished(stack, audio)
    stack.clock.now += 3 * 86400 + 120
    assert stack.sweep()["candidates_expired"] == 1
    stack.bus_is_down = False
    stack.clock.now += RESEND_LIMIT_SECONDS
    assert stack.sweep()["event_sent"] >= 1
    assert [told["id"] for told in stack.published].count(generation.id) == 1
    stack.clock.now += RESEND_LIMIT_SECONDS
    stack.sweep()
    stack.clock.now += RESEND_LIMIT_SECONDS
    assert stack.sweep() == {}


def test_what_is_asked_for_again_has_no_event_of_its_old_end(stack: Stack, audio: Audio) -> None:
    stack.bus_is_down = True
    source = ready(stack, audio)
    failed = generation_that_failed(stack, audio)
    stack.records.reopen(failed)
    stack.records.embed_again("default", source.id)
    stack.bus_is_down = False
    stack.clock.now += RESEND_SECONDS + 1
    assert stack.sweep() == {"sent_again": 2}
    assert stack.published == []


def test_candidates_and_records_go_in_time_though_no_event_can_be_sent(stack: Stack, audio: Audio) -> None:
    stack.bus_is_down = True
    generation = finished(stack, audio)
    stack.clock.now += 3 * 86400 + 120
    assert stack.sweep()["candidates_expired"] == 1
    stack.clock.now += RETENTION
    stack.sweep()
    assert stack.objects() == []
    assert stack.get_generation(generation).status == "expired"


def test_record_object_and_vector_expire_together(stack: Stack, audio: Audio) -> None:
    generation = finished(stack, audio)
    stack.clock.now += RETENTION - 60
    assert stack.sweep() == {"candidates_expired": 1}
    assert len(stack.objects()) == 5  # without two candidates: the result's origins stay
    stack.clock.now += 61
    done = stack.sweep()
    assert done["expired"] >= 1
    assert "errors" not in done
    assert stack.objects() == []
    assert stack.vectors() == []
    assert stack.get_audio(audio).status == "expired"
    assert stack.get_generation(generation).status == "expired"
    stack.clock.now += 86400
    assert stack.sweep() == {}


def test_what_expires_is_not_counted_any_more(stack: Stack) -> None:
    limits = Limits(unfinished=10, worker_seconds_per_day=1000, stored_bytes=10**6)
    audio, never = stack.audio(limits=limits), stack.audio(size=200_000, limits=limits)
    stack.upload(audio, bytes(100_000))
    generation = stack.submit(ready(stack, audio), limits=limits, format="wav")
    message = {"tenant": "default", "generation_id": generation.id}
    assert stack.deliver(stack.app("generate"), message) == []
    found = stack.s3.list_objects_v2(Bucket="music")["Contents"]
    sizes: Counter[str] = Counter()
    for item in found:
        sizes[item["Key"].split("/")[2].partition(".")[0]] += item["Size"]
    assert sizes.keys() == {audio.id, generation.id}
    there = sum(max(size, MIN_RECORD_BYTES) for size in sizes.values())
    assert stack.records.usage.stored("default") == there + 200_000
    stack.clock.now += 900 + UPLOAD_GRACE_SECONDS + 1
    assert stack.sweep()["upload_expired"] == 1
    assert stack.get_audio(never).status == "failed"
    assert stack.records.usage.stored("default") == there + MIN_RECORD_BYTES
    stack.clock.now += RETENTION
    assert "errors" not in stack.sweep()
    assert stack.objects() == []
    assert stack.records.usage.stored("default") == 0


def test_a_deletion_that_died_half_way_is_ended(stack: Stack, audio: Audio) -> None:
    generation = finished(stack, audio)
    stack.records.bury(stack.get_audio(audio))
    assert len(stack.objects()) == 7
    stack.clock.now += RESEND_SECONDS + 1
    assert stack.sweep()["purged"] == 1
    assert stack.objects() == []
    assert stack.vectors() == []
    assert stack.get_generation(generation).status == "deleted"
    assert stack.sweep() == {}


def test_generations_without_number_go_in_several_sweeps(
    stack: Stack, audio: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.purge.AT_ONCE", 1)
    monkeypatch.setattr("backend.records.moves.BURIED_TOGETHER", 2)
    monkeypatch.setattr("backend.records.moves.MOST_BURIED", 4)
    source = ready(stack, audio)
    made = [stack.submit(source) for _ in range(9)]
    for generation in made:
        key = generated_key("default", generation.id, "wav")
        stack.s3.put_object(Bucket="music", Key=key, Body=b"music")
    stack.records.bury(source)  # and who did so died
    gone = []
    for _ in range(5):
        stack.clock.now += RESEND_SECONDS + 1
        assert "errors" not in stack.sweep()
        gone.append(sum(stack.get_generation(one).deleted for one in made))
    assert gone == [4, 8, 9, 9, 9]
    assert stack.objects() == stack.vectors() == []
    assert stack.sweep() == {}


def test_what_has_no_turn_is_sent_no_message(
    stack: Stack, audio: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = Limits(unfinished=10, worker_seconds_per_day=0, stored_bytes=10**9, running=1)
    monkeypatch.setattr(stack.app("sweeper"), "limits", limits)
    source = ready(stack, audio)
    first, second, third = (stack.submit(source, limits=limits) for _ in range(3))
    stack.records.finish_generation(
        stack.records.claim_generation("default", first.id, limits), {"engine": "mosaic"}, size=0
    )
    called = stack.records.turns.pass_on(type(first), "default", first.id, limits.running)
    assert called
    assert called.id == second.id  # and its message is lost
    for _ in range(3):
        stack.clock.now += RESEND_SECONDS + 1
        stack.sweep()
    sent = stack.drain("generate")
    assert {body["generation_id"] for body in sent} == {second.id}
    claimed = stack.records.claim_generation("default", second.id, limits, called=True)
    stack.records.cancel_generation("default", claimed.id)  # and its worker dies before it passes the turn on
    stack.clock.now += 8 * RESEND_SECONDS
    stack.sweep()
    assert [body["generation_id"] for body in stack.drain("generate")] == [third.id]


def test_a_tenant_without_turns_is_asked_about_once_in_a_sweep(
    stack: Stack, audio: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = Limits(unfinished=100, worker_seconds_per_day=0, stored_bytes=10**9, running=1)
    app = stack.app("sweeper")
    monkeypatch.setattr(app, "limits", limits)
    source = ready(stack, audio)
    *others, last = (stack.submit(source, limits=limits) for _ in range(12))
    stack.records.give_back(stack.records.claim_generation("default", last.id, limits))  # its message is lost
    asked: list[str] = []
    has_turn = app.records.has_turn

    def ask(record: Audio | Generation, *arguments: Any, **options: Any) -> bool:
        asked.append(record.id)
        return bool(has_turn(record, *arguments, **options))

    monkeypatch.setattr(app.records, "has_turn", ask)
    stack.clock.now += RESEND_SECONDS + 1
    begun = stack.clock.now
    assert stack.sweep() == {"sent_again": 1, "out_of_turn": 11}
    assert [body["generation_id"] for body in stack.drain("generate")] == [last.id]
    assert sorted(asked) == sorted([asked[0], last.id])
    assert asked[0] in {job.id for job in others}
    due = sorted(stack.get_generation(job).due_at - begun for job in others)
    assert due == [2 * RESEND_SECONDS, *[RESEND_LIMIT_SECONDS] * 10]


def test_one_record_that_cannot_be_helped_does_not_hold_up_the_others(
    stack: Stack, audio: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = stack.app("sweeper")
    other = stack.audio()
    stack.upload(other)
    for each in (audio, other):
        uploaded(stack, each)
    call = app.queues.call

    def broken(record: Audio) -> None:
        if record.id == audio.id:
            raise RuntimeError("broken")
        call(record)

    monkeypatch.setattr(app.queues, "call", broken)
    stack.clock.now += RESEND_SECONDS + 1
    assert stack.sweep() == {"errors": 1, "sent_again": 1}
    assert [body["audio_id"] for body in stack.drain("embed")] == [other.id]


def test_it_ends_before_its_function_is_killed(stack: Stack, audio: Audio) -> None:
    uploaded(stack, audio)
    stack.clock.now += RESEND_SECONDS + 1
    assert stack.app("sweeper").handler({}, Context(5)) == {}
    assert stack.sweep() == {"sent_again": 1}


def test_more_than_one_page_is_swept(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    app = stack.app("sweeper")
    monkeypatch.setattr(app.records.schedule, "due", partial(app.records.schedule.due, limit=5))
    for _ in range(12):
        uploaded(stack, stack.audio())
    stack.clock.now += RESEND_SECONDS + 1
    assert stack.sweep() == {"sent_again": 12}
    assert len(stack.drain("embed")) == 12


def test_records_that_cannot_be_helped_do_not_fill_the_first_page(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = stack.app("sweeper")
    monkeypatch.setattr(app.records.schedule, "due", partial(app.records.schedule.due, limit=5))
    for _ in range(12):
        stack.records.bury(stack.audio())
    stack.clock.now += 1
    other = stack.audio()
    stack.upload(other)
    uploaded(stack, other)

    def broken(tenant: str, audio_id: str) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(app.vectors, "delete", broken)
    stack.clock.now += RESEND_SECONDS + 1
    assert stack.sweep() == {"errors": 12, "sent_again": 1}
    assert [body["audio_id"] for body in stack.drain("embed")] == [other.id]
