"""The dispatch function: each message reaches the endpoint or stays in its queue, and nothing is flooded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from types import ModuleType
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import ConnectionClosedError

from backend.jobs import MAX_ATTEMPTS, SENSELESS_SECONDS
from backend.records import (
    HANDED_OVER_SECONDS,
    LEASE_SECONDS,
    RESEND_LIMIT_SECONDS,
    RESEND_SECONDS,
    Audio,
    Generation,
)
from local.template import ROOT
from tests.faults.injection import Body
from tests.support.stack import ENVIRONMENT, QUEUES, Context, Stack, fake_models


@dataclass
class Endpoint:
    """SageMaker as the SDK's client meets it, below the SDK's retries."""

    requests: list[AWSPreparedRequest] = field(default_factory=list)
    refusals: list[tuple[int, str] | Exception] = field(default_factory=list)
    """What to answer instead, one after the other."""

    def __call__(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        self.requests.append(request)
        if self.refusals:
            refusal = self.refusals.pop(0)
            if isinstance(refusal, Exception):
                raise refusal
            status, code = refusal
            body, headers = {"Message": "Refused."}, {"x-amzn-errortype": code}
        else:
            status, body, headers = 202, {"InferenceId": "x"}, {}
        content = Body(json.dumps(body).encode())
        return AWSResponse(str(request.url), status, headers, content)  # type: ignore[arg-type]

    def bodies(self) -> list[dict[str, Any]]:
        """Return the messages that it got."""
        return [json.loads(request.body) for request in self.requests]  # type: ignore[arg-type]


@pytest.fixture
def app(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    app = stack.app("dispatch")
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between the SDK's tries
    return app


@pytest.fixture
def endpoint(app: ModuleType) -> Iterator[Endpoint]:
    fake = Endpoint()
    app.runtime.meta.events.register("before-send.sagemaker-runtime", fake)
    yield fake
    app.runtime.meta.events.unregister("before-send.sagemaker-runtime", fake)


@pytest.fixture
def source(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Audio:
    """An audio that is ready."""
    fake_models(stack, monkeypatch)
    return stack.embedded()


@pytest.fixture
def postponed(app: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How many seconds messages were postponed by."""
    seconds: list[float] = []

    def set_visibility(url: str, receipt_handle: str, by: float) -> None:
        assert url == f"{QUEUES}/generate"
        seconds.append(by)

    monkeypatch.setattr(app.queues, "set_visibility", set_visibility)
    return seconds


def message(generation: Generation, **more: Any) -> dict[str, Any]:
    return {"tenant": "default", "generation_id": generation.id, "correlation_id": "corr", **more}


def test_a_message_goes_to_the_endpoint_as_it_is(
    stack: Stack, app: ModuleType, endpoint: Endpoint, source: Audio
) -> None:
    generation = stack.submit(source)
    assert stack.deliver(app, message(generation, called=True)) == []
    (request,) = endpoint.requests
    assert str(request.url).endswith(f"/endpoints/{ENVIRONMENT['ENDPOINT_NAME']}/async-invocations")
    assert endpoint.bodies() == [message(generation, called=True)]
    headers = {
        name.lower().removeprefix("x-amzn-sagemaker-"): value for name, value in request.headers.items()
    }
    assert headers["content-type"] == b"application/json"
    assert headers["inference-id"] == f"{generation.id}-1".encode()
    assert headers["invocationtimeoutseconds"] == b"3600"
    assert headers["requestttlseconds"] == str(HANDED_OVER_SECONDS).encode()


def test_the_sample_event_is_taken(app: ModuleType, endpoint: Endpoint, stack: Stack) -> None:
    """It names a generation that is not there: nothing is to be done, and no endpoint wakes for it."""
    event = json.loads((ROOT / "events/dispatch-message.json").read_text())
    assert app.handler(event, Context()) == {"batchItemFailures": []}
    assert endpoint.requests == []


