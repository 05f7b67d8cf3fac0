"""Small things on the page that stood in people's way: long tracks, names, fields, keys and drops."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Dialog, Page, Route, expect

from client.stack import StackProcess
from tests.page.files import as_file, tone
from tests.page.visit import HELD, Visit, visiting

LONG, SECONDS, MADE = "A long tone", 60, 10


@pytest.fixture(scope="module")
def result(browser: Browser, stack: StackProcess) -> str:
    """The address of a result that is much shorter than its source."""
    with visiting(browser, stack) as visit:
        visit.upload(as_file(f"{LONG}.wav", tone(SECONDS)))
        visit.open(LONG)
        visit.make()
        visit.made()
        return visit.page.url


@contextmanager
def at_track(browser: Browser, stack: StackProcess, **options: Any) -> Iterator[Visit]:
    """Visit the long track."""
    with visiting(browser, stack, **options) as visit:
        visit.open(LONG)
        yield visit


@contextmanager
def at_result(browser: Browser, stack: StackProcess, result: str) -> Iterator[Visit]:
    """Visit its result."""
    with visiting(browser, stack) as visit:
        visit.page.goto(result)
        visit.drawn("source")
        visit.made()
        yield visit


def change(visit: Visit, changes: dict[str, Any], parameters: dict[str, Any]) -> None:
    """Let every record of a generation say something else."""

    def answer(route: Route) -> None:
        record = route.fetch().json()
        for one in record.get("items", [record]):
            one.update(changes)
            one["parameters"].update(parameters)
        route.fulfill(json=record)

    visit.context.route(re.compile(r"/api/generation(\?|/[0-9A-Z]{26}$)"), answer)


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, SECONDS),
        ({"mode": "extend"}, SECONDS + MADE),
        ({"mode": "extend", "section": {"start": 0, "end": 20}}, SECONDS),
        ({"mode": "repaint", "duration": 4, "region": {"start": 20, "end": 24}}, SECONDS),
    ],
    ids=["short", "extend", "extend a part", "repaint"],
)
def test_progress_beside_a_long_track_can_be_read_and_cancelled(
    browser: Browser,
    stack: StackProcess,
    result: str,
    parameters: dict[str, Any],
    expected: int,
    width: int,
) -> None:
    with visiting(browser, stack, viewport={"width": width, "height": 844}) as visit:
        running = {"status": "running", "stage": "decoding", "progress": 0, "seconds_left": 1440}
        change(visit, {**running, "duration": None, "candidates": None, "similarity": None}, parameters)
        visit.page.goto(result)
        visit.drawn("source")
        frame = visit.page.locator(".timeline-frame").bounding_box()
        making = visit.page.locator(".making")
        box, words = making.bounding_box(), making.locator("p").bounding_box()
        cancel = making.get_by_role("button", name="Cancel").bounding_box()
        assert frame
        assert box
        assert words
        assert cancel
        assert box["width"] == pytest.approx(frame["width"], abs=16)
        assert words["x"] >= box["x"]
        assert words["x"] + words["width"] <= cancel["x"]
        assert cancel["x"] + cancel["width"] <= box["x"] + box["width"]
        assert words["height"] <= box["height"]
        # Source and result have one scale.
        axis, source = (
            visit.page.locator(place).bounding_box() for place in (".axis", "[data-lane=source] .wave")
        )
        assert axis
        assert source
        assert axis["width"] / source["width"] == pytest.approx(expected / SECONDS, abs=0.01)
        # However far the time scale is zoomed, it stays in sight.
        zoom = visit.page.get_by_role("slider", name="Zoom")
        zoom.focus()
        zoom.press("End")
        expect(making.get_by_role("button", name="Cancel")).to_be_in_viewport(ratio=1)
        visit.page.locator(".timeline-frame").evaluate("frame => { frame.scrollLeft = frame.scrollWidth; }")
        expect(making.get_by_role("button", name="Cancel")).to_be_in_viewport(ratio=1)


def test_a_name_with_a_slash_stays_whole(browser: Browser, stack: StackProcess) -> None:
    with visiting(browser, stack) as visit:
        visit.upload(as_file("slashed.ogg", tone(2)))
        visit.ready("slashed").get_by_role("link", name="slashed").click()
        heading = visit.page.get_by_role("heading", level=1)
        for before, name in (("slashed", "AC/DC - Back\\in/Black"), ("AC/DC - Back\\in/Black", "Sonata 1/2")):
            expect(heading).to_have_text(before)
            visit.page.get_by_role("button", name=f"Rename {before}").click()
            visit.page.get_by_label("New name").fill(name)
            with visit.page.expect_request(lambda asked: asked.method == "PATCH") as sent:
                visit.page.get_by_role("button", name="Save").click()
            assert sent.value.post_data_json == {"filename": f"{name}.ogg"}
            expect(heading).to_have_text(name)
        visit.page.goto(f"{visit.url}#/")
        visit.ready("Sonata 1/2")


class TestMake:
    """The form for new music."""

    @pytest.mark.parametrize("mode", ["similar", "repaint"])
    def test_a_loop_that_is_too_short_says_so(
        self, browser: Browser, stack: StackProcess, result: str, mode: str
    ) -> None:
        with at_track(browser, stack) as visit:
            button, foot = (
                visit.page.get_by_role("button", name="Make music"),
                visit.page.locator(".make-foot"),
            )
            if mode == "repaint":
                visit.page.locator("#make-mode").select_option("All but a part, made anew")
                expect(foot).to_contain_text("Drag over a waveform")
            visit.drag_over(10, 10.4, of=SECONDS)
            if mode == "similar":
                expect(button).to_be_enabled()
                visit.page.get_by_role("switch", name="Only the looped part").check()
            expect(button).to_be_disabled()
            expect(foot).to_contain_text("has to last a second")
            expect(visit.page.locator("button.loop")).to_have_text(
                re.compile(r"^\s*Loop 0:(09\.9|10\.[01]) to 0:10\.[1-9]\s*$")
            )

    @pytest.mark.parametrize("field", ["region", "section.end", "sample_rate", "seed"])
    def test_what_the_server_refuses_is_shown(
        self, browser: Browser, stack: StackProcess, result: str, field: str
    ) -> None:
        refusal = {"code": "field_refused", "detail": "The server refuses this.", "field": field}
        with at_track(browser, stack) as visit:
            visit.context.route("**/api/generate/*", lambda route: route.fulfill(status=422, json=refusal))
            visit.page.get_by_role("button", name="Make music").click()
            expect(visit.page.locator(".make").get_by_text("The server refuses this.")).to_be_in_viewport(
                ratio=1
            )
            visit.refused(422)

    def test_a_wrong_field_among_all_settings_is_shown_though_they_are_closed(
        self, browser: Browser, stack: StackProcess, result: str
    ) -> None:
        with at_track(browser, stack) as visit:
            visit.page.locator("summary").click()
            seed = visit.page.get_by_label("Seed")
            seed.fill("-5")
            visit.page.locator("summary").click()
            expect(seed).to_be_hidden()
            visit.page.get_by_role("button", name="Make music").click()
            expect(seed).to_be_focused()
            expect(seed).to_be_in_viewport(ratio=1)
            expect(visit.page.locator("#make-seed-hint .problem")).to_be_visible()
            visit.refused(422)
            seed.fill("five")
            visit.page.get_by_role("button", name="Make music").click()
            expect(visit.page.locator("#make-seed-hint")).to_have_text("This is no number.")

    @pytest.mark.parametrize(("typed", "tempo"), [("120.05", 120.05), ("96,5", 96.5), ("90", 90), ("", None)])
    def test_a_number_is_taken_as_it_is_typed(
        self, browser: Browser, stack: StackProcess, result: str, typed: str, tempo: float | None
    ) -> None:
        with at_track(browser, stack) as visit:
            visit.context.route("**/api/generate/*", lambda route: route.abort())
            visit.page.locator("summary").click()
            field = visit.page.locator("#make-tempo")
            field.press_sequentially(f"{typed}x")
            field.press("Backspace")
            expect(field).to_have_value(typed)
            with visit.page.expect_request("**/api/generate/*") as sent:
                visit.page.get_by_role("button", name="Make music").click()
            assert (sent.value.post_data_json or {}).get("tempo") == tempo
            visit.page.goto("about:blank")
            visit.said.clear()  # Chromium tells of what was not sent

    def test_a_preset_changes_what_it_is_about_and_nothing_else(
        self, browser: Browser, stack: StackProcess, result: str
    ) -> None:
        with at_track(browser, stack) as visit:
            length, freedom, tries = (
                visit.page.locator(f"#make-{name}") for name in ("duration", "temperature", "candidates")
            )
            length.fill("45")
            tries.fill("2")
            for preset, expected in (("Freer", ("45", "1.4", "4")), ("Balanced", ("45", "1", "1"))):
                visit.page.get_by_role("button", name=preset).click()
                for field, value in zip((length, freedom, tries), expected, strict=True):
                    expect(field).to_have_value(value)
            visit.page.get_by_role("button", name="Quick sketch").click()
            expect(length).to_have_value("10")
            # What it set goes with it.
            visit.page.get_by_role("button", name="Close to it").click()
            expect(length).to_have_value("30")

    def test_a_loop_without_bars_says_so_at_the_field(
        self, browser: Browser, stack: StackProcess, result: str
    ) -> None:
        with at_track(browser, stack) as visit:
            visit.page.get_by_role("switch", name="Make a loop").check()
            bars = visit.page.locator("#make-bars")
            bars.fill("")
            visit.page.get_by_role("button", name="Make music").click()
            expect(visit.page.locator("#make-bars-hint")).to_have_text("Say how many bars the loop has.")
            expect(bars).to_be_focused()


class TestResult:
    """What the page says of one, and what can be done with it."""

    @pytest.mark.parametrize("status", ["failed", "cancelled"])
    def test_one_that_came_to_nothing_says_what_was_asked_and_can_be_deleted(
        self, browser: Browser, stack: StackProcess, result: str, status: str
    ) -> None:
        with visiting(browser, stack) as visit:
            error = {"code": "tempo_out_of_reach", "detail": "Not heard at 240 BPM."}
            visit.context.add_init_script(HELD)
            visit.page.goto("about:blank")
            change(visit, {"status": status, "error": error}, {"tempo": 240, "seed": 1234567})
            visit.page.goto(result)
            visit.drawn("source")
            assert visit.detail("Tempo") == "240 BPM"
            assert visit.detail("Seed") == "1234567"
            assert visit.detail("Length") == f"{MADE} s"
            visit.page.get_by_role("button", name="Delete").click()
            visit.drawn("source")
            made = visit.page.locator(f"a[href='#{result.partition('#')[2]}']")
            expect(visit.page.locator(".notice")).to_contain_text("The result is deleted.")
            expect(made).to_have_count(0)
            visit.page.keyboard.press("Control+z")
            expect(made).to_be_focused()
            expect(visit.page.locator(".notice")).to_have_count(0)

    @pytest.mark.parametrize(
        ("record", "parameters", "told", "untold"),
        [
            (
                {"duration": 60.0, "sample_rate": 44100},
                {"mode": "repaint", "duration": 12.297, "region": {"start": 20, "end": 32.297}},
                {"Length": "60.0 s", "Sample rate": "44,100 Hz, mono", "Made anew": "0:20 – 0:32"},
                {"Bit depth"},
            ),
            (
                {"duration": 9.598},
                {"loop": True, "bars": 4, "duration": 9.99987, "bit_depth": 24, "format": "flac"},
                {"Length": "9.6 s", "Bars": "4", "Bit depth": "24 bit"},
                {"Ending"},
            ),
            (
                {"duration": 95.996},
                {"mode": "extend", "duration": 15},
                {"Length": "96.0 s", "Length of the new part": "15 s"},
                {"Tempo"},
            ),
            (
                {},
                {"format": "ogg"},
                {"Sample rate": "48,000 Hz, mono"},
                {"Bit depth", "Seed of the first try"},
            ),
            ({"seed": 5}, {"seed": 4}, {"Seed": "5", "Seed of the first try": "4"}, set()),
        ],
        ids=["repaint", "loop", "extend", "ogg", "a later try"],
    )
    def test_what_is_said_of_it_is_so(
        self,
        browser: Browser,
        stack: StackProcess,
        result: str,
        record: dict[str, Any],
        parameters: dict[str, Any],
        told: dict[str, str],
        untold: set[str],
    ) -> None:
        with visiting(browser, stack) as visit:
            change(visit, {"channels": 1, **record}, parameters)
            visit.page.goto(result)
            visit.made()
            assert {name: visit.detail(name) for name in told} == told
            names = visit.page.locator(".details dt").all_inner_texts()
            assert len(names) == len(set(names))
            assert not untold & set(names)

    def test_a_line_is_as_wide_in_the_source_as_what_it_takes_there(
        self, browser: Browser, stack: StackProcess, result: str
    ) -> None:
        with visiting(browser, stack) as visit:
            change(visit, {"details": {"speed": 1.25}}, {"tempo": 150})
            visit.page.goto(result)
            visit.made()
            drawn = visit.page.locator(".ribbons path").first.get_attribute("d") or ""
            left, right, below, above = (
                float(re.findall(pattern, drawn)[0])
                for pattern in (r"M([\d.]+)", r"H([\d.]+)C", r"([\d.]+) 72H", r"72H([\d.]+)")
            )
            assert (right - left) / (below - above) == pytest.approx(1.25)

    def test_a_track_of_a_result_that_is_gone_leads_nowhere(
        self, browser: Browser, stack: StackProcess, result: str
    ) -> None:
        gone = {"made_from": {"generation_id": "01ARZ3NDEKTSV4RRFFQ69G5FAV", "candidate": 0}}
        with visiting(browser, stack) as visit:
            visit.context.route(
                re.compile(r"/api/audio/[0-9A-Z]{26}$"),
                lambda route: route.fulfill(json={**route.fetch().json(), **gone}),
            )
            visit.open(LONG)
            said = visit.page.locator("p", has_text="Made here from New music")
            expect(said).to_be_visible()
            expect(said.get_by_role("link")).to_have_count(0)


class TestFocus:
    """It stays beside what goes."""

    def test_renaming_deleting_and_undoing_keep_it_in_the_list(
        self, browser: Browser, stack: StackProcess, result: str
    ) -> None:
        with visiting(browser, stack) as visit:
            visit.context.add_init_script(HELD)
            visit.page.reload()
            visit.upload(as_file("kept.wav", tone(2)))
            row = visit.ready("kept")
            rename = row.get_by_role("button", name="Rename kept")
            for last in ("Enter", "Escape"):
                rename.press("Enter")
                expect(visit.page.get_by_label("New name")).to_be_focused()
                visit.page.keyboard.press(last)
                expect(rename).to_be_focused()
            after = row.locator("xpath=following-sibling::li[1]//button").first
            name = after.get_attribute("aria-label") or ""
            for undo in ("Control+z", "Enter"):
                row.get_by_role("button", name="Delete kept").press("Enter")
                expect(row).to_have_count(0)
                expect(visit.page.get_by_role("button", name=name, exact=True)).to_be_focused()
                if undo == "Enter":
                    visit.page.get_by_role("button", name="Undo").focus()
                visit.page.keyboard.press(undo)
                expect(row.get_by_role("link", name="kept")).to_be_focused()
            row.get_by_role("button", name="Delete kept").press("Enter")
            visit.page.goto("about:blank")  # which no undo comes after

    def test_cancelling_and_choosing_leave_it_at_what_takes_their_place(
        self, browser: Browser, stack: StackProcess, result: str
    ) -> None:
        state: dict[str, Any] = {"status": "running", "stage": "making", "progress": 0.5, "candidates": None}

        def answer(route: Route) -> None:
            method = route.request.method
            if method == "DELETE":
                state["status"] = "cancelled"
            elif method == "PATCH":
                state.update(route.request.post_data_json or {})
            record = route.fetch(method="GET", post_data="").json()
            for one in record.get("items", [record]):
                links = one.get("links", {})
                one.update(state)
                if one["candidates"]:
                    one["candidates"] = [{"seed": seed, "links": links} for seed in one["candidates"]]
            route.fulfill(json=record)

        with visiting(browser, stack) as visit:
            visit.context.route(re.compile(r"/api/generation(\?|/[0-9A-Z]{26}$)"), answer)
            # There is no second try that has any.
            visit.context.route("**/origins*", lambda route: route.fulfill(json={"segments": []}))
            visit.page.goto(result)
            visit.page.get_by_role("button", name="Cancel").press("Enter")
            expect(visit.page.get_by_role("button", name="Try again")).to_be_focused()
            later = "2999-01-01T00:00:00Z"
            state |= {"status": "succeeded", "candidates": [1, 2], "chosen": 0, "candidates_expire_at": later}
            visit.page.reload()
            visit.page.get_by_role("button", name="Choose try 2").press("Enter")
            expect(visit.page.get_by_role("button", name="Hear try 2")).to_be_focused()

    @pytest.mark.parametrize("looked_at", ["nothing", "Cancel, then nothing"])
    def test_what_ends_by_itself_takes_no_focus_that_nothing_had(
        self, browser: Browser, stack: StackProcess, result: str, looked_at: str
    ) -> None:
        """The next Space, which is to pause what plays, would ask for new music."""
        state: dict[str, Any] = {"status": "running", "stage": "making", "progress": 0.5, "candidates": None}
        with visiting(browser, stack) as visit:
            change(visit, state, {})
            visit.page.goto("about:blank")
            visit.page.goto(result)
            visit.drawn("source")
            if looked_at != "nothing":
                visit.page.get_by_role("button", name="Cancel").focus()
                visit.page.mouse.click(2, 300)
            assert visit.page.evaluate("document.activeElement === document.body")
            visit.page.keyboard.press("Space")
            visit.plays_past(1)
            state |= {"status": "failed", "error": {"code": "internal_error", "detail": "It failed."}}
            expect(visit.page.get_by_role("button", name="Try again")).to_be_visible()
            assert visit.page.evaluate("document.activeElement === document.body")
            visit.page.keyboard.press("Space")
            expect(visit.page.get_by_role("button", name="Play", exact=True)).to_be_visible()
            assert visit.page.url == result
            visit.context.unroute_all(behavior="wait")


class TestMap:
    """Tracks that sound alike, on a phone."""

    def test_points_fill_the_map_fit_a_finger_and_go_with_their_tracks(
        self, browser: Browser, stack: StackProcess, result: str
    ) -> None:
        reals: list[str] = []

        def answer(route: Route) -> None:
            found = route.fetch().json()
            (real,) = [point for point in found["items"] if point["filename"] == "spot.wav"]
            reals.append(real["audio_id"])
            spots = {"left": (0, 0.1), "top": (0.4, 1), "right": (1, 0.5), "middle": (0.6, 0)}
            items = [
                {
                    **real,
                    "audio_id": name.upper(),
                    "filename": f"A long name on the {name}",
                    "x": x,
                    "y": y,
                }
                for name, (x, y) in spots.items()
            ]
            route.fulfill(json={**found, "items": [{**real, "x": 0.4, "y": 0.4}, *items]})

        def answer_for_all(route: Route) -> None:
            route.fulfill(json=route.fetch(url=f"{visit.url}api/audio/{reals[0]}").json())

        with visiting(browser, stack, viewport={"width": 390, "height": 1600}) as visit:
            visit.context.add_init_script(HELD)
            visit.page.reload()
            visit.context.route("**/api/map*", answer)
            visit.context.route(re.compile(r"/api/audio/[A-Z]+$"), answer_for_all)
            visit.upload(as_file("spot.wav", tone(2)))
            visit.ready("spot")
            visit.page.goto(f"{visit.url}#/map")
            points = visit.page.locator(".atlas a")
            expect(points).to_have_count(5)
            around = visit.page.locator(".atlas").bounding_box()
            drawn = visit.page.locator(".atlas svg").bounding_box()
            assert around
            assert drawn
            assert drawn["height"] == pytest.approx(around["height"], abs=4)
            for point in points.all():
                target = point.locator(".target").bounding_box()
                assert target
                assert min(target["width"], target["height"]) >= 24
                point.hover()
                label = visit.page.locator(".map-label").bounding_box()
                assert label
                assert around["x"] <= label["x"]
                assert label["x"] + label["width"] <= around["x"] + around["width"]
                assert around["y"] <= label["y"]
                assert label["y"] + label["height"] <= around["y"] + around["height"]
            visit.page.goto(f"{visit.url}#/")
            visit.ready("spot").get_by_role("button", name="Delete spot").press("Enter")
            with visit.page.expect_response("**/api/map*"):
                visit.page.goto(f"{visit.url}#/map")
            expect(points).to_have_count(4)
            visit.page.keyboard.press("Control+z")
            expect(points).to_have_count(5)
            visit.context.unroute_all(behavior="ignoreErrors")

    def test_the_filters_names_are_whole_on_a_phone(
        self, browser: Browser, stack: StackProcess, result: str
    ) -> None:
        room = """select => {
            const {fontFamily, fontSize, paddingLeft, paddingRight} = getComputedStyle(select);
            const words = document.createElement("span");
            words.textContent = select.selectedOptions[0].text;
            Object.assign(words.style, {fontFamily, fontSize, position: "absolute", whiteSpace: "nowrap"});
            document.body.append(words);
            const {width} = words.getBoundingClientRect();
            words.remove();
            return select.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight) - width;
        }"""
        with visiting(browser, stack, viewport={"width": 390, "height": 844}) as visit:
            visit.ready(LONG)
            for select in visit.page.locator(".filters select").all():
                assert select.evaluate(room) >= 0


class TestDrop:
    """Files are taken wherever they fall."""

    @pytest.mark.parametrize("place", ["track", "result"])
    def test_a_drop_beside_the_library_is_taken(
        self, browser: Browser, stack: StackProcess, result: str, tmp_path: Path, place: str
    ) -> None:
        dropped = tmp_path / f"dropped on a {place}.wav"
        dropped.write_bytes(tone(2, 330))
        visiting_it = at_track(browser, stack) if place == "track" else at_result(browser, stack, result)
        with visiting_it as visit:
            hold(visit.page, dropped)
            expect(visit.page.locator(".notice")).to_have_text("Let go to add them")
            hold(visit.page, dropped, "drop")
            expect(visit.page.locator(".notice")).to_have_text("1 file is being added to your tracks.")
            visit.page.goto(f"{visit.url}#/")
            visit.ready(dropped.stem)
            hold(visit.page, dropped)
            expect(visit.page.locator(".drop.over")).to_be_visible()
            assert len(visit.context.pages) == 1


def hold(page: Page, file: Path, then: str = "dragOver") -> None:
    """Hold a file over the page, as the desktop does, and maybe let it fall."""
    tools = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
    for kind in dict.fromkeys(("dragEnter", "dragOver", then)):
        tools.send("Input.dispatchDragEvent", {"type": kind, "x": 300, "y": 300, "data": data})
    tools.detach()


class TestPlaying:
    """What is heard of a short result beside a long source."""

    def test_a_result_that_ends_sooner_starts_at_its_beginning(
        self, browser: Browser, stack: StackProcess, result: str
    ) -> None:
        with at_result(browser, stack, result) as visit:
            self.play_source_from(visit, 31)
            visit.page.keyboard.press("x")
            expect(visit.page.get_by_role("button", name="Hearing New music")).to_have_attribute(
                "aria-pressed", "true"
            )
            visit.page.wait_for_function(
                """() => {
                    const at = Number(document.querySelector("[role=slider]").ariaValueNow);
                    return at >= 1 && at <= 6;
                }"""
            )
            expect(visit.page.get_by_role("button", name="Pause", exact=True)).to_be_visible()

    def test_a_loop_of_the_source_alone_is_none_of_the_result(
        self, browser: Browser, stack: StackProcess, result: str
    ) -> None:
        with at_result(browser, stack, result) as visit:
            self.play_source_from(visit, 31)
            visit.page.keyboard.press("l")
            loop = visit.page.locator("button.loop")
            whole = re.compile(r"^\s*Loop 0:3\d\.\d to 0:3\d\.\d\s*$")
            expect(loop).to_have_text(whole)
            visit.page.keyboard.press("x")
            expect(loop).to_contain_text(", in A only")
            expect(visit.page.locator("[data-lane=made] .wave [part~=region]")).to_have_count(0)
            visit.plays_past(1)
            visit.page.keyboard.press("x")
            expect(loop).to_have_text(whole)
            visit.plays_past(30)

    def play_source_from(self, visit: Visit, second: int) -> None:
        """Play the source from a second on."""
        visit.page.get_by_role("button", name="Hearing Your track").click()
        box = visit.page.locator("[data-lane=source] .wave").bounding_box()
        assert box
        x = box["x"] + box["width"] * second / SECONDS
        visit.page.mouse.click(x, box["y"] + box["height"] / 2)
        visit.slider.focus()
        visit.page.keyboard.press("Space")
        visit.plays_past(second)
        assert visit.at() >= second

    def test_nothing_plays_of_a_result_whose_track_is_still_read(
        self, browser: Browser, stack: StackProcess, result: str
    ) -> None:
        def unread(route: Route) -> None:
            record = route.fetch().json()
            for one in record.get("items", [record]):
                one |= {"status": "embedding", "progress": 0.5, "features": None}
            route.fulfill(json=record)

        with visiting(browser, stack) as visit:
            visit.context.route(re.compile(r"/api/audio(\?|/[0-9A-Z]{26}$)"), unread)
            waiting = {"status": "waiting", "progress": 0, "candidates": None, "similarity": None}
            change(visit, waiting, {})
            visit.page.goto(result)
            expect(visit.page.locator(".making")).to_contain_text("Waiting for the track")
            visit.page.locator("button.loop").click()
            visit.page.get_by_role("button", name="Play", exact=True).click()
            expect(visit.page.get_by_role("button", name="Play", exact=True)).to_be_visible()
            visit.page.goto("about:blank")

    def test_a_loop_holds_in_a_tab_that_is_not_in_sight(
        self, browser: Browser, stack: StackProcess, result: str
    ) -> None:
        """No frame is drawn there."""
        with at_track(browser, stack) as visit:
            visit.drag_over(10, 11.6, of=SECONDS)
            visit.page.evaluate(
                """() => {
                    window.requestAnimationFrame = () => 0;
                    const {play} = HTMLMediaElement.prototype;
                    window.heard = [];
                    HTMLMediaElement.prototype.play = function () {
                        this.addEventListener("timeupdate", () => window.heard.push(this.currentTime));
                        return play.call(this);
                    };
                }"""
            )
            visit.page.keyboard.press("Space")
            again = "() => heard.some((at, index) => at < heard[index - 1])"
            visit.page.wait_for_function(again, polling=100)
            heard = visit.page.evaluate("heard")
            assert min(heard) > 9
            assert max(heard) < 13

    def test_a_loop_at_the_end_is_a_part_that_the_server_takes(
        self, browser: Browser, stack: StackProcess, result: str
    ) -> None:
        """The mp3 that is heard lasts longer than the track."""
        refusal = {"code": "field_refused", "detail": "The server refuses this.", "field": "region"}
        with at_track(browser, stack) as visit:
            visit.context.route("**/api/generate/*", lambda route: route.fulfill(status=422, json=refusal))
            for key, start in (("l", SECONDS - 4), ("[", SECONDS - 1), ("]", 0)):
                visit.slider.focus()
                visit.page.keyboard.press("End")
                visit.page.keyboard.press(key)
                visit.page.get_by_role("switch", name="Only the looped part").check()
                with visit.page.expect_request("**/api/generate/*") as sent:
                    visit.page.get_by_role("button", name="Make music").click()
                section = (sent.value.post_data_json or {})["section"]
                assert section == pytest.approx({"start": start, "end": SECONDS}, abs=0.05)
                assert section["end"] <= SECONDS
                visit.page.locator("button.loop").click()
            visit.refused(422)

    @pytest.mark.parametrize("held", [{"altKey": True}, {"altKey": True, "ctrlKey": True}, {}])
    def test_brackets_work_where_they_need_another_key(
        self, browser: Browser, stack: StackProcess, result: str, held: dict[str, bool]
    ) -> None:
        """On Windows that is Ctrl and Alt, on a Mac Alt alone, and some systems name it AltGraph."""
        press = """held => dispatchEvent.call(document.body, new KeyboardEvent("keydown",
            {key: "[", code: "Digit8", bubbles: true, modifierAltGraph: !held.altKey, ...held}))"""
        with at_track(browser, stack) as visit:
            loop = visit.page.locator("button.loop")
            visit.page.evaluate(press, {"ctrlKey": True, "altKey": False, "modifierAltGraph": False})
            visit.page.evaluate(press, {"metaKey": True, "altKey": True})
            expect(loop).to_have_text("Loop")
            visit.page.evaluate(press, held)
            expect(loop).to_have_text("Loop 0:00.0 to 0:01.0")


def test_an_event_of_no_key_is_none_of_the_keys(browser: Browser, stack: StackProcess, result: str) -> None:
    """Browsers dispatch such events where they fill something in."""
    press = "field => field.dispatchEvent(new Event('keydown', {bubbles: true}))"
    with at_track(browser, stack) as visit:
        visit.page.get_by_role("button", name=f"Rename {LONG}").click()
        visit.page.get_by_label("New name").evaluate(press)
        visit.page.locator("body").evaluate(press)
        visit.page.keyboard.press("Escape")
        expect(visit.page.get_by_label("New name")).to_have_count(0)


def test_an_address_without_an_identifier_shows_the_library(
    browser: Browser, stack: StackProcess, result: str
) -> None:
    with visiting(browser, stack) as visit:
        for address in ("#/track/", "#/track", "#/result/", "#/result", "#/map/01ARZ3NDEKTSV4RRFFQ69G5FAV"):
            visit.page.goto("about:blank")
            visit.page.goto(f"{visit.url}{address}")
            visit.ready(LONG)


def test_a_download_does_not_leave_the_page(browser: Browser, stack: StackProcess, result: str) -> None:
    with at_result(browser, stack, result) as visit:
        asked: list[str] = []

        def go_on(dialog: Dialog) -> None:
            asked.append(dialog.type)
            dialog.accept()

        visit.page.on("dialog", go_on)
        held: list[Route] = []

        def delay(route: Route) -> None:
            if route.request.method != "POST":
                route.fallback()
            else:
                held.append(route)

        visit.context.route(f"**{visit.bucket}/**", delay)
        visit.page.goto(f"{visit.url}#/")
        visit.upload(as_file("sent meanwhile.wav", tone(2, 440)))
        while not held:
            visit.page.wait_for_timeout(20)
        visit.page.evaluate("address => { location.href = address; }", result)
        visit.made()
        with visit.page.expect_download() as download:
            visit.page.get_by_role("button", name="Download").click()
        assert download.value.suggested_filename.startswith(LONG)
        assert asked == []
        for route in held:
            route.fallback()
        visit.page.goto(f"{visit.url}#/")
        visit.ready("sent meanwhile")
        assert asked == []
