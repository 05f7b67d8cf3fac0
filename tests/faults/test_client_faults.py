"""Faults at the AWS client, at every request in turn: retries with jitter, and never two results or none."""

from __future__ import annotations

import time
import types
from collections import Counter
from collections.abc import Callable
from types import ModuleType
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from moto.core.botocore_stubber import BotocoreStubber
from moto.sagemakerruntime.responses import SageMakerRuntimeResponse

from backend.records import Audio, Generation
from backend.settings import client
from backend.storage import candidate_key, generated_key, upload_key
from tests.faults.injection import BrokenBody, Fault, meet
from tests.support.requests import Answer, call, form
from tests.support.stack import Stack, fake_models

ATTEMPTS = 4
"""What `backend.settings.CONFIG` allows for one call."""
WORKERS = ("embed", "generate")


class Wire:
    """What is between the AWS clients of this process and moto.

    Attributes
    ----------
    requests : list of str
        Operations of all requests since `heal`.
    tries : Counter of str
        Requests of each call, by the SDK's id of it.
    pauses : list of float
        Seconds between the requests of a call.
    """

    def __init__(self, plain: Any) -> None:
        self._plain = plain
        self.pauses: list[float] = []
        self.heal()

    def heal(self) -> None:
        """Let everything pass, and begin to count."""
        self.requests: list[str] = []
        self.tries: Counter[str] = Counter()
        self.choose: Callable[[int, str], Fault | None] = lambda number, operation: None
        self.broken_bodies = 0

    def once(self, number: int, fault: Fault) -> None:
        """Let one request meet a fault, by its number from 0."""
        self.heal()
        self.choose = lambda at, operation: fault if at == number else None

    def always(self, operation: str, fault: Fault) -> None:
        """Let every request of an operation meet a fault."""
        self.heal()
        self.choose = lambda at, asked: fault if asked == operation else None

    def send(self, stubber: Any, event_name: str, request: AWSPreparedRequest, **more: Any) -> AWSResponse:
        """Let a request pass, or not."""
        service, operation = event_name.split(".")[1:]
        fault = self.choose(len(self.requests), operation)
        self.requests.append(operation)
        self.tries[str(request.headers["amz-sdk-invocation-id"])] += 1
        answer = meet(fault, service, request, lambda sent: self._plain(stubber, event_name, sent, **more))
        if operation == "GetObject" and self.broken_bodies:
            self.broken_bodies -= 1
            answer.raw = BrokenBody(answer.raw)
        return answer


