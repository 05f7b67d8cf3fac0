"""Two families of errors: problems a caller of the API sees, and errors that end or repeat a job."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

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


class JobError(Exception):
    """An error inside a job, with a stable code and a sentence for the user.

    See Also
    --------
    PermanentError : trying again cannot help: the record fails now.
    TransientError : trying again may help: the message goes back to its queue.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class PermanentError(JobError):
    """Bad input: fail the record now and tell the user why."""


class TransientError(JobError):
    """Something that may pass: retry, and fail the record after too many attempts."""
