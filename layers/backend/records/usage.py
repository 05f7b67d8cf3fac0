"""What the tenants' limits count: unfinished jobs, worker seconds in a day, stored bytes.

Table layout
    sk = usage#unfinished    audio, generation: ids, those that have finished meanwhile included
    sk = usage#{day}         worker_seconds charged on that day (UTC)
    sk = usage#stored        bytes in the bucket

Each record carries the bytes that are counted for it (`counted`) and the worker seconds that are charged for
it (`charged`), and both change in one transaction with their sums: the sum over the records is the count,
whatever dies when.

A job is charged what it is expected to cost when it is asked for, on the day on which it is asked for. When
an attempt ends, however it ends, the record adds up the seconds that it took (`worked`), once (`timed`). When
the record has come to its end they take the place of what was expected, `MIN_CHARGE_SECONDS` at least. The
attempt of a process that died, or was still at work when its job was withdrawn, took until its worker would
have renewed the lease (`Record.untimed`): whoever takes the job over or withdraws it notes that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

from backend.records.table import Items, R, from_item, item_key, number, record_key, rounds
from backend.records.types import (
    MIN_CHARGE_SECONDS,
    STORAGE_RETRY_SECONDS,
    TOMBSTONES,
    UNFINISHED,
    Audio,
    Charge,
    Generation,
    LimitReached,
    Limits,
    Record,
    counted_bytes,
    day_of,
)

_STORED = "usage#stored"
_UNFINISHED = "usage#unfinished"
UNFINISHED_RETRY_SECONDS = 15
"""Seconds after which to ask again when too much was unfinished."""

_DAY_SECONDS = 86400

Write = dict[str, dict[str, Any]]


class Usage:
    """The counts of all tenants.

    Parameters
    ----------
    items : Items
        The items of the table.

    See Also
    --------
    Limits : What a tenant may have.
    """

    def __init__(self, items: Items) -> None:
        self._items = items

    # -- stored bytes ------------------------------------------------------------------------------------

    def stored(self, tenant: str) -> int:
        """Return the bytes that the tenant's limit counts."""
        return int(self._items.read(item_key(tenant, _STORED)).get("bytes", 0))

    def count(self, record: Record, size: int, *, only: str | None = None) -> None:
        """Let the tenant's count hold the bytes that a record has in the bucket; again changes nothing.

        Parameters
        ----------
        record : Audio or Generation
            Its id is what counts: it is read anew.
        size : int
            Bytes; 0 when its object is removed or will not come. Only a tombstone and an audio that awaits
            its upload have nothing, and nothing else is counted for them: the count of a record that has
            moved is left to whoever moved it. A tombstone counts nothing, any other record
            `MIN_RECORD_BYTES` at least.
        only : str, optional
            The status that it must still have.

        Raises
        ------
        Conflict
            Too many other writes were faster; nothing is lost by trying again later.
        """

        def counts(item: Mapping[str, Any]) -> int | None:
            status = item.get("status")
            empty = status == "awaiting_upload" or status in TOMBSTONES
            if empty != (size == 0) or (only and status != only):
                return None
            return 0 if status in TOMBSTONES else counted_bytes(size)

        self._count(record, counts)

    def recount(self, generation: Generation, measure: Callable[[], int]) -> None:
        """Let the tenant's count hold the bytes that a succeeded generation has in the bucket.

        Parameters
        ----------
        measure : callable
            Adds up the bytes that it has. What others write or remove meanwhile they count, or this call does
            in another round: the count that it replaces must be one from before it measured.

        Raises
        ------
        Conflict
            Too many other writes were faster; nothing is lost by trying again later.
        """

        def counts(item: Mapping[str, Any]) -> int | None:
            return counted_bytes(measure()) if item.get("status") == "succeeded" else None

        self._count(generation, counts)

    def _count(self, record: Record, counts: Callable[[Mapping[str, Any]], int | None]) -> None:
        """Replace what is counted for a record by what `counts` makes of its item; None leaves it."""
        key = record_key(record)
        for _ in rounds():
            item = self._items.read(key)
            counted = item.get("counted")
            if counted is None:
                return
            new = counts(item)
            if new is None or int(counted) == new:
                return
            noted = {
                "Key": key,
                "UpdateExpression": "SET counted = :new",
                "ConditionExpression": "counted = :counted AND #status = :status",
                "ExpressionAttributeNames": {"#status": "status"},
                "ExpressionAttributeValues": {":new": new, ":counted": counted, ":status": item["status"]},
            }
            if self._items.transact({"Update": noted}, self.adding(record.tenant, new - int(counted))):
                return

    def require_room(self, tenant: str, limits: Limits) -> None:
        """Refuse to make what a tenant has no room for.

        Raises
        ------
        LimitReached
        """
        if self.stored(tenant) >= limits.stored_bytes:
            raise LimitReached(
                "storage_limit",
                f"None of your {limits.stored_bytes} bytes are left: delete something.",
                STORAGE_RETRY_SECONDS,
            )

    def adding(self, tenant: str, more: int) -> Write:
        """Return the write that adds bytes to what is counted as stored; fewer than 0 are taken off."""
        return {
            "Update": {
                "Key": item_key(tenant, _STORED),
                "UpdateExpression": "ADD #bytes :more",
                "ExpressionAttributeNames": {"#bytes": "bytes"},
                "ExpressionAttributeValues": {":more": more},
            }
        }

    # -- worker seconds ----------------------------------------------------------------------------------

    def charged(self, tenant: str) -> float:
        """Return the worker seconds that the tenant's day is charged so far."""
        day = day_of(self._items.clock())
        return float(self._items.read(item_key(tenant, _day_key(day))).get("worker_seconds", 0))

    def settle(self, record: Audio | Generation, seconds: float = 0.0) -> None:
        """Note what an attempt took, and charge what is due for the record as it is now.

        Parameters
        ----------
        record : Audio or Generation
            Its id is what counts: it is read anew.
        seconds : float
            What the attempt took that the record was claimed for; 0 where none has ended.

        Raises
        ------
        Conflict
            Too many other writes were faster.
        """
        key = record_key(record)
        for _ in rounds():
            item = self._items.read(key)
            if item.get("charged") is None:
                return
            current = from_item(type(record), item)
            charged, before, day = item["charged"], item.get("worked", Decimal(0)), str(item["charged_on"])
            unfinished = current.status in UNFINISHED[record.kind]
            took, attempt = seconds, record.attempt
            if not seconds and not unfinished:
                took, attempt = current.untimed(self._items.clock()), current.attempt
            if not took or attempt <= current.timed:
                took, attempt = 0.0, current.timed
            worked = number(float(before) + took)
            due = max(worked, charged if unfinished else number(MIN_CHARGE_SECONDS))
            if (worked, due) == (before, charged):
                return
            noted = {
                "Key": key,
                "UpdateExpression": "SET charged = :due, worked = :worked, timed = :attempt",
                "ConditionExpression": "#status = :status AND charged = :charged"
                " AND charged_on = :day AND worked = :before",
                "ExpressionAttributeNames": {"#status": "status"},
                "ExpressionAttributeValues": {
                    ":due": due,
                    ":worked": worked,
                    ":attempt": attempt,
                    ":status": item["status"],
                    ":charged": charged,
                    ":day": day,
                    ":before": before,
                },
            }
            if self._items.transact({"Update": noted}, self._charging(record.tenant, day, due - charged)):
                return

    def _charging(self, tenant: str, day: str, seconds: Decimal, most: int = 0) -> Write:
        """Return the write that charges a day, which fails where that would be more than `most`, if any."""
        write: dict[str, Any] = {
            "Key": item_key(tenant, _day_key(day)),
            "UpdateExpression": "ADD worker_seconds :seconds SET #ttl = :ttl",
            "ExpressionAttributeNames": {"#ttl": "ttl"},
            "ExpressionAttributeValues": {
                ":seconds": seconds,
                ":ttl": int(self._items.clock()) + 2 * _DAY_SECONDS,
            },
        }
        if most:
            # The second part alone would let a first job be of any cost.
            write["ConditionExpression"] = (
                ":seconds <= :most AND (attribute_not_exists(worker_seconds) OR worker_seconds <= :room)"
            )
            write["ExpressionAttributeValues"] |= {":most": most, ":room": most - seconds}
        return {"Update": write}

    # -- what is asked for -------------------------------------------------------------------------------

    def admitting(self, record: Audio | Generation, limits: Limits) -> list[Write]:
        """Return the writes that count a new record as it says, and fail where it is one too many."""
        size, most = record.counted or 0, limits.stored_bytes
        stored = {
            "Key": item_key(record.tenant, _STORED),
            "UpdateExpression": "ADD #bytes :size",
            # The second part alone would let a first file be of any size.
            "ConditionExpression": ":size <= :most AND (attribute_not_exists(#bytes) OR #bytes <= :room)",
            "ExpressionAttributeNames": {"#bytes": "bytes"},
            "ExpressionAttributeValues": {":size": size, ":most": most, ":room": most - size},
        }
        return [{"Update": stored}, *self.admitting_work(record, limits)]

    def admitting_work(self, record: Audio | Generation, limits: Limits) -> list[Write]:
        """Return those of `admitting` that count the work on a record, new or not, and not its bytes."""
        unfinished = {
            "Key": item_key(record.tenant, _UNFINISHED),
            "UpdateExpression": "ADD #kind :id",
            "ConditionExpression": "attribute_not_exists(#kind) OR size(#kind) < :most",
            "ExpressionAttributeNames": {"#kind": record.kind},
            "ExpressionAttributeValues": {":id": {record.id}, ":most": limits.unfinished},
        }
        seconds, day = number(record.charged or 0.0), record.charged_on or ""
        charge = self._charging(record.tenant, day, seconds, limits.worker_seconds_per_day)
        return [{"Update": unfinished}, charge]

    def check(
        self, kind: type[Audio | Generation], tenant: str, size: int, charge: Charge, limits: Limits
    ) -> None:
        """Find out whether a limit stops a new record, and say so.

        Parameters
        ----------
        kind : type
            `Audio` or `Generation`.
        size : int
            Bytes of its object at first.
        charge : Charge
            What the work on it is expected to cost.

        Raises
        ------
        LimitReached
        """
        self.check_work(kind, tenant, charge, limits)
        size, most = counted_bytes(size), limits.stored_bytes
        left = max(0, most - self.stored(tenant))
        if size > left:
            what = "The file" if kind is Audio else "A generation"
            raise LimitReached(
                "storage_limit",
                f"{what} counts {size} bytes; {left} of your {most} are left: delete something.",
                STORAGE_RETRY_SECONDS,
            )

    def check_work(self, kind: type[Audio | Generation], tenant: str, charge: Charge, limits: Limits) -> None:
        """Find out whether a limit stops the work on a record, new or not, and say so.

        Raises
        ------
        LimitReached
        """
        most = limits.worker_seconds_per_day
        left = max(0.0, most - self.charged(tenant))
        if most and charge.seconds > left:
            raise LimitReached(
                "daily_limit",
                f"This takes {charge.seconds:.1f} worker seconds ({charge.reason}); "
                f"{left:.1f} of your {most} a day (UTC) are left.",
                _DAY_SECONDS - int(self._items.clock()) % _DAY_SECONDS,
            )
        if len(self.unfinished(kind, tenant, limits.unfinished)) >= limits.unfinished:
            what = "tracks are not embedded yet" if kind is Audio else "generations are not finished yet"
            raise LimitReached(
                "too_many_unfinished", f"{limits.unfinished} of your {what}.", UNFINISHED_RETRY_SECONDS
            )

    def noted(self, kind: type[Record], tenant: str) -> list[str]:
        """Return the ids of what a tenant has unfinished, and of some that has finished, the oldest first.

        Ids are taken out of the tenant's set only when their records are found finished: a crash anywhere can
        leave the set too large for a while. It is too small only where an audio is embedded again at the
        moment at which its id is taken out, and by that one.
        """
        found: set[str] = self._items.read(item_key(tenant, _UNFINISHED)).get(kind.kind, set())
        return sorted(found)

    def unfinished(self, kind: type[R], tenant: str, at_least: int = 0) -> list[str]:
        """Return the ids of what a tenant has unfinished, the oldest first, and take out those that are not.

        Parameters
        ----------
        at_least : int
            How many ids there must be for their records to be read: with fewer, some may have finished.
        """
        noted = self.noted(kind, tenant)
        if len(noted) < at_least:
            return noted
        finished = self.finished(kind, tenant, noted)
        self.forget(kind, tenant, finished)
        return [identifier for identifier in noted if identifier not in finished]

    def finished(self, kind: type[R], tenant: str, ids: Iterable[str]) -> set[str]:
        """Return those of some ids whose records are finished, or gone; a hundred cost one request."""
        ids = set(ids)
        found = self._items.get_all(kind, tenant, ids)
        return ids - {one.id for one in found.values() if one.status in UNFINISHED[kind.kind]}

    def forget(self, kind: type[Record], tenant: str, finished: set[str]) -> None:
        """Take the ids of finished records out of the set of the unfinished ones."""
        if finished:
            request = {
                "Key": item_key(tenant, _UNFINISHED),
                "UpdateExpression": "DELETE #kind :finished",
                "ExpressionAttributeNames": {"#kind": kind.kind},
                "ExpressionAttributeValues": {":finished": finished},
            }
            self._items.ask(request)


def _day_key(day: str) -> str:
    return f"usage#{day}"
