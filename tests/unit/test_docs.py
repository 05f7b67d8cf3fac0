"""What the README and the pages in docs/ name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from client.stack import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = """\
    curl -X POST "$API/api/upload" -F "file=@your_music.mp3"
    curl "$API/api/embedding/{audio_id}"
    curl -X POST "$API/api/generate/{audio_id}" -H "Content-Type: application/json" -d '{"duration": 30, "temperature": 0.8}'
    curl "$API/api/download/{generation_id}" --output generated_music.wav
"""  # noqa: E501 (as users paste them)

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def anchors(page: Path) -> set[str]:
    """The fragments of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pages
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8"))
    assert links
    for link in links:
        if "://" in link:
            continue
        path, _, fragment = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), link
        assert target.is_relative_to(ROOT), link
        assert not fragment or fragment in anchors(target), link


@pages
def test_every_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    text = page.read_text("utf-8")
    named: set[str] = set()
    for words in re.findall(r"^ +(?:[A-Z_]+=\S+ )*make ((?:[a-z-]+ ?)+)", text, re.MULTILINE):
        named.update(words.split())
    named.update(re.findall(r"`make ([a-z-]+)", text))
    assert named <= targets


@pages
def test_every_path_in_code_type_exists(page: Path) -> None:
    top = r"(?:functions|layers|local|client|events|tests|docs)"
    for path in re.findall(rf"`({top}/[\w./-]+)`", page.read_text("utf-8")):
        # The one is written by the first fetch, the other is for whoever adds a model to name.
        assert (ROOT / path).exists() or path.endswith("sources.lock.json") or "/NAME/" in path, path


def test_the_readme_has_the_four_commands_as_users_know_them() -> None:
    assert COMMANDS in (ROOT / "README.md").read_text("utf-8")
