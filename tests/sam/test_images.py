"""The images as Lambda runs them, and the sample events through `sam local invoke`."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from client.stack import StackProcess
from local.sam import BUILT, CONFIG, SAM, bridge_address, sam_environment
from local.template import ROOT
from tests.support import sound
from tests.support.client import form
from tests.support.images import LambdaContainer
from tests.support.local_stack import local_stack

pytestmark = pytest.mark.transport

EVENTS = {
    path.stem: json.loads(path.read_text())
    for path in sorted((ROOT / "events").glob("*.json"))
    if not path.stem.startswith("dispatch-")  # that function is there beside an endpoint alone
}
FUNCTIONS = ("authorizer", "upload", "api", "wait", "embed", "search", "encode", "generate", "sweeper")


@pytest.mark.parametrize("name", list(EVENTS))
def test_the_sample_events_can_be_invoked(running: StackProcess, name: str) -> None:
    function = f"{name.partition('-')[0].capitalize()}Function"
    template = BUILT.with_name("template.local.yaml")
    command: list[str | Path] = [
        SAM,
        "local",
        "invoke",
        function,
        "--config-file",
        CONFIG,
        "--template",
        template,
    ]
    done = subprocess.run(
        [*command, "--event", ROOT / f"events/{name}.json"],
        cwd=ROOT,
        env=sam_environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    assert "errorType" not in answer, answer
    if "methodArn" in EVENTS[name]:
        assert answer["context"] == {"tenant": "default"}  # authorization is off here
    elif "httpMethod" in EVENTS[name]:
        assert answer["statusCode"] < 500, answer
    elif "Records" in EVENTS[name]:
        assert answer == {"batchItemFailures": []}


@pytest.fixture(scope="module")
def containers(running: StackProcess) -> Iterator[dict[str, LambdaContainer]]:
    """Start every image once, on an AWS of its own where nothing else delivers anything."""
    with ExitStack() as ending:
        stack = ending.enter_context(local_stack(host=bridge_address(), parameters={"AuthMode": "none"}))
        started = {
            function.label: ending.enter_context(LambdaContainer(name, function, stack.endpoint_url))
            for name, function in stack.deployment.functions.items()
        }
        assert sorted(started) == sorted(FUNCTIONS)
        yield started


def http_event(name: str, body: bytes | None = None, **values: str) -> dict[str, Any]:
    """Return a sample event of the API with another path parameter or body."""
    text = json.dumps(EVENTS[name])
    for old, new in values.items():
        text = text.replace(EVENTS[name]["pathParameters"][old], new)
    event: dict[str, Any] = json.loads(text)
    if body is not None:
        event |= {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}
    return event


def message(name: str, **body: str) -> dict[str, Any]:
    """Return a sample message with another body."""
    event: dict[str, Any] = json.loads(json.dumps(EVENTS[name]))
    event["Records"][0]["body"] = json.dumps(body)
    return event


def test_a_track_goes_through_the_images_as_lambda_runs_them(containers: dict[str, LambdaContainer]) -> None:
    body, headers = form([], "sample.mp3", sound.track(), "audio/mpeg")
    upload = http_event("upload-multipart", body)
    upload["headers"] |= headers
    upload["multiValueHeaders"] |= {name: [value] for name, value in headers.items()}
    uploaded = containers["upload"].invoke(upload)
    assert uploaded["statusCode"] == 201, uploaded
    audio_id = json.loads(uploaded["body"])["audio_id"]
    done: dict[str, list[str]] = {"batchItemFailures": []}
    assert containers["embed"].invoke(message("embed-message", tenant="default", audio_id=audio_id)) == done
    embedding = containers["wait"].invoke(http_event("wait-embedding", audio_id=audio_id))
    assert embedding["statusCode"] == 200, embedding
    assert json.loads(embedding["body"])["dimension"] == 512
    asked = containers["api"].invoke(
        http_event("api-generate", b'{"duration": 5, "seed": 1}', audio_id=audio_id)
    )
    assert asked["statusCode"] == 202, asked
    generation_id = json.loads(asked["body"])["generation_id"]
    work = message("generate-message", tenant="default", generation_id=generation_id)
    assert containers["generate"].invoke(work) == done
    listed = json.loads(containers["api"].invoke(http_event("api-list"))["body"])
    assert [item["audio_id"] for item in listed["items"]] == [audio_id]
    download = http_event("wait-embedding", audio_id=generation_id)
    as_download = json.loads(json.dumps(download).replace("/api/embedding/", "/api/download/"))
    as_download["resource"] = "/api/download/{generation_id}"
    as_download["pathParameters"] = {"generation_id": generation_id}
    answer = containers["wait"].invoke(as_download)
    assert (answer["statusCode"], answer["isBase64Encoded"]) == (200, True), answer
    assert abs(sound.decode(base64.b64decode(answer["body"])).seconds - 5) <= 0.02
    assert isinstance(containers["sweeper"].invoke(EVENTS["sweeper-schedule"]), dict)


@pytest.mark.parametrize("label", FUNCTIONS)
def test_the_surroundings_are_lambdas(containers: dict[str, LambdaContainer], label: str) -> None:
    container = containers[label]
    assert container.run("id", "-u").stdout.strip() == "993"
    assert container.run("test", "-e", "/dev/shm").returncode != 0
    assert container.run("touch", "/var/task/x").returncode != 0
    assert container.run("touch", "/tmp/x").returncode == 0


@pytest.mark.parametrize("label", FUNCTIONS)
def test_nothing_is_compiled_at_a_cold_start(containers: dict[str, LambdaContainer], label: str) -> None:
    find = "import importlib.util as u; print([n for n in ('numba', 'llvmlite', 'torch') if u.find_spec(n)])"
    assert containers[label].run("python3", "-c", find).stdout.strip() == "[]"
    stale = "find /opt/python/backend /opt/python/music /var/task -name '*.py' -size +0 | while read f; do "
    stale += 'ls "$(dirname $f)/__pycache__/$(basename $f .py)".*.pyc >/dev/null 2>&1 || echo $f; done'
    assert containers[label].run("sh", "-c", stale).stdout == ""
