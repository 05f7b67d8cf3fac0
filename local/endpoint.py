"""An asynchronous endpoint of SageMaker on this machine: its queue, its one instance, its receipts.

    a request            waits in a queue until its time to live is over
    there is work        the instance starts: a container, which is asked `/ping` until it answers 200
    it answers           requests are posted to `/invocations`, as many at once as the template says
    200                  the answer is written to the bucket, as SageMaker writes it
    another status, a    an error is written to the bucket; nobody tries again
    container that dies,
    a timeout, an end of
    its time to live
    503 at `/ping`       the requests wait; what the container says is logged
    no work for a while  SIGTERM, and no instance is left

Nothing depends on the receipts: the record is the truth. What waits here when the stack ends is gone, as it
would be with its time to live; the sweeper sends again what nobody claimed.

References
----------
.. [1] "Asynchronous inference", Amazon SageMaker AI Developer Guide.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError
from werkzeug.wrappers import Request, Response

from local import pool, template
from local.aws.provision import client
from local.logs import Log

IDLE_SECONDS = 60.0
"""Seconds without work after which the instance goes; on AWS scaling takes minutes."""
PING_SECONDS = 0.25
"""Seconds between two questions whether a container is ready."""
RESTART_SECONDS = 2.0
"""Seconds after which a container that ended by itself is started again; they double up to a minute."""
STOP_SECONDS = 30.0
"""Seconds that a container has from SIGTERM to SIGKILL, as on SageMaker."""
MAX_BODY_BYTES = 128_000
MAX_ID_LENGTH = 64
TIMEOUT_SECONDS = range(1, 3601)
TTL_SECONDS = range(60, 21601)
"""What SageMaker takes as a body, as an id, and as the times of a request."""
_ROUTE = re.compile(r"/endpoints/([^/]+)/async-invocations")
_TICK_SECONDS = 0.2


class RequestError(Exception):
    """A request that SageMaker would not take."""


@dataclass(frozen=True)
class Invocation:
    """A request that was taken.

    Attributes
    ----------
    inference_id : str
        The caller's name for it.
    body : bytes
    content_type : str
    timeout : float
        Seconds that the container has.
    expires_at : float
        When it is too old, by the monotonic clock.
    receipt : str
        Name of its receipts, another one for each request.
    """

    inference_id: str
    body: bytes
    content_type: str
    timeout: float
    expires_at: float
    receipt: str = field(default_factory=lambda: str(uuid.uuid4()))


class Container(Protocol):
    """What an instance runs."""

    @property
    def port(self) -> int:
        """Where it listens on 127.0.0.1."""

    def alive(self) -> bool:
        """Tell whether it has not ended."""

    def terminate(self) -> None:
        """Ask it to end (SIGTERM)."""

    def kill(self) -> None:
        """End it (SIGKILL) and whatever it started, and wait for that."""


class ProcessContainer:
    """A container's code as a process, in the environment that the container would have.

    Parameters
    ----------
    endpoint : Endpoint
        Whose it is.
    endpoint_url : str
        The local AWS.
    log : Log
        Takes what it prints.
    """

    def __init__(self, endpoint: template.Endpoint, endpoint_url: str, log: Log) -> None:
        self.port = _free_port()
        self._folder = tempfile.TemporaryDirectory(prefix="music-endpoint-")
        folder = Path(self._folder.name)
        self._process = subprocess.Popen(
            ["nice", "-n", "10", sys.executable, "-P", "-m", "functions.endpoint", "serve"],
            env=environment(endpoint, endpoint_url, folder, self.port),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the parent, which ends its children
        )
        assert self._process.stdout is not None
        output = self._process.stdout
        threading.Thread(target=log.follow, args=("endpoint", output), daemon=True).start()

    @property
    def pid(self) -> int:
        """The process, for who wants to end it."""
        return self._process.pid

    def alive(self) -> bool:
        """Tell whether it has not ended."""
        return self._process.poll() is None

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._process.terminate()

    def kill(self) -> None:
        """Send SIGKILL to it and whatever it started, and wait."""
        pool.kill_group(self._process.pid)
        self._process.wait()
        self._folder.cleanup()


def environment(endpoint: template.Endpoint, endpoint_url: str, folder: Path, port: int) -> dict[str, str]:
    """Return all that a container's process finds in its environment.

    Parameters
    ----------
    folder : Path
        Its home, and its place for temporary files.
    port : int
        Where it is to listen.
    """
    return {
        **endpoint.environment,
        **pool.surroundings(endpoint_url, folder, endpoint.image.lay_out(folder / "image")),
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "ENDPOINT_HOST": "127.0.0.1",
    }


Launch = Callable[[template.Endpoint, str, Log], Container]


class Endpoint:
    """One endpoint: takes requests at once, and delivers them while it is started.

    Parameters
    ----------
    endpoint : Endpoint
        As the template has it.
    endpoint_url : str
        The local AWS.
    log : Log
        Takes what happens.
    idle_seconds : float
        Seconds without work after which the instance goes.
    """

    def __init__(
        self, endpoint: template.Endpoint, endpoint_url: str, log: Log, *, idle_seconds: float = IDLE_SECONDS
    ) -> None:
        self.name, self._endpoint = endpoint.name, endpoint
        self._endpoint_url, self._log = endpoint_url, log
        self.idle_seconds = idle_seconds
        self._s3 = client("s3", endpoint_url, max_pool_connections=50)
        self._changed = threading.Condition()
        self._waiting: deque[Invocation] = deque()
        self._under_way = 0
        self._worked_at = time.monotonic()
        self._lost = 0  # containers one after the other that ended before they took work
        self._closed = False
        self._manager: threading.Thread | None = None
        self.container: Container | None = None
        """What its instance runs; None while it has no instance."""

    # -- requests

    def take(self, request: Request) -> Response:
        """Take a request of `InvokeEndpointAsync`, and say where its receipts will be.

        Raises
        ------
        RequestError
        """
        invocation = read(request)
        with self._changed:
            self._waiting.append(invocation)
            self._changed.notify_all()
        headers = {
            "X-Amzn-SageMaker-OutputLocation": self._done(invocation),
            "X-Amzn-SageMaker-FailureLocation": self._failed(invocation),
        }
        body = json.dumps({"InferenceId": invocation.inference_id})
        return Response(body, 202, headers, content_type="application/json")

    def backlog(self) -> int:
        """Return how many requests wait or are worked on."""
        with self._changed:
            return len(self._waiting) + self._under_way

    # -- instances

    def start(self, launch: Launch = ProcessContainer) -> None:
        """Begin to deliver: from now on there is an instance whenever there is work."""
        self._manager = threading.Thread(
            target=self._manage, args=(launch,), name=f"endpoint-{self.name}", daemon=True
        )
        self._manager.start()

    def close(self) -> None:
        """End the instance, whatever it does."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._manager:
            self._manager.join()

    def _manage(self, launch: Launch) -> None:
        while self._has_work():
            self._log.line("local", f"the endpoint {self.name} has work: it gets an instance")
            container = self.container = launch(self._endpoint, self._endpoint_url, self._log)
            try:
                if self._await_ping(container):
                    self._lost = 0
                    self._serve(container)
            finally:
                self._end(container)

    def _has_work(self) -> bool:
        """Wait for a request; false where the endpoint is closed."""
        with self._changed:
            while not self._closed:
                if self._waiting:
                    return True
                self._changed.wait()
        return False

    def _await_ping(self, container: Container) -> bool:
        """Wait until a container takes work, or there is none any more; false where it will not do."""
        said = ""
        while not self._is_closed() and container.alive():
            self._expire()
            if not self.backlog():
                return False
            status, answer = _ask(container.port, "GET", "/ping", timeout=5.0)
            if status == 200:
                return True
            if status and (reason := _reason(answer)) != said:
                said = reason
                self._log.line("endpoint", f"/ping answers {status}: {said}", "WARNING")
            time.sleep(PING_SECONDS)
        return False

    def _serve(self, container: Container) -> None:
        """Deliver until there has been no work for a while, or the container ends."""
        self._worked_at = time.monotonic()
        while container.alive():
            self._expire()
            with self._changed:
                if self._closed:
                    return
                if self._waiting and self._under_way < self._endpoint.streams:
                    invocation = self._waiting.popleft()
                    self._under_way += 1
                elif self._waiting or self._under_way:
                    self._changed.wait(_TICK_SECONDS)
                    continue
                elif time.monotonic() - self._worked_at > self.idle_seconds:
                    self._log.line("local", f"the endpoint {self.name} has no work: its instance goes")
                    return
                else:
                    self._changed.wait(_TICK_SECONDS)
                    continue
            threading.Thread(target=self._deliver, args=(container, invocation), daemon=True).start()

    def _end(self, container: Container) -> None:
        ended_by_itself = not container.alive()
        if not ended_by_itself:
            container.terminate()
            deadline = time.monotonic() + STOP_SECONDS
            while container.alive() and time.monotonic() < deadline:
                time.sleep(_TICK_SECONDS / 4)
        container.kill()
        self.container = None
        with self._changed:
            self._changed.wait_for(lambda: not self._under_way, STOP_SECONDS)
            if ended_by_itself and not self._closed:
                self._log.line("local", f"the instance of the endpoint {self.name} is lost", "WARNING")
                self._changed.wait_for(lambda: self._closed, min(RESTART_SECONDS * 2**self._lost, 60.0))
                self._lost += 1

    def _is_closed(self) -> bool:
        with self._changed:
            return self._closed

    # -- deliveries

    def _deliver(self, container: Container, invocation: Invocation) -> None:
        try:
            self.post(container, invocation)
        finally:
            with self._changed:
                self._under_way -= 1
                self._worked_at = time.monotonic()
                self._changed.notify_all()

    def post(self, container: Container, invocation: Invocation) -> None:
        """Post a request to the container, and write what came of it to the bucket."""
        headers = {
            "Content-Type": invocation.content_type,
            "X-Amzn-SageMaker-Inference-Id": invocation.inference_id,
        }
        status, answer = _ask(
            container.port, "POST", "/invocations", invocation.body, headers, invocation.timeout
        )
        if status == 200:
            self._write(self._done(invocation), answer)
        elif status:
            self._fail(invocation, f"Received server error ({status}) from model: {_reason(answer)}")
        else:
            self._fail(invocation, f"The model did not answer: {answer.decode()}")

    def _expire(self) -> None:
        """Give up what has waited for longer than it wanted to."""
        with self._changed:
            now = time.monotonic()
            expired = [one for one in self._waiting if one.expires_at <= now]
            self._waiting = deque(one for one in self._waiting if one.expires_at > now)
        for invocation in expired:
            self._fail(invocation, "The request expired in the queue.")

    def _fail(self, invocation: Invocation, reason: str) -> None:
        self._log.line("endpoint", f"{invocation.inference_id} failed: {reason}", "WARNING")
        self._write(self._failed(invocation), reason.encode())

    def _write(self, address: str, body: bytes) -> None:
        bucket, _, key = address.removeprefix("s3://").partition("/")
        try:
            self._s3.put_object(Bucket=bucket, Key=key, Body=body)
        except (BotoCoreError, ClientError) as error:
            self._log.line("endpoint", f"no receipt: {error}", "WARNING")

    def _done(self, invocation: Invocation) -> str:
        return f"{self._endpoint.done}{invocation.receipt}.out"

    def _failed(self, invocation: Invocation) -> str:
        return f"{self._endpoint.failed}{invocation.receipt}-error.out"


