"""The local endpoint: what SageMaker does with a request, and with the container."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from botocore.exceptions import ClientError, ParamValidationError

from local import endpoint as endpoints
from local.aws.provision import client
from local.endpoint import Endpoint
from local.logs import Log
from local.stack import Stack
from tests.support.containers import FakeContainer, Instances
from tests.support.local_stack import local_stack
from tests.support.waiting import eventually

NAME = "music-local-generate"
STREAMS = 3


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    parameters = {"AuthMode": "none", "GenerateHost": "sagemaker", "EndpointStreams": str(STREAMS)}
    with local_stack(parameters=parameters) as stack:
        yield stack


@pytest.fixture
def said() -> io.StringIO:
    """What is logged."""
    return io.StringIO()


@pytest.fixture
def endpoint(stack: Stack, said: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    """The stack's endpoint, which has no instance yet and keeps none without work."""
    monkeypatch.setattr(endpoints, "RESTART_SECONDS", 0.01)
    (declared,) = stack.deployment.endpoints
    made = stack.endpoints[NAME] = Endpoint(declared, stack.endpoint_url, Log(said), idle_seconds=0.0)
    yield made
    made.close()


@pytest.fixture
def runtime(stack: Stack) -> Any:
    return client("sagemaker-runtime", stack.endpoint_url)


@pytest.fixture
def s3(stack: Stack) -> Any:
    return client("s3", stack.endpoint_url)


def invoke(runtime: Any, **more: Any) -> dict[str, Any]:
    request = {"EndpointName": NAME, "ContentType": "application/json", "Body": b'{"a": 1}'}
    answer: dict[str, Any] = runtime.invoke_endpoint_async(**request | more)
    return answer


def receipt(s3: Any, address: str) -> str:
    """Wait for an object, and read it."""

    def read() -> str | None:
        try:
            return str(s3.get_object(Bucket=parts.netloc, Key=parts.path[1:])["Body"].read().decode())
        except s3.exceptions.NoSuchKey:
            return None

    parts = urlsplit(address)
    return str(eventually(read, until=lambda text: text is not None))


def test_an_answer_is_where_the_request_was_told(endpoint: Endpoint, runtime: Any, s3: Any) -> None:
    instances = Instances()
    endpoint.start(instances)
    answer = invoke(runtime, InferenceId="mine-1")
    assert answer["InferenceId"] == "mine-1"
    assert json.loads(receipt(s3, answer["OutputLocation"])) == {"status": "done"}
    (container,) = instances.started
    assert container.asked == [("mine-1", b'{"a": 1}')]
    failed = urlsplit(answer["FailureLocation"])
    with pytest.raises(ClientError, match="404"):
        s3.head_object(Bucket=failed.netloc, Key=failed.path[1:])


def test_requests_wait_for_the_first_instance(endpoint: Endpoint, runtime: Any, s3: Any) -> None:
    answers = [invoke(runtime) for _ in range(5)]
    assert endpoint.container is None
    assert endpoint.backlog() == 5
    endpoint.start(Instances())
    for answer in answers:
        receipt(s3, answer["OutputLocation"])
    assert len({answer["InferenceId"] for answer in answers}) == 5  # made up, where none was given


def test_it_is_given_no_more_at_once_than_the_template_says(
    endpoint: Endpoint, runtime: Any, s3: Any
) -> None:
    full = threading.Barrier(STREAMS)

    def answer(message: dict[str, Any], inference_id: str) -> tuple[int, Any]:
        full.wait(60)  # or nobody ever gets an answer
        return 200, {"status": "done"}

    instances = Instances(lambda container: setattr(container, "invoke", answer))
    answers = [invoke(runtime) for _ in range(2 * STREAMS)]
    endpoint.start(instances)
    for one in answers:
        receipt(s3, one["OutputLocation"])
    assert [container.most_at_once for container in instances.started] == [STREAMS]


def test_without_work_it_has_no_instance_and_with_work_it_has_another(
    endpoint: Endpoint, runtime: Any, s3: Any
) -> None:
    instances = Instances()
    endpoint.start(instances)
    for number in (1, 2):
        receipt(s3, invoke(runtime)["OutputLocation"])
        eventually(lambda: endpoint.container is None)
        assert len(instances.started) == number
        assert instances.started[-1].terminated


@pytest.mark.parametrize("status", [400, 500, 503])
def test_an_error_of_the_container_is_a_receipt_and_nobody_tries_again(
    endpoint: Endpoint, runtime: Any, s3: Any, status: int
) -> None:
    problem = {"code": "stopping", "detail": "The container is being stopped."}
    instances = Instances(lambda one: setattr(one, "invoke", lambda *_: (status, problem)))
    endpoint.start(instances)
    answer = invoke(runtime)
    text = receipt(s3, answer["FailureLocation"])
    assert text == f"Received server error ({status}) from model: stopping: The container is being stopped."
    eventually(lambda: endpoint.container is None)
    assert len(instances.started[0].asked) == 1


