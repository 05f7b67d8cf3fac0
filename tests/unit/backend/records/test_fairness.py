"""Small tenants beside a greedy one, simulated: their waits do not depend on how many jobs it has queued.

Two workers take messages from one queue, first in, first out. The clock is virtual: making a piece takes a
second, and each request to the table a tenth. The records are the real ones.
"""

from __future__ import annotations

import heapq
import itertools
import random
import statistics
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from backend.records import Audio, Generation, Limits, OutOfTurn, Records, new_id
from tests.support.records import ready, submit
from tests.support.table import Clock

LIMITS = Limits(1000, 0, 10**12, running=2)
WORKERS, WORK_SECONDS, REQUEST_SECONDS, REST_SECONDS = 2, 1.0, 0.1, 1.0


@contextmanager
def requests_of(records: Records) -> Iterator[list[str]]:
    """List what is asked of the table for as long as the context lasts."""
    asked: list[str] = []

    def note(model: Any, **_: Any) -> None:
        asked.append(model.name)

    events = records.items.table.meta.client.meta.events
    events.register("before-call.dynamodb", note)
    try:
        yield asked
    finally:
        events.unregister("before-call.dynamodb", note)


def queued(records: Records, tenant: str, count: int) -> list[Generation]:
    """Make a tenant's queued jobs."""
    model = submit(records, ready(records, tenant), limits=LIMITS)
    made = [model, *(replace(model, id=new_id()) for _ in range(count - 1))]
    for job in made[1:]:  # moto copies all tables for each transaction
        records.items.create(job)
    note(records, tenant, {job.id for job in made})
    return made


def note(records: Records, tenant: str, ids: set[str]) -> None:
    """Add ids to what a tenant has unfinished."""
    records.items.table.update_item(
        Key={"pk": f"tenant#{tenant}", "sk": "usage#unfinished"},
        UpdateExpression="ADD generation :ids",
        ExpressionAttributeValues={":ids": ids},
    )


@dataclass
class Simulation:
    """The queue, the workers and the tenants, moved by events in the order of their times."""

    records: Records
    clock: Clock
    queue: deque[tuple[Generation, bool]] = field(default_factory=deque)
    idle: int = WORKERS
    waits: list[float] = field(default_factory=list)
    done: int = 0
    small: dict[str, Audio] = field(default_factory=dict)
    begun: dict[str, float] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)
    events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    order: Iterator[int] = field(default_factory=itertools.count)
    random: random.Random = field(default_factory=lambda: random.Random(5))

    def at(self, seconds: float, event: Callable[[], None]) -> None:
        """Let something happen in so many seconds."""
        heapq.heappush(self.events, (self.clock.now + seconds, next(self.order), event))

    def send(self, job: Generation) -> None:
        """Send the message of a new job if it has a turn, as the API does."""
        if self.records.has_turn(job, LIMITS):
            self.queue.append((job, False))
        self.assign()

    def ask(self, tenant: str) -> None:
        """Let a small tenant ask for its next piece."""
        job = submit(self.records, self.small[tenant], limits=LIMITS)
        self.begun[job.id] = self.clock.now
        self.send(job)

    def assign(self) -> None:
        """Give messages to workers that have nothing to do."""
        while self.idle and self.queue:
            job, called = self.queue.popleft()
            self.idle -= 1
            with requests_of(self.records) as asked:
                try:
                    claimed = self.records.claim_generation(job.tenant, job.id, LIMITS, called=called)
                except OutOfTurn:
                    claimed = None
            seconds = len(asked) * REQUEST_SECONDS
            if claimed is None:
                self.at(seconds, self.released)
            else:
                self.at(seconds + WORK_SECONDS, lambda claimed=claimed: self.end(claimed))  # type: ignore[misc]

    def end(self, job: Generation) -> None:
        """Finish a job as the worker does; the worker is free when the turn is passed on."""
        with requests_of(self.records) as asked:
            self.records.finish_generation(job, {}, size=0)
            following = self.records.turns.pass_on(Generation, job.tenant, job.id, LIMITS.running)
        if following:
            self.queue.append((following, True))
        self.done += 1
        if job.id in self.begun:
            self.waits.append(self.clock.now - self.begun[job.id])
            self.left[job.tenant] -= 1
            if self.left[job.tenant]:
                rest = REST_SECONDS * self.random.uniform(0.5, 1.5)
                self.at(rest, lambda: self.ask(job.tenant))
        self.at(len(asked) * REQUEST_SECONDS, self.released)

    def released(self) -> None:
        """Let a worker take the next message."""
        self.idle += 1
        self.assign()

    def run(self, jobs: int) -> float:
        """Let each small tenant have so many pieces made, one after the other; return the median wait."""
        self.waits = []
        self.left = dict.fromkeys(self.small, jobs)
        for tenant in self.small:
            self.at(self.random.uniform(0, REST_SECONDS), lambda tenant=tenant: self.ask(tenant))  # type: ignore[misc]
        while any(self.left.values()):
            self.clock.now, _, event = heapq.heappop(self.events)
            event()
        return statistics.median(self.waits)


def test_the_small_ones_wait_twice_as_long_at_most(records: Records, clock: Clock) -> None:
    simulation = Simulation(records, clock)
    simulation.small = {name: ready(records, name) for name in (f"small-{index}" for index in range(9))}
    greedy = queued(records, "greedy", 100)
    alone = simulation.run(jobs=2)
    for job in greedy:
        simulation.send(job)
    served = simulation.done
    beside = simulation.run(jobs=2)
    assert beside <= 2 * alone
    assert simulation.done - served > len(simulation.waits), "the greedy one is served, too"


def test_what_a_job_that_ends_costs_does_not_depend_on_the_queue(records: Records) -> None:
    """Neither on what waits, nor on what was done before."""
    counts = []
    for tenant, others in (("few", 10), ("many", 60)):
        first, *_ = queued(records, tenant, others)
        job = first
        for _ in range(5):
            claimed = records.claim_generation(tenant, job.id, LIMITS, called=job is not first)
            records.finish_generation(claimed, {}, size=0)
            with requests_of(records) as asked:
                following = records.turns.pass_on(Generation, tenant, job.id, LIMITS.running)
            assert following
            job = following
        counts.append(len(asked))
    assert counts[0] == counts[1] < 10


def test_the_next_is_found_behind_any_number_that_is_gone(records: Records) -> None:
    (first,) = queued(records, "default", 1)
    gone = {new_id() for _ in range(110)}
    last = replace(first, id=max(gone)[:-1] + "~")  # after all others
    records.items.create(last)
    note(records, "default", gone | {last.id})
    claimed = records.claim_generation("default", first.id, LIMITS)
    records.finish_generation(claimed, {}, size=0)
    following = records.turns.pass_on(Generation, "default", first.id, LIMITS.running)
    assert following
    assert following.id == last.id
    assert records.usage.noted(Generation, "default") == [first.id, last.id], "the others are forgotten"
