"""Generations on an endpoint: its process dies, its requests are lost, doubled, refused and given up.

Every job ends succeeded, with one object and the bytes of an uninterrupted run.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from werkzeug.wrappers import Request, Response

from local import endpoint
from local.aws.provision import client
from local.endpoint import Container, Endpoint, Invocation, ProcessContainer
from tests.faults.process import Plan
from tests.faults.stage import ENDPOINT, PATIENCE_SECONDS, Job, Outcome, Stage, staged
from tests.support import sound
from tests.support.waiting import eventually

DISPATCH = "DispatchFunction"
PARAMETERS = {"duration": 3, "seed": 7, "candidates": 2}
THROTTLES = 6


@pytest.fixture(scope="module")
def source() -> bytes:
    """Make a source of 8 s."""
    beat = sound.noise(8.0, seed=3) * 0.5 + sound.drone(8.0)
    return sound.encode(beat, 22050, "mp3", "libmp3lame")


def calls_of(stage: Stage, function: str, job: str) -> list[str]:
    """Return the calls of the first invocation of a function, or of the endpoint, for one job."""
    first = next(token for token, of in stage.tokens.items() if of == (function, job))
    return [line["call"] for line in stage.noted("calls.jsonl") if "call" in line and line["token"] == first]


def test_the_endpoint_and_what_feeds_it_may_die_between_any_two_side_effects(
    tmp_path: Path, source: bytes
) -> None:
    with staged(tmp_path, host="sagemaker") as stage:
        job = stage.submit(source, PARAMETERS)
        expected = stage.finish(job)
        jobs = [job]
        calls = {name: calls_of(stage, name, job.generation_id) for name in (DISPATCH, ENDPOINT)}
        assert calls[DISPATCH] == ["GetItem", "UpdateItem", "InvokeEndpointAsync"]
        assert {"PutObject", "UpdateItem", "PutEvents"} <= set(calls[ENDPOINT])
        planned = []
        for name, made in calls.items():
            for number in range(1, len(made) + 2):
                plan = Plan("", before=number) if number <= len(made) else Plan("", after=made[-1])
                planned.append((name, plan))
        for name, plan in planned:

            def plans(job: Job, name: str = name, plan: Plan = plan) -> dict[tuple[str, str], Plan]:
                return {(name, job.generation_id): plan}

            jobs.append(stage.submit(source, PARAMETERS, plans))
        stage.check(jobs, expected)
        for name, made in calls.items():
            killed = [
                tuple(line["killed"])
                for line in stage.noted("calls.jsonl")
                if "killed" in line and line["function"] == name
            ]
            assert Counter(killed) == Counter(pairwise(["", *made, ""])), name


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("endpoint"), host="sagemaker", idle_seconds=0.0) as stage:
        yield stage


@pytest.fixture(scope="module")
def expected(stage: Stage, source: bytes) -> Outcome:
    """What an uninterrupted job makes."""
    return stage.finish(stage.submit(source, PARAMETERS))


def the_endpoint(stage: Stage) -> Endpoint:
    (one,) = stage.stack.endpoints.values()
    return one


def is_replaced(stage: Stage, container: Container) -> bool:
    return the_endpoint(stage).container is not container


def scaled_to_zero(stage: Stage) -> None:
    eventually(lambda: the_endpoint(stage).container is None, patience=PATIENCE_SECONDS)


def only_once(stage: Stage, jobs: list[Job], expected: Outcome) -> None:
    """Assert that each job has succeeded with the same bytes, and that nothing of them is left over."""
    for job in jobs:
        assert stage.finish(job) == expected
    before = stage.objects()
    stage.deliver_all_again()
    assert stage.objects() == before
    results = [key for key in before if key.startswith("generated/")]
    assert {f"generated/default/{job.generation_id}.wav" for job in jobs} <= set(results)
    assert not [key for key in results if not key.endswith(".wav")]
    assert stage.dead_letters() == []


def test_an_instance_may_die_while_it_starts(stage: Stage, expected: Outcome, source: bytes) -> None:
    scaled_to_zero(stage)
    job = stage.submit(source, PARAMETERS)

    def starting() -> Container | bool:
        record = stage.api.get(f"/api/generation/{job.generation_id}").ok(200)
        return the_endpoint(stage).container or record["status"] == "succeeded"

    deaths = 0
    while deaths < 3 and (container := eventually(starting, patience=PATIENCE_SECONDS)) is not True:
        assert isinstance(container, ProcessContainer)
        os.kill(container.pid, signal.SIGKILL)
        deaths += 1
        eventually(partial(is_replaced, stage, container), patience=PATIENCE_SECONDS)
    assert deaths
    only_once(stage, [job], expected)


def test_an_instance_may_go_while_it_works(
    stage: Stage, expected: Outcome, source: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scaling in, SageMaker sends SIGTERM: the job is given back, and another instance goes on with it."""
    post = endpoint.Endpoint.post
    asked: list[str] = []

    def end(container: Container, generation_id: str) -> None:
        eventually(
            lambda: stage.api.get(f"/api/generation/{generation_id}").ok(200)["status"],
            until=lambda status: status != "queued",
            patience=PATIENCE_SECONDS,
        )
        container.terminate()

    def leave(one: Endpoint, container: Container, invocation: Invocation) -> None:
        asked.append(invocation.inference_id)
        if len(asked) == 1:
            generation_id = json.loads(invocation.body)["generation_id"]
            threading.Thread(target=end, args=(container, generation_id), daemon=True).start()
        post(one, container, invocation)

    monkeypatch.setattr(endpoint.Endpoint, "post", leave)
    job = stage.submit(source, PARAMETERS | {"duration": 20})
    finished = stage.finish(job)
    again = stage.finish(stage.submit(source, PARAMETERS | {"duration": 20}))
    assert finished == again


