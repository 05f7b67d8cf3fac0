"""The job records: one DynamoDB item per audio and per generation, moved only by conditional writes.

    audio:       awaiting_upload -> uploaded | failed(expired);  uploaded <-> embedding -> ready | failed
                 ready -> uploaded when it is embedded again
    generation:  waiting -> queued <-> running -> succeeded | failed;  waiting, queued, running -> cancelled;
                 waiting -> failed when its audio fails
    both:        any -> deleted | expired   (a tombstone, removed by the table's TTL)
                 failed -> uploaded | queued   when the dead letter of its last attempt is replayed

Table layout
    pk = tenant#{tenant}
    sk = audio#{id} | generation#{id} | idempotency#{sha256 of the client's key}
       | usage#unfinished | usage#stored | usage#{day}   (what the tenant's limits count)
       | content#{sha256 of a file}       (the tenant's audio that has this content)
    pk = sweeper, sk = reconciliation     (how far it came)
    index by_audio (audio_pk, sk): the generations of one audio
    index due (open, due_at): every item that has to be looked at again, by the time to do so

Every write names the state it leaves. `due_at` is the one clock of the system: the end of a lease, the time
to send a message again, the end of an upload's or a record's life; only the sweeper acts on it. A running
item carries a lease and an attempt number; whoever holds an older attempt is fenced out of every later write.

A client that hears nothing of a write repeats it, and then meets the state that its own first try has made.
Every write therefore leaves a mark of its own on the item (`write`): a refused write whose mark is there has
happened.
"""

from __future__ import annotations

import base64
import binascii
import json
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar
from uuid import uuid4

from botocore.exceptions import ClientError
from ulid import ULID

from backend.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

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
    Records.count_stored : How bytes are counted.
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


R = TypeVar("R", bound=Audio | Generation)

_DOCUMENTS = {"error", "identity", "features", "tags", "tag_scores", "parameters", "result"}
_TOMBSTONE_KEEPS = {
    *("tenant", "id", "status", "created_at", "updated_at", "correlation_id", "expires_at", "due_at"),
    *("audio_id", "result", "counted"),  # so that whoever purges knows what to remove
}
_RECONCILIATION = {"pk": "sweeper", "sk": "reconciliation"}
_DEAD = {f":dead{i}": status for i, status in enumerate(TOMBSTONES)}
_IS_DEAD = f"#status IN ({', '.join(_DEAD)})"
_IS_ALIVE = f"attribute_exists(pk) AND NOT {_IS_DEAD}"