@pytest.fixture
def wire(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Wire:
    """Put the wire in place, with models that take no time."""
    fake_models(stack, monkeypatch)
    made = Wire(BotocoreStubber.__call__)
    monkeypatch.setattr(BotocoreStubber, "__call__", lambda stubber, **more: made.send(stubber, **more))
    monkeypatch.setattr("botocore.endpoint.time", types.SimpleNamespace(sleep=made.pauses.append))
    monkeypatch.setattr("tests.faults.injection.SLOW_SECONDS", 0.01)
    return made


class Job:
    """One job of a worker, ready to be delivered."""

    def __init__(self, stack: Stack, worker: str) -> None:
        self.stack, self.worker, self.app = stack, worker, stack.app(worker)
        self.audio: Audio = stack.audio()
        stack.upload(self.audio)
        self.generation: Generation | None = None
        if worker == "generate":
            assert not stack.deliver(stack.app("embed"), self.message())
            self.generation = stack.submit(self.audio, format="wav")
        else:
            self.waiting = stack.submit(self.audio, format="wav")

    def message(self) -> dict[str, str]:
        """Return what its queue holds for it."""
        if self.generation:
            return {"tenant": "default", "generation_id": self.generation.id}
        return {"tenant": "default", "audio_id": self.audio.id}

    def deliver(self) -> bool:
        """Hand it to its worker; return whether it is done with."""
        return not self.stack.deliver(self.app, self.message(), received=2)

    def check(self, attempts: int = 1) -> None:
        """Assert that it has succeeded, once, in so many attempts at most."""
        if self.generation:
            made = self.stack.get_generation(self.generation)
            current: Audio | Generation = made
            assert made.status == "succeeded", made
            assert made.result
            written = {key for key in self.stack.objects() if self.generation.id in key}
            candidates = range(len(made.result["candidates"]))
            kept = {candidate_key("default", self.generation.id, index, "flac") for index in candidates}
            origins = {candidate_key("default", self.generation.id, index, "json") for index in candidates}
            assert written - origins == {generated_key("default", self.generation.id, "wav"), *kept}
        else:
            current = self.stack.get_audio(self.audio)
            assert current.status == "ready", current
            assert self.stack.vectors().count(f"default/{self.audio.id}") == 1
            assert upload_key("default", self.audio.id) in self.stack.objects()
        assert 1 <= current.attempt <= attempts


def clean_run(stack: Stack, wire: Wire, worker: str) -> list[str]:
    """Return the requests of a job without faults, whose content is that of one before it."""
    assert Job(stack, worker).deliver()
    job = Job(stack, worker)
    wire.heal()
    assert job.deliver()
    return list(wire.requests)


def clear(stack: Stack) -> None:
    """Leave nothing in the queues."""
    for queue in WORKERS:
        stack.drain(queue)


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("worker", WORKERS)
def test_one_fault_at_any_request_of_a_job_is_survived_at_once(
    worker: str, fault: Fault, stack: Stack, wire: Wire
) -> None:
    clean = clean_run(stack, wire, worker)
    assert len(clean) >= 7
    for number in range(len(clean)):
        job = Job(stack, worker)
        wire.once(number, fault)
        assert job.deliver(), (number, clean[number])
        asked = list(wire.requests)
        wire.heal()
        job.check()
        # One request again, and perhaps a look at what the lost one has done.
        assert len(asked) <= len(clean) + 3, (clean, asked)
        assert asked.count(clean[number]) > 1 or fault is Fault.SLOW
    clear(stack)


@pytest.mark.parametrize("fault", [Fault.THROTTLED, Fault.FAILED, Fault.CLOSED, Fault.LOST])
@pytest.mark.parametrize("worker", WORKERS)
def test_an_outage_of_any_operation_is_waited_out(
    worker: str, fault: Fault, stack: Stack, wire: Wire
) -> None:
    for operation in dict.fromkeys(clean_run(stack, wire, worker)):
        job = Job(stack, worker)
        wire.always(operation, fault)
        for _ in range(2):
            stack.deliver(job.app, job.message(), received=2)
            stack.clock.now += 20
        # Each call gives up in the end: whoever asks without end makes an outage longer.
        assert operation in wire.requests
        assert max(wire.tries.values()) <= ATTEMPTS
        wire.heal()
        for _ in range(20):
            stack.clock.now += 61
            stack.sweep()
            clear(stack)
            if job.deliver():
                break
        job.check(attempts=3)
    clear(stack)


def test_a_source_that_stops_coming_half_way_is_fetched_again(stack: Stack, wire: Wire) -> None:
    for worker in WORKERS:
        job = Job(stack, worker)
        wire.heal()
        wire.broken_bodies = 1
        assert not job.deliver()
        assert job.deliver()
        job.check(attempts=2)
    clear(stack)


def test_retries_are_bounded_and_have_jitter(stack: Stack, wire: Wire) -> None:
    pauses = []
    for _ in range(8):
        fresh = boto3.resource("dynamodb", config=client("dynamodb").meta.config).Table("records")
        wire.always("GetItem", Fault.THROTTLED)
        wire.pauses.clear()
        with pytest.raises(fresh.meta.client.exceptions.ProvisionedThroughputExceededException):
            fresh.get_item(Key={"pk": "a", "sk": "b"})
        assert wire.requests == ["GetItem"] * ATTEMPTS
        assert len(wire.pauses) == ATTEMPTS - 1
        for number, pause in enumerate(wire.pauses):
            assert 0 <= pause <= 2**number
        pauses += wire.pauses
    assert len(set(pauses)) == len(pauses)


class TestApi:
    """Requests of users."""

    def post(self, stack: Stack) -> Answer:
        """Upload a file."""
        return call(stack.app("upload"), "POST", "/api/upload", **form(b"sound", "song.mp3"))

    def ready(self, stack: Stack) -> Audio:
        """Make an embedded audio."""
        job = Job(stack, "embed")
        assert job.deliver()
        clear(stack)
        return job.audio

    def generate(self, stack: Stack, audio: Audio, key: str) -> Answer:
        """Ask for music."""
        return call(
            stack.app("api"),
            "POST",
            "/api/generate/{audio_id}",
            audio_id=audio.id,
            body={"duration": 5},
            headers={"Idempotency-Key": key},
        )

    @pytest.mark.parametrize("fault", Fault)
    def test_an_upload_survives_one(self, fault: Fault, stack: Stack, wire: Wire) -> None:
        assert self.post(stack).status == 201
        clean = list(wire.requests)
        for number in range(len(clean)):
            before = {audio.id for audio in stack.records.list_audio("default")[0]}
            wire.once(number, fault)
            answer = self.post(stack)
            wire.heal()
            assert answer.status == 201, (clean[number], answer.body)
            new = {audio.id for audio in stack.records.list_audio("default")[0]} - before
            assert new == {answer.json["audio_id"]}
            assert upload_key("default", answer.json["audio_id"]) in stack.objects()

    @pytest.mark.parametrize("fault", Fault)
    def test_a_request_for_music_survives_one(self, fault: Fault, stack: Stack, wire: Wire) -> None:
        audio = self.ready(stack)
        wire.heal()
        assert self.generate(stack, audio, "clean").status == 202
        clean = list(wire.requests)
        for number in range(len(clean)):
            clear(stack)
            before = {one.id for one in stack.records.list_generations("default")[0]}
            wire.once(number, fault)
            answer = self.generate(stack, audio, f"key {number}")
            wire.heal()
            assert answer.status == 202, (clean[number], answer.body)
            new = {one.id for one in stack.records.list_generations("default")[0]} - before
            assert new == {answer.json["generation_id"]}
            # A message sent twice names one job.
            assert {body["generation_id"] for body in stack.drain("generate")} == new

    @pytest.mark.parametrize("fault", Fault)
    def test_a_deletion_survives_one(self, fault: Fault, stack: Stack, wire: Wire) -> None:
        def delete(audio: Audio) -> Answer:
            return call(stack.app("api"), "DELETE", "/api/audio/{audio_id}", audio_id=audio.id)

        audio = self.ready(stack)
        wire.heal()
        assert delete(audio).status == 204
        clean = list(wire.requests)
        for number in range(len(clean)):
            audio = self.ready(stack)
            wire.once(number, fault)
            answer = delete(audio)
            wire.heal()
            assert answer.status == 204, (clean[number], answer.body)
            assert stack.get_audio(audio).deleted
            assert stack.objects() == stack.vectors() == []

    @pytest.mark.parametrize("fault", [Fault.THROTTLED, Fault.FAILED, Fault.CLOSED, Fault.LOST])
    def test_what_an_outage_leaves_of_an_upload_is_taken_in_or_cleaned_up(
        self, fault: Fault, stack: Stack, wire: Wire
    ) -> None:
        stack.clock.now = time.time()  # what uploads are allowed by
        assert self.post(stack).status == 201
        for operation in dict.fromkeys(wire.requests):
            wire.always(operation, fault)
            answer = self.post(stack)
            if answer.status != 201:
                answer.problem(503, "unavailable")
                assert int(answer.headers["retry-after"]) > 0
            assert max(wire.tries.values()) <= ATTEMPTS
            wire.heal()
        for _ in range(20):
            stack.clock.now += 600
            stack.sweep()
            for body in stack.drain("embed"):
                stack.deliver(stack.app("embed"), body)
        audios = stack.records.list_audio("default")[0]
        assert {audio.status for audio in audios} <= {"ready", "failed"}
        ready = sorted(audio.id for audio in audios if audio.status == "ready")
        sources = [key for key in stack.objects() if not key.startswith("derived/")]
        assert sorted(sources) == [upload_key("default", one) for one in ready]
        derived = sorted(key.split("/")[2] for key in stack.objects() if key not in sources)
        assert derived == sorted(ready * 2)  # what a player needs: a preview and an analysis
        assert sorted(stack.vectors()) == [f"default/{one}" for one in ready]


def test_the_faults_are_faults(stack: Stack, wire: Wire) -> None:
    app: ModuleType = stack.app("embed")
    for fault in (Fault.THROTTLED, Fault.FAILED, Fault.CLOSED, Fault.LOST):
        for operation, ask in {
            "GetItem": lambda: app.records.get_audio("default", "nobody"),
            "HeadObject": lambda: app.storage.head("nothing"),
            "SendMessage": lambda: app.queues.send_embed("default", "nobody", "c"),
            "DeleteVectors": lambda: app.vectors.delete("default", "nobody"),
        }.items():
            wire.always(operation, fault)
            with pytest.raises(Exception, match=r"Injected|HeadObject|closed|timeout") as caught:
                ask()
            assert wire.requests == [operation] * ATTEMPTS, (fault, caught.value)
    wire.heal()
    clear(stack)


class TestDispatch:
    """Messages that are handed over to an endpoint."""

    CALLS = ("GetItem", "UpdateItem", "InvokeEndpointAsync")

    @pytest.fixture
    def audio(self, stack: Stack, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> Audio:
        """An audio that is ready; and an endpoint that takes everything, where moto wants an object."""
        answer: tuple[int, dict[str, str], str] = (202, {}, '{"InferenceId": "x"}')
        monkeypatch.setattr(SageMakerRuntimeResponse, "invoke_endpoint_async", lambda _: answer)
        job = Job(stack, "embed")
        assert job.deliver()
        clear(stack)
        return job.audio

    def message(self, stack: Stack, audio: Audio) -> dict[str, str]:
        """Ask for a generation; return its message."""
        return {"tenant": "default", "generation_id": stack.submit(audio, format="wav").id}

    @pytest.mark.parametrize("fault", Fault)
    def test_one_fault_at_any_request_is_survived_at_once(
        self, fault: Fault, stack: Stack, wire: Wire, audio: Audio
    ) -> None:
        app = stack.app("dispatch")
        wire.heal()
        assert stack.deliver(app, self.message(stack, audio)) == []
        for number, operation in enumerate(self.CALLS):
            message = self.message(stack, audio)
            wire.once(number, fault)
            assert stack.deliver(app, message) == []
            assert wire.requests.count(operation) > 1 or fault is Fault.SLOW
            assert wire.requests[-1] == "InvokeEndpointAsync"
        wire.heal()

    @pytest.mark.parametrize("fault", [Fault.THROTTLED, Fault.FAILED, Fault.CLOSED, Fault.LOST])
    @pytest.mark.parametrize("operation", CALLS)
    def test_an_outage_leaves_the_message_in_its_queue(
        self, operation: str, fault: Fault, stack: Stack, wire: Wire, audio: Audio
    ) -> None:
        app, message = stack.app("dispatch"), self.message(stack, audio)
        wire.always(operation, fault)
        assert stack.deliver(app, message) == ["0"]
        assert max(wire.tries.values()) <= ATTEMPTS
        wire.heal()
        assert stack.deliver(app, message, received=2) == []
        assert wire.requests == [*self.CALLS]
