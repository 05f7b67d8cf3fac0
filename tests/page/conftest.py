"""A browser, and pages of other origins than the API's."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from client.stack import StackProcess
from tests.page.files import SAMPLE
from tests.page.visit import visiting
from tests.support import debian

# What needs the networks runs where there are some.
collect_ignore = ["test_neural.py"] if os.environ.get("PROFILE", "builtin") == "builtin" else []


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium. Where root runs on Debian without it, it is installed."""
    if debian.missing({"chromium": "chromium"}):
        pytest.fail("there is no `chromium`, and only root on Debian can have one installed here")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        yield started
        started.close()


@pytest.fixture(scope="module")
def stack() -> Iterator[StackProcess]:
    """A deployment of the module's own, as it comes."""
    with StackProcess() as started:
        yield started


@pytest.fixture(scope="module")
def track(browser: Browser, stack: StackProcess) -> str:
    """The address of the sample in the library, relative to the page."""
    with visiting(browser, stack) as visit:
        visit.page.get_by_role("button", name="Try it with our sample").click()
        return visit.ready(SAMPLE).get_by_role("link").get_attribute("href") or ""


class _Empty(BaseHTTPRequestHandler):
    """Answers every request with an empty page."""

    def do_GET(self) -> None:
        body = b"<!doctype html><title>A page</title>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@contextmanager
def served() -> Iterator[str]:
    """Serve an empty page; yields its origin."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Empty) as server:
        threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """The origin whose pages the deployment lets in."""
    with served() as address:
        yield address


@pytest.fixture(scope="module")
def stranger() -> Iterator[str]:
    """An origin that the deployment does not know."""
    with served() as address:
        yield address


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that is still empty."""
    context = browser.new_context()
    yield context.new_page()
    context.close()
