"""A tenant's jobs take turns: only so many of them are with the workers."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from backend.records import LEASE_SECONDS, Audio, Generation, Leased, Limits, NotFound, OutOfTurn, Records
from tests.support.records import finish, new_audio, race, ready, submit
from tests.support.table import Clock

TWO = Limits(100, 0, 10**9, running=2)
ONE = Limits(100, 0, 10**9, running=1)


def queued(records: Records, count: int, limits: Limits = TWO) -> list[Generation]:
    audio = ready(records)
    return [submit(records, audio, limits=limits) for _ in range(count)]


def claim(
    records: Records, generation: Generation, limits: Limits = TWO, *, called: bool = False
) -> Generation:
    return records.claim_generation("default", generation.id, limits, called=called)


def pass_on(records: Records, generation: Generation, limits: Limits = TWO) -> str | None:
    following = records.turns.pass_on(Generation, "default", generation.id, limits.running)
    return following.id if following else None


def test_no_more_are_claimed_than_may_run(records: Records) -> None:
    jobs = queued(records, 4)
    first, _ = claim(records, jobs[0]), claim(records, jobs[1])
    for job in jobs[2:]:
        with pytest.raises(OutOfTurn):
            claim(records, job)
        assert records.get_generation("default", job.id) == job
    with pytest.raises(Leased):  # the same job again
        claim(records, jobs[0])
    records.finish_generation(first, {}, size=0)
    assert pass_on(records, first) == jobs[2].id
    with pytest.raises(OutOfTurn):
        claim(records, jobs[3])
    assert claim(records, jobs[2], called=True).status == "running"


def test_who_is_called_is_claimed_by_that_message_alone(records: Records) -> None:
    """The message of its submission may stand before those of everybody else."""
    jobs = queued(records, 3, ONE)
    records.finish_generation(claim(records, jobs[0], ONE), {}, size=0)
    assert pass_on(records, jobs[0], ONE) == jobs[1].id
    for job in jobs[1:]:
        with pytest.raises(OutOfTurn):
            claim(records, job, ONE)
    with pytest.raises(OutOfTurn):
        claim(records, jobs[2], ONE, called=True)  # by the sweeper
    running = claim(records, jobs[1], ONE, called=True)
    with pytest.raises(Leased):
        claim(records, jobs[1], ONE)
    records.give_back(running, failed=False)  # it goes on at once, whatever its message was
    assert claim(records, jobs[1], ONE).attempt == 2


def test_each_tenant_and_each_kind_has_its_own(records: Records) -> None:
    claim(records, queued(records, 1, ONE)[0], ONE)
    other = submit(records, ready(records, "other"), limits=ONE)
    assert records.claim_generation("other", other.id, ONE).status == "running"
    audio = new_audio(records, limits=ONE)
    records.mark_uploaded("default", audio.id, etag='"1"', size=5)
    assert records.claim_audio("default", audio.id, ONE).status == "embedding"


def test_the_oldest_that_waits_for_its_turn_is_called(records: Records) -> None:
    audio = new_audio(records, limits=ONE)
    waits = submit(records, audio, limits=ONE)  # for its audio
    jobs = queued(records, 3, ONE)
    running = claim(records, jobs[1], ONE)
    records.cancel_generation("default", jobs[0].id)
    records.finish_generation(running, {}, size=0)
    assert pass_on(records, running, ONE) == jobs[2].id
    done = claim(records, jobs[2], ONE, called=True)
    records.finish_generation(done, {}, size=0)
    assert pass_on(records, done, ONE) is None
    assert records.usage.unfinished(Generation, "default") == [waits.id]
    assert records.turns.holders(Generation, "default") == set()


def test_tracks_are_called_once_they_have_come(records: Records) -> None:
    _, *come = (new_audio(records, limits=ONE) for _ in range(3))
    for audio in come:
        records.mark_uploaded("default", audio.id, etag='"1"', size=5)
    claimed = records.claim_audio("default", come[1].id, ONE)
    finish(records, claimed)
    following = records.turns.pass_on(Audio, "default", claimed.id, ONE.running)
    assert following
    assert following.id == come[0].id


def test_a_turn_is_passed_on_once(records: Records) -> None:
    jobs = queued(records, 3, ONE)
    done = records.finish_generation(claim(records, jobs[0], ONE), {}, size=0)
    assert pass_on(records, done, ONE) == jobs[1].id
    assert pass_on(records, done, ONE) is None  # its message came twice
    assert pass_on(records, jobs[2], ONE) is None  # it never had one
    assert records.turns.holders(Generation, "default") == {jobs[1].id}


def test_who_died_before_passing_on_holds_nobody_up_for_ever(records: Records, clock: Clock) -> None:
    jobs = queued(records, 3, ONE)
    records.finish_generation(claim(records, jobs[0], ONE), {}, size=0)  # and dies
    dead = claim(records, jobs[1], ONE)  # and dies as well
    with pytest.raises(OutOfTurn):
        claim(records, jobs[2], ONE)
    clock.now += LEASE_SECONDS + 1
    records.requeue(dead)
    with pytest.raises(OutOfTurn):  # it is still the turn of the one that was interrupted
        claim(records, jobs[2], ONE)
    assert claim(records, jobs[1], ONE).attempt == 2
    records.cancel_generation("default", jobs[1].id)
    assert claim(records, jobs[2], ONE).status == "running"


def test_who_asks_while_the_last_one_ends_is_called(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody sends a message for a job without a turn: it must not be overlooked."""
    audio = ready(records)
    done = records.finish_generation(claim(records, submit(records, audio, limits=ONE), ONE), {}, size=0)
    asked: list[Generation] = []
    remove = records.turns._remove

    def meanwhile(*arguments: Any) -> None:
        if not asked:
            asked.append(submit(records, audio, limits=ONE))
            monkeypatch.setattr(records.turns, "take", lambda *_, **__: False)  # as it was a moment before
        remove(*arguments)

    monkeypatch.setattr(records.turns, "_remove", meanwhile)
    assert pass_on(records, done, ONE) == asked[0].id
    monkeypatch.undo()
    assert claim(records, asked[0], ONE, called=True).status == "running"


def test_a_message_about_nothing_holds_no_turn(records: Records) -> None:
    (job,) = queued(records, 1, ONE)
    with pytest.raises(NotFound):
        records.claim_generation("default", "01ARZ3NDEKTSV4RRFFQ69G5FAV", ONE)
    assert claim(records, job, ONE).status == "running"


def test_turns_hold_in_a_race(records: Records) -> None:
    jobs = queued(records, 8)
    outcomes: list[str] = []

    def take(job: Generation) -> None:
        try:
            outcomes.append(claim(records, job).status)
        except OutOfTurn:
            outcomes.append("out of turn")

    race(*(partial(take, job) for job in jobs))
    assert sorted(outcomes) == ["out of turn"] * 6 + ["running"] * 2
    running = [job for job in jobs if job.id in records.turns.holders(Generation, "default")]
    called: list[str | None] = []
    for job in running:
        current = records.get_generation("default", job.id)
        assert current
        records.finish_generation(current, {}, size=0)
    race(*(lambda job=job: called.append(pass_on(records, job)) for job in running))
    assert len(set(called)) == 2
    assert records.turns.holders(Generation, "default") == set(called)
