"""What the tenants' limits count, and what they stop."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from backend.records import (
    COOL_DOWN_SECONDS,
    LEASE_SECONDS,
    MIN_CHARGE_SECONDS,
    MIN_RECORD_BYTES,
    RENEW_SECONDS,
    Audio,
    Charge,
    Conflict,
    Fenced,
    Generation,
    LimitReached,
    Limits,
    Records,
)
from tests.support.records import finish, new_audio, race, ready, submit
from tests.support.table import Clock

MUCH = 10**9
KB = 1024


def limited(unfinished: int = 100, seconds: int = 1000, stored: int = MUCH) -> Limits:
    return Limits(unfinished, seconds, stored)


def audio_of(records: Records, limits: Limits, seconds: float = 10, tenant: str = "default") -> Audio:
    """Announce an audio whose embedding is expected to take so many seconds."""
    return new_audio(records, tenant, limits=limits, charge=Charge(seconds, "the track"))


def embedded(records: Records, limits: Limits, seconds: float = 10) -> Audio:
    """Make an audio ready, whose embedding was expected to take so many seconds."""
    audio = audio_of(records, limits, seconds)
    records.mark_uploaded("default", audio.id, etag='"1"', size=1000)
    finish(records, records.claim_audio("default", audio.id))
    current = records.get_audio("default", audio.id)
    assert current
    return current


def ask(records: Records, audio: Audio, limits: Limits, seconds: float) -> Generation:
    """Ask for a generation that is expected to take so many seconds."""
    return submit(records, audio, limits=limits, charge=Charge(seconds, "the music"))


class TestUnfinished:
    """A tenant has only so much that is not finished."""

    def test_generations(self, records: Records) -> None:
        audio, limits = ready(records), limited(unfinished=2)
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

    def test_tracks_from_their_announcement_until_they_are_embedded(self, records: Records) -> None:
        limits = limited(unfinished=2)
        first, second = (audio_of(records, limits) for _ in range(2))
        with pytest.raises(LimitReached, match="2 of your tracks are not embedded yet") as reached:
            audio_of(records, limits)
        assert (reached.value.code, reached.value.retry_after > 0) == ("too_many_unfinished", True)
        assert len(records.list_audio("default")[0]) == 2
        records.mark_uploaded("default", first.id, etag='"1"', size=5)
        with pytest.raises(LimitReached):
            audio_of(records, limits)
        claimed = records.claim_audio("default", first.id)
        with pytest.raises(LimitReached):
            audio_of(records, limits)
        finish(records, claimed)
        third = audio_of(records, limits)
        with pytest.raises(LimitReached):
            audio_of(records, limits)
        records.bury(second)
        records.fail_audio(third, "expired", "The file was not uploaded in time.")
        audio_of(records, limits)
        audio_of(records, limits)
        audio_of(records, limits, tenant="other")  # another's are not counted
        submit(records, ready(records), limits=limits)  # nor are generations

    def test_tracks_that_are_embedded_again(self, records: Records, clock: Clock) -> None:
        limits = limited(unfinished=1)
        audio, other = embedded(records, limits), embedded(records, limits)
        records.embed_again("default", audio.id, limits=limits)
        with pytest.raises(LimitReached) as reached:
            records.embed_again("default", other.id, limits=limits)
        assert reached.value.code == "too_many_unfinished"
        with pytest.raises(LimitReached):
            audio_of(records, limits)
        finish(records, records.claim_audio("default", audio.id))
        records.embed_again("default", other.id, limits=limits)

    def test_in_a_race(self, records: Records) -> None:
        audio, limits = ready(records), limited(unfinished=5)
        outcomes: list[str] = []

        def note(make: Any) -> None:
            try:
                outcomes.append(make().status)
            except LimitReached as reached:
                outcomes.append(reached.code)

        race(*[partial(note, partial(submit, records, audio, limits=limits))] * 12)
        assert sorted(outcomes) == ["queued"] * 5 + ["too_many_unfinished"] * 7
        outcomes.clear()
        race(*[partial(note, partial(audio_of, records, limits))] * 12)
        assert sorted(outcomes) == ["awaiting_upload"] * 5 + ["too_many_unfinished"] * 7


class TestWorkerSeconds:
    """A tenant gets only so much of the workers' time a day."""

    def test_embeddings_and_generations_are_charged_to_one_day(self, records: Records, clock: Clock) -> None:
        limits = limited(seconds=100)
        with pytest.raises(LimitReached, match=r"takes 100\.5 worker seconds \(the track\); 100\.0 of"):
            audio_of(records, limits, 100.5)
        audio = embedded(records, limits, 30)
        ask(records, audio, limits, 69.5)
        with pytest.raises(LimitReached, match=r"\(the music\); 0\.5 of your 100 a day") as reached:
            ask(records, audio, limits, 1)
        assert reached.value.code == "daily_limit"
        ask(records, audio, limits, 0.5)
        with pytest.raises(LimitReached):
            audio_of(records, limits, 1)
        with pytest.raises(LimitReached):
            records.embed_again("default", audio.id, limits=limits, charge=Charge(1, "the track"))
        assert records.usage.charged("default") == 100
        audio_of(records, limits, 100, tenant="other")  # another's day is another one
        clock.now += reached.value.retry_after
        assert records.usage.charged("default") == 0
        ask(records, audio, limits, 100)

    def test_zero_stops_nothing(self, records: Records) -> None:
        limits = limited(seconds=0)
        audio = embedded(records, limits, 10**6)
        ask(records, audio, limits, 10**6)
        assert records.usage.charged("default") == 2 * 10**6

    def test_they_are_given_once_in_a_race(self, records: Records) -> None:
        audio, limits = ready(records), limited(seconds=50)
        outcomes: list[str] = []

        def note(make: Any) -> None:
            try:
                outcomes.append(make().kind)
            except LimitReached as reached:
                outcomes.append(reached.code)

        made = [partial(ask, records, audio, limits, 10), partial(audio_of, records, limits, 10)]
        race(*[partial(note, one) for one in made * 5])
        assert outcomes.count("daily_limit") == 5
        assert records.usage.charged("default") == 50

    def test_what_an_attempt_took_replaces_what_was_expected(self, records: Records) -> None:
        limits = limited()
        audio = ready(records)
        generation = records.claim_generation("default", ask(records, audio, limits, 100).id)
        records.finish_generation(generation, {}, size=0)
        records.usage.settle(generation, 12.5)
        assert records.usage.charged("default") == 12.5
        dear = records.claim_generation("default", ask(records, audio, limits, 1).id)
        records.finish_generation(dear, {}, size=0)
        records.usage.settle(dear, 40)
        assert records.usage.charged("default") == 52.5

    def test_all_attempts_are_charged(self, records: Records) -> None:
        limits, audio = limited(), ready(records)
        generation = ask(records, audio, limits, 20)
        for spent in (15, 30):
            claimed = records.claim_generation("default", generation.id)
            records.give_back(claimed)
            records.usage.settle(claimed, 15)
            assert records.usage.charged("default") == max(spent, 20)
        claimed = records.claim_generation("default", generation.id)
        records.fail_generation(claimed, "x", "y")
        records.usage.settle(claimed, 1)
        assert records.usage.charged("default") == 31

    def test_what_was_never_worked_on_costs_next_to_nothing_and_not_nothing(self, records: Records) -> None:
        limits, audio = limited(), ready(records)
        records.cancel_generation("default", ask(records, audio, limits, 100).id)
        assert records.usage.charged("default") == MIN_CHARGE_SECONDS
        deleted, late = audio_of(records, limits, 100), audio_of(records, limits, 100)
        records.bury(deleted)
        records.usage.settle(deleted)
        records.fail_audio(late, "expired", "The file was not uploaded in time.")
        assert records.usage.charged("default") == 3 * MIN_CHARGE_SECONDS

    @pytest.mark.parametrize("end", ["cancelled", "deleted"])
    def test_what_is_withdrawn_while_it_runs_costs_what_it_took(
        self, records: Records, clock: Clock, end: str
    ) -> None:
        limits, audio = limited(), ready(records)
        claimed = records.claim_generation("default", ask(records, audio, limits, 100).id)
        clock.now += 55
        records.renew(claimed)
        clock.now += 5
        if end == "cancelled":
            records.cancel_generation("default", claimed.id)
            assert records.usage.charged("default") == 60
        buried = records.bury(claimed)
        for _ in range(2):
            records.usage.settle(buried)
            records.usage.settle(claimed, 61)  # its worker, once it is fenced
            assert records.usage.charged("default") == 60
            clock.now += 100

    def test_who_dies_is_charged_until_it_would_have_renewed_its_lease(
        self, records: Records, clock: Clock
    ) -> None:
        limits, audio = limited(), ready(records)
        generation = ask(records, audio, limits, 20)
        first = records.claim_generation("default", generation.id)
        clock.now += 10
        records.renew(first)  # and dies
        clock.now += LEASE_SECONDS
        records.requeue(records.get_generation("default", generation.id) or first)
        assert records.usage.charged("default") == 10 + RENEW_SECONDS
        second = records.claim_generation("default", generation.id)  # and dies at once
        clock.now += LEASE_SECONDS
        third = records.claim_generation("default", generation.id)  # without the sweeper
        assert third.attempt == 3
        assert records.usage.charged("default") == 10 + 2 * RENEW_SECONDS
        for late in (first, second):  # it had only been cut off
            records.usage.settle(late, 70)
        records.usage.settle(third, 5)
        records.usage.settle(third, 5)  # asked again, since nothing was heard of it
        assert records.usage.charged("default") == 10 + 2 * RENEW_SECONDS + 5

    def test_who_asks_for_what_kills_workers_and_withdraws_it_is_charged(
        self, records: Records, clock: Clock
    ) -> None:
        limits = limited(seconds=100)
        for attempt in range(1, 7):
            audio = audio_of(records, limits, 10)
            records.mark_uploaded("default", audio.id, etag='"1"', size=5)
            records.claim_audio("default", audio.id)  # and its worker dies
            clock.now += 20
            records.usage.settle(records.bury(audio))
            assert records.usage.charged("default") == attempt * RENEW_SECONDS
        with pytest.raises(LimitReached):
            audio_of(records, limits, 11)

    def test_midnight_settles_the_day_that_was_charged(self, records: Records, clock: Clock) -> None:
        limits, audio = limited(seconds=100), ready(records)
        first = records.claim_generation("default", ask(records, audio, limits, 90).id)
        clock.now += 86400 - clock.now % 86400 + 1
        ask(records, audio, limits, 90)
        records.finish_generation(first, {}, size=0)
        records.usage.settle(first, 10)
        assert records.usage.charged("default") == 90
        with pytest.raises(LimitReached):
            ask(records, audio, limits, 11)

    def test_what_is_made_without_limits_is_not_charged(self, records: Records) -> None:
        generation = records.claim_generation("default", submit(records, ready(records)).id)
        records.usage.settle(generation, 10)
        assert records.usage.charged("default") == 0

    def test_settling_at_the_same_time_loses_nothing(self, records: Records) -> None:
        limits, audio = limited(), ready(records)
        claimed = [records.claim_generation("default", ask(records, audio, limits, 50).id) for _ in range(4)]
        for one in claimed:
            records.finish_generation(one, {}, size=0)
        race(*(partial(records.usage.settle, one, 2.0 + index) for index, one in enumerate(claimed)))
        assert records.usage.charged("default") == 14


