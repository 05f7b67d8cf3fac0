"""The table of records as moto plays it, and a clock that a test turns."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from moto.dynamodb.responses import DynamoHandler

START = 1_700_000_000.0


class Clock:
    """A clock that stands still until a test moves `now`, in seconds since 1970."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


def create_table(resource: Any) -> Any:
    """Create the table of records as the template declares it, by a boto3 resource of DynamoDB."""
    attributes = {"pk": "S", "sk": "S", "audio_pk": "S", "open": "S", "due_at": "N"}
    return resource.create_table(
        TableName="records",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": n, "AttributeType": t} for n, t in attributes.items()],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "by_audio",
                "KeySchema": [
                    {"AttributeName": "audio_pk", "KeyType": "HASH"},
                    {"AttributeName": "sk", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "ALL"},
            },
            {
                "IndexName": "due",
                "KeySchema": [
                    {"AttributeName": "open", "KeyType": "HASH"},
                    {"AttributeName": "due_at", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            },
        ],
    )


def create_keys_table(resource: Any) -> Any:
    """Create the table of API keys as the template declares it, by a boto3 resource of DynamoDB."""
    return resource.create_table(
        TableName="keys",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
    )


def serialise_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """DynamoDB applies one write to an item after the other; moto lets two of them check, then both write."""
    lock, call = threading.RLock(), DynamoHandler.call_action

    def one_at_a_time(handler: DynamoHandler) -> Any:
        with lock:
            return call(handler)

    monkeypatch.setattr(DynamoHandler, "call_action", one_at_a_time)
