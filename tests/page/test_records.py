"""What becomes of records: while they are read, once they are deleted, and where they are there twice."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Route, expect

from client import sample
from client.stack import StackProcess
from tests.page.files import SAMPLE, as_file, tone
from tests.page.visit import HELD, Visit, visiting


@pytest.fixture
def visit(browser: Browser, stack: StackProcess, track: str) -> Iterator[Visit]:
    """A visit in which the time to undo lapses when the test says so."""
    with visiting(browser, stack) as arrived:
        arrived.context.add_init_script(HELD)
        arrived.page.reload()
        yield arrived


def delete(visit: Visit, name: str) -> None:
    """Delete a track in the library."""
    row = visit.ready(name)
    row.hover()
    row.get_by_role("button", name=f"Delete {name}").click()


def test_what_is_chosen_while_a_track_is_read_stays_when_it_is_ready(
    browser: Browser, stack: StackProcess, track: str
) -> None:
    records = re.compile(r"/api/audio(\?|/[0-9A-Z]{26}$)")

    def unread(route: Route) -> None:
        answer = route.fetch()
        found = answer.json()
        for record in found.get("items", [found]):
            record |= {"status": "embedding", "stage": "embedding", "progress": 0.5, "features": None}
        route.fulfill(json=found)

    with visiting(browser, stack) as visit:
        visit.page.goto("about:blank")
        visit.context.route(records, unread)
        visit.page.goto(f"{visit.url}{track}")
        expect(visit.page.get_by_text("Starts as soon as the track is ready.")).to_be_visible()
        visit.page.get_by_role("button", name="Quick sketch").click()
        visit.page.get_by_role("slider", name="Freedom").fill("1.5")
        visit.context.unroute(records)
        visit.drawn("source")
        expect(visit.page.get_by_role("button", name="Quick sketch")).to_have_attribute(
            "aria-pressed", "true"
        )
        expect(visit.page.locator("#make-duration")).to_have_value("10")
        expect(visit.page.get_by_role("slider", name="Freedom")).to_have_value("1.5")


def test_each_of_many_deletions_can_be_undone(visit: Visit) -> None:
    names = [f"many {number}" for number in range(5)]
    visit.upload(*(as_file(f"{name}.wav", tone(1, 200 + 50 * at)) for at, name in enumerate(names)))
    for name in names:
        visit.ready(name)
    visit.page.evaluate(
        "names => names.forEach(name => document.querySelector(`[aria-label='Delete ${name}']`).click())",
        names,
    )
    first = visit.page.locator(".notice", has_text=f"{names[0]} is deleted.")
    first.get_by_role("button", name="Undo").click()
    visit.ready(names[0])
    expect(visit.row(names[1])).to_have_count(0)
    delete(visit, names[0])


def test_a_deleted_track_is_gone_on_its_own_page_too(visit: Visit) -> None:
    visit.upload(as_file("leaving.wav", tone(2)))
    visit.open("leaving")
    visit.page.get_by_role("button", name="Delete leaving").click()
    expect(visit.page.locator(".library")).to_be_visible()
    visit.page.go_back()
    gone = visit.page.get_by_role("alert")
    expect(gone).to_contain_text("It is deleted.")
    gone.get_by_role("button", name="Undo").click()
    visit.drawn("source")
    expect(visit.page.locator(".notice")).to_have_count(0)
    visit.page.get_by_role("button", name="Delete leaving").click()
    visit.page.go_back()
    expect(gone.get_by_role("button", name="Undo")).to_be_visible()
    with visit.page.expect_response(lambda answer: answer.request.method == "DELETE"):
        visit.page.evaluate("lapse()")
    expect(gone.get_by_role("button", name="Undo")).to_have_count(0)
    expect(gone).to_contain_text("It is deleted.")


def test_a_deletion_says_what_goes_with_the_track(visit: Visit) -> None:
    visit.upload(as_file("mother.wav", tone(4)))
    visit.open("mother")
    visit.make()
    visit.made()
    visit.page.goto(f"{visit.url}#/")
    delete(visit, "mother")
    expect(visit.page.locator(".notice")).to_contain_text("mother and 1 result are deleted.")


def test_a_duplicate_names_the_first_of_its_kind(visit: Visit) -> None:
    visit.upload(as_file("twin.mp3", sample.PATH.read_bytes(), "audio/mpeg"))
    visit.open("twin")
    first = visit.page.locator("p", has_text="You have the same recording already:").get_by_role("link")
    expect(first).to_have_text(SAMPLE)
    first.click()
    expect(visit.page.get_by_role("heading", level=1)).to_have_text(SAMPLE)
    visit.page.goto(f"{visit.url}#/")
    delete(visit, "twin")
