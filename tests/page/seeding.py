"""Tracks in a running local stack without an upload: copies of one that is there."""

from __future__ import annotations

import json

import numpy as np
from ulid import ULID

from client.aws import client

KEYS = [("C", "major"), ("A", "minor"), ("D", "minor"), ("F#", "major")]
BATCH = 25


def seed(endpoint_url: str, count: int) -> None:
    """Copy the one track of a stack, each copy with a name, a tempo, a key and a vector of its own."""
    dynamodb = client("dynamodb", endpoint_url)
    (table,) = (name for name in dynamodb.list_tables()["TableNames"] if name.endswith("-Table"))
    items = dynamodb.scan(TableName=table)["Items"]
    (first,) = (item for item in items if item["sk"]["S"].startswith("audio#"))
    del first["derived"]  # nothing lies in the bucket for a copy
    random = np.random.default_rng(0)
    puts = []
    for number in range(count):
        record_id = str(ULID())
        tonic, mode = KEYS[number % len(KEYS)]
        features = json.loads(first["features"]["S"])
        features |= {"tempo": 60.0 + number % 140, "key": tonic, "mode": mode, "beats": []}
        vector = random.standard_normal(512)
        changed = {
            "sk": {"S": f"audio#{record_id}"},
            "id": {"S": record_id},
            "filename": {"S": f"track {number}.mp3"},
            "features": {"S": json.dumps(features)},
            "tags": {"S": json.dumps([f"tag {number % 7}", "seeded"])},
            "vector": {"B": (vector / np.linalg.norm(vector)).astype("<f4").tobytes()},
        }
        puts.append({"PutRequest": {"Item": first | changed}})
    for start in range(0, count, BATCH):
        dynamodb.batch_write_item(RequestItems={table: puts[start : start + BATCH]})
