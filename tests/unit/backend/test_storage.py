"""Storage: keys, presigned access, conditional reads and writes."""

from __future__ import annotations

import base64
import io
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.exceptions import ClientError

from backend import storage as module
from backend.settings import client
from backend.storage import (
    MAX_METADATA_BYTES,
    ObjectChanged,
    ObjectMissing,
    Storage,
    content_disposition,
    generated_key,
    parse_upload_key,
    upload_key,
)
from tests.support.stack import Stack

ULID = "01JDB4Q8YV0000000000000000"


@pytest.fixture
def storage(stack: Stack) -> Storage:
    return Storage("music")


@pytest.mark.parametrize(
    "key",
    [
        "uploads/default/short",
        f"uploads/{ULID}",
        f"uploads/a/b/{ULID}",
        f"uploads/default/{ULID}/x",
        f"uploads/default/{ULID}\n",
        f"uploads/default/{ULID.lower()}",
        f"generated/default/{ULID}",
        "uploads/default/ein söng + mehr.mp3",
        "",
    ],
)
def test_foreign_keys_are_not_ours(key: str) -> None:
    assert parse_upload_key(key) is None


def test_own_keys_are_ours() -> None:
    assert parse_upload_key(upload_key("tenant-1", ULID)) == ("tenant-1", ULID)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("song.wav", 'attachment; filename="song.wav"'),
        ("my song.wav", 'attachment; filename="my song.wav"'),
        ("é.wav", "attachment; filename=\"_.wav\"; filename*=UTF-8''%C3%A9.wav"),
        ('a"b.wav', "attachment; filename=\"a_b.wav\"; filename*=UTF-8''a%22b.wav"),
        ("100%41.wav", "attachment; filename=\"100_41.wav\"; filename*=UTF-8''100%2541.wav"),
        ("../../etc\r\nX: y", 'attachment; filename="_.._etcX: y"'),
        ("  ", 'attachment; filename="audio"'),
        ("\u202egpj.exe\u00ad\U000e0041", 'attachment; filename="gpj.exe"'),
        ("a\u2028b", 'attachment; filename="ab"'),
    ],
)
def test_content_disposition(name: str, value: str) -> None:
    assert content_disposition(name) == value
    assert value.isascii()
    assert value.isprintable()


def test_content_disposition_stays_short_and_keeps_the_extension() -> None:
    for name in ("x" * 1020 + ".mp3", "\U0001f3b5" * 1020 + ".mp3"):
        value = content_disposition(name)
        assert len(value) < 2500
        assert ".mp3" in value
    assert len(content_disposition("x." + "y" * 1000)) < 2500


def test_presigned_upload_fixes_key_type_size_and_life(storage: Storage) -> None:
    upload = storage.presign_upload(
        "uploads/default/x", content_type="audio/mpeg", max_bytes=1000, seconds=60
    )
    policy = json.loads(base64.b64decode(upload.fields["policy"]))
    assert {"key": "uploads/default/x"} in policy["conditions"]
    assert {"Content-Type": "audio/mpeg"} in policy["conditions"]
    assert ["content-length-range", 1, 1000] in policy["conditions"]
    assert policy["expiration"] == upload.expires_at
    assert upload.fields["key"] == "uploads/default/x"
    assert upload.fields["x-amz-algorithm"] == "AWS4-HMAC-SHA256"


def test_presigned_urls_are_regional(storage: Storage) -> None:
    assert storage.presign_upload("k", content_type="audio/wav").url == (
        "https://music.s3.eu-central-1.amazonaws.com/"
    )
    signed = storage.presign_download("generated/t/x.wav", filename="ö.wav", content_type="audio/wav")
    url = urlsplit(signed.url)
    assert url.netloc == "music.s3.eu-central-1.amazonaws.com"
    query = parse_qs(url.query)
    assert query["response-content-disposition"] == [content_disposition("ö.wav")]
    assert query["response-content-type"] == ["audio/wav"]
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]


def test_presigned_urls_use_the_path_where_the_endpoint_is_an_address(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:5000")
    local = Storage("music", client("s3"))
    assert local.presign_upload("k", content_type="audio/wav").url == "http://127.0.0.1:5000/music"


def test_put_never_replaces(storage: Storage) -> None:
    etag = storage.put("generated/t/x.wav", b"first", "audio/wav", metadata={"result": "1"})
    assert storage.put("generated/t/x.wav", b"second", "audio/wav", metadata={"result": "2"}) is None
    stored = storage.head("generated/t/x.wav")
    assert stored
    assert (stored.etag, stored.size, stored.metadata) == (etag, 5, {"result": "1"})
    assert stored.content_type == "audio/wav"
    assert storage.read("generated/t/x.wav") == b"first"


def test_put_refuses_too_much_metadata(storage: Storage) -> None:
    with pytest.raises(ValueError, match="2048"):
        storage.put("k", b"", "audio/wav", metadata={"result": "x" * MAX_METADATA_BYTES})
    assert storage.head("k") is None


class Conflicting:
    """An S3 that answers 409 to the first puts, as while a delete of the key is under way."""

    def __init__(self, times: int) -> None:
        self.times = times

    def put_object(self, **request: Any) -> dict[str, Any]:
        if self.times:
            self.times -= 1
            answer: Any = {
                "Error": {"Code": "ConditionalRequestConflict"},
                "ResponseMetadata": {"HTTPStatusCode": 409},
            }
            raise ClientError(answer, "PutObject")
        return {"ETag": '"e"'}


def test_put_tries_again_after_a_conflict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    s3: Any = Conflicting(3)
    assert Storage("music", s3).put("k", b"x", "audio/wav") == '"e"'
    endless: Any = Conflicting(100)
    with pytest.raises(ClientError, match="Conflict"):
        Storage("music", endless).put("k", b"x", "audio/wav")


def test_reads_only_the_version_asked_for(storage: Storage, stack: Stack) -> None:
    etag = storage.put("k", b"one" * 1000, "audio/wav")
    file = io.BytesIO()
    storage.download("k", file, etag=etag)
    assert file.getvalue() == b"one" * 1000
    stack.s3.put_object(Bucket="music", Key="k", Body=b"two")
    with pytest.raises(ObjectChanged):
        storage.download("k", io.BytesIO(), etag=etag)
    with pytest.raises(ObjectChanged):
        storage.read("k", etag=etag)
    storage.delete("k")
    storage.delete("k")
    assert storage.head("k") is None
    with pytest.raises(ObjectMissing):
        storage.read("k")


def test_deletes_a_generation_in_whatever_format(storage: Storage, stack: Stack) -> None:
    for extension in ("wav", "ogg"):
        storage.put(generated_key("t", ULID, extension), b"x", "audio/wav")
    storage.put(generated_key("t", "other", "wav"), b"x", "audio/wav")
    storage.delete_generated("t", ULID)
    storage.delete_generated("t", ULID)
    assert stack.objects() == ["generated/t/other.wav"]


def test_other_errors_pass_through(stack: Stack) -> None:
    absent = Storage("no-such-bucket")
    with pytest.raises(ClientError):
        absent.put("k", b"", "audio/wav")
