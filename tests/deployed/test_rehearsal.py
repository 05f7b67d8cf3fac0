"""What only a deployment shows: what it replaced, who may do what, and that nothing of it stays behind.

Runs last of `make test-deploy`: the end-to-end suite has used the same deployment by then.
"""

from __future__ import annotations

import re
import subprocess

import pytest
import yaml

from local.sam import BUILT
from tests.deployed.rehearsal import (
    RETAINED,
    SAM_STACK,
    Rehearsal,
    left_behind,
    remove_images,
    without_permission,
)
from tests.support import sound
from tests.support.client import Api, form, post_form
from tests.support.images import docker
from tests.support.waiting import eventually

pytestmark = pytest.mark.transport

TOOLS = {"stacks", "buckets", "repositories"}
"""Kinds of what `sam deploy` makes once in an account; the stack among them is SAM CLI's own."""
MISSING = {
    "ApiRole": "dynamodb:Query",
    "EmbedRole": "s3vectors:PutVectors",
    "UploadRole": "s3:PutObject",
}
WORKERS = ("embed", "generate")
DENIED = "music-denied"


def delete(*stacks: Rehearsal) -> None:
    """Delete stacks with what they keep."""
    for stack in stacks:
        kept = stack.delete()
        assert set(kept) <= RETAINED
        assert {"Bucket", "Table", "KeysTable"} <= set(kept)


def gone(rehearsal: Rehearsal, kinds: set[str]) -> None:
    """Wait until the account holds these kinds of things and no others."""
    workers = [f"/{name}/{worker}" for name in (rehearsal.name, DENIED) for worker in WORKERS]
    left = eventually(lambda: left_behind(rehearsal.emulator, *workers), lambda left: left.keys() == kinds)
    assert left.get("stacks", [SAM_STACK]) == [SAM_STACK]
    assert not [name for name in left.get("buckets", []) if rehearsal.name in name]


@pytest.fixture(scope="module")
def short_of_permissions(rehearsal: Rehearsal) -> Rehearsal:
    """Deploy a second stack from a copy of the template where three roles lack one permission each."""
    template = yaml.safe_load(BUILT.read_text())
    for role, action in MISSING.items():
        template = without_permission(template, role, action)
    return rehearsal.sibling(DENIED, template)


def test_a_denied_action_names_the_missing_permission(
    rehearsal: Rehearsal, short_of_permissions: Rehearsal
) -> None:
    stack = short_of_permissions
    api, track = Api(stack.api_url, stack.key()), sound.track()

    # In functions that the API waits for: an error there, the permission in their logs.
    assert api.get("/api/audio").status == 500
    assert "is not authorized to perform: dynamodb:Query" in stack.log("api")
    body, headers = form([], "a.mp3", track, "audio/mpeg")
    assert api.request("POST", "/api/upload", data=body, headers=headers).status == 500
    assert "is not authorized to perform: s3:PutObject" in stack.log("upload")

    # What that function signs for others does not work either; S3 does not tell strangers why.
    announced = api.announce("a.mp3", len(track), "audio/mpeg")
    assert post_form(announced["upload"], track).status == 403

    # In a worker.
    bucket = stack.outputs["BucketName"]
    key = announced["upload"]["fields"]["key"]
    stack.emulator.client("s3").put_object(Bucket=bucket, Key=key, Body=track, ContentType="audio/mpeg")
    stack.wait_for_log("embed", "is not authorized to perform: s3vectors:PutVectors")

    for name in ("api", "wait", "embed", "upload", "authorizer", "generate", "sweeper", "search", "encode"):
        assert not re.findall(r"not authorized to perform: [\w:]+", rehearsal.log(name)), name


def test_every_permission_over_vectors_was_asked_for(rehearsal: Rehearsal) -> None:
    seen = {(role.split("-")[2].removesuffix("Role"), action) for role, action in rehearsal.vectors.seen}
    assert seen >= {
        ("Embed", "s3vectors:PutVectors"),
        ("Api", "s3vectors:GetVectors"),
        ("Api", "s3vectors:QueryVectors"),
        ("Api", "s3vectors:DeleteVectors"),
    }


def test_a_deleted_stack_leaves_what_sam_itself_made_and_nothing_else(
    rehearsal: Rehearsal, short_of_permissions: Rehearsal
) -> None:
    delete(short_of_permissions, rehearsal)
    gone(rehearsal, TOOLS)


def test_it_can_be_deployed_and_deleted_once_more_under_its_name(rehearsal: Rehearsal) -> None:
    rehearsal.deploy()
    api, track = Api(rehearsal.api_url, rehearsal.key()), sound.track()
    assert api.get("/api/audio").ok(200)["items"] == []
    first, second = (api.ready(api.upload(f"{i}.mp3", track, "audio/mpeg")) for i in range(2))
    (neighbour,) = api.get(first["links"]["similar"]).ok(200)["results"]  # and none of the stack before
    assert neighbour["audio_id"] == second["audio_id"]
    delete(rehearsal)
    gone(rehearsal, TOOLS)


def test_nothing_is_left_behind(rehearsal: Rehearsal) -> None:
    rehearsal.delete_deployment_tools()
    gone(rehearsal, set())
    emulator = rehearsal.emulator
    process = emulator.process
    emulator.close()
    remove_images(emulator)
    assert process is not None
    assert process.returncode is not None
    assert docker("ps", "--all", "--quiet", "--filter", f"label=ministack.instance={emulator.instance}") == ""
    assert docker("image", "ls", "--quiet", f"{emulator.registry}/*") == ""
    assert docker("network", "ls", "--quiet", "--filter", "name=ministack") == ""
    listening = subprocess.run(["ss", "-Hltn", f"sport = :{emulator.port}"], capture_output=True, text=True)
    assert listening.stdout == ""
