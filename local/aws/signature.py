"""AWS Signature Version 4, from the side that checks it."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from urllib.parse import parse_qsl, quote

ACCESS_KEY = "local"
SECRET_KEY = "local-development-only"  # noqa: S105 (no secret: it opens nothing but the local stack)
"""The one key pair of the local stack."""


def canonical_request(
    method: str,
    path: str,
    query: Iterable[tuple[str, str]],
    headers: Iterable[tuple[str, str]],
    payload_hash: str = "UNSIGNED-PAYLOAD",
) -> str:
    """Return the text that a request's signature is about.

    Parameters
    ----------
    path : str
        Decoded path; for other services than S3, the path as it was sent.
    query : iterable of (name, value)
        Decoded, without the signature itself.
    headers : iterable of (name, value)
        The signed ones, names in lower case.
    """
    pairs = sorted((_encode(name), _encode(value)) for name, value in query)
    signed = sorted((name, " ".join(value.split())) for name, value in headers)
    return "\n".join(
        [
            method,
            quote(path, safe="/~"),
            "&".join(f"{name}={value}" for name, value in pairs),
            *(f"{name}:{value}" for name, value in signed),
            "",
            ";".join(name for name, _ in signed),
            payload_hash,
        ]
    )


def query_pairs(query: bytes) -> list[tuple[str, str]]:
    """Return names and values of a query string, decoded, empty ones too."""
    return parse_qsl(query.decode("utf-8", "replace"), keep_blank_values=True)


def string_to_sign(request: str, date: str, scope: str) -> str:
    """Return what is signed for a canonical request; `scope` is ``DAY/REGION/SERVICE/aws4_request``."""
    return "\n".join(["AWS4-HMAC-SHA256", date, scope, hashlib.sha256(request.encode()).hexdigest()])


def sign(text: str, scope: str, secret: str = SECRET_KEY) -> str:
    """Sign a text with the key derived for a scope; hexadecimal."""
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def matches(given: str, text: str, scope: str) -> bool:
    """Tell whether a signature is the right one, in constant time."""
    return hmac.compare_digest(given.encode(), sign(text, scope).encode())


def _encode(text: str) -> str:
    return quote(text, safe="-_.~")