class Records:
    """The table of records.

    Parameters
    ----------
    table : Table
        The boto3 table resource.
    retention_seconds : float
        Life of a record, its object and its vector, counted from its creation.
    clock : callable
        Epoch seconds; tests pass their own.
    """

    def __init__(
        self, table: Table, retention_seconds: float, clock: Callable[[], float] = time.time
    ) -> None:
        self.table = table
        self.retention_seconds = retention_seconds
        self.clock = clock

    # -- audio -------------------------------------------------------------------------------------------

    def create_audio(
        self,
        tenant: str,
        *,
        filename: str,
        content_type: str,
        size: int | None,
        upload_expires_at: float,
        correlation_id: str,
        audio_id: str | None = None,
        limits: Limits | None = None,
        sha256: str | None = None,
        duplicate_of: str | None = None,
    ) -> Audio:
        """Write a new audio record in `awaiting_upload`.

        Parameters
        ----------
        tenant : str
            Owner.
        filename, content_type : str
            As the client said; data only.
        size : int or None
            Bytes announced by the client.
        upload_expires_at : float
            Epoch seconds after which the upload cannot arrive any more; the sweeper then expires the record.
        correlation_id : str
            Ties logs, messages and records together.
        audio_id : str, optional
            A ULID made before; by default a new one.
        limits : Limits, optional
            What the tenant may have; without them, anything.
        sha256, duplicate_of : str, optional
            Of the content, where it is known already.

        Returns
        -------
        Audio

        Raises
        ------
        Conflict
            The id is taken.
        LimitReached
            There is no room for so many bytes.
        """
        now = self.clock()
        audio = Audio(
            tenant=tenant,
            id=audio_id or new_id(),
            status="awaiting_upload",
            created_at=_iso(now),
            updated_at=_iso(now),
            correlation_id=correlation_id,
            expires_at=now + self.retention_seconds,
            due_at=now + RESEND_SECONDS,  # the upload's event may be lost, or whoever takes it die
            filename=filename,
            content_type=content_type,
            upload_until=upload_expires_at + UPLOAD_GRACE_SECONDS,
            size=size,
            counted=(size or 0) if limits else None,
            sha256=sha256,
            duplicate_of=duplicate_of,
        )
        item = {**_to_item(audio), "write": uuid4().hex}
        if limits:
            self._create_counted(audio, item, limits)
            return audio
        try:
            self.table.put_item(Item=item, ConditionExpression="attribute_not_exists(pk)")
        except ClientError as error:
            if not _condition_failed(error):
                raise
            if self._raw(tenant, item["sk"]).get("write") != item["write"]:
                raise Conflict("taken") from error
        return audio

    def _create_counted(self, audio: Audio, item: dict[str, Any], limits: Limits) -> None:
        """Write a new audio record and count its bytes, both or neither."""
        size, most = audio.counted or 0, limits.stored_bytes
        created = {"Item": item, "ConditionExpression": "attribute_not_exists(pk)"}
        counted = {
            "Key": {"pk": item["pk"], "sk": "usage#stored"},
            "UpdateExpression": "ADD #bytes :size",
            # The second part alone would let a first file be of any size.
            "ConditionExpression": ":size <= :most AND (attribute_not_exists(#bytes) OR #bytes <= :room)",
            "ExpressionAttributeNames": {"#bytes": "bytes"},
            "ExpressionAttributeValues": {":size": size, ":most": most, ":room": most - size},
        }
        for lost in range(10):  # each round lost means that another request of the tenant was faster
            if lost:
                time.sleep(random.uniform(0, 0.01 * 2 ** min(lost, 5)))
            if self._transact({"Put": created}, {"Update": counted}):
                return
            if there := self._raw(audio.tenant, item["sk"]):
                if there.get("write") == item["write"]:
                    return  # by a first try of which the client heard nothing
                raise Conflict("taken")
            left = most - self.stored(audio.tenant)
            if size > left:
                raise LimitReached(
                    "storage_limit",
                    f"The file has {size} bytes; {max(0, left)} of your {most} are left: delete something.",
                    STORAGE_RETRY_SECONDS,
                )
        raise Conflict("contended")

    def note_content(self, tenant: str, audio_id: str, sha256: str) -> str | None:
        """Note an audio's content, and find the tenant's oldest living audio that has the same.

        Parameters
        ----------
        audio_id : str
            May be noted before its record is written.
        sha256 : str
            Of the file, in hexadecimal.

        Returns
        -------
        str or None
            Id of an audio older than this one.
        """
        key = {"pk": _pk(tenant), "sk": f"content#{sha256}"}
        answer = self.table.update_item(
            Key=key,
            UpdateExpression="ADD audio :id SET #ttl = :ttl",
            ExpressionAttributeNames={"#ttl": "ttl"},
            ExpressionAttributeValues={
                ":id": {audio_id},
                ":ttl": int(self.clock() + self.retention_seconds + RESEND_LIMIT_SECONDS),
            },
            ReturnValues="ALL_NEW",
        )
        older, gone = None, set()
        noted: Any = answer["Attributes"]["audio"]
        for other in sorted(noted):  # ids sort by time
            if other >= audio_id:
                break
            audio = self.get_audio(tenant, other)
            # One that is not embedded yet has not said what it holds, but it was noted here.
            if audio and not audio.deleted and audio.sha256 in {None, sha256}:
                older = other
                break
            gone.add(other)
        if gone:
            self.table.update_item(
                Key=key,
                UpdateExpression="DELETE audio :gone",
                ExpressionAttributeValues={":gone": gone},
            )
        return older

    def get_audio(self, tenant: str, audio_id: str) -> Audio | None:
        """Read an audio record consistently; tombstones are returned too (`Audio.deleted`)."""
        return self._get(Audio, tenant, audio_id)

    def list_audio(
        self, tenant: str, cursor: str | None = None, limit: int = 50
    ) -> tuple[list[Audio], str | None]:
        """List a tenant's audio, newest first, without vectors.

        Returns
        -------
        list of Audio
            At most `limit`.
        str or None
            Cursor of the next page.

        Raises
        ------
        ValueError
            The cursor is not one of ours.
        """
        return self._list(Audio, {"pk": _pk(tenant)}, None, cursor, limit)

    def mark_uploaded(self, tenant: str, audio_id: str, *, etag: str, size: int) -> Audio:
        """Move `awaiting_upload` (or an overwritten `uploaded`) to `uploaded` with the object's ETag.

        Raises
        ------
        NotFound, Conflict
            There is no such record; it has moved on already.
        """
        audio = self._move(
            Audio,
            tenant,
            audio_id,
            leaving=("awaiting_upload", "uploaded"),
            changes={
                "status": "uploaded",
                "etag": etag,
                "size": size,
                "resends": 0,
                "due_at": self.clock() + RESEND_SECONDS,
            },
        )
        if audio.counted not in (None, size):
            self.count_stored(audio, size)
        return audio

    def embed_again(self, tenant: str, audio_id: str) -> Audio:
        """Move `ready` back to `uploaded`, so that it is embedded by the profile now in force.

        Raises
        ------
        NotFound, Conflict
        """
        changes = {
            "status": "uploaded",
            "resends": 0,
            "progress": 0.0,
            "due_at": self.clock() + RESEND_SECONDS,
        }
        # The attempt number fences, so it only ever grows; the count of tries starts again.
        extra = "attempts_before = attempt"
        return self._move(Audio, tenant, audio_id, leaving=("ready",), changes=changes, extra=extra)

    def claim_audio(self, tenant: str, audio_id: str) -> Audio:
        """Take an `uploaded` audio, or one whose lease has ended, for embedding.

        Returns
        -------
        Audio
            With a new attempt number and a lease of `LEASE_SECONDS`.

        Raises
        ------
        NotFound
            No such record, or a tombstone.
        Leased
            Another worker holds a live lease.
        Conflict
            It is in another state: already `ready` or `failed`, or not uploaded yet.
        """
        return self._claim(Audio, tenant, audio_id, leaving="uploaded", working="embedding")

    def finish_audio(
        self,
        audio: Audio,
        *,
        vector: bytes,
        identity: Mapping[str, Any],
        features: Mapping[str, Any],
        tags: list[str],
        tag_scores: Mapping[str, Mapping[str, float]] | None = None,
        windows: int | None = None,
        sha256: str | None = None,
        duplicate_of: str | None = None,
        content_type: str | None = None,
    ) -> list[Generation]:
        """Move `embedding` to `ready` and release the generations that waited for it.

        Parameters
        ----------
        audio : Audio
            As claimed.
        vector : bytes
            Little-endian float32.
        identity, features, tags
            What made the vector, and what was measured.
        content_type : str, optional
            What the file turned out to be; by default, what it was said to be.

        Returns
        -------
        list of Generation
            Those moved to `queued`; the caller sends their messages. What a crash leaves behind here the
            sweeper finds, since a `waiting` record is due as well.

        Raises
        ------
        Fenced
        """
        changes = {
            "status": "ready",
            "vector": vector,
            "identity": identity,
            "features": features,
            "tags": tags,
            "tag_scores": tag_scores,
            "windows": windows,
            "sha256": sha256,
            "duplicate_of": duplicate_of,
            "content_type": content_type or audio.content_type,
            "progress": 1.0,
            "due_at": audio.expires_at,
            "error": None,
            "lease_expires_at": None,
            "waiting": None,
        }
        # A move that only its second try heard of does not tell who waits: the sweeper releases them.
        before = self._fenced_move(audio, leaving="embedding", changes=changes)
        released = (
            self.release_waiting(audio.tenant, waiting) for waiting in sorted(before.get("waiting", ()))
        )
        return [generation for generation in released if generation]

    def fail_audio(self, audio: Audio, code: str, detail: str) -> list[Generation]:
        """Move an audio to `failed`, and the generations that waited for it as well.

        The claimed `embedding` is left by its holder; `awaiting_upload` and `uploaded` by the sweeper.

        Returns
        -------
        list of Generation
            The generations failed with it.

        Raises
        ------
        Fenced
            The record has moved since `audio` was read.
        """
        changes = {
            "status": "failed",
            "error": {"code": code, "detail": detail},
            "due_at": audio.expires_at,
            "lease_expires_at": None,
            "waiting": None,
        }
        before = self._fenced_move(audio, leaving=audio.status, changes=changes)
        failed = (
            self.fail_waiting(audio.tenant, waiting, code, detail)
            for waiting in sorted(before.get("waiting", ()))
        )
        return [generation for generation in failed if generation]

    # -- generations -------------------------------------------------------------------------------------

    def submit_generation(
        self,
        tenant: str,
        audio_id: str,
        *,
        profile: str,
        parameters: Mapping[str, Any],
        correlation_id: str,
        idempotency: tuple[str, str] | None = None,
        limits: Limits | None = None,
    ) -> Generation:
        """Write a generation: `queued` if its audio is ready, `waiting` if it is still to be embedded.

        A waiting generation is also noted on the audio's own item, in the same transaction, so the move of
        the audio to `ready` cannot miss it.

        Parameters
        ----------
        tenant, audio_id : str
            The source.
        profile : str
            Profile that will make it.
        parameters : mapping
            As validated; stored as given.
        correlation_id : str
            Of the request.
        idempotency : (key_hash, body_hash), optional
            Same key and body within 24 h: the first answer again, `replayed`.
        limits : Limits, optional
            What the tenant may have; without them, anything.

        Returns
        -------
        Generation

        Raises
        ------
        NotFound
            No such audio.
        Conflict
            The audio has failed.
        IdempotencyMismatch
            The key came before with another body.
        TooManyWaiting, LimitReached
        """
        for lost in range(10):  # each round lost means that the audio moved or another request won
            if lost:
                time.sleep(random.uniform(0, 0.01 * 2 ** min(lost, 5)))
            if idempotency and (earlier := self.replay(tenant, idempotency)):
                return earlier
            audio = self.get_audio(tenant, audio_id)
            if audio is None or audio.deleted:
                raise NotFound(audio.status if audio else None)
            if audio.status == "failed":
                raise Conflict("failed")
            ready = audio.status == "ready"
            now = self.clock()
            generation = Generation(
                tenant=tenant,
                id=new_id(),
                status="queued" if ready else "waiting",
                created_at=_iso(now),
                updated_at=_iso(now),
                correlation_id=correlation_id,
                expires_at=now + self.retention_seconds,
                due_at=now + RESEND_SECONDS,
                audio_id=audio_id,
                profile=profile,
                parameters=dict(parameters),
                counted=0 if limits else None,
            )
            if self._write_generation(generation, ready, idempotency, limits):
                return generation
        raise Conflict("contended")

    def _write_generation(
        self,
        generation: Generation,
        ready: bool,
        idempotency: tuple[str, str] | None,
        limits: Limits | None,
    ) -> bool:
        """Write the generation with its ties to audio and idempotency key; False if one of them moved."""
        name = self.table.name
        audio_key = {"pk": _pk(generation.tenant), "sk": f"audio#{generation.audio_id}"}
        writes: list[dict[str, Any]] = [
            {
                "Put": {
                    "TableName": name,
                    "Item": _to_item(generation),
                    "ConditionExpression": "attribute_not_exists(pk)",
                }
            }
        ]
        if ready:
            check = {
                "TableName": name,
                "Key": audio_key,
                "ConditionExpression": "#status = :ready",
                "ExpressionAttributeNames": {"#status": "status"},
                "ExpressionAttributeValues": {":ready": "ready"},
            }
            writes.append({"ConditionCheck": check})
        else:
            note = {
                "TableName": name,
                "Key": audio_key,
                "UpdateExpression": "ADD waiting :id",
                "ConditionExpression": "#status IN (:p0, :p1, :p2)"
                " AND (attribute_not_exists(waiting) OR size(waiting) < :most)",
                "ExpressionAttributeNames": {"#status": "status"},
                "ExpressionAttributeValues": {
                    **{f":p{i}": status for i, status in enumerate(PENDING_AUDIO)},
                    ":id": {generation.id},
                    ":most": MAX_WAITING,
                },
            }
            writes.append({"Update": note})
        if idempotency:
            key_hash, body_hash = idempotency
            now = int(self.clock())
            claim = {
                "TableName": name,
                "Item": {
                    "pk": _pk(generation.tenant),
                    "sk": f"idempotency#{key_hash}",
                    "body_hash": body_hash,
                    "generation_id": generation.id,
                    "ttl": now + IDEMPOTENCY_SECONDS,
                },
                "ConditionExpression": "attribute_not_exists(pk) OR #ttl <= :now",
                "ExpressionAttributeNames": {"#ttl": "ttl"},
                "ExpressionAttributeValues": {":now": now},
            }
            writes.append({"Put": claim})
        if limits:
            writes += self._charges(generation, limits)
        try:
            self.table.meta.client.transact_write_items(TransactItems=writes)  # type: ignore[arg-type]
        except ClientError as error:
            if error.response["Error"]["Code"] != "TransactionCanceledException":
                raise
            if self.get_generation(generation.tenant, generation.id):
                return True  # by a first try of which the client heard nothing
            if not ready:
                waiting = self._raw(generation.tenant, audio_key["sk"]).get("waiting", ())
                if len(waiting) >= MAX_WAITING:
                    raise TooManyWaiting from error
            if limits:
                self._make_room(generation, limits)
            return False
        return True

    def _charges(self, generation: Generation, limits: Limits) -> list[dict[str, Any]]:
        """The writes that count a generation, and fail where it is one too many."""
        name, pk, now = self.table.name, _pk(generation.tenant), self.clock()
        unfinished = {
            "TableName": name,
            "Key": {"pk": pk, "sk": "usage#unfinished"},
            "UpdateExpression": "ADD generations :id",
            "ConditionExpression": "attribute_not_exists(generations) OR size(generations) < :most",
            "ExpressionAttributeValues": {":id": {generation.id}, ":most": limits.unfinished},
        }
        cost = _cost(generation)
        today = {
            "TableName": name,
            "Key": {"pk": pk, "sk": f"usage#{_iso(now)[:10]}"},
            "UpdateExpression": "ADD #seconds :cost SET #ttl = :ttl",
            # The second part alone would let a first request be of any size.
            "ConditionExpression": ":cost <= :most AND (attribute_not_exists(#seconds) OR #seconds <= :room)",
            "ExpressionAttributeNames": {"#seconds": "seconds", "#ttl": "ttl"},
            "ExpressionAttributeValues": {
                ":cost": cost,
                ":most": limits.seconds_per_day,
                ":room": limits.seconds_per_day - cost,
                ":ttl": int(now) + 2 * 86400,
            },
        }
        stored = {
            "TableName": name,
            "Key": {"pk": pk, "sk": "usage#stored"},
            "ConditionExpression": "attribute_not_exists(#bytes) OR #bytes < :most",
            "ExpressionAttributeNames": {"#bytes": "bytes"},
            "ExpressionAttributeValues": {":most": limits.stored_bytes},
        }
        return [{"Update": unfinished}, {"Update": today}, {"ConditionCheck": stored}]

    def _make_room(self, generation: Generation, limits: Limits) -> None:
        """Find out whether a limit stopped a generation.

        Nobody but this method takes finished generations out of the tenant's set, and only when it is full: a
        crash anywhere can leave it too large for a while, and never too small.

        Raises
        ------
        LimitReached
        """
        tenant, now = generation.tenant, self.clock()
        spent = Decimal(str(self._raw(tenant, f"usage#{_iso(now)[:10]}").get("seconds", 0)))
        if spent + _cost(generation) > limits.seconds_per_day:
            left = max(0, limits.seconds_per_day - spent)
            raise LimitReached(
                "daily_limit",
                f"{limits.seconds_per_day} seconds of music a day, candidates included: {left:f} are left.",
                86400 - int(now) % 86400,
            )
        if self.stored(tenant) >= limits.stored_bytes:
            raise LimitReached(
                "storage_limit",
                f"None of your {limits.stored_bytes} bytes are left: delete something.",
                STORAGE_RETRY_SECONDS,
            )
        noted = self._raw(tenant, "usage#unfinished").get("generations", set())
        if len(noted) < limits.unfinished:
            return
        found = {identifier: self.get_generation(tenant, identifier) for identifier in noted}
        finished = {
            identifier
            for identifier, record in found.items()
            if record is None or record.status not in UNFINISHED_GENERATION
        }
        if not finished:
            raise LimitReached(
                "too_many_unfinished", f"{limits.unfinished} of your generations are not finished yet.", 15
            )
        self.table.update_item(
            Key={"pk": _pk(tenant), "sk": "usage#unfinished"},
            UpdateExpression="DELETE generations :finished",
            ExpressionAttributeValues={":finished": finished},
        )

    def replay(self, tenant: str, idempotency: tuple[str, str]) -> Generation | None:
        """Return what an idempotency key was answered with before, `replayed`; None if it is new.

        Parameters
        ----------
        idempotency : (key_hash, body_hash)
            As `submit_generation` takes it.

        Raises
        ------
        IdempotencyMismatch
            The key came before with another body.
        """
        key_hash, body_hash = idempotency
        item = self._raw(tenant, f"idempotency#{key_hash}")
        if not item or int(item["ttl"]) <= self.clock():
            return None
        if item["body_hash"] != body_hash:
            raise IdempotencyMismatch
        generation = self.get_generation(tenant, str(item["generation_id"]))
        if generation is None:
            return None
        return Generation(**{**_values(generation), "replayed": True})

    def get_generation(self, tenant: str, generation_id: str) -> Generation | None:
        """Read a generation consistently; tombstones are returned too (`Generation.deleted`)."""
        return self._get(Generation, tenant, generation_id)

    def list_generations(
        self, tenant: str, audio_id: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> tuple[list[Generation], str | None]:
        """List a tenant's generations, or those of one audio, newest first.

        Raises
        ------
        ValueError
            The cursor is not one of ours.
        """
        if audio_id is None:
            return self._list(Generation, {"pk": _pk(tenant)}, None, cursor, limit)
        key = {"audio_pk": _audio_pk(tenant, audio_id)}
        return self._list(Generation, key, "by_audio", cursor, limit)

    def release_waiting(self, tenant: str, generation_id: str) -> Generation | None:
        """Move `waiting` to `queued`; None if it is no longer waiting."""
        changes = {"status": "queued", "due_at": self.clock() + RESEND_SECONDS, "resends": 0}
        try:
            return self._move(Generation, tenant, generation_id, leaving=("waiting",), changes=changes)
        except (NotFound, Conflict):
            return None

    def fail_waiting(self, tenant: str, generation_id: str, code: str, detail: str) -> Generation | None:
        """Move `waiting` to `failed` because its audio failed; None if it is no longer waiting."""
        generation = self.get_generation(tenant, generation_id)
        if generation is None or generation.status != "waiting":
            return None
        try:
            return self.fail_generation(generation, code, f"The source failed: {detail}")
        except Fenced:
            return None

    def claim_generation(self, tenant: str, generation_id: str) -> Generation:
        """Take a `queued` generation, or one whose lease has ended, to run it.

        Raises
        ------
        NotFound, Leased, Conflict
            As `claim_audio`.
        """
        return self._claim(Generation, tenant, generation_id, leaving="queued", working="running")

    def finish_generation(self, generation: Generation, result: Mapping[str, Any]) -> Generation:
        """Move `running` to `succeeded` with the result.

        Raises
        ------
        Fenced
        """
        changes = {
            "status": "succeeded",
            "result": result,
            "progress": 1.0,
            "due_at": generation.expires_at,
            "error": None,
            "lease_expires_at": None,
        }
        self._fenced_move(generation, leaving="running", changes=changes)
        return self._current(generation)

    def fail_generation(self, generation: Generation, code: str, detail: str) -> Generation:
        """Move a generation from the state in which it was read to `failed`.

        Raises
        ------
        Fenced
        """
        changes = {
            "status": "failed",
            "error": {"code": code, "detail": detail},
            "due_at": generation.expires_at,
            "lease_expires_at": None,
        }
        self._fenced_move(generation, leaving=generation.status, changes=changes)
        return self._current(generation)

    def cancel_generation(self, tenant: str, generation_id: str) -> Generation:
        """Move `waiting`, `queued` or `running` to `cancelled`; a running worker is fenced from then on.

        Raises
        ------
        NotFound, Conflict
        """
        current = self.get_generation(tenant, generation_id)
        if current is None or current.deleted:
            raise NotFound(current.status if current else None)
        changes = {"status": "cancelled", "due_at": current.expires_at, "lease_expires_at": None}
        return self._move(Generation, tenant, generation_id, leaving=UNFINISHED_GENERATION, changes=changes)

    # -- both --------------------------------------------------------------------------------------------

    def renew(self, record: R, progress: float | None = None) -> R:
        """Extend the lease of a claimed record, and note its progress in [0, 1].

        Raises
        ------
        Fenced
            The claim is lost: stop working and write nothing.
        """
        until = self.clock() + LEASE_SECONDS
        changes: dict[str, Any] = {"lease_expires_at": until, "due_at": until}
        if progress is not None:
            changes["progress"] = round(min(max(progress, 0.0), 1.0), 3)
        self._fenced_move(record, leaving=record.status, changes=changes)
        return self._with(record, changes)

    def give_back(
        self, record: R, *, delay: float = 0.0, error: Mapping[str, Any] | None = None, failed: bool = True
    ) -> R:
        """Return a claimed record to the state before the claim, to be tried again.

        Parameters
        ----------
        record : Audio or Generation
            As claimed.
        delay : float
            Seconds until its message comes back.
        error : mapping, optional
            Why: `{code, detail}`.
        failed : bool
            Whether the claim counts as one of its tries.

        Raises
        ------
        Fenced
        """
        changes = {
            "status": _BEFORE_CLAIM[record.status],
            "due_at": self.clock() + delay + RESEND_SECONDS,
            "lease_expires_at": None,
            "error": error,
        }
        if not failed:
            changes["attempts_before"] = record.attempts_before + 1
        self._fenced_move(record, leaving=record.status, changes=changes)
        return self._current(record)

    def requeue(self, record: R) -> R:
        """Return a record whose lease has ended to the state before the claim; the caller sends its message.

        Raises
        ------
        Fenced
            It was renewed, claimed or finished meanwhile.
        """
        changes = {
            "status": _BEFORE_CLAIM[record.status],
            "due_at": self.clock() + RESEND_SECONDS,
            "lease_expires_at": None,
        }
        self._fenced_move(record, leaving=record.status, changes=changes, lease_over=True)
        return self._current(record)

    def reopen(self, record: R) -> R:
        """Return a failed record to the state before its claim, because its dead letter is replayed.

        The count of tries starts again; the attempt number, which fences, goes on.

        Raises
        ------
        Fenced
            It is not failed any more, or has failed again in a later attempt.
        """
        changes = {
            "status": "uploaded" if record.kind == "audio" else "queued",
            "due_at": self.clock() + RESEND_SECONDS,
            "attempts_before": record.attempt,
            "resends": 0,
            "progress": 0.0,
            "error": None,
        }
        self._fenced_move(record, leaving="failed", changes=changes)
        return self._current(record)

    def postpone(self, record: R) -> R:
        """Note that a message was sent again, or an upload looked for; the interval doubles each time.

        Raises
        ------
        Fenced
            The record has moved, or another sweep was faster.
        """
        wait = min(RESEND_SECONDS * 2 ** (record.resends + 1), RESEND_LIMIT_SECONDS)
        due_at = self.clock() + wait
        if isinstance(record, Audio) and record.status == "awaiting_upload":
            due_at = min(due_at, record.upload_until)
        changes = {"due_at": due_at, "resends": record.resends + 1}
        self._fenced_move(record, leaving=record.status, changes=changes, due_at=record.due_at)
        return self._with(record, changes)

    def bury(self, record: R, status: Tombstone = "deleted") -> R:
        """Turn a record into a tombstone: deleted by its owner or expired by retention.

        Writers that held it are fenced. The caller then removes object, vector and generations and calls
        `purged`; if it dies before, the sweeper does.

        Returns
        -------
        Audio or Generation
            As it was before, to know what to remove.

        Raises
        ------
        NotFound
            It is gone already.
        """
        now = self.clock()
        sk = f"{record.kind}#{record.id}"
        gone = {f.name for f in fields(record)} - _TOMBSTONE_KEEPS | {"waiting", "audio_pk"}
        changes = dict.fromkeys(sorted(gone)) | {
            "status": status,
            "due_at": now + RESEND_SECONDS,
            "ttl": int(now + TOMBSTONE_SECONDS),
        }
        try:
            before = self._update(record.tenant, sk, _IS_ALIVE, changes, "ALL_OLD", _DEAD)
        except _ConditionFailed as refused:
            raise NotFound(refused.item.get("status")) from None
        return _from_item(type(record), before)

    def purged(self, record: Record) -> None:
        """Take a tombstone off the sweeper's list: everything it stood for is removed."""
        try:
            sk = f"{record.kind}#{record.id}"
            self._update(record.tenant, sk, _IS_DEAD, {"open": None}, "NONE", _DEAD)
        except _ConditionFailed:
            return  # the table's TTL was faster

    def stored(self, tenant: str) -> int:
        """Bytes that the tenant's limit counts."""
        return int(self._raw(tenant, "usage#stored").get("bytes", 0))

    def count_stored(self, record: Record, size: int) -> None:
        """Let the tenant's count hold the bytes that a record has in the bucket; again changes nothing.

        The record says what is counted for it; both change in one write: whatever dies in between, the sum
        over the records is the count.

        Parameters
        ----------
        record : Audio or Generation
            Its id is what counts: it is read anew.
        size : int
            Bytes; 0 when its object is removed or will not come. Only a tombstone and an audio that awaits
            its upload have nothing, and nothing else is counted for them: the count of a record that has
            moved is left to whoever moved it.

        Raises
        ------
        Conflict
            Too many other writes were faster; nothing is lost by trying again later.
        """
        key = {"pk": _pk(record.tenant), "sk": f"{record.kind}#{record.id}"}
        for lost in range(10):
            if lost:
                time.sleep(random.uniform(0, 0.01 * 2 ** min(lost, 5)))
            item = self._raw(record.tenant, key["sk"])
            counted, status = item.get("counted"), item.get("status")
            empty = status == "awaiting_upload" or status in TOMBSTONES
            if counted is None or int(counted) == size or empty != (size == 0):
                return
            noted = {
                "Key": key,
                "UpdateExpression": "SET counted = :size",
                "ConditionExpression": "counted = :counted AND #status = :status",
                "ExpressionAttributeNames": {"#status": "status"},
                "ExpressionAttributeValues": {":size": size, ":counted": counted, ":status": status},
            }
            sums = {
                "Key": {"pk": key["pk"], "sk": "usage#stored"},
                "UpdateExpression": "ADD #bytes :more",
                "ExpressionAttributeNames": {"#bytes": "bytes"},
                "ExpressionAttributeValues": {":more": size - int(counted)},
            }
            if self._transact({"Update": noted}, {"Update": sums}):
                return
        raise Conflict("contended")

    def due(self, limit: int = 100) -> Iterator[Audio | Generation]:
        """The records whose time has come, longest overdue first, each read consistently when its turn comes.

        Parameters
        ----------
        limit : int
            Records in a page of the index. All pages are read: records that stay due, because nobody can do
            what they need, must not hide the others.

        Yields
        ------
        Audio or Generation
            Tombstones not yet purged included.
        """
        now = self.clock()
        request: dict[str, Any] = {
            "IndexName": "due",
            "KeyConditionExpression": "#open = :open AND due_at <= :now",
            "ExpressionAttributeNames": {"#open": "open"},
            "ExpressionAttributeValues": {":open": "open", ":now": _number(now)},
            "Limit": limit,
        }
        while True:
            answer = self.table.query(**request)
            for keys in answer["Items"]:
                pk, sk = str(keys["pk"]), str(keys["sk"])
                item = self._raw(pk.removeprefix("tenant#"), sk)
                if item.get("open") and float(item["due_at"]) <= now:
                    is_audio = sk.startswith("audio#")
                    yield _from_item(Audio, item) if is_audio else _from_item(Generation, item)
            if "LastEvaluatedKey" not in answer:
                return
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def page(self, after: str | None, limit: int) -> tuple[list[Audio | Generation], str | None]:
        """Every record that is no purged tombstone, a page at a time, each read consistently.

        Parameters
        ----------
        after : str or None
            Where the page before ended, as it said; None begins anew.
        limit : int
            How many.

        Returns
        -------
        list of Audio or Generation
        str or None
            Where the next page begins; None after the last one.
        """
        request: dict[str, Any] = {
            "IndexName": "due",
            "KeyConditionExpression": "#open = :open",
            "ExpressionAttributeNames": {"#open": "open"},
            "ExpressionAttributeValues": {":open": "open"},
            "Limit": limit,
        }
        if after:
            start = json.loads(after)
            request["ExclusiveStartKey"] = {**start, "open": "open", "due_at": Decimal(start["due_at"])}
        answer = self.table.query(**request)
        items = [
            self._raw(str(keys["pk"]).removeprefix("tenant#"), str(keys["sk"])) for keys in answer["Items"]
        ]
        found = [
            _from_item(Audio, item) if item["sk"].startswith("audio#") else _from_item(Generation, item)
            for item in items
            if item
        ]
        last = answer.get("LastEvaluatedKey")
        following = last and json.dumps({name: str(last[name]) for name in ("pk", "sk", "due_at")})
        return found, following or None

    def reconciliation(self) -> dict[str, str]:
        """How far reconciliation came, as it noted."""
        item = self.table.get_item(Key=_RECONCILIATION).get("Item") or {}
        return {name: str(value) for name, value in item.items() if name not in _RECONCILIATION}

    def note_reconciliation(self, **at: str | None) -> None:
        """Note how far reconciliation came."""
        self.table.put_item(Item={**_RECONCILIATION, **{name: value for name, value in at.items() if value}})

    # -- underneath --------------------------------------------------------------------------------------

    def _raw(self, tenant: str, sk: str) -> dict[str, Any]:
        key = {"pk": _pk(tenant), "sk": sk}
        return self.table.get_item(Key=key, ConsistentRead=True).get("Item") or {}

    def _transact(self, *writes: dict[str, dict[str, Any]]) -> bool:
        """Make all writes or none; False if a condition fails, or an item is being written just now."""
        items = [
            {kind: {"TableName": self.table.name, **what}} for one in writes for kind, what in one.items()
        ]
        try:
            self.table.meta.client.transact_write_items(TransactItems=items)  # type: ignore[arg-type]
        except ClientError as error:
            if error.response["Error"]["Code"] == "TransactionCanceledException":
                return False
            raise
        return True

    def _get(self, kind: type[R], tenant: str, record_id: str) -> R | None:
        item = self._raw(tenant, f"{kind.kind}#{record_id}")
        return _from_item(kind, item) if item else None

    def _current(self, record: R) -> R:
        current = self._get(type(record), record.tenant, record.id)
        if current is None:
            raise Fenced(None)
        return current

    def _with(self, record: R, changes: Mapping[str, Any]) -> R:
        return type(record)(**{**_values(record), **changes})

    def _list(
        self, kind: type[R], key: Mapping[str, str], index: str | None, cursor: str | None, limit: int
    ) -> tuple[list[R], str | None]:
        prefix = f"{kind.kind}#"
        partition, value = next(iter(key.items()))
        start = _read_cursor(cursor, prefix) if cursor else None
        names: dict[str, str] = {
            f"#{f.name}": f.name for f in fields(kind) if f.name not in {"vector", "replayed"}
        }
        request: dict[str, Any] = {
            "KeyConditionExpression": f"{partition} = :partition AND begins_with(sk, :prefix)",
            "FilterExpression": f"NOT {_IS_DEAD}",
            "ProjectionExpression": ", ".join(["sk", *names]),
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": {
                ":partition": value,
                ":prefix": prefix,
                **_DEAD,
            },
            "ScanIndexForward": False,
        }
        if index:
            request["IndexName"] = index
        else:
            request["ConsistentRead"] = True
        found: list[R] = []
        while True:
            if start:
                # Every key of index and table follows from the sort key and the partition asked for.
                tenant_pk = value.split("#audio#")[0]
                request["ExclusiveStartKey"] = {"pk": tenant_pk, "sk": start, partition: value}
            answer = self.table.query(**request, Limit=limit - len(found) + 1)
            for item in answer["Items"]:
                if len(found) == limit:
                    return found, _cursor(f"{prefix}{found[-1].id}")
                found.append(_from_item(kind, item))
            last = answer.get("LastEvaluatedKey")
            if not last:
                return found, None
            start = str(last["sk"])

    def _claim(self, kind: type[R], tenant: str, record_id: str, *, leaving: str, working: str) -> R:
        now = self.clock()
        values = {":leaving": leaving, ":working": working, ":now": _number(now), ":one": 1}
        # Three cases in one expression: free to take, in progress past its lease, or neither.
        condition = "#status = :leaving OR (#status = :working AND lease_expires_at <= :now)"
        changes = {
            "status": working,
            "lease_expires_at": now + LEASE_SECONDS,
            "due_at": now + LEASE_SECONDS,
            "progress": 0.0,
            "resends": 0,
        }
        sk = f"{kind.kind}#{record_id}"
        try:
            item = self._update(
                tenant,
                sk,
                condition,
                changes,
                "ALL_NEW",
                values,
                extra="attempt = attempt + :one",
            )
        except _ConditionFailed as refused:
            current = _from_item(kind, refused.item) if refused.item else None
            if current is None or current.deleted:
                raise NotFound(current.status if current else None) from None
            if current.status == working and current.lease_expires_at is not None:
                raise Leased(current.lease_expires_at) from None
            raise Conflict(current.status) from None
        return _from_item(kind, item)

    def _move(
        self,
        kind: type[R],
        tenant: str,
        record_id: str,
        *,
        leaving: Iterable[str],
        changes: Mapping[str, Any],
        extra: str = "",
    ) -> R:
        """Move a record that nobody has to hold; the states it may leave are named."""
        values = {f":from{i}": status for i, status in enumerate(leaving)}
        condition = f"#status IN ({', '.join(values)})"
        try:
            item = self._update(
                tenant, f"{kind.kind}#{record_id}", condition, changes, "ALL_NEW", values, extra
            )
        except _ConditionFailed as refused:
            current = _from_item(kind, refused.item) if refused.item else None
            if current is None or current.deleted:
                raise NotFound(current.status if current else None) from None
            raise Conflict(current.status) from None
        return _from_item(kind, item)

    def _fenced_move(
        self,
        record: Audio | Generation,
        *,
        leaving: str,
        changes: Mapping[str, Any],
        lease_over: bool = False,
        due_at: float | None = None,
    ) -> dict[str, Any]:
        """Move a record on behalf of who read or claimed it: state and attempt must still be the same."""
        values: dict[str, Any] = {":from": leaving, ":attempt": record.attempt}
        condition = "#status = :from AND attempt = :attempt"
        if lease_over:
            condition += " AND lease_expires_at <= :now"
            values[":now"] = _number(self.clock())
        if due_at is not None:
            condition += " AND due_at = :due"
            values[":due"] = _number(due_at)
        sk = f"{record.kind}#{record.id}"
        try:
            return self._update(record.tenant, sk, condition, changes, "ALL_OLD", values)
        except _ConditionFailed as refused:
            raise Fenced(refused.item.get("status")) from None

    def _update(
        self,
        tenant: str,
        sk: str,
        condition: str,
        changes: Mapping[str, Any],
        returns: Literal["ALL_NEW", "ALL_OLD", "NONE"],
        values: Mapping[str, Any],
        extra: str = "",
    ) -> dict[str, Any]:
        """One conditional UpdateItem; a change to None removes the attribute.

        Returns
        -------
        dict
            What `returns` asks for; the item as it is now when a first try, of which the client heard
            nothing, had made the change.

        Raises
        ------
        _ConditionFailed
        """
        mark = uuid4().hex
        changes = {**changes, "updated_at": _iso(self.clock()), "write": mark}
        names = {f"#{name}": name for name in changes}
        if "#status" in condition:
            names["#status"] = "status"
        sets = [f"#{name} = :set_{name}" for name, value in changes.items() if value is not None]
        removes = [f"#{name}" for name, value in changes.items() if value is None]
        expression = "SET " + ", ".join([*sets, *([extra] if extra else [])])
        if removes:
            expression += " REMOVE " + ", ".join(removes)
        set_values = {
            f":set_{name}": _store(name, value) for name, value in changes.items() if value is not None
        }
        try:
            answer = self.table.update_item(
                Key={"pk": _pk(tenant), "sk": sk},
                UpdateExpression=expression,
                ConditionExpression=condition,
                ExpressionAttributeNames=names,
                ExpressionAttributeValues={**values, **set_values},
                ReturnValues=returns,
            )
        except ClientError as error:
            if not _condition_failed(error):
                raise
            item = self._raw(tenant, sk)
            if item.get("write") != mark:
                raise _ConditionFailed(item) from error
            return item
        return dict(answer.get("Attributes") or {})


