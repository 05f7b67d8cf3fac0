"""The moves of the records: the state machine of audio and of generations.

See Also
--------
backend.records : The picture of all states and moves, and the rules that every move keeps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from backend.records.contents import Contents
from backend.records.replays import Replays
from backend.records.schedule import Schedule
from backend.records.speed import Speeds
from backend.records.table import (
    DEAD,
    IS_ALIVE,
    IS_DEAD,
    ConditionFailed,
    Items,
    R,
    from_item,
    iso,
    item_key,
    number,
    record_key,
    rounds,
    sort_key,
)
from backend.records.turns import Turns
from backend.records.types import (
    BURIED_TOGETHER,
    CLAIM,
    COOL_DOWN_SECONDS,
    FREE,
    LEASE_SECONDS,
    MAX_COPIES_NAMED,
    MAX_WAITING,
    MOST_BURIED,
    PENDING_AUDIO,
    RESEND_LIMIT_SECONDS,
    RESEND_SECONDS,
    TOMBSTONE_SECONDS,
    TOMBSTONES,
    UNFINISHED_GENERATION,
    UPLOAD_GRACE_SECONDS,
    Audio,
    Charge,
    Conflict,
    Fenced,
    Generation,
    Leased,
    LimitReached,
    Limits,
    NotFound,
    OutOfTurn,
    Record,
    Tombstone,
    TooManyWaiting,
    counted_bytes,
    day_of,
    new_id,
)
from backend.records.usage import Usage
from backend.settings import Settings, table

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

_BEFORE_CLAIM = {working: leaving for leaving, working in CLAIM.values()}
_TOMBSTONE_KEEPS = {
    *("tenant", "id", "status", "created_at", "updated_at", "correlation_id", "expires_at", "due_at"),
    *("audio_id", "result", "sha256"),  # so that whoever purges knows what to remove
    *("counted", "charged", "charged_on", "worked", "timed"),  # and what to settle
    *("attempt", "claimed_at", "lease_expires_at"),
}


class Records:
    """The table of records: the moves of both kinds.

    Parameters
    ----------
    table : Table
        The boto3 table resource.
    retention_seconds : float
        Life of a record, its object and its vector, counted from its creation.
    clock : callable
        Returns the time in epoch seconds; tests pass their own.

    Attributes
    ----------
    items : Items
        The items of the table, and the writes that the moves are made of.
    usage : Usage
        What the tenants' limits count.
    turns : Turns
        Whose turn it is with the workers.
    contents : Contents
        Which audio have the same content.
    replays : Replays
        What idempotency keys were answered with.
    schedule : Schedule
        What the sweeper reads.
    speeds : Speeds
        How fast the deployment generates.
    """

    def __init__(
        self, table: Table, retention_seconds: float, clock: Callable[[], float] = time.time
    ) -> None:
        self.items = Items(table, clock)
        self.usage = Usage(self.items)
        self.turns = Turns(self.items, self.usage)
        self.contents = Contents(self.items, retention_seconds)
        self.replays = Replays(self.items)
        self.schedule = Schedule(self.items)
        self.speeds = Speeds(self.items)
        self.retention_seconds = retention_seconds

    @classmethod
    def from_settings(cls, settings: Settings) -> Records:
        """Make the table that a deployment has."""
        return cls(table(settings.table_name), settings.retention_seconds)

    def now(self) -> float:
        """Return the time in epoch seconds, by the clock of the records."""
        return self.items.clock()

    # -- audio -------------------------------------------------------------------------------------------

    def rename_audio(self, tenant: str, audio_id: str, filename: str) -> Audio:
        """Give an audio another file name, in whatever state it is.

        Raises
        ------
        NotFound
        """
        key = item_key(tenant, sort_key(Audio, audio_id))
        try:
            return from_item(Audio, self.items.update(key, IS_ALIVE, {"filename": filename}, DEAD))
        except ConditionFailed as refused:
            raise NotFound(refused.item.get("status")) from None

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
        idempotency: tuple[str, str] | None = None,
        charge: Charge = FREE,
        made_from: tuple[str, int | None] | None = None,
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
        idempotency : (key_hash, body_hash), optional
            Same key and body within 24 h: the first audio again, `replayed`.
        charge : Charge
            What embedding it is expected to cost.
        made_from : (generation_id, candidate), optional
            What it is a copy of; the generation's record names it, too.

        Returns
        -------
        Audio

        Raises
        ------
        Conflict
            The id is taken, or the generation is not succeeded.
        NotFound
            There is no such generation.
        IdempotencyMismatch
            The key came before with another body.
        LimitReached
            There is no room for so many bytes, the day's worker seconds are used up, or too much of the
            tenant's is not embedded yet.
        """
        now = self.now()
        audio = Audio(
            tenant=tenant,
            id=audio_id or new_id(),
            status="awaiting_upload",
            created_at=iso(now),
            updated_at=iso(now),
            correlation_id=correlation_id,
            expires_at=now + self.retention_seconds,
            due_at=now + RESEND_SECONDS,  # the upload's event may be lost, or whoever takes it die
            filename=filename,
            content_type=content_type,
            upload_until=upload_expires_at + UPLOAD_GRACE_SECONDS,
            size=size,
            sha256=sha256,
            duplicate_of=duplicate_of,
            made_from={"generation_id": made_from[0], "candidate": made_from[1]} if made_from else None,
        )
        if limits:
            audio = self._counted(audio, counted_bytes(size), charge)
        ties = self.usage.admitting(audio, limits) if limits else []
        if idempotency:
            ties.append(self.replays.noting(audio, idempotency))
        for _ in rounds():  # each round lost means that another request of the tenant was faster
            if idempotency and (earlier := self.replays.find(Audio, tenant, idempotency)):
                return earlier
            lineage = [self._lineage(audio, made_from[0])] if made_from else []
            if self.items.create(audio, *ties, *lineage):
                break
            if limits:
                self.usage.check(Audio, tenant, size or 0, charge, limits)
        return audio

    def _counted(self, record: R, size: int, charge: Charge) -> R:
        """Return a record with what is counted for it."""
        return replace(record, counted=size, charged=charge.seconds, charged_on=day_of(self.now()))

    def _lineage(self, audio: Audio, generation_id: str) -> dict[str, Any]:
        """Return the write that names a copy in its generation's record, and fails where that has moved."""
        generation = self.get_generation(audio.tenant, generation_id)
        if generation is None or generation.deleted:
            raise NotFound(generation.status if generation else None)
        if generation.status != "succeeded":
            raise Conflict(generation.status)
        succeeded = {
            "Key": record_key(generation),
            "ExpressionAttributeNames": {"#status": "status"},
            "ConditionExpression": "#status = :succeeded",
        }
        values: dict[str, Any] = {":succeeded": "succeeded"}
        if len(generation.copied_to or []) >= MAX_COPIES_NAMED:
            return {"ConditionCheck": {**succeeded, "ExpressionAttributeValues": values}}
        return {
            "Update": {
                **succeeded,
                "UpdateExpression": "ADD copied_to :id",
                "ExpressionAttributeValues": {**values, ":id": {audio.id}},
            }
        }

    def get_audio(self, tenant: str, audio_id: str) -> Audio | None:
        """Read an audio record consistently; tombstones are returned too (`Audio.deleted`)."""
        return self.items.get(Audio, tenant, audio_id)

    def list_audio(
        self, tenant: str, cursor: str | None = None, limit: int = 50, *, vectors: bool = False
    ) -> tuple[list[Audio], str | None]:
        """List a tenant's audio, newest first.

        Parameters
        ----------
        cursor : str, optional
            Where the page before ended, as it said.
        limit : int
            Most records on a page.
        vectors : bool
            Whether their vectors come too; they are most of a record's bytes.

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
        return self.items.list(Audio, tenant, None, cursor, limit, vectors=vectors)

    def mark_uploaded(self, tenant: str, audio_id: str, *, etag: str, size: int) -> Audio:
        """Move `awaiting_upload` (or an overwritten `uploaded`) to `uploaded` with the object's ETag.

        Raises
        ------
        NotFound, Conflict
            There is no such record; it has moved on already.
        """
        audio = self.items.move(
            Audio,
            tenant,
            audio_id,
            leaving=("awaiting_upload", "uploaded"),
            changes={
                "status": "uploaded",
                "etag": etag,
                "size": size,
                "resends": 0,
                "due_at": self.now() + RESEND_SECONDS,
            },
        )
        if audio.counted not in (None, counted_bytes(audio.stored_bytes)):
            # Once it is being embedded, who embeds it counts.
            self.usage.count(audio, audio.stored_bytes, only="uploaded")
        return audio

    def embed_again(
        self,
        tenant: str,
        audio_id: str,
        *,
        charge: Charge = FREE,
        limits: Limits | None = None,
        cool_down: bool = False,
    ) -> Audio:
        """Move `ready` back to `uploaded`, so that it is embedded by the profile now in force.

        Parameters
        ----------
        charge, limits : optional
            What the tenant is charged for it, as `create_audio` takes them; without limits, nothing.
        cool_down : bool
            Whether it must not have been embedded in the last `COOL_DOWN_SECONDS`.

        Raises
        ------
        NotFound, Conflict
        LimitReached
            It was embedded only just now, or the tenant has used up what it may.
        """
        audio = self.get_audio(tenant, audio_id)
        if audio is None or audio.deleted:
            raise NotFound(audio.status if audio else None)
        if audio.status != "ready":
            raise Conflict(audio.status)
        now = self.now()
        wait = (audio.embedded_at or 0.0) + COOL_DOWN_SECONDS - now
        if cool_down and wait > 0:
            detail = (
                f"It was embedded less than {COOL_DOWN_SECONDS // 60} minutes ago, and nothing has changed."
            )
            raise LimitReached("embedded_just_now", detail, int(wait) + 1)
        changes = {
            "status": "uploaded",
            "resends": 0,
            "progress": 0.0,
            "event_due": None,
            "due_at": now + RESEND_SECONDS,
            # The attempt number fences, so it only ever grows; the count of tries starts again.
            "attempts_before": audio.attempt,
        }
        if limits is None:
            changes |= {"charged": None, "charged_on": None}
            return self._again(audio, changes)
        counted = self._counted(audio, audio.counted or 0, charge)
        changes |= {"charged": counted.charged, "charged_on": counted.charged_on, "worked": 0.0}
        return self._again(
            audio,
            changes,
            self.usage.admitting_work(counted, limits),
            lambda: self.usage.check_work(Audio, tenant, charge, limits),
        )

    def _again(
        self,
        audio: Audio,
        changes: Mapping[str, Any],
        also: Sequence[dict[str, dict[str, Any]]] = (),
        refused: Callable[[], None] = lambda: None,
    ) -> Audio:
        try:
            return self.items.fenced_transaction(
                audio, leaving="ready", changes=changes, also=lambda _: also, refused=refused
            )
        except Fenced as moved:
            raise Conflict(moved.status or "deleted") from None

    def claim_audio(
        self, tenant: str, audio_id: str, limits: Limits | None = None, *, called: bool = False
    ) -> Audio:
        """Take an `uploaded` audio, or one whose lease has ended, for embedding.

        Parameters
        ----------
        limits : Limits, optional
            What the tenant may have; without them, no turn is needed.
        called : bool
            Whether the message that asks for it calls it (see `Turns`).

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
        OutOfTurn
            The tenant has as many others with the workers as it may.
        """
        return self._claim(Audio, tenant, audio_id, limits, called)

    def _claim(self, kind: type[R], tenant: str, record_id: str, limits: Limits | None, called: bool) -> R:
        if limits and not self.turns.take(kind, tenant, record_id, limits.running, called=called):
            raise OutOfTurn
        leaving, working = CLAIM[kind.kind]
        claim = partial(self.items.claim, kind, tenant, record_id, leaving=leaving, working=working)
        try:
            return claim()
        except Leased as leased:
            dead = self.items.get(kind, tenant, record_id) if leased.until <= self.now() else None
            if dead is None or dead.status != working:
                raise
        with suppress(Fenced):  # somebody else was faster
            self.requeue(dead)
        return claim()

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
        derived: Mapping[str, Any] | None = None,
    ) -> tuple[Audio, list[Generation]]:
        """Move `embedding` to `ready` and release the generations that waited for it.

        Parameters
        ----------
        audio : Audio
            As claimed.
        vector : bytes
            Little-endian float32.
        identity : mapping
            What made the vector.
        features, tags, tag_scores
            What was measured, and what was heard.
        windows : int, optional
            Windows of sound that the vector is the mean of.
        sha256, duplicate_of : str, optional
            Of the content, as `Contents.note` takes and returns it.
        content_type : str, optional
            What the file turned out to be; by default, what it was said to be.
        derived : mapping, optional
            What a player needs of it (see `Audio`), which counts from now on.

        Returns
        -------
        Audio
            As it is now.
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
            "derived": derived,
            "embedded_at": self.now(),
            "progress": 1.0,
            "error": None,
        }
        finished, waiting = self._end_audio(audio, leaving="embedding", changes=changes)
        released = (self.release_waiting(audio.tenant, identifier) for identifier in waiting)
        return finished, [generation for generation in released if generation]

    def fail_audio(self, audio: Audio, code: str, detail: str) -> tuple[Audio, list[Generation]]:
        """Move an audio to `failed`, and the generations that waited for it as well.

        The claimed `embedding` is left by its holder; `awaiting_upload` and `uploaded` by the sweeper.

        Returns
        -------
        Audio
            As it is now.
        list of Generation
            The generations failed with it.

        Raises
        ------
        Fenced
            The record has moved since `audio` was read.
        """
        changes = {"status": "failed", "error": {"code": code, "detail": detail}, "derived": None}
        ended, waiting = self._end_audio(audio, leaving=audio.status, changes=changes)
        self._settle(ended)
        failed = (self.fail_waiting(audio.tenant, identifier, code, detail) for identifier in waiting)
        return ended, [generation for generation in failed if generation]

    def _end_audio(
        self, audio: Audio, *, leaving: str, changes: Mapping[str, Any]
    ) -> tuple[Audio, list[str]]:
        """Move an audio to where nobody holds it and nothing waits for it any more.

        Returns
        -------
        Audio
            As it is now.
        list of str
            Ids of the generations that waited for it. A move that only its second try heard of does not tell
            them: the sweeper finds them.

        Raises
        ------
        Fenced
        """
        changes = {
            **changes,
            **self._telling(),
            "lease_expires_at": None,
            "updated_at": iso(self.now()),
        }
        after = replace(audio, **changes)
        if audio.counted in (None, counted_bytes(after.stored_bytes)) or leaving != "embedding":
            before = self.items.fenced_update(
                audio, leaving=leaving, changes={**changes, "waiting": None}, returns="ALL_OLD"
            )
            return replace(from_item(Audio, before), **changes), sorted(before.get("waiting", ()))
        ended = self.items.fenced_count(
            audio,
            leaving=leaving,
            changes=changes,
            size=counted_bytes(after.stored_bytes),
            adding=partial(self.usage.adding, audio.tenant),
        )
        # Nothing begins to wait for it any more. Where this is never written, the sweeper finds what waits.
        before = self.items.update(record_key(audio), IS_ALIVE, {"waiting": None}, DEAD, returns="ALL_OLD")
        return ended, sorted(before.get("waiting", ()))

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
        charge: Charge = FREE,
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
        charge : Charge
            What it is expected to cost.

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
        for _ in rounds():  # each round lost means that the audio moved or another request won
            if idempotency and (earlier := self.replays.find(Generation, tenant, idempotency)):
                return earlier
            audio = self.get_audio(tenant, audio_id)
            if audio is None or audio.deleted:
                raise NotFound(audio.status if audio else None)
            if audio.status == "failed":
                raise Conflict("failed")
            ready = audio.status == "ready"
            now = self.now()
            generation = Generation(
                tenant=tenant,
                id=new_id(),
                status="queued" if ready else "waiting",
                created_at=iso(now),
                updated_at=iso(now),
                correlation_id=correlation_id,
                expires_at=now + self.retention_seconds,
                due_at=now + RESEND_SECONDS,
                audio_id=audio_id,
                profile=profile,
                parameters=dict(parameters),
            )
            ties = [self._tie(generation, ready=ready)]
            if idempotency:
                ties.append(self.replays.noting(generation, idempotency))
            if limits:
                generation = self._counted(generation, counted_bytes(0), charge)
                ties += self.usage.admitting(generation, limits)
            if self.items.create(generation, *ties):
                break
            if not ready and len(self._waiting(audio)) >= MAX_WAITING:
                raise TooManyWaiting
            if limits:
                self.usage.check(Generation, tenant, 0, charge, limits)
        return generation

    def _tie(self, generation: Generation, *, ready: bool) -> dict[str, Any]:
        """Return the write that fails unless a new generation's audio is still as it was read."""
        key = item_key(generation.tenant, sort_key(Audio, generation.audio_id))
        names = {"#status": "status"}
        if ready:
            check = {
                "Key": key,
                "ConditionExpression": "#status = :ready",
                "ExpressionAttributeNames": names,
                "ExpressionAttributeValues": {":ready": "ready"},
            }
            return {"ConditionCheck": check}
        note = {
            "Key": key,
            "UpdateExpression": "ADD waiting :id",
            "ConditionExpression": "#status IN (:p0, :p1, :p2)"
            " AND (attribute_not_exists(waiting) OR size(waiting) < :most)",
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": {
                **{f":p{i}": status for i, status in enumerate(PENDING_AUDIO)},
                ":id": {generation.id},
                ":most": MAX_WAITING,
            },
        }
        return {"Update": note}

    def _waiting(self, audio: Audio) -> set[str]:
        """Read the ids of the generations that wait for an audio."""
        found: set[str] = self.items.read(record_key(audio)).get("waiting", set())
        return found

    def get_generation(self, tenant: str, generation_id: str) -> Generation | None:
        """Read a generation consistently; tombstones are returned too (`Generation.deleted`)."""
        return self.items.get(Generation, tenant, generation_id)

    def list_generations(
        self, tenant: str, audio_id: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> tuple[list[Generation], str | None]:
        """List a tenant's generations, or those of one audio, newest first.

        Raises
        ------
        ValueError
            The cursor is not one of ours.
        """
        return self.items.list(Generation, tenant, audio_id, cursor, limit)

    def release_waiting(self, tenant: str, generation_id: str) -> Generation | None:
        """Move `waiting` to `queued`; None if it is no longer waiting."""
        changes = {"status": "queued", "due_at": self.now() + RESEND_SECONDS, "resends": 0}
        try:
            return self.items.move(Generation, tenant, generation_id, leaving=("waiting",), changes=changes)
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

    def has_turn(self, record: Audio | Generation, limits: Limits | None, *, called: bool = False) -> bool:
        """Give a job a turn if its tenant has one left: otherwise it is called later (see `Turns.take`)."""
        if limits is None:
            return True
        return self.turns.take(type(record), record.tenant, record.id, limits.running, called=called)

    def claim_generation(
        self, tenant: str, generation_id: str, limits: Limits | None = None, *, called: bool = False
    ) -> Generation:
        """Take a `queued` generation, or one whose lease has ended, to run it.

        Raises
        ------
        NotFound, Leased, Conflict, OutOfTurn
            As `claim_audio`.
        """
        return self._claim(Generation, tenant, generation_id, limits, called)

    def finish_generation(
        self,
        generation: Generation,
        result: Mapping[str, Any],
        *,
        size: int,
        candidates_seconds: float | None = None,
    ) -> Generation:
        """Move `running` to `succeeded` with the result, and count its bytes for the tenant, both or neither.

        Parameters
        ----------
        generation : Generation
            As claimed.
        result : mapping
            What the record is to say of it.
        size : int
            Bytes that it takes in the bucket, candidates included.
        candidates_seconds : float, optional
            For how long its candidates are kept; without it there are none.

        Returns
        -------
        Generation
            As it is now.

        Raises
        ------
        Fenced
        Conflict
            Too many other writes of the tenant were faster; nothing is lost by trying again later.
        """
        changes: dict[str, Any] = {
            "status": "succeeded",
            "result": dict(result),
            "progress": 1.0,
            "error": None,
            "lease_expires_at": None,
            **self._telling(),
        }
        if candidates_seconds is not None:
            changes |= {
                "chosen": result["chosen"],
                "chosen_bytes": result["bytes"],
                "candidates_expire_at": min(self.now() + candidates_seconds, generation.expires_at),
            }
        if generation.counted is None:
            return self.items.fenced_move(generation, leaving="running", changes=changes)
        return self.items.fenced_count(
            generation,
            leaving="running",
            changes=changes,
            size=counted_bytes(size),
            adding=partial(self.usage.adding, generation.tenant),
        )

    def choose(
        self, generation: Generation, candidate: int, size: int, report: Mapping[str, Any] | None = None
    ) -> Generation:
        """Let another candidate be the result of a succeeded generation.

        Parameters
        ----------
        candidate : int
            One whose file in the generation's format is there.
        size : int
            The bytes of that file.
        report : mapping, optional
            What is told of it alone, where it is not the best.

        Raises
        ------
        NotFound
            It is gone.
        Conflict
            It is not succeeded; or its candidates are not kept any more (``expired``).
        """
        condition, values = "#status = :succeeded", {":succeeded": "succeeded"}
        if candidate != generation.best:
            condition += " AND candidates_expire_at > :now"
            values[":now"] = number(self.now())
        changes = {"chosen": candidate, "chosen_bytes": size, "chosen_report": report}
        try:
            return from_item(
                Generation, self.items.update(record_key(generation), condition, changes, values)
            )
        except ConditionFailed as refused:
            status = refused.item.get("status")
            if status is None or status in TOMBSTONES:
                raise NotFound(status) from None
            raise Conflict("expired" if status == "succeeded" else str(status)) from None

    def candidates_gone(self, generation: Generation) -> Generation:
        """Note that a generation's candidates are removed, and that it is due at the end of its life.

        Until its event is sent it is due for that, and its candidates are removed again.

        Raises
        ------
        Fenced
        """
        due_at = self.now() + RESEND_LIMIT_SECONDS if generation.event_due else generation.expires_at
        return self.items.fenced_move(generation, leaving="succeeded", changes={"due_at": due_at})

    def fail_generation(self, generation: Generation, code: str, detail: str) -> Generation:
        """Move a generation from the state in which it was read to `failed`.

        Raises
        ------
        Fenced
        """
        changes = {
            "status": "failed",
            "error": {"code": code, "detail": detail},
            "lease_expires_at": None,
            **self._telling(),
        }
        failed = self.items.fenced_move(generation, leaving=generation.status, changes=changes)
        self._settle(failed)
        return failed

    def cancel_generation(self, tenant: str, generation_id: str) -> Generation:
        """Move `waiting`, `queued` or `running` to `cancelled`; a running worker is fenced from then on.

        Raises
        ------
        NotFound, Conflict
        """
        current = self.get_generation(tenant, generation_id)
        if current is None or current.deleted:
            raise NotFound(current.status if current else None)
        changes = {"status": "cancelled", "due_at": current.expires_at}
        cancelled = self.items.move(
            Generation, tenant, generation_id, leaving=UNFINISHED_GENERATION, changes=changes
        )
        self._settle(cancelled)
        return cancelled

    def _settle(self, record: Audio | Generation) -> None:
        """Charge what is due for a record that came to its end; it is over even where that cannot be done."""
        with suppress(Conflict):
            self.usage.settle(record)

    # -- both --------------------------------------------------------------------------------------------

    def renew(
        self,
        record: R,
        progress: float | None = None,
        stage: str | None = None,
        seconds_left: float | None = None,
    ) -> R:
        """Extend the lease of a claimed record, and note how far it is.

        The sweeper's index is left as it is: a record that comes due under a live lease is looked at, and
        waits for the lease's end (`Schedule.await_lease`).

        Parameters
        ----------
        record : Audio or Generation
            As claimed.
        progress : float, optional
            Share that is done, in [0, 1].
        stage : str, optional
            What its worker is at.
        seconds_left : float, optional
            How long it will still take.

        Raises
        ------
        Fenced
            The claim is lost: stop working and write nothing.
        """
        until = self.now() + LEASE_SECONDS
        changes: dict[str, Any] = {"lease_expires_at": until, "seconds_left": seconds_left}
        if stage is not None:
            changes["stage"] = stage
        if progress is not None:
            changes["progress"] = round(min(max(progress, 0.0), 1.0), 3)
        return self.items.fenced_move(record, leaving=record.status, changes=changes)

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
            "due_at": self.now() + delay + RESEND_SECONDS,
            "lease_expires_at": None,
            "error": error,
        }
        if not failed:
            changes["attempts_before"] = record.attempts_before + 1
        return self.items.fenced_move(record, leaving=record.status, changes=changes)

    def requeue(self, record: R) -> R:
        """Return a record whose lease has ended to the state before the claim; the caller sends its message.

        The attempt that ended with it is charged: its worker does not do that any more.

        Raises
        ------
        Fenced
            It was renewed, claimed or finished meanwhile.
        """
        changes = {
            "status": _BEFORE_CLAIM[record.status],
            "due_at": self.now() + RESEND_SECONDS,
            "lease_expires_at": None,
            "worked": record.worked + record.untimed(self.now()),
            "timed": record.attempt,
        }
        requeued = self.items.fenced_move(record, leaving=record.status, changes=changes, lease_over=True)
        self._settle(requeued)
        return requeued

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
            "event_due": None,
            "due_at": self.now() + RESEND_SECONDS,
            "attempts_before": record.attempt,
            "resends": 0,
            "progress": 0.0,
            "error": None,
        }
        return self.items.fenced_move(record, leaving="failed", changes=changes)

    def _telling(self) -> dict[str, Any]:
        """Return what a move to ready, succeeded or failed writes, so that its event is sent."""
        return {"event_due": True, "due_at": self.now() + RESEND_SECONDS, "resends": 0}

    def event_sent(self, record: Audio | Generation) -> None:
        """Note that the event of a record's end is published. One that has moved on needs no note."""
        changes = {"event_due": None, "due_at": record.rests_until}
        with suppress(Fenced):
            self.items.fenced_move(record, leaving=record.status, changes=changes)

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
        changes = self._burying(type(record), status)
        try:
            before = self.items.update(record_key(record), IS_ALIVE, changes, DEAD, returns="ALL_OLD")
        except ConditionFailed as refused:
            raise NotFound(refused.item.get("status")) from None
        return from_item(type(record), before)

    def bury_generations(self, audio: Audio, status: Tombstone) -> tuple[list[Generation], bool]:
        """Bury the generations of a buried audio, `MOST_BURIED` at most.

        Returns
        -------
        list of Generation
            Those that are tombstones now. Each is on the sweeper's list by itself.
        bool
            Whether there may be more.
        """
        buried: list[Generation] = []
        cursor: str | None = None
        changes = self._burying(Generation, status)
        for _ in range(0, MOST_BURIED, BURIED_TOGETHER):
            page, cursor = self.list_generations(audio.tenant, audio.id, cursor, BURIED_TOGETHER)
            if page and self.items.update_all(map(record_key, page), IS_ALIVE, changes, DEAD):
                buried += page
            else:  # one is gone already, as the index lags behind the table, or moves just now
                for generation in page:
                    with suppress(NotFound):
                        buried.append(self.bury(generation, status))
            if cursor is None:
                break
        return buried, cursor is not None

    def _burying(self, kind: type[Record], status: Tombstone) -> dict[str, Any]:
        """Return what turns a record of a kind into a tombstone."""
        now = self.now()
        gone = {f.name for f in fields(kind)} - _TOMBSTONE_KEEPS | {"waiting", "audio_pk"}
        return dict.fromkeys(sorted(gone)) | {
            "status": status,
            "due_at": now + RESEND_SECONDS,
            "ttl": int(now + TOMBSTONE_SECONDS),
        }

    def purged(self, record: Record) -> None:
        """Take a tombstone off the sweeper's list: everything it stood for is removed."""
        try:
            self.items.update(record_key(record), IS_DEAD, {"open": None}, DEAD)
        except ConditionFailed:
            return  # the table's TTL was faster
