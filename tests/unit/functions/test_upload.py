"""POST /api/upload."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import unicodedata
from types import ModuleType
from typing import Any, ClassVar

import pytest

from backend.contract import MULTIPART_BYTES
from backend.records import MIN_CHARGE_SECONDS, Conflict, Limits, contents
from backend.settings import MAX_UPLOAD_BYTES
from backend.storage import upload_key
from tests.support import hostile
from tests.support.requests import Answer, call, form
from tests.support.stack import Stack

SOUND = bytes(range(256)) * 4 + b"\r\n--\r\n"


@pytest.fixture
def app(stack: Stack) -> ModuleType:
    return stack.app("upload")


def post(app: ModuleType, **arguments: Any) -> Answer:
    return call(app, "POST", "/api/upload", **arguments)


def delete(stack: Stack, audio_id: str) -> None:
    path = "/api/audio/{audio_id}"
    assert call(stack.app("api"), "DELETE", path, tenant="default", audio_id=audio_id).status == 204


def twice(arguments: dict[str, Any]) -> dict[str, Any]:
    """A form that has its file two times."""
    body: bytes = arguments["body"]
    return {**arguments, "body": body[: body.rindex(b"\r\n--") + 2] + body}


class TestFile:
    """A file as multipart form data."""

    def test_is_stored_as_it_is(self, app: ModuleType, stack: Stack) -> None:
        answer = post(app, **form(SOUND, "your_music.mp3"))
        assert answer.status == 201
        document = answer.json
        audio = stack.records.get_audio("default", document["audio_id"])
        assert audio
        assert (audio.status, audio.filename, audio.size) == ("uploaded", "your_music.mp3", len(SOUND))
        stored = stack.s3.get_object(Bucket="music", Key=upload_key("default", audio.id))
        assert stored["Body"].read() == SOUND
        assert (stored["ContentType"], stored["ETag"]) == ("audio/mpeg", audio.etag)
        assert (document["status"], document["bytes"]) == ("uploaded", len(SOUND))
        assert audio.correlation_id == answer.headers["x-correlation-id"]

    def test_the_same_content_is_taken_and_recognised(self, app: ModuleType, stack: Stack) -> None:
        content = b"a song of its own"
        first = post(app, **form(content, "first.mp3")).json
        again = post(app, **form(content, "second.mp3")).json
        assert "duplicate_of" not in first
        assert again["duplicate_of"] == first["audio_id"]
        assert again["audio_id"] != first["audio_id"]
        audio = stack.records.get_audio("default", again["audio_id"])
        assert audio
        assert audio.duplicate_of == first["audio_id"]
        assert len(stack.objects()) == 2
        other = post(app, tenant="somebody", **form(content)).json
        assert "duplicate_of" not in other

    @pytest.mark.parametrize(("stage", "prefix"), [("dev", "/dev"), ("", "")])
    def test_links_start_as_the_request_did(self, app: ModuleType, stage: str, prefix: str) -> None:
        answer = post(app, stage=stage, **form(SOUND))
        audio_id = answer.json["audio_id"]
        assert answer.headers["location"] == f"{prefix}/api/audio/{audio_id}"
        assert answer.json["links"]["embedding"] == f"{prefix}/api/embedding/{audio_id}"

    def test_comes_as_text_where_nothing_is_declared_binary(self, app: ModuleType, stack: Stack) -> None:
        answer = post(app, binary=False, **form(b"only ascii", "a.mp3"))
        assert answer.status == 201
        (key,) = stack.objects()
        assert stack.s3.get_object(Bucket="music", Key=key)["Body"].read() == b"only ascii"

    @pytest.mark.parametrize(
        "name",
        [
            *hostile.NAMES.values(),
            "söng – ünïcode ♫.mp3",
            'quoted ".mp3',
            "a;b=c.mp3",
            "back\\slash.mp3",
            " .mp3",
        ],
    )
    def test_names_are_data(self, app: ModuleType, stack: Stack, name: str) -> None:
        announced = post(app, body={"filename": name, "bytes": len(SOUND), "content_type": "audio/mpeg"})
        assert announced.status == 201
        seen = "".join(sign for sign in name if unicodedata.category(sign) not in {"Cc", "Cf"})
        assert announced.json["filename"] == seen
        fields = announced.json["upload"]["fields"]
        assert fields["key"] == f"uploads/default/{announced.json['audio_id']}"
        assert name not in json.dumps(fields) or len(name) < 3
        answer = post(app, **form(SOUND, name))
        assert answer.status == 201
        audio_id = answer.json["audio_id"]
        assert stack.objects() == [f"uploads/default/{audio_id}"]
        audio = stack.records.get_audio("default", audio_id)
        assert audio
        assert seen.endswith(audio.filename)  # of a path, only the last part is a name
        assert audio.filename

    def test_belongs_to_the_tenant(self, app: ModuleType, stack: Stack) -> None:
        audio_id = post(app, tenant="acme", **form(SOUND)).json["audio_id"]
        assert stack.objects() == [f"uploads/acme/{audio_id}"]
        assert stack.records.get_audio("default", audio_id) is None

    @pytest.mark.parametrize(
        ("declared", "filename", "stored"),
        [
            ("application/octet-stream", "a.MP3", "audio/mpeg"),
            ("application/octet-stream", "a.flac", "audio/flac"),
            ("application/octet-stream", "noextension", "application/octet-stream"),
            ("audio/x-wav; codecs=1", "a.bin", "audio/x-wav"),
            ("video/mp4", "a.m4a", "video/mp4"),
            ("video/x-matroska", "a.mka", "video/x-matroska"),
            ("", "a.webm", "audio/webm"),
            ("", "a.mka", "audio/x-matroska"),
            ("application/x-flac", "a.flac", "application/x-flac"),
            ("video/3gpp", "a.3gp", "video/3gpp"),
            ("application/mp4", "a.m4a", "application/mp4"),
        ],
    )
    def test_types(self, app: ModuleType, stack: Stack, declared: str, filename: str, stored: str) -> None:
        assert post(app, **form(SOUND, filename, declared)).json["content_type"] == stored

    def test_a_faster_event_is_no_conflict(
        self, app: ModuleType, stack: Stack, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def moved(*_: Any, **__: Any) -> None:
            raise Conflict("embedding")

        monkeypatch.setattr(app.records, "mark_uploaded", moved)
        assert post(app, **form(SOUND)).status == 201

    @pytest.mark.parametrize(
        ("arguments", "detail"),
        [
            (form(SOUND, name="other"), "required"),
            (form(SOUND, filename=None), "not a file"),
            (twice(form(SOUND)), "2 files"),
            (form(SOUND, filename="\u200b\u202e"), "not a file"),
            (form(b""), "empty"),
            (form(SOUND, "x" * 1025), "longer than 1024"),
        ],
    )
    def test_no_usable_file(self, app: ModuleType, stack: Stack, arguments: Any, detail: str) -> None:
        problem = post(app, **arguments).problem(422, "invalid_parameter")
        assert problem["field"] == "file"
        assert detail in problem["detail"]
        assert stack.objects() == []

    @pytest.mark.parametrize(
        "arguments",
        [
            {"body": b"garbage", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
            {"body": b"garbage", "headers": {"Content-Type": "multipart/form-data"}},
            {"body": form(SOUND)["body"][:300], "headers": form(SOUND)["headers"]},
        ],
    )
    def test_malformed(self, app: ModuleType, arguments: Any) -> None:
        post(app, **arguments).problem(400, "invalid_body")

    def test_what_is_not_audio(self, app: ModuleType, stack: Stack) -> None:
        post(app, **form(b"<html>", "a.html", "text/html")).problem(415, "unsupported_media_type")
        assert stack.objects() == []

    def test_too_large_says_how_else(self, app: ModuleType) -> None:
        assert post(app, **form(b"x" * MULTIPART_BYTES, "a.mp3")).status == 201
        name = "it's `mine` $HOME.mp3"
        problem = post(app, **form(b"x" * (MULTIPART_BYTES + 1), name)).problem(413, "too_large")
        assert problem["max_bytes"] == MULTIPART_BYTES
        first, second = problem["curls"]
        words = as_the_shell_reads(first)
        assert "https://api.example/dev/api/upload" in words
        body = {"filename": name, "bytes": MULTIPART_BYTES + 1, "content_type": "audio/mpeg"}
        assert json.loads(words[words.index("-d") + 1]) == body
        assert f'file=@"{name}"' in as_the_shell_reads(second.rpartition("| ")[2])


def as_the_shell_reads(command: str) -> list[str]:
    """The arguments that a shell would give to curl."""
    script = "curl() { printf '%s\\n' \"$@\"; }; " + command
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("names", "stored"),
    [
        ("filename*=UTF-8''K%C3%B6ln%20%22live%22.mp3", 'Köln "live".mp3'),
        ("filename=\"K_ln.mp3\"; filename*=utf-8'de'K%C3%B6ln.mp3", "Köln.mp3"),
        ("filename*=ISO-8859-1''K%F6ln.mp3; filename=\"K_ln.mp3\"", "Köln.mp3"),
        ("filename=\"K_ln.mp3\"; filename*=klingon''K%F6ln.mp3", "K_ln.mp3"),
        ("filename*=UTF-8''%E2%80%AEgpj%C2%AD.mp3", "gpj.mp3"),
        ('filename="\u202egpj\U000e0041.mp3"', "gpj.mp3"),
    ],
)
def test_the_decoded_name_of_a_file_wins(app: ModuleType, stack: Stack, names: str, stored: str) -> None:
    arguments = form(SOUND, "NAME", "audio/mpeg")
    arguments["body"] = arguments["body"].replace(b'filename="NAME"', names.encode())
    answer = post(app, **arguments)
    assert (answer.status, answer.json["filename"]) == (201, stored)
    (key,) = stack.objects()
    assert stack.s3.get_object(Bucket="music", Key=key)["Body"].read() == SOUND


class TestIdempotency:
    """A client that heard no answer sends its request again, and nothing is there twice."""

    ANNOUNCED: ClassVar = {"filename": "a.mp3", "bytes": len(SOUND)}

    def post(self, app: ModuleType, key: str = "k1", tenant: str = "default", **arguments: Any) -> Answer:
        headers = {**arguments.pop("headers", {}), "Idempotency-Key": key}
        return post(app, tenant=tenant, headers=headers, **arguments)

    def test_a_file_that_is_sent_again_is_there_once(self, app: ModuleType, stack: Stack) -> None:
        first, again = (self.post(app, **form(SOUND)) for _ in range(2))
        assert (first.status, again.status) == (201, 201)
        assert again.json == first.json
        assert again.headers["idempotent-replayed"] == "true"
        assert "idempotent-replayed" not in first.headers
        assert len(stack.objects()) == len(stack.records.list_audio("default")[0]) == 1

    def test_one_whose_first_request_died_half_way_is_stored(
        self, app: ModuleType, stack: Stack, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def died(*_: Any) -> None:
            raise RuntimeError

        with monkeypatch.context() as patch:
            patch.setattr(app.storage, "put", died)
            assert self.post(app, **form(SOUND)).status == 500
        answer = self.post(app, **form(SOUND))
        assert (answer.status, answer.headers["idempotent-replayed"]) == (201, "true")
        (key,) = stack.objects()
        assert key == upload_key("default", answer.json["audio_id"])
        audio = stack.records.get_audio("default", answer.json["audio_id"])
        assert audio
        assert audio.status == "uploaded"

    def test_another_request_under_the_same_key_is_a_mistake(self, app: ModuleType, stack: Stack) -> None:
        assert self.post(app, **form(SOUND, "a.mp3")).status == 201
        for other in (form(SOUND, "b.mp3"), form(b"other", "a.mp3"), {"body": self.ANNOUNCED}):
            problem = self.post(app, **other).problem(422, "idempotency_mismatch")
            assert problem["field"] == "Idempotency-Key"
        assert self.post(app, "k2", **form(SOUND, "b.mp3")).status == 201
        assert self.post(app, tenant="somebody", **form(b"other")).status == 201

    def test_a_direct_upload_is_allowed_again_until_the_file_is_there(
        self, app: ModuleType, stack: Stack
    ) -> None:
        first, again = (self.post(app, body=self.ANNOUNCED) for _ in range(2))
        assert again.json["audio_id"] == first.json["audio_id"]
        assert again.json["upload"]["fields"]["key"] == first.json["upload"]["fields"]["key"]
        audio = stack.records.get_audio("default", first.json["audio_id"])
        assert audio
        stack.records.mark_uploaded(audio.tenant, audio.id, etag='"1"', size=len(SOUND))
        later = self.post(app, body=self.ANNOUNCED).json
        assert (later["audio_id"], later["status"]) == (audio.id, "uploaded")
        assert "upload" not in later

    def test_a_track_that_was_deleted_since_stays_deleted(self, app: ModuleType, stack: Stack) -> None:
        for arguments in (form(SOUND), {"body": self.ANNOUNCED}):
            key = str(len(arguments))
            audio_id = self.post(app, key, **arguments).json["audio_id"]
            audio = stack.records.get_audio("default", audio_id)
            assert audio
            stack.records.bury(audio)
            self.post(app, key, **arguments).problem(404, "not_found")

    def test_it_is_counted_once(self, app: ModuleType, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(app, "limits", Limits(9, 10**6, stored_bytes=100_000))
        for _ in range(3):
            assert self.post(app, tenant="small", **form(b"x" * 60)).status == 201
        post(app, tenant="small", **form(b"y" * 60)).problem(429, "storage_limit")


class TestAnnouncement:
    """A file described in JSON."""

    def announce(self, app: ModuleType, **changes: Any) -> Answer:
        body = {"filename": "a.flac", "bytes": 5_000_000, "content_type": "audio/flac", **changes}
        return post(app, body={name: value for name, value in body.items() if value is not None})

    def test_allows_exactly_one_upload(self, app: ModuleType, stack: Stack) -> None:
        answer = self.announce(app)
        assert answer.status == 201
        document = answer.json
        audio_id = document["audio_id"]
        assert (document["status"], document["bytes"]) == ("awaiting_upload", 5_000_000)
        fields = document["upload"]["fields"]
        assert fields["key"] == f"uploads/default/{audio_id}"
        assert fields["Content-Type"] == "audio/flac"
        conditions = json.loads(base64.b64decode(fields["policy"]))["conditions"]
        assert ["content-length-range", 5_000_000, 5_000_000] in conditions
        assert {"key": f"uploads/default/{audio_id}"} in conditions
        assert document["upload"]["expires_at"].endswith("Z")
        audio = stack.records.get_audio("default", audio_id)
        assert audio
        assert (audio.status, audio.filename, audio.size) == ("awaiting_upload", "a.flac", 5_000_000)

    def test_belongs_to_the_tenant(self, app: ModuleType) -> None:
        body = {"filename": "a.mp3", "bytes": 1}
        fields = post(app, tenant="acme", body=body).json["upload"]["fields"]
        assert fields["key"].startswith("uploads/acme/")

    @pytest.mark.parametrize("binary", [True, False])
    @pytest.mark.parametrize(
        "content_type",
        ["application/json", "application/x-www-form-urlencoded", "text/plain", "APPLICATION/JSON"],
    )
    def test_is_json_whatever_the_client_calls_it(
        self, app: ModuleType, binary: bool, content_type: str
    ) -> None:
        body = {"filename": "a.mp3", "bytes": 1}
        answer = post(app, body=body, binary=binary, headers={"Content-Type": content_type})
        assert answer.status == 201

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"bytes": 0}, "bytes"),
            ({"bytes": "10"}, "bytes"),
            ({"bytes": 1.5}, "bytes"),
            ({"bytes": None}, "bytes"),
            ({"filename": None}, "filename"),
            ({"filename": ""}, "filename"),
            ({"filename": "x" * 1025}, "filename"),
            ({"filename": "\u200b\u202e\u2066"}, "filename"),
            ({"key": "uploads/default/mine"}, "key"),
        ],
    )
    def test_names_the_wrong_field(self, app: ModuleType, changes: Any, field: str) -> None:
        assert self.announce(app, **changes).problem(422, "invalid_parameter")["field"] == field

    def test_largest(self, app: ModuleType) -> None:
        assert self.announce(app, bytes=MAX_UPLOAD_BYTES).status == 201
        problem = self.announce(app, bytes=MAX_UPLOAD_BYTES + 1).problem(413, "too_large")
        assert problem["max_bytes"] == MAX_UPLOAD_BYTES

    @pytest.mark.parametrize(
        "body", [b"not json", b"[1]", b'"text"', b'{"bytes": NaN}', b"\xff\xfe", b"[" * 100_000]
    )
    def test_no_json_object(self, app: ModuleType, body: bytes) -> None:
        assert "multipart" in post(app, body=body).problem(400, "invalid_body")["detail"]

    def test_nothing_at_all(self, app: ModuleType) -> None:
        answer = post(app)
        assert answer.status in {400, 422}
        assert answer.json["code"] in {"invalid_body", "invalid_parameter"}

    def test_what_is_not_audio(self, app: ModuleType) -> None:
        self.announce(app, content_type="image/png").problem(415, "unsupported_media_type")


def test_a_tenant_has_room_for_only_so_many_bytes(
    app: ModuleType, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "limits", Limits(9, 10**6, stored_bytes=1_000_000))
    assert post(app, tenant="full", **form(b"x" * 600_000)).status == 201
    announced = {"filename": "a.mp3", "bytes": 400_000}
    assert post(app, tenant="full", body=announced).status == 201
    for arguments in (form(b"x"), {"body": announced}):
        answer = post(app, tenant="full", **arguments)
        answer.problem(429, "storage_limit")
        assert int(answer.headers["retry-after"]) > 0
    assert len(stack.records.list_audio("full")[0]) == 2
    assert len([key for key in stack.objects() if "/full/" in key]) == 1
    assert post(app, tenant="other", body=announced).status == 201


def test_a_tenant_gets_only_so_much_of_the_workers_time_a_day(
    app: ModuleType, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Posting the same form again and again, and deleting in between, are no way around it."""
    cost = app.costs.embedding_of(60).seconds
    monkeypatch.setattr(app, "limits", Limits(100, 10, stored_bytes=10**9))
    for _ in range(int(10 / max(cost, MIN_CHARGE_SECONDS))):
        audio_id = post(app, tenant="keen", **form(b"x" * 60)).json["audio_id"]
        audio = stack.records.get_audio("keen", audio_id)
        assert audio
        claimed = stack.records.claim_audio("keen", audio_id)
        stack.records.usage.settle(claimed, 1.0)
        stack.records.bury(audio)
        stack.records.usage.settle(audio)
    for arguments in (form(b"x" * 60), {"body": {"filename": "a.mp3", "bytes": 60}}):
        answer = post(app, tenant="keen", **arguments)
        assert "worker seconds" in answer.problem(429, "daily_limit")["detail"]
        assert 0 < int(answer.headers["retry-after"]) <= 86400
    assert post(app, tenant="other", **form(b"x" * 60)).status == 201


