"""Errors that end or repeat a job."""

from __future__ import annotations


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
