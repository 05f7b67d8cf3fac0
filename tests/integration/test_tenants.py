"""Nobody is let in without a key, and no key opens what belongs to another tenant, whatever the route.

Runs on a local stack of its own, with authorization on.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from client.failure import Exit
from client.stack import StackProcess
from local.template import ROOT
from tests.support import sound
from tests.support.client import Answer, Api, form, post_form, send
from tests.support.keys import keys
from tests.support.waiting import PATIENCE_SECONDS

CONTRACT = json.loads((ROOT / "layers/backend/openapi.json").read_text())
ROUTES = sorted((method.upper(), path) for path, item in CONTRACT["paths"].items() for method in item)
ASSET = ("GET", "/assets/{version}/{name}")  # of the page
OPEN = {("GET", "/"), ("GET", "/api/health"), ("GET", "/api/openapi.json"), ASSET}
CLOSED = [route for route in ROUTES if route not in OPEN]
# What would remove comes last, or the others would find nothing to leak.
OF_A_RECORD = sorted(
    (route for route in CLOSED if "{" in route[1] or route == ("POST", "/api/audio")),
    key=lambda route: route[0] == "DELETE",
)
ROOM = 25_000_000
WITHOUT_A_RECORD = [
    ("GET", "/api/audio"),
    ("GET", "/api/generation"),
    ("GET", "/api/map"),
    ("GET", "/api/profile"),
    ("POST", "/api/search"),
    ("POST", "/api/upload"),
]


@dataclass(frozen=True)
class Tenant:
    """Somebody with a key, a track and music made from it."""

    api: Api
    name: str
    audio_id: str
    generation_id: str


@pytest.fixture(scope="module")
def stack() -> Iterator[StackProcess]:
    room = ("--parameter", f"MaxStoredBytes={ROOM}")
    page = ("--parameter", "AllowedOrigins=https://page.example")
    with StackProcess("--auth", "keys", *page, *room) as stack:
        yield stack


@pytest.fixture(scope="module")
def mine(stack: StackProcess, track: bytes) -> Tenant:
    return settle(stack, "mine", track)


@pytest.fixture(scope="module")
def theirs(stack: StackProcess, track: bytes) -> Tenant:
    return settle(stack, "theirs", track)


@pytest.fixture(scope="module")
def revoked(stack: StackProcess) -> str:
    """Return a key that was revoked before anybody used it: API Gateway remembers nothing of it."""
    key = keys(stack, "create", "--tenant", "mine")
    assert "revoked" in keys(stack, "revoke", key.partition(".")[0])
    return key


def settle(stack: StackProcess, name: str, track: bytes) -> Tenant:
    api = Api(stack.api_url, keys(stack, "create", "--tenant", name))
    uploaded = api.upload("song.mp3", track, "audio/mpeg")
    api.ready(uploaded)
    made = api.succeeded(api.generate(uploaded["audio_id"], duration=2, seed=1))
    return Tenant(api, name, uploaded["audio_id"], made["generation_id"])


def ask(api: Api, route: tuple[str, str], tenant: Tenant) -> Answer:
    """Send the request that would work for the owner of these ids."""
    method, path = route
    bodies: dict[str, Any] = {
        "/api/generate/{audio_id}": {"duration": 2},
        "/api/audio/{audio_id}": {"filename": "b.mp3"} if method == "PATCH" else None,
        "/api/search": {"text": "calm"},
        "/api/upload": {"filename": "a.mp3", "bytes": 1000, "content_type": "audio/mpeg"},
    }
    if method == "PATCH" and path.startswith("/api/generation"):
        bodies[path] = {"chosen": 0}
    if route == ("POST", "/api/audio"):
        bodies[path] = {"generation_id": tenant.generation_id}
    filled = path.format(audio_id=tenant.audio_id, generation_id=tenant.generation_id, candidate="0")
    return api.request(method, filled, json_body=bodies.get(path))


def test_every_route_is_tried() -> None:
    assert sorted([*OF_A_RECORD, *WITHOUT_A_RECORD]) == CLOSED
    assert set(ROUTES) >= OPEN


@pytest.mark.parametrize("route", sorted(OPEN), ids=" ".join)
def test_the_open_routes_ask_for_nothing(stack: StackProcess, route: tuple[str, str]) -> None:
    assert Api(stack.api_url).request(*route).status == (404 if route == ASSET else 200)  # of no such name
    preflight = {"Origin": "https://page.example", "Access-Control-Request-Method": "GET"}
    assert send("OPTIONS", f"{stack.api_url}/api/audio", headers=preflight).status == 204


class TestWithoutAKey:
    """401 when there is none, 403 when it is not one that holds: problem documents both."""

    @pytest.mark.parametrize("route", CLOSED, ids=" ".join)
    def test_nobody_is_let_in(
        self, stack: StackProcess, mine: Tenant, revoked: str, route: tuple[str, str]
    ) -> None:
        assert mine.api.token
        for token in (None, "nonsense", mine.api.token.partition(".")[0], f"{mine.api.token}A"):
            answer = ask(Api(stack.api_url, token), route, mine)
            answer.problem(401, "unauthorized")
            assert answer.headers["WWW-Authenticate"] == "Bearer"
        id_and_another_secret = f"{mine.api.token.partition('.')[0]}.{'A' * 43}"
        for token in (f"{'0' * 26}.{'A' * 43}", id_and_another_secret, revoked):
            ask(Api(stack.api_url, token), route, mine).problem(403, "forbidden")

    def test_browsers_may_read_the_refusal(self, stack: StackProcess) -> None:
        answer = send("GET", f"{stack.api_url}/api/audio", headers={"Origin": "https://page.example"})
        assert answer.status == 401
        assert answer.headers["Access-Control-Allow-Origin"] == "*"


class TestWithAnothersKey:
    """What is somebody else's is not there."""

    @pytest.mark.parametrize("route", OF_A_RECORD, ids=" ".join)
    def test_every_record_is_missing(self, mine: Tenant, theirs: Tenant, route: tuple[str, str]) -> None:
        foreign = ask(mine.api, route, theirs).problem(404, "not_found")
        missing = Tenant(mine.api, "", "0" * 26, "0" * 26)
        unknown = ask(mine.api, route, missing).problem(404, "not_found")
        # Nothing tells what another tenant has from what nobody has.
        assert foreign["detail"] == unknown["detail"]

    def test_and_nothing_of_it_was_touched(self, mine: Tenant, theirs: Tenant) -> None:
        assert theirs.api.get(f"/api/audio/{theirs.audio_id}").ok(200)["status"] == "ready"
        record = theirs.api.get(f"/api/generation/{theirs.generation_id}").ok(200)
        assert record["status"] == "succeeded"
        assert sound.decode(theirs.api.get(record["links"]["download"]).body).seconds > 1

    def test_lists_hold_ones_own(self, mine: Tenant, theirs: Tenant) -> None:
        listed = mine.api.get("/api/audio").ok(200)["items"]
        assert mine.audio_id in {item["audio_id"] for item in listed}
        assert theirs.audio_id not in {item["audio_id"] for item in listed}
        listed = mine.api.get("/api/generation").ok(200)["items"]
        assert mine.generation_id in {item["generation_id"] for item in listed}
        assert theirs.generation_id not in {item["generation_id"] for item in listed}
        of_theirs = mine.api.get("/api/generation", audio_id=theirs.audio_id).ok(200)
        assert of_theirs["items"] == []

    def test_another_tenants_cursor_leads_nowhere_else(
        self, mine: Tenant, theirs: Tenant, track: bytes
    ) -> None:
        theirs.api.upload("second.mp3", track, "audio/mpeg")
        cursor = theirs.api.get("/api/audio", limit=1).ok(200)["cursor"]
        assert cursor
        answer = mine.api.get("/api/audio", cursor=cursor)
        if answer.status != 422:
            own = {item["audio_id"] for item in mine.api.get("/api/audio", limit=100).ok(200)["items"]}
            assert {item["audio_id"] for item in answer.ok(200)["items"]} <= own

    def test_similar_tracks_are_ones_own(self, mine: Tenant, theirs: Tenant, track: bytes) -> None:
        # The same recording, so that theirs would come first.
        assert mine.api.get(f"/api/similar/{mine.audio_id}", k=100).ok(200)["results"] == []
        second = mine.api.upload("again.mp3", track, "audio/mpeg")
        mine.api.ready(second)
        results = mine.api.get(f"/api/similar/{mine.audio_id}", k=100).ok(200)["results"]
        assert [result["audio_id"] for result in results] == [second["audio_id"]]
        mine.api.delete(second["links"]["self"])

    def test_an_idempotency_key_is_ones_own(self, mine: Tenant, theirs: Tenant) -> None:
        made = []
        for tenant in (theirs, mine):
            path = f"/api/generate/{tenant.audio_id}"
            answer = tenant.api.post(path, {"duration": 1, "seed": 3}, Idempotency_Key="the same")
            assert "Idempotent-Replayed" not in answer.headers
            made.append(answer.ok(202)["generation_id"])
        assert made[0] != made[1]


