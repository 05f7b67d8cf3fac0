"""A small threaded HTTP server for WSGI applications."""

from __future__ import annotations

import socket
import threading
from typing import Any

from moto.moto_server.werkzeug_app import MotoRequestHandler
from werkzeug.serving import BaseWSGIServer, make_server


class PortError(Exception):
    """The address cannot be listened on."""


class _Handler(MotoRequestHandler):
    """Says nothing by itself: who serves also logs."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or every answer whose body follows its headers waits 40 ms

    def log(self, type: str, message: str, *args: Any) -> None:
        """Stay silent."""


class HttpServer:
    """Serves a WSGI application from a thread of its own, every request in a thread.

    Parameters
    ----------
    host, port : str, int
        Address; port 0 takes a free one.
    app : WSGI application

    Raises
    ------
    PortError
        When somebody else has the port, or the address is not this machine's.
    """

    def __init__(self, host: str, port: int, app: Any) -> None:
        # werkzeug would end the process where the port is in use, so the socket is opened here.
        try:
            listener = socket.create_server((host, port), backlog=128)
        except OSError as error:
            raise PortError(f"cannot listen on {host}:{port}: {error.strerror}") from error
        with listener:
            self._server: BaseWSGIServer = make_server(
                host, port, app, threaded=True, request_handler=_Handler, fd=listener.fileno()
            )
        self.host, self.port = host, self._server.port
        self._server.daemon_threads = True  # type: ignore[attr-defined]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name=f"http-{self.port}", daemon=True
        )

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{self.host}:{self.port}"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Stop answering; requests under way are left to end by themselves."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
