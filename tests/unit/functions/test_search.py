"""Search by text."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from music.clap.embedder import ClapSearch
from music.engine.bundle import open_bundle
from tests.support.requests import Answer, call
from tests.support.stack import Stack
from tests.support.world import World
from weights import pack

pytestmark = pytest.mark.xdist_group("api")


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> ClapSearch:
    folder: Path = pack.build("tiny", "random", "float32", tmp_path_factory.mktemp("models"))
    return ClapSearch(open_bundle(folder))


@pytest.fixture
def world(deployment: Stack) -> World:
    return World(deployment)


@pytest.fixture
def app(world: World, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    app = importlib.import_module("functions.search.app")
    monkeypatch.setattr(app, "vectors", world.index)
    return app


@pytest.fixture
def able(app: ModuleType, embedder: ClapSearch, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The function under a profile that has a text tower."""
    monkeypatch.setattr(app, "embedder", embedder)
    return app


def post(app: ModuleType, world: World, body: Any) -> Answer:
    return call(app, "POST", "/api/search", body=body, tenant=world.tenant)


def test_builtin_names_who_can(app: ModuleType, world: World) -> None:
    problem = post(app, world, {"text": "calm solo piano", "k": 5}).problem(409, "unsupported_by_profile")
    assert "small" in problem["profiles"]
    assert "builtin" not in problem["profiles"]


@pytest.mark.parametrize(
    ("body", "field"),
    [({"k": 5}, "text"), ({"text": ""}, "text"), ({"text": "x", "k": 0}, "k"), ({"text": "x", "q": 1}, "q")],
)
def test_the_wrong_field_is_named(app: ModuleType, world: World, body: Any, field: str) -> None:
    assert post(app, world, body).problem(422, "invalid_parameter")["field"] == field


def test_the_nearest_come_first(able: ModuleType, world: World, embedder: ClapSearch) -> None:
    wanted, other = embedder.embed("calm solo piano"), embedder.embed("furious drums")
    identity = embedder.identity
    far = world.ready(other, identity=identity, filename="drums.wav")
    near = world.ready(wanted, identity=identity, filename="piano.wav")
    world.ready(wanted)  # by another embedder
    gone = world.ready(wanted, identity=identity)
    world.records.bury(gone)
    World(world.stack).ready(wanted, identity=identity)  # of another tenant
    results = post(able, world, {"text": "calm solo piano", "k": 5}).json["results"]
    assert [found["audio_id"] for found in results] == [near.id, far.id]
    assert results[0]["filename"] == "piano.wav"
    assert results[0]["score"] == pytest.approx(1.0, abs=1e-5)
    assert results[1]["score"] == pytest.approx(float(wanted @ other), abs=1e-5)
    assert len(post(able, world, {"text": "calm solo piano", "k": 1}).json["results"]) == 1


def test_a_text_over_the_models_limit_is_refused(able: ModuleType, world: World) -> None:
    problem = post(able, world, {"text": "$" * 127}).problem(422, "text_too_long")
    assert problem["field"] == "text"
    assert "126" in problem["detail"]
    assert post(able, world, {"text": "$" * 126}).status == 200
