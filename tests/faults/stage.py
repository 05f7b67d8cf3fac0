"""The local stack with functions that can be killed and disturbed, and what has to hold of it in the end."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from moto.moto_api._internal.models import moto_api_backend
from moto.sqs.models import sqs_backends

from backend.storage import RECEIPTS
from local import endpoint, pool
from local.aws.provision import client
from local.endpoint import Container, Endpoint, Invocation
from local.invoke import InvocationError, Invoker
from local.logs import Log
from local.pool import Process, ProcessPools
from local.stack import Stack
from local.template import ACCOUNT, REGION, ROOT, ScheduleTrigger
from local.triggers import scheduled_event
from tests.faults.process import Plan
from tests.support.client import Api, post_form
from tests.support.waiting import eventually

CLOCKS = {
    "backend.records": {
        "LEASE_SECONDS": 20,
        "RENEW_SECONDS": 2,
        "RESEND_SECONDS": 20,
        "RESEND_LIMIT_SECONDS": 30,
        "HANDED_OVER_SECONDS": 60,  # the least that a request to an endpoint may wait
    },
    "backend.reconcile": {"REST_SECONDS": 0},
}
"""The same delivery with shorter clocks: a lease of 60 s would make a suite of hours."""
SWEEP_SECONDS = 1.0
PATIENCE_SECONDS = 1800.0
"""When a job is given up. It only ends a hang: a busy machine may need many minutes for all that waits."""
SWEEPER = "SweeperFunction"
QUEUES = ("EmbedQueue", "GenerateQueue")
ENDPOINT = "Endpoint"
"""What plans call the process of the endpoint."""


@dataclass
class Job:
    """One upload and the generation that waits for it."""

    audio_id: str
    generation_id: str
    audio: dict[str, Any] = field(default_factory=dict)
    generation: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What an uninterrupted job makes: its embedding and the SHA-256 of its music."""

    embedding: tuple[float, ...]
    music: str


