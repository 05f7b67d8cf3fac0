"""What the local stack writes on a terminal."""

from __future__ import annotations

import io
import json
import socket

import pytest

from local.gateway import Gateway
from local.http_server import HttpServer
from local.logs import Log
from local.template import Deployment

HOSTILE = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202efcb\r\b"


@pytest.fixture
def screen() -> io.StringIO:
    return io.StringIO()


def harmless(text: str) -> bool:
    return all(character == "\n" or character.isprintable() for character in text)


def test_no_source_writes_what_a_terminal_obeys(screen: io.StringIO) -> None:
    log = Log(screen)
    log.line("gateway", f"GET /{HOSTILE}")
    log.plain(HOSTILE)
    record = {"message": f"stored {HOSTILE}", "filename": HOSTILE, "exception": f"line\n{HOSTILE}"}
    log.follow("embed", [json.dumps(record).encode(), HOSTILE.encode(), b"\xff\x1b[2J"])
    assert harmless(screen.getvalue())
    assert screen.getvalue().count("%1B[2J") == 7
    assert "GET /%1B[2J%1B]0;owned%07%C2%9B31m%E2%80%AEfcb%0D%08" in screen.getvalue()


def test_what_people_write_stays_as_it_is(screen: io.StringIO) -> None:
    Log(screen).line("embed", "took söng – 音楽 🎵.mp3\n  and more")
    assert "took söng – 音楽 🎵.mp3\n  and more" in screen.getvalue()


def test_a_path_is_logged_as_it_was_sent(screen: io.StringIO) -> None:
    class Nobody:
        def invoke(self, function: str, event: object) -> None:
            raise AssertionError

        def close(self) -> None:
            pass

    server = HttpServer("127.0.0.1", 0)
    server.start(Gateway(Deployment(), Nobody(), Log(screen)))
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        raw = "GET /a%1B%5B2J/\x1b[31m?q=%0A HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        connection.sendall(raw.encode())
        while connection.recv(4096):
            pass
    server.close()
    assert "GET /a%1B%5B2J/%1B[31m?q=%0A 403" in screen.getvalue()
    assert harmless(screen.getvalue())
