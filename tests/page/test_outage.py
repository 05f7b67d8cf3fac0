"""What the page does where the API cannot be reached for a while, and where records go."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Route, expect

from client.stack import StackProcess
from tests.page.files import SAMPLE, as_file, tone
from tests.page.visit import Visit, visiting

API = re.compile(r"/api/")


PATIENCE = 4
"""How often the page sends a request before it gives that up."""


@contextmanager
def outage(visit: Visit, wanted: str) -> Iterator[None]:
    """Let no request reach the API until the page has given up an address."""
    tried: list[str] = []

    def refuse(route: Route) -> None:
        tried.append(route.request.url)
        route.abort("internetdisconnected")

    visit.context.route(API, refuse)
    yield
    while sum(wanted in url for url in tried) < PATIENCE:
        visit.page.wait_for_timeout(20)
    visit.context.unroute(API)


@pytest.fixture
def visit(browser: Browser, stack: StackProcess, track: str) -> Iterator[Visit]:
    """A visit in which Chromium may tell the console of requests that an outage stopped."""
    with visiting(browser, stack) as arrived:
        yield arrived
        arrived.said[:] = [line for line in arrived.said if "net::ERR_INTERNET_DISCONNECTED" not in line]


def test_an_outage_at_the_start_is_made_good(visit: Visit) -> None:
    visit.page.goto("about:blank")
    with outage(visit, "/api/audio?"):
        visit.page.goto(visit.url)
    visit.ready(SAMPLE)
    expect(visit.page.locator(".notice", has_text="No connection.")).to_have_count(0)
    visit.open(SAMPLE)
    expect(visit.page.get_by_role("button", name="Make music")).to_be_visible()


def test_a_track_that_is_opened_in_an_outage_shows_after_it(visit: Visit, track: str) -> None:
    visit.ready(SAMPLE)
    with outage(visit, track.rpartition("/")[2]):
        visit.page.goto(f"{visit.url}{track}")
    visit.drawn("source")
    expect(visit.page.locator(".notice", has_text="No connection.")).to_have_count(0)


def test_a_result_that_is_opened_in_an_outage_shows_after_it(visit: Visit) -> None:
    visit.open(SAMPLE)
    visit.make()
    visit.made()
    address = visit.page.url
    visit.page.goto(f"{visit.url}#/")
    with outage(visit, address.rpartition("/")[2]):
        visit.page.goto(address)
    visit.made()


def test_a_spectrogram_shows_once_its_file_can_be_read(visit: Visit) -> None:
    visit.open(SAMPLE)
    files, state = f"**{visit.bucket}/**", visit.page.locator(".lane-state")
    expired: set[str] = set()

    def disconnect(route: Route) -> None:
        route.abort("internetdisconnected") if route.request.resource_type == "fetch" else route.fallback()

    def expire(route: Route) -> None:
        if route.request.resource_type != "fetch" or expired:
            return route.fallback()
        expired.add(route.request.url)
        return route.fulfill(status=403, headers={"Access-Control-Allow-Origin": "*"})

    visit.context.route(files, disconnect)
    visit.page.get_by_role("button", name="Spectrogram").click()
    expect(state).to_have_text("The server cannot be reached. Check the connection, then try again.")
    visit.context.unroute(files)
    visit.context.route(files, expire)
    expect(visit.page.locator(".spectrum canvas").first).to_be_visible()
    expect(state).to_have_count(0)
    assert expired
    visit.said[:] = [line for line in visit.said if "net::ERR_INTERNET_DISCONNECTED" not in line]
    visit.refused(403)


def test_what_belongs_to_a_record_is_read_as_often_as_it_takes(visit: Visit, track: str) -> None:
    visit.open(SAMPLE)
    visit.make()
    visit.made()
    result = visit.page.url
    visit.page.goto("about:blank")
    failed: set[str] = set()

    def fail(route: Route) -> None:
        if (path := route.request.url.partition("?")[0]) in failed:
            return route.fallback()
        failed.add(path)
        return route.fulfill(status=500, json={"code": "internal_error", "detail": "It failed."})

    tried: list[str] = []

    def disconnect(route: Route) -> None:
        if route.request.resource_type != "fetch" or len(tried) > PATIENCE:
            return route.fallback()
        tried.append(route.request.url)
        return route.abort("internetdisconnected")

    visit.context.route(re.compile(r"/analysis|/origins|/api/(similar|embedding|map)"), fail)
    visit.context.route(f"**{visit.bucket}/**", disconnect)
    page = visit.page
    with page.expect_response(lambda answer: "/api/embedding/" in answer.url and answer.ok):
        page.goto(f"{visit.url}{track}")
    visit.drawn("source")
    expect(page.get_by_role("button", name="Harmony")).to_be_visible()
    expect(page.locator("section", has_text="Nearest of your tracks").locator("p, ul").first).to_be_visible()
    page.goto(f"{visit.url}#/map")
    expect(page.locator(".atlas svg, .library p.empty")).to_be_visible()
    page.goto(result)
    expect(page.get_by_role("img", name="Where each part comes from")).to_be_visible()
    visit.made()
    assert len(failed) == 5
    assert len(tried) > PATIENCE  # and nothing was drawn instead
    expect(page.locator(".notice.bad")).to_have_count(0)
    visit.said[:] = [line for line in visit.said if "net::ERR_INTERNET_DISCONNECTED" not in line]
    visit.refused(500)


def test_a_list_that_cannot_be_read_hides_no_track(visit: Visit, track: str) -> None:
    visit.upload(as_file("listed.wav", tone(2)))
    visit.ready("listed")
    lists = re.compile(r"/api/audio\?")

    def fail(route: Route) -> None:
        route.fulfill(status=500, json={"code": "internal_error", "detail": "It failed."})

    visit.page.goto("about:blank")
    visit.context.route(lists, fail)
    with visit.page.expect_response(lists):
        visit.page.goto(f"{visit.url}{track}")
    visit.drawn("source")
    visit.page.get_by_role("link", name="Library").click()
    expect(visit.page.get_by_role("heading", name="More music like yours.")).to_be_visible()
    expect(visit.page.locator(".library")).to_have_count(0)  # one track would be a wrong list
    visit.context.unroute(lists)
    visit.ready(SAMPLE)
    visit.ready("listed")
    visit.refused(500)


HIDE = """
    Object.defineProperty(Document.prototype, "hidden", {get: () => window.away ?? false});
    window.turn = away => {
        window.away = away;
        document.dispatchEvent(new Event("visibilitychange"));
    };