class TestEmbeddingAgain:
    """Who has a track embedded again is charged again, and not at once."""

    def test_it_is_charged_to_the_day_on_which_it_is_asked_for(self, records: Records, clock: Clock) -> None:
        limits = limited()
        audio = embedded(records, limits, 10)
        records.usage.settle(audio, 4)
        clock.now += 86400
        records.embed_again("default", audio.id, limits=limits, charge=Charge(10, "the track"))
        assert records.usage.charged("default") == 10
        claimed = records.claim_audio("default", audio.id)
        finish(records, claimed)
        records.usage.settle(claimed, 6)
        assert records.usage.charged("default") == 6

    def test_it_has_to_cool_down_first(self, records: Records, clock: Clock) -> None:
        audio = embedded(records, limited())
        clock.now += COOL_DOWN_SECONDS - 20
        with pytest.raises(LimitReached) as reached:
            records.embed_again("default", audio.id, cool_down=True)
        assert reached.value.code == "embedded_just_now"
        clock.now += reached.value.retry_after
        records.embed_again("default", audio.id, cool_down=True)

    def test_it_is_done_once_in_a_race(self, records: Records) -> None:
        limits = limited()
        audio = embedded(records, limits, 10)
        outcomes: list[str] = []

        def again() -> None:
            try:
                again = records.embed_again("default", audio.id, limits=limits, charge=Charge(7, "it"))
                outcomes.append(again.status)
            except Conflict as conflict:
                outcomes.append(conflict.status)

        race(*[again] * 6)
        assert outcomes == ["uploaded"] * 6
        assert records.usage.charged("default") == 17


