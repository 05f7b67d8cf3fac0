"""What the records are: the two kinds, their states and errors, the periods of time, and tenants' limits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal

from ulid import ULID

from backend.settings import Settings

LEASE_SECONDS = 60
"""Seconds that a claim holds without being renewed."""
RENEW_SECONDS = 15
"""Seconds after which a worker renews its lease."""
RESEND_SECONDS = 120
"""Seconds after which a record's message is sent again if none has been taken from its queue."""
RESEND_LIMIT_SECONDS = 900
"""Seconds up to which that interval doubles, lest a long backlog be flooded with copies of itself."""
HANDED_OVER_SECONDS = 1800
"""Seconds for which the request that an endpoint got holds: longer than it takes to wake up. After them the
record's message is sent again, unless the endpoint has claimed it."""
UPLOAD_GRACE_SECONDS = 3600
"""Seconds that an upload may take. S3 checks its expiry at the start, and 200 MB on a slow line take long."""
TOMBSTONE_SECONDS = 14 * 24 * 3600
"""Seconds that a tombstone stays: longer than any queue keeps a message, so that no late event can bring a
deleted record back."""
BURIED_TOGETHER = 25
"""Generations of an audio that one write buries."""
MOST_BURIED = 1000
"""Generations that are buried with an audio at once: so many take a few seconds. More are next time."""
IDEMPOTENCY_SECONDS = 24 * 3600
"""Seconds for which an idempotency key is remembered."""
STORAGE_RETRY_SECONDS = 3600
"""Seconds after which to ask again when storage was full: deleting helps at once, waiting in the long run."""
CHOICE_SECONDS = 60
"""Seconds after their end at which candidates are removed: a choice that came in time is made by then."""
MAX_COPIES_NAMED = 10
"""Copies of a generation that its record names."""
MAX_WAITING = 50
"""Generations that may wait for one audio at the same time."""
MIN_RECORD_BYTES = 64 * 1024
"""Bytes that a record counts at least while it lives, whatever is in the bucket for it."""
MIN_CHARGE_SECONDS = 1.0
"""Worker seconds that a job costs at least, done or not: nobody makes and removes records for nothing."""
COOL_DOWN_SECONDS = 600
"""Seconds after an embedding before which its owner cannot have the same again."""

PENDING_AUDIO = ("awaiting_upload", "uploaded", "embedding")
UNFINISHED_GENERATION = ("waiting", "queued", "running")
UNFINISHED = {"audio": PENDING_AUDIO, "generation": UNFINISHED_GENERATION}
"""The states in which a job is not finished yet, by kind."""
CLAIM = {"audio": ("uploaded", "embedding"), "generation": ("queued", "running")}
"""The states before and after a claim, by kind."""
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


class OutOfTurn(RecordError):
    """The tenant has as many jobs of this kind with the workers as it may; one of them calls for this one."""


@dataclass(frozen=True)
class Charge:
    """What a job is expected to take of its tenant's day.

    Attributes
    ----------
    seconds : float
        Worker seconds.
    reason : str
        What they are made up of, for who is refused.
    """

    seconds: float = 0.0
    reason: str = "nothing"


FREE = Charge()
"""What nothing is charged for."""


@dataclass(frozen=True)
class Limits:
    """What each tenant may have.

    Attributes
    ----------
    unfinished : int
        Jobs of each kind that are not finished yet, at the same time: so many generations, and so many audio
        that are announced, uploaded or being embedded.
    worker_seconds_per_day : int
        Seconds of the workers' time in a day (UTC), embeddings and generations together; 0 for any number.
    stored_bytes : int
        Sources and results in the bucket together, and `MIN_RECORD_BYTES` at least for each record. An upload
        counts from when it is allowed, the bytes of a result from when it is there.
    running : int
        Jobs of each kind that the workers have at the same time.

    See Also
    --------
    backend.records.usage : How the first three are counted.
    backend.records.turns : How the last one is kept.
    """

    unfinished: int
    worker_seconds_per_day: int
    stored_bytes: int
    running: int = 2

    @classmethod
    def from_settings(cls, settings: Settings) -> Limits | None:
        """Return what a deployment allows each tenant; None where everybody is the same tenant."""
        if settings.auth_mode == "none":
            return None
        return cls(
            settings.max_unfinished,
            settings.max_worker_seconds_per_day,
            settings.max_stored_bytes,
            settings.max_running,
        )


