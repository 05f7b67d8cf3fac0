"""The page at `/`, as people use it, in Chromium and on the local stack."""

from __future__ import annotations

import json
import re
import urllib.request
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import APIResponse, Browser, Dialog, Page, Route, expect

from client import sample
from client.stack import StackProcess
from tests.page.files import as_file, tone
from tests.page.seeding import seed
from tests.page.visit import Visit, visiting
from tests.support import sound
from tests.support.keys import keys

SAMPLE = "Twelve Bars for a Test"
AXE = Path(__file__).parents[2] / "build/page/node_modules/axe-core/axe.min.js"
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def stack() -> Iterator[StackProcess]:
    with StackProcess() as started:
        yield started


@pytest.fixture(scope="module")
def visit(browser: Browser, stack: StackProcess) -> Iterator[Visit]:
    """A visit with the sample in the library, for the tests that leave it there."""
    with visiting(browser, stack) as arrived:
        arrived.page.get_by_role("button", name="Try it with our sample").click()
        arrived.ready(SAMPLE)
        yield arrived


@pytest.fixture
def home(visit: Visit) -> Visit:
    """The same, at the library."""
    visit.page.goto(f"{visit.url}#/")
    visit.ready(SAMPLE)
    return visit


@pytest.fixture(scope="module")
def result(visit: Visit) -> str:
    """The address of a result of the sample, with two tries."""
    visit.page.goto(f"{visit.url}#/")
    visit.open(SAMPLE)
    visit.make(candidates="2")
    visit.made()
    return visit.page.url


@pytest.fixture
def heard(visit: Visit, result: str) -> Visit:
    """At that result."""
    visit.page.goto(f"{visit.url}#/")
    visit.page.goto(result)
    visit.made()
    return visit


def test_from_a_file_to_new_music(home: Visit, tmp_path: Path) -> None:
    home.upload(as_file("Söng + 1.mp3", sample.PATH.read_bytes(), "audio/mpeg"))
    home.open("Söng + 1")
    facts = home.page.locator(".facts").inner_text()
    assert "100 BPM" in facts
    assert "D minor" in facts
    home.make()
    home.made()
    with home.page.expect_download() as download:
        home.page.get_by_role("button", name="Download").click()
    saved = tmp_path / download.value.suggested_filename
    download.value.save_as(saved)
    assert saved.name.startswith("Söng + 1-")
    with wave.open(str(saved)) as music:
        assert music.getnframes() / music.getframerate() == pytest.approx(10, abs=0.1)
    home.page.get_by_role("button", name="Delete").click()


