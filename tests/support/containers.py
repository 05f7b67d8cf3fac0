"""Containers of an endpoint that do as a test says, in the process of the test."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from local import template
from local.logs import Log

Answer = tuple[int, Any]


class FakeContainer:
    """Speaks what SageMaker speaks to a container.

    Attributes
    ----------
    pings : callable
        What `/ping` answers: a status and a document.
    invoke : callable
        What `/invocations` answers to a message and its id.
    asked : list of (str, bytes)
        Ids and bodies of all invocations.
    """

    def __init__(self) -> None:
        self.pings: Callable[[], Answer] = lambda: (200, {"status": "ready"})
        self.invoke: Callable[[dict[str, Any], str], Answer] = lambda message, inference_id: (
            200,
            {"status": "done"},
        )
        self.asked: list[tuple[str, bytes]] = []
        self.at_once = self.most_at_once = 0
        self.terminated = False
        self._lock = threading.Lock()
        container = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer(*container.pings())

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                inference_id = self.headers["X-Amzn-SageMaker-Inference-Id"]
                with container._lock:
                    container.asked.append((inference_id, body))
                    container.at_once += 1
                    container.most_at_once = max(container.most_at_once, container.at_once)
                try:
                    self.answer(*container.invoke(json.loads(body), inference_id))
                finally:
                    with container._lock:
                        container.at_once -= 1

            def answer(self, status: int, document: Any) -> None:
                data = json.dumps(document).encode()
                with suppress(OSError):  # nobody waits any more
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                """Stay silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._alive = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def alive(self) -> bool:
        """Tell whether it has not ended."""
        return self._alive

    def die(self) -> None:
        """End by itself."""
        if self._alive:
            self._alive = False
            self._server.shutdown()
            self._server.server_close()

    def terminate(self) -> None:
        """End in order."""
        self.terminated = True
        self.die()

    def kill(self) -> None:
        """End at once."""
        self.die()


class Instances:
    """Launches containers, and keeps them.

    Parameters
    ----------
    prepare : callable, optional
        Gets each one before anybody asks it anything.
    """

    def __init__(self, prepare: Callable[[FakeContainer], None] = lambda container: None) -> None:
        self.prepare = prepare
        self.started: list[FakeContainer] = []

    def __call__(self, endpoint: template.Endpoint, endpoint_url: str, log: Log) -> FakeContainer:
        """Launch one."""
        container = FakeContainer()
        self.prepare(container)
        self.started.append(container)
        return container
