"""A table of records in moto, and its clock."""

from __future__ import annotations

from collections.abc import Iterator

import boto3
import pytest
from moto import mock_aws

from backend.records import Records
from tests.support.records import RETENTION
from tests.support.table import Clock, create_table, serialise_writes


@pytest.fixture
def clock() -> Clock:
    """A clock that the test turns."""
    return Clock()


@pytest.fixture(scope="session")
def aws() -> boto3.Session:
    """A session that has read what DynamoDB can do: each session reads that for a tenth of a second."""
    return boto3.Session("testing", "testing", region_name="eu-central-1")


@pytest.fixture
def records(aws: boto3.Session, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Records]:
    """An empty table."""
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    serialise_writes(monkeypatch)
    with mock_aws():
        table = create_table(aws.resource("dynamodb"))
        yield Records(table, RETENTION, clock)
