"""What only a deployment shows: what it replaced, who may do what, and that nothing of it stays behind.

Runs last of `make test-deploy`: the end-to-end suite has used the same deployment by then.
"""

from __future__ import annotations

import subprocess

import pytest
import yaml

from local.sam import BUILT
from tests.deployed.rehearsal import RETAINED, Rehearsal, left_behind, remove_images, without_permission
from tests.support import sound
from tests.support.client import Api, form, post_form
from tests.support.images import docker
from tests.support.waiting import eventually

pytestmark = pytest.mark.transport

MISSING = {
    "ApiRole": "dynamodb:Query",
    "EmbedRole": "s3vectors:PutVectors",
    "UploadRole": "s3:PutObject",
}
WORKERS = ("embed", "generate")


@pytest.fixture(scope="module")
def short_of_permissions(rehearsal: Rehearsal) -> Rehearsal:
    """Deploy a second stack from a copy of the template where three roles lack one permission each."""
    template = yaml.safe_load(BUILT.read_text())
    for role, action in MISSING.items():
        template = without_permission(template, role, action)
    return rehearsal.sibling("music-denied", template)


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

    for name in ("api", "wait", "embed", "upload", "authorizer", "generate", "sweeper", "search"):
        assert "is not authorized to perform" not in rehearsal.log(name), name


def test_every_permission_over_vectors_was_asked_for(rehearsal: Rehearsal) -> None:
    seen = {(role.split("-")[2].removesuffix("Role"), action) for role, action in rehearsal.vectors.seen}
    assert seen >= {
        ("Embed", "s3vectors:PutVectors"),
        ("Api", "s3vectors:GetVectors"),
        ("Api", "s3vectors:QueryVectors"),
        ("Api", "s3vectors:DeleteVectors"),
    }


def test_nothing_is_left_behind(rehearsal: Rehearsal, short_of_permissions: Rehearsal) -> None:
    for stack in (short_of_permissions, rehearsal):
        kept = stack.delete()
        assert set(kept) <= RETAINED
        assert {"Bucket", "Table", "KeysTable"} <= set(kept)
    rehearsal.delete_deployment_tools()
    workers = [f"/{stack.name}/{name}" for stack in (short_of_permissions, rehearsal) for name in WORKERS]
    eventually(lambda: left_behind(rehearsal.emulator, *workers), lambda left: not left)
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
