"""Presigned URLs and presigned POST forms of S3, checked as S3 checks them (moto takes anything).

See Also
--------
backend.storage.Storage.presign_upload, backend.storage.Storage.presign_download : what is checked here.

References
----------
.. [1] "Authenticating Requests: Using Query Parameters", Amazon S3 API Reference.
.. [2] "Browser-Based Uploads Using POST", Amazon S3 API Reference.
"""

from __future__ import annotations

import base64
import binascii
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import IO, Any

from werkzeug.datastructures import Headers
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData
from werkzeug.wrappers import Request

from local.aws import signature
from local.aws.authorization import MAX_OBJECT_BYTES

MAX_FIELD_BYTES = 20 * 1024
"""Form data before the file, at most."""
_CHUNK = 1 << 20


class S3Error(Exception):
    """An error that S3 answers with: HTTP status, code, message and further members of the XML."""

    def __init__(self, status: int, code: str, message: str, **details: object) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.details = status, code, message, details


@dataclass(frozen=True)
class Form:
    """A posted form: the fields before the file, names in lower case, and the file."""

    fields: dict[str, str]
    filename: str
    file: IO[bytes]
    size: int


def check_url(request: Request, now: datetime | None = None) -> None:
    """Check the signature and the expiry of a presigned URL.

    Raises
    ------
    S3Error
        As S3 would answer.
    """
    now = now or datetime.now(UTC)
    pairs = signature.query_pairs(request.query_string)
    query = dict(pairs)
    try:
        scope = _scope(query["X-Amz-Credential"])
        date, seconds, signed = query["X-Amz-Date"], int(query["X-Amz-Expires"]), query["X-Amz-SignedHeaders"]
        given, algorithm = query["X-Amz-Signature"], query["X-Amz-Algorithm"]
        start = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except (KeyError, ValueError) as error:
        message = "Query-string authentication version 4 requires all of its X-Amz- parameters"
        raise S3Error(400, "AuthorizationQueryParametersError", message) from error
    if algorithm != "AWS4-HMAC-SHA256" or not 1 <= seconds <= 604800:
        message = "X-Amz-Algorithm must be AWS4-HMAC-SHA256 and X-Amz-Expires 1 to 604800"
        raise S3Error(400, "AuthorizationQueryParametersError", message)
    if now > start + timedelta(seconds=seconds):
        raise S3Error(403, "AccessDenied", "Request has expired", **{"X-Amz-Expires": seconds})
    if start > now + timedelta(minutes=15):
        raise S3Error(403, "AccessDenied", "Request is not valid yet")
    names = signed.split(";")
    for name in request.headers.keys():  # noqa: SIM118 (iterating Headers gives pairs)
        if name.lower().startswith("x-amz-") and name.lower() not in names:
            message = "There were headers present in the request which were not signed"
            raise S3Error(403, "AccessDenied", message, HeadersNotSigned=name.lower())
    text = signature.string_to_sign(
        signature.canonical_request(
            request.method,
            request.path,
            [(name, value) for name, value in pairs if name != "X-Amz-Signature"],
            [(name, request.headers.get(name, "")) for name in names],
            request.headers.get("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        ),
        date,
        scope,
    )
    _check_signature(given, text, scope)


def read_form(request: Request) -> Form:
    """Read a posted form; the file goes to a temporary file when it is large.

    As in S3, fields after the file are ignored.

    Raises
    ------
    S3Error
        When it is no such form.
    """
    boundary = request.mimetype_params.get("boundary")
    if request.mimetype != "multipart/form-data" or not boundary:
        raise S3Error(
            412, "PreconditionFailed", "Bucket POST must be of the enclosure-type multipart/form-data"
        )
    fields: dict[str, str] = {}
    filename, size, name, value = "", 0, "", b""
    file: IO[bytes] | None = None
    for event in _parts(request, boundary.encode()):
        if isinstance(event, Field | File):
            if file is not None:
                break
            name, value = event.name.lower(), b""
            if name == "file":
                filename = event.filename if isinstance(event, File) else ""
                file = tempfile.SpooledTemporaryFile(_CHUNK)  # noqa: SIM115 (the caller closes it)
        elif isinstance(event, Data) and file is not None:
            size += len(event.data)
            file.write(event.data)
        elif isinstance(event, Data):
            value += event.data
            if sum(map(len, fields.values())) + len(value) > MAX_FIELD_BYTES:
                message = "Your POST request fields preceding the upload file were too large."
                raise S3Error(400, "MaxPostPreDataLengthExceeded", message)
            if not event.more_data:
                fields[name] = value.decode("utf-8", "replace")
    if file is None:
        raise S3Error(400, "InvalidArgument", "POST requires exactly one file upload per request.")
    file.seek(0)
    return Form(fields, filename, file, size)


def check_form(form: Form, bucket: str, now: datetime | None = None) -> None:
    """Check a form against the policy it carries: signature, expiry, every field, the file's size.

    Raises
    ------
    S3Error
        As S3 would answer.
    """
    fields = form.fields
    if "key" not in fields:
        message = (
            "Bucket POST must contain a field named 'key'.  If it is specified, "
            "please check the order of the fields."
        )
        raise S3Error(400, "InvalidArgument", message)
    if "policy" not in fields:
        raise S3Error(403, "AccessDenied", "Access Denied")
    try:
        scope, given = _scope(fields["x-amz-credential"]), fields["x-amz-signature"]
    except (KeyError, ValueError) as error:
        message = "Bucket POST must contain the fields x-amz-credential and x-amz-signature."
        raise S3Error(400, "InvalidArgument", message) from error
    _check_signature(given, fields["policy"], scope)
    try:
        policy = json.loads(base64.b64decode(fields["policy"], validate=True))
        expires = datetime.fromisoformat(policy["expiration"].replace("Z", "+00:00"))
        conditions = [_condition(item) for item in policy["conditions"]]
    except (binascii.Error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise S3Error(400, "InvalidPolicyDocument", "Invalid Policy: it is no policy document.") from error
    if (now or datetime.now(UTC)) > expires:
        raise S3Error(403, "AccessDenied", "Invalid according to Policy: Policy expired.")
    _check_conditions(form, bucket, conditions)


def _check_conditions(form: Form, bucket: str, conditions: list[list[Any]]) -> None:
    values = {**form.fields, "bucket": bucket}
    covered = {"policy", "x-amz-signature", "bucket"}
    for condition in conditions:
        operator, name, expected = condition
        if operator == "content-length-range":
            _check_size(form.size, int(name), int(expected))
            continue
        name = str(name).removeprefix("$").lower()
        covered.add(name)
        value = values.get(name, "")
        if not (value == expected if operator == "eq" else value.startswith(expected)):
            shown = json.dumps([operator, f"${name}", expected])
            raise S3Error(
                403, "AccessDenied", f"Invalid according to Policy: Policy Condition failed: {shown}"
            )
    extra = sorted(n for n in form.fields if n not in covered and not n.startswith("x-ignore-"))
    if extra:
        raise S3Error(
            403, "AccessDenied", f"Invalid according to Policy: Extra input fields: {', '.join(extra)}"
        )


def _check_size(size: int, low: int, high: int) -> None:
    if size > high:
        message = "Your proposed upload exceeds the maximum allowed size"
        raise S3Error(400, "EntityTooLarge", message, ProposedSize=size, MaxSizeAllowed=high)
    if size < low:
        message = "Your proposed upload is smaller than the minimum allowed size"
        raise S3Error(400, "EntityTooSmall", message, ProposedSize=size, MinSizeAllowed=low)


def _condition(item: Any) -> list[Any]:
    """Bring a policy's condition to the form ``[operator, name, value]``."""
    if isinstance(item, Mapping):
        ((name, value),) = item.items()
        return ["eq", name, value]
    operator, name, value = item
    if operator.lower() not in {"eq", "starts-with", "content-length-range"}:
        raise ValueError(operator)
    return [operator.lower(), name, value]


def _scope(credential: str) -> str:
    """Check the access key of ``KEY/DAY/REGION/SERVICE/aws4_request``, return the rest."""
    access_key, _, scope = credential.partition("/")
    _, _, service, _ = scope.split("/")
    if service != "s3":
        raise ValueError(credential)
    if access_key != signature.ACCESS_KEY:
        message = "The AWS Access Key Id you provided does not exist in our records."
        raise S3Error(403, "InvalidAccessKeyId", message, AWSAccessKeyId=access_key)
    return scope


def _check_signature(given: str, text: str, scope: str) -> None:
    if not signature.matches(given, text, scope):
        message = (
            "The request signature we calculated does not match the signature you provided. "
            "Check your key and signing method."
        )
        raise S3Error(403, "SignatureDoesNotMatch", message)


def _parts(request: Request, boundary: bytes) -> Iterator[Any]:
    decoder = MultipartDecoder(boundary, max_form_memory_size=None)
    left = min(request.content_length or 0, MAX_OBJECT_BYTES)
    try:
        while True:
            event = decoder.next_event()
            if isinstance(event, Epilogue):
                return
            if not isinstance(event, NeedData):
                yield event
                continue
            data = request.stream.read(min(left, _CHUNK))
            left -= len(data)
            decoder.receive_data(data or None)
    except ValueError as error:
        message = "The body of your POST request is not well-formed multipart/form-data."
        raise S3Error(400, "MalformedPOSTRequest", message) from error


def put_headers(form: Form) -> Headers:
    """Return the headers of the PUT request that stores the same object with the same metadata."""
    kept = ("content-type", "content-disposition", "content-encoding", "cache-control", "expires")
    return Headers(
        [
            (name, value)
            for name, value in form.fields.items()
            if name in kept or name.startswith("x-amz-meta-")
        ]
    )
