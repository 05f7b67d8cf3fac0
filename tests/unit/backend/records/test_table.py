"""Writes that are lost, race or are refused, and the lists."""

from __future__ import annotations

import pytest

from backend.records import (
    LEASE_SECONDS,
    MIN_RECORD_BYTES,
    RESEND_SECONDS,
    Conflict,
    Fenced,
    Leased,
    Limits,
    NotFound,
    Records,
)
from tests.support.records import (
    finish,
    hears_nothing,
    is_in_a_transaction,
    new_audio,
    race,
    ready,
    submit,
    uploaded,
)
from tests.support.table import START, Clock


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
            limits=Limits(unfinished=5, worker_seconds_per_day=100, stored_bytes=10**6),
        )
        assert len(asked) == 2
        assert len(records.list_audio("default")[0]) == 1
        assert records.usage.stored("default") == MIN_RECORD_BYTES

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
        limits = Limits(unfinished=5, worker_seconds_per_day=100, stored_bytes=10**6)
        claimed = records.claim_generation("default", submit(records, ready(records), limits=limits).id)
        asked = hears_nothing(records, "TransactWriteItems")
        done = records.finish_generation(claimed, {"engine": "mosaic"}, size=70_000)
        assert len(asked) == 2
        assert (done.status, done.counted) == ("succeeded", 70_000)
        assert records.get_generation("default", claimed.id) == done
        assert records.usage.stored("default") == 70_000

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
        due = [record.id for record in records.schedule.due()]
        assert due == [audio.id, waiting.id]  # the one for the event of its end


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


def test_a_move_waits_for_a_transaction_on_its_record(records: Records) -> None:
    audio = uploaded(records)
    asked = is_in_a_transaction(records, "UpdateItem")
    assert records.claim_audio("default", audio.id).attempt == 1
    assert len(asked) == 2


def test_of_many_workers_one_gets_the_claim(records: Records) -> None:
    audio = uploaded(records)
    won: list[int] = []
    lost: list[Exception] = []

    def claim() -> None:
        try:
            won.append(records.claim_audio("default", audio.id).attempt)
        except Leased as error:
            lost.append(error)

    race(*[claim] * 12)
    assert (won, len(lost)) == ([1], 11)


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
