"""The rehearsal of the deployment changes what it says it changes in the template, and nothing else."""

from __future__ import annotations

import json
import re
from contextlib import closing
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from local import template
from local.http_server import HttpServer
from tests.deployed.rehearsal import RETAINED, adapted, production_parameters, without_permission
from tests.deployed.vectors import VectorsFront

TEMPLATE: dict[str, Any] = template.read()


def differences(before: Any, after: Any, path: str = "") -> set[str]:
    """Where two documents differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        names = before.keys() | after.keys()
        return {d for n in names for d in differences(before.get(n), after.get(n), f"{path}/{n}")}
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return {
            d
            for i, (b, a) in enumerate(zip(before, after, strict=True))
            for d in differences(b, a, f"{path}/{i}")
        }
    return set() if before == after else {path}


def test_only_what_the_emulator_lacks_is_changed() -> None:
    before = json.dumps(TEMPLATE, sort_keys=True)
    parameters = production_parameters()
    changed = differences(TEMPLATE, adapted(TEMPLATE, parameters))
    assert json.dumps(TEMPLATE, sort_keys=True) == before
    expected = {f"/Parameters/{name}/Default" for name in parameters}
    expected |= {"/Resources/VectorBucket", "/Resources/VectorIndex"}
    expected |= {"/Resources/Api/Properties/BinaryMediaTypes/0"}
    for name in ("Table", "KeysTable"):
        expected |= {f"/Resources/{name}/Properties/DeletionProtectionEnabled"}
    for name in ("Embed", "Generate"):
        queue = f"/Resources/{name}Function/Properties/Events/Queue/Properties"
        expected |= {
            f"{queue}/ScalingConfig/MaximumConcurrency",
            f"{queue}/ScalingConfig/MaximumConcurrency/Ref",
        }
    spread = {path for path in changed if re.fullmatch(r"/Resources/\w+Function/Properties/Events/.*", path)}
    changed -= spread
    policies = {path for path in changed if "/Policies/0/PolicyDocument/Statement/" in path}
    assert changed - policies <= expected
    assert {path.split("/")[2] for path in policies} == {
        f"{name}Role" for name in ("Api", "Embed", "Search", "Sweeper")
    }
    assert all("/Resource" in path for path in policies)


def test_production_is_what_is_rehearsed() -> None:
    assert production_parameters() | {"Stage": "prod", "AuthMode": "keys"} == production_parameters()


def test_what_outlives_its_stack_is_what_the_template_retains() -> None:
    resources = TEMPLATE["Resources"].items()
    assert {name for name, r in resources if r.get("DeletionPolicy", "Delete") != "Delete"} == RETAINED


def test_a_permission_is_taken_from_one_role_only() -> None:
    changed = differences(TEMPLATE, without_permission(TEMPLATE, "UploadRole", "s3:PutObject"))
    assert changed
    assert all(path.startswith("/Resources/UploadRole/") for path in changed)
    assert "s3:PutObject" not in json.dumps(
        without_permission(TEMPLATE, "UploadRole", "s3:PutObject")["Resources"]["UploadRole"]
    )


def test_a_permission_that_is_not_there_cannot_be_taken() -> None:
    with pytest.raises(AssertionError):
        without_permission(TEMPLATE, "UploadRole", "s3:DeleteBucket")


def test_a_role_that_may_reads_and_writes_vectors_and_a_deleted_index_can_be_made_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The functions sign with the emulator's keys, which the local AWS behind it does not know."""
    with mock_aws():
        pass  # forget what an earlier test left in moto
    front = VectorsFront(lambda service: None)
    may = {"s3vectors:PutVectors", "s3vectors:ListVectors", "s3vectors:QueryVectors"}
    monkeypatch.setattr(front, "_role", lambda key: f"role/{key}")
    monkeypatch.setattr(front, "_allowed", lambda role, action, resource: action in may)
    where = {"vectorBucketName": "vectors", "indexName": "points"}
    with closing(HttpServer("127.0.0.1", 0)) as server:
        server.start(front)
        s3vectors: Any = boto3.client(
            "s3vectors", endpoint_url=server.url, region_name="us-east-1",
            aws_access_key_id="emulators", aws_secret_access_key="own", aws_session_token="token",
        )  # fmt: skip
        vector = {"float32": [1.0, *[0.0] * 511]}
        for _ in range(2):
            front.create_index("vectors", "points")
            assert s3vectors.list_vectors(**where)["vectors"] == []
            s3vectors.put_vectors(**where, vectors=[{"key": "a", "data": vector}])
            assert s3vectors.query_vectors(**where, topK=3, queryVector=vector)["vectors"] == [{"key": "a"}]
            with pytest.raises(ClientError, match="not authorized to perform: s3vectors:DeleteVectors"):
                s3vectors.delete_vectors(**where, keys=["a"])
            front.delete_index("vectors", "points")
    assert front.seen == {("emulators", action) for action in may}
