"""Search by text."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from music.clap.embedder import ClapSearch
from music.engine.bundle import open_bundle
from tests.support.requests import Answer, call
from tests.support.stack import Stack
from tests.support.world import FEATURES, World, current_identity, unit
from weights import pack


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> ClapSearch:
    folder: Path = pack.build("tiny", "random", "float32", tmp_path_factory.mktemp("models"))
    return ClapSearch(open_bundle(folder))


@pytest.fixture
def world(deployment: Stack) -> World:
    return World(deployment)


@pytest.fixture
def app(world: World, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    app = world.stack.app("search")
    monkeypatch.setattr(app, "vectors", world.index)
    return app


@pytest.fixture
def able(app: ModuleType, embedder: ClapSearch, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The function under a profile that has a text tower."""
    monkeypatch.setattr(app, "embedder", lambda: embedder)
    return app


def post(app: ModuleType, world: World, body: Any) -> Answer:
    return call(app, "POST", "/api/search", body=body, tenant=world.tenant)


def test_builtin_names_who_can(app: ModuleType, world: World) -> None:
    problem = post(app, world, {"text": "calm solo piano", "k": 5}).problem(409, "unsupported_by_profile")
    assert "small" in problem["profiles"]
    assert "builtin" not in problem["profiles"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"k": 5}, "text"),
        ({"text": ""}, "text"),
        ({"text": " \t"}, "text"),
        ({"text": "\u200b"}, "text"),
        ({"text": "x", "k": 0}, "k"),
        ({"text": "x", "q": 1}, "q"),
    ],
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


class TestMap:
    """Tracks in two dimensions."""

    def get(self, app: ModuleType, world: World, **query: Any) -> Answer:
        return call(app, "GET", "/api/map", query=query, tenant=world.tenant)

    def cloud(self, world: World, points: np.ndarray) -> list[str]:
        """Make tracks whose vectors lie on a plane in 512 dimensions, at these points [shape=(n, 2)]."""
        plane, _ = np.linalg.qr(np.random.default_rng(3).standard_normal((512, 3)))
        return [world.ready(plane[:, 2] + plane[:, :2] @ point).id for point in points]

    def test_distances_on_the_map_are_those_of_the_vectors(self, app: ModuleType, world: World) -> None:
        points = np.random.default_rng(4).standard_normal((12, 2)) * (3.0, 1.0)
        ids = self.cloud(world, points)
        answer = self.get(app, world).json
        shown = {item["audio_id"]: (item["x"], item["y"]) for item in answer["items"]}
        assert shown.keys() == set(ids)
        found = np.array([shown[audio_id] for audio_id in ids])
        expected = np.linalg.norm(points[:, None] - points[None], axis=-1)
        assert np.linalg.norm(found[:, None] - found[None], axis=-1) == pytest.approx(expected, abs=1e-4)
        # The first axis is the longer one, and both are all there is.
        assert np.var(found[:, 0]) > np.var(found[:, 1])
        assert sum(answer["explained"]) == pytest.approx(1.0, abs=1e-5)
        assert answer["cursor"] is None

    def test_pages_have_the_axes_of_the_first(self, app: ModuleType, world: World) -> None:
        points = np.random.default_rng(5).standard_normal((7, 2)) * (3.0, 1.0)
        self.cloud(world, points)
        whole = self.get(app, world).json["items"]
        page = self.get(app, world, limit=3).json
        found = page["items"]
        world.clock.now += 1
        self.cloud(world, np.array([[0.0, 90.0]]))  # a newcomer that would turn the axes
        app.axes_of.cache_clear()  # another process answers
        while page["cursor"]:
            page = self.get(app, world, limit=3, cursor=page["cursor"]).json
            found += page["items"]
        assert found == whole

    def test_a_first_page_has_the_axes_of_what_is_ready_by_then(self, app: ModuleType, world: World) -> None:
        """The newest track is on its way at the first look, then ready, embedded again, and gone."""
        points = np.random.default_rng(6).standard_normal((4, 2)) * (3.0, 1.0)
        self.cloud(world, points)
        pending = world.claimed()

        def look() -> dict[str, Any]:
            world.clock.now += 1
            answer: dict[str, Any] = self.get(app, world).json
            return answer

        first = look()
        for vector in (unit(7), unit(8)):
            finished, _ = world.records.finish_audio(
                pending,
                vector=vector.astype("<f4").tobytes(),
                identity=asdict(current_identity()),
                features=FEATURES,
                tags=[],
            )
            found = look()
            assert len(found["items"]) == 5
            # In the middle of all that is shown.
            assert np.mean([(item["x"], item["y"]) for item in found["items"]], axis=0) == pytest.approx(
                (0.0, 0.0), abs=1e-5
            )
            assert found["explained"] != first["explained"]
            world.records.embed_again(world.tenant, finished.id)
            pending = world.records.claim_audio(world.tenant, finished.id)
        world.records.bury(pending)
        assert look() == first

    def test_only_what_can_be_compared_and_is_ones_own(
        self, app: ModuleType, world: World, deployment: Stack
    ) -> None:
        World(deployment).ready()
        world.ready(revision="of yore")
        world.audio()
        world.failed()
        own = world.ready()
        (item,) = self.get(app, world).json["items"]
        assert (item["audio_id"], item["x"], item["y"]) == (own.id, 0, 0)
        assert item["links"]["content"].endswith(f"{own.id}/content")

    def test_of_nobody_is_empty(self, app: ModuleType, world: World) -> None:
        assert self.get(app, world).json == {"items": [], "cursor": None, "explained": [0, 0]}

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ({"limit": 0}, "limit"),
            ({"limit": 101}, "limit"),
            ({"cursor": "x"}, "cursor"),
            ({"cursor": "x.forged"}, "cursor"),
        ],
    )
    def test_names_the_wrong_parameter(
        self, app: ModuleType, world: World, query: dict[str, Any], field: str
    ) -> None:
        assert self.get(app, world, **query).problem(422, "invalid_parameter")["field"] == field