class TestObjects:
    """Presigned addresses open one object each, in the tenant's own folder."""

    def test_an_upload_goes_to_ones_own_folder_only(self, mine: Tenant, theirs: Tenant, track: bytes) -> None:
        upload = mine.api.announce("a.mp3", len(track), "audio/mpeg")["upload"]
        key = upload["fields"]["key"]
        assert key.startswith("uploads/mine/")
        for other in (key.replace("mine", "theirs"), f"uploads/theirs/{theirs.audio_id}"):
            assert post_form(upload, track, key=other).status == 403
        assert theirs.api.get(f"/api/audio/{theirs.audio_id}/content").body == track

    def test_the_commands_for_a_large_file_take_the_key_from_the_shell(
        self, mine: Tenant, tmp_path: Path
    ) -> None:
        content = b"ID3" + bytes(4_600_000)
        body, headers = form([], "your_music.mp3", content, "audio/mpeg")
        answer = mine.api.request("POST", "/api/upload", data=body, headers=headers)
        first, second = answer.problem(413, "too_large")["curls"]
        assert mine.api.token
        assert mine.api.token not in first
        (tmp_path / "your_music.mp3").write_bytes(content)
        shell = ["bash", "-o", "pipefail", "-c"]
        for command, key, status in ((first, "", 22), (first, mine.api.token, 0), (second, "", 0)):
            environment = {**os.environ, "KEY": key}
            done = subprocess.run([*shell, command], cwd=tmp_path, env=environment, capture_output=True)
            assert done.returncode == status, done.stderr

    def test_a_download_address_opens_one_object(self, mine: Tenant, theirs: Tenant) -> None:
        large = mine.api.upload_directly("large.wav", b"RIFF" + bytes(5_000_000), "audio/wav")
        answer = mine.api.get(f"/api/audio/{large['audio_id']}/content")
        assert answer.status == 302
        address = answer.headers["Location"]
        own = f"/uploads/mine/{large['audio_id']}"
        assert urlsplit(address).path.endswith(own)
        assert send("GET", address).status == 200
        foreign = address.replace(own, f"/uploads/theirs/{theirs.audio_id}")
        assert foreign != address
        assert send("GET", foreign).status == 403

    def test_nothing_is_open_without_a_signature(self, mine: Tenant, theirs: Tenant) -> None:
        upload = mine.api.announce("a.mp3", 1000, "audio/mpeg")["upload"]
        for key in (f"uploads/theirs/{theirs.audio_id}", f"uploads/mine/{mine.audio_id}"):
            assert send("GET", f"{upload['url'].rstrip('/')}/{key}").status == 403


