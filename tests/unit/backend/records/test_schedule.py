"""What the sweeper finds, and when."""

from __future__ import annotations

import pytest

from backend.records import (
    HANDED_OVER_SECONDS,
    LEASE_SECONDS,
    RESEND_SECONDS,
    UPLOAD_GRACE_SECONDS,
    Fenced,
    Records,
)
from tests.support.records import RETENTION, finish, new_audio, uploaded
from tests.support.table import START, Clock


def due_ids(records: Records) -> list[str]:
    return [record.id for record in records.schedule.due()]


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


def test_what_is_handed_over_comes_due_when_its_request_has_expired(records: Records, clock: Clock) -> None:
    audio = uploaded(records)
    clock.now += 60
    records.schedule.hand_over(audio)
    clock.now += HANDED_OVER_SECONDS - 1
    assert due_ids(records) == []
    clock.now += 1
    assert due_ids(records) == [audio.id]


def test_what_is_claimed_is_not_handed_over_any_more(records: Records, clock: Clock) -> None:
    audio = uploaded(records)
    records.claim_audio("default", audio.id)
    with pytest.raises(Fenced):
        records.schedule.hand_over(audio)
    clock.now += LEASE_SECONDS
    assert due_ids(records) == [audio.id]


def test_nobody_waits_for_all_that_somebody_else_has_due(records: Records, clock: Clock) -> None:
    greedy = [uploaded(records, "greedy").id for _ in range(7)]
    clock.now += 1
    small = [uploaded(records, tenant).id for tenant in ("a", "b")]
    clock.now += RESEND_SECONDS
    found = [record.id for record in records.schedule.due(limit=2, share=3)]
    assert found == [*greedy[:3], *small, *greedy[3:]]


def test_the_sweep_lags_as_long_as_the_longest_is_overdue(records: Records, clock: Clock) -> None:
    assert records.schedule.lag() == 0
    first = uploaded(records)
    assert records.schedule.lag() == 0
    clock.now += 30
    second = uploaded(records)
    clock.now += RESEND_SECONDS
    assert records.schedule.lag() == 30
    records.claim_audio("default", first.id)
    assert records.schedule.lag() == 0
    clock.now += 5
    assert records.schedule.lag() == 5
    records.claim_audio("default", second.id)
    assert records.schedule.lag() == 0


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
