"""What moves, what does not, and who is fenced out."""

from __future__ import annotations

import pytest

from backend.records import (
    LEASE_SECONDS,
    MAX_WAITING,
    RESEND_SECONDS,
    Conflict,
    Fenced,
    IdempotencyMismatch,
    NotFound,
    Records,
    TooManyWaiting,
    contents,
    new_id,
)
from tests.support.records import finish, new_audio, race, ready, submit, uploaded
from tests.support.table import START, Clock


def test_an_audio_goes_from_upload_to_ready(records: Records) -> None:
    audio = new_audio(records)
    assert audio.status == "awaiting_upload"
    audio = records.mark_uploaded("default", audio.id, etag='"abc"', size=1234)
    assert (audio.status, audio.etag, audio.size, audio.filename) == (
        "uploaded",
        '"abc"',
        1234,
        "my söng+1.wav",
    )
    claimed = records.claim_audio("default", audio.id)
    assert (claimed.status, claimed.attempt, claimed.lease_expires_at) == (
        "embedding",
        1,
        START + LEASE_SECONDS,
    )
    assert finish(records, claimed) == []
    done = records.get_audio("default", audio.id)
    assert done
    assert (done.status, done.progress, done.error, done.lease_expires_at) == ("ready", 1.0, None, None)
    assert done.features == {"tempo": 120.5, "beats": [0.1, 0.6]}
    assert (done.tags, done.identity, len(done.vector or b"")) == (["fast"], {"model": "mir-512"}, 2048)