class TestStart:
    """Tracks come in."""

    def test_an_upload_shows_how_far_it_really_is(self, browser: Browser, stack: StackProcess) -> None:
        with visiting(browser, stack) as slow:
            tools = slow.context.new_cdp_session(slow.page)
            rates = {"latency": 50, "downloadThroughput": 500_000, "uploadThroughput": 500_000}
            tools.send("Network.enable")
            tools.send("Network.emulateNetworkConditions", {"offline": False, **rates})
            slow.page.evaluate(
                """() => {
                    window.seen = [];
                    new MutationObserver(() => {
                        const bar = document.querySelector(".sending progress");
                        if (bar) window.seen.push(bar.value);
                    }).observe(document.body, {subtree: true, childList: true, attributes: true});
                }"""
            )
            slow.upload(as_file("slow.wav", tone(34)))  # 1.5 MB
            slow.ready("slow")
            seen = slow.page.evaluate("window.seen")
            assert seen == sorted(seen)
            assert len({value for value in seen if 0 < value < 1}) >= 3
            slow.row("slow").get_by_role("button", name="Delete slow").click()
            slow.page.goto("about:blank")  # which no undo comes after

    def test_files_that_are_no_music_are_left_out_of_many(self, home: Visit) -> None:
        home.upload(
            as_file("one.wav", tone(2)),
            as_file("cover.jpg", b"\xff\xd8\xff", "image/jpeg"),
            as_file("two.wav", tone(2, 330)),
        )
        expect(home.page.locator(".notice", has_text="1 file is no music, and was left out.")).to_be_visible()
        for name in ("one", "two"):
            row = home.ready(name)
            row.hover()
            row.get_by_role("button", name=f"Delete {name}").click()

    def test_a_file_that_is_no_audio_says_so(self, home: Visit) -> None:
        home.upload(as_file("broken.mp3", b"These are words. " * 100, "audio/mpeg"))
        row = home.row("broken")
        expect(row).to_have_attribute("data-status", "failed")
        expect(row.locator(".problem")).to_contain_text("Could not be read")
        row.hover()
        row.get_by_role("button", name="Delete broken").click()
        expect(row).to_have_count(0)

    def test_a_file_that_is_too_large_says_what_to_do(
        self, browser: Browser, stack: StackProcess, tmp_path: Path
    ) -> None:
        huge = tmp_path / "huge.wav"
        with huge.open("wb") as file:
            file.truncate(200 * 1024 * 1024 + 1)
        with visiting(browser, stack) as other:
            other.upload(huge)
            row = other.row("huge")
            expect(row.get_by_role("alert")).to_contain_text("200 MB is the most")
            row.get_by_role("button", name="Dismiss").click()
            expect(row).to_have_count(0)
            other.refused(413)

    def test_an_upload_can_be_cancelled(self, browser: Browser, stack: StackProcess) -> None:
        with visiting(browser, stack) as slow:
            tools = slow.context.new_cdp_session(slow.page)
            tools.send("Network.enable")
            limits = {
                "offline": False,
                "latency": 0,
                "downloadThroughput": 200_000,
                "uploadThroughput": 50_000,
            }
            tools.send("Network.emulateNetworkConditions", limits)
            slow.upload(as_file("unwanted.wav", tone(20)))
            slow.row("unwanted").get_by_role("button", name="Cancel the upload of unwanted.wav").click()
            expect(slow.row("unwanted")).to_have_count(0)

    def test_a_reload_in_the_middle_is_warned_of(self, browser: Browser, stack: StackProcess) -> None:
        with visiting(browser, stack) as slow:
            tools = slow.context.new_cdp_session(slow.page)
            tools.send("Network.enable")
            rates = {"latency": 0, "downloadThroughput": 500_000, "uploadThroughput": 50_000}
            tools.send("Network.emulateNetworkConditions", {"offline": False, **rates})
            slow.upload(as_file("halfway.wav", tone(20)))
            expect(slow.row("halfway").locator("progress")).not_to_have_attribute("value", "0")
            asked: list[str] = []

            def go_on(dialog: Dialog) -> None:
                asked.append(dialog.type)
                dialog.accept()

            slow.page.once("dialog", go_on)
            slow.page.locator("body").click()  # Chromium asks only who has touched the page
            slow.page.reload()
            assert asked == ["beforeunload"]
            row = slow.row("halfway")
            expect(row).to_contain_text("Its file is on the way")
            row.hover()
            row.get_by_role("button", name="Delete halfway").click()
            expect(row).to_have_count(0)
            slow.page.goto("about:blank")


class TestTrack:
    """What a track is made of."""

    def test_the_keyboard_seeks_and_plays(self, home: Visit) -> None:
        home.open(SAMPLE)
        home.slider.focus()
        for key, second in (("ArrowRight", 1), ("Shift+ArrowRight", 6), ("ArrowLeft", 5), ("Home", 0)):
            home.page.keyboard.press(key)
            assert home.at() == second
        home.page.keyboard.press("Space")
        expect(home.page.get_by_role("button", name="Pause")).to_be_visible()
        home.plays_past(1)
        home.page.keyboard.press("Space")
        expect(home.page.get_by_role("button", name="Play", exact=True)).to_be_visible()

    def test_a_click_on_the_waveform_seeks_there(self, home: Visit) -> None:
        home.open(SAMPLE)
        box = home.page.locator("[data-lane=source] .wave").bounding_box()
        assert box
        home.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        assert home.at() == pytest.approx(sample.DURATION / 2, abs=1)

    def test_what_is_dragged_over_is_looped(self, home: Visit) -> None:
        home.open(SAMPLE)
        home.drag_over(10, 11.6, of=sample.DURATION)
        loop = home.page.locator("button.loop")
        expect(loop).to_have_text(re.compile(r"^\s*Loop 0:(09\.9|10\.[01]) to 0:11\.\d\s*$"))
        home.page.keyboard.press("Space")
        seen: list[int] = []
        while len(seen) < 40:  # seconds of sound, which a loop of one and a half goes through more than once
            seen.append(home.at())
            home.page.wait_for_timeout(80)
        assert set(seen[5:]) <= {9, 10, 11}
        loop.click()
        expect(loop).to_have_text("Loop")

    def test_the_spectrogram_is_drawn(self, home: Visit) -> None:
        home.open(SAMPLE)
        home.page.get_by_role("button", name="Spectrogram").click()
        canvas = home.page.locator(".spectrum canvas").first
        expect(canvas).to_be_visible()
        expect(home.page.locator(".lane-state")).to_have_count(0)
        colours = canvas.evaluate(
            """canvas => {
                const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
                return new Set(new Uint32Array(data.buffer)).size;
            }"""
        )
        assert colours > 20

    def test_it_can_be_renamed(self, home: Visit) -> None:
        home.open(SAMPLE)
        home.page.get_by_role("button", name=f"Rename {SAMPLE}").click()
        home.page.keyboard.type("Another name")
        home.page.keyboard.press("Enter")
        expect(home.page.get_by_role("heading", level=1)).to_have_text("Another name")
        home.page.reload()
        home.page.get_by_role("button", name="Rename Another name").click()
        home.page.get_by_label("New name").fill(SAMPLE)
        home.page.get_by_role("button", name="Save").click()
        expect(home.page.get_by_role("heading", level=1)).to_have_text(SAMPLE)

    def test_it_can_be_removed_and_brought_back(self, home: Visit) -> None:
        row = home.ready(SAMPLE)
        row.hover()
        row.get_by_role("button", name=f"Delete {SAMPLE}").click()
        expect(home.row(SAMPLE)).to_have_count(0)
        home.page.get_by_role("button", name="Undo").click()
        home.ready(SAMPLE)
        home.page.reload()
        home.ready(SAMPLE)


