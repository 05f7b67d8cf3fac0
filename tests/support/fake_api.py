"""An API that answers as a test tells it, for what a real one does not do when it is asked to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as a document."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Told:
    """What to answer: a document, or bytes as they are."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    stall: threading.Event | None = None
    """Set by the test before what is left of the body is sent."""
    cut: int = 0
    """Bytes of the body that never come, though its length was announced."""


@dataclass(frozen=True)
class Ended:
    """How a command of `music` ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on standard output."""
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line on standard error."""
        (line,) = self.err.splitlines()
        assert line.startswith("error: ")
        return line.removeprefix("error: ")


def problem(status: int, code: str, detail: str = "It is not possible.", **members: Any) -> Told:
    """Make a problem document (RFC 9457)."""
    document = {"type": "about:blank", "title": code, "status": status, "detail": detail, "code": code}
    return Told(status, document | members, {"Content-Type": "application/problem+json"})


class FakeApi(ThreadingHTTPServer):
    """The server.

    Attributes
    ----------
    answers : dict
        For ``"METHOD /path"`` what to answer: a `Told`, a list of them whose last one stays, or a function of
        the request. Anything else is not found.
    asked : list of Asked
        All requests.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, Told | list[Told] | Callable[[Asked], Told]] = {}
        self.asked: list[Asked] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: Any) -> None:
        """Say nothing of clients that end early: tests do that."""

    def tell(self, asked: Asked) -> Told:
        """Choose the answer."""
        self.asked.append(asked)
        told = self.answers.get(f"{asked.method} {asked.path.partition('?')[0]}", problem(404, "not_found"))
        if callable(told):
            return told(asked)
        if isinstance(told, list):
            return told.pop(0) if len(told) > 1 else told[0]
        return told


class _Handler(BaseHTTPRequestHandler):
    server: FakeApi
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:  # whoever sent it has gone
            self.close_connection = True
            return
        told = self.server.tell(Asked(self.command, self.path, dict(self.headers), body))
        content = told.body if isinstance(told.body, bytes) else json.dumps(told.body).encode()
        self.send_response(told.status)
        for name, value in {"Content-Type": "application/json", **told.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if told.stall:
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            told.stall.wait()
            content = content[len(content) // 2 :]
        self.wfile.write(content[: len(content) - told.cut])
        if told.cut:
            self.close_connection = True

    do_GET = do_POST = _answer  # noqa: N815 (as the library asks for them)


@contextmanager
def serving() -> Iterator[FakeApi]:
    """Run one for the block of a `with`."""
    with FakeApi() as api:
        thread = threading.Thread(target=api.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield api
        finally:
            api.shutdown()
            thread.join()