class Busy:
    """Which process works on which job just now, and since when."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now: dict[Process, tuple[str, float]] = {}

    def begin(self, process: Process, job: str) -> None:
        """Note that a process has begun a job."""
        with self._lock:
            self._now[process] = job, time.monotonic()

    def end(self, process: Process) -> None:
        """Note that a process has ended its job."""
        with self._lock:
            self._now.pop(process, None)

    def now(self) -> dict[Process, tuple[str, float]]:
        """Return a copy of what is known."""
        with self._lock:
            return dict(self._now)


class Stage(Invoker):
    """The stack in this process; invokes its functions for the triggers.

    Parameters
    ----------
    folder : Path
        For plans, logs and what processes note.
    workers : int
        Processes of each worker.
    """

    def __init__(self, stack: Stack, pools: ProcessPools, folder: Path, workers: int) -> None:
        self.stack, self.pools, self.folder = stack, pools, folder
        self.busy = Busy()
        self.plans: dict[tuple[str, str], Plan] = {}
        """Plan of the first invocation for a function and a record's id."""
        self.sweeper_plans: list[Plan] = []
        """Plans of the sweeper, one after the other, each until it has killed it."""
        self.tokens: dict[str, tuple[str, str]] = {}
        self._one_sweep = threading.Lock()
        self._planned = workers == 1
        self._over = threading.Event()
        self._sweeps = threading.Thread(target=self._sweep, daemon=True)

    # -- invoking

    def invoke(self, function: str, event: Any) -> Any:
        """Invoke a function, as planned."""
        job = job_of(event)
        if function == SWEEPER:
            with self._one_sweep:
                return self._sweep_once(event)
        self.plan(function, job)
        _current.job = job
        try:
            return self.pools.invoke(function, event)
        finally:
            _current.job = ""

    def plan(self, function: str, job: str) -> Plan:
        """Tell the process of a function, or of the endpoint, what becomes of it in its next invocation."""
        plan = self.plans.pop((function, job), Plan(""))
        if self._planned:
            plan = replace(plan, token=str(uuid.uuid4()))
            self.tokens[plan.token] = function, job
            plan.write(self.folder, function)
        return plan

    def deliver(self, post: Callable[[], None], job: str) -> None:
        """Post a request to the endpoint, as planned; what meets a dead process keeps its plan."""
        plan = self.plan(ENDPOINT, job)
        post()
        heard = any(line["token"] == plan.token for line in self.noted("calls.jsonl"))
        if (plan.before or plan.after) and not heard:
            self.plans[ENDPOINT, job] = plan

    def _sweep_once(self, event: Any) -> Any:
        plan = self.sweeper_plans[0] if self.sweeper_plans else Plan("")
        Plan(str(uuid.uuid4()), plan.before, plan.after, plan.before_call).write(self.folder, SWEEPER)
        try:
            return self.pools.invoke(SWEEPER, event)
        except InvocationError as error:
            if error.kind == "Runtime.ExitError" and self.sweeper_plans:
                self.sweeper_plans.pop(0)
            raise

    def _sweep(self) -> None:
        schedule = ScheduleTrigger("Often", SWEEPER, SWEEP_SECONDS)
        while not self._over.wait(SWEEP_SECONDS):
            try:
                self.invoke(SWEEPER, scheduled_event(schedule))
            except InvocationError as error:
                self.stack.log.line("stage", f"sweep: {error.kind}: {error}")

    def start(self, workers: int) -> None:
        """Serve the API, deliver messages, sweep."""
        self.stack.start_api(self.pools)
        self.stack.start_endpoints()
        self.stack.start_triggers(self, pollers=workers)
        self._sweeps.start()

    def close(self) -> None:
        """Stop sweeping; the stack closes the rest."""
        self._over.set()

    # -- users

    @property
    def api(self) -> Api:
        """Return a client of the API."""
        return Api(self.stack.api_url, patience=PATIENCE_SECONDS)

    def submit(
        self,
        content: bytes,
        parameters: dict[str, Any],
        plans: Callable[[Job], dict[tuple[str, str], Plan]] | None = None,
    ) -> Job:
        """Ask for music like a file that is only then uploaded: plans are made before anything runs."""
        api = self.api
        announced = api.announce("source.mp3", len(content), "audio/mpeg")
        generation = api.generate(announced["audio_id"], **parameters)
        job = Job(announced["audio_id"], generation["generation_id"])
        if plans:
            self.plans |= plans(job)
        with self._one_sweep:  # or on a busy machine a sweep finds the upload before its event does
            assert post_form(announced["upload"], content).status in {200, 201, 204}
            eventually(lambda: ("EmbedFunction", job.audio_id) not in self.plans, patience=PATIENCE_SECONDS)
        return job

    def finish(self, job: Job) -> Outcome:
        """Wait for a job, which has to succeed; return what it made."""
        job.audio = self.api.finished(f"/api/audio/{job.audio_id}")
        assert job.audio["status"] == "ready", job.audio
        job.generation = self.api.finished(f"/api/generation/{job.generation_id}")
        assert job.generation["status"] == "succeeded", job.generation
        embedding = self.api.get(f"/api/embedding/{job.audio_id}").ok(200)["embedding"]
        answer = self.api.get(f"/api/download/{job.generation_id}")
        assert answer.status == 200
        return Outcome(tuple(embedding), hashlib.sha256(answer.body).hexdigest())

    # -- what has to hold

    def check(self, jobs: list[Job], expected: Outcome) -> None:
        """Assert that every job has succeeded once, with exactly what an uninterrupted one makes."""
        for job in jobs:
            outcome = self.finish(job)
            assert outcome.embedding == expected.embedding, job
            assert outcome.music == expected.music, job
        before = self.objects()
        assert sorted(before) == sorted(
            [f"uploads/default/{job.audio_id}" for job in jobs]
            + [key for key in before if key.startswith("derived/")]
            + [
                f"candidates/default/{job.generation_id}/{number}.{end}"
                for job in jobs
                for number in range(len(job.generation["candidates"]))
                for end in ("flac", "json")
            ]
            + [f"generated/default/{job.generation_id}.wav" for job in jobs]
        )
        derived = [key.rpartition("/") for key in before if key.startswith("derived/")]
        folders = [f"derived/default/{job.audio_id}" for job in jobs]
        assert sorted(folder for folder, _, _ in derived) == sorted([*folders, *folders])
        assert len({name for _, _, name in derived}) == 2  # of one source, all are the same
        assert len({before[key] for key in before if key.endswith(".mp3")}) == 1
        assert sorted(self.vectors()) == sorted(f"default/{job.audio_id}" for job in jobs)
        records = {path: self.record(path) for path in self.paths(jobs)}
        self.deliver_all_again()
        assert self.objects() == before
        assert sorted(self.vectors()) == sorted(f"default/{job.audio_id}" for job in jobs)
        assert {path: self.record(path) for path in records} == records
        assert self.dead_letters() == []

    def paths(self, jobs: list[Job]) -> Iterator[str]:
        """Yield the paths of all records."""
        for job in jobs:
            yield f"/api/audio/{job.audio_id}"
            yield f"/api/generation/{job.generation_id}"

    def record(self, path: str) -> dict[str, Any]:
        """Read a record, without the link that is signed anew at every reading."""
        document: dict[str, Any] = self.api.get(path).ok(200)
        for links in (document["links"], *(one["links"] for one in document.get("candidates", []))):
            for link in ("play", "play_preview"):
                links.pop(link, None)
        return document

    def deliver_all_again(self) -> None:
        """Let every message that a dead worker has left invisible be delivered now, not in half an hour."""

        def all_taken() -> bool:
            messages = [message for queue in self.queues() for message in queue._messages]
            idle = not self.busy.now() and not any(one.backlog() for one in self.stack.endpoints.values())
            for message in messages if idle else []:
                message.visible_at = 0.0
            return idle and not messages

        eventually(all_taken, every=2.0, patience=PATIENCE_SECONDS)

    def queues(self) -> Iterator[Any]:
        """Yield the workers' queues as moto keeps them."""
        for queue in QUEUES:
            yield sqs_backends[ACCOUNT][REGION].queues[self.stack.deployment.queues[queue].name]

    def objects(self) -> dict[str, str]:
        """Return the ETags of all objects by key, but for the receipts of an endpoint: nobody reads those."""
        s3 = client("s3", self.stack.endpoint_url)
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=self.stack.deployment.buckets[0].name)
        found = {item["Key"]: item["ETag"] for page in pages for item in page.get("Contents", [])}
        return {key: etag for key, etag in found.items() if not key.startswith(f"{RECEIPTS}/")}

    def vectors(self) -> list[str]:
        """Return the keys of all vectors."""
        index = self.stack.deployment.vector_indexes[0]
        s3vectors = client("s3vectors", self.stack.endpoint_url)
        pages = s3vectors.get_paginator("list_vectors").paginate(
            vectorBucketName=index.bucket, indexName=index.name
        )
        return [vector["key"] for page in pages for vector in page["vectors"]]

    def dead_letters(self) -> list[str]:
        """Return the bodies of all dead letters."""
        queues = self.stack.deployment.queues
        names = [queues[queue.dead_letters].name for queue in queues.values() if queue.dead_letters]
        backend = sqs_backends[ACCOUNT][REGION]
        return [message.body for name in names for message in backend.queues[name]._messages]

    def noted(self, name: str) -> list[dict[str, Any]]:
        """Return what the processes noted in a file."""
        path = self.folder / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


