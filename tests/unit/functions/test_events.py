"""The sample events: handlers take them, and the local stack makes the same ones."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from local.aws.provision import client
from local.gateway import Gateway, proxy_event
from local.pool import ProcessPools
from local.stack import Stack
from local.template import ROOT, Deployment, load
from local.triggers import scheduled_event, sqs_record
from tests.support.local_stack import local_stack

EVENTS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text()) for path in sorted((ROOT / "events").glob("*.json"))
}
HTTP = {
    name: event
    for name, event in EVENTS.items()
    if "httpMethod" in event and not name.startswith("authorizer")
}
STATUS = {
    "api-generate": 404,
    "api-health": 200,
    "api-list": 200,
    "api-preflight": 204,
    "encode-candidate": 404,  # nobody has asked for that generation
    "search-text": 409,  # builtin understands no text
    "upload-json": 201,
    "upload-multipart": 201,
    "wait-embedding": 404,  # nobody has uploaded that track
}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with local_stack(parameters={"AuthMode": "none"}) as stack:
        yield stack


@pytest.fixture(scope="module")
def pools(stack: Stack) -> ProcessPools:
    return stack.process_pools()


def function_of(name: str, deployment: Deployment) -> str:
    """The function that an event is for: its file's name begins with it."""
    return next(key for key, f in deployment.functions.items() if f.label == name.partition("-")[0])


def shape(value: Any) -> Any:
    """The names and kinds of an event's members, without their values."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    return type(value).__name__


def test_there_is_one_for_every_trigger() -> None:
    for host, other in (("lambda", "dispatch"), ("sagemaker", "generate")):
        deployment = load("http://127.0.0.1:4566", parameters={"GenerateHost": host})
        triggered = {trigger.function for trigger in deployment.queue_triggers}
        triggered |= {schedule.function for schedule in deployment.schedules}
        triggered |= {route.function for route in deployment.routes}
        triggered |= {authorizer.function for authorizer in deployment.authorizers.values()}
        ours = {function_of(name, deployment) for name in EVENTS if not name.startswith(f"{other}-")}
        assert ours == triggered == deployment.functions.keys()


def test_both_hosts_of_generations_get_the_same_messages() -> None:
    assert EVENTS["dispatch-message"] == EVENTS["generate-message"]


@pytest.mark.parametrize(
    "name", sorted(EVENTS.keys() - {"dispatch-message"})
)  # test_dispatch.py has that one
def test_the_handler_takes_it(name: str, stack: Stack, pools: ProcessPools) -> None:
    answer = pools.invoke(function_of(name, stack.deployment), EVENTS[name])
    if name in HTTP:
        assert answer["statusCode"] == STATUS[name], answer
    elif name.startswith("sweeper"):
        assert answer == {}
    elif name.startswith("authorizer"):
        assert answer["context"] == {"tenant": "default"}  # authorization is off here
    else:
        assert answer == {"batchItemFailures": []}


def test_links_keep_the_stage(stack: Stack, pools: ProcessPools) -> None:
    answer = pools.invoke("UploadFunction", EVENTS["upload-multipart"])
    assert json.loads(answer["body"])["links"]["self"].startswith("/dev/api/audio/")


@pytest.mark.parametrize("name", HTTP)
def test_the_gateway_makes_the_same_event(name: str, stack: Stack, pools: ProcessPools) -> None:
    event = EVENTS[name]
    body = base64.b64decode(event["body"] or "")
    builder = EnvironBuilder(
        event["path"],
        method=event["httpMethod"],
        query_string=event["queryStringParameters"],
        headers=event["headers"],
        data=body,
    )
    request = Request(builder.get_environ())
    gateway = Gateway(stack.deployment, pools, stack.log)
    route, parameters = gateway._match(request)
    made = proxy_event(request, body, route, parameters, "id", stage="dev", binary=True)
    others = {"headers", "multiValueHeaders", "requestContext"}
    assert made.keys() == event.keys()
    assert {key: made[key] for key in made.keys() - others} == {
        key: event[key] for key in event.keys() - others
    }
    assert made["headers"].keys() == event["headers"].keys()
    assert made["multiValueHeaders"].keys() == event["multiValueHeaders"].keys()
    assert made["headers"]["Accept"] == event["headers"]["Accept"]
    context = dict(event["requestContext"])
    # Without authorization the rest of the identity is null.
    identity = {key: value for key, value in context["identity"].items() if value is not None}
    assert shape(made["requestContext"]) == shape(context | {"identity": identity})


def test_a_queue_makes_the_same_event(stack: Stack) -> None:
    sqs = client("sqs", stack.endpoint_url)
    queue = stack.deployment.queues["GenerateQueue"]
    expected = EVENTS["generate-message"]["Records"][0]
    sqs.send_message(QueueUrl=queue.url, MessageBody=expected["body"])
    (message,) = sqs.receive_message(QueueUrl=queue.url, AttributeNames=["All"])["Messages"]
    made = sqs_record(message, queue.arn)
    assert shape(made) == shape(expected)
    assert (made["body"], made["md5OfBody"]) == (expected["body"], expected["md5OfBody"])


def test_a_bucket_makes_the_same_message(stack: Stack) -> None:
    queue = stack.deployment.queues["EmbedQueue"]
    s3, sqs = client("s3", stack.endpoint_url), client("sqs", stack.endpoint_url)
    expected = json.loads(EVENTS["embed-s3"]["Records"][0]["body"])["Records"][0]
    bucket, key = expected["s3"]["bucket"]["name"], expected["s3"]["object"]["key"]
    s3.put_object(Bucket=bucket, Key=key, Body=b"x" * expected["s3"]["object"]["size"])
    messages = sqs.receive_message(QueueUrl=queue.url, MaxNumberOfMessages=10)["Messages"]
    notices = [record for message in messages for record in json.loads(message["Body"]).get("Records", [])]
    made = next(notice for notice in notices if key.rpartition("/")[2] in notice["s3"]["object"]["key"])
    # moto leaves out what nobody here reads (owner, sequencer), and also encodes slashes.
    for member in ("bucket", "object"):
        assert made["s3"][member].keys() <= expected["s3"][member].keys()
    assert made["s3"]["bucket"]["name"] == bucket
    assert made["s3"]["object"]["size"] == expected["s3"]["object"]["size"]
    assert made["eventSource"] == expected["eventSource"]
    assert made["eventName"].startswith("ObjectCreated:")


def test_a_schedule_makes_the_same_event(stack: Stack) -> None:
    (schedule,) = stack.deployment.schedules
    made, expected = scheduled_event(schedule), EVENTS["sweeper-schedule"]
    assert shape(made) == shape(expected)
    assert (made["detail-type"], made["source"]) == (expected["detail-type"], expected["source"])