class TestContent:
    """The same content is recognised, of one tenant and while it lives."""

    HASH = "0" * 64

    def note(self, records: Records, tenant: str = "default") -> tuple[str, str | None]:
        audio = uploaded(records, tenant)
        return audio.id, records.contents.note(tenant, audio.id, self.HASH)

    def test_the_oldest_is_named(self, records: Records) -> None:
        first, none = self.note(records)
        assert none is None
        for _ in range(3):
            assert self.note(records)[1] == first
        assert records.contents.note("default", first, self.HASH) is None  # embedded again

    def test_other_content_and_other_tenants_are_not(self, records: Records) -> None:
        self.note(records)
        assert self.note(records, "another")[1] is None
        assert records.contents.note("default", uploaded(records).id, "1" * 64) is None

    def test_one_that_is_gone_or_holds_something_else_by_now_is_not(self, records: Records) -> None:
        ids = [self.note(records)[0] for _ in range(3)]
        records.bury(records.get_audio("default", ids[0]))  # type: ignore[type-var]
        assert self.note(records)[1] == ids[1]
        claimed = records.claim_audio("default", ids[1])
        records.finish_audio(claimed, vector=b"", identity={}, features={}, tags=[], sha256="1" * 64)
        assert self.note(records)[1] == ids[2]

    def test_copies_without_number_leave_a_small_item(
        self, records: Records, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(contents, "KEPT", 4)
        first = self.note(records)[0]
        asked: list[str] = []
        records.items.table.meta.client.meta.events.register(
            "before-send", lambda event_name, **_: asked.append(event_name)
        )
        for _ in range(8):
            made = uploaded(records)
            asked.clear()
            assert records.contents.note("default", made.id, self.HASH) == first
            assert len(asked) <= 3
        item = records.items.read({"pk": "tenant#default", "sk": f"content#{self.HASH}"})
        assert len(item["audio"]) == 4

    def test_when_the_first_ones_are_gone_it_begins_anew(
        self, records: Records, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(contents, "KEPT", 4)
        ids = [self.note(records)[0] for _ in range(6)]
        for audio_id in ids[:4]:
            records.bury(records.get_audio("default", audio_id))  # type: ignore[type-var]
        new = self.note(records)
        assert new[1] is None
        assert self.note(records)[1] == new[0]
        found = records.contents.find("default", self.HASH)
        assert found is None  # none has said what it holds

    def test_one_noted_before_its_record_is_found_once_it_is_noted_again(self, records: Records) -> None:
        early = new_id()
        records.contents.note("default", early, self.HASH)
        assert self.note(records)[1] is None
        records.create_audio(
            "default",
            filename="a.wav",
            content_type="audio/wav",
            size=5,
            upload_expires_at=records.now() + 900,
            correlation_id="c",
            audio_id=early,
        )
        assert records.contents.note("default", early, self.HASH) is None
        assert self.note(records)[1] == early


def test_a_failed_record_is_opened_again_for_the_attempt_it_failed_in(records: Records) -> None:
    audio = uploaded(records)
    claimed = records.claim_audio("default", audio.id)
    records.fail_audio(claimed, "interrupted", "The worker died.")
    failed = records.get_audio("default", audio.id)
    assert failed
    opened = records.reopen(failed)
    assert (opened.status, opened.error, opened.tries) == ("uploaded", None, 0)
    with pytest.raises(Fenced):
        records.reopen(failed)
    again = records.claim_audio("default", audio.id)
    assert (again.attempt, again.tries) == (2, 1)
    records.fail_audio(again, "interrupted", "The worker died.")
    with pytest.raises(Fenced):  # the letter of the first attempt
        records.reopen(failed)


def test_states_are_left_only_as_the_picture_allows(records: Records) -> None:
    audio = new_audio(records)
    with pytest.raises(Conflict, match="awaiting_upload"):
        records.claim_audio("default", audio.id)
    with pytest.raises(Conflict, match="awaiting_upload"):
        records.embed_again("default", audio.id)
    done = ready(records)
    with pytest.raises(Conflict, match="ready"):
        records.claim_audio("default", done.id)
    with pytest.raises(Conflict, match="ready"):
        records.mark_uploaded("default", done.id, etag="other", size=1)
    for missing in ("01ARZ3NDEKTSV4RRFFQ69G5FAV", "nonsense"):
        assert records.get_audio("default", missing) is None
        with pytest.raises(NotFound):
            records.claim_audio("default", missing)
        with pytest.raises(NotFound):
            records.cancel_generation("default", missing)


def test_a_generation_waits_for_its_audio_and_is_released(records: Records) -> None:
    audio = new_audio(records)
    waiting = [submit(records, audio) for _ in range(3)]
    assert {generation.status for generation in waiting} == {"waiting"}
    cancelled = records.cancel_generation("default", waiting[1].id)
    assert cancelled.status == "cancelled"
    records.mark_uploaded("default", audio.id, etag="e", size=1)
    released = finish(records, records.claim_audio("default", audio.id))
    assert [(g.id, g.status) for g in released] == [(waiting[0].id, "queued"), (waiting[2].id, "queued")]
    after = submit(records, audio)
    assert after.status == "queued"
    running = records.claim_generation("default", after.id)
    assert running.parameters == {"duration": 30, "temperature": 0.8}
    done = records.finish_generation(running, {"similarity": {"embedding": 0.9}}, size=0)
    assert (done.status, done.result) == ("succeeded", {"similarity": {"embedding": 0.9}})


def test_a_failing_audio_takes_its_waiting_generations_along(records: Records, clock: Clock) -> None:
    audio = uploaded(records)
    waiting = submit(records, audio)
    failed, along = records.fail_audio(records.claim_audio("default", audio.id), "undecodable", "not audio")
    assert failed == records.get_audio("default", audio.id)
    assert [generation.id for generation in along] == [waiting.id]
    record = records.get_generation("default", waiting.id)
    assert record
    assert (record.status, record.error) == (
        "failed",
        {"code": "undecodable", "detail": "The source failed: not audio"},
    )
    with pytest.raises(Conflict, match="failed"):
        submit(records, audio)
    records.event_sent(failed)
    records.event_sent(along[0])
    clock.now += 24 * 3600
    assert [record.id for record in records.schedule.due()] == []


def test_the_same_idempotency_key_gives_the_first_answer_again(records: Records, clock: Clock) -> None:
    audio = ready(records)
    first = submit(records, audio, idempotency=("key", "body"))
    again = submit(records, audio, idempotency=("key", "body"))
    assert (again.id, again.replayed, first.replayed) == (first.id, True, False)
    with pytest.raises(IdempotencyMismatch):
        submit(records, audio, idempotency=("key", "another body"))
    clock.now += 25 * 3600
    assert submit(records, audio, idempotency=("key", "another body")).id != first.id


def test_racing_requests_with_one_key_make_one_generation(records: Records) -> None:
    audio = ready(records)
    made: list[str] = []
    race(*(lambda: made.append(submit(records, audio, idempotency=("k", "b")).id) for _ in range(8)))
    assert len(made) == 8
    assert len(set(made)) == 1
    assert len(records.list_generations("default")[0]) == 1


def test_an_audio_has_only_so_many_waiting(records: Records) -> None:
    audio = new_audio(records)
    for _ in range(MAX_WAITING):
        submit(records, audio)
    with pytest.raises(TooManyWaiting):
        submit(records, audio)
    assert len(records.list_generations("default", limit=100)[0]) == MAX_WAITING


def test_a_cancelled_run_is_fenced(records: Records) -> None:
    running = records.claim_generation("default", submit(records, ready(records)).id)
    assert records.cancel_generation("default", running.id).status == "cancelled"
    with pytest.raises(Fenced) as fenced:
        records.renew(running, progress=0.4)
    assert fenced.value.status == "cancelled"
    with pytest.raises(Fenced):
        records.finish_generation(running, {}, size=0)
    with pytest.raises(Conflict, match="cancelled"):
        records.cancel_generation("default", running.id)
    with pytest.raises(Conflict, match="cancelled"):
        records.claim_generation("default", running.id)


def test_a_job_given_back_is_queued_again_and_counted(records: Records) -> None:
    running = records.claim_generation("default", submit(records, ready(records)).id)
    back = records.give_back(running, delay=5, error={"code": "throttled", "detail": "slow down"})
    assert (back.status, back.tries, back.error) == (
        "queued",
        1,
        {"code": "throttled", "detail": "slow down"},
    )
    again = records.claim_generation("default", running.id)
    assert again.tries == 2
    done = records.finish_generation(again, {}, size=0)
    assert done.error is None


def test_embedding_again_counts_anew_but_still_fences(records: Records) -> None:
    audio = uploaded(records)
    first = records.claim_audio("default", audio.id)
    finish(records, first)
    assert records.embed_again("default", audio.id).status == "uploaded"
    second = records.claim_audio("default", audio.id)
    assert (second.attempt, second.tries) == (2, 1)
    with pytest.raises(Fenced):
        finish(records, first)


def test_a_deleted_audio_leaves_a_tombstone_that_late_writers_respect(records: Records, clock: Clock) -> None:
    audio = uploaded(records)
    claimed = records.claim_audio("default", audio.id)
    before = records.bury(audio)
    assert (before.status, before.etag) == ("embedding", '"abc"')
    tombstone = records.get_audio("default", audio.id)
    assert tombstone
    assert (tombstone.deleted, tombstone.filename, tombstone.etag) == (True, "", None)
    with pytest.raises(Fenced) as fenced:
        finish(records, claimed)
    assert fenced.value.status == "deleted"
    for late in (
        lambda: records.mark_uploaded("default", audio.id, etag="e", size=1),
        lambda: records.claim_audio("default", audio.id),
        lambda: records.bury(audio),
        lambda: submit(records, audio),
    ):
        with pytest.raises(NotFound) as gone:
            late()
        assert gone.value.status == "deleted"
    assert records.list_audio("default") == ([], None)
    clock.now += RESEND_SECONDS
    assert [record.id for record in records.schedule.due()] == [
        audio.id
    ]  # not purged: the sweeper still has to clean up
    records.purged(tombstone)
    assert [record.id for record in records.schedule.due()] == []


def test_a_buried_generation_still_says_what_to_remove(records: Records) -> None:
    audio = ready(records)
    generation = records.claim_generation("default", submit(records, audio).id)
    records.finish_generation(generation, {"key": "generated/default/x.wav"}, size=0)
    records.bury(generation, "expired")
    tombstone = records.get_generation("default", generation.id)
    assert tombstone
    assert (tombstone.status, tombstone.audio_id, tombstone.result) == (
        "expired",
        audio.id,
        {"key": "generated/default/x.wav"},
    )
    assert records.list_generations("default", audio.id) == ([], None)
