"""Requests signed in their `Authorization` header, checked as AWS checks them (moto takes anything).

The signature covers the body by its hash. Of a body in chunks (``STREAMING-…``) the headers' signature is
checked and each chunk's is not: who cannot sign sends nothing, and nobody sits between two processes here.

See Also
--------
local.aws.presigned : signatures in a query string or in a form.

References
----------
.. [1] "Signature Version 4 signing process", AWS Identity and Access Management User Guide.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from botocore.utils import normalize_url_path
from werkzeug.wrappers import Request

from local.aws import signature

MAX_OBJECT_BYTES = 5 * 1024**3
"""Largest object that S3 takes in one request."""
MAX_MESSAGE_BYTES = 32 * 1024**2
"""Largest body of any other service; S3 Vectors and DynamoDB take 20 and 16 MB."""
MAX_SKEW = timedelta(minutes=15)
"""How far a request's clock may be from ours."""
_MEMORY_BYTES = 1 << 20
_HEADER = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/(\d{8}/[^/,\s]+/([a-z0-9-]+)/aws4_request),"
    r"\s*SignedHeaders=([^,\s]+),\s*Signature=([0-9a-f]{64})"
)
_NO_HASH = re.compile(r"UNSIGNED-PAYLOAD|STREAMING-(UNSIGNED-PAYLOAD|AWS4-HMAC-SHA256-PAYLOAD)(-TRAILER)?")
"""What S3 takes in the place of a body's hash."""


class Refused(Exception):
    """A request that AWS would not take: HTTP status and code as S3 answers, code of the other services."""

    def __init__(self, status: int, s3_code: str, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.s3_code, self.code, self.message = status, s3_code, code, message


@dataclass(frozen=True)
class Authorization:
    """An `Authorization` header; `scope` is ``DAY/REGION/SERVICE/aws4_request``."""

    access_key: str
    scope: str
    service: str
    signed: tuple[str, ...]
    signature: str

    def check(self, request: Request, now: datetime | None = None) -> Request:
        """Check a request against its signature, its clock and the hash of its body.

        Parameters
        ----------
        request : Request
            The one with this header.
        now : datetime, optional
            The time, for tests.

        Returns
        -------
        Request
            The same request, with its body read: nothing that follows waits for the network.

        Raises
        ------
        Refused
            As AWS would answer.
        """
        if self.access_key != signature.ACCESS_KEY:
            message = "The AWS Access Key Id you provided does not exist in our records."
            raise Refused(403, "InvalidAccessKeyId", "UnrecognizedClientException", message)
        date = request.headers.get("x-amz-date", "")
        self._check_date(date, now or datetime.now(UTC))
        self._check_coverage(request)
        declared = request.headers.get("x-amz-content-sha256")
        if declared is None:
            request, declared = self._read(request)
            self._check_signature(request, date, declared)
            return request
        # Nothing is read for somebody who cannot sign.
        self._check_signature(request, date, declared)
        request, actual = self._read(request)
        if declared != actual and not (self.service == "s3" and _NO_HASH.fullmatch(declared)):
            message = "The provided 'x-amz-content-sha256' header does not match what was computed."
            raise Refused(400, "XAmzContentSHA256Mismatch", "InvalidSignatureException", message)
        return request

    def _check_date(self, date: str, now: datetime) -> None:
        try:
            signed_at = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        except ValueError:
            signed_at = None
        if signed_at is None or date[:8] != self.scope[:8]:
            message = "A signed request needs an X-Amz-Date of the day in its credential."
            raise Refused(403, "AccessDenied", "IncompleteSignatureException", message)
        if abs(now - signed_at) > MAX_SKEW:
            message = "The difference between the request time and the current time is too large."
            raise Refused(403, "RequestTimeTooSkewed", "InvalidSignatureException", message)

    def _check_coverage(self, request: Request) -> None:
        signed = {name.replace("_", "-") for name in self.signed}
        given = {name.lower().replace("_", "-") for name, _ in request.headers}
        unsigned = sorted(name for name in given - signed if name == "host" or name.startswith("x-amz-"))
        if unsigned:
            message = f"There were headers present in the request which were not signed: {unsigned}"
            raise Refused(403, "AccessDenied", "InvalidSignatureException", message)

    def _check_signature(self, request: Request, date: str, payload_hash: str) -> None:
        # S3 takes the path as it is, every other service encodes it once more.
        path = request.path if self.service == "s3" else normalize_url_path(_raw_path(request))
        text = signature.string_to_sign(
            signature.canonical_request(
                request.method,
                path,
                signature.query_pairs(request.query_string),
                [(name, _header(request, name)) for name in self.signed],
                payload_hash,
            ),
            date,
            self.scope,
        )
        if not signature.matches(self.signature, text, self.scope):
            message = (
                "The request signature we calculated does not match the signature you provided. "
                "Check your AWS Secret Access Key and signing method."
            )
            raise Refused(403, "SignatureDoesNotMatch", "InvalidSignatureException", message)

    def _read(self, request: Request) -> tuple[Request, str]:
        """Read the body, to the disk where it is large; returns the request anew and the body's SHA-256."""
        limit = MAX_OBJECT_BYTES if self.service == "s3" else MAX_MESSAGE_BYTES
        digest, size = hashlib.sha256(), 0
        body = tempfile.SpooledTemporaryFile(_MEMORY_BYTES)  # noqa: SIM115 (the request keeps it)
        while piece := request.stream.read(_MEMORY_BYTES):
            size += len(piece)
            if size > limit:
                message = f"The request has more than {limit} bytes."
                raise Refused(413, "EntityTooLarge", "RequestEntityTooLargeException", message)
            digest.update(piece)
            body.write(piece)
        body.seek(0)
        environ = {**request.environ, "wsgi.input": body, "CONTENT_LENGTH": str(size)}
        for name in ("HTTP_TRANSFER_ENCODING", "wsgi.input_terminated", "werkzeug.request"):
            environ.pop(name, None)
        return Request(environ), digest.hexdigest()


def read(request: Request) -> Authorization | None:
    """Read a request's `Authorization` header; None when it has none of Signature Version 4."""
    match = _HEADER.fullmatch(request.headers.get("Authorization", ""))
    if match is None:
        return None
    access_key, scope, service, signed, given = match.groups()
    return Authorization(access_key, scope, service, tuple(signed.lower().split(";")), given)


def _header(request: Request, name: str) -> str:
    """Value of a header as a client names it; WSGI has one spelling for ``a_b`` and ``a-b``."""
    key = name.upper().replace("-", "_")
    return str(request.environ.get(key if key in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{key}", ""))


def _raw_path(request: Request) -> str:
    return str(request.environ["RAW_URI"]).partition("?")[0]