class TestResult:
    """New music beside its source."""

    def test_one_key_switches_between_a_and_b(self, heard: Visit) -> None:
        a = heard.page.get_by_role("button", name="Hearing Your track")
        b = heard.page.get_by_role("button", name="Hearing New music")
        expect(b).to_have_attribute("aria-pressed", "true")
        heard.page.keyboard.press("Space")
        heard.plays_past(2)
        heard.page.keyboard.press("x")
        expect(a).to_have_attribute("aria-pressed", "true")
        assert heard.at() >= 2  # it goes on where it was
        before = heard.at()
        heard.plays_past(before + 1)
        heard.page.keyboard.press("x")
        expect(b).to_have_attribute("aria-pressed", "true")
        heard.page.keyboard.press("Space")

    @pytest.mark.parametrize(
        ("preview", "source", "made"),
        [("shown.loudness", 1, 0.5), ("-26.6", 1, 0.126), ("-2.6", 0.5, 1), ("null", 1, 0.5)],
    )
    def test_both_are_equally_loud(
        self, browser: Browser, stack: StackProcess, result: str, preview: str, source: float, made: float
    ) -> None:
        """Also where the preview is softer than the track, as a mix of many channels is."""
        with visiting(browser, stack) as fresh:
            fresh.page.add_init_script(
                """window.gains = [];
                const create = AudioContext.prototype.createGain;
                AudioContext.prototype.createGain = function () {
                    const node = create.call(this);
                    window.gains.push(node);
                    return node;
                };
                const {fetch} = window;
                window.fetch = async (...asked) => {
                    const answer = await fetch(...asked);
                    if (/api.audio.[0-9A-Z]{26}.analysis$/.test(asked[0])) {
                        const shown = await answer.json();
                        shown.loudness = PREVIEW;
                        return new Response(JSON.stringify(shown));
                    }
                    if (!/api.generation.[0-9A-Z]{26}$/.test(asked[0])) return answer;
                    const record = await answer.json();
                    record.loudness.integrated = -8.6;  // 6 dB more than the sample
                    return new Response(JSON.stringify(record));
                };""".replace("PREVIEW", preview)
            )
            fresh.page.goto("about:blank")
            fresh.page.goto(result)
            fresh.made()
            fresh.page.keyboard.press("Space")
            for gains in ((0, made), (source, 0), (0, made)):
                fresh.page.wait_for_function(
                    """expected => window.gains.length === 2 &&
                        window.gains.every(({gain}, side) => Math.abs(gain.value - expected[side]) < 0.03)""",
                    arg=gains,
                )
                fresh.page.keyboard.press("x")

    def test_it_says_how_alike_it_is_and_how_it_was_made(self, heard: Visit) -> None:
        expect(heard.page.locator(".score")).to_contain_text("alike")
        expect(heard.page.locator(".candidates > li")).to_have_count(2)
        expect(heard.page.locator(".details")).to_contain_text("mosaic")

    def test_lines_join_each_part_with_its_place_in_the_source(self, heard: Visit) -> None:
        parts = heard.page.get_by_role("img", name="Where each part comes from").locator("path")
        expect(parts).not_to_have_count(0)
        heard.slider.focus()
        heard.page.keyboard.press("Home")
        expect(heard.page.locator(".ribbons .current")).to_have_count(1)

    def test_every_try_is_heard_and_another_one_chosen(self, heard: Visit) -> None:
        tries = heard.page.locator(".candidates > li")
        other = tries.filter(has_not=heard.page.get_by_text("Chosen"))
        name = other.locator("b").inner_text()
        other.get_by_role("button", name="Hear").click()
        expect(heard.page.locator("[data-lane=made] .lane-name")).to_contain_text(name)
        heard.plays_past(1)
        heard.page.keyboard.press("Space")  # the focus is on its button
        tries.filter(has_text=name).get_by_role("button", name="Choose").click()
        expect(tries.filter(has_text=name)).to_contain_text("Chosen")
        heard.page.reload()
        expect(tries.filter(has_text=name)).to_contain_text("Chosen")

    def test_it_is_downloaded_in_another_format(self, heard: Visit, tmp_path: Path) -> None:
        heard.page.get_by_label("Format").select_option("mp3")
        with heard.page.expect_download() as download:
            heard.page.get_by_role("button", name="Download").click()
        saved = tmp_path / "saved.mp3"
        download.value.save_as(saved)
        decoded = sound.decode(saved.read_bytes())
        assert decoded.codec.startswith("mp3")
        assert decoded.seconds == pytest.approx(10, abs=0.2)

    def test_a_link_to_it_needs_no_key_and_says_how_long_it_holds(
        self, browser: Browser, stack: StackProcess, result: str
    ) -> None:
        with visiting(browser, stack, permissions=["clipboard-read", "clipboard-write"]) as sharer:
            sharer.page.goto(result)
            sharer.made()
            rows = sharer.page.locator(".actions > *").evaluate_all("all => all.map(one => one.offsetTop)")
            assert len(set(rows)) == 1, "what can be done with it is in one row"
            sharer.page.get_by_role("button", name="Share").click()
            expect(sharer.page.locator(".notice")).to_have_text(re.compile(r"for 1[45] minutes\.$"))
            link = sharer.page.evaluate("navigator.clipboard.readText()")
            with urllib.request.urlopen(link) as answer:
                assert answer.headers["Content-Type"] == "audio/wav"
                assert answer.read(4) == b"RIFF"

    def test_another_tab_downloads_the_try_that_it_shows(self, heard: Visit, tmp_path: Path) -> None:
        """Though it has not heard yet that another one was chosen."""
        chosen = heard.page.locator(".candidates > li").filter(has=heard.page.get_by_text("Chosen"))
        number = int(chosen.locator("b").inner_text().removeprefix("Try ")) - 1
        generation = heard.page.url.rpartition("/")[2]
        heard.page.evaluate(
            """([generation, chosen]) => fetch(`/api/generation/${generation}`, {
                method: "PATCH",
                headers: {"Content-Type": "application/json"},
                body: JSON.stringify({chosen}),
            })""",
            [generation, 1 - number],
        )
        with heard.page.expect_download() as download:
            heard.page.get_by_role("button", name="Download").click()
        saved = tmp_path / "saved.wav"
        download.value.save_as(saved)
        with urllib.request.urlopen(f"{heard.url}api/download/{generation}/{number}") as shown:
            assert saved.read_bytes() == shown.read()

    def test_it_becomes_a_track(self, heard: Visit) -> None:
        heard.page.get_by_role("button", name="Use as a track").click()
        expect(heard.page.locator(".track")).to_be_visible()
        heard.drawn("source")
        expect(heard.page.get_by_text("Made here from")).to_be_visible()
        heard.page.get_by_role("button", name="Delete").click()

    def test_again_takes_another_seed(self, heard: Visit) -> None:
        seed = (
            heard.page.locator(".details")
            .get_by_text("Seed", exact=True)
            .locator("xpath=following-sibling::dd")
            .inner_text()
        )
        heard.page.get_by_role("button", name="Again, another seed").click()
        expect(heard.page.locator(".making")).to_be_visible()
        heard.made()
        other = (
            heard.page.locator(".details")
            .get_by_text("Seed", exact=True)
            .locator("xpath=following-sibling::dd")
            .inner_text()
        )
        assert other != seed
        heard.page.get_by_role("button", name="Delete").click()