def test_a_tenant_has_room_for_only_so_many_bytes(stack: StackProcess, mine: Tenant, track: bytes) -> None:
    api = Api(stack.api_url, keys(stack, "create"))
    song = api.upload_directly("song.mp3", track, "audio/mpeg")
    api.ready(song)
    made = api.succeeded(api.generate(song["audio_id"], duration=2))
    preview = api.get(f"/api/audio/{song['audio_id']}/preview").body
    rest = {"filename": "rest.wav", "bytes": ROOM, "content_type": "audio/wav"}
    refused = api.post("/api/upload", rest)
    detail = refused.problem(429, "storage_limit")["detail"]
    assert "delete something" in detail
    assert int(refused.headers["Retry-After"]) > 0
    left = int(re.findall(r"\d+", detail)[1])
    used = ROOM - left
    assert used > len(track) + len(preview) + made["bytes"]
    rest["bytes"] = left
    api.post("/api/upload", {**rest, "bytes": left + 1}).problem(429, "storage_limit")
    assert api.post("/api/upload", rest).status == 201
    api.post(f"/api/generate/{song['audio_id']}", {"duration": 1}).problem(429, "storage_limit")
    assert mine.api.post("/api/upload", {**rest, "bytes": 1000}).status == 201
    assert api.delete(song["links"]["self"]).status == 204  # and with it what was made from it
    freed = {**rest, "bytes": used}
    assert api.post("/api/upload", freed).status == 201
    api.post("/api/upload", {**rest, "bytes": 1}).problem(429, "storage_limit")


def test_two_keys_of_one_tenant_open_the_same(stack: StackProcess, mine: Tenant) -> None:
    second = Api(stack.api_url, keys(stack, "create", "--tenant", "mine"))
    assert second.get(f"/api/audio/{mine.audio_id}").ok(200)["audio_id"] == mine.audio_id
    first = str(mine.api.token).partition(".")[0]
    lines = keys(stack, "list", "--tenant", "mine").splitlines()
    assert [line for line in lines if line.startswith(first) and line.endswith("valid")]
    assert all("tenant mine " in line for line in lines)
    assert str(mine.api.token).partition(".")[2] not in "\n".join(lines)


def test_a_key_without_a_tenant_opens_an_empty_one(stack: StackProcess, mine: Tenant) -> None:
    fresh = Api(stack.api_url, keys(stack, "create"))
    assert fresh.get("/api/audio").ok(200)["items"] == []
    assert fresh.get("/api/generation").ok(200)["items"] == []


def test_keys_that_cannot_be_are_one_clear_line(stack: StackProcess) -> None:
    wrong = {Exit.USAGE: ["create", "--tenant", "A/b"], Exit.NOT_FOUND: ["revoke", "0" * 26]}
    for code, arguments in wrong.items():
        command = [sys.executable, "-m", "client.command", "keys", *arguments]
        command += ["--endpoint-url", stack.endpoint_url]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
        assert done.returncode == code
        assert done.stderr.startswith("error: ")
        assert len(done.stderr.splitlines()) == 1