def test_a_record_is_queued_still_and_nobody_has_claimed_it(
    stack: Stack, app: ModuleType, endpoint: Endpoint, source: Audio
) -> None:
    generation = stack.submit(source)
    stack.deliver(app, message(generation))
    current = stack.get_generation(generation)
    assert (current.status, current.attempt, current.lease_expires_at) == ("queued", 0, None)


def test_an_endpoint_that_wakes_up_gets_each_job_once(
    stack: Stack, app: ModuleType, endpoint: Endpoint, source: Audio
) -> None:
    generations = [stack.submit(source) for _ in range(3)]
    stack.deliver(app, *map(message, generations))
    begun = stack.clock.now
    while stack.clock.now - begun < HANDED_OVER_SECONDS - 60:
        stack.clock.now += 60
        stack.sweep()
        stack.deliver(app, *stack.drain("generate"))
    assert len(endpoint.requests) == 3


def test_a_request_that_came_to_nothing_is_made_again(
    stack: Stack, app: ModuleType, endpoint: Endpoint, source: Audio
) -> None:
    """The endpoint died with it, or never had an instance: the sweeper sends when the request has expired."""
    generation = stack.submit(source)
    stack.deliver(app, message(generation))
    times = []
    for _ in range(180):
        stack.clock.now += 60
        stack.sweep()
        for body in stack.drain("generate"):
            stack.deliver(app, body)
            times.append(stack.clock.now)
    assert len(times) == len(endpoint.requests) - 1
    periods = [later - earlier for earlier, later in pairwise(times)]
    assert periods
    assert all(HANDED_OVER_SECONDS <= period <= HANDED_OVER_SECONDS + 60 for period in periods)
    identifiers = {request.headers["X-Amzn-SageMaker-Inference-Id"] for request in endpoint.requests}
    assert identifiers == {f"{generation.id}-1".encode()}


def test_what_the_endpoint_has_claimed_is_watched_by_its_lease(
    stack: Stack, app: ModuleType, endpoint: Endpoint, source: Audio
) -> None:
    generation = stack.submit(source)
    stack.deliver(app, message(generation))
    claimed = stack.records.claim_generation("default", generation.id)
    stack.deliver(app, message(generation))  # twice
    assert stack.get_generation(generation).due_at == claimed.due_at
    stack.clock.now += LEASE_SECONDS + 1
    assert stack.sweep() == {"requeued": 1}
    (again,) = stack.drain("generate")
    stack.deliver(app, again)
    last = endpoint.requests[-1].headers["X-Amzn-SageMaker-Inference-Id"]
    assert last == f"{generation.id}-2".encode()  # the second attempt


@pytest.mark.parametrize(
    "refusal",
    [
        (400, "ValidationError"),  # what SageMaker says of an endpoint that is not there
        (400, "ThrottlingException"),
        (500, "InternalFailure"),
        (503, "ServiceUnavailable"),
        (403, "AccessDeniedException"),
        ConnectionClosedError(endpoint_url="https://runtime"),
    ],
    ids=str,
)
def test_what_is_refused_stays_in_its_queue_and_the_others_do_not(
    stack: Stack,
    app: ModuleType,
    endpoint: Endpoint,
    source: Audio,
    postponed: list[float],
    refusal: Any,
) -> None:
    first, second = stack.submit(source), stack.submit(source)
    endpoint.refusals = [refusal] * 4  # as often as the SDK tries
    assert stack.deliver(app, message(first), message(second)) == (
        ["0"]
        if isinstance(refusal, Exception) or refusal[0] >= 500 or "Throttl" in refusal[1]
        else ["0", "1"]
    )
    assert all(5.0 <= seconds <= 10.0 for seconds in postponed)
    endpoint.refusals = []
    assert stack.deliver(app, message(first), message(second), received=2) == []
    assert [body["generation_id"] for body in endpoint.bodies()][-2:] == [first.id, second.id]
    assert {stack.get_generation(one).status for one in (first, second)} == {"queued"}


