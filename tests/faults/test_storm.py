"""The running stack while a share of all its AWS requests goes wrong, those of the API and of the workers."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.faults.injection import Fault
from tests.faults.stage import PATIENCE_SECONDS, staged
from tests.support import sound
from tests.support.client import UNFINISHED, Answer, Api, form, post_form
from tests.support.waiting import eventually

LONG = os.environ.get("FAULT_SUITE") == "long"
JOBS = 60 if LONG else 10
RATE = 0.15 if LONG else 0.1
PARAMETERS = {"duration": 2, "seed": 3}
TRIES = 8


def insist(ask: Any) -> Answer:
    """Do as a user does whom the service could not answer: ask again."""
    for tried in range(TRIES):
        answer: Answer = ask()
        if answer.status < 500:
            return answer
        time.sleep(0.2 * 2**tried)
    raise AssertionError(answer.body)


def submit(api: Api, number: int, source: bytes) -> tuple[str, str]:
    """Upload, in one of both ways, and ask for music; return both ids."""
    if number % 2:
        body, headers = form([], "source.mp3", source, "audio/mpeg")
        uploaded = insist(lambda: api.request("POST", "/api/upload", data=body, headers=headers)).ok(201)
    else:
        announcement = {"filename": "source.mp3", "bytes": len(source), "content_type": "audio/mpeg"}
        uploaded = insist(lambda: api.post("/api/upload", announcement)).ok(201)
        assert post_form(uploaded["upload"], source).status in {200, 201, 204}
    audio_id = uploaded["audio_id"]
    path, key = f"/api/generate/{audio_id}", f"storm {number}"
    generation = insist(lambda: api.post(path, PARAMETERS, Idempotency_Key=key)).ok(202)
    return audio_id, generation["generation_id"]


def await_end(api: Api, path: str) -> str:
    """Wait for the end of a job, and return its last status."""
    return eventually(
        lambda: str(insist(lambda: api.get(path)).ok(200)["status"]),
        until=lambda status: status not in UNFINISHED,
        every=0.5,
        patience=PATIENCE_SECONDS,
    )


@pytest.mark.parametrize("host", ["lambda", "sagemaker"])
def test_nothing_is_lost_or_made_twice_in_a_storm(tmp_path: Path, host: str) -> None:
    source = sound.encode(sound.drone(6.0) + sound.noise(6.0), 22050, "mp3", "libmp3lame")
    with staged(tmp_path, workers=2, rate=RATE, host=host) as stage:
        api = stage.api
        jobs = [submit(api, number, source) for number in range(JOBS)]
        assert len({generation for _, generation in jobs}) == JOBS
        audios = {audio for audio, _ in jobs}
        for audio_id, generation_id in jobs:
            assert await_end(api, f"/api/audio/{audio_id}") == "ready"
            assert await_end(api, f"/api/generation/{generation_id}") == "succeeded"
        music = {insist(lambda one=one: api.get(f"/api/download/{one}")).body for _, one in jobs}
        assert len(music) == 1  # of the same source and seed: the same bytes
        # What a client that repeats a request of unknown end leaves is another upload, never another result.
        objects = stage.objects()
        results = sorted(key for key in objects if key.startswith("generated/"))
        assert results == sorted(f"generated/default/{one}.wav" for _, one in jobs)
        assert {f"uploads/default/{one}" for one in audios} <= set(objects)
        assert {f"default/{one}" for one in audios} <= set(stage.vectors())
        assert len(stage.vectors()) == len(set(stage.vectors()))
        assert stage.dead_letters() == []
        met = Counter(line["fault"] for line in stage.noted("faults.jsonl"))
        services = {line["service"] for line in stage.noted("faults.jsonl")}
        assert set(met) == {fault.name for fault in Fault}, met
        assert {"dynamodb", "s3", "sqs"} <= services
        print(f"{met.total()} faults in {JOBS} uploads and generations: {dict(met)}")
