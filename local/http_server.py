"""A small threaded HTTP server for WSGI applications."""

from __future__ import annotations

import argparse
import ipaddress
import json
import os
import re
import socket
import threading
from collections.abc import Iterable
from typing import Any

from moto.moto_server.werkzeug_app import MotoRequestHandler
from werkzeug.serving import BaseWSGIServer, make_server
from werkzeug.wrappers import Response

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]+)?")


class PortError(Exception):
    """The address cannot be listened on."""


def tcp_port(text: str) -> int:
    """Read a port, for `argparse`.

    Raises
    ------
    ArgumentTypeError
        It is no number from 0 to 65535.
    """
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 to 65535")
    return int(text)


class _Handler(MotoRequestHandler):
    """Says nothing by itself: who serves also logs."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or every answer whose body follows its headers waits 40 ms

    def log(self, type: str, message: str, *args: Any) -> None:
        """Stay silent."""


class HttpServer:
    """Serves a WSGI application from a thread of its own, every request in a thread.

    The address is taken at once; who connects before `start` waits. A request must name this machine in its
    `Host`, or it is answered with 421: a page whose own name comes to mean this address (DNS rebinding) is of
    the same origin as what it asks, and a browser lets it do anything.

    Parameters
    ----------
    host, port : str, int
        Address; port 0 takes a free one.

    Raises
    ------
    PortError
        When somebody else has the port, or the address is not this machine's.
    """

    def __init__(self, host: str, port: int) -> None:
        # werkzeug would end the process where the port is in use, so the socket is opened here.
        try:
            self._listener = socket.create_server((host, port), backlog=128)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise PortError(f"cannot listen on {host}:{port}: {reason}") from error
        self.host, self.port = host, self._listener.getsockname()[1]
        self._server: BaseWSGIServer | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{self.host}:{self.port}"

    def start(self, app: Any) -> None:
        """Begin to answer, with a WSGI application."""

        def here(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            if self._is_named(environ.get("HTTP_HOST", "")):
                return app(environ, start_response)
            return self._misdirected(environ.get("HTTP_HOST", ""))(environ, start_response)

        descriptor = self._listener.fileno()
        self._server = make_server(
            self.host, self.port, here, threaded=True, request_handler=_Handler, fd=descriptor
        )
        self._server.daemon_threads = True  # type: ignore[attr-defined]
        threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name=f"http-{self.port}", daemon=True
        ).start()

    def _is_named(self, host: str) -> bool:
        """Tell whether a `Host` header names this server."""
        match = _HOST.fullmatch(host)
        name = match[1].lower().strip("[]") if match else ""
        if name in {"127.0.0.1", "localhost", self.host.lower()}:
            return True
        try:
            # Who listens on every address has no name for each; a page cannot rebind an address.
            return ipaddress.ip_address(self.host).is_unspecified and bool(ipaddress.ip_address(name))
        except ValueError:
            return False

    def _misdirected(self, host: str) -> Response:
        detail = f"The local stack is not called {host[:200]!r}: use {self.url}."
        problem = {"type": "about:blank", "title": "Misdirected Request", "status": 421}
        body = json.dumps({**problem, "code": "misdirected_request", "detail": detail})
        return Response(body, 421, content_type="application/problem+json")

    def close(self) -> None:
        """Stop answering; requests under way are left to end by themselves."""
        if self._server:
            self._server.shutdown()
        self._listener.close()
