"""Any order, duplication and loss of messages, workers killed anywhere: one result, one object, one vector.

A state machine plays users, queues, the sweeper, a killer and a network that loses answers against the real
handlers. It checks after each step that nothing terminal moves and that no finished object changes. In the
end everything is delivered, dead letters are replayed until nothing is given up any more, and every job has
to have come to its end, with nothing left over in bucket and index.
"""

from __future__ import annotations

import itertools
import os
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import botocore.client
import botocore.endpoint
import pytest
from botocore.exceptions import ReadTimeoutError
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from moto.core.botocore_stubber import BotocoreStubber

from backend.purge import purge
from backend.records import Conflict, Limits, NotFound
from backend.storage import analysis_key, preview_key, upload_key
from tests.support.stack import Stack, fake_models, s3_event

TERMINAL = {"ready", "failed", "succeeded", "cancelled", "deleted", "expired"}
WORKERS = ("embed", "generate")
LEAST = 3
"""Bytes that a record counts at least, here: some objects have less, and some have more."""
LONG = os.environ.get("FAULT_SUITE") == "long"
PLENTY = Limits(unfinished=1000, worker_seconds_per_day=10**6, stored_bytes=10**9, running=1)
MUTATIONS = {
    "PutItem",
    "UpdateItem",
    "TransactWriteItems",
    "PutObject",
    "DeleteObject",
    "DeleteObjects",
    "PutVectors",
    "DeleteVectors",
    "SendMessage",
    "ChangeMessageVisibility",
}


class Killed(BaseException):
    """The process is gone: no handler of errors gets to see this."""


@contextmanager
def killed_at(step: int | None, after: bool) -> Iterator[None]:
    """Kill whoever makes the n-th change to the world, before it happens or after it has."""
    kind: Any = botocore.client.BaseClient
    real = kind._make_api_call
    count = itertools.count()

    def call(client: Any, operation: str, parameters: Any) -> Any:
        fatal = operation in MUTATIONS and next(count) == step
        if fatal and not after:
            raise Killed
        answer = real(client, operation, parameters)
        if fatal:
            raise Killed
        return answer

    kind._make_api_call = call
    try:
        yield
    except Killed:
        pass
    finally:
        kind._make_api_call = real


@contextmanager
def unanswered(step: int | None) -> Iterator[None]:
    """Let the n-th change to the world happen, but its answer be lost: the client asks again."""
    kind, endpoint = BotocoreStubber, cast(Any, botocore.endpoint)
    real: Any = kind.__call__
    count = itertools.count()

    def send(stubber: Any, event_name: str, request: Any, **more: Any) -> Any:
        answer = real(stubber, event_name, request, **more)
        if event_name.rpartition(".")[2] in MUTATIONS and next(count) == step:
            raise ReadTimeoutError(endpoint_url=request.url)
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "__call__", send)
        patch.setattr(endpoint, "time", SimpleNamespace(sleep=lambda seconds: None))
        yield


