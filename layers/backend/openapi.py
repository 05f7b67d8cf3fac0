"""How a route's responses are documented in `openapi.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backend import contract
from backend.problems import UNAUTHORIZED, Problem

_PROBLEMS = {
    400: ("The body cannot be read.", "invalid_body", "The body must be a JSON object."),
    401: ("No API key came with it.", "unauthorized", UNAUTHORIZED),
    403: ("The key is not valid, or not any more.", "forbidden", "This key is not valid, or not any more."),
    404: ("There is no such record, or it is somebody else's.", "not_found", "There is no such audio."),
    405: ("Another method is needed.", "method_not_allowed", "PUT is not allowed here, only GET."),
    409: ("The record's state does not allow this (yet).", "not_finished", "The generation is running."),
    410: ("It has expired.", "expired", "This generation has expired and was removed."),
    412: (
        "The file is another one than `If-Match` names.",
        "precondition_failed",
        "The file is not that one.",
    ),
    413: ("The file is too large.", "too_large", "The file is larger than 4500000 bytes."),
    415: ("The type is not supported.", "unsupported_media_type", "text/html is not audio."),
    416: (
        "The file has no such range; `Content-Range` says how long it is.",
        "range_not_satisfiable",
        "The file has 1920044 bytes.",
    ),
    422: (
        "A field is unknown, missing or out of range.",
        "invalid_parameter",
        "duration: Input should be less than or equal to 300",
    ),
    429: (
        "Too many requests at once, or a limit of the tenant is reached.",
        "throttled",
        "Too many requests at once. Try again in a moment.",
    ),
    500: ("Something went wrong.", "internal_error", "Something went wrong on our side."),
    503: ("Not able to answer now.", "unavailable", "The table cannot be reached."),
}

HEADER = {"schema": {"type": "string"}}
RETRY_AFTER = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}


def answers(*problems: int, key: bool = True, **successes: dict[str, Any]) -> dict[int, Any]:
    """Document a route's responses.

    Parameters
    ----------
    *problems : int
        Statuses answered with a problem document. 429, 500 and 503 always are.
    key : bool
        Whether the route needs an API key: then so are 401 and 403.
    **successes : dict
        OpenAPI response objects by status, such as ``_200=document(contract.Health, "Well.")``.
    """
    documented: dict[int, Any] = {int(status.lstrip("_")): found for status, found in successes.items()}
    for status in sorted({*problems, *((401, 403) if key else ()), 429, 500, 503}):
        description, code, detail = _PROBLEMS[status]
        example = Problem(status, code, detail).document() | ({"field": "duration"} if status == 422 else {})
        documented[status] = {
            "description": description,
            "content": {
                "application/problem+json": {
                    "model": contract.Problem,
                    "examples": {code: {"value": example}},
                }
            },
        }
        if status in {409, 429, 503}:
            documented[status]["headers"] = RETRY_AFTER
        if status == 401:
            documented[status]["headers"] = {"WWW-Authenticate": HEADER}
    return documented


def document(
    model: type[contract.Answer], description: str, *, headers: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Document a JSON response."""
    found: dict[str, Any] = {"description": description, "content": {"application/json": {"model": model}}}
    return found | ({"headers": dict(headers)} if headers else {})


def empty(description: str, *headers: str) -> dict[str, Any]:
    """Document a response without a body."""
    return {"description": description, "headers": dict.fromkeys(headers, HEADER)}


def file(description: str, *content_types: str) -> dict[str, Any]:
    """Document the answers to a request for a file; the keywords of `answers`.

    ``application/octet-stream`` comes first: generators of clients make a file of that type alone.
    """
    binary = {"schema": {"type": "string", "format": "binary"}}
    content: dict[str, Any] = dict.fromkeys(("application/octet-stream", *content_types), binary)
    headers = dict.fromkeys(("Content-Disposition", "ETag", "Accept-Ranges"), HEADER)
    ranged = {"description": "The part that `Range` asks for.", "content": content}
    return {
        "_200": {
            "description": f"{description} With `Accept: application/json`, where it can be got.",
            "content": content | {"application/json": {"model": contract.Location}},
            "headers": headers,
        },
        "_206": ranged | {"headers": {**headers, "Content-Range": HEADER}},
        "_302": empty("It is too large to be answered inline: get it there.", "Location"),
        "_304": empty("It is still what `If-None-Match` names.", "ETag"),
    }
