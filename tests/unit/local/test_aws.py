"""What the front adds to moto: presigned forms and URLs, CORS, vectors, atomic writes."""

from __future__ import annotations

import base64
import io
import json
import threading
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
import requests
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from backend.storage import Storage
from backend.vectors import Vectors
from local.aws import authorization, presigned, signature
from local.aws.provision import client
from local.aws.vectors import QueryError, fits
from local.stack import Stack
from tests.support.local_stack import local_stack

TEMPLATE = Path(__file__).with_name("deployment") / "template.yaml"
BUCKET = "music-local-files"
PAGE = "https://page.example"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with local_stack(template=TEMPLATE) as stack:
        yield stack


@pytest.fixture(scope="module")
def s3(stack: Stack) -> Any:
    return client("s3", stack.endpoint_url, signature_version="s3v4", s3={"addressing_style": "virtual"})


@pytest.fixture
def storage(s3: Any) -> Storage:
    return Storage(BUCKET, s3)


def code(response: requests.Response) -> str:
    return response.text.partition("<Code>")[2].partition("</Code>")[0]


class TestForm:
    """A presigned POST, as `backend.storage` makes it."""

    def test_stores_the_object_as_the_policy_says(self, storage: Storage, s3: Any) -> None:
        upload = storage.presign_upload("uploads/a/good", content_type="audio/mpeg", max_bytes=10)
        answer = requests.post(upload.url, upload.fields, files={"file": ("any name.mp3", b"12345", "x/y")})
        assert answer.status_code == 204
        stored = s3.get_object(Bucket=BUCKET, Key="uploads/a/good")
        assert (stored["Body"].read(), stored["ContentType"]) == (b"12345", "audio/mpeg")
        assert stored["ETag"] == answer.headers["ETag"]

    def test_replaces_what_was_posted_before(self, storage: Storage) -> None:
        upload = storage.presign_upload("uploads/a/twice", content_type="audio/mpeg")
        for data in (b"one", b"two"):
            assert requests.post(upload.url, upload.fields, files={"file": data}).status_code == 204
        assert storage.read("uploads/a/twice") == b"two"

    def test_notifies_the_queue(self, stack: Stack, storage: Storage) -> None:
        sqs = client("sqs", stack.endpoint_url)
        queue = stack.deployment.queues["Queue"]
        upload = storage.presign_upload("uploads/a/notify", content_type="audio/mpeg")
        requests.post(upload.url, upload.fields, files={"file": b"12345"})
        answer = sqs.receive_message(QueueUrl=queue.url, MaxNumberOfMessages=10, WaitTimeSeconds=2)
        assert any("notify" in message["Body"] for message in answer["Messages"])

    @pytest.mark.parametrize(
        ("change", "status", "expected"),
        [
            ({"key": "uploads/a/other"}, 403, "AccessDenied"),
            ({"key": "uploads/a/form/longer"}, 403, "AccessDenied"),
            ({"Content-Type": "text/html"}, 403, "AccessDenied"),
            ({"x-amz-meta-extra": "1"}, 403, "AccessDenied"),
            ({"x-amz-signature": "0" * 64}, 403, "SignatureDoesNotMatch"),
            ({"x-amz-credential": "other/20300101/us-east-1/s3/aws4_request"}, 403, "InvalidAccessKeyId"),
            ({"policy": None}, 403, "AccessDenied"),
            ({"key": None}, 400, "InvalidArgument"),
            ({"file": b""}, 400, "EntityTooSmall"),
            ({"file": b"x" * 11}, 400, "EntityTooLarge"),
            ({"file": b"x" * 3_000_000}, 400, "EntityTooLarge"),
            ({"file": None}, 400, "InvalidArgument"),
        ],
    )
    def test_refuses_what_the_policy_does_not_allow(
        self, storage: Storage, s3: Any, change: dict[str, Any], status: int, expected: str
    ) -> None:
        upload = storage.presign_upload("uploads/a/form", content_type="audio/mpeg", max_bytes=10)
        form = {**upload.fields, "file": b"12345", **change}
        file = form.pop("file")
        parts: list[Any] = [(name, (None, value)) for name, value in form.items() if value is not None]
        parts += [("file", ("name", file))] if file is not None else []
        answer = requests.post(upload.url, files=parts)
        assert (answer.status_code, code(answer)) == (status, expected)
        with pytest.raises(ClientError, match="404"):
            s3.head_object(Bucket=BUCKET, Key=form.get("key") or "uploads/a/form")

    def test_a_policy_with_a_wider_range_does_not_carry_the_signature(self, storage: Storage) -> None:
        upload = storage.presign_upload("uploads/a/form", content_type="audio/mpeg", max_bytes=10)
        policy = json.loads(base64.b64decode(upload.fields["policy"]))
        policy["conditions"] = [["content-length-range", 1, 10**9]]
        fields = {**upload.fields, "policy": base64.b64encode(json.dumps(policy).encode()).decode()}
        answer = requests.post(upload.url, fields, files={"file": b"x" * 11})
        assert (answer.status_code, code(answer)) == (403, "SignatureDoesNotMatch")

    def test_expires(self, storage: Storage) -> None:
        upload = storage.presign_upload("uploads/a/late", content_type="audio/mpeg", seconds=1)
        builder = EnvironBuilder(method="POST", data={**upload.fields, "file": (io.BytesIO(b"1"), "x")})
        form = presigned.read_form(Request(builder.get_environ()))
        presigned.check_form(form, BUCKET)
        with pytest.raises(presigned.S3Error, match="Policy expired"):
            presigned.check_form(form, BUCKET, now=datetime.now(UTC) + timedelta(seconds=3))

    def test_fields_after_the_file_do_not_count(self, storage: Storage) -> None:
        upload = storage.presign_upload("uploads/a/order", content_type="audio/mpeg")
        parts: list[Any] = [
            ("file", ("name", b"12345")),
            *((name, (None, value)) for name, value in upload.fields.items()),
        ]
        answer = requests.post(upload.url, files=parts)
        assert (answer.status_code, code(answer)) == (400, "InvalidArgument")

    def test_garbage_is_no_form(self, stack: Stack) -> None:
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        answer = requests.post(f"{stack.endpoint_url}/{BUCKET}", b"no form", headers=headers)
        assert (answer.status_code, code(answer)) == (400, "MalformedPOSTRequest")