class TestMaking:
    """While it is made."""

    def test_it_can_be_cancelled(self, home: Visit) -> None:
        home.open(SAMPLE)
        home.make("Balanced", duration="300")
        home.page.get_by_role("button", name="Cancel").click()
        expect(home.page.get_by_text("It was cancelled.")).to_be_visible()

    def test_it_survives_a_reload(self, home: Visit) -> None:
        home.open(SAMPLE)
        home.make("Balanced", duration="120")
        expect(home.page.locator(".making")).to_be_visible()
        home.page.reload()
        expect(home.page.locator(".making")).to_be_visible()
        home.page.goto(f"{home.url}#/")
        expect(home.page.get_by_role("link", name="Making")).to_be_visible()
        home.page.get_by_role("link", name="Making").click()
        home.page.get_by_role("button", name="Cancel").click()
        expect(home.page.get_by_text("It was cancelled.")).to_be_visible()

    def test_a_tab_that_slept_shows_what_was_made_meanwhile(
        self, browser: Browser, stack: StackProcess, visit: Visit
    ) -> None:
        hide = "Object.defineProperty(Document.prototype, 'hidden', {get: () => window.asleep ?? false})"
        look_away = """asleep => {
            window.asleep = asleep;
            document.dispatchEvent(new Event("visibilitychange"));
        }"""
        with visiting(browser, stack) as sleeper, visiting(browser, stack) as awake:
            sleeper.context.add_init_script(hide)
            sleeper.page.reload()
            sleeper.open(SAMPLE)
            sleeper.make("Balanced", duration="30")
            expect(sleeper.page.locator(".making")).to_be_visible()
            sleeper.page.evaluate(look_away, True)
            tools = sleeper.context.new_cdp_session(sleeper.page)
            tools.send("Page.setWebLifecycleState", {"state": "frozen"})
            awake.page.goto(sleeper.page.url)
            awake.made()
            tools.send("Page.setWebLifecycleState", {"state": "active"})
            expect(sleeper.page.locator(".making")).to_be_visible()
            sleeper.page.evaluate(look_away, False)
            sleeper.made()

    def test_a_loop_has_as_many_bars_as_asked_for(
        self, browser: Browser, stack: StackProcess, visit: Visit
    ) -> None:
        with visiting(browser, stack) as looper:
            looper.open(SAMPLE)
            expect(looper.page.locator("#make-bars")).to_have_count(0)
            looper.page.get_by_role("switch", name="Make a loop").check()
            expect(looper.page.locator("#make-duration")).to_have_count(0)
            looper.make("Freer", bars="4", candidates="1")
            looper.made()
            assert looper.detail("Bars") == "4"
            assert looper.detail("Make a loop") == "Yes"

    def test_a_track_goes_on(self, browser: Browser, stack: StackProcess, visit: Visit) -> None:
        with visiting(browser, stack) as longer:
            longer.open(SAMPLE)
            expect(longer.page.locator("#make-before")).to_have_count(0)
            longer.page.locator("#make-mode").select_option("All of it, and goes on")
            expect(longer.page.locator("#make-before")).to_have_count(1)
            expect(longer.page.get_by_role("switch", name="Make a loop")).to_have_count(0)
            longer.make()
            longer.made()
            assert longer.detail("Takes from the track") == "All of it, and goes on"

    def test_a_part_is_made_anew(self, browser: Browser, stack: StackProcess, visit: Visit) -> None:
        with visiting(browser, stack) as repainter:
            repainter.open(SAMPLE)
            repainter.page.locator("#make-mode").select_option("All but a part, made anew")
            expect(repainter.page.locator("#make-duration")).to_have_count(0)
            button = repainter.page.get_by_role("button", name="Make music")
            expect(button).to_be_disabled()
            repainter.drag_over(8, 16, of=sample.DURATION)
            expect(button).to_be_enabled()
            repainter.make("Balanced")
            repainter.made()
            assert repainter.detail("Takes from the track") == "All but a part, made anew"

    @pytest.mark.parametrize("height", [600, 860])
    def test_the_button_is_in_sight_however_long_the_form_is(
        self, browser: Browser, stack: StackProcess, visit: Visit, height: int
    ) -> None:
        with visiting(browser, stack, viewport={"width": 1280, "height": height}) as look:
            look.open(SAMPLE)
            look.page.locator("summary").click()
            look.page.locator(".make").scroll_into_view_if_needed()
            look.page.mouse.wheel(0, 2000)
            expect(look.page.get_by_role("button", name="Make music")).to_be_in_viewport(ratio=1)


