"""A bucket's CORS rules, applied as S3 applies them."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any


def response_headers(
    rules: Sequence[dict[str, Any]], origin: str, method: str, headers: Sequence[str] = ()
) -> dict[str, str] | None:
    """Return the headers that allow a browser's request, None when no rule does.

    Parameters
    ----------
    rules : sequence of dict
        `CorsRules` of the template's bucket.
    origin, method : str
        Where the page is from and what it wants to do.
    headers : sequence of str
        Headers that a preflight request asks about.
    """
    for rule in rules:
        allowed_headers = [pattern.lower() for pattern in rule.get("AllowedHeaders", [])]
        if (
            method in rule["AllowedMethods"]
            and any(fnmatchcase(origin, pattern) for pattern in rule["AllowedOrigins"])
            and all(any(fnmatchcase(name.lower(), p) for p in allowed_headers) for name in headers)
        ):
            answer = {
                "Access-Control-Allow-Origin": "*" if "*" in rule["AllowedOrigins"] else origin,
                "Access-Control-Allow-Methods": ", ".join(rule["AllowedMethods"]),
                "Vary": "Origin, Access-Control-Request-Headers, Access-Control-Request-Method",
            }
            if headers:
                answer["Access-Control-Allow-Headers"] = ", ".join(headers)
            if "ExposedHeaders" in rule:
                answer["Access-Control-Expose-Headers"] = ", ".join(rule["ExposedHeaders"])
            if "MaxAge" in rule:
                answer["Access-Control-Max-Age"] = str(rule["MaxAge"])
            return answer
    return None