class _Current(threading.local):
    job = ""


_current = _Current()


def job_of(event: Any) -> str:
    """Return the id of the record that an event is about; it is empty for none."""
    for record in event.get("Records", []):
        body = json.loads(record["body"])
        if "Records" in body:
            return str(body["Records"][0]["s3"]["object"]["key"].replace("%2F", "/").split("/")[-1])
        return str(body.get("audio_id") or body.get("generation_id") or "")
    return ""


@contextmanager
def staged(
    folder: Path, *, workers: int = 1, rate: float = 0.0, host: str = "lambda", idle_seconds: float = 5.0
) -> Iterator[Stage]:
    """Run a stack whose functions are instrumented, for as long as the context lasts.

    Parameters
    ----------
    folder : Path
        Empty.
    workers : int
        Processes of each worker; plans need 1.
    rate : float
        Share of all AWS requests that meet a fault.
    host : str
        Where generations run: ``"lambda"``, or ``"sagemaker"``, an endpoint, whose process is instrumented
        too and gets one job at a time.
    idle_seconds : float
        Seconds without work after which the endpoint has no instance any more.
    """
    more = {
        "FAULTS_ROOT": str(ROOT),
        "FAULTS_FOLDER": str(folder),
        "FAULTS_CLOCKS": json.dumps(CLOCKS),
        "FAULTS_RATE": str(rate),
    }
    hook = Path(__file__).with_name("hook")
    invoke = Process.invoke

    def instrumented(plain: Callable[..., dict[str, str]]) -> Callable[..., dict[str, str]]:
        def environment(*arguments: Any) -> dict[str, str]:
            made = plain(*arguments)
            return {**made, **more, "PYTHONPATH": f"{hook}{os.pathsep}{made['PYTHONPATH']}"}

        return environment

    with pytest.MonkeyPatch.context() as patch, (folder / "stack.log").open("w") as output:
        patch.setattr(pool, "_environment", instrumented(pool._environment))
        patch.setattr(endpoint, "environment", instrumented(endpoint.environment))
        patch.setattr(endpoint, "RESTART_SECONDS", 0.1)
        moto_api_backend.reset()  # of the stack before this one
        parameters = {"AuthMode": "none", "GenerateHost": host, "EndpointStreams": "1"}
        with Stack(parameters=parameters, log=Log(output)) as stack:
            pools = stack.process_pools(workers=workers)
            stage = Stage(stack, pools, folder, workers)

            def noted(process: Process, event: bytes) -> Any:
                if not _current.job:
                    return invoke(process, event)
                stage.busy.begin(process, _current.job)
                try:
                    return invoke(process, event)
                finally:
                    stage.busy.end(process)

            post = endpoint.Endpoint.post

            def planned(one: Endpoint, container: Container, invocation: Invocation) -> None:
                job = json.loads(invocation.body)["generation_id"]
                stage.deliver(partial(post, one, container, invocation), job)

            patch.setattr(Process, "invoke", noted)
            patch.setattr(endpoint.Endpoint, "post", planned)
            for one in stack.endpoints.values():
                one.idle_seconds = idle_seconds
            stage.start(workers)
            try:
                yield stage
            finally:
                stage.close()


def kill(process: Process) -> None:
    """Kill a process by SIGKILL, itself first, so that it cannot see its children die."""
    os.kill(process._process.pid, signal.SIGKILL)