@pytest.mark.parametrize("most", [2, 30])
def test_a_refusal_costs_about_what_an_acceptance_does(
    most: int, app: ModuleType, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "limits", Limits(unfinished=most, worker_seconds_per_day=0, stored_bytes=10**9))
    body = {"filename": "song.mp3", "bytes": 1000}
    for _ in range(most):
        assert post(app, body=body).status == 201
    stack.asked.clear()
    post(app, body=body).problem(429, "too_many_unfinished")
    assert len(stack.asked) <= 5


def test_who_is_refused_has_nothing_noted(
    app: ModuleType, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "limits", Limits(9, 10**6, stored_bytes=1000))
    post(app, tenant="full", **form(b"x" * 60)).problem(429, "storage_limit")
    assert [item for item in stack.records.items.table.scan()["Items"] if item["pk"] == "tenant#full"] == []


def test_a_browser_may_ask_first(app: ModuleType) -> None:
    headers = {"Origin": "https://page.example", "Access-Control-Request-Method": "POST"}
    answer = call(app, "OPTIONS", "/api/upload", headers=headers)
    assert answer.status == 204
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "POST" in answer.headers["access-control-allow-methods"]


def test_failures_of_ours_say_nothing_of_us(
    app: ModuleType, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret table name")

    monkeypatch.setattr(app.records, "create_audio", broken)
    answer = post(app, **form(SOUND))
    problem = answer.problem(500, "internal_error")
    assert "secret" not in answer.body.decode()
    assert problem["correlation_id"] == answer.headers["x-correlation-id"]
    assert "secret table name" in caplog.text


class TestContentHash:
    """A client that says the hash of a file sends no file that is there."""

    HASH = hashlib.sha256(SOUND).hexdigest()

    def announce(self, app: ModuleType, tenant: str = "default", **more: str) -> Answer:
        body = {"filename": "copy.mp3", "bytes": len(SOUND), "sha256": self.HASH, **more}
        return post(app, tenant=tenant, body=body)

    def test_content_that_is_there_is_answered_with_its_track(self, app: ModuleType, stack: Stack) -> None:
        first = post(app, **form(SOUND, "first.mp3")).json
        answer = self.announce(app)
        assert answer.status == 200
        assert answer.json == first
        assert answer.headers["location"] == first["links"]["self"]
        assert len(stack.objects()) == len(stack.records.list_audio("default")[0]) == 1

    def test_other_content_and_that_of_others_is_sent(self, app: ModuleType, stack: Stack) -> None:
        post(app, **form(SOUND, "first.mp3"))
        for answer in (self.announce(app, sha256="0" * 64), self.announce(app, tenant="somebody")):
            assert (answer.status, answer.json["status"]) == (201, "awaiting_upload")

    def test_what_was_only_announced_deleted_or_has_failed_is_sent(
        self, app: ModuleType, stack: Stack
    ) -> None:
        announced = self.announce(app)
        assert self.announce(app).json["audio_id"] != announced.json["audio_id"]
        deleted, failed = (post(app, **form(SOUND)).json["audio_id"] for _ in range(2))
        stack.records.bury(stack.records.get_audio("default", deleted))  # type: ignore[type-var]
        stack.records.fail_audio(stack.records.claim_audio("default", failed), "undecodable", "No sound.")
        assert self.announce(app).json["status"] == "awaiting_upload"

    def test_copies_are_known_though_those_before_them_are_deleted(
        self, app: ModuleType, stack: Stack
    ) -> None:
        *first, last = [post(app, **form(SOUND)).json["audio_id"] for _ in range(10)]
        for audio_id in first:
            delete(stack, audio_id)
        answer = self.announce(app)
        assert (answer.status, answer.json["audio_id"]) == (200, last)
        assert "duplicate_of" not in answer.json

    def test_room_is_made_by_what_is_deleted(
        self, app: ModuleType, stack: Stack, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(contents, "KEPT", 2)
        first, second = (post(app, **form(SOUND)).json["audio_id"] for _ in range(2))
        delete(stack, first)
        third = post(app, **form(SOUND)).json
        assert third["duplicate_of"] == second
        delete(stack, second)
        assert self.announce(app).json["audio_id"] == third["audio_id"]

    @pytest.mark.parametrize("sha256", ["", "0" * 63, "F" * 64, "../" + "0" * 61])
    def test_a_hash_is_64_digits(self, app: ModuleType, stack: Stack, sha256: str) -> None:
        assert self.announce(app, sha256=sha256).problem(422, "invalid_parameter")["field"] == "sha256"