@dataclass(frozen=True, kw_only=True)
class Record:
    """What both kinds of record carry.

    Attributes
    ----------
    tenant, id : str
        Its owner, and its ULID.
    status : str
        Its state.
    created_at, updated_at : str
        Times in ISO 8601.
    correlation_id : str
        Id of the request that made it, which joins logs and messages.
    expires_at : float
        End of its life, in epoch seconds.
    event_due : bool
        Whether the event that it has come to its end is still to be published.
    due_at : float
        When the sweeper is to look at it, in epoch seconds.
    attempt : int
        Number of its last claim; it only grows, and fences.
    attempts_before : int
        Claims before the job was last asked for.
    resends : int
        How often its message was sent again since the last claim.
    claimed_at : float or None
        When it was claimed last, in epoch seconds.
    lease_expires_at : float or None
        End of the claim, in epoch seconds; None when nobody holds it. One that was withdrawn while somebody
        held it keeps it.
    progress : float
        Share of the job that is done, in [0, 1].
    stage : str or None
        What its worker is at, or was at last.
    seconds_left : float or None
        How long its worker thought to need still; None where it could not tell.
    error : dict or None
        Why it failed, or why its last try did: ``{code, detail}``.
    counted : int or None
        Bytes that the tenant's limit counts for it; None if it was made without limits.
    charged : float or None
        Worker seconds that the tenant's day is charged for it: as predicted, once it is over as measured;
        None if it was made without limits.
    charged_on : str or None
        That day (UTC), in ISO 8601.
    worked : float
        Seconds that its attempts took together.
    timed : int
        The last attempt that is part of them.
    replayed : bool
        Whether this is the answer to an idempotency key that came before; it is not stored.
    """

    kind: ClassVar[str]

    tenant: str
    id: str
    status: str
    created_at: str
    updated_at: str
    correlation_id: str
    expires_at: float
    event_due: bool = False
    due_at: float = 0.0
    attempt: int = 0
    attempts_before: int = 0
    resends: int = 0
    claimed_at: float | None = None
    lease_expires_at: float | None = None
    progress: float = 0.0
    stage: str | None = None
    seconds_left: float | None = None
    error: dict[str, Any] | None = None
    counted: int | None = None
    charged: float | None = None
    charged_on: str | None = None
    worked: float = 0.0
    timed: int = 0
    replayed: bool = False

    @property
    def tries(self) -> int:
        """Return the claims since the job was last asked for, which a bound on retries counts."""
        return self.attempt - self.attempts_before

    def untimed(self, now: float) -> float:
        """Return the seconds that an attempt took whose worker has not told, and will not or may not.

        It is taken to have worked until it would have renewed its lease: who dies tells nobody when.
        """
        if self.claimed_at is None or self.lease_expires_at is None or self.timed >= self.attempt:
            return 0.0
        renewal = self.lease_expires_at - LEASE_SECONDS + RENEW_SECONDS
        return max(0.0, min(renewal, now) - self.claimed_at)

    @property
    def deleted(self) -> bool:
        """Return whether this is a tombstone."""
        return self.status in TOMBSTONES

    @property
    def rests_until(self) -> float:
        """Return when it is due, in epoch seconds, once its end is told and nothing is left to do."""
        return self.expires_at