_BEFORE_CLAIM = {"embedding": "uploaded", "running": "queued"}


class _ConditionFailed(Exception):
    """A conditional write found another state than the one it leaves: `item`, empty if there is none."""

    def __init__(self, item: dict[str, Any]) -> None:
        super().__init__(item.get("status"))
        self.item = item


def new_id() -> str:
    """Make a ULID: 26 characters, sortable by time."""
    return str(ULID())


def _pk(tenant: str) -> str:
    return f"tenant#{tenant}"


def _audio_pk(tenant: str, audio_id: str) -> str:
    return f"tenant#{tenant}#audio#{audio_id}"


def _iso(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _cost(generation: Generation) -> Decimal:
    """Seconds of music that are made for a generation."""
    parameters = generation.parameters or {}
    return Decimal(str(parameters["duration"])) * int(parameters.get("candidates", 1))


def _condition_failed(error: ClientError) -> bool:
    return error.response["Error"]["Code"] == "ConditionalCheckFailedException"


def _cursor(sk: str) -> str:
    return base64.urlsafe_b64encode(sk.encode()).decode().rstrip("=")


def _read_cursor(cursor: str, prefix: str) -> str:
    try:
        sk = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        ULID.from_str(sk.removeprefix(prefix))
    except (ValueError, binascii.Error) as error:
        raise ValueError("not a cursor of this list") from error
    if not sk.startswith(prefix):
        raise ValueError("not a cursor of this list")
    return sk


def _values(record: Record) -> dict[str, Any]:
    return {f.name: getattr(record, f.name) for f in fields(record)}


def _number(value: float) -> Any:
    """DynamoDB numbers are decimals; milliseconds and three places of progress are all we keep."""
    return Decimal(str(round(value, 3)))


def _store(name: str, value: Any) -> Any:
    if name in _DOCUMENTS:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return _number(value) if isinstance(value, float) else value


def _to_item(record: Audio | Generation) -> dict[str, Any]:
    item = {
        name: _store(name, value)
        for name, value in _values(record).items()
        if value is not None and name != "replayed"
    }
    item |= {"pk": _pk(record.tenant), "sk": f"{record.kind}#{record.id}", "open": "open"}
    if isinstance(record, Generation):
        item["audio_pk"] = _audio_pk(record.tenant, record.audio_id)
    return item


def _from_item(kind: type[R], item: Mapping[str, Any]) -> R:
    values: dict[str, Any] = {}
    for field in fields(kind):
        value = item.get(field.name)
        if value is None:
            continue
        if field.name in _DOCUMENTS:
            value = json.loads(value)
        elif field.name in {"attempt", "attempts_before", "resends", "size", "counted", "windows"}:
            value = int(value)
        elif field.name in {"expires_at", "due_at", "lease_expires_at", "progress", "upload_until"}:
            value = float(value)
        elif field.name == "vector":
            value = bytes(value)
        values[field.name] = value
    return kind(**values)