def test_a_container_that_dies_fails_what_it_had_and_what_waits_gets_another(
    endpoint: Endpoint, runtime: Any, s3: Any
) -> None:
    begun, over = threading.Semaphore(0), threading.Event()

    def prepare(container: FakeContainer) -> None:
        if not instances.started:

            def hang(message: dict[str, Any], inference_id: str) -> tuple[int, Any]:
                begun.release()
                over.wait(60)
                raise ConnectionAbortedError  # it is dead: nobody answers

            container.invoke = hang

    instances = Instances(prepare)
    endpoint.start(instances)
    answers = [invoke(runtime, InferenceId=str(number)) for number in range(STREAMS + 2)]
    for _ in range(STREAMS):
        begun.acquire()
    instances.started[0].die()
    over.set()
    lost = {inference_id for inference_id, _ in instances.started[0].asked}
    for answer in answers:
        where = "FailureLocation" if answer["InferenceId"] in lost else "OutputLocation"
        receipt(s3, answer[where])
    assert len(lost) == STREAMS


def test_a_container_that_never_starts_is_tried_again(endpoint: Endpoint, runtime: Any, s3: Any) -> None:
    def prepare(container: FakeContainer) -> None:
        if len(instances.started) < 3:
            container.die()

    instances = Instances(prepare)
    endpoint.start(instances)
    receipt(s3, invoke(runtime)["OutputLocation"])
    assert len(instances.started) == 4


def test_requests_wait_while_the_container_says_why_it_takes_none(
    endpoint: Endpoint, runtime: Any, s3: Any, said: io.StringIO
) -> None:
    refused = (503, {"code": "no_gpu", "detail": "There is no GPU here."})
    state = {"ping": refused}
    instances = Instances(lambda one: setattr(one, "pings", lambda: state["ping"]))
    endpoint.start(instances)
    answer = invoke(runtime)
    eventually(lambda: "503" in said.getvalue())
    assert "no_gpu: There is no GPU here." in said.getvalue()
    assert instances.started[0].asked == []
    state["ping"] = (200, {"status": "ready"})
    receipt(s3, answer["OutputLocation"])


def test_what_is_too_old_is_never_delivered(
    endpoint: Endpoint, runtime: Any, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoints, "TTL_SECONDS", range(1, 21601))
    late = invoke(runtime, InferenceId="late", RequestTTLSeconds=60)
    with endpoint._changed:
        endpoint._waiting[0] = endpoints.Invocation(**vars(endpoint._waiting[0]) | {"expires_at": 0.0})
    instances = Instances()
    endpoint.start(instances)
    assert receipt(s3, late["FailureLocation"]) == "The request expired in the queue."
    receipt(s3, invoke(runtime, InferenceId="in time")["OutputLocation"])
    assert [one for container in instances.started for one, _ in container.asked] == ["in time"]


def test_a_request_that_takes_too_long_is_given_up(endpoint: Endpoint, runtime: Any, s3: Any) -> None:
    over = threading.Event()

    def hang(message: dict[str, Any], inference_id: str) -> tuple[int, Any]:
        over.wait(60)
        return 200, {"status": "done"}

    instances = Instances(lambda one: setattr(one, "invoke", hang))
    endpoint.start(instances)
    answer = invoke(runtime, InvocationTimeoutSeconds=1)
    assert "did not answer: timed out" in receipt(s3, answer["FailureLocation"])
    over.set()


def test_a_receipt_that_cannot_be_written_keeps_nobody_waiting(
    endpoint: Endpoint, runtime: Any, s3: Any, said: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = endpoint._s3.put_object

    def refuse(**request: Any) -> Any:
        monkeypatch.setattr(endpoint._s3, "put_object", put)
        raise ClientError({"Error": {"Code": "SlowDown", "Message": "later"}}, "PutObject")

    monkeypatch.setattr(endpoint._s3, "put_object", refuse)
    endpoint.start(Instances())
    invoke(runtime)
    eventually(lambda: "no receipt" in said.getvalue())
    receipt(s3, invoke(runtime)["OutputLocation"])


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"EndpointName": "another"}, "Endpoint another of account 123456789012 not found."),
        ({"Body": b"x" * 128_001}, "at most 128000 bytes, not 128001"),
        ({"Body": b""}, "exactly one of Body and InputLocation"),
        ({"Body": b"", "InputLocation": "s3://bucket/key"}, "no InputLocation"),
        ({"InvocationTimeoutSeconds": 3601}, "InvocationTimeoutSeconds must be from 1 to 3600"),
        ({"RequestTTLSeconds": 59}, "RequestTTLSeconds must be from 60 to 21600"),
        ({"InferenceId": "x" * 65}, "at most 64 characters"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_sagemaker_would_not_take_is_refused(
    endpoint: Endpoint, runtime: Any, request_: dict[str, Any], message: str
) -> None:
    try:
        with pytest.raises(ClientError) as caught:
            invoke(runtime, **request_)
    except ParamValidationError:
        return  # the SDK knows better
    assert caught.value.response["Error"]["Code"] == "ValidationError"
    assert message in str(caught.value)
    assert endpoint.backlog() == 0


def test_nobody_is_let_in_without_a_signature(endpoint: Endpoint, stack: Stack) -> None:
    url = f"{stack.endpoint_url}/endpoints/{NAME}/async-invocations"
    answer = requests.post(url, b"{}", timeout=60)
    assert answer.status_code == 403
    assert endpoint.backlog() == 0


def test_an_end_of_the_stack_ends_the_instance(stack: Stack, runtime: Any, s3: Any) -> None:
    (declared,) = stack.deployment.endpoints
    made = stack.endpoints[NAME] = Endpoint(declared, stack.endpoint_url, Log(io.StringIO()))
    instances = Instances()
    made.start(instances)
    receipt(s3, invoke(runtime)["OutputLocation"])
    assert made.container is not None  # it stays for a while
    made.close()
    assert (made.container, instances.started[0].terminated) == (None, True)