def test_below_a_stage_everything_is_found(browser: Browser, stack: StackProcess, visit: Visit) -> None:
    with visiting(browser, stack, "/Prod") as below:
        below.upload(as_file("below.wav", tone(2)))
        below.open(SAMPLE)
        below.page.keyboard.press("Space")
        below.plays_past(1)
        below.make()
        below.made()
        with below.page.expect_download() as download:
            below.page.get_by_role("button", name="Download").click()
        assert download.value.suggested_filename.endswith(".wav")
        below.page.reload()
        below.made()
        below.page.goto(f"{below.url}#/")
        row = below.ready("below")
        row.hover()
        row.get_by_role("button", name="Delete below").click()
        expect(row).to_have_count(0)
        below.page.goto("about:blank")


def test_a_description_finds_tracks_where_the_profile_understands_text(
    browser: Browser, stack: StackProcess, visit: Visit
) -> None:
    with visiting(browser, stack) as look:
        found = look.ready(SAMPLE).get_by_role("link").get_attribute("href") or ""
        asked: list[Any] = []

        def understand(route: Route) -> None:
            route.fulfill(json=route.fetch().json() | {"text_search": True})

        def search(route: Route) -> None:
            asked.append(route.request.post_data_json)
            result = {"audio_id": found.rpartition("/")[2], "score": 0.42, "filename": "", "links": {}}
            route.fulfill(json={"results": [result]})

        look.context.route("**/api/profile", understand)
        look.context.route("**/api/search", search)
        look.page.reload()
        look.page.get_by_role("searchbox", name="describe the sound").fill("a calm piano")
        expect(look.row(SAMPLE)).to_contain_text("fits by 42 %")
        assert asked == [{"text": "a calm piano", "k": 50}]


