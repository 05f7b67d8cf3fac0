"""A table of records in moto, and its clock."""

from __future__ import annotations

from collections.abc import Iterator

import boto3
import pytest
from moto import mock_aws

from backend.records import (
    Records,
)
from tests.support.records import RETENTION
from tests.support.table import Clock, create_table, serialise_writes


@pytest.fixture
def clock() -> Clock:
    """A clock that the test turns."""
    return Clock()


@pytest.fixture
def records(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Records]:
    """An empty table."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    serialise_writes(monkeypatch)
    with mock_aws():
        table = create_table(boto3.resource("dynamodb", region_name="eu-central-1"))
        yield Records(table, RETENTION, clock)
