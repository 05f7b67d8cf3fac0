"""Every route but the upload."""

from __future__ import annotations

import gzip
import json
import math
import re
import struct
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from aws_lambda_powertools.event_handler import Response
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    ReadTimeoutError,
)
from pydantic import ValidationError

from backend import contract
from backend import vectors as indexed
from backend.api import Api
from backend.contract import INLINE_BYTES, GenerateRequest, Section
from backend.records import (
    COOL_DOWN_SECONDS,
    MIN_CHARGE_SECONDS,
    RESEND_SECONDS,
    Audio,
    Generation,
    Limits,
)
from backend.settings import Settings
from backend.storage import analysis_key, generated_key, preview_key, upload_key
from music import profiles, reach
from music.audio.decode import MAX_SECONDS
from tests.support import hostile
from tests.support.requests import Answer, call, event
from tests.support.stack import DIMENSION, ENVIRONMENT, Context, Stack
from tests.support.world import FEATURES, World, current_identity, unit

NOBODY = "01JDC4Q2T3M5N7P9R1S3T5V7W9"


@pytest.fixture
def world(deployment: Stack, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(deployment)
    for module in (world.app.audio, world.app.embedding, world.app.generation):
        monkeypatch.setattr(module, "vectors", lambda: world.index)
    return world


AUDIO_ROUTES = [
    ("GET", "/api/audio/{audio_id}"),
    ("DELETE", "/api/audio/{audio_id}"),
    ("GET", "/api/audio/{audio_id}/content"),
    ("GET", "/api/audio/{audio_id}/preview"),
    ("GET", "/api/audio/{audio_id}/analysis"),
    ("PATCH", "/api/audio/{audio_id}"),
    ("POST", "/api/audio/{audio_id}/embed"),
    ("GET", "/api/embedding/{audio_id}"),
    ("GET", "/api/similar/{audio_id}"),
    ("POST", "/api/generate/{audio_id}"),
]
GENERATION_ROUTES = [
    ("GET", "/api/generation/{generation_id}"),
    ("DELETE", "/api/generation/{generation_id}"),
    ("GET", "/api/download/{generation_id}"),
]


# Revision and pipeline of every `mir-512` that made records.
BEFORE = [
    ("d82e85c7868c", "1"),
    ("b901e83e8b6c", "1"),
    ("b901e83e8b6c", "2"),
    ("92b81749605f", "3"),
]

BODIES = {("PATCH", "/api/audio/{audio_id}"): {"filename": "b.wav"}}


class TestWhatIsNotThere:
    """404, 410, and other people's things."""

    @pytest.mark.parametrize(("method", "resource"), AUDIO_ROUTES)
    @pytest.mark.parametrize(
        "audio_id", [NOBODY, "x", "..", "01jdc4q2t3m5n7p9r1s3t5v7w9", "é", "®k\x84", "\U000f0a8d", "0" * 300]
    )
    def test_no_such_audio(self, world: World, method: str, resource: str, audio_id: str) -> None:
        world.call(method, resource, body=BODIES.get((method, resource)), audio_id=audio_id).problem(
            404, "not_found"
        )

    @pytest.mark.parametrize(("method", "resource"), GENERATION_ROUTES)
    @pytest.mark.parametrize("generation_id", [NOBODY, "x", "®k\x84", "\U000f0a8d"])
    def test_no_such_generation(self, world: World, method: str, resource: str, generation_id: str) -> None:
        world.call(
            method, resource, body=BODIES.get((method, resource)), generation_id=generation_id
        ).problem(404, "not_found")

    @pytest.mark.parametrize(("method", "resource"), AUDIO_ROUTES)
    def test_somebody_elses_audio(self, world: World, method: str, resource: str) -> None:
        audio = world.ready()
        world.call(
            method, resource, body=BODIES.get((method, resource)), audio_id=audio.id, tenant="other"
        ).problem(404, "not_found")
        world.call(
            method, resource, body=BODIES.get((method, resource)), audio_id=audio.id, tenant=None
        ).problem(404, "not_found")
        assert world.stack.get_audio(audio).status == "ready"

    @pytest.mark.parametrize(("method", "resource"), GENERATION_ROUTES)
    def test_somebody_elses_generation(self, world: World, method: str, resource: str) -> None:
        generation = world.finished()
        world.call(
            method, resource, body=BODIES.get((method, resource)), generation_id=generation.id, tenant="other"
        ).problem(404, "not_found")
        assert world.stack.get_generation(generation).status == "succeeded"

    @pytest.mark.parametrize(
        ("tombstone", "status", "code"), [("deleted", 404, "not_found"), ("expired", 410, "expired")]
    )
    def test_tombstones(self, world: World, tombstone: Any, status: int, code: str) -> None:
        generation = world.finished()
        audio = world.records.get_audio(world.tenant, generation.audio_id)
        assert audio
        world.records.bury(audio, tombstone)
        world.records.bury(generation, tombstone)
        for method, resource in AUDIO_ROUTES:
            world.call(method, resource, body=BODIES.get((method, resource)), audio_id=audio.id).problem(
                status, code
            )
        for method, resource in GENERATION_ROUTES:
            world.call(
                method, resource, body=BODIES.get((method, resource)), generation_id=generation.id
            ).problem(status, code)

    def test_lists_show_neither(self, world: World) -> None:
        world.records.bury(world.audio())
        assert world.call("GET", "/api/audio").json == {"items": [], "cursor": None}
        assert world.call("GET", "/api/generation").json == {"items": [], "cursor": None}


class TestAudio:
    """Records, lists, content, deletion."""

    def test_record(self, world: World) -> None:
        audio = world.ready()
        document = world.call("GET", "/api/audio/{audio_id}", audio_id=audio.id).json
        assert document["audio_id"] == audio.id
        assert (document["status"], document["progress"]) == ("ready", 1.0)
        assert (document["filename"], document["bytes"]) == ("my söng.wav", 5)
        assert (document["model"], document["features"], document["tags"]) == ("mir-512", FEATURES, ["minor"])
        assert document["links"]["content"] == f"/dev/api/audio/{audio.id}/content"
        assert document["created_at"].endswith("Z")

    def test_a_duplicate_names_no_track_that_is_deleted(self, world: World) -> None:
        first = world.ready()
        copy = world.ready(duplicate_of=first.id)

        def named() -> list[str | None]:
            paths = ["/api/audio/{audio_id}", "/api/embedding/{audio_id}"]
            shown = [world.call("GET", path, audio_id=copy.id).json for path in paths]
            listed = world.call("GET", "/api/audio").json["items"]
            shown += [item for item in listed if item["audio_id"] == copy.id]
            return [answer.get("duplicate_of") for answer in shown]

        assert named() == [first.id] * 3
        assert world.call("DELETE", "/api/audio/{audio_id}", audio_id=first.id).status == 204
        assert named() == [None] * 3

    def test_record_of_a_failure_says_why(self, world: World) -> None:
        document = world.call("GET", "/api/audio/{audio_id}", audio_id=world.failed().id).json
        assert document["status"] == "failed"
        assert document["error"] == {"code": "undecodable", "detail": "This is not audio."}

    def test_record_of_work_in_hand_says_how_far_it_is(self, world: World) -> None:
        audio = world.claimed()
        record = world.call("GET", "/api/audio/{audio_id}", audio_id=audio.id).json
        assert (record["stage"], record["seconds_left"]) == (None, None)
        world.records.renew(audio, progress=0.4, stage="decoding", seconds_left=12.5)
        record = world.call("GET", "/api/audio/{audio_id}", audio_id=audio.id).json
        assert (record["stage"], record["progress"], record["seconds_left"]) == ("decoding", 0.4, 12.5)
        world.records.give_back(audio)
        record = world.call("GET", "/api/audio/{audio_id}", audio_id=audio.id).json
        assert (record["stage"], record["seconds_left"]) == (None, None)
        again = world.records.claim_audio(audio.tenant, audio.id)
        assert (again.stage, again.seconds_left) == (None, None)

    @pytest.mark.parametrize("name", ["new.wav", "ж" * 1000, " .. ", "a/b\\c", "<b>&amp;"])
    def test_a_track_can_be_renamed(self, world: World, name: str) -> None:
        audio = world.ready()
        renamed = world.call("PATCH", "/api/audio/{audio_id}", body={"filename": name}, audio_id=audio.id)
        assert renamed.status == 200
        if name.strip():
            assert renamed.json["filename"] == name
            assert world.call("GET", "/api/audio").json["items"][0]["filename"] == name
            content = world.call("GET", "/api/audio/{audio_id}/content", audio_id=audio.id)
            assert "\n" not in content.headers["content-disposition"]

    @pytest.mark.parametrize(
        "name", ["", " ", "\t", "\u200b", "\ufeff ", " \u202e\x1b", "a" * 1025, "\ud800", 5, None, ["a"]]
    )
    def test_a_name_that_cannot_be_read_is_refused(self, world: World, name: Any) -> None:
        audio = world.ready()
        answer = world.call("PATCH", "/api/audio/{audio_id}", body={"filename": name}, audio_id=audio.id)
        assert answer.problem(422, "invalid_parameter")["field"] == "filename"
        assert world.stack.get_audio(audio).filename == "my söng.wav"

    @pytest.mark.parametrize(
        "name", ["a\u202egpj.exe", "a\ngpj.exe", "agpj\x00.exe\x85", "a\u2028gpj\ufeff.exe"]
    )
    def test_what_nobody_sees_of_a_name_is_left_out(self, world: World, name: str) -> None:
        audio = world.ready()
        renamed = world.call("PATCH", "/api/audio/{audio_id}", body={"filename": name}, audio_id=audio.id)
        announced = call(
            world.stack.app("upload"), "POST", "/api/upload", body={"filename": name, "bytes": 5}
        )
        assert [renamed.json["filename"], announced.json["filename"]] == ["agpj.exe", "agpj.exe"]

    def test_a_name_outlives_the_embedding_that_ends_meanwhile(self, world: World) -> None:
        claimed = world.claimed()
        world.call("PATCH", "/api/audio/{audio_id}", body={"filename": "new"}, audio_id=claimed.id)
        world.records.finish_audio(claimed, vector=b"", identity={}, features={}, tags=[])
        assert world.stack.get_audio(claimed).filename == "new"

    def test_list_is_in_pages_newest_first(self, world: World) -> None:
        made = []
        for _ in range(5):
            time.sleep(0.002)  # identifiers of one millisecond are in no order
            made.append(world.audio().id)
        found, cursor, pages = [], None, 0
        while pages == 0 or cursor:
            query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
            page = world.call("GET", "/api/audio", query=query).json
            found += [item["audio_id"] for item in page["items"]]
            cursor, pages = page["cursor"], pages + 1
        assert found == made[::-1]
        assert pages == 3

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ({"limit": 0}, "limit"),
            ({"limit": 101}, "limit"),
            ({"limit": "many"}, "limit"),
            ({"cursor": "forged"}, "cursor"),
            ({"cursor": "x" * 201}, "cursor"),
        ],
    )
    @pytest.mark.parametrize("resource", ["/api/audio", "/api/generation"])
    def test_list_names_the_wrong_parameter(
        self, world: World, resource: str, query: Any, field: str
    ) -> None:
        problem = world.call("GET", resource, query=query).problem(422, "invalid_parameter")
        assert problem["field"] == field

    def test_content_comes_back(self, world: World) -> None:
        audio = world.claimed(b"RIFF\x00\xff sound")
        answer = world.call("GET", "/api/audio/{audio_id}/content", audio_id=audio.id)
        assert (answer.status, answer.body) == (200, b"RIFF\x00\xff sound")
        assert answer.headers["content-type"] == "audio/wav"
        assert "filename*=UTF-8''my%20s%C3%B6ng.wav" in answer.headers["content-disposition"]

    @pytest.mark.parametrize("name", hostile.NAMES.values(), ids=hostile.NAMES.keys())
    def test_content_under_a_name_that_nobody_should_send(self, world: World, name: str) -> None:
        audio = world.ready(filename=name)
        world.stack.s3.put_object(Bucket="music", Key=upload_key(audio.tenant, audio.id), Body=b"song")
        answer = world.call("GET", "/api/audio/{audio_id}/content", audio_id=audio.id)
        assert answer.status == 200
        disposition = answer.headers["content-disposition"]
        assert disposition.isascii()
        assert disposition.isprintable()
        assert disposition.startswith('attachment; filename="')
        assert len(disposition) < 8000
        for named in re.findall(r'filename="([^"]*)"', disposition):
            assert not re.search(r"[/\\]|^[.]+$", named)
        assert world.call("GET", "/api/audio/{audio_id}", audio_id=audio.id).json["filename"] == name

    def test_preview_and_analysis(self, world: World) -> None:
        audio = world.ready(filename="a song.aiff")
        document = {"audio_id": audio.id, "duration": 3.0, "peaks": [0.5], "beats": [], "chroma": {}}
        for key, body in (
            (preview_key(audio.tenant, audio.id, "0" * 16), b"mp3 of it"),
            (analysis_key(audio.tenant, audio.id, "0" * 16), json.dumps(document).encode()),
        ):
            world.stack.s3.put_object(Bucket="music", Key=key, Body=body)
        for kind in ("preview", "analysis"):
            resource = f"/api/audio/{{audio_id}}/{kind}"
            world.call("GET", resource, audio_id=audio.id).problem(404, "no_preview")
        assert "preview" not in world.call("GET", "/api/audio/{audio_id}", audio_id=audio.id).json["links"]
        derived = {"revision": "0" * 16, "preview": 9, "analysis": 100}
        world.records.items.move(
            Audio, audio.tenant, audio.id, leaving=("ready",), changes={"derived": derived}
        )
        links = world.call("GET", "/api/audio/{audio_id}", audio_id=audio.id).json["links"]
        assert links["preview"] == f"/dev/api/audio/{audio.id}/preview"
        assert links["play_preview"].startswith("https://")
        got = world.call(
            "GET", "/api/audio/{audio_id}/preview", audio_id=audio.id, headers={"Range": "bytes=0-2"}
        )
        assert (got.status, got.body, got.headers["content-type"]) == (206, b"mp3", "audio/mpeg")
        assert got.headers["content-disposition"] == 'attachment; filename="a song.mp3"'
        told = world.call("GET", "/api/audio/{audio_id}/analysis", audio_id=audio.id)
        assert told.json == document

    @pytest.mark.parametrize("kind", ["preview", "analysis"])
    def test_preview_of_what_is_not_embedded(self, world: World, kind: str) -> None:
        resource = f"/api/audio/{{audio_id}}/{kind}"
        answer = world.call("GET", resource, audio_id=world.claimed().id)
        answer.problem(409, "not_finished")
        assert answer.headers["retry-after"]
        world.call("GET", resource, audio_id=world.failed().id).problem(404, "no_preview")

    def test_content_before_the_upload(self, world: World) -> None:
        answer = world.call("GET", "/api/audio/{audio_id}/content", audio_id=world.audio().id)
        answer.problem(409, "awaiting_upload")
        assert int(answer.headers["retry-after"]) > 0

    def test_large_content_is_somewhere_else(self, world: World) -> None:
        audio = world.claimed(b"x" * (INLINE_BYTES + 1))
        answer = world.call("GET", "/api/audio/{audio_id}/content", audio_id=audio.id)
        assert (answer.status, answer.body) == (302, b"")
        assert upload_key(world.tenant, audio.id) in answer.headers["location"]
        assert "X-Amz-Signature" in answer.headers["location"]

    def test_delete_removes_everything(self, world: World) -> None:
        audio = world.ready()
        done, queued = world.finished(audio=audio), world.generation(audio)
        answer = world.call("DELETE", "/api/audio/{audio_id}", audio_id=audio.id)
        assert (answer.status, answer.body) == (204, b"")
        world.call("DELETE", "/api/audio/{audio_id}", audio_id=audio.id).problem(404, "not_found")
        for generation in (done, queued):
            resource = "/api/generation/{generation_id}"
            world.call("GET", resource, generation_id=generation.id).problem(404, "not_found")
        assert not [key for key in world.stack.objects() if f"/{world.tenant}/" in key]
        assert not [key for key in world.stack.vectors() if key.startswith(f"{world.tenant}/")]

    def test_delete_takes_bounded_time_and_shows_nothing_any_more(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("backend.purge.AT_ONCE", 2)
        limits = Limits(unfinished=100, worker_seconds_per_day=0, stored_bytes=10**9)
        audio = world.ready()
        made = [world.stack.submit(audio, limits=limits, format="wav").id for _ in range(60)]
        for generation_id in made:
            key = generated_key(world.tenant, generation_id, "wav")
            world.stack.s3.put_object(Bucket="music", Key=key, Body=b"music")
        world.stack.asked.clear()
        assert world.call("DELETE", "/api/audio/{audio_id}", audio_id=audio.id).status == 204
        assert len(world.stack.asked) < 50
        for generation_id in made:
            path = "/api/generation/{generation_id}"
            world.call("GET", path, generation_id=generation_id).problem(404, "not_found")
        assert world.call("GET", "/api/generation").json["items"] == []
        world.clock.now += RESEND_SECONDS + 1
        world.stack.sweep()
        assert not [key for key in world.stack.objects() if f"/{world.tenant}/" in key]
        assert world.records.usage.stored(world.tenant) == 0


class TestEmbedding:
    """Embeddings, and waiting for them."""

    def get(self, world: World, audio: Audio, **arguments: Any) -> Answer:
        return world.call("GET", "/api/embedding/{audio_id}", audio_id=audio.id, **arguments)

    def test_every_number_is_exact(self, world: World) -> None:
        audio = world.ready(unit(1))
        document = self.get(world, audio).json
        assert struct.pack(f"<{DIMENSION}f", *document["embedding"]) == audio.vector
        assert (document["status"], document["model"], document["dimension"]) == (
            "ready",
            "mir-512",
            DIMENSION,
        )
        assert document["revision"] == current_identity().revision
        assert (document["features"], document["tags"]) == (FEATURES, ["minor"])

    @pytest.mark.parametrize(
        ("make", "status"),
        [(lambda world: world.audio(), "awaiting_upload"), (lambda world: world.claimed(), "embedding")],
    )
    def test_pending(self, world: World, make: Callable[[World], Audio], status: str) -> None:
        audio = make(world)
        answer = self.get(world, audio, query={"wait": 0})
        assert answer.status == 202
        assert (answer.json["status"], answer.json["audio_id"]) == (status, audio.id)
        assert int(answer.headers["retry-after"]) > 0
        assert answer.headers["location"] == f"/dev/api/embedding/{audio.id}"

    def test_failed(self, world: World) -> None:
        answer = self.get(world, world.failed())
        problem = answer.problem(409, "embedding_failed")
        assert (problem["reason"], problem["detail"]) == ("undecodable", "This is not audio.")
        assert "retry-after" not in answer.headers

    def test_stale(self, world: World) -> None:
        audio = world.ready(revision="of yore")
        problem = self.get(world, audio).problem(409, "stale_embedding")
        assert "of yore" in problem["detail"]
        assert problem["links"]["embed"] == f"/dev/api/audio/{audio.id}/embed"

    @pytest.mark.parametrize(("revision", "pipeline"), BEFORE)
    def test_a_record_of_an_analysis_before_is_stale_and_can_be_made_anew(
        self, world: World, revision: str, pipeline: str
    ) -> None:
        audio = world.ready(identity=replace(profiles.MIR_512, revision=revision, pipeline=pipeline))
        assert (audio.identity or {}) != asdict(current_identity())
        record = world.call("GET", "/api/audio/{audio_id}", audio_id=audio.id)
        assert (record.status, record.json["status"], record.json["tags"]) == (200, "ready", ["minor"])
        assert [item["audio_id"] for item in world.call("GET", "/api/audio").json["items"]] == [audio.id]
        problem = self.get(world, audio).problem(409, "stale_embedding")
        assert f"{revision}/{pipeline}" in problem["detail"]
        generate = world.call("POST", "/api/generate/{audio_id}", audio_id=audio.id, body={"duration": 5})
        generate.problem(409, "stale_embedding")
        world.messages("embed")
        assert world.call("POST", "/api/audio/{audio_id}/embed", audio_id=audio.id).status == 202
        assert len(world.messages("embed")) == 1

    @pytest.mark.parametrize("wait", [-1, 25.1, "long", "nan", "inf"])
    def test_wait_is_never_clamped(self, world: World, wait: Any) -> None:
        answer = self.get(world, world.audio(), query={"wait": wait})
        assert answer.problem(422, "invalid_parameter")["field"] == "wait"

    @pytest.fixture
    def sleeps(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        """Lets time pass at once; the list holds how much."""
        slept: list[float] = []
        monkeypatch.setattr("backend.api.time.sleep", slept.append)
        monkeypatch.setattr("backend.api.time.monotonic", lambda: sum(slept))
        return slept

    def test_waits_for_twenty_seconds(self, world: World, sleeps: list[float]) -> None:
        assert self.get(world, world.audio()).status == 202
        assert sum(sleeps) == pytest.approx(20)

    def test_never_waits_past_the_end_of_the_function(self, world: World, sleeps: list[float]) -> None:
        assert self.get(world, world.audio(), left=7.0).status == 202
        assert 4 < sum(sleeps) <= 6
        assert self.get(world, world.audio(), left=0.5).status == 202

    def test_answers_as_soon_as_it_is_ready(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        audio, slept = world.claimed(), []

        def finish(seconds: float) -> None:
            slept.append(seconds)
            vector = unit(2).astype("<f4").tobytes()
            world.records.finish_audio(
                audio, vector=vector, identity=asdict(current_identity()), features=FEATURES, tags=[]
            )

        monkeypatch.setattr("backend.api.time.sleep", finish)
        assert self.get(world, audio).status == 200
        assert len(slept) == 1

    def test_again(self, world: World) -> None:
        audio = world.ready(revision="of yore")
        world.messages("embed")
        answer = world.call("POST", "/api/audio/{audio_id}/embed", audio_id=audio.id)
        assert (answer.status, answer.json["status"]) == (202, "uploaded")
        (message,) = world.messages("embed")
        assert message["audio_id"] == audio.id
        assert message["correlation_id"] == answer.headers["x-correlation-id"]
        # Asked twice, sent once.
        assert world.call("POST", "/api/audio/{audio_id}/embed", audio_id=audio.id).status == 202
        assert world.messages("embed") == []

    def test_again_at_once_is_too_soon(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(world.app.embedding, "limits", Limits(9, 10**6, 10**9))
        audio = world.ready()
        arguments = {"resource": "/api/audio/{audio_id}/embed", "audio_id": audio.id}
        world.clock.now += COOL_DOWN_SECONDS - 30
        refused = world.call("POST", **arguments)
        refused.problem(429, "embedded_just_now")
        assert 30 <= int(refused.headers["retry-after"]) <= 31
        assert world.messages("embed") == []
        world.clock.now += int(refused.headers["retry-after"])
        assert world.call("POST", **arguments).status == 202
        # Another model's embedding may be replaced at once.
        stale = world.ready(revision="of yore")
        assert world.call("POST", arguments["resource"], audio_id=stale.id).status == 202

    def test_again_is_charged(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        cost = world.app.embedding.costs.embedding(3.0).seconds
        limit = math.ceil(cost)
        monkeypatch.setattr(world.app.embedding, "limits", Limits(100, limit, 10**9))
        fit = int(limit / cost)
        for status in (*[202] * fit, 429):
            audio = world.ready(revision="of yore")
            answer = world.call("POST", "/api/audio/{audio_id}/embed", audio_id=audio.id)
            assert answer.status == status
        answer.problem(429, "daily_limit")
        assert world.records.usage.charged(world.tenant) == pytest.approx(fit * cost, abs=1e-3)

    def test_again_without_a_source(self, world: World) -> None:
        resource = "/api/audio/{audio_id}/embed"
        world.call("POST", resource, audio_id=world.audio().id).problem(409, "awaiting_upload")
        world.call("POST", resource, audio_id=world.failed().id).problem(409, "embedding_failed")


class TestSimilar:
    """Neighbours."""

    def get(self, world: World, audio: Audio, **query: Any) -> Answer:
        return world.call("GET", "/api/similar/{audio_id}", audio_id=audio.id, query=query)

    def test_best_first_and_never_itself(self, world: World) -> None:
        own = unit(3)
        others = [own * np.sqrt(1 - d) + unit(10 + i) * np.sqrt(d) for i, d in enumerate((0.5, 0.1, 0.3))]
        audio = world.ready(own)
        made = [
            world.ready(vector / np.linalg.norm(vector), filename=f"{i}.wav")
            for i, vector in enumerate(others)
        ]
        results = self.get(world, audio).json["results"]
        assert [found["audio_id"] for found in results] == [made[1].id, made[2].id, made[0].id]
        expected = [float(own @ other / np.linalg.norm(other)) for other in others]
        assert [found["score"] for found in results] == pytest.approx(
            [expected[1], expected[2], expected[0]], abs=2e-6
        )
        assert results[0]["filename"] == "1.wav"
        assert len(self.get(world, audio, k=1).json["results"]) == 1

    def test_neighbours_are_read_together(self, world: World) -> None:
        """One after another, a hundred of them took a second."""
        audio, *_ = [world.ready(unit(3)) for _ in range(8)]
        world.stack.asked.clear()
        assert len(self.get(world, audio, k=100).json["results"]) == 7
        assert world.stack.asked.count("GetItem") <= 2  # of the track itself
        assert world.stack.asked.count("BatchGetItem") == 1

    def test_only_ones_own_and_comparable(self, world: World, deployment: Stack) -> None:
        other = World(deployment)
        other.ready(unit(4))
        audio = world.ready(unit(4))
        world.ready(unit(4), revision="of yore")
        gone = world.ready(unit(4))
        world.records.bury(gone)
        assert self.get(world, audio).json == {"results": []}

    def test_distinct_shows_each_content_once(self, world: World) -> None:
        audio = world.ready(unit(3), sha256="a")
        world.ready(unit(3), sha256="a", filename="a copy of it.wav")
        near = unit(3) + unit(4) * 0.1
        first = world.ready(near / np.linalg.norm(near), sha256="b")
        world.ready(near / np.linalg.norm(near), sha256="b")
        far = world.ready(unit(5), sha256="c")
        assert len(self.get(world, audio).json["results"]) == 4
        results = self.get(world, audio, distinct="true").json["results"]
        assert len(results) == 2
        assert results[1]["audio_id"] == far.id
        assert results[0]["score"] == pytest.approx(float(unit(3) @ (near / np.linalg.norm(near))), abs=1e-5)
        assert first.sha256 == "b"
        (nearest,) = self.get(world, audio, distinct="true", k=1).json["results"]
        assert nearest == results[0]
        problem = self.get(world, audio, distinct="perhaps").problem(422, "invalid_parameter")
        assert problem["field"] == "distinct"

    def test_distinct_looks_behind_copies_in_so_many_queries(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(indexed, "MAX_RESULTS", 2)
        audio, *_ = [world.ready(unit(3), sha256="a") for _ in range(6)]
        other = world.ready(unit(4), sha256="b")
        (found,) = self.get(world, audio, distinct="true").json["results"]
        assert found["audio_id"] == other.id
        monkeypatch.setattr(indexed, "MAX_QUERIES", 2)
        assert self.get(world, audio, distinct="true").json["results"] == []

    @pytest.mark.parametrize("k", [0, 101, "all"])
    def test_k(self, world: World, k: Any) -> None:
        assert self.get(world, world.ready(), k=k).problem(422, "invalid_parameter")["field"] == "k"

    def test_not_yet_or_never(self, world: World) -> None:
        self.get(world, world.audio()).problem(409, "awaiting_upload")
        self.get(world, world.claimed()).problem(409, "not_finished")
        self.get(world, world.failed()).problem(409, "embedding_failed")
        self.get(world, world.ready(revision="of yore")).problem(409, "stale_embedding")


class TestGenerate:
    """Requests for music."""

    def post(self, world: World, audio: Audio, body: Any = None, **arguments: Any) -> Answer:
        return world.call("POST", "/api/generate/{audio_id}", audio_id=audio.id, body=body, **arguments)

    def test_of_a_ready_audio_is_queued(self, world: World) -> None:
        answer = self.post(world, world.ready(), {"duration": 30, "temperature": 0.8})
        assert (answer.status, answer.json["status"]) == (202, "queued")
        generation_id = answer.json["generation_id"]
        assert answer.headers["location"] == f"/dev/api/generation/{generation_id}"
        (message,) = world.messages("generate")
        assert message["generation_id"] == generation_id
        assert message["correlation_id"] == answer.headers["x-correlation-id"]

    @pytest.mark.parametrize("make", [lambda world: world.audio(), lambda world: world.claimed()])
    def test_of_a_pending_audio_waits(self, world: World, make: Callable[[World], Audio]) -> None:
        answer = self.post(world, make(world), {})
        assert (answer.status, answer.json["status"]) == (202, "waiting")
        assert world.messages("generate") == []

    def test_defaults(self, world: World) -> None:
        parameters = self.post(world, world.ready()).json["parameters"]
        seed = parameters.pop("seed")
        assert isinstance(seed, int)
        assert parameters == {
            "duration": 30,
            "temperature": 1.0,
            "top_k": 250,
            "top_p": 0,
            "guidance_scale": 3.0,
            "prompt": None,
            "negative_prompt": None,
            "mode": "similar",
            "candidates": 1,
            "format": "wav",
            "section": None,
            "ending": None,
            "loop": False,
            "bars": None,
            "sample_rate": 32000,
            "bit_depth": 16,
            "tempo": None,
            "key": None,
            "before": False,
            "region": None,
        }

    def test_a_seed_is_kept_and_none_is_drawn(self, world: World) -> None:
        audio = world.ready()
        assert self.post(world, audio, {"seed": 7}).json["parameters"]["seed"] == 7
        drawn = {self.post(world, audio, {"seed": None}).json["parameters"]["seed"] for _ in range(4)}
        assert len(drawn) == 4

    @pytest.mark.parametrize(
        ("name", "good", "bad"),
        [
            ("duration", [1, 300, 1.5], [0.99, 300.1, "30", None, True]),
            ("temperature", [0.05, 2.0, 1], [0.04, 2.01, "hot"]),
            ("top_k", [0, 2048], [-1, 2049, 1.5]),
            ("top_p", [0, 1, 0.5], [-0.1, 1.1]),
            ("guidance_scale", [1, 10], [0.9, 10.1]),
            ("seed", [0, 2**53 - 1], [-1, 2**53, 0.5, "1"]),
            ("candidates", [1, 8], [0, 9]),
            ("format", ["wav", "flac", "mp3", "ogg"], ["aac", "WAV", None]),
            ("mode", ["similar", "extend"], ["remix", None]),
            ("sample_rate", [32000, 44100, 48000, "source"], [22050, 96000, "48000", None]),
            ("bit_depth", [16, 24], [8, 32, "24", None]),
            ("ending", [None, "natural", "fade", "cut"], ["abrupt", 1]),
            ("prompt", [None], ["", 5, "x" * 1001]),
            ("negative_prompt", [None], ["", 5, "x" * 1001]),
            ("tempo", [None, 120, 96.5, 150], [29.9, 301, "120", True]),
            ("key", [None, "C minor", "F# minor"], ["C", "Cb major", "c major", "C Major", 1]),
            ("volume", [], [1]),
        ],
    )
    def test_ranges(self, world: World, name: str, good: list[Any], bad: list[Any]) -> None:
        audio = world.ready()
        for value in good:
            answer = self.post(world, audio, {name: value})
            assert answer.status == 202, answer.body
            assert answer.json["parameters"][name] == value or (name == "seed" and value is None)
        for value in bad:
            problem = self.post(world, audio, {name: value}).problem(422, "invalid_parameter")
            assert problem["field"] == name
            assert name in problem["detail"]

    def test_a_section_is_a_second_at_least_and_inside_the_track(self, world: World) -> None:
        audio = world.ready()
        length = (audio.features or {})["duration"]
        for end in (length, length + 0.04):  # durations are shown rounded
            section = {"start": length - 1.5, "end": end}
            answer = self.post(world, audio, {"section": section})
            assert answer.status == 202, answer.body
            assert answer.json["parameters"]["section"] == section
        for bad in (
            {"start": 2, "end": 2.9},
            {"start": 3, "end": 2},
            {"start": -1, "end": 2},
            {"start": 0},
            {"start": 0, "end": "2"},
            {"start": 0, "end": 2, "fade": 1},
            [0, 2],
        ):
            problem = self.post(world, audio, {"section": bad}).problem(422, "invalid_parameter")
            assert problem["field"].split(".")[0] == "section"
        beyond = {"start": length - 1, "end": length + 0.1}
        problem = self.post(world, audio, {"section": beyond}).problem(422, "section_out_of_range")
        assert problem["field"] == "section"

    def test_a_key_may_be_named_in_flats(self, world: World) -> None:
        audio = world.ready(features={**FEATURES, "key": "D", "mode": "minor"})
        for asked, key in {"Bb minor": "A# minor", "Eb minor": "D# minor", "F# minor": "F# minor"}.items():
            answer = self.post(world, audio, {"key": asked})
            assert answer.status == 202, answer.body
            assert answer.json["parameters"]["key"] == key
        for wrong in ("Hb minor", "Fb minor", "Bb", "bb minor", "Bb  minor", 5, ["Bb minor"]):
            assert self.post(world, audio, {"key": wrong}).problem(422, "invalid_parameter")["field"] == "key"

    def test_a_loop_has_bars_and_nothing_that_contradicts_it(self, world: World) -> None:
        audio = world.ready(features={**FEATURES, "meter": "4/4", "bars": [0.5, 2.5, 4.5]})
        for format in ("wav", "flac", "ogg"):
            answer = self.post(world, audio, {"loop": True, "bars": 8, "format": format})
            assert answer.status == 202, answer.body
            assert answer.json["parameters"]["duration"] == 16.0
        for field, body in {
            "bars": {"loop": True},
            "duration": {"loop": True, "bars": 4, "duration": 30},
            "ending": {"loop": True, "bars": 4, "ending": "fade"},
            "format": {"loop": True, "bars": 4, "format": "mp3"},
        }.items():
            assert self.post(world, audio, body).problem(422, "invalid_parameter")["field"] == field
        assert self.post(world, audio, {"bars": 4}).problem(422, "invalid_parameter")["field"] == "bars"
        for bars in (0, 65, 1.5, "4"):
            self.post(world, audio, {"loop": True, "bars": bars}).problem(422, "invalid_parameter")

    @pytest.mark.parametrize("format", ["mp3", "ogg"])
    def test_what_has_no_bits_has_no_depth(self, world: World, format: str) -> None:
        body = {"format": format, "bit_depth": 24}
        problem = self.post(world, world.ready(), body).problem(422, "invalid_parameter")
        assert problem["field"] == "bit_depth"

    def test_a_loop_needs_a_track_with_bars(self, world: World) -> None:
        problem = self.post(world, world.ready(), {"loop": True, "bars": 4}).problem(422, "no_bars")
        assert problem["field"] == "loop"
        assert self.post(world, world.claimed(), {"loop": True, "bars": 4}).status == 202
        slow = world.ready(features={**FEATURES, "meter": "4/4", "bars": [0.0, 5.0, 10.0]})
        assert self.post(world, slow, {"loop": True, "bars": 60}).status == 202
        problem = self.post(world, slow, {"loop": True, "bars": 61}).problem(422, "loop_too_long")
        assert problem["field"] == "bars"

    @pytest.mark.parametrize("shorter", [{"tempo": 60.0}, {"section": {"start": 0.0, "end": 3.0}}])
    def test_a_loop_whose_bars_may_turn_out_shorter_is_one_that_the_job_makes(
        self, world: World, shorter: dict[str, Any]
    ) -> None:
        """Bars of the track last 5 s; the job knows those of the section, and plays faster if asked to."""
        slow = world.ready(features={**FEATURES, "tempo": 48.0, "meter": "4/4", "bars": [0.0, 5.0, 10.0]})
        answer = self.post(world, slow, {"loop": True, "bars": 64, **shorter})
        assert answer.status == 202, answer.body
        longest = profiles.LENGTHS["lambda"]["builtin"].piece
        assert answer.json["parameters"]["duration"] == longest < 64 * 5.0

    @pytest.mark.parametrize(
        ("field", "body"),
        [
            ("region", {"mode": "repaint"}),
            ("region", {"region": {"start": 0, "end": 2}}),
            ("region", {"mode": "repaint", "region": {"start": 1, "end": 1.5}}),
            ("before", {"before": True}),
            ("ending", {"mode": "extend", "before": True, "ending": "fade"}),
            ("tempo", {"mode": "extend", "tempo": 120}),
            ("key", {"mode": "extend", "key": "A minor"}),
            ("loop", {"mode": "extend", "loop": True, "bars": 4}),
            ("sample_rate", {"sample_rate": "source", "format": "mp3"}),
            *(
                (name, {"mode": "repaint", "region": {"start": 0, "end": 2}, name: value})
                for name, value in {
                    "duration": 4, "ending": "cut", "tempo": 120, "key": "A minor", "sample_rate": 48000,
                    "section": {"start": 0, "end": 3}, "format": "mp3", "before": True,
                }.items()
            ),
        ],
    )  # fmt: skip
    def test_what_contradicts_a_mode(self, world: World, field: str, body: Any) -> None:
        problem = self.post(world, world.ready(), body).problem(422, "invalid_parameter")
        assert problem["field"].split(".")[0] == field

    def test_a_region_lies_inside_the_track_and_says_how_long_is_made(self, world: World) -> None:
        audio = world.ready()
        body = {"mode": "repaint", "region": {"start": 1, "end": 2.5}, "format": "flac"}
        answer = self.post(world, audio, body)
        assert answer.status == 202, answer.body
        assert answer.json["parameters"]["duration"] == 1.5
        body["region"] = {"start": 1, "end": 3.5}
        problem = self.post(world, audio, body).problem(422, "region_out_of_range")
        assert problem["field"] == "region"

    def test_track_and_extension_last_ten_minutes_at_most(self, world: World) -> None:
        audio = world.ready(features={**FEATURES, "duration": 400.0})
        body: dict[str, Any] = {"mode": "extend", "duration": 201}
        assert self.post(world, audio, body).problem(422, "too_long")["field"] == "duration"
        assert self.post(world, audio, {**body, "duration": 200}).status == 202
        assert self.post(world, audio, {**body, "section": {"start": 5, "end": 100}}).status == 202

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"mode": "repaint", "region": {"start": 0, "end": 2}}, "mode"),
            ({"mode": "extend", "before": True}, "before"),
            ({"sample_rate": "source"}, "sample_rate"),
        ],
    )
    def test_a_neural_profile_refuses_what_only_copies_can(
        self, world: World, monkeypatch: pytest.MonkeyPatch, body: Any, field: str
    ) -> None:
        routes = world.app.generation
        monkeypatch.setattr(routes, "settings", replace(routes.settings, profile="small"))
        problem = self.post(world, world.ready(), body).problem(409, "unsupported_by_profile")
        assert (problem["field"], problem["profiles"]) == (field, ["builtin"])

    def test_what_tempo_and_key_are_in_reach(self, world: World) -> None:
        audio = world.ready(features={**FEATURES, "tempo": 120.0, "key": "A", "mode": "minor"})
        for tempo in (95.9, 150.1):
            problem = self.post(world, audio, {"tempo": tempo}).problem(422, "tempo_out_of_reach")
            assert problem["field"] == "tempo"
            assert "96.00 to 150.00" in problem["detail"]
        problem = self.post(world, audio, {"key": "C major"}).problem(422, "key_out_of_reach")
        assert problem["field"] == "key"
        assert "D# minor" in problem["detail"]
        assert self.post(world, audio, {"key": "D# minor", "tempo": 96}).status == 202
        plain = world.ready(features={**FEATURES, "tempo": 0.0, "key": None, "mode": None})
        assert self.post(world, plain, {"tempo": 100}).problem(422, "no_tempo")["field"] == "tempo"
        assert self.post(world, plain, {"key": "C major"}).problem(422, "no_key")["field"] == "key"
        assert self.post(world, world.claimed(), {"tempo": 40, "key": "C major"}).status == 202

    def test_what_is_in_reach_of_a_section_is_its_jobs_to_say(self, world: World) -> None:
        audio = world.ready(features={**FEATURES, "tempo": 120.0, "key": "A", "mode": "major", "bars": None})
        for body, code in (
            ({"key": "C minor"}, "key_out_of_reach"),
            ({"tempo": 84}, "tempo_out_of_reach"),
            ({"loop": True, "bars": 4}, "no_bars"),
        ):
            self.post(world, audio, body).problem(422, code)
            answer = self.post(world, audio, {**body, "section": {"start": 1, "end": 3}})
            assert answer.status == 202, answer.body

    def test_a_neural_profile_takes_any_tempo_and_key(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        routes = world.app.generation
        monkeypatch.setattr(routes, "settings", replace(routes.settings, profile="small"))
        monkeypatch.setattr(routes, "current_vector", lambda audio: None)
        assert self.post(world, world.ready(), {"tempo": 300, "key": "C minor"}).status == 202

    def test_keys_are_those_that_are_measured(self) -> None:
        assert get_args(contract.Key) == reach.KEYS

    def test_a_section_of_a_track_that_is_not_known_yet_is_taken(self, world: World) -> None:
        answer = self.post(world, world.claimed(), {"section": {"start": 800, "end": 900}})
        assert answer.status == 202, answer.body

    @pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
    def test_what_is_no_number_is_no_json(self, world: World, value: str) -> None:
        answer = self.post(world, world.ready(), f'{{"duration": {value}}}')
        answer.problem(400, "invalid_body")

    def test_a_whole_number_may_have_a_point(self, world: World) -> None:
        answer = self.post(world, world.ready(), '{"duration": 2.0, "top_k": 40.0, "candidates": 1.0}')
        assert answer.status == 202, answer.body
        assert answer.json["parameters"]["top_k"] == 40

    @pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=x", "text/plain"])
    def test_a_body_is_json_whatever_it_is_called(self, world: World, kind: str) -> None:
        audio, headers = world.ready(), {"Content-Type": kind}
        assert self.post(world, audio, '{"duration": 2}', headers=headers).status == 202
        self.post(world, audio, "--x\r\n", headers=headers).problem(400, "invalid_body")

    @pytest.mark.parametrize("body", ["nonsense", "[]", "7", '"text"', "null"])
    def test_no_object(self, world: World, body: str) -> None:
        self.post(world, world.ready(), body).problem(400, "invalid_body")

    @pytest.mark.parametrize(
        ("body", "field", "able"),
        [
            ({"mode": "melody"}, "mode", "melody"),
            ({"prompt": "calm"}, "prompt", "small"),
            ({"negative_prompt": "drums"}, "negative_prompt", "small"),
        ],
    )
    def test_what_the_profile_cannot(self, world: World, body: Any, field: str, able: str) -> None:
        problem = self.post(world, world.ready(), body).problem(409, "unsupported_by_profile")
        assert problem["field"] == field
        assert able in problem["profiles"]

    def test_a_neural_profile_refuses_a_natural_ending_by_name(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        routes = world.app.generation
        monkeypatch.setattr(routes, "settings", replace(routes.settings, profile="small"))
        problem = self.post(world, world.ready(), {"ending": "natural"}).problem(
            409, "unsupported_by_profile"
        )
        assert (problem["field"], problem["profiles"]) == ("ending", ["builtin"])

    def test_a_negative_prompt_needs_guidance(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        routes = world.app.generation
        monkeypatch.setattr(routes, "settings", replace(routes.settings, profile="small"))
        monkeypatch.setattr(routes, "current_vector", lambda audio: None)
        body = {"negative_prompt": "drums", "guidance_scale": 1.0}
        problem = self.post(world, world.ready(), body).problem(422, "invalid_parameter")
        assert problem["field"] == "negative_prompt"
        assert self.post(world, world.ready(), {"negative_prompt": "drums"}).status == 202

    def test_a_neural_profile_refuses_other_rates_by_name(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        routes = world.app.generation
        monkeypatch.setattr(routes, "settings", replace(routes.settings, profile="small"))
        problem = self.post(world, world.ready(), {"sample_rate": 48000}).problem(
            409, "unsupported_by_profile"
        )
        assert (problem["field"], problem["profiles"]) == ("sample_rate", ["builtin"])

    def test_a_neural_profile_refuses_a_loop_by_name(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        routes = world.app.generation
        monkeypatch.setattr(routes, "settings", replace(routes.settings, profile="small"))
        problem = self.post(world, world.ready(), {"loop": True, "bars": 4}).problem(
            409, "unsupported_by_profile"
        )
        assert (problem["field"], problem["profiles"]) == ("loop", ["builtin"])

    @pytest.mark.parametrize(
        ("body", "field"),
        [({"duration": 300}, "duration"), ({"duration": 60, "candidates": 8}, "candidates")],
    )
    def test_how_long_a_piece_may_be_follows_from_profile_and_host(
        self, world: World, monkeypatch: pytest.MonkeyPatch, body: dict[str, Any], field: str
    ) -> None:
        routes = world.app.generation
        monkeypatch.setattr(routes, "current_vector", lambda audio: None)
        on_lambda = replace(routes.settings, profile="large", generate_host="lambda")
        monkeypatch.setattr(routes, "settings", on_lambda)
        problem = self.post(world, world.ready(), body).problem(409, "unsupported_by_profile")
        assert problem["field"] == field
        assert "builtin" in problem["profiles"]
        assert "large" not in problem["profiles"]
        monkeypatch.setattr(routes, "settings", replace(on_lambda, generate_host="sagemaker"))
        assert self.post(world, world.ready(), body).status == 202

    def test_of_a_failed_or_stale_audio(self, world: World) -> None:
        self.post(world, world.failed(), {}).problem(409, "embedding_failed")
        self.post(world, world.ready(revision="of yore"), {}).problem(409, "stale_embedding")
        assert world.messages("generate") == []

    def test_a_key_makes_it_safe_to_repeat(self, world: World) -> None:
        audio, headers = world.ready(), {"Idempotency-Key": "k1"}
        first = self.post(world, audio, {"duration": 5}, headers=headers)
        world.clock.now += 60
        again = self.post(world, audio, {"duration": 5}, headers=headers)
        assert again.json["generation_id"] == first.json["generation_id"]
        assert again.json["parameters"] == first.json["parameters"]
        assert again.headers["idempotent-replayed"] == "true"
        assert "idempotent-replayed" not in first.headers
        assert len(world.messages("generate")) == 1
        # The same key for something else is a mistake; for somebody else it is another key.
        problem = self.post(world, audio, {"duration": 6}, headers=headers).problem(
            422, "idempotency_mismatch"
        )
        assert problem["field"] == "Idempotency-Key"
        assert self.post(world, audio, {"duration": 5}, headers={"Idempotency-Key": "k2"}).status == 202

    def test_a_key_repeats_the_first_answer_whatever_became_of_the_audio(self, world: World) -> None:
        audio, headers = world.ready(), {"Idempotency-Key": "k1"}
        first = self.post(world, audio, {"duration": 5}, headers=headers)
        # The audio's embedding becomes stale, and then it fails altogether: new requests are refused.
        world.records.embed_again(audio.tenant, audio.id)
        claimed = world.records.claim_audio(audio.tenant, audio.id)
        world.records.finish_audio(
            claimed,
            vector=audio.vector or b"",
            identity={**(audio.identity or {}), "revision": "of yore"},
            features=FEATURES,
            tags=[],
        )
        self.post(world, audio, {"duration": 5}).problem(409, "stale_embedding")
        again = self.post(world, audio, {"duration": 5}, headers=headers)
        assert (again.status, again.json["generation_id"]) == (202, first.json["generation_id"])
        world.records.embed_again(audio.tenant, audio.id)
        claimed = world.records.claim_audio(audio.tenant, audio.id)
        world.records.fail_audio(claimed, "undecodable", "This is not audio.")
        self.post(world, audio, {"duration": 5}).problem(409, "embedding_failed")
        again = self.post(world, audio, {"duration": 5}, headers=headers)
        assert (again.status, again.json["generation_id"]) == (202, first.json["generation_id"])
        assert again.headers["idempotent-replayed"] == "true"
        self.post(world, audio, {"duration": 6}, headers=headers).problem(422, "idempotency_mismatch")

    def test_a_key_has_to_be_sensible(self, world: World) -> None:
        answer = self.post(world, world.ready(), {}, headers={"Idempotency-Key": "x" * 256})
        assert answer.problem(422, "invalid_parameter")["field"].lower() == "idempotency-key"

    def test_not_too_many_may_wait(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("backend.records.moves.MAX_WAITING", 3)
        audio = world.audio()
        for _ in range(3):
            assert self.post(world, audio, {}).status == 202
        answer = self.post(world, audio, {})
        answer.problem(429, "too_many_waiting")
        assert int(answer.headers["retry-after"]) > 0

    def test_a_message_is_sent_only_in_turn(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(world.app.generation, "limits", Limits(9, 10**6, 10**9, running=2))
        audio = world.ready()
        made = [self.post(world, audio, {"duration": 10}).json["generation_id"] for _ in range(4)]
        assert [body["generation_id"] for body in world.messages("generate")] == made[:2]

    @pytest.mark.parametrize("most", [2, 30])
    def test_a_refusal_costs_about_what_an_acceptance_does(
        self, most: int, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(world.app.generation, "limits", Limits(most, 10**6, 10**9))
        audio = world.ready()
        for _ in range(most):
            assert self.post(world, audio, {}).status == 202
        world.stack.asked.clear()
        self.post(world, audio, {}).problem(429, "too_many_unfinished")
        assert len(world.stack.asked) <= 7

    def test_a_tenant_has_limits(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        costs = world.app.generation.costs
        of_ten = costs.generation(3.0, 10, 1).seconds
        of_eighty = costs.generation(3.0, 40, 2).seconds
        day = math.ceil(of_ten + MIN_CHARGE_SECONDS + of_eighty)
        monkeypatch.setattr(world.app.generation, "limits", Limits(2, day, 10**9))
        audio = world.ready()
        made = [self.post(world, audio, {"duration": 10}).json["generation_id"] for _ in range(2)]
        refused = self.post(world, audio, {"duration": 10})
        refused.problem(429, "too_many_unfinished")
        assert int(refused.headers["retry-after"]) > 0
        world.records.cancel_generation(world.tenant, made[0])
        assert self.post(world, audio, {"duration": 40, "candidates": 2}).status == 202
        refused = self.post(world, audio, {"duration": 300})
        detail = refused.problem(429, "daily_limit")["detail"]
        assert "for each of 3 s of the source" in detail
        assert "for each of 300 s of music, times 1" in detail
        assert 0 < int(refused.headers["retry-after"]) <= 86400


class TestGeneration:
    """Records, lists, cancelling."""

    def test_record_of_a_success_has_the_report(self, world: World) -> None:
        generation = world.finished()
        answer = world.call("GET", "/api/generation/{generation_id}", generation_id=generation.id)
        assert answer.status == 200
        assert answer.json["engine"] == "mosaic"
        assert answer.json["similarity"] == {"embedding": 0.9}
        assert answer.json["links"]["download"] == f"/dev/api/download/{generation.id}"
        assert "retry-after" not in answer.headers

    def test_record_of_what_is_to_come(self, world: World) -> None:
        generation = world.generation()
        answer = world.call("GET", "/api/generation/{generation_id}", generation_id=generation.id)
        assert (answer.status, answer.json["status"]) == (200, "queued")
        assert int(answer.headers["retry-after"]) > 0

    def test_list_of_one_audio(self, world: World) -> None:
        audio = world.ready()
        mine, other = world.generation(audio), world.generation()
        everything = world.call("GET", "/api/generation").json["items"]
        assert {item["generation_id"] for item in everything} == {mine.id, other.id}
        listed = world.call("GET", "/api/generation", query={"audio_id": audio.id}).json["items"]
        assert [item["generation_id"] for item in listed] == [mine.id]
        assert world.call("GET", "/api/generation", query={"audio_id": NOBODY}).json["items"] == []

    def test_delete_cancels_and_then_removes(self, world: World) -> None:
        generation = world.generation()
        resource, parameters = "/api/generation/{generation_id}", {"generation_id": generation.id}
        answer = world.call("DELETE", resource, **parameters)
        assert (answer.status, answer.json["status"]) == (202, "cancelled")
        assert world.call("DELETE", resource, **parameters).status == 204
        world.call("GET", resource, **parameters).problem(404, "not_found")

    def test_delete_removes_what_is_finished(self, world: World) -> None:
        generation = world.finished()
        answer = world.call("DELETE", "/api/generation/{generation_id}", generation_id=generation.id)
        assert answer.status == 204
        assert generated_key(world.tenant, generation.id, "wav") not in world.stack.objects()


class TestDownload:
    """The audio itself."""

    def get(self, world: World, generation: Generation, **query: Any) -> Answer:
        resource = "/api/download/{generation_id}"
        return world.call("GET", resource, generation_id=generation.id, query={"wait": 0, **query})

    @pytest.mark.parametrize(
        ("extension", "content_type"),
        [("wav", "audio/wav"), ("flac", "audio/flac"), ("mp3", "audio/mpeg"), ("ogg", "audio/ogg")],
    )
    def test_inline(self, world: World, extension: str, content_type: str) -> None:
        generation = world.finished(bytes(range(256)), format=extension)
        answer = self.get(world, generation)
        assert (answer.status, answer.body) == (200, bytes(range(256)))
        assert answer.headers["content-type"] == content_type
        disposition = answer.headers["content-disposition"]
        assert f"my%20s%C3%B6ng-{generation.id[-7:]}.{extension}" in disposition

    def test_thirty_seconds_of_stereo_are_inline(self, world: World) -> None:
        answer = self.get(world, world.finished(b"x" * (44 + 30 * 32000 * 4)))
        assert answer.status == 200
        answer = self.get(world, world.finished(b"x" * INLINE_BYTES))
        assert (answer.status, len(answer.body)) == (200, INLINE_BYTES)

    def test_larger_is_somewhere_else(self, world: World) -> None:
        generation = world.finished(b"x" * (INLINE_BYTES + 1))
        answer = self.get(world, generation)
        assert (answer.status, answer.body) == (302, b"")
        assert generated_key(world.tenant, generation.id, "wav") in answer.headers["location"]
        assert "response-content-disposition" in answer.headers["location"]

    def test_another_format_has_another_address(self, world: World) -> None:
        old = world.finished(b"RIFF", format="wav")
        self.get(world, old, format="mp3").problem(410, "expired")
        generation = world.finished(b"RIFF", format="wav", chosen=3)
        assert self.get(world, generation, format="wav").body == b"RIFF"
        for format in ("flac", "mp3", "ogg"):
            answer = self.get(world, generation, format=format)
            assert (answer.status, answer.body) == (302, b"")
            where = f"/dev/api/download/{generation.id}/3?format={format}"
            assert answer.headers["location"] == where
        for format in ("aac", "WAV", ""):
            problem = self.get(world, generation, format=format).problem(422, "invalid_parameter")
            assert problem["field"] == "format"

    def test_unfinished(self, world: World) -> None:
        answer = self.get(world, world.generation())
        problem = answer.problem(409, "not_finished")
        assert problem["progress"] == 0.0
        assert int(answer.headers["retry-after"]) > 0

    def test_failed_or_cancelled(self, world: World) -> None:
        failed = world.generation()
        claimed = world.records.claim_generation(world.tenant, failed.id)
        world.records.fail_generation(claimed, "timed_out", "It took too long.")
        answer = self.get(world, failed)
        assert answer.problem(409, "timed_out")["detail"] == "It took too long."
        assert "retry-after" not in answer.headers
        cancelled = world.generation()
        world.records.cancel_generation(world.tenant, cancelled.id)
        answer = self.get(world, cancelled)
        answer.problem(409, "cancelled")
        assert "retry-after" not in answer.headers

    def test_object_lost(self, world: World) -> None:
        generation = world.finished()
        world.stack.s3.delete_object(Bucket="music", Key=generated_key(world.tenant, generation.id, "wav"))
        self.get(world, generation).problem(410, "expired")


class TestFiles:
    """Files as players, browsers and download managers ask for them: in parts, again, or only about them."""

    BODY = bytes(range(200)) * 5
    ROUTES = ("content", "download")

    @pytest.fixture(params=ROUTES)
    def get(self, world: World, request: pytest.FixtureRequest) -> Callable[..., Answer]:
        """Asks for a file of 1,000 bytes; keywords are headers, with _ for -."""
        audio, generation = world.claimed(self.BODY), world.finished(self.BODY)

        def get(method: str = "GET", **headers: str) -> Answer:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            if request.param == "content":
                resource = "/api/audio/{audio_id}/content"
                return world.call(method, resource, audio_id=audio.id, headers=sent)
            resource = "/api/download/{generation_id}"
            return world.call(method, resource, generation_id=generation.id, headers=sent)

        return get

    @pytest.mark.parametrize(
        ("asked", "first", "last"),
        [
            *(("0-", 0, 999), ("0-0", 0, 0), ("500-599", 500, 599), ("-10", 990, 999), ("-5000", 0, 999)),
            *(("999-", 999, 999), ("900-99999999999999999999", 900, 999)),
        ],
    )
    def test_a_player_gets_the_part_that_it_seeks(
        self, get: Callable[..., Answer], asked: str, first: int, last: int
    ) -> None:
        answer = get(Range=f"bytes={asked}")
        assert (answer.status, answer.body) == (206, self.BODY[first : last + 1])
        assert answer.headers["content-range"] == f"bytes {first}-{last}/1000"
        assert answer.headers["accept-ranges"] == "bytes"
        assert answer.headers["content-type"] == "audio/wav"

    @pytest.mark.parametrize("asked", ["bytes=1000-", "bytes=5000-6000", "bytes=-0"])
    def test_a_part_past_the_end_is_refused_with_the_length(
        self, get: Callable[..., Answer], asked: str
    ) -> None:
        answer = get(Range=asked)
        answer.problem(416, "range_not_satisfiable")
        assert answer.headers["content-range"] == "bytes */1000"

    @pytest.mark.parametrize(
        "asked", ["bytes=", "bytes=-", "bytes=5-2", "bytes=a-b", "lines=0-5", "bytes=0-1,5-6", "bytes=1"]
    )
    def test_a_range_that_makes_no_sense_gets_the_whole_file(
        self, get: Callable[..., Answer], asked: str
    ) -> None:
        answer = get(Range=asked)
        assert (answer.status, answer.body) == (200, self.BODY)
        assert "content-range" not in answer.headers

    def test_a_resumed_download_goes_on_only_in_the_same_file(self, get: Callable[..., Answer]) -> None:
        etag = get().headers["etag"]
        part = get(Range="bytes=600-", If_Range=etag)
        assert (part.status, part.body) == (206, self.BODY[600:])
        for other in ('"other"', f"W/{etag}", "Wed, 21 Oct 2015 07:28:00 GMT"):
            whole = get(Range="bytes=600-", If_Range=other)
            assert (whole.status, whole.body) == (200, self.BODY)

    def test_what_a_browser_has_already_is_not_sent_again(self, get: Callable[..., Answer]) -> None:
        etag = get().headers["etag"]
        for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
            answer = get(If_None_Match=known)
            assert (answer.status, answer.body) == (304, b"")
            assert answer.headers["etag"] == etag
        assert get(If_None_Match='"other"').status == 200
        assert get(If_Match=etag).status == 200
        get(If_Match='"other"').problem(412, "precondition_failed")

    def test_head_tells_the_length_and_sends_nothing(self, get: Callable[..., Answer]) -> None:
        whole, head = get(), get("HEAD", Range="bytes=0-9")
        assert (head.status, head.body) == (200, b"")
        assert head.headers.pop("content-length") == "1000"
        assert head.headers == whole.headers

    def test_a_page_of_another_origin_asks_where_the_file_is(self, get: Callable[..., Answer]) -> None:
        for accept in ("application/json", "application/json, */*;q=0.1"):
            answer = get(Accept=accept)
            assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
            assert "X-Amz-Signature" in answer.json["url"]
            assert answer.json["expires_at"].endswith("Z")
        for accept in ("*/*", "application/json, text/plain, */*", "audio/*, application/json;q=0.5", "q"):
            assert get(Accept=accept).body == self.BODY

    def test_a_large_file_is_not_sent_again_either(self, world: World) -> None:
        audio = world.claimed(b"x" * (INLINE_BYTES + 1))

        def get(method: str, **headers: str) -> Answer:
            resource = "/api/audio/{audio_id}/content"
            return world.call(method, resource, audio_id=audio.id, headers=headers)

        location = get("GET", Accept="application/json").json["url"]
        assert "/uploads/" in location
        etag = world.stack.s3.head_object(Bucket="music", Key=upload_key(audio.tenant, audio.id))["ETag"]
        assert get("GET", **{"If-None-Match": etag}).status == 304
        # Ranges are answered where it redirects to; a signature is for one method.
        assert get("GET", Range="bytes=0-9").status == 302
        assert get("HEAD").headers["location"] != get("GET").headers["location"]

    @pytest.mark.parametrize(
        "resource", ["/api/health", "/api/openapi.json", "/api/audio", "/api/generation"]
    )
    def test_every_get_route_answers_head(self, world: World, resource: str) -> None:
        get, head = world.call("GET", resource), world.call("HEAD", resource)
        assert (head.status, head.body) == (200, b"")
        assert head.headers.pop("content-length") == str(len(get.body))
        assert head.headers == get.headers

    def test_head_of_what_is_not_there_is_404(self, world: World) -> None:
        answer = world.call("HEAD", "/api/audio/{audio_id}", audio_id=NOBODY)
        assert (answer.status, answer.body) == (404, b"")

    def test_links_hold_one_that_an_audio_element_can_play(self, world: World) -> None:
        audio, generation = world.claimed(self.BODY), world.finished(self.BODY)
        tracks = [
            world.call("GET", "/api/audio/{audio_id}", audio_id=audio.id),
            world.call("GET", "/api/generation/{generation_id}", generation_id=generation.id),
        ]
        for track in tracks:
            link = track.json["links"]["play"]
            assert "X-Amz-Signature" in link
            assert "response-content-disposition=inline" in link
            assert "response-content-type=audio%2Fwav" in link
        waiting = world.call("GET", "/api/audio/{audio_id}", audio_id=world.audio().id)
        assert "play" not in waiting.json["links"]

    def test_long_json_is_compressed_for_who_takes_it(self, world: World) -> None:
        plain = world.call("GET", "/api/openapi.json")
        packed = world.call("GET", "/api/openapi.json", headers={"Accept-Encoding": "gzip, deflate"})
        assert packed.headers["content-encoding"] == "gzip"
        assert gzip.decompress(packed.body) == plain.body
        assert len(packed.body) < len(plain.body) / 4
        assert "content-encoding" not in plain.headers
        short = world.call("GET", "/api/health", headers={"Accept-Encoding": "gzip"})
        assert "content-encoding" not in short.headers


class TestService:
    """Health, contract, page, browsers, and everything that is no route."""

    def test_health(self, world: World) -> None:
        document = world.call("GET", "/api/health").json
        assert (document["status"], document["profile"]) == ("ok", "builtin")
        assert "accuracy" not in document, "builtin has no weights"

    def test_health_says_what_the_precision_of_the_weights_costs(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from functions.api import meta

        measured = {
            "precision": "int8",
            "logit_error": 0.008,
            "worst": [{"matrix": "t5.0.feed.in", "error": 0.01}],
        }
        monkeypatch.setattr(meta, "accuracy", measured)
        assert world.call("GET", "/api/health").json["accuracy"] == measured

    def test_profile_says_what_may_be_asked_of_it(self, world: World) -> None:
        profile = world.call("GET", "/api/profile").json
        assert profile["profile"] == "builtin"
        assert profile["embedder"] == {
            "model": profiles.MIR_512.model,
            "revision": profiles.MIR_512.revision,
            "dimension": DIMENSION,
            "license": None,
        }
        assert profile["generator"]["model"] == "mosaic"
        assert (profile["modes"], profile["text_search"]) == (["similar", "extend", "repaint"], False)
        assert profile["fields"].keys() == GenerateRequest.model_fields.keys() - {"prompt", "negative_prompt"}
        assert profile["fields"]["mode"]["enum"] == ["similar", "extend", "repaint"]
        assert (profile["fields"]["duration"]["minimum"], profile["fields"]["duration"]["maximum"]) == (
            1,
            300,
        )
        assert profile["fields"]["seed"]["nullable"] is True
        assert profile["limits"]["stored_bytes"] is None
        audio = world.ready()
        for name, field in profile["fields"].items():
            body = {name: field["default"]}
            answer = world.call("POST", "/api/generate/{audio_id}", body=body, audio_id=audio.id)
            assert answer.status == 202, name

    def test_a_track_and_a_section_of_it_may_be_as_long_as_what_is_decoded(self, world: World) -> None:
        limits = world.call("GET", "/api/profile").json["limits"]
        assert limits["upload_seconds"] == MAX_SECONDS
        Section.model_validate({"start": MAX_SECONDS - 1, "end": MAX_SECONDS})
        for section in ({"start": MAX_SECONDS + 1, "end": MAX_SECONDS}, {"start": 0, "end": MAX_SECONDS + 1}):
            with pytest.raises(ValidationError, match="less than or equal"):
                Section.model_validate(section)

    @pytest.mark.parametrize("name", [name for name in profiles.DECLARED if name != "builtin"])
    def test_profile_of_a_neural_one_says_what_its_bundle_says(
        self, world: World, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        declared = profiles.DECLARED[name]
        component: dict[str, Any] = {"revision": "abc", "license": declared.license, "config": {}}
        manifest = {
            "precision": "int8",
            "embedder": {"model": "clap", "revision": "def", "pipeline": "1", "precision": "int8"},
            "components": {
                "clap": {**component, "model": "clap", "license": "Apache-2.0"},
                "musicgen": {**component, "model": f"musicgen-{name}"},
            },
        }
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text(json.dumps(manifest))
        monkeypatch.setenv("MODELS", str(tmp_path))
        monkeypatch.setattr(world.app.profile, "declared", declared)
        monkeypatch.setattr(world.app.profile, "length", profiles.LENGTHS["lambda"][name])
        profile = world.call("GET", "/api/profile").json
        assert profile["embedder"]["license"] == "Apache-2.0"
        assert profile["generator"] == {
            "model": f"musicgen-{name}",
            "revision": "abc",
            "precision": "int8",
            "license": declared.license,
        }
        assert "prompt" in profile["fields"]
        assert profile["fields"]["duration"]["maximum"] == profiles.LENGTHS["lambda"][name].piece
        assert profile["fields"]["mode"]["enum"] == list(declared.modes)

    def test_profile_says_what_jobs_cost_and_what_is_left_of_the_day(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert world.call("GET", "/api/profile").json["limits"]["worker_seconds_left"] is None
        limits = Limits(9, 100, 10**9)
        monkeypatch.setattr(world.app.profile, "limits", limits)
        monkeypatch.setattr(world.app.generation, "limits", limits)
        audio = world.ready()
        profile = world.call("GET", "/api/profile").json
        assert profile["limits"]["worker_seconds_per_day"] == 100
        assert profile["limits"]["worker_seconds_left"] == 100
        costs = profile["costs"]
        body = {"duration": 20, "candidates": 2}
        resource = "/api/generate/{audio_id}"
        assert world.call("POST", resource, body=body, audio_id=audio.id).status == 202
        cost = costs["generate"] + costs["source_second"] * 3.0 + costs["output_second"] * 20 * 2
        left = world.call("GET", "/api/profile").json["limits"]["worker_seconds_left"]
        assert left == pytest.approx(100 - cost, abs=1e-3)

    def test_profile_says_how_fast_it_was(self, world: World) -> None:
        assert world.call("GET", "/api/profile").json["speed"] == {
            "music_seconds_per_second": None,
            "measured_jobs": 0,
        }
        world.records.speeds.note("builtin", 30.0, 5.0)
        world.records.speeds.note("builtin", 30.0, 3.0)
        world.records.speeds.note("small", 30.0, 300.0)
        try:
            assert world.call("GET", "/api/profile").json["speed"] == {
                "music_seconds_per_second": 8.0,
                "measured_jobs": 2,
            }
        finally:
            world.records.items.table.delete_item(Key={"pk": "speed", "sk": "builtin"})

    def test_health_without_a_table(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        from botocore.exceptions import EndpointConnectionError

        def unreachable(*_: Any) -> None:
            raise EndpointConnectionError(endpoint_url="x")

        monkeypatch.setattr(world.app.records, "get_audio", unreachable)
        answer = world.call("GET", "/api/health")
        answer.problem(503, "unavailable")
        assert "retry-after" in answer.headers

    def test_contract_says_where_it_is(self, world: World) -> None:
        document = world.call("GET", "/api/openapi.json").json
        assert document["servers"] == [{"url": "/dev"}]
        assert world.call("GET", "/api/openapi.json", stage="").json["servers"] == [{"url": "/"}]

    @pytest.mark.parametrize("mode", ["keys", "none"])
    def test_contract_asks_for_keys_where_the_deployment_does(
        self, world: World, monkeypatch: pytest.MonkeyPatch, mode: str
    ) -> None:
        monkeypatch.setattr(world.app.meta, "settings", replace(world.app.meta.settings, auth_mode=mode))
        document = world.call("GET", "/api/openapi.json").json
        asks = [
            bool(operation["security"]) for path in document["paths"].values() for operation in path.values()
        ]
        assert any(asks) == (mode == "keys")

    def test_browsers(self, world: World) -> None:
        headers = {"Origin": "https://page.example"}
        answer = world.call("GET", "/api/health", headers=headers)
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "Retry-After" in answer.headers["access-control-expose-headers"]
        problem = world.call("GET", "/api/audio/{audio_id}", audio_id=NOBODY, headers=headers)
        assert problem.headers["access-control-allow-origin"] == "*"
        asked = headers | {"Access-Control-Request-Method": "POST"}
        preflight = world.call("OPTIONS", "/api/generate/{audio_id}", audio_id=NOBODY, headers=asked)
        assert preflight.status == 204
        assert "Idempotency-Key" in preflight.headers["access-control-allow-headers"]

    def test_every_answer_can_be_traced_and_is_safe_in_a_browser(self, world: World) -> None:
        audio = world.ready()
        for answer in (
            world.call("GET", "/"),
            world.call("GET", "/api/health"),
            world.call("GET", "/api/audio", query={"limit": 0}),
            world.call("GET", "/api/audio/{audio_id}/content", audio_id=audio.id),
            world.call("GET", "/api/nothing"),
        ):
            assert answer.headers["x-correlation-id"] == "11111111-2222-3333-4444-555555555555"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["x-frame-options"] == "DENY"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert answer.headers["strict-transport-security"].startswith("max-age=63072000")
            policy = answer.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; ")
            assert "frame-ancestors 'none'" in policy
            assert re.match("no-store|private", answer.headers["cache-control"])
            assert answer.headers["vary"] == "Origin, Accept, Accept-Encoding"

    def test_no_browser_keeps_what_may_be_deleted(self, world: World) -> None:
        audio = world.ready()
        for asked in ({}, {"Range": "bytes=0-1"}):
            answer = world.call("GET", "/api/audio/{audio_id}/content", audio_id=audio.id, headers=asked)
            assert answer.headers["cache-control"] == "no-store"

    def test_only_pages_of_the_parameters_origins_are_let_in(self) -> None:
        ours = ("https://one.example", "https://two.example")
        environment = ENVIRONMENT | {"ALLOWED_ORIGINS": ",".join(ours)}
        api = Api(Settings.from_environment(environment))
        api.get("/api/health")(lambda: Response(200))
        for origin in (*ours, "https://evil.example", "https://one.example.evil.example", "null"):
            sent = event("GET", "/api/health", headers={"Origin": origin})
            headers = api.resolve(sent, Context())["multiValueHeaders"]  # type: ignore[arg-type]
            expected = [origin] if origin in ours else None
            assert headers.get("Access-Control-Allow-Origin") == expected

    def test_no_route(self, world: World) -> None:
        world.call("GET", "/api/nothing").problem(404, "not_found")
        answer = world.call("PUT", "/api/audio")
        answer.problem(405, "method_not_allowed")
        assert "GET" in answer.headers["allow"]

    def test_failures_of_ours_say_nothing_of_us(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(*_: Any) -> None:
            raise RuntimeError("secret")

        monkeypatch.setattr(world.app.records, "get_audio", broken)
        answer = world.call("GET", "/api/audio/{audio_id}", audio_id=NOBODY)
        answer.problem(500, "internal_error")
        assert "secret" not in json.dumps(answer.json)


class TestTrouble:
    """What a user hears when AWS does not do its part."""

    def refused(self, code: str, status: int) -> ClientError:
        answer: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
        return ClientError(answer, "GetItem")

    @pytest.mark.parametrize(
        ("code", "status"), [("ThrottlingException", 400), ("InternalServerError", 500), ("TooMany", 429)]
    )
    def test_what_passes_is_worth_another_try(
        self, world: World, code: str, status: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*arguments: Any) -> None:
            raise self.refused(code, status)

        monkeypatch.setattr(world.app.records, "get_audio", broken)
        answer = world.call("GET", "/api/audio/{audio_id}", audio_id=NOBODY)
        answer.problem(503, "unavailable")
        assert int(answer.headers["retry-after"]) > 0

    @pytest.mark.parametrize("kind", [EndpointConnectionError, ReadTimeoutError, ConnectionClosedError])
    def test_nor_does_a_connection_fail_for_ever(
        self, world: World, kind: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*arguments: Any) -> None:
            raise kind(endpoint_url="https://dynamodb")

        monkeypatch.setattr(world.app.records, "get_audio", broken)
        world.call("GET", "/api/audio/{audio_id}", audio_id=NOBODY).problem(503, "unavailable")

    def test_what_does_not_pass_is_ours(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(*arguments: Any) -> None:
            raise self.refused("AccessDeniedException", 400)

        monkeypatch.setattr(world.app.records, "get_audio", broken)
        answer = world.call("GET", "/api/audio/{audio_id}", audio_id=NOBODY)
        answer.problem(500, "internal_error")
        assert "retry-after" not in answer.headers