def test_pauses_get_longer_up_to_five_minutes(
    stack: Stack, app: ModuleType, endpoint: Endpoint, source: Audio, postponed: list[float]
) -> None:
    generation = stack.submit(source)
    for received in (1, 3, 20):
        endpoint.refusals = [(400, "ValidationError")]
        assert stack.deliver(app, message(generation), received=received) == ["0"]
    first, third, last = postponed
    assert (5 <= first <= 10, 20 <= third <= 40, 150 <= last <= 300) == (True, True, True)


def test_an_endpoint_that_is_missing_for_long_leaves_one_message_for_each_job(
    stack: Stack, app: ModuleType, endpoint: Endpoint, source: Audio, postponed: list[float]
) -> None:
    """Its own: the sweeper knows that it is in good hands."""
    generation = stack.submit(source)
    begun = stack.clock.now
    while stack.clock.now - begun < HANDED_OVER_SECONDS - 300:
        endpoint.refusals = [(400, "ValidationError")]
        assert stack.deliver(app, message(generation)) == ["0"]
        stack.clock.now += 300
        stack.sweep()
        assert stack.drain("generate") == []


def test_without_the_table_nothing_is_handed_over(
    stack: Stack,
    app: ModuleType,
    endpoint: Endpoint,
    source: Audio,
    postponed: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generation = stack.submit(source)

    def closed(*_: Any) -> Any:
        raise ConnectionClosedError(endpoint_url="https://dynamodb")

    monkeypatch.setattr(app.records, "get_generation", closed)
    assert stack.deliver(app, message(generation)) == ["0"]
    assert endpoint.requests == []
    assert len(postponed) == 1


@pytest.mark.parametrize("body", ["", "{", "[]", "7", '{"tenant": "default"}', '{"generation_id": "x"}'])
def test_what_nobody_understands_is_on_its_way_to_the_dead_letters(
    stack: Stack, app: ModuleType, endpoint: Endpoint, postponed: list[float], body: str
) -> None:
    assert stack.deliver(app, body) == ["0"]
    assert postponed == [SENSELESS_SECONDS]
    assert endpoint.requests == []


def test_a_message_that_cannot_be_postponed_is_delivered_again_all_the_same(
    stack: Stack, app: ModuleType, endpoint: Endpoint
) -> None:
    assert stack.deliver(app, "{") == ["0"]  # "receipt-0" is no receipt that moto knows


def test_a_dead_letter_opens_its_record_before_the_endpoint_hears_of_it(
    stack: Stack, app: ModuleType, endpoint: Endpoint, source: Audio
) -> None:
    """Else a letter that the endpoint loses would be gone, and its record failed for ever."""
    generation = stack.submit(source)
    for _ in range(MAX_ATTEMPTS):
        claimed = stack.records.claim_generation("default", generation.id)
        if claimed.tries < MAX_ATTEMPTS:
            stack.records.give_back(claimed)
    stack.records.fail_generation(claimed, "interrupted", "The worker died.")
    letter = message(generation, failed_attempt=MAX_ATTEMPTS, error={"code": "interrupted"})
    assert stack.deliver(app, letter, letter) == []
    current = stack.get_generation(generation)
    assert (current.status, current.attempt, current.tries) == ("queued", MAX_ATTEMPTS, 0)
    assert endpoint.bodies() == [letter, letter]
    old = message(generation, failed_attempt=MAX_ATTEMPTS - 1)
    stack.records.fail_generation(current, "interrupted", "The worker died.")
    assert stack.deliver(app, old) == []
    assert stack.get_generation(generation).status == "failed"


def test_who_was_called_and_is_withdrawn_passes_its_turn_on_at_the_endpoint(
    stack: Stack, app: ModuleType, endpoint: Endpoint, source: Audio
) -> None:
    generation = stack.submit(source)
    stack.records.cancel_generation("default", generation.id)
    assert stack.deliver(app, message(generation, called=True)) == []
    assert endpoint.bodies() == [message(generation, called=True)]


def test_the_endpoint_gets_longer_than_the_sweeper_waits_otherwise() -> None:
    assert HANDED_OVER_SECONDS > RESEND_LIMIT_SECONDS > RESEND_SECONDS
    assert 60 <= HANDED_OVER_SECONDS <= 21600  # what SageMaker takes as the life of a request
