"""A person at the page: what the tests and the pictures do there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, Request, Route, expect

from client.stack import StackProcess

PATIENCE_MS = 120_000
"""How long a job may take before a test gives it up. No test is faster or slower for it."""
expect.set_options(timeout=PATIENCE_MS)
HELD = """
    const held = new Map(), {setTimeout, clearTimeout} = window;
    window.setTimeout = (run, wait, ...given) =>
        wait === 8000 ? held.set(-held.size - 1, run) && -held.size : setTimeout(run, wait, ...given);
    window.clearTimeout = timer => held.has(timer) ? held.set(timer, () => {}) : clearTimeout(timer);
    window.lapse = () => [...held].forEach(([timer, run]) => (held.set(timer, () => {}), run()));
"""
"""Lets the time in which a deletion can be undone lapse when a test calls `lapse()`, and not before."""


class Visit:
    """One browser context at the page of a deployment, and everything that it must not do.

    Attributes
    ----------
    page : Page
        A tab.
    said : list of str
        What came to the console, errors of scripts and of the policy included.
    hosts : set of str
        Where requests went.
    """

    def __init__(self, context: BrowserContext, stack: StackProcess, stage: str = "") -> None:
        self.context, self.url = context, f"{stack.api_url}{stage}/"
        self.bucket = urlsplit(stack.endpoint_url).netloc
        self.said: list[str] = []
        self.hosts: set[str] = set()
        context.set_default_timeout(PATIENCE_MS)
        context.on("console", self._hear)
        context.on("weberror", lambda error: self.said.append(str(error.error)))
        context.on("request", self._follow)
        if stage:
            # A page that no server sent would need leave to load from this machine.
            context.grant_permissions(["local-network-access"])
            context.route(f"{stack.api_url}/**", lambda route: _below(route, stack.api_url, stage))
        self.page = self.tab()

    def tab(self) -> Page:
        """Open the page in another tab."""
        page = self.context.new_page()
        page.goto(self.url)
        return page

    def _hear(self, message: ConsoleMessage) -> None:
        # On a machine that is busy enough, the gateway gives up. Chromium says so; the page asks again.
        if "status of 504" not in message.text:
            self.said.append(f"{message.type}: {message.text}")

    def _follow(self, request: Request) -> None:
        if (parts := urlsplit(request.url)).scheme not in {"blob", "data"}:
            self.hosts.add(parts.netloc)

    def check(self) -> None:
        """Fail if the console was used, or another host asked."""
        assert self.said == [], self.said
        allowed = {urlsplit(self.url).netloc, self.bucket}
        strangers = {host for host in self.hosts - allowed if not host.endswith(f".{self.bucket}")}
        assert strangers == set(), strangers

    def refused(self, *statuses: int) -> None:
        """Expect what Chromium itself says of answers that were asked for, and nothing else."""
        assert self.said, statuses
        for line in self.said:
            assert any(f"the server responded with a status of {status}" in line for status in statuses), line
        self.said.clear()

    # -- what a person does --------------------------------------------------------------------------------

    def upload(self, *files: str | Path | Any, page: Page | None = None) -> None:
        """Choose files."""
        (page or self.page).locator("input[type=file][accept]").set_input_files(list(files))

    def row(self, name: str, page: Page | None = None) -> Locator:
        """Return a track's row in the library."""
        return (page or self.page).locator(".library .row").filter(has_text=re.compile(re.escape(name)))

    def ready(self, name: str, page: Page | None = None) -> Locator:
        """Wait until a track is ready, and return its row."""
        row = self.row(name, page)
        expect(row).to_have_attribute("data-status", "ready")
        return row

    def open(self, name: str) -> None:
        """Open a track, and wait until its waveform is drawn."""
        self.ready(name).get_by_role("link", name=name).click()
        expect(self.page.get_by_role("heading", level=1)).to_have_text(name)
        self.drawn("source")

    def drawn(self, lane: str) -> None:
        """Wait until a waveform is drawn."""
        expect(self.page.locator(f"[data-lane={lane}] .wave canvas").first).to_be_visible()

    def make(self, preset: str = "Quick sketch", **fields: str) -> None:
        """Ask for new music, as quickly as it can be made."""
        self.page.get_by_role("button", name=preset).click()
        for name, value in fields.items():
            self.page.locator(f"#make-{name}").fill(value)
        self.page.get_by_role("button", name="Make music").click()
        expect(self.page.locator(".result")).to_be_visible()

    def drag_over(self, start: float, end: float, *, of: float) -> None:
        """Drag over some seconds of the source's waveform, which has `of` seconds in all."""
        box = self.page.locator("[data-lane=source] .wave").bounding_box()
        assert box
        second, middle = box["width"] / of, box["y"] + box["height"] / 2
        self.page.mouse.move(box["x"] + start * second, middle)
        self.page.mouse.down()
        self.page.mouse.move(box["x"] + (start + end) / 2 * second, middle, steps=5)
        self.page.mouse.move(box["x"] + end * second, middle, steps=5)
        self.page.mouse.up()

    def made(self) -> None:
        """Wait until the result is there and drawn."""
        expect(self.page.locator(".actions")).to_be_visible()
        self.drawn("made")

    def detail(self, name: str) -> str:
        """Return what the page says of how a result was made."""
        term = self.page.locator(".details dt").get_by_text(name, exact=True)
        return term.locator("xpath=following-sibling::dd").inner_text()

    @property
    def slider(self) -> Locator:
        """The position in what plays."""
        return self.page.get_by_role("slider", name="Position")

    def plays_past(self, second: int) -> None:
        """Wait until what plays has come so far."""
        script = "second => Number(document.querySelector('[role=slider]').ariaValueNow) >= second"
        self.page.wait_for_function(script, arg=second)

    def at(self) -> int:
        """Return the second that is shown."""
        return int(self.slider.get_attribute("aria-valuenow") or -1)


def _below(route: Route, api_url: str, stage: str) -> None:
    """Answer what is asked for below a stage. Links in answers begin as requests do, as the API's own."""
    path = route.request.url.removeprefix(api_url)
    if not path.startswith(f"{stage}/"):
        route.fulfill(status=403, json={"message": "Forbidden"})
        return
    answer = route.fetch(url=api_url + path.removeprefix(stage))
    headers = {name: value for name, value in answer.headers.items() if name != "content-encoding"}
    body = answer.body()
    if headers.get("content-type", "").partition(";")[0] in {"text/html", "application/json"}:
        for start in (b"api", b"assets"):
            body = body.replace(b'"/%b/' % start, b'"%b/%b/' % (stage.encode(), start))
    route.fulfill(status=answer.status, headers=headers, body=body)


@contextmanager
def visiting(browser: Browser, stack: StackProcess, stage: str = "", **options: Any) -> Iterator[Visit]:
    """Visit the page; afterwards, the console has to be empty, and no other host asked.

    With a stage, as `/Prod`, the page and the API are below that, as on API Gateway's own host names.
    """
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 860}, **options})
    try:
        visit = Visit(context, stack, stage)
        yield visit
        visit.check()
    finally:
        context.close()