@dataclass(frozen=True, kw_only=True)
class Audio(Record):
    """A source track.

    Attributes
    ----------
    filename, content_type : str
        As its owner said; the type of a ready one is what the file turned out to be.
    upload_until : float
        When its upload can no longer arrive, in epoch seconds.
    size : int or None
        Bytes, as announced and then as stored.
    etag : str or None
        ETag of the object that is embedded.
    sha256 : str or None
        SHA-256 of the file, in hexadecimal.
    duplicate_of : str or None
        Id of the tenant's oldest audio with the same content when this one was taken in; it may be gone
        since (see `Contents.living`).
    vector : bytes or None
        Unit vector in little-endian float32; lists leave it out.
    identity : dict or None
        What made the vector: model, revision, pipeline and precision.
    windows : int or None
        Windows of sound that the vector is the mean of.
    features : dict or None
        What was measured.
    tags : list of str or None
        What was heard, the likeliest first.
    tag_scores : dict or None
        For each category its likeliest tags with their shares.
    made_from : dict or None
        The `generation_id` and `candidate` that it is a copy of; None of an upload.
    derived : dict or None
        What a player needs of it: `revision`, part of the keys, and the bytes of `preview` and `analysis`.
    embedded_at : float or None
        When it was last embedded, in epoch seconds.
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
    made_from: dict[str, Any] | None = None
    derived: dict[str, Any] | None = None
    embedded_at: float | None = None

    kind: ClassVar[str] = "audio"

    @property
    def silent(self) -> bool:
        """Return whether nothing was heard in it."""
        return self.features is not None and self.features["loudness"] is None

    @property
    def stored_bytes(self) -> int:
        """Return the bytes that it has in the bucket."""
        derived = self.derived or {}
        return (self.size or 0) + int(derived.get("preview", 0)) + int(derived.get("analysis", 0))


@dataclass(frozen=True, kw_only=True)
class Generation(Record):
    """A request for music like a track, and what became of it.

    Attributes
    ----------
    audio_id : str
        The source.
    profile : str
        Profile that makes it.
    parameters : dict or None
        As validated.
    result : dict or None
        Report on the finished music. Its `chosen` is the candidate that was found the best, whose file is the
        generation's own.
    chosen : int or None
        The candidate that is the result now; None where candidates were not kept.
    chosen_bytes : int or None
        Bytes of its file in the generation's format.
    chosen_report : dict or None
        What is told of it alone, where it is not the best: its duration, loudness and details.
    candidates_expire_at : float or None
        When the candidates that are not the result go, in epoch seconds.
    copied_to : list of str or None
        Ids of the oldest audio that are copies of it, `MAX_COPIES_NAMED` at most.
    """

    audio_id: str
    profile: str = ""
    parameters: dict[str, Any] | None = None
    result: dict[str, Any] | None = None
    chosen: int | None = None
    chosen_bytes: int | None = None
    chosen_report: dict[str, Any] | None = None
    candidates_expire_at: float | None = None
    copied_to: list[str] | None = None

    kind: ClassVar[str] = "generation"

    @property
    def format(self) -> str:
        """Return the format that was asked for."""
        return str((self.parameters or {})["format"])

    @property
    def best(self) -> int | None:
        """Return the candidate that was found the best; None where candidates were not kept."""
        best: int | None = (self.result or {}).get("chosen")
        return best

    @property
    def rests_until(self) -> float:
        """Return the same; candidates that are not kept any more are removed then."""
        if self.candidates_expire_at is None:
            return self.expires_at
        return min(self.candidates_expire_at + CHOICE_SECONDS, self.expires_at)

    def has_candidates(self, now: float) -> bool:
        """Return whether the candidates that are not the result are still there."""
        return self.candidates_expire_at is not None and now < self.candidates_expire_at

    def outlasts(self, candidate: int, extension: str) -> bool:
        """Return whether an object of a candidate stays as long as the generation: what the result needs."""
        if extension == "json":
            return candidate in {self.chosen, self.best}
        return candidate == self.chosen != self.best and extension == self.format

    def kept(self, now: float) -> set[int]:
        """Return the candidates that there is a file of."""
        if self.chosen is None or self.best is None:
            return set()
        if not self.has_candidates(now):
            return {self.chosen, self.best}
        tried = (self.result or {})["candidates"]
        return {index for index, one in enumerate(tried) if one.get("similarity")}


def counted_bytes(size: int | None) -> int:
    """Return what a record counts that has an object of so many bytes."""
    return max(size or 0, MIN_RECORD_BYTES)


def day_of(epoch: float) -> str:
    """Return the day of epoch seconds in UTC, as ``"2026-01-31"``."""
    return datetime.fromtimestamp(epoch, UTC).date().isoformat()


def new_id() -> str:
    """Make a ULID: 26 characters, sortable by time."""
    return str(ULID())
