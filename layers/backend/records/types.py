"""What the records are: the two kinds, their states and errors, the periods of time, and tenants' limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from ulid import ULID

from backend.settings import Settings

LEASE_SECONDS = 60
RENEW_SECONDS = 15
RESEND_SECONDS = 120
"""A record that should have a message in a queue is sent again after this long without one being taken."""
RESEND_LIMIT_SECONDS = 900
"""The interval doubles up to this until a claim, lest a long backlog be flooded with copies of itself."""
UPLOAD_GRACE_SECONDS = 3600
"""S3 checks the expiry when an upload starts: 200 MB on a slow line takes its time after that."""
TOMBSTONE_SECONDS = 14 * 24 * 3600
"""Longer than any queue keeps a message, so that no late event can bring a deleted record back."""
IDEMPOTENCY_SECONDS = 24 * 3600
STORAGE_RETRY_SECONDS = 3600
"""When to ask again after storage was full: deleting helps at once, waiting only in the long run."""
MAX_WAITING = 50
"""Generations that may wait for one audio."""

PENDING_AUDIO = ("awaiting_upload", "uploaded", "embedding")
UNFINISHED_GENERATION = ("waiting", "queued", "running")
TOMBSTONES = ("deleted", "expired")

Tombstone = Literal["deleted", "expired"]


class RecordError(Exception):
    """Base of everything that a conditional write can answer instead of moving a record."""


class NotFound(RecordError):
    """There is no such record, or it was deleted or has expired (`status` is then the tombstone's)."""

    def __init__(self, status: str | None = None) -> None:
        super().__init__(status or "not found")
        self.status = status


class Conflict(RecordError):
    """The record is in a state that this move does not leave; `status` names it."""

    def __init__(self, status: str) -> None:
        super().__init__(f"record is {status}")
        self.status = status


class Leased(RecordError):
    """Somebody else is at work on the record until `until` (epoch seconds)."""

    def __init__(self, until: float) -> None:
        super().__init__(f"leased until {until:.0f}")
        self.until = until


class Fenced(RecordError):
    """The writer lost its claim: the record was cancelled, deleted, finished or claimed again (`status`)."""

    def __init__(self, status: str | None) -> None:
        super().__init__(f"fenced out, the record is now {status or 'gone'}")
        self.status = status


class IdempotencyMismatch(RecordError):
    """The idempotency key was used before with another request body."""


class TooManyWaiting(RecordError):
    """The audio already has `MAX_WAITING` generations waiting for it."""


class LimitReached(RecordError):
    """The tenant has used up what it may: a stable `code`, a sentence, and seconds until it may change."""

    def __init__(self, code: str, detail: str, retry_after: int) -> None:
        super().__init__(detail)
        self.code, self.detail, self.retry_after = code, detail, retry_after


@dataclass(frozen=True)
class Limits:
    """What each tenant may have.

    Attributes
    ----------
    unfinished : int
        Generations that are not finished yet, at the same time.
    seconds_per_day : int
        Seconds of music asked for in a day (UTC), each candidate counted.
    stored_bytes : int
        Sources and results in the bucket together. An upload counts from when it is allowed, a result from
        when it is there: a generation is refused only when nothing is left.

    See Also
    --------
    backend.records.usage : How all three are counted.
    """

    unfinished: int
    seconds_per_day: int
    stored_bytes: int

    @classmethod
    def from_settings(cls, settings: Settings) -> Limits | None:
        """What a deployment allows each tenant; None where everybody is the same one."""
        if settings.auth_mode == "none":
            return None
        return cls(settings.max_unfinished, settings.max_seconds_per_day, settings.max_stored_bytes)


@dataclass(frozen=True, kw_only=True)
class Record:
    """What both kinds of record carry. Times are epoch seconds, except the two ISO 8601 stamps.

    `counted` are the bytes that the tenant's limit counts for it; None for records made without limits.
    """

    kind: ClassVar[str]

    tenant: str
    id: str
    status: str
    created_at: str
    updated_at: str
    correlation_id: str
    expires_at: float
    due_at: float = 0.0
    attempt: int = 0
    attempts_before: int = 0
    resends: int = 0
    lease_expires_at: float | None = None
    progress: float = 0.0
    error: dict[str, Any] | None = None
    counted: int | None = None

    @property
    def tries(self) -> int:
        """Claims since the job was last asked for: what a bound on retries counts."""
        return self.attempt - self.attempts_before

    @property
    def deleted(self) -> bool:
        """Whether this is a tombstone."""
        return self.status in TOMBSTONES


@dataclass(frozen=True, kw_only=True)
class Audio(Record):
    """A source track. `vector` is little-endian float32, the mean of so many `windows`; lists leave it out.

    `upload_until` is when its upload can no longer arrive. `duplicate_of` is the tenant's oldest audio with
    the same content (`sha256`) when this one was taken in.
    """

    filename: str = ""
    content_type: str = ""
    upload_until: float = 0.0
    size: int | None = None
    etag: str | None = None
    sha256: str | None = None
    duplicate_of: str | None = None
    vector: bytes | None = None
    identity: dict[str, Any] | None = None
    windows: int | None = None
    features: dict[str, Any] | None = None
    tags: list[str] | None = None
    tag_scores: dict[str, dict[str, float]] | None = None

    kind: ClassVar[str] = "audio"


@dataclass(frozen=True, kw_only=True)
class Generation(Record):
    """A request for music like a track, and what became of it. `replayed` marks an idempotent repeat."""

    audio_id: str
    profile: str = ""
    parameters: dict[str, Any] | None = None
    result: dict[str, Any] | None = None
    replayed: bool = False

    kind: ClassVar[str] = "generation"


def new_id() -> str:
    """Make a ULID: 26 characters, sortable by time."""
    return str(ULID())