def test_what_one_tab_does_shows_in_the_other(home: Visit) -> None:
    other = home.tab()
    home.ready(SAMPLE, other)
    home.upload(as_file("shared.wav", tone(2)))
    home.ready("shared", other)
    row = home.ready("shared")
    row.hover()
    row.get_by_role("button", name="Delete shared").click()
    expect(home.row("shared", other)).to_have_count(0)
    other.close()


def test_a_new_name_another_choice_and_a_new_track_show_in_the_other_tab(home: Visit, result: str) -> None:
    home.page.goto(result)
    home.made()
    library, other = home.tab(), home.context.new_page()
    other.goto(result)
    expect(other.locator(".actions")).to_be_visible()
    tries = ".candidates > li"
    rejected = home.page.locator(tries).filter(has_not=home.page.get_by_text("Chosen"))
    name = rejected.locator("b").inner_text()
    rejected.get_by_role("button", name="Choose").click()
    expect(other.locator(tries).filter(has_text=name)).to_contain_text("Chosen")
    expect(other.locator("[data-lane=made] .lane-name")).to_contain_text(name)
    other.close()

    home.page.get_by_role("button", name="Use as a track").click()
    expect(home.page.locator(".track")).to_be_visible()
    address = home.page.url.partition("#")[2]
    expect(library.locator(f"a[href='#{address}']")).to_be_visible()
    home.page.get_by_role("button", name="Rename").click()
    home.page.get_by_label("New name").fill("Told to all")
    home.page.get_by_role("button", name="Save").click()
    home.ready("Told to all", library)
    library.close()
    home.page.get_by_role("button", name="Delete Told to all").click()


def test_what_is_uploaded_while_the_list_is_read_is_shown(browser: Browser, stack: StackProcess) -> None:
    lists, single = re.compile(r"/api/audio\?"), re.compile(r"/api/audio/[0-9A-Z]{26}$")
    with visiting(browser, stack) as hasty:
        hasty.upload(as_file("earlier.wav", tone(2)))
        hasty.ready("earlier")
        read: list[tuple[Route, APIResponse]] = []

        def hold(route: Route) -> None:
            if read:
                return route.fallback()
            return read.append((route, route.fetch()))

        hasty.context.route(lists, hold)
        hasty.page.reload()
        while not read:
            hasty.page.wait_for_timeout(20)
        with hasty.page.expect_response(lambda answer: bool(single.search(answer.url)) and answer.ok):
            hasty.upload(as_file("later.wav", tone(2)))
        route, answer = read[0]
        route.fulfill(response=answer)  # with what was there before the upload
        for name in ("earlier", "later"):
            row = hasty.ready(name)
            row.hover()
            row.get_by_role("button", name=f"Delete {name}").click()
            expect(hasty.row(name)).to_have_count(0)


def test_what_is_being_sent_has_one_row_though_the_list_has_it_too(
    browser: Browser, stack: StackProcess
) -> None:
    with visiting(browser, stack) as sender:
        other = sender.tab()
        held: list[Route] = []
        sender.context.route(f"**{sender.bucket}/**", lambda route: held.append(route))
        sender.upload(as_file("slow.wav", tone(2)))
        while not held:
            sender.page.wait_for_timeout(20)
        with (
            sender.page.expect_response(re.compile(r"/api/audio\?")) as tracks,
            sender.page.expect_response(re.compile(r"/api/generation\?")) as results,
        ):
            other.evaluate("new BroadcastChannel('music').postMessage('changed')")
        for answer in (tracks.value, results.value):
            answer.finished()
        sender.page.evaluate(
            "new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))"
        )
        expect(sender.row("slow")).to_have_count(1)
        for route in held:
            route.fallback()
        row = sender.ready("slow")
        row.hover()
        row.get_by_role("button", name="Delete slow").click()
        expect(sender.row("slow")).to_have_count(0)


def test_what_is_deleted_stays_away_after_a_reload(browser: Browser, stack: StackProcess) -> None:
    lose = "addEventListener('pagehide', () => (window.fetch = () => new Promise(() => {})))"
    with visiting(browser, stack) as leaver:
        leaver.upload(as_file("unloved.wav", tone(2)))
        leaver.ready("unloved")
        leaver.context.add_init_script(lose)
        leaver.page.reload()
        row = leaver.ready("unloved")
        row.hover()
        row.get_by_role("button", name="Delete unloved").click()
        leaver.page.reload()
        leaver.ready(SAMPLE)
        expect(leaver.row("unloved")).to_have_count(0)
        with visiting(browser, stack) as another:
            with leaver.page.expect_response(lambda answer: answer.request.method == "DELETE"):
                another.ready(SAMPLE)
                expect(another.row("unloved")).to_have_count(1)
            another.page.reload()
            another.ready(SAMPLE)
            expect(another.row("unloved")).to_have_count(0)