class TestStoredBytes:
    """A tenant has room for only so many bytes."""

    def test_sources(self, records: Records) -> None:
        limits = limited(stored=1000 * KB)
        with pytest.raises(LimitReached, match="1024000 of your 1024000 are left") as reached:
            new_audio(records, size=1000 * KB + 1, limits=limits)
        assert (reached.value.code, reached.value.retry_after > 0) == ("storage_limit", True)
        first = new_audio(records, size=600 * KB, limits=limits)
        with pytest.raises(LimitReached, match="409600 of your 1024000 are left"):
            new_audio(records, size=401 * KB, limits=limits)
        new_audio(records, size=400 * KB, limits=limits)
        new_audio(records, size=1000 * KB, limits=limits, tenant="other")  # another's are not counted
        new_audio(records, size=1000 * KB)  # nor are those of a time without limits
        assert (records.usage.stored("default"), len(records.list_audio("default")[0])) == (1000 * KB, 3)
        records.bury(first)
        assert records.usage.stored("default") == 1000 * KB  # its object may still be there
        for _ in range(2):
            records.usage.count(first, 0)
            assert records.usage.stored("default") == 400 * KB

    def test_a_record_counts_much_more_than_a_byte(self, records: Records) -> None:
        limits = limited(stored=4 * MIN_RECORD_BYTES)
        tiny = [new_audio(records, size=1, limits=limits) for _ in range(3)]
        submit(records, ready(records), limits=limits)
        assert records.usage.stored("default") == 4 * MIN_RECORD_BYTES
        with pytest.raises(LimitReached, match="The file counts 65536 bytes; 0 of your"):
            new_audio(records, size=1, limits=limits)
        with pytest.raises(LimitReached, match="A generation counts 65536 bytes; 0 of your"):
            submit(records, ready(records), limits=limits)
        records.fail_audio(tiny[0], "expired", "The file was not uploaded in time.")
        records.usage.count(tiny[0], 0)  # the record is still there
        assert records.usage.stored("default") == 4 * MIN_RECORD_BYTES
        records.bury(tiny[0])
        records.usage.count(tiny[0], 0)
        assert records.usage.stored("default") == 3 * MIN_RECORD_BYTES

    def test_results(self, records: Records) -> None:
        limits = limited(stored=1000 * KB)
        full = new_audio(records, size=900 * KB, limits=limits)
        records.mark_uploaded("default", full.id, etag='"1"', size=900 * KB)
        finish(records, records.claim_audio("default", full.id))
        made = submit(records, full, limits=limits)
        finished = records.finish_generation(records.claim_generation("default", made.id), {}, size=0)
        for _ in range(2):
            records.usage.count(finished, 5000 * KB)
            assert records.usage.stored("default") == 5900 * KB
        with pytest.raises(LimitReached, match="0 of your 1024000 are left"):
            submit(records, full, limits=limits)
        with pytest.raises(LimitReached, match="0 of your 1024000 are left"):
            new_audio(records, size=1, limits=limits)
        records.bury(finished)
        records.usage.count(finished, 5000 * KB)  # a worker that is late
        records.usage.count(finished, 0)
        records.usage.count(finished, 5000 * KB)
        assert records.usage.stored("default") == 900 * KB
        assert submit(records, full, limits=limits).status == "queued"

    def test_a_result_is_counted_with_the_move_that_makes_it_one(self, records: Records) -> None:
        limits, audio = limited(stored=1000 * KB), ready(records)
        first, second = (
            records.claim_generation("default", submit(records, audio, limits=limits).id) for _ in range(2)
        )
        done = records.finish_generation(first, {"engine": "mosaic"}, size=300 * KB)
        assert done == records.get_generation("default", first.id)
        assert records.usage.stored("default") == 300 * KB + MIN_RECORD_BYTES
        with pytest.raises(Fenced):
            records.finish_generation(first, {}, size=300 * KB)
        records.cancel_generation("default", second.id)
        with pytest.raises(Fenced) as fenced:
            records.finish_generation(second, {}, size=300 * KB)
        assert fenced.value.status == "cancelled"
        assert records.usage.stored("default") == 300 * KB + MIN_RECORD_BYTES

    def test_results_that_are_finished_at_the_same_time_are_all_counted(self, records: Records) -> None:
        limits, audio = limited(), ready(records)
        claimed = [
            records.claim_generation("default", submit(records, audio, limits=limits).id) for _ in range(6)
        ]
        sizes = [100 * KB + index for index in range(6)]
        race(
            *(
                partial(records.finish_generation, one, {}, size=size)
                for one, size in zip(claimed, sizes, strict=True)
            )
        )
        assert records.usage.stored("default") == sum(sizes)

    def test_the_count_is_of_what_is_there(self, records: Records) -> None:
        limits = limited(stored=1000 * KB)
        audio = new_audio(records, size=100 * KB, limits=limits)
        records.usage.count(audio, 300 * KB)  # nothing has arrived
        assert records.usage.stored("default") == 100 * KB
        records.mark_uploaded("default", audio.id, etag='"1"', size=100 * KB)
        records.usage.count(audio, 0)  # it has arrived after all
        assert records.usage.stored("default") == 100 * KB
        records.mark_uploaded("default", audio.id, etag='"2"', size=250 * KB)  # overwritten
        assert records.usage.stored("default") == 250 * KB
        free = new_audio(records, size=100 * KB)
        records.mark_uploaded("default", free.id, etag='"1"', size=250 * KB)
        records.bury(free)
        records.usage.count(free, 0)
        assert records.usage.stored("default") == 250 * KB

    def test_room_is_given_once_in_a_race(self, records: Records) -> None:
        limits = limited(stored=500 * KB)
        outcomes: list[Any] = []

        def make() -> None:
            try:
                outcomes.append(new_audio(records, size=100 * KB, limits=limits))
            except LimitReached as reached:
                outcomes.append(reached.code)

        def free(audio: Audio) -> None:
            records.usage.count(audio, 0)

        race(*[make] * 12)
        made = [outcome for outcome in outcomes if isinstance(outcome, Audio)]
        assert (len(made), outcomes.count("storage_limit")) == (5, 7)
        for audio in made:
            records.bury(audio)
        race(*[partial(free, audio) for audio in made] * 2)
        assert records.usage.stored("default") == 0


def test_a_replay_costs_nothing(records: Records) -> None:
    audio, limits = ready(records), limited(unfinished=1)
    first = submit(records, audio, limits=limits, idempotency=("k", "b"), charge=Charge(10, "it"))
    again = submit(records, audio, limits=limits, idempotency=("k", "b"), charge=Charge(10, "it"))
    assert again.id == first.id
    assert records.usage.charged("default") == 10