class TestUrl:
    """Presigned URLs."""

    def test_downloads_under_a_name(self, storage: Storage) -> None:
        storage.put("generated/a b+ü.wav", b"sound", "audio/wav")
        answer = requests.get(
            storage.presign_download(
                "generated/a b+ü.wav", filename="Köln 1.wav", content_type="audio/wav"
            ).url
        )
        assert (answer.status_code, answer.content) == (200, b"sound")
        assert "K%C3%B6ln%201.wav" in answer.headers["Content-Disposition"]

    def test_uploads(self, s3: Any) -> None:
        url = s3.generate_presigned_url("put_object", {"Bucket": BUCKET, "Key": "put"}, ExpiresIn=60)
        assert requests.put(url, b"data").status_code == 200
        assert s3.get_object(Bucket=BUCKET, Key="put")["Body"].read() == b"data"

    @pytest.mark.parametrize(
        "change", [("generated/mine", "generated/yours"), ("Expires=60", "Expires=6000")]
    )
    def test_a_changed_url_is_refused(self, storage: Storage, change: tuple[str, str]) -> None:
        storage.put("generated/yours", b"secret", "audio/wav")
        url = storage.presign_download(
            "generated/mine", filename="x", content_type="audio/wav", seconds=60
        ).url.replace(*change)
        answer = requests.get(url)
        assert (answer.status_code, code(answer)) == (403, "SignatureDoesNotMatch")

    def test_is_for_one_method(self, storage: Storage) -> None:
        url = storage.presign_download("generated/mine", filename="x", content_type="audio/wav").url
        assert requests.put(url, b"other").status_code == 403
        assert requests.delete(url).status_code == 403

    def test_unsigned_headers_of_amazon_are_refused(self, s3: Any) -> None:
        url = s3.generate_presigned_url("put_object", {"Bucket": BUCKET, "Key": "put"}, ExpiresIn=60)
        answer = requests.put(url, b"data", headers={"x-amz-meta-sneaky": "1"})
        assert (answer.status_code, code(answer)) == (403, "AccessDenied")

    def test_expires(self, storage: Storage) -> None:
        url = storage.presign_download(
            "generated/mine", filename="x", content_type="audio/wav", seconds=60
        ).url
        path, _, query = url.removeprefix("http://").partition("/")[2].partition("?")
        host = url.removeprefix("http://").partition("/")[0]
        request = Request(
            EnvironBuilder(f"/{path}", query_string=query, headers=[("Host", host)]).get_environ()
        )
        presigned.check_url(request)
        with pytest.raises(presigned.S3Error, match="expired"):
            presigned.check_url(request, now=datetime.now(UTC) + timedelta(seconds=62))

    def test_half_a_signature_is_refused(self, stack: Stack) -> None:
        answer = requests.get(f"{stack.endpoint_url}/{BUCKET}/x?X-Amz-Signature=1")
        assert (answer.status_code, code(answer)) == (400, "AuthorizationQueryParametersError")


OPERATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "dynamodb": ("list_tables", {}),
    "events": ("put_events", {"Entries": [{"Source": "a", "DetailType": "b", "Detail": "{}"}]}),
    "s3": (
        "put_object",
        {"Bucket": BUCKET, "Key": "signed ü+%41/~x", "Body": b"sound", "Metadata": {"a_b": "c  d"}},
    ),
    "s3vectors": ("list_vectors", {"vectorBucketName": "vectors", "indexName": "points"}),
    "sqs": ("list_queues", {"QueueNamePrefix": "music"}),
}
"""One of each service that the template uses, with everything that is hard to sign."""


class TestHeader:
    """Requests that are signed in a header, as every SDK signs them."""

    @pytest.fixture
    def sent(self, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Any:
        """Ask for one operation of a service, with its request changed or with other credentials."""

        def send(service: str, change: Any = None, **credentials: str) -> Any:
            asking = boto3.client(
                service,  # type: ignore[call-overload]
                endpoint_url=stack.endpoint_url,
                region_name="us-east-1",
                aws_access_key_id=credentials.get("access", signature.ACCESS_KEY),
                aws_secret_access_key=credentials.get("secret", signature.SECRET_KEY),
                config=Config(retries={"total_max_attempts": 1}),
            )
            if change:
                asking.meta.events.register("before-send", lambda request, **_: change(request))
            operation, arguments = OPERATIONS[service]
            return getattr(asking, operation)(**arguments)

        return send

    @pytest.mark.parametrize("service", OPERATIONS)
    def test_what_is_rightly_signed_is_answered(self, sent: Any, service: str) -> None:
        assert sent(service)["ResponseMetadata"]["HTTPStatusCode"] == 200

    @pytest.mark.parametrize("service", OPERATIONS)
    @pytest.mark.parametrize(
        ("credentials", "s3_code", "code"),
        [
            ({"secret": "guessed"}, "SignatureDoesNotMatch", "InvalidSignatureException"),
            ({"access": "guessed"}, "InvalidAccessKeyId", "UnrecognizedClientException"),
        ],
    )
    def test_nobody_else_is_answered(
        self, sent: Any, service: str, credentials: dict[str, str], s3_code: str, code: str
    ) -> None:
        with pytest.raises(ClientError) as caught:
            sent(service, **credentials)
        assert caught.value.response["Error"]["Code"] == (s3_code if service == "s3" else code)

    @pytest.mark.parametrize(
        ("change", "s3_code"),
        [
            ("body", "XAmzContentSHA256Mismatch"),
            ("path", "SignatureDoesNotMatch"),
            ("query", "SignatureDoesNotMatch"),
            ("method", "SignatureDoesNotMatch"),
            ("date", "SignatureDoesNotMatch"),
            ("yesterday", "AccessDenied"),
            ("header", "AccessDenied"),
            ("unsigned", "AccessDenied"),
        ],
    )
    @pytest.mark.parametrize("service", OPERATIONS)
    def test_a_request_that_was_changed_is_refused(
        self, sent: Any, service: str, change: str, s3_code: str
    ) -> None:
        def changed(request: Any) -> None:
            if change == "body":
                text = request.body if isinstance(request.body, bytes) else request.body.read()
                request.body = bytes([text[0] ^ 1]) + text[1:]
            elif change == "path":
                request.url += "x"
            elif change == "query":
                request.url += "?acl"
            elif change == "method":
                request.method = "PATCH"
            elif change == "header":
                request.headers["x-amz-other"] = "1"
            elif change == "unsigned":
                del request.headers["Authorization"]
            else:
                then = datetime.now(UTC) - timedelta(seconds=1 if change == "date" else 86400)
                del request.headers["X-Amz-Date"]
                request.headers["X-Amz-Date"] = then.strftime("%Y%m%dT%H%M%SZ")

        with pytest.raises(ClientError) as caught:
            sent(service, changed)
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] in {400, 403, 412}
        if service == "s3":
            assert caught.value.response["Error"]["Code"] == s3_code

    @pytest.mark.parametrize(("minutes", "taken"), [(-14, True), (14, True), (-16, False), (16, False)])
    def test_clocks_may_differ_by_a_quarter_of_an_hour(self, sent: Any, minutes: int, taken: bool) -> None:
        requests_seen: list[Any] = []
        sent("sqs", lambda request: requests_seen.append(request))
        (prepared,) = requests_seen
        builder = EnvironBuilder(
            method="POST",
            base_url=prepared.url,
            data=prepared.body,
            headers=[(name, _text(value)) for name, value in prepared.headers.items()],
        )
        builder.headers["Host"] = prepared.url.removeprefix("http://").rstrip("/")
        request = Request(builder.get_environ())
        signed = authorization.read(request)
        assert signed
        then = datetime.now(UTC) + timedelta(minutes=minutes)
        if taken:
            assert signed.check(request, now=then).get_data() == prepared.body
        else:
            with pytest.raises(authorization.Refused, match="too large"):
                signed.check(request, now=then)

    @pytest.mark.parametrize("sized", [True, False], ids=["sized", "transfer-encoding"])
    def test_a_body_in_chunks_with_a_trailer_is_stored(self, stack: Stack, s3: Any, sized: bool) -> None:
        checksum = base64.b64encode(zlib.crc32(b"hello").to_bytes(4, "big")).decode()
        body = f"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:{checksum}\r\n\r\n".encode()
        url = f"{stack.endpoint_url}/{BUCKET}/chunked"
        unsigned = AWSRequest(
            "PUT",
            url,
            {
                "content-encoding": "aws-chunked",
                "x-amz-decoded-content-length": "5",
                "x-amz-trailer": "x-amz-checksum-crc32",
            },
        )
        Streaming(Credentials(signature.ACCESS_KEY, signature.SECRET_KEY), "s3", "us-east-1").add_auth(
            unsigned
        )
        headers = {name: _text(value) for name, value in unsigned.headers.items()}
        answer = requests.put(url, body if sized else iter([body[:7], body[7:]]), headers=headers)
        assert answer.status_code == 200, answer.text
        assert s3.get_object(Bucket=BUCKET, Key="chunked")["Body"].read() == b"hello"
        headers["x-amz-decoded-content-length"] = "4"
        assert requests.put(url, body, headers=headers).status_code == 403

    def test_a_body_of_any_other_service_is_bounded(self, sent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(authorization, "MAX_MESSAGE_BYTES", 10)
        with pytest.raises(ClientError) as caught:
            sent("sqs")
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413

    def test_a_presigned_url_of_another_service_is_refused(self, stack: Stack) -> None:
        sqs = client("sqs", stack.endpoint_url)
        url = sqs.generate_presigned_url("list_queues", ExpiresIn=60)
        assert requests.get(url).status_code == 400

    @pytest.mark.parametrize(
        "path", ["/moto-api/reset", "/moto-api/data.json", "/latest/meta-data/", "/favicon.ico"]
    )
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_motos_own_routes_are_closed_even_to_who_signs(
        self, stack: Stack, method: str, path: str
    ) -> None:
        unsigned = AWSRequest(method, stack.endpoint_url + path, {})
        S3SigV4Auth(Credentials(signature.ACCESS_KEY, signature.SECRET_KEY), "s3", "us-east-1").add_auth(
            unsigned
        )
        headers = {name: _text(value) for name, value in unsigned.headers.items()}
        for given in ({}, headers):
            assert requests.request(method, stack.endpoint_url + path, headers=given).status_code == 403
        assert (
            stack.deployment.tables[0].name
            in client("dynamodb", stack.endpoint_url).list_tables()["TableNames"]
        )


class Streaming(S3SigV4Auth):
    """Signs a body that comes in chunks."""

    def payload(self, request: Any) -> str:
        return "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


@pytest.mark.parametrize("path", [f"/{BUCKET}/generated/mine", f"/{BUCKET}", "/", "/moto-api/data.json"])
def test_without_a_signature_nothing_is_given(stack: Stack, path: str) -> None:
    assert requests.get(stack.endpoint_url + path).status_code == 403
    assert requests.put(stack.endpoint_url + path, b"x").status_code == 403


class TestCors:
    """The bucket's CORS rules."""

    @pytest.mark.parametrize(
        ("origin", "method", "status"),
        [(PAGE, "POST", 200), (PAGE, "DELETE", 403), ("https://evil", "POST", 403)],
    )
    def test_preflight(self, stack: Stack, origin: str, method: str, status: int) -> None:
        headers = {
            "Origin": origin,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": "x-a",
        }
        answer = requests.options(f"{stack.endpoint_url}/{BUCKET}", headers=headers)
        assert answer.status_code == status
        assert answer.headers.get("Access-Control-Allow-Origin") == (PAGE if status == 200 else None)

    @pytest.mark.parametrize(("origin", "allowed"), [(PAGE, PAGE), ("https://evil", None)])
    def test_answers(self, storage: Storage, origin: str, allowed: str | None) -> None:
        upload = storage.presign_upload("uploads/a/cors", content_type="audio/mpeg", max_bytes=3)
        for data in (b"1", b"too large"):
            answer = requests.post(
                upload.url, upload.fields, files={"file": data}, headers={"Origin": origin}
            )
            assert answer.headers.get("Access-Control-Allow-Origin") == allowed

    def test_what_a_page_of_another_origin_has_signed_does_nothing(self, storage: Storage, s3: Any) -> None:
        upload = storage.presign_upload("uploads/a/foreign", content_type="audio/mpeg")
        headers = {"Origin": "https://evil"}
        answer = requests.post(upload.url, upload.fields, files={"file": b"1"}, headers=headers)
        assert (answer.status_code, code(answer)) == (403, "AccessForbidden")
        with pytest.raises(ClientError, match="404"):
            s3.head_object(Bucket=BUCKET, Key="uploads/a/foreign")


class TestRaces:
    """Of racing writes under a condition exactly one wins."""

    THREADS = 32

    def race(self, write: Any) -> list[str]:
        outcomes, barrier = [], threading.Barrier(self.THREADS)

        def run(number: int) -> None:
            barrier.wait()
            try:
                write(number)
                outcomes.append("won")
            except ClientError as error:
                outcomes.append(error.response["Error"]["Code"])

        threads = [threading.Thread(target=run, args=(i,)) for i in range(self.THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sorted(outcomes)

    def test_one_claim_wins(self, stack: Stack) -> None:
        table = stack.deployment.tables[0].name
        dynamodb = client("dynamodb", stack.endpoint_url, max_pool_connections=self.THREADS)
        dynamodb.put_item(TableName=table, Item={"pk": {"S": "job"}, "state": {"S": "queued"}})

        def claim(number: int) -> None:
            dynamodb.update_item(
                TableName=table,
                Key={"pk": {"S": "job"}},
                UpdateExpression="SET #s = :running, winner = :me",
                ConditionExpression="#s = :queued",
                ExpressionAttributeNames={"#s": "state"},
                ExpressionAttributeValues={
                    ":running": {"S": "running"},
                    ":queued": {"S": "queued"},
                    ":me": {"N": str(number)},
                },
            )

        assert self.race(claim) == ["ConditionalCheckFailedException"] * 31 + ["won"]

    def test_a_transaction_changes_all_or_nothing(self, stack: Stack) -> None:
        table = stack.deployment.tables[0].name
        dynamodb = client("dynamodb", stack.endpoint_url)

        def put(name: str) -> Any:
            return {"Put": {"TableName": table, "Item": {"pk": {"S": name}, "n": {"N": "1"}}}}

        def add(name: str, expected: str) -> Any:
            return {
                "Update": {
                    "TableName": table,
                    "Key": {"pk": {"S": name}},
                    "UpdateExpression": "ADD n :one",
                    "ConditionExpression": "n = :expected",
                    "ExpressionAttributeValues": {":one": {"N": "1"}, ":expected": {"N": expected}},
                }
            }

        def numbers() -> dict[str, str]:
            found = dynamodb.scan(TableName=table)["Items"]
            return {item["pk"]["S"]: item["n"]["N"] for item in found if "n" in item}

        dynamodb.transact_write_items(TransactItems=[put("one"), put("two")])
        dynamodb.transact_write_items(TransactItems=[add("one", "1"), add("two", "1")])
        assert numbers() == {"one": "2", "two": "2"}
        with pytest.raises(ClientError, match="TransactionCanceledException"):
            dynamodb.transact_write_items(TransactItems=[put("three"), add("one", "2"), add("two", "9")])
        assert numbers() == {"one": "2", "two": "2"}
        outcomes = self.race(
            lambda number: dynamodb.transact_write_items(TransactItems=[add("one", "2"), add("two", "2")])
        )
        assert outcomes == ["TransactionCanceledException"] * 31 + ["won"]
        assert numbers() == {"one": "3", "two": "3"}

    def test_one_first_write_wins(self, stack: Stack) -> None:
        s3 = client("s3", stack.endpoint_url, max_pool_connections=self.THREADS)

        def put(number: int) -> None:
            s3.put_object(Bucket=BUCKET, Key="generated/race", Body=str(number).encode(), IfNoneMatch="*")

        assert self.race(put) == ["PreconditionFailed"] * 31 + ["won"]


def test_a_read_under_a_condition(s3: Any) -> None:
    etag = s3.put_object(Bucket=BUCKET, Key="conditional", Body=b"one")["ETag"]
    assert s3.get_object(Bucket=BUCKET, Key="conditional", IfMatch=etag)["Body"].read() == b"one"
    s3.put_object(Bucket=BUCKET, Key="conditional", Body=b"two")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.get_object(Bucket=BUCKET, Key="conditional", IfMatch=etag)


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    points = np.random.default_rng(1).standard_normal((60, 8)).astype(np.float32)
    return points / np.linalg.norm(points, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def vectors(stack: Stack, points: np.ndarray) -> Vectors:
    vectors = Vectors("vectors", "points", client("s3vectors", stack.endpoint_url))
    for i, point in enumerate(points):
        vectors.put("me" if i % 2 == 0 else "you", f"audio-{i}", point.tolist(), "a" if i % 3 else "b")
    return vectors


class TestVectors:
    """What moto leaves out of S3 Vectors, through the production code."""

    def test_keys_are_listed_in_pages(self, vectors: Vectors) -> None:
        seen: list[str] = []
        after: str | None = None
        while True:
            page, after = vectors.page(after, 25)
            assert len(page) <= 25
            seen += page
            if after is None:
                break
        assert len(seen) == len(set(seen)) == 60
        assert vectors.has("me", "audio-0")
        assert not vectors.has("you", "audio-0")

    def test_agrees_with_brute_force(self, vectors: Vectors, points: np.ndarray) -> None:
        found = vectors.query("me", points[2].tolist(), "a", 7, exclude=["audio-2"])
        others = [i for i in range(60) if i % 2 == 0 and i % 3 and i != 2]
        cosine = points.astype(np.float64) @ points[2].astype(np.float64)
        expected = sorted(others, key=lambda i: -cosine[i])[:7]
        assert [match.audio_id for match in found] == [f"audio-{i}" for i in expected]
        np.testing.assert_allclose([match.score for match in found], cosine[expected], atol=1e-6)

    def test_returns_what_there_is(self, vectors: Vectors, points: np.ndarray) -> None:
        assert len(vectors.query("me", points[0].tolist(), "b", 100)) == 10
        assert vectors.query("nobody", points[0].tolist(), "b", 5) == []

    def test_replaces_and_deletes(self, vectors: Vectors, points: np.ndarray) -> None:
        vectors.put("spare", "one", points[0].tolist(), "a")
        vectors.put("spare", "one", points[1].tolist(), "a")
        assert vectors.query("spare", points[1].tolist(), "a", 5)[0].score == pytest.approx(1.0, abs=1e-6)
        vectors.delete("spare", "one")
        assert vectors.query("spare", points[1].tolist(), "a", 5) == []

    @pytest.mark.parametrize(
        "change",
        [
            {"topK": 101},
            {"topK": 0},
            {"queryVector": {"float32": [1.0] * 7}},
            {"queryVector": {"float32": [0.0] * 8}},
        ],
    )
    def test_refuses(self, stack: Stack, change: dict[str, Any]) -> None:
        s3vectors = client("s3vectors", stack.endpoint_url, parameter_validation=False)
        query = {"topK": 1, "queryVector": {"float32": [1.0] * 8}, "indexName": "points", **change}
        with pytest.raises(s3vectors.exceptions.ValidationException):
            s3vectors.query_vectors(vectorBucketName="vectors", **query)

    def test_an_index_that_is_not_there(self, stack: Stack) -> None:
        s3vectors = client("s3vectors", stack.endpoint_url)
        query = {"topK": 1, "queryVector": {"float32": [1.0] * 8}, "indexName": "missing"}
        with pytest.raises(s3vectors.exceptions.NotFoundException):
            s3vectors.query_vectors(vectorBucketName="vectors", **query)

    @pytest.mark.parametrize(
        ("wanted", "fit"),
        [
            ({}, True),
            ({"a": {"$eq": 1}}, True),
            ({"a": {"$eq": 2}}, False),
            ({"a": {"$nin": [2, 3]}}, True),
            ({"b": {"$nin": [1]}}, True),
            ({"b": {"$eq": 1}}, False),
            ({"$and": [{"a": {"$eq": 1}}, {"a": {"$nin": [2, 1]}}]}, False),
            ({"$and": [{"a": {"$eq": 1}}, {"b": {"$nin": [1]}}]}, True),
        ],
    )
    def test_filters(self, wanted: dict[str, Any], fit: bool) -> None:
        assert fits(wanted, {"a": 1}) is fit

    @pytest.mark.parametrize(
        "wanted", [{"a": {"$gt": 1}}, {"$or": []}, {"a": 1}, {"a": {"$eq": 1, "$nin": [2]}}]
    )
    def test_a_filter_that_is_not_emulated_is_refused(self, wanted: dict[str, Any]) -> None:
        with pytest.raises(QueryError, match="knows the filters"):
            fits(wanted, {"a": 1})


def test_signature_of_amazons_own_example() -> None:
    """The worked example of "Authenticating Requests: Using Query Parameters" in the S3 API Reference."""
    scope, date = "20130524/us-east-1/s3/aws4_request", "20130524T000000Z"
    request = signature.canonical_request(
        "GET",
        "/test.txt",
        [
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
            ("X-Amz-Credential", f"AKIAIOSFODNN7EXAMPLE/{scope}"),
            ("X-Amz-Date", date),
            ("X-Amz-Expires", "86400"),
            ("X-Amz-SignedHeaders", "host"),
        ],
        [("host", "examplebucket.s3.amazonaws.com")],
    )
    text = signature.string_to_sign(request, date, scope)
    secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    expected = "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    assert signature.sign(text, scope, secret) == expected
