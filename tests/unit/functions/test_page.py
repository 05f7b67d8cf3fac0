"""The web page as the API serves it: a document that nobody stores, and assets that are stored for ever."""

from __future__ import annotations

import gzip
import re

import pytest

from tests.support.requests import Answer
from tests.support.stack import Stack
from tests.support.world import World

ASSET = "/assets/{version}/{name}"


@pytest.fixture
def world(deployment: Stack) -> World:
    return World(deployment)


@pytest.fixture
def document(world: World) -> Answer:
    return world.call("GET", "/", headers={"Accept-Encoding": "gzip"})


def text(answer: Answer) -> str:
    """Return the document's text."""
    return answer.body.decode()


def version(answer: Answer) -> str:
    """Return the hash in the addresses of a document's assets."""
    (found,) = set(re.findall(r"/dev/assets/([0-9a-f]{16})/", text(answer)))
    return found


def test_the_document_is_never_stored(document: Answer) -> None:
    assert document.status == 200
    assert document.headers["content-type"] == "text/html; charset=utf-8"
    assert document.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(("stage", "prefix"), [("dev", "/dev"), ("", "")])
def test_addresses_carry_the_prefix_that_the_client_used(world: World, stage: str, prefix: str) -> None:
    found = re.findall(r'(?:href|src)="([^"]+)"', text(world.call("GET", "/", stage=stage)))
    assert found
    for address in found:
        assert re.match(rf"{prefix}/(assets/[0-9a-f]{{16}}|api)/", address), address


def test_every_asset_of_the_document_is_there_for_ever(world: World, document: Answer) -> None:
    names = re.findall(r'/assets/[0-9a-f]{16}/([^"]+)"', text(document))
    assert {"page.js", "page.css", "icon.svg"} <= set(names)
    for name in names:
        answer = world.call("GET", ASSET, version=version(document), name=name)
        assert answer.status == 200
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_person_loads_less_than_200_kilobytes(world: World, document: Answer) -> None:
    asked = {"Accept-Encoding": "gzip"}
    sizes = {}
    for name in world.app.page.assets():
        answer = world.call("GET", ASSET, version=version(document), name=name, headers=asked)
        assert answer.headers["content-encoding"] == "gzip"
        assert gzip.decompress(answer.body) == world.app.page.assets()[name]
        sizes[name] = len(answer.body)
    assert sum(sizes.values()) < 200_000, sizes


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ("0123456789abcdef", "page.js"),  # of another deployment
        (None, "page.py"),
        (None, "index.html"),
    ],
)
def test_nothing_else_is_served(world: World, document: Answer, changed: str | None, name: str) -> None:
    answer = world.call("GET", ASSET, version=changed or version(document), name=name)
    answer.problem(404, "not_found")
    assert answer.headers["cache-control"] == "no-store"


def test_the_hash_changes_with_any_asset(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    page, found = world.app.page, {}
    before = page.assets_version()
    for name in (known := page.assets()):
        changed = known | {name: b"changed"}
        monkeypatch.setattr(page, "assets", lambda changed=changed: changed)
        page.assets_version.cache_clear()
        found[name] = page.assets_version()
    monkeypatch.undo()
    page.assets_version.cache_clear()
    assert len({before, *found.values()}) == len(known) + 1


class TestPolicy:
    """What the document may load."""

    def test_nothing_unsafe_and_no_other_host(self, document: Answer) -> None:
        policy = document.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "*" not in policy
        directives = dict(part.split(" ", 1) for part in policy.split("; "))
        assert directives["default-src"] == "'none'"
        assert directives["script-src"] == "'self'"
        hosts = {source for sources in directives.values() for source in sources.split() if "//" in source}
        assert len(hosts) == 1  # the bucket's
        for name in ("connect-src", "media-src", "frame-src"):
            assert hosts <= set(directives[name].split())

    def test_it_is_the_bucket_that_tracks_come_from(self, world: World, document: Answer) -> None:
        record = world.call("GET", "/api/audio/{audio_id}", audio_id=world.claimed().id).json
        origin = re.match(r"https?://[^/]+", record["links"]["play"])
        assert origin
        assert f"connect-src 'self' {origin[0]};" in document.headers["content-security-policy"]

    def test_styles_need_a_nonce_that_is_never_the_same(self, world: World, document: Answer) -> None:
        def nonce(answer: Answer) -> str:
            (found,) = re.findall(r'nonce="([^"]+)"', text(answer))
            assert f"'nonce-{found}'" in answer.headers["content-security-policy"]
            return str(found)

        plain = world.call("GET", "/")
        assert nonce(plain) != nonce(document)
        assert len(nonce(plain)) >= 22
