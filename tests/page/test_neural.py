"""The page on a profile that understands text, with the networks themselves: `make test-pocket`."""

from __future__ import annotations

import os
import re

import pytest
from playwright.sync_api import Browser, expect

from client.stack import StackProcess
from tests.page.visit import Visit, visiting

SAMPLE = "Twelve Bars for a Test"


@pytest.mark.profile
def test_a_description_finds_a_track_and_every_field_of_the_profile_is_taken(browser: Browser) -> None:
    with (
        StackProcess("--http-workers", "1", "--profile", os.environ["PROFILE"]) as stack,
        visiting(browser, stack) as visit,
    ):
        page = visit.page
        page.get_by_role("button", name="Try it with our sample").click()
        row = visit.ready(SAMPLE)
        described = page.get_by_role("searchbox", name="describe the sound")
        described.fill("a calm solo piano")
        expect(page.get_by_text("Sounds like “a calm solo piano”")).to_be_visible()
        expect(row).to_contain_text(re.compile("fits by|does not fit"))
        described.fill("")
        visit.open(SAMPLE)
        expect(page.get_by_role("heading", name="mood")).to_be_visible()
        assert fields(visit) >= {
            "prompt",
            "negative_prompt",
            "mode",
            "temperature",
            "guidance_scale",
            "top_k",
        }
        for label in page.locator(".setting label").all():
            assert (label.text_content() or "")[:1].isupper(), "a field without words of the page's own"
        page.locator("summary").click()
        page.get_by_label("Takes from the track").select_option("Its melody")
        visit.make(duration="1", prompt="warm strings", negative_prompt="drums", top_k="50", seed="7")
        visit.made()
        assert visit.detail("In words") == "warm strings"
        assert visit.detail("But not") == "drums"
        assert visit.detail("Takes from the track") == "Its melody"
        assert (visit.detail("Top k"), visit.detail("Seed"), visit.detail("Licence")) == ("50", "7", "MIT")
        expect(page.get_by_text("This model composes from scratch")).to_be_visible()


def fields(visit: Visit) -> set[str]:
    """Return the names of the fields that are offered."""
    found = visit.page.locator(".setting :is(input, select)").evaluate_all("all => all.map(({id}) => id)")
    return {name.removeprefix("make-") for name in found}
