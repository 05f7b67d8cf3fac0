"""Pictures of the page for `docs/page/`: the local stack, some music of Debian's games, and Chromium.

python -m tests.page.screenshots [FOLDER]
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, expect, sync_playwright

from client import sample
from client.stack import ROOT, StackProcess
from tests.benchmarks import corpus
from tests.page.visit import Visit, visiting

PACKAGE = "supertux-data"
TRACKS = {
    "fortress_old": "Fortress",
    "invincible": "Invincible",
    "forestmap": "Forest map",
    "bonuscave": "Bonus cave",
    "intro": "Overture",
    "leveldone": "Level done",
}
NAME = "Twelve Bars for a Test"
DESK, PHONE = {"width": 1280, "height": 860}, {"width": 390, "height": 844}


def main() -> None:
    """Take every picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "docs/page")
    folder = parser.parse_args().folder
    folder.mkdir(exist_ok=True, parents=True)
    with StackProcess("--http-workers", "2") as stack, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        take(browser, stack, folder)
        browser.close()


def take(browser: Browser, stack: StackProcess, folder: Path) -> None:
    """Go through the page once, and stop for pictures."""
    with visiting(browser, stack, viewport=DESK) as visit:
        page = visit.page
        expect(page.locator(".drop")).to_be_visible()
        page.screenshot(path=folder / "start.png")
        music = corpus.fetch(PACKAGE)
        for name, title in TRACKS.items():
            content = next(music.rglob(f"{name}.ogg")).read_bytes()
            visit.upload({"name": f"{title}.ogg", "mimeType": "audio/ogg", "buffer": content})
        for title in TRACKS.values():
            visit.ready(title)
        visit.upload({"name": f"{NAME}.mp3", "mimeType": "audio/mpeg", "buffer": sample.PATH.read_bytes()})
        visit.ready(NAME)
        page.screenshot(path=folder / "library.png", full_page=True)
        page.get_by_role("link", name="Map", exact=True).click()
        page.locator(".atlas .dot").nth(3).hover()
        page.locator(".map-label").wait_for()
        page.locator(".atlas").scroll_into_view_if_needed()
        page.wait_for_timeout(400)
        page.screenshot(path=folder / "map.png")
        page.goto(f"{visit.url}#/")
        visit.open(NAME)
        for view in ("Harmony", "Spectrogram"):
            page.get_by_role("button", name=view).click()
        expect(page.locator(".lane-state")).to_have_count(0)
        page.mouse.move(0, 0)
        page.wait_for_timeout(600)
        page.screenshot(path=folder / "track.png", full_page=True)
        visit.make("Balanced", candidates="4", duration="60")
        expect(page.locator(".making-fill")).not_to_have_css("transform", "matrix(0, 0, 0, 1, 0, 0)")
        page.wait_for_timeout(1500)
        page.screenshot(path=folder / "making.png")
        visit.made()
        page.keyboard.press("Space")
        page.wait_for_timeout(6000)
        page.keyboard.press("Space")
        page.wait_for_timeout(400)
        page.screenshot(path=folder / "result.png", full_page=True)
        result = page.url
    looks: dict[str, dict[str, Any]] = {
        "dark": {"viewport": DESK, "color_scheme": "dark"},
        "phone": {"viewport": PHONE, "device_scale_factor": 2, "has_touch": True, "is_mobile": True},
    }
    for name, options in looks.items():
        with visiting(browser, stack, **options) as visit:
            shots(visit, result, folder, name)


def shots(visit: Visit, result: str, folder: Path, name: str) -> None:
    """Take the pictures of another look: the library, a track and the result."""
    page = visit.page
    visit.ready(NAME)
    page.screenshot(path=folder / f"{name}-library.png")
    visit.open(NAME)
    page.wait_for_timeout(400)
    page.screenshot(path=folder / f"{name}-track.png")
    page.goto(result)
    visit.made()
    page.wait_for_timeout(400)
    page.screenshot(path=folder / f"{name}-result.png")


if __name__ == "__main__":
    main()
