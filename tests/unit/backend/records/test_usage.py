"""What the tenants' limits count, and what they stop."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from backend.records import (
    Audio,
    Fenced,
    Generation,
    LimitReached,
    Limits,
    Records,
)
from tests.support.records import finish, new_audio, race, ready, submit
from tests.support.table import Clock

MUCH = 10**9


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

    race(*[ask] * 12)
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
    race(*(partial(records.finish_generation, one, {}, size=10 + index) for index, one in enumerate(claimed)))
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
