"""The endpoint's image in containers: jobs, whole and cut by SIGTERM and SIGKILL, and what it refuses."""

from __future__ import annotations

import hashlib
import http.client
import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import pytest

from backend.storage import generated_key
from local.aws.provision import client
from local.logs import Log
from local.pool import ProcessPools
from local.sam import EndpointContainer, SamError, bridge_address, build_endpoint, find_base_image
from local.stack import Stack
from local.template import ROOT, Endpoint
from tests.support import sound
from tests.support.client import Api
from tests.support.images import docker
from tests.support.local_stack import local_stack
from tests.support.waiting import eventually
from weights import pack

pytestmark = pytest.mark.transport

LONG = {"duration": 240, "seed": 11, "candidates": 2}
"""A piece that takes long enough to be cut."""

Launch = Callable[..., EndpointContainer]


@dataclass(frozen=True)
class Backend:
    """The stack whose generations only we deliver, and a user of it."""

    stack: Stack
    pools: ProcessPools
    api: Api
    audio_id: str

    def submit(self, **parameters: Any) -> bytes:
        """Ask for music; return the message that the queue has of it."""
        generation = self.api.generate(self.audio_id, **parameters)
        body = {"tenant": "default", "generation_id": generation["generation_id"]}
        return json.dumps(body).encode()

    def record(self, message: bytes) -> dict[str, Any]:
        """Read the generation of a message."""
        identifier = json.loads(message)["generation_id"]
        record: dict[str, Any] = self.api.get(f"/api/generation/{identifier}").ok(200)
        return record

    def music(self, message: bytes) -> str:
        """Return the SHA-256 of what was made."""
        key = generated_key("default", json.loads(message)["generation_id"], "wav")
        bucket = self.stack.deployment.buckets[0].name
        stored = client("s3", self.stack.endpoint_url).get_object(Bucket=bucket, Key=key)
        return hashlib.sha256(stored["Body"].read()).hexdigest()

    def sweep(self) -> dict[str, int]:
        """Run the sweeper once."""
        done: dict[str, int] = self.pools.invoke("SweeperFunction", {"source": "aws.events"})
        return done


@pytest.fixture(scope="module")
def image(engine: None) -> str:
    pack.build("tiny", "random", target=ROOT / "build/models")
    return build_endpoint(find_base_image(Log()), "tiny", Log())


@pytest.fixture(scope="module")
def backend(image: str) -> Iterator[Backend]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODELS", str(ROOT / "build/models"))
        with local_stack(
            host=bridge_address(),
            parameters={"Profile": "tiny", "AuthMode": "none", "GenerateHost": "sagemaker"},
        ) as stack:
            pools = stack.process_pools()
            stack.start_api(pools)
            api = Api(stack.api_url)
            audio = api.upload("song.mp3", sound.track(), "audio/mpeg")
            event = {"tenant": "default", "audio_id": audio["audio_id"]}
            record = {
                "messageId": "1",
                "receiptHandle": "1",
                "body": json.dumps(event),
                "eventSource": "aws:sqs",
            }
            attributes = {"ApproximateReceiveCount": "1"}
            done = pools.invoke("EmbedFunction", {"Records": [{**record, "attributes": attributes}]})
            assert done == {"batchItemFailures": []}
            yield Backend(stack, pools, api, audio["audio_id"])


@pytest.fixture
def launch(backend: Backend, image: str) -> Iterator[Launch]:
    """Start a container, with other variables than the template's where that is asked for."""
    started = []
    (endpoint,) = backend.stack.deployment.endpoints

    def start(**changed: str) -> EndpointContainer:
        given: Endpoint = replace(endpoint, environment={**endpoint.environment, **changed})
        started.append(EndpointContainer(image, given, backend.stack.endpoint_url, Log()))
        return started[-1]

    yield start
    for container in started:
        container.kill()


