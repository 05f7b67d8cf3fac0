"""The authorizer: tokens in, policies out."""

from __future__ import annotations

import importlib
import json
from types import ModuleType
from typing import Any

import pytest

from backend.keys import Keys
from backend.settings import Settings
from tests.support.requests import event
from tests.support.stack import ENVIRONMENT, Context, Stack

STAGE = "arn:aws:execute-api:eu-west-1:123456789012:a1b2c3/dev"


@pytest.fixture
def app(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("AUTH_MODE", "keys")
    module = importlib.import_module("functions.authorizer.app")
    return importlib.reload(module)


def ask(app: ModuleType, token: str) -> Any:
    request = {"type": "TOKEN", "methodArn": f"{STAGE}/GET/api/audio/x", "authorizationToken": token}
    answer = app.handler(request, Context())
    json.dumps(answer)
    (statement,) = answer["policyDocument"]["Statement"]
    assert statement["Resource"] == f"{STAGE}/*"  # the answer is kept for other routes, too
    assert statement["Action"] == "execute-api:Invoke"
    return statement["Effect"], answer["context"]


def test_a_key_is_let_into_the_whole_stage_as_its_tenant(app: ModuleType, stack: Stack) -> None:
    _, text = Keys(stack.keys).create("studio")
    assert ask(app, f"Bearer {text}") == ("Allow", {"tenant": "studio"})
    assert ask(app, f"bearer {text}") == ("Allow", {"tenant": "studio"})


def test_nobody_else_is(app: ModuleType, stack: Stack) -> None:
    key, text = Keys(stack.keys).create()
    for token in (text, f"Basic {text}", "Bearer x", "", f"Bearer {text[:-2]}AA"):
        assert ask(app, token) == ("Deny", {})
    Keys(stack.keys).revoke(key.id)
    assert ask(app, f"Bearer {text}") == ("Deny", {})


def test_the_key_is_not_logged(app: ModuleType, stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    _, text = Keys(stack.keys).create()
    ask(app, f"Bearer {text}")
    ask(app, f"Bearer {text[:-2]}AA")
    assert text.partition(".")[2][:20] not in "".join(capsys.readouterr())


def test_without_authorization_everybody_is_the_default_tenant(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTH_MODE", "none")
    app = importlib.reload(importlib.import_module("functions.authorizer.app"))
    request = {**event("GET", "/api/audio"), "type": "REQUEST", "methodArn": f"{STAGE}/GET/api/audio"}
    answer = app.handler(request, Context())
    assert answer["context"] == {"tenant": "default"}
    assert answer["policyDocument"]["Statement"][0]["Effect"] == "Allow"


def test_a_request_that_came_past_the_authorizer_is_refused(stack: Stack) -> None:
    from backend.api import Api

    api = Api(Settings.from_environment(ENVIRONMENT | {"AUTH_MODE": "keys"}))
    seen = []

    @api.get("/api/audio")
    def listed() -> dict[str, str]:
        seen.append(api.tenant)
        return {}

    refused = api.resolve(event("GET", "/api/audio"), Context())  # type: ignore[arg-type]
    assert refused["statusCode"] == 401
    assert json.loads(refused["body"])["code"] == "unauthorized"
    api.resolve(event("GET", "/api/audio", tenant="studio"), Context())  # type: ignore[arg-type]
    assert seen == ["studio"]
    assert api.resolve(event("GET", "/api/audio", tenant=""), Context())["statusCode"] == 401  # type: ignore[arg-type]