def answer(request: Request, endpoints: Mapping[str, Endpoint]) -> Response | None:
    """Answer `InvokeEndpointAsync`, whose signature was checked; None where it is another request."""
    match = _ROUTE.fullmatch(request.path)
    if match is None or request.method != "POST":
        return None
    try:
        if match[1] not in endpoints:
            raise RequestError(f"Endpoint {match[1]} of account {template.ACCOUNT} not found.")
        return endpoints[match[1]].take(request)
    except RequestError as error:
        body = json.dumps({"Message": str(error)})
        headers = {"x-amzn-ErrorType": "ValidationError"}
        return Response(body, 400, headers, content_type="application/json")


def read(request: Request) -> Invocation:
    """Read a request of `InvokeEndpointAsync`.

    Raises
    ------
    RequestError
        SageMaker would not take it, or this one cannot.
    """

    def header(name: str) -> str | None:
        return request.headers.get(f"X-Amzn-SageMaker-{name}")

    def seconds(name: str, allowed: range, otherwise: int) -> int:
        value = header(name) or str(otherwise)
        if not (value.isascii() and value.isdigit() and int(value) in allowed):
            raise RequestError(f"{name} must be from {allowed[0]} to {allowed[-1]}, not {value!r}.")
        return int(value)

    body = request.get_data()
    if header("InputLocation") is not None:
        raise RequestError("The local stack takes a Body, and no InputLocation.")
    if not body:
        raise RequestError("Provide exactly one of Body and InputLocation.")
    if len(body) > MAX_BODY_BYTES:
        raise RequestError(f"Body must have at most {MAX_BODY_BYTES} bytes, not {len(body)}.")
    inference_id = header("Inference-Id") or str(uuid.uuid4())
    if len(inference_id) > MAX_ID_LENGTH or not inference_id.isprintable():
        raise RequestError(
            f"InferenceId must have at most {MAX_ID_LENGTH} characters, all of them printable."
        )
    return Invocation(
        inference_id=inference_id,
        body=body,
        content_type=header("Content-Type") or "application/octet-stream",
        timeout=float(seconds("InvocationTimeoutSeconds", TIMEOUT_SECONDS, 900)),
        expires_at=time.monotonic() + seconds("RequestTTLSeconds", TTL_SECONDS, 21600),
    )


def _free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _ask(
    port: int,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 60.0,
) -> tuple[int, bytes]:
    """Send one request to a container; status 0, and why, where nothing answers in time."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException) as error:
        return 0, (str(error) or type(error).__name__).encode()
    finally:
        connection.close()


def _reason(answer: bytes) -> str:
    """Return what an answer says, in words where it has some."""
    try:
        document: Any = json.loads(answer)
        return f"{document['code']}: {document['detail']}"
    except (ValueError, KeyError, TypeError):
        return answer.decode("utf-8", "replace")[:500]