def ask(
    container: EndpointContainer, method: str, path: str, body: bytes | None = None
) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", container.port)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def ping(container: EndpointContainer) -> tuple[int, dict[str, Any]]:
    """Ask until it listens."""

    def answer() -> tuple[int, dict[str, Any]]:
        try:
            return ask(container, "GET", "/ping")
        except OSError:
            assert container.alive(), docker("logs", container.id)
            return 0, {}

    return eventually(answer, lambda found: found[0] == 200 or found[1].get("code") not in (None, "loading"))


def posted(container: EndpointContainer, message: bytes) -> Future[tuple[int, dict[str, Any]]]:
    """Deliver a message in another thread."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(ask, container, "POST", "/invocations", message)
    pool.shutdown(wait=False)
    return future


def test_a_job_is_done_and_pings_are_answered_meanwhile(backend: Backend, launch: Launch) -> None:
    container = launch()
    status, about = ping(container)
    assert (status, about["profile"], about["runtime"]) == (200, "tiny", "engine")
    message = backend.submit(**LONG)
    job = posted(container, message)
    eventually(lambda: backend.record(message)["status"] == "running")
    assert ask(container, "GET", "/ping")[0] == 200
    assert job.result() == (200, {"status": "done"})
    record = backend.record(message)
    assert (record["status"], record["engine"]) == ("succeeded", "musicgen-tiny")
    assert ask(container, "POST", "/invocations", message) == (200, {"status": "succeeded"})
    assert ask(container, "POST", "/invocations", b"{}")[0] == 400


@pytest.mark.parametrize("end", ["TERM", "KILL"])
def test_a_job_that_is_cut_goes_on_elsewhere_with_the_same_bytes(
    backend: Backend, launch: Launch, end: str
) -> None:
    container = launch()
    assert ping(container)[0] == 200
    whole, cut = backend.submit(**LONG), backend.submit(**LONG)
    assert ask(container, "POST", "/invocations", whole) == (200, {"status": "done"})
    job = posted(container, cut)
    eventually(lambda: backend.record(cut)["progress"] > 0.1)
    docker("kill", "--signal", end, container.id)
    assert docker("wait", container.id) == ("0" if end == "TERM" else "137")
    if end == "TERM":
        assert job.result() == (200, {"status": "unfinished"})
        assert backend.record(cut)["status"] == "queued"
    else:
        with pytest.raises(OSError, match=r"."):
            job.result()
        assert backend.record(cut)["status"] == "running"
        eventually(lambda: backend.sweep().get("requeued"), every=2.0)  # when its lease has ended
    other = launch()
    assert ping(other)[0] == 200
    assert ask(other, "POST", "/invocations", cut) == (200, {"status": "done"})
    record = backend.record(cut)
    assert record["status"] == "succeeded"
    if end == "TERM":
        assert record["details"]["resumed"] == 1
    assert backend.music(cut) == backend.music(whole)


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"PROFILE": "builtin"}, "wrong_profile"),
        ({"ENDPOINT_STREAMS": "many"}, "wrong_settings"),
        ({"MODELS": "/nowhere"}, "weights_damaged"),
    ],
)
def test_what_it_refuses_is_said_at_ping_and_no_work_is_taken(
    launch: Launch, changed: dict[str, str], code: str
) -> None:
    container = launch(**changed)
    assert ping(container)[1]["code"] == code
    status, problem = ask(container, "POST", "/invocations", b"{}")
    assert (status, problem["code"]) == (503, code)


def test_the_image_runs_unprivileged_and_compiles_nothing(launch: Launch) -> None:
    container = launch()

    def inside(command: str) -> str:
        return docker("exec", container.id, "sh", "-c", command)

    assert inside("id -u") == "993"
    assert inside("touch /var/task/x 2>/dev/null || echo refused") == "refused"
    stale = "find /opt/python/backend /opt/python/music /var/task -name '*.py' -size +0 | while read f; do "
    stale += 'ls "$(dirname $f)/__pycache__/$(basename $f .py)".*.pyc >/dev/null 2>&1 || echo $f; done'
    assert inside(stale) == ""


def test_an_image_of_a_profile_without_weights_is_not_built(engine: None) -> None:
    with pytest.raises(SamError, match=r"no bundle there .*make models PROFILE=nowhere"):
        build_endpoint(find_base_image(Log()), "nowhere", Log())
