"""The committed OpenAPI description, held against the running API by schemathesis.

Requests that the description allows and requests that it forbids, in the hundreds: no answer is a server's
error, and each is one that the description has for it: status, content type, headers and body.

Runs on a local stack of its own, with authorization on. `CONTRACT_EXAMPLES` says how many requests each
operation gets.
"""

from __future__ import annotations

import json
import os
import random
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from pydantic import ValidationError

from backend import contract
from backend.contract import MAX_SOURCE_SECONDS
from client.stack import StackProcess
from local.template import ROOT
from tests.support.client import Api
from tests.support.keys import keys
from tests.support.waiting import PATIENCE_SECONDS

EXAMPLES = int(os.environ.get("CONTRACT_EXAMPLES", "30"))
CONFIG = {
    "generation": {
        "allow-extra-parameters": False,  # unknown query parameters are ignored, as everywhere
        "with-security-parameters": False,  # tests/integration/test_tenants.py tries every kind of wrong key
    },
    "checks": {
        "negative_data_rejection": {"expected-statuses": [400, 404, 409, 413, 415, 422]},
        # It asks with TRACE, which API Gateway does not know: 404. The end-to-end tests ask with others.
        "unsupported_method": {"enabled": False},
    },
}
SCHEMA = schemathesis.openapi.from_path(
    ROOT / "layers/backend/openapi.json", config=schemathesis.Config.from_dict(CONFIG)
)


@dataclass(frozen=True)
class Service:
    """The API under test, and ids of records in every state that a request can meet."""

    api: Api
    known: dict[str, list[str]]
    cursors: dict[str, str]

    def fresh(self, name: str) -> str:
        """Return the id of a record that nobody else needs."""
        audio_id: str = self.api.announce("song.mp3", 1000)["audio_id"]
        return audio_id if name == "audio_id" else str(self.api.generate(audio_id)["generation_id"])


@pytest.fixture(scope="module")
def service(track: bytes) -> Iterator[Service]:
    limits = ("--parameter", "MaxUnfinished=1000")  # what is announced for DELETE is not always deleted
    with StackProcess("--auth", "keys", *limits) as stack:
        api = Api(stack.api_url, keys(stack, "create"))
        ready = api.upload("song.mp3", track, "audio/mpeg")
        broken = api.upload("song.mp3", b"not music", "audio/mpeg")
        awaiting = api.announce("song.mp3", 1000)
        gone = api.announce("song.mp3", 1000)
        api.ready(ready)
        assert api.finished(broken["links"]["self"])["status"] == "failed"
        made = api.succeeded(api.generate(ready["audio_id"], duration=1))
        waiting = api.generate(awaiting["audio_id"])
        cancelled = api.generate(awaiting["audio_id"])
        assert api.delete(cancelled["links"]["self"]).status == 202
        assert api.delete(gone["links"]["self"]).status == 204
        known = {
            "audio_id": [one["audio_id"] for one in (ready, broken, awaiting, gone)],
            "generation_id": [one["generation_id"] for one in (made, waiting, cancelled)],
        }
        lists = ("/api/audio", "/api/generation", "/api/map")
        yield Service(api, known, {path: api.get(path, limit=1).ok(200)["cursor"] for path in lists})


def tame(case: schemathesis.Case, service: Service) -> None:
    """Ask for what exists, half of the time, and for nothing that takes long.

    What a description cannot say, so that a request cannot know, is put right: real cursors, real types.
    """
    choose = random.Random(repr((case.path_parameters, case.query, case.body)))
    for name in list(case.path_parameters):
        if choose.random() < 0.5 and name in service.known:
            known = [service.fresh(name)] if case.method == "DELETE" else service.known[name]
            case.path_parameters[name] = choose.choice(known)
    if isinstance(case.query.get("cursor"), str) and len(case.query["cursor"]) <= 200:
        case.query["cursor"] = service.cursors[case.path]
    if 1 <= len(case.headers.get("Idempotency-Key") or "") <= 255:
        case.headers["Idempotency-Key"] = str(uuid.uuid4())  # or a second body under one key: 422
    if any(parameter.name == "wait" for parameter in case.operation.query):
        asked = case.query.setdefault("wait", 0)
        with suppress(TypeError, ValueError):
            if 0 <= float(asked) <= 25:
                case.query["wait"] = min(float(asked), 1)
    if isinstance(case.body, dict):
        if case.path.startswith("/api/generate"):
            agree(case.body)
        for name, most, allowed in (("duration", 2, 300), ("candidates", 1, 8)):
            value = case.body.get(name)
            if isinstance(value, int | float) and most < value <= allowed:  # what is too much stays so
                case.body[name] = most
        kind = case.body.get("content_type")
        if isinstance(kind, str) and len(kind) <= 255:
            case.body["content_type"] = choose.choice(["", "audio/flac", "Audio/X-WAV; rate=1", "video/mp4"])


def agree(body: dict[str, Any]) -> None:
    """Let fields of a request for music that are right for themselves be right beside each other, too."""
    schema = contract.GenerateRequest

    def right(name: str) -> bool:
        value = body[name]
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # to JSON Schema, 2.0 is an integer
        with suppress(ValidationError):
            return name in schema.model_validate_json(json.dumps({name: value})).model_fields_set
        return False

    fine = {name for name in body if right(name)}
    if "loop" in fine and body["loop"]:
        for name in fine & {"duration", "ending"}:
            del body[name]
        if "format" in fine and body["format"] == "mp3":
            body["format"] = "ogg"
        if "bars" in fine or "bars" not in body:
            body["bars"] = 1
    elif "bars" in fine and body["bars"] is not None and ("loop" in fine or "loop" not in body):
        del body["bars"]
    for name, reached in (("tempo", 100), ("key", "E minor")):  # of the track, which is in D minor
        if name in fine and body[name] is not None:
            body[name] = reached
    if "mode" in fine:
        body["mode"] = "similar"  # the others are in the tests of their fields
    if "before" in fine:
        body["before"] = False
    if "format" in fine and body["format"] not in ("wav", "flac"):
        body |= {name: value for name, value in (("bit_depth", 16), ("sample_rate", 32000)) if name in fine}
    for name in ("section", "region"):
        part = body.get(name)
        if isinstance(part, dict) and set(part) == {"start", "end"} and all(map(fits, part.values())):
            body[name] = {"start": 1.0, "end": 3.0} if name == "section" else None


def fits(time: Any) -> bool:
    """Say whether a value may be a time in a track, in seconds."""
    return isinstance(time, int | float) and not isinstance(time, bool) and 0 <= time <= MAX_SOURCE_SECONDS


@SCHEMA.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_answers_are_as_described(case: schemathesis.Case, service: Service) -> None:
    tame(case, service)
    case.call_and_validate(
        base_url=service.api.url,
        headers={"Authorization": f"Bearer {service.api.token}"},
        timeout=PATIENCE_SECONDS,
    )
