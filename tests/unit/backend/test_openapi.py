"""The committed API description is the one that the routes give, and a valid one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openapi_spec_validator import validate

from tests import write_openapi
from tests.support.stack import ENVIRONMENT


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    # Whoever imports a function first fixes its settings: the same as in every other test.
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return write_openapi.build()


def test_the_committed_description_has_not_drifted(built: dict[str, Any]) -> None:
    assert write_openapi.TARGET.read_text() == write_openapi.text(built), "run: make openapi"


def test_the_description_is_valid_openapi(built: dict[str, Any]) -> None:
    validate(built)
    used = set(json.dumps(built).split('"#/components/schemas/')[1:])
    for reference in used:
        assert reference.split('"')[0] in built["components"]["schemas"]


def test_every_refusal_is_a_problem_document(built: dict[str, Any]) -> None:
    for path, operations in built["paths"].items():
        for method, operation in operations.items():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    assert list(response["content"]) == ["application/problem+json"], (path, method, status)