"""
"""Lets a test take the tab out of sight with `turn(true)`, and back with `turn(false)`."""


class TestLasting:
    """What goes on failing."""

    @pytest.fixture
    def asked(self, visit: Visit, track: str) -> list[str]:
        """Addresses of two parts of a track, whenever they are asked for and fail. Time stands still."""
        asked: list[str] = []

        def fail(route: Route) -> None:
            asked.append(route.request.url)
            route.fulfill(status=500, json={"code": "internal_error", "detail": "It failed."})

        visit.context.add_init_script(HIDE)
        visit.page.goto("about:blank")
        visit.context.route(re.compile(r"/api/(similar|embedding)/"), fail)
        visit.page.clock.install()
        visit.page.goto(f"{visit.url}{track}")
        visit.drawn("source")
        self.rounds(visit, asked, 1)
        visit.page.clock.pause_at(visit.page.evaluate("Date.now() / 1000 + 0.01"))
        return asked

    def rounds(self, visit: Visit, asked: list[str], count: int) -> None:
        """Wait until both parts were asked for so often, and no more often."""
        while len(asked) < 2 * count:
            visit.page.wait_for_timeout(20)
        visit.page.wait_for_timeout(300)
        assert len(asked) == 2 * count

    def test_it_is_told_once_and_asked_for_ever_more_seldom(self, visit: Visit, asked: list[str]) -> None:
        clock, bad = visit.page.clock, visit.page.locator(".notice.bad")
        clock.fast_forward(3000)
        for done, seconds in enumerate((6, 12, 24, 48, 60, 60), start=2):
            self.rounds(visit, asked, done)
            expect(bad).to_have_count(int(done == 3))
            clock.fast_forward(seconds * 1000 - 100)
            self.rounds(visit, asked, done)
            clock.fast_forward(100)
        visit.context.unroute_all()
        with visit.page.expect_response(lambda answer: "/api/similar/" in answer.url and answer.ok):
            visit.page.evaluate("dispatchEvent(new Event('online'))")
        visit.refused(500)

    def test_a_tab_out_of_sight_asks_for_nothing(self, visit: Visit, asked: list[str]) -> None:
        visit.page.evaluate("turn(true)")
        for _ in range(3):
            visit.page.clock.fast_forward(3_600_000)
            visit.page.evaluate("dispatchEvent(new Event('online'))")
            self.rounds(visit, asked, 1)
        visit.page.evaluate("turn(false)")
        self.rounds(visit, asked, 2)
        visit.refused(500)

    def test_no_listener_stays_behind(self, visit: Visit, asked: list[str]) -> None:
        tools = visit.context.new_cdp_session(visit.page)
        of_both = (
            "getEventListeners(window).online.length + getEventListeners(document).visibilitychange.length"
        )

        def listeners() -> int:
            asking = {"expression": of_both, "includeCommandLineAPI": True}
            return int(tools.send("Runtime.evaluate", asking)["result"]["value"])

        waiting = listeners()
        for done in range(2, 5):
            visit.page.clock.fast_forward(60_000)
            self.rounds(visit, asked, done)
            assert listeners() == waiting
        visit.page.clock.resume()
        visit.page.get_by_role("link", name="Library").click()
        visit.ready(SAMPLE)
        assert listeners() == waiting - 4
        visit.refused(500)

    def test_a_file_that_cannot_be_read_is_told_of(self, visit: Visit) -> None:
        visit.open(SAMPLE)
        visit.make()
        visit.made()
        address = visit.page.url
        visit.page.goto("about:blank")
        visit.context.route(
            f"**{visit.bucket}/**",
            lambda route: (
                route.abort("internetdisconnected")
                if route.request.resource_type == "fetch"
                else route.fallback()
            ),
        )
        visit.page.goto(address)
        expect(visit.page.locator(".notice.bad")).to_have_text(
            "The server cannot be reached. Check the connection, then try again."
        )
        visit.page.goto("about:blank")