def test_a_message_may_come_many_times(stage: Stage, expected: Outcome, source: bytes) -> None:
    job = stage.submit(source, PARAMETERS)
    queue = stage.stack.deployment.queues["GenerateQueue"]
    body = {"tenant": "default", "generation_id": job.generation_id, "correlation_id": "again"}
    sqs = client("sqs", stage.stack.endpoint_url)
    for _ in range(5):
        sqs.send_message(QueueUrl=queue.url, MessageBody=json.dumps(body))
    only_once(stage, [job], expected)


def test_receipts_may_be_lost(
    stage: Stage, expected: Outcome, source: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[str] = []
    monkeypatch.setattr(endpoint.Endpoint, "_write", lambda one, address, body: lost.append(address))
    job = stage.submit(source, PARAMETERS)
    only_once(stage, [job], expected)
    assert lost


def test_a_request_may_be_lost_once_it_was_taken(
    stage: Stage, expected: Outcome, source: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No container ever gets it: the sweeper sends again when it would have expired."""
    lost: list[str] = []
    post = endpoint.Endpoint.post

    def lose(one: Endpoint, container: Container, invocation: Invocation) -> None:
        if lost:
            post(one, container, invocation)
        lost.append(invocation.inference_id)

    monkeypatch.setattr(endpoint.Endpoint, "post", lose)
    job = stage.submit(source, PARAMETERS)
    only_once(stage, [job], expected)
    assert len(lost) > 1


def test_a_request_may_be_given_up_while_its_job_goes_on(
    stage: Stage, expected: Outcome, source: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    post = endpoint.Endpoint.post

    def hurry(one: Endpoint, container: Container, invocation: Invocation) -> None:
        post(one, container, Invocation(**vars(invocation) | {"timeout": 0.2}))

    monkeypatch.setattr(endpoint.Endpoint, "post", hurry)
    monkeypatch.setattr(the_endpoint(stage), "idle_seconds", 300.0)  # nobody here knows of its work
    job = stage.submit(source, PARAMETERS)
    only_once(stage, [job], expected)


def test_the_endpoint_may_be_missing_for_a_while(stage: Stage, expected: Outcome, source: bytes) -> None:
    (name,) = stage.stack.endpoints
    missing = stage.stack.endpoints.pop(name)
    try:
        job = stage.submit(source, PARAMETERS)
        log = stage.folder / "stack.log"
        eventually(lambda: f"Endpoint {name} of account" in log.read_text(), patience=PATIENCE_SECONDS)
        assert stage.api.get(f"/api/generation/{job.generation_id}").ok(200)["status"] == "queued"
    finally:
        stage.stack.endpoints[name] = missing
    only_once(stage, [job], expected)


def test_the_endpoint_may_be_throttled(stage: Stage, expected: Outcome, source: bytes) -> None:
    front = stage.stack._front
    plain = front.invoke
    refused: list[str] = []

    def throttle(request: Request) -> Response | None:
        if len(refused) >= THROTTLES:  # more than the SDK tries
            return plain(request)
        refused.append(request.path)
        headers = {"x-amzn-ErrorType": "ThrottlingException"}
        return Response('{"message": "Rate exceeded"}', 400, headers, content_type="application/json")

    front.invoke = throttle
    try:
        jobs = [stage.submit(source, PARAMETERS) for _ in range(2)]
        only_once(stage, jobs, expected)
    finally:
        front.invoke = plain
    assert len(refused) == THROTTLES