def test_what_must_not_be_deleted_comes_back(browser: Browser, stack: StackProcess) -> None:
    with visiting(browser, stack) as refused:
        refused.upload(as_file("kept.wav", tone(2)))
        row = refused.ready("kept")

        def forbid(route: Route) -> None:
            if route.request.method != "DELETE":
                return route.fallback()
            return route.fulfill(status=409, json={"code": "conflict", "detail": "It is in use."})

        refused.context.route("**/api/audio/*", forbid)
        row.hover()
        row.get_by_role("button", name="Delete kept").click()
        expect(refused.row("kept")).to_have_count(0)
        refused.ready("kept")
        refused.refused(409)
        refused.context.unroute_all()
        refused.row("kept").hover()
        refused.row("kept").get_by_role("button", name="Delete kept").click()


@pytest.fixture(scope="module")
def guarded() -> Iterator[StackProcess]:
    narrowed = ("--parameter", "AllowedOrigins=https://else.example")
    with StackProcess("--http-workers", "1", "--auth", "keys", *narrowed) as started:
        yield started


class TestKeys:
    """With authorization, and with pages of another origin alone let in."""

    def test_the_deployments_own_page_is_let_in(self, browser: Browser, guarded: StackProcess) -> None:
        with visiting(browser, guarded) as visit:
            enter(visit.page, keys(guarded, "create"))
            visit.page.get_by_role("button", name="Try it with our sample").click()
            visit.open(SAMPLE)
            visit.page.keyboard.press("Space")
            visit.plays_past(1)
            visit.refused(401)

    def test_a_key_is_asked_for_and_kept_in_the_tab_only(
        self, browser: Browser, guarded: StackProcess
    ) -> None:
        valid, ended = keys(guarded, "create"), keys(guarded, "create")
        keys(guarded, "revoke", ended.partition(".")[0])
        with visiting(browser, guarded) as visit:
            dialog = visit.page.get_by_role("dialog")
            expect(dialog).to_contain_text("This server asks for a key.")
            enter(visit.page, ended)
            expect(dialog).to_contain_text("The server does not take that key, or not any more.")
            enter(visit.page, valid)
            expect(dialog).to_be_hidden()
            visit.page.get_by_role("button", name="Try it with our sample").click()
            visit.open(SAMPLE)

            # It ends in the middle: what was asked for goes on with the next one.
            visit.page.evaluate("key => sessionStorage.setItem('music-key', key)", ended)
            visit.page.get_by_role("button", name="Quick sketch").click()
            visit.page.get_by_role("button", name="Make music").click()
            expect(dialog).to_contain_text("not any more")
            enter(visit.page, valid)
            expect(visit.page.locator(".making")).to_be_visible()

            kept = visit.page.evaluate("JSON.stringify(localStorage) + document.cookie")
            assert valid not in kept
            assert ended not in kept
            visit.page.reload()
            expect(dialog).to_be_hidden()
            other = visit.tab()
            expect(other.get_by_role("dialog")).to_be_visible()
            visit.refused(401, 403)


def enter(page: Page, key: str) -> None:
    """Enter a key."""
    page.get_by_role("dialog").get_by_label("Key", exact=True).fill(key)
    page.get_by_role("button", name="Go on").click()


@pytest.fixture(scope="module")
def full(browser: Browser) -> Iterator[Visit]:
    with (
        StackProcess("--http-workers", "2") as started,
        visiting(browser, started) as visit,
    ):
        visit.page.get_by_role("button", name="Try it with our sample").click()
        visit.ready(SAMPLE)
        seed(started.endpoint_url, 499)
        visit.page.reload()
        expect(visit.page.locator(".count")).to_have_text("500")
        yield visit


@pytest.fixture
def filled(full: Visit) -> Visit:
    full.page.goto("about:blank")
    full.page.goto(full.url)
    expect(full.page.locator(".count")).to_have_text("500")
    return full