class Delivery(RuleBasedStateMachine):
    """Users, queues, sweeper and killer."""

    stack: Stack

    def __init__(self) -> None:
        super().__init__()
        self.random = random.Random(7)
        self.stack.empty()
        self.audios: list[Any] = []
        self.generations: list[Any] = []
        self.messages: list[tuple[str, Any]] = []
        self.terminal: dict[str, str] = {}
        self.etags: dict[str, str] = {}
        self.uploaded: set[str] = set()
        self.replayed: set[str] = set()

    # -- users

    @initialize(early=st.booleans())
    def begin(self, early: bool) -> None:
        """One track, embedded or about to be, and music asked of it: or most runs would do nothing."""
        self.announce()
        self.upload(0, 1)
        if not early:
            self.deliver(0, "once", None, False)
        self.submit(0, True)

    @rule()
    def announce(self) -> None:
        if len(self.audios) < 3:
            self.audios.append(self.stack.audio(size=7, limits=PLENTY))

    @precondition(lambda self: self.audios)
    @rule(which=st.integers(0, 2), copies=st.integers(0, 2))
    def upload(self, which: int, copies: int) -> None:
        audio = self.audios[which % len(self.audios)]
        if audio.id in self.uploaded:
            return
        self.stack.upload(audio)
        self.uploaded.add(audio.id)
        self.messages += [("embed", s3_event(upload_key("default", audio.id)))] * copies

    @precondition(lambda self: self.audios)
    @rule(which=st.integers(0, 2), sent=st.booleans())
    def submit(self, which: int, sent: bool) -> None:
        if len(self.generations) >= 6:
            return
        audio = self.audios[which % len(self.audios)]
        try:
            generation = self.stack.submit(audio, limits=PLENTY, format="wav")
        except (NotFound, Conflict):
            return
        self.generations.append(generation)
        if sent and generation.status == "queued":
            self.messages.append(("generate", {"tenant": "default", "generation_id": generation.id}))

    @precondition(lambda self: self.generations)
    @rule(which=st.integers(0, 5))
    def cancel(self, which: int) -> None:
        generation = self.generations[which % len(self.generations)]
        try:
            self.stack.records.cancel_generation("default", generation.id)
        except (NotFound, Conflict):
            return

    @precondition(lambda self: self.audios)
    @rule(which=st.integers(0, 2), step=st.none() | st.integers(0, 4), after=st.booleans())
    def delete(self, which: int, step: int | None, after: bool) -> None:
        app = self.stack.app("sweeper")
        audio = self.audios[which % len(self.audios)]
        with killed_at(step, after):
            try:
                self.stack.records.bury(audio)
            except NotFound:
                return
            purge(audio, self.stack.records, app.storage, app.vectors)

    # -- queues, sweeper, killer

    @rule(
        which=st.integers(0, 9),
        fate=st.sampled_from(["once", "twice", "lost"]),
        step=st.none() | st.integers(0, 7),
        after=st.booleans(),
        unheard=st.none() | st.integers(0, 7),
    )
    def deliver(
        self, which: int, fate: str, step: int | None, after: bool, unheard: int | None = None
    ) -> None:
        self.collect()
        if not self.messages:
            return
        worker, body = self.messages.pop(which % len(self.messages))
        if fate == "lost":
            return
        if fate == "twice":
            self.messages.append((worker, body))
        wanted_again = True
        with killed_at(step, after), unanswered(unheard):
            wanted_again = bool(self.stack.deliver(self.stack.app(worker), body, received=2))
        if wanted_again and fate != "twice":
            self.messages.append((worker, body))

    @rule(seconds=st.sampled_from([1, 20, 61, 125, 600]))
    def wait(self, seconds: int) -> None:
        self.stack.clock.now += seconds

    @rule(step=st.none() | st.integers(0, 5), after=st.booleans(), unheard=st.none() | st.integers(0, 5))
    def sweep(self, step: int | None, after: bool, unheard: int | None) -> None:
        with killed_at(step, after), unanswered(unheard):
            self.stack.sweep()

    @rule(copies=st.integers(1, 2))
    def redrive(self, copies: int) -> None:
        """Replay every dead letter, perhaps twice: what failed may start again by that, and by that alone."""
        for worker in WORKERS:
            for letter in self.stack.drain(f"{worker}-dead"):
                self.messages += [(worker, letter)] * copies
                self.replayed.add(letter.get("audio_id") or letter["generation_id"])

    def collect(self) -> None:
        for worker in WORKERS:
            self.messages += [(worker, body) for body in self.stack.drain(worker)]

    # -- what must hold

    @invariant()
    def terminal_states_stay(self) -> None:
        statuses = self.stack.statuses()
        for record in [*self.audios, *self.generations]:
            status, before = statuses[record.id], self.terminal.get(record.id)
            if before == "failed" and record.id in self.replayed:
                del self.terminal[record.id]
            elif before and status not in {"deleted", "expired"}:
                assert status == before
            if status in TERMINAL:
                self.terminal[record.id] = status

    @invariant()
    def finished_objects_stay(self) -> None:
        for item in self.stack.s3.list_objects_v2(Bucket="music", Prefix="generated/").get("Contents", []):
            assert self.etags.setdefault(item["Key"], item["ETag"]) == item["ETag"]

    def teardown(self) -> None:
        """Let everything that is lost be found again, deliver it, and look at what became of it."""
        try:
            self.settle()
        finally:
            for queue in WORKERS:
                self.stack.drain(queue)
                self.stack.drain(f"{queue}-dead")

    def settle(self) -> None:
        for _ in range(80):
            self.stack.clock.now += 130
            self.stack.sweep()
            self.redrive(1)
            self.collect()
            for _ in range(100):
                if not self.messages:
                    break
                worker, body = self.messages.pop(0)
                if self.stack.deliver(self.stack.app(worker), body, received=2):
                    self.messages.append((worker, body))
                    self.stack.clock.now += 61
            if self.finished() and not self.letters():
                break
        assert self.finished()
        self.stack.sweep()  # and with it all there is is reconciled, within one page
        self.terminal_states_stay()
        objects, vectors = self.stack.objects(), self.stack.vectors()
        for audio in self.audios:
            status = self.terminal[audio.id]
            there = (upload_key("default", audio.id) in objects, f"default/{audio.id}" in vectors)
            if status == "ready":
                assert there == (True, True)
            elif status == "failed":
                assert audio.id not in self.uploaded  # everything given up was replayed
                assert not there[1]
            elif status == "deleted":
                assert there == (False, False)
            derived = [key for key in objects if key.startswith(f"derived/default/{audio.id}/")]
            assert len(derived) == (2 if status == "ready" else 0)
        for generation in self.generations:
            status = self.terminal[generation.id]
            written = [key for key in objects if generation.id in key]
            # Its result, two candidates, and what one of them is made of.
            assert len(written) == (4 if status == "succeeded" else 0), (status, written)
            if status == "failed":
                assert self.terminal[generation.audio_id] in {"failed", "deleted"}
        assert set(objects) <= self.expected()
        assert len(vectors) == sum(self.terminal[audio.id] == "ready" for audio in self.audios)
        self.bytes_are_counted()
        self.seconds_are_counted()

    def bytes_are_counted(self) -> None:
        """The tenant's count is that of the objects that belong to living records."""
        living = {
            record.id for record in [*self.audios, *self.generations] if self.terminal[record.id] != "deleted"
        }
        found = self.stack.s3.list_objects_v2(Bucket="music").get("Contents", [])
        sizes = dict.fromkeys(living, 0)
        for item in found:
            identifier = item["Key"].split("/")[2].partition(".")[0]
            if identifier in living:
                sizes[identifier] += item["Size"]
        assert self.stack.records.usage.stored("default") == sum(max(size, LEAST) for size in sizes.values())

    def seconds_are_counted(self) -> None:
        """What each day is charged is what its records are."""
        charged: dict[str, Any] = defaultdict(int)
        days: dict[str, Any] = defaultdict(int)
        items: list[dict[str, Any]] = self.stack.records.items.table.scan()["Items"]
        for item in items:
            if "charged" in item:
                charged[str(item["charged_on"])] += item["charged"]
            if "worker_seconds" in item:
                days[str(item["sk"]).removeprefix("usage#")] += item["worker_seconds"]
        assert days == charged
        assert len(charged) >= 1

    def finished(self) -> bool:
        """Whether every record has come to its end."""
        statuses = self.stack.statuses()
        return all(statuses[record.id] in TERMINAL for record in [*self.audios, *self.generations])

    def letters(self) -> bool:
        """Whether dead letters are waiting, in their queues or to be delivered again."""
        self.redrive(1)
        return any("failed_attempt" in body for _, body in self.messages)

    def expected(self) -> set[str]:
        """Keys of all objects that may be somebody's."""
        derived = {
            key("default", audio.id, record.derived["revision"])
            for audio in self.audios
            if (record := self.stack.get_audio(audio)).derived
            for key in (analysis_key, preview_key)
        }
        results = {f"generated/default/{generation.id}.wav" for generation in self.generations} | {
            f"candidates/default/{generation.id}/{name}"
            for generation in self.generations
            for name in ("0.flac", "0.json", "1.flac")
        }
        return derived | results | {upload_key("default", audio.id) for audio in self.audios}


def test_whatever_happens_every_job_ends_with_one_result(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_models(stack, monkeypatch)
    monkeypatch.setattr("backend.records.types.MIN_RECORD_BYTES", LEAST)
    monkeypatch.setattr(stack.app("sweeper"), "limits", PLENTY)
    for name in WORKERS:
        app = stack.app(name)
        monkeypatch.setattr(app, "limits", PLENTY)
        monkeypatch.setattr(app.consumer.runner, "_limits", PLENTY)
    # The bucket's dates are not of this clock. Without the day of grace, too, nothing of anybody's may go.
    monkeypatch.setattr("backend.reconcile.ORPHAN_SECONDS", -float("inf"))
    monkeypatch.setattr("backend.reconcile.REST_SECONDS", 0)
    machine: Callable[[], Delivery] = type("Delivery", (Delivery,), {"stack": stack})
    run_state_machine_as_test(
        machine,  # type: ignore[arg-type]
        settings=settings(
            max_examples=200 if LONG else 10,
            derandomize=not LONG,
            phases=[Phase.generate, Phase.shrink] if LONG else [Phase.generate],
            stateful_step_count=50 if LONG else 30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
