"""The records: what moves, what does not, and who is fenced out, against DynamoDB as moto plays it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import boto3
import pytest
from botocore.exceptions import ReadTimeoutError
from moto import mock_aws

from backend.records import (
    LEASE_SECONDS,
    MAX_WAITING,
    RESEND_SECONDS,
    UPLOAD_GRACE_SECONDS,
    Audio,
    Conflict,
    Fenced,
    Generation,
    IdempotencyMismatch,
    Leased,
    LimitReached,
    Limits,
    NotFound,
    Records,
    TooManyWaiting,
    new_id,
)
from tests.support.table import START, Clock, create_table, serialise_writes

RETENTION = 7 * 24 * 3600.0
MUCH = 10**9


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def records(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Records]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    serialise_writes(monkeypatch)
    with mock_aws():
        table = create_table(boto3.resource("dynamodb", region_name="eu-central-1"))
        yield Records(table, RETENTION, clock)


def new_audio(
    records: Records, tenant: str = "default", size: int = 1000, limits: Limits | None = None
) -> Audio:
    return records.create_audio(
        tenant,
        filename="my söng+1.wav",
        content_type="audio/wav",
        size=size,
        upload_expires_at=records.now() + 900,
        correlation_id="corr-1",
        limits=limits,
    )


def uploaded(records: Records, tenant: str = "default") -> Audio:
    audio = new_audio(records, tenant)
    return records.mark_uploaded(tenant, audio.id, etag='"abc"', size=1234)


def finish(records: Records, audio: Audio) -> list[Generation]:
    finished, released = records.finish_audio(
        audio,
        vector=b"\x00\x00\x80?" * 512,
        identity={"model": "mir-512"},
        features={"tempo": 120.5, "beats": [0.1, 0.6]},
        tags=["fast"],
    )
    assert finished == records.get_audio(audio.tenant, audio.id)
    return released


def ready(records: Records, tenant: str = "default") -> Audio:
    audio = uploaded(records, tenant)
    finish(records, records.claim_audio(tenant, audio.id))
    current = records.get_audio(tenant, audio.id)
    assert current
    return current


def submit(records: Records, audio: Audio, **more: Any) -> Generation:
    return records.submit_generation(
        audio.tenant,
        audio.id,
        profile="builtin",
        **{"parameters": {"duration": 30, "temperature": 0.8}, "correlation_id": "corr-2", **more},
    )


def due_ids(records: Records) -> list[str]:
    return [record.id for record in records.schedule.due()]


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


def test_nothing_is_created_twice(records: Records) -> None:
    audio = new_audio(records)
    with pytest.raises(Conflict):
        records.create_audio(
            "default",
            filename="x",
            content_type="",
            size=None,
            upload_expires_at=START,
            correlation_id="",
            audio_id=audio.id,
        )


def hears_nothing(records: Records, operation: str) -> list[str]:
    """Let the next request of an operation take effect, and its answer be lost; return what is asked."""
    asked: list[str] = []

    def lose(event_name: str, request: Any, **_: Any) -> None:
        if event_name.endswith(operation):
            asked.append(event_name)
            if len(asked) == 1:
                raise ReadTimeoutError(endpoint_url=request.url)

    # After moto's own handler, which answers: handlers of a longer name would come before it.
    records.items.table.meta.client.meta.events.register_last("before-send", lose)
    return asked


class TestLostAnswers:
    """A write whose answer is lost is repeated by the client, and meets what it has made itself."""

    def test_an_audio_is_created_once(self, records: Records) -> None:
        asked = hears_nothing(records, "PutItem")
        audio = new_audio(records)
        assert len(asked) == 2
        assert records.get_audio("default", audio.id) == audio

    def test_an_audio_is_counted_once(self, records: Records) -> None:
        asked = hears_nothing(records, "TransactWriteItems")
        records.create_audio(
            "default",
            filename="a.wav",
            content_type="audio/wav",
            size=1000,
            upload_expires_at=records.now() + 900,
            correlation_id="c",
            limits=Limits(unfinished=5, seconds_per_day=100, stored_bytes=1500),
        )
        assert len(asked) == 2
        assert len(records.list_audio("default")[0]) == 1
        assert records.usage.stored("default") == 1000

    def test_a_claim_is_held(self, records: Records) -> None:
        audio = uploaded(records)
        asked = hears_nothing(records, "UpdateItem")
        claimed = records.claim_audio("default", audio.id)
        assert len(asked) == 2
        assert (claimed.status, claimed.attempt) == ("embedding", 1)
        assert records.get_audio("default", audio.id) == claimed

    def test_a_claim_of_another_is_not_taken_for_ones_own(self, records: Records) -> None:
        audio = uploaded(records)
        records.claim_audio("default", audio.id)
        hears_nothing(records, "UpdateItem")
        with pytest.raises(Leased):
            records.claim_audio("default", audio.id)

    def test_a_generation_is_submitted_once(self, records: Records) -> None:
        audio = uploaded(records)
        asked = hears_nothing(records, "TransactWriteItems")
        generation = submit(records, audio)
        assert len(asked) == 2
        assert [found.id for found in records.list_generations("default")[0]] == [generation.id]
        # It also was noted once, and counted once.
        claimed = records.claim_audio("default", audio.id)
        assert [released.id for released in finish(records, claimed)] == [generation.id]

    def test_a_result_is_not_lost(self, records: Records) -> None:
        finish(records, records.claim_audio("default", (audio := uploaded(records)).id))
        claimed = records.claim_generation("default", submit(records, audio).id)
        hears_nothing(records, "UpdateItem")
        assert records.finish_generation(claimed, {"engine": "mosaic"}, size=0).status == "succeeded"

    def test_a_result_is_counted_once(self, records: Records) -> None:
        limits = Limits(unfinished=5, seconds_per_day=100, stored_bytes=1500)
        claimed = records.claim_generation("default", submit(records, ready(records), limits=limits).id)
        asked = hears_nothing(records, "TransactWriteItems")
        done = records.finish_generation(claimed, {"engine": "mosaic"}, size=700)
        assert len(asked) == 2
        assert (done.status, done.counted) == ("succeeded", 700)
        assert records.get_generation("default", claimed.id) == done
        assert records.usage.stored("default") == 700

    def test_a_deletion_is_not_told_as_missing(self, records: Records) -> None:
        audio = uploaded(records)
        hears_nothing(records, "UpdateItem")
        assert records.bury(audio).id == audio.id
        with pytest.raises(NotFound):
            records.bury(audio)

    def test_a_cancellation_succeeds(self, records: Records) -> None:
        generation = submit(records, uploaded(records))
        hears_nothing(records, "UpdateItem")
        assert records.cancel_generation("default", generation.id).status == "cancelled"

    def test_what_waits_is_left_to_the_sweeper(self, records: Records, clock: Clock) -> None:
        audio = uploaded(records)
        waiting = submit(records, audio)
        claimed = records.claim_audio("default", audio.id)
        hears_nothing(records, "UpdateItem")
        assert finish(records, claimed) == []
        clock.now += RESEND_SECONDS + 1
        assert [record.id for record in records.schedule.due()] == [waiting.id]


class TestContent:
    """The same content is recognised, of one tenant and while it lives."""

    HASH = "0" * 64

    def note(self, records: Records, tenant: str = "default") -> tuple[str, str | None]:
        audio = uploaded(records, tenant)
        return audio.id, records.note_content(tenant, audio.id, self.HASH)

    def test_the_oldest_is_named(self, records: Records) -> None:
        first, none = self.note(records)
        assert none is None
        for _ in range(3):
            assert self.note(records)[1] == first
        assert records.note_content("default", first, self.HASH) is None  # embedded again

    def test_other_content_and_other_tenants_are_not(self, records: Records) -> None:
        self.note(records)
        assert self.note(records, "another")[1] is None
        assert records.note_content("default", uploaded(records).id, "1" * 64) is None

    def test_one_that_is_gone_or_holds_something_else_by_now_is_not(self, records: Records) -> None:
        ids = [self.note(records)[0] for _ in range(3)]
        records.bury(records.get_audio("default", ids[0]))  # type: ignore[type-var]
        assert self.note(records)[1] == ids[1]
        claimed = records.claim_audio("default", ids[1])
        records.finish_audio(claimed, vector=b"", identity={}, features={}, tags=[], sha256="1" * 64)
        assert self.note(records)[1] == ids[2]

    def test_one_noted_before_its_record_is_found_once_it_is_noted_again(self, records: Records) -> None:
        early = new_id()
        records.note_content("default", early, self.HASH)
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
        assert records.note_content("default", early, self.HASH) is None
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


def test_pages_pass_every_record_once(records: Records) -> None:
    audios = [uploaded(records) for _ in range(5)]
    gone = records.bury(uploaded(records))
    records.purged(gone)
    seen: list[str] = []
    after: str | None = None
    while True:
        page, after = records.schedule.page(after, 2)
        seen += [record.id for record in page]
        if after is None:
            break
    assert sorted(seen) == sorted(audio.id for audio in audios)


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


def test_a_lease_keeps_others_out_until_it_ends(records: Records, clock: Clock) -> None:
    audio = uploaded(records)
    first = records.claim_audio("default", audio.id)
    clock.now += LEASE_SECONDS - 1
    with pytest.raises(Leased) as leased:
        records.claim_audio("default", audio.id)
    assert leased.value.until == START + LEASE_SECONDS
    first = records.renew(first, progress=0.5)
    clock.now += LEASE_SECONDS - 1
    with pytest.raises(Leased):
        records.claim_audio("default", audio.id)
    clock.now += 2
    second = records.claim_audio("default", audio.id)
    assert (second.attempt, second.tries) == (2, 2)
    for late in (
        lambda: records.renew(first),
        lambda: finish(records, first),
        lambda: records.fail_audio(first, "x", "y"),
        lambda: records.give_back(first),
    ):
        with pytest.raises(Fenced):
            late()
    finish(records, second)


def test_of_many_workers_one_gets_the_claim(records: Records) -> None:
    audio = uploaded(records)
    won: list[int] = []
    lost: list[Exception] = []

    def claim() -> None:
        try:
            won.append(records.claim_audio("default", audio.id).attempt)
        except Leased as error:
            lost.append(error)

    threads = [threading.Thread(target=claim) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (won, len(lost)) == ([1], 11)


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
    clock.now += 24 * 3600
    assert due_ids(records) == []


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
    threads = [
        threading.Thread(target=lambda: made.append(submit(records, audio, idempotency=("k", "b")).id))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
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


def test_a_tenant_has_only_so_many_unfinished(records: Records) -> None:
    audio, limits = ready(records), Limits(2, 1000, MUCH)
    first, second = (submit(records, audio, limits=limits) for _ in range(2))
    with pytest.raises(LimitReached) as reached:
        submit(records, audio, limits=limits)
    assert reached.value.code == "too_many_unfinished"
    assert len(records.list_generations("default")[0]) == 2
    records.finish_generation(records.claim_generation("default", first.id), {}, size=0)
    submit(records, audio, limits=limits)
    with pytest.raises(LimitReached):
        submit(records, audio, limits=limits)
    records.fail_generation(records.claim_generation("default", second.id), "x", "y")
    submit(records, audio, limits=limits)
    submit(records, ready(records, tenant="other"), limits=limits)  # another's are not counted


def test_a_tenant_gets_only_so_many_seconds_a_day(records: Records, clock: Clock) -> None:
    audio, limits = ready(records), Limits(100, 100, MUCH)

    def ask(duration: float, candidates: int = 1) -> Generation:
        parameters = {"duration": duration, "candidates": candidates}
        return submit(records, audio, limits=limits, parameters=parameters)

    with pytest.raises(LimitReached, match="100 are left"):
        ask(100.5)
    ask(30, candidates=2)
    ask(39.5)
    with pytest.raises(LimitReached, match=r"included: 0\.5 are left") as reached:
        ask(1)
    assert reached.value.code == "daily_limit"
    ask(0.5)
    with pytest.raises(LimitReached):
        ask(1)
    clock.now += reached.value.retry_after
    ask(100)
    assert len(records.list_generations("default")[0]) == 4


def test_limits_hold_in_a_race(records: Records) -> None:
    audio, limits = ready(records), Limits(5, 10_000, MUCH)
    outcomes: list[str] = []

    def ask() -> None:
        try:
            outcomes.append(submit(records, audio, limits=limits).status)
        except LimitReached as reached:
            outcomes.append(reached.code)

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["queued"] * 5 + ["too_many_unfinished"] * 7


def test_a_tenant_has_room_for_only_so_many_bytes(records: Records) -> None:
    limits = Limits(100, 1000, stored_bytes=1000)
    with pytest.raises(LimitReached, match="1000 of your 1000 are left") as reached:
        new_audio(records, size=1001, limits=limits)
    assert (reached.value.code, reached.value.retry_after > 0) == ("storage_limit", True)
    first = new_audio(records, size=600, limits=limits)
    with pytest.raises(LimitReached, match="400 of your 1000 are left"):
        new_audio(records, size=401, limits=limits)
    new_audio(records, size=400, limits=limits)
    new_audio(records, size=1000, limits=limits, tenant="other")  # another's are not counted
    new_audio(records, size=1000)  # nor are those of a time without limits
    assert (records.usage.stored("default"), len(records.list_audio("default")[0])) == (1000, 3)
    records.bury(first)
    assert records.usage.stored("default") == 1000  # its object may still be there
    for _ in range(2):
        records.usage.count(first, 0)
        assert records.usage.stored("default") == 400


def test_nothing_is_made_when_nothing_is_left(records: Records) -> None:
    limits = Limits(100, 1000, stored_bytes=1000)
    full = new_audio(records, size=999, limits=limits)
    records.mark_uploaded("default", full.id, etag='"1"', size=999)
    finish(records, records.claim_audio("default", full.id))
    made = submit(records, full, limits=limits)
    finished = records.finish_generation(records.claim_generation("default", made.id), {}, size=0)
    for _ in range(2):
        records.usage.count(finished, 5000)
        assert records.usage.stored("default") == 5999
    with pytest.raises(LimitReached, match="None of your 1000 bytes are left"):
        submit(records, full, limits=limits)
    with pytest.raises(LimitReached, match="0 of your 1000 are left"):
        new_audio(records, size=1, limits=limits)
    records.bury(finished)
    records.usage.count(finished, 5000)  # a worker that is late
    records.usage.count(finished, 0)
    records.usage.count(finished, 5000)
    assert records.usage.stored("default") == 999
    assert submit(records, full, limits=limits).status == "queued"


def test_a_result_is_counted_with_the_move_that_makes_it_one(records: Records) -> None:
    limits, audio = Limits(100, 1000, stored_bytes=1000), ready(records)
    first, second = (
        records.claim_generation("default", submit(records, audio, limits=limits).id) for _ in range(2)
    )
    done = records.finish_generation(first, {"engine": "mosaic"}, size=300)
    assert done == records.get_generation("default", first.id)
    assert records.usage.stored("default") == 300
    with pytest.raises(Fenced):
        records.finish_generation(first, {}, size=300)
    records.cancel_generation("default", second.id)
    with pytest.raises(Fenced) as fenced:
        records.finish_generation(second, {}, size=300)
    assert fenced.value.status == "cancelled"
    assert records.usage.stored("default") == 300


def test_results_that_are_finished_at_the_same_time_are_all_counted(records: Records) -> None:
    limits, audio = Limits(100, 1000, stored_bytes=1000), ready(records)
    claimed = [
        records.claim_generation("default", submit(records, audio, limits=limits).id) for _ in range(6)
    ]
    threads = [
        threading.Thread(target=partial(records.finish_generation, one, {}, size=10 + index))
        for index, one in enumerate(claimed)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert records.usage.stored("default") == 75


def test_the_count_is_of_what_is_there(records: Records) -> None:
    limits = Limits(100, 1000, stored_bytes=1000)
    audio = new_audio(records, size=100, limits=limits)
    records.usage.count(audio, 300)  # nothing has arrived
    assert records.usage.stored("default") == 100
    records.mark_uploaded("default", audio.id, etag='"1"', size=100)
    records.usage.count(audio, 0)  # it has arrived after all
    assert records.usage.stored("default") == 100
    records.mark_uploaded("default", audio.id, etag='"2"', size=250)  # overwritten
    assert records.usage.stored("default") == 250
    free = new_audio(records, size=100)
    records.mark_uploaded("default", free.id, etag='"1"', size=250)
    records.bury(free)
    records.usage.count(free, 0)
    assert records.usage.stored("default") == 250


def test_room_is_given_once_in_a_race(records: Records) -> None:
    limits = Limits(100, 1000, stored_bytes=500)
    outcomes: list[Any] = []

    def ask() -> None:
        try:
            outcomes.append(new_audio(records, size=100, limits=limits))
        except LimitReached as reached:
            outcomes.append(reached.code)

    def free(audio: Audio) -> None:
        records.usage.count(audio, 0)

    def race(*targets: Any) -> None:
        threads = [threading.Thread(target=target) for target in targets]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    race(*[ask] * 12)
    made = [outcome for outcome in outcomes if isinstance(outcome, Audio)]
    assert (len(made), outcomes.count("storage_limit")) == (5, 7)
    for audio in made:
        records.bury(audio)
    race(*[partial(free, audio) for audio in made] * 2)
    assert records.usage.stored("default") == 0


def test_a_replay_costs_nothing(records: Records) -> None:
    audio, limits = ready(records), Limits(1, 1000, MUCH)
    first = submit(records, audio, limits=limits, idempotency=("k", "b"))
    assert submit(records, audio, limits=limits, idempotency=("k", "b")).id == first.id


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


def test_every_record_comes_due(records: Records, clock: Clock) -> None:
    audio = new_audio(records)
    assert due_ids(records) == []
    clock.now = START + 900 + UPLOAD_GRACE_SECONDS
    assert due_ids(records) == [audio.id]
    records.mark_uploaded("default", audio.id, etag="e", size=1)
    assert due_ids(records) == []
    clock.now += RESEND_SECONDS
    [record] = records.schedule.due()
    records.schedule.postpone(record)
    with pytest.raises(Fenced):
        records.schedule.postpone(record)
    clock.now += RESEND_SECONDS
    assert due_ids(records) == []
    clock.now += RESEND_SECONDS
    assert due_ids(records) == [audio.id]
    claimed = records.claim_audio("default", audio.id)
    with pytest.raises(Fenced):
        records.requeue(claimed)
    clock.now += LEASE_SECONDS
    [record] = records.schedule.due()
    assert records.requeue(record).status == "uploaded"
    with pytest.raises(Fenced):
        finish(records, claimed)
    finish(records, records.claim_audio("default", audio.id))
    assert due_ids(records) == []
    clock.now = START + RETENTION + 1
    assert due_ids(records) == [audio.id]


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
    assert due_ids(records) == [audio.id]  # not purged: the sweeper still has to clean up
    records.purged(tombstone)
    assert due_ids(records) == []


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


def test_lists_page_newest_first_and_keep_tenants_apart(records: Records, clock: Clock) -> None:
    mine = []
    for _ in range(7):
        clock.now += 1
        mine.append(new_audio(records).id)
    new_audio(records, "other")
    removed = records.get_audio("default", mine[3])
    assert removed
    records.bury(removed)
    expected = sorted((i for i in mine if i != mine[3]), reverse=True)
    seen: list[str] = []
    cursor: str | None = None
    for size in (2, 2, 2):
        page, cursor = records.list_audio("default", cursor, limit=size)
        seen += [audio.id for audio in page]
    assert seen == expected
    assert cursor is None
    for bad in ("!!", "", "x" * 2000, "YXVkaW8jeA"):
        if bad:
            with pytest.raises(ValueError, match="not a cursor"):
                records.list_audio("default", bad)
    _, generation_cursor = records.list_audio("default", limit=1)
    with pytest.raises(ValueError, match="not a cursor"):
        records.list_generations("default", cursor=generation_cursor)


def test_generations_of_one_audio_are_listed_by_pages(records: Records) -> None:
    audio, another = ready(records), ready(records)
    made = [submit(records, audio).id for _ in range(5)]
    submit(records, another)
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page, cursor = records.list_generations("default", audio.id, cursor, limit=2)
        seen += [generation.id for generation in page]
        if cursor is None:
            break
    assert sorted(seen) == sorted(made)
    assert len(records.list_generations("default", limit=10)[0]) == 6
    assert records.list_generations("other", audio.id) == ([], None)