class TestLibrary:
    """Five hundred tracks."""

    def test_they_are_found_by_name_tempo_key_and_tag(self, filled: Visit) -> None:
        count = filled.page.locator(".count")
        filled.page.get_by_role("searchbox").fill("track 12")
        expect(count).to_have_text("11 of 500")  # 12, and 120 to 129
        filled.page.get_by_role("searchbox").fill("")
        filled.page.get_by_label("Tempo", exact=True).select_option("Above 150 BPM")
        filled.page.get_by_role("combobox", name="Key").select_option("C major")
        filled.page.get_by_label("Tag", exact=True).select_option("seeded")
        expect(count).not_to_have_text("500")
        rows = filled.page.locator("[data-rows] .row")
        shown = rows.all_text_contents()
        assert shown
        assert all("C major" in text and "seeded" in text for text in shown)
        filled.page.get_by_role("searchbox").fill("nowhere")
        filled.page.get_by_role("button", name="Show all").click()
        expect(count).to_have_text("500")

    def test_the_map_shows_them_all_and_the_keyboard_moves_on_it(self, filled: Visit) -> None:
        filled.page.get_by_role("link", name="Map", exact=True).click()
        points = filled.page.locator(".atlas a")
        expect(points).to_have_count(500)
        violations(filled.page)
        assert filled.page.locator(".atlas a[tabindex='0']").count() == 1
        filled.page.locator(".atlas a[tabindex='0']").focus()
        seen = set()
        for key in ["ArrowRight"] * 3 + ["ArrowUp"] * 3 + ["ArrowLeft", "ArrowDown"]:
            filled.page.keyboard.press(key)
            seen.add(filled.page.evaluate("document.activeElement.closest('.atlas a').getAttribute('href')"))
        assert len(seen) >= 3
        filled.page.locator(".atlas").get_by_role("link", name=SAMPLE).focus()
        filled.page.keyboard.press("Enter")
        expect(filled.page.get_by_role("heading", level=1)).to_have_text(SAMPLE)
        filled.drawn("source")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
class TestAccessibility:
    """Nothing that axe finds, in any place."""

    def test_axe_finds_nothing(
        self, browser: Browser, stack: StackProcess, visit: Visit, result: str, scheme: Any, width: int
    ) -> None:
        home = visit.url
        shape = {"width": width, "height": 860}
        # The policy would refuse the styles that axe itself sets while it measures.
        with visiting(browser, stack, color_scheme=scheme, viewport=shape, bypass_csp=True) as look:
            look.ready(SAMPLE)
            violations(look.page)
            look.page.get_by_role("link", name=SAMPLE).first.click()
            look.drawn("source")
            look.page.get_by_role("button", name="Spectrogram").click()
            look.page.locator("summary").click()
            violations(look.page)
            look.page.goto(result)
            look.made()
            violations(look.page)
            assert look.page.evaluate("document.documentElement.scrollWidth") <= width
            look.page.goto(f"{home}#/map")
            expect(look.page.locator(".library")).to_be_visible()
            violations(look.page)


def violations(page: Page) -> None:
    """Let axe look at what is shown."""
    page.wait_for_timeout(300)  # colours that fade are none that it may judge
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    told = [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found]
    assert told == [], json.dumps(told, indent=1)


def test_the_keyboard_alone_goes_from_the_start_to_new_music(browser: Browser, stack: StackProcess) -> None:
    with visiting(browser, stack) as visit:
        page = visit.page
        visit.ready(SAMPLE)

        def tab_to(name: str) -> None:
            for _ in range(60):
                page.keyboard.press("Tab")
                focused = "(({ariaLabel, innerText}) => ariaLabel ?? innerText ?? '')(document.activeElement)"
                if page.evaluate(focused).strip().startswith(name):
                    return
            raise AssertionError(f"the tabulator does not reach {name!r}")

        tab_to("Skip to the content")
        page.keyboard.press("Enter")
        tab_to(SAMPLE)
        page.keyboard.press("Enter")
        visit.drawn("source")
        tab_to("Quick sketch")
        page.keyboard.press("Enter")
        tab_to("Make music")
        page.keyboard.press("Enter")
        visit.made()
        tab_to("Delete")
        page.keyboard.press("Enter")


def test_nothing_moves_for_who_wants_less_motion(browser: Browser, stack: StackProcess, visit: Visit) -> None:
    with visiting(browser, stack, reduced_motion="reduce") as still:
        still.open(SAMPLE)
        still.make("Balanced", duration="60")
        assert still.page.evaluate("document.getAnimations().length") == 0
        still.page.get_by_role("button", name="Cancel").click()


def test_nothing_shifts_while_the_page_loads(
    browser: Browser, stack: StackProcess, visit: Visit, result: str
) -> None:
    with visiting(browser, stack) as look:
        look.context.add_init_script(
            """window.shifts = [];
            new PerformanceObserver(list => {
                const shifts = list.getEntries().filter(({hadRecentInput}) => !hadRecentInput);
                window.shifts.push(...shifts.map(({value}) => value));
            }).observe({type: "layout-shift", buffered: true});"""
        )
        for address in (look.url, result):
            look.page.goto("about:blank")
            look.page.goto(address)
            expect(look.page.locator(".row, .actions").first).to_be_visible()
            look.page.wait_for_timeout(500)
            assert sum(look.page.evaluate("window.shifts")) < 0.02, address
