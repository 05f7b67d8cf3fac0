"""Lambda authorizers of the local stack, against what API Gateway does."""

from __future__ import annotations

from typing import Any

import pytest

from local.authorizer import Authorizers, Refused, evaluate
from local.invoke import InvocationError
from local.logs import Log
from local.template import Authorizer, Deployment

ARN = "arn:aws:execute-api:us-east-1:123456789012:local/dev"


class Function:
    """Answers with what the test wants, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answer: Any = answer("Allow")

    def invoke(self, function: str, event: Any) -> Any:
        assert function == "AuthorizerFunction"
        self.asked.append(event)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def close(self) -> None:
        pass


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def answer(effect: str, resource: str = f"{ARN}/*", **context: Any) -> dict[str, Any]:
    statement = {"Effect": effect, "Action": "execute-api:Invoke", "Resource": resource}
    return {"principalId": "me", "policyDocument": {"Statement": [statement]}, "context": context}


def event(method: str = "GET", path: str = "/api/audio", **headers: str) -> dict[str, Any]:
    context = {"path": path, "stage": "dev"}
    return {
        "httpMethod": method,
        "path": path,
        "headers": headers,
        "requestContext": context,
        "body": "secret",
    }


@pytest.fixture
def function() -> Function:
    return Function()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def authorizers(function: Function, clock: Clock) -> Authorizers:
    header, stage = (("header", "Authorization"),), (("context", "stage"),)
    known = [
        Authorizer("keys", "AuthorizerFunction", "TOKEN", header, r"^Bearer \w+$", 60),
        Authorizer("none", "AuthorizerFunction", "REQUEST", stage, None, 3600),
        Authorizer("forgetful", "AuthorizerFunction", "REQUEST", header, None, 0),
    ]
    deployment = Deployment(stage="dev", authorizers={authorizer.name: authorizer for authorizer in known})
    return Authorizers(deployment, function, Log(), clock)


def refused(authorizers: Authorizers, name: str, request: dict[str, Any]) -> tuple[str, int]:
    with pytest.raises(Refused) as caught:
        authorizers.ask(name, request)
    return caught.value.kind, caught.value.status


def test_the_function_gets_the_token_and_the_method(authorizers: Authorizers, function: Function) -> None:
    function.answer = answer("Allow", tenant="t", number=1, truth=True)
    context = authorizers.ask("keys", event(authorization="Bearer a"))
    assert context == {"principalId": "me", "tenant": "t", "number": "1", "truth": "True"}
    method = f"{ARN}/GET/api/audio"
    assert function.asked == [{"type": "TOKEN", "methodArn": method, "authorizationToken": "Bearer a"}]


def test_the_function_gets_the_request_without_its_body(authorizers: Authorizers, function: Function) -> None:
    authorizers.ask("none", event(x="y"))
    (asked,) = function.asked
    assert asked == {"type": "REQUEST", "methodArn": f"{ARN}/GET/api/audio"} | {
        name: value for name, value in event(x="y").items() if name != "body"
    }


@pytest.mark.parametrize("headers", [{}, {"Authorization": ""}, {"Authorization": "Basic a"}])
def test_who_lacks_a_token_is_refused_unasked(
    authorizers: Authorizers, function: Function, headers: dict[str, str]
) -> None:
    assert refused(authorizers, "keys", event(**headers)) == ("UNAUTHORIZED", 401)
    assert function.asked == []


def test_answers_hold_for_a_while_for_the_same_caller(
    authorizers: Authorizers, function: Function, clock: Clock
) -> None:
    for _ in range(3):
        authorizers.ask("keys", event(Authorization="Bearer a"))
    authorizers.ask("keys", event("DELETE", "/api/audio/x", Authorization="Bearer a"))
    assert len(function.asked) == 1
    authorizers.ask("keys", event(Authorization="Bearer b"))
    assert len(function.asked) == 2
    function.answer = answer("Deny")
    clock.now += 59.9
    authorizers.ask("keys", event(Authorization="Bearer a"))
    clock.now += 0.2
    assert refused(authorizers, "keys", event(Authorization="Bearer a")) == ("ACCESS_DENIED", 403)
    assert refused(authorizers, "keys", event(Authorization="Bearer a")) == ("ACCESS_DENIED", 403)
    assert len(function.asked) == 3  # refusals hold, too


def test_an_authorizer_without_memory_is_asked_each_time(
    authorizers: Authorizers, function: Function
) -> None:
    for _ in range(2):
        authorizers.ask("forgetful", event(Authorization="Bearer a"))
    assert len(function.asked) == 2


def test_a_kept_policy_is_held_against_each_method(authorizers: Authorizers, function: Function) -> None:
    function.answer = answer("Allow", f"{ARN}/GET/api/audio")
    authorizers.ask("keys", event(Authorization="Bearer a"))
    assert refused(authorizers, "keys", event("POST", Authorization="Bearer a")) == ("ACCESS_DENIED", 403)
    assert len(function.asked) == 1


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (InvocationError("Exception", "Unauthorized"), ("UNAUTHORIZED", 401)),
        (InvocationError("KeyError", "x"), ("AUTHORIZER_FAILURE", 500)),
        ({"principalId": "me"}, ("AUTHORIZER_CONFIGURATION_ERROR", 500)),
        ("nonsense", ("AUTHORIZER_CONFIGURATION_ERROR", 500)),
        (answer("Allow", nested={"a": 1}), ("AUTHORIZER_CONFIGURATION_ERROR", 500)),
        (answer("Allow", "arn:aws:execute-api:us-east-1:123456789012:other/dev/*"), ("ACCESS_DENIED", 403)),
    ],
)
def test_what_the_function_may_do_wrong(
    authorizers: Authorizers, function: Function, given: Any, expected: tuple[str, int]
) -> None:
    function.answer = given
    assert refused(authorizers, "keys", event(Authorization="Bearer a")) == expected


@pytest.mark.parametrize(
    ("statements", "effect"),
    [
        ([("Allow", "*", "*")], "Allow"),
        ([("Allow", "execute-api:*", f"{ARN}/GET/*")], "Allow"),
        ([("Allow", "execute-api:Invoke", f"{ARN}/GET/api/audi?")], "Allow"),
        ([("Allow", "execute-api:Invoke", f"{ARN}/POST/*")], None),
        ([("Allow", "s3:*", "*")], None),
        ([("Allow", "*", "*"), ("Deny", "*", f"{ARN}/GET/*")], "Deny"),
        ([], None),
    ],
)
def test_policies(statements: list[tuple[str, str, str]], effect: str | None) -> None:
    document = {"Statement": [{"Effect": e, "Action": [a], "Resource": [r]} for e, a, r in statements]}
    assert evaluate(document, f"{ARN}/GET/api/audio") == effect
