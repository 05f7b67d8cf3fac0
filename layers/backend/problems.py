"""The error answers of the API are problems as RFC 9457 describes them, those of Powertools included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.event_handler.openapi.exceptions import RequestValidationError
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnection

from backend import records

RETRY_AFTER_SECONDS = 2
"""Seconds that clients are asked to wait before they try again."""
UNAUTHORIZED = "This needs a valid key: Authorization: Bearer KEY."

_PASSING = {
    *("ProvisionedThroughputExceededException", "RequestLimitExceeded", "ThrottlingException"),
    *("RequestThrottled", "TransactionConflictException", "TransactionInProgressException"),
}
"""What DynamoDB and SQS answer with status 400, though it passes."""
_TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}
"""As RFC 9110 names them; Python's own names of these two differ from version to version."""


class Problem(Exception):
    """An error answer as RFC 9457 describes it.

    Parameters
    ----------
    status : int
        HTTP status.
    code : str
        Stable, machine-readable name that clients may compare with.
    detail : str
        One sentence for a person, about this occurrence.
    headers : mapping, optional
        Extra response headers, such as ``Retry-After``.
    **members : Any
        Extra members of the document, such as ``field``.

    Examples
    --------
    >>> Problem(404, "not_found", "No such audio.").document()["title"]
    'Not Found'
    """

    def __init__(
        self, status: int, code: str, detail: str, *, headers: Mapping[str, str] | None = None, **members: Any
    ) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = members

    def document(self) -> dict[str, Any]:
        """Return the ``application/problem+json`` document."""
        return {
            "type": "about:blank",
            "title": _TITLES.get(self.status) or HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            **self.members,
        }


def not_found(what: str) -> Problem:
    """Return the 404 of a record that is not there; `what` is ``audio`` or ``generation``."""
    return Problem(404, "not_found", f"There is no such {what}.")


def gone(what: str) -> Problem:
    """Return the 410 of a record that retention has removed."""
    return Problem(410, "expired", f"This {what} has expired and was removed.")


def invalid(field: str, detail: str) -> Problem:
    """Return the 422 that names a field."""
    return Problem(422, "invalid_parameter", f"{field}: {detail}", field=field)


def later(status: int, code: str, detail: str, **members: Any) -> Problem:
    """Return a problem that passes by itself: the client is asked to try again after a while."""
    return Problem(status, code, detail, headers={"Retry-After": str(RETRY_AFTER_SECONDS)}, **members)


def unsupported(profile: str, what: str, able: Sequence[str], **members: Any) -> Problem:
    """Return the 409 of what the deployment's profile cannot do; it names the profiles that can."""
    return Problem(
        409,
        "unsupported_by_profile",
        f"{what} is not supported by profile {profile!r}, only by {', '.join(able)}.",
        **members,
        profiles=list(able),
    )


def as_problem(error: Exception, method: str, allowed: Sequence[str]) -> Problem:
    """Find the answer to an error: the one table from exceptions to problems.

    Parameters
    ----------
    error : Exception
        What a handler raised, or Powertools before it.
    method : str
        HTTP method of the request.
    allowed : sequence of str
        Methods that have a route for the request's path.
    """
    match error:
        case Problem():
            return error
        case RequestValidationError():
            return _invalid(error)
        case NotFoundError():
            if allowed and method not in allowed:  # else the path has an id with characters that none has
                detail = f"{method} is not allowed here, only {', '.join(allowed)}."
                return Problem(
                    405, "method_not_allowed", detail, headers={"Allow": ", ".join([*allowed, "OPTIONS"])}
                )
            return Problem(404, "not_found", "There is nothing at this path.")
        case records.NotFound():
            return gone("record") if error.status == "expired" else not_found("record")
        case records.IdempotencyMismatch():
            return Problem(
                422,
                "idempotency_mismatch",
                "This Idempotency-Key was used before with another request.",
                field="Idempotency-Key",
            )
        case records.TooManyWaiting():
            return Problem(
                429,
                "too_many_waiting",
                f"{records.MAX_WAITING} generations wait for this audio already.",
                headers={"Retry-After": "15"},
            )
        case records.LimitReached():
            return Problem(429, error.code, error.detail, headers={"Retry-After": str(error.retry_after)})
        case records.Conflict():
            return later(409, "conflict", "The record changed under this request; try again.")
        case ClientError() | BotoCoreError() if _passes(error):
            return later(503, "unavailable", "A service that this one needs does not answer; try again.")
    return Problem(500, "internal_error", "Something went wrong on our side.")


def _passes(error: ClientError | BotoCoreError) -> bool:
    """Tell whether AWS is only slow, throttling or out of order; its client has retried already."""
    if isinstance(error, ClientError):
        answer = error.response
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status >= 500 or status == 429 or answer["Error"]["Code"] in _PASSING
    return isinstance(error, HTTPClientError | NoConnection)


def _invalid(error: RequestValidationError) -> Problem:
    errors = []
    for found in error.errors():
        field = ".".join(str(part) for part in found["loc"][1:]) or "body"
        unknown = found["type"] == "extra_forbidden"
        errors.append({"field": field, "detail": "Unknown field" if unknown else found["msg"]})
    first = errors[0]
    return Problem(
        422, "invalid_parameter", f"{first['field']}: {first['detail']}", field=first["field"], errors=errors
    )
