"""The items of the table: their keys, their form, how they are read, and the conditional writes.

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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from uuid import uuid4

from botocore.exceptions import ClientError
from ulid import ULID

from backend.records.types import (
    LEASE_SECONDS,
    TOMBSTONES,
    Audio,
    Conflict,
    Fenced,
    Generation,
    Leased,
    NotFound,
    Record,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

R = TypeVar("R", bound=Audio | Generation)

ROUNDS = 10
"""How often a write is tried that other writes may be faster than."""
DEAD = {f":dead{i}": status for i, status in enumerate(TOMBSTONES)}
"""The placeholders in `IS_DEAD` and `IS_ALIVE`, and their values."""
IS_DEAD = f"#status IN ({', '.join(DEAD)})"
IS_ALIVE = f"attribute_exists(pk) AND NOT {IS_DEAD}"

_DOCUMENTS = {
    *(
        "chosen_report",
        "derived",
        "error",
        "features",
        "identity",
        "made_from",
        "parameters",
        "result",
        "tag_scores",
        "tags",
    ),
}
_INTEGERS = {
    *(
        "attempt",
        "attempts_before",
        "chosen",
        "chosen_bytes",
        "counted",
        "resends",
        "size",
        "timed",
        "windows",
    ),
}
_FLOATS = {
    *("expires_at", "due_at", "claimed_at", "lease_expires_at", "progress", "seconds_left", "upload_until"),
    *("candidates_expire_at", "embedded_at", "charged", "worked"),
}

_UNSEEN = {"due_at", "resends", "event_due"}
"""What the sweeper goes by. Its owner does not see it, so a record is not updated by it."""


class ConditionFailed(Exception):
    """A conditional write found another state than the one it leaves: `item`, empty if there is none."""

    def __init__(self, item: dict[str, Any]) -> None:
        super().__init__(item.get("status"))
        self.item = item


class Items:
    """The items of the table.

    Parameters
    ----------
    table : Table
        The boto3 table resource.
    clock : callable
        Returns the time in epoch seconds.
    """

    def __init__(self, table: Table, clock: Callable[[], float]) -> None:
        self.table = table
        self.clock = clock

    # -- reading -----------------------------------------------------------------------------------------

    def read(self, key: Mapping[str, str]) -> dict[str, Any]:
        """Read any item consistently; it is empty if there is none."""
        return self.table.get_item(Key=dict(key), ConsistentRead=True).get("Item") or {}

    def get(self, kind: type[R], tenant: str, record_id: str) -> R | None:
        """Read a record consistently; a tombstone is returned, too."""
        item = self.read(item_key(tenant, sort_key(kind, record_id)))
        return from_item(kind, item) if item else None

    def get_all(self, kind: type[R], tenant: str, ids: Iterable[str]) -> dict[str, R]:
        """Read records consistently, a hundred with a request; tombstones come, too, and no vectors.

        Returns
        -------
        dict
            Those that there are, by id.
        """
        names = _names(kind)
        wanted = {"ConsistentRead": True, "ProjectionExpression": ", ".join(names)}
        found: dict[str, R] = {}
        every = [item_key(tenant, sort_key(kind, record_id)) for record_id in sorted(set(ids))]
        for start in range(0, len(every), 100):
            keys = every[start : start + 100]
            asked: Any = {self.table.name: {**wanted, "ExpressionAttributeNames": names, "Keys": keys}}
            for _ in rounds():
                answer = self.table.meta.client.batch_get_item(RequestItems=asked)
                for item in answer["Responses"].get(self.table.name, []):
                    found[str(item["id"])] = from_item(kind, item)
                if not (asked := answer["UnprocessedKeys"]):
                    break
        return found

    def list(
        self,
        kind: type[R],
        tenant: str,
        audio_id: str | None,
        cursor: str | None,
        limit: int,
        *,
        vectors: bool = False,
    ) -> tuple[list[R], str | None]:
        """List a tenant's living records of a kind, newest first.

        Parameters
        ----------
        audio_id : str or None
            Only the generations of this audio.
        cursor : str or None
            Where the page before ended, as it said; None begins with the newest.
        limit : int
            Most records on a page.
        vectors : bool
            Whether the vectors of audio come too.

        Returns
        -------
        list of Audio or Generation
        str or None
            Cursor of the next page; None after the last one.

        Raises
        ------
        ValueError
            The cursor is not one of this list.
        """
        prefix = sort_key(kind, "")
        name, value = "pk", partition(tenant)
        if audio_id is not None:
            name, value = "audio_pk", audio_partition(tenant, audio_id)
        start = _read_cursor(cursor, prefix) if cursor else None
        names = _names(kind, vectors=vectors)
        request: dict[str, Any] = {
            "KeyConditionExpression": f"{name} = :partition AND begins_with(sk, :prefix)",
            "FilterExpression": f"NOT {IS_DEAD}",
            "ProjectionExpression": ", ".join(["sk", *names]),
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": {":partition": value, ":prefix": prefix, **DEAD},
            "ScanIndexForward": False,
        }
        # An index cannot be read consistently.
        request |= {"ConsistentRead": True} if audio_id is None else {"IndexName": "by_audio"}
        found: list[R] = []
        while True:
            if start:
                # Every key of index and table follows from the sort key and the partition asked for.
                request["ExclusiveStartKey"] = {"pk": partition(tenant), "sk": start, name: value}
            answer = self.table.query(**request, Limit=limit - len(found) + 1)
            for item in answer["Items"]:
                if len(found) == limit:
                    return found, _cursor(f"{prefix}{found[-1].id}")
                found.append(from_item(kind, item))
            last = answer.get("LastEvaluatedKey")
            if not last:
                return found, None
            start = str(last["sk"])

    # -- writing -----------------------------------------------------------------------------------------

    def create(self, record: Audio | Generation, *also: dict[str, dict[str, Any]]) -> bool:
        """Write a new record and make the other writes, all or none.

        Returns
        -------
        bool
            False if a condition of the other writes fails, or an item is being written just now.

        Raises
        ------
        Conflict
            The id is taken.
        """
        item = {**to_item(record), "write": uuid4().hex}
        put: dict[str, Any] = {"Item": item, "ConditionExpression": "attribute_not_exists(pk)"}
        if also:
            if self.transact({"Put": put}, *also):
                return True
        else:
            try:
                self.table.put_item(**put)
            except ClientError as error:
                if _code(error) != "ConditionalCheckFailedException":
                    raise
            else:
                return True
        there = self.read(record_key(record))
        if there and there.get("write") != item["write"]:
            raise Conflict("taken")
        return bool(there)  # by a first try of which the client heard nothing

    def transact(self, *writes: dict[str, dict[str, Any]]) -> bool:
        """Make all writes or none; False if a condition fails, or an item is being written just now."""
        items = [
            {kind: {"TableName": self.table.name, **what}} for one in writes for kind, what in one.items()
        ]
        try:
            self.table.meta.client.transact_write_items(TransactItems=items)  # type: ignore[arg-type]
        except ClientError as error:
            if _code(error) != "TransactionCanceledException":
                raise
            return False
        return True

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any] | None:
        """Send an update whose condition may fail; None if it does, else the attributes it was to return."""
        for _ in rounds():
            try:
                return dict(self.table.update_item(**request).get("Attributes", {}))
            except ClientError as error:
                if _code(error) == "ConditionalCheckFailedException":
                    return None
                if _code(error) != "TransactionConflictException":
                    raise
        raise AssertionError("unreachable")

    def claim(self, kind: type[R], tenant: str, record_id: str, *, leaving: str, working: str) -> R:
        """Take a record for work: with a new attempt number, and a lease of `LEASE_SECONDS`.

        Raises
        ------
        NotFound
            There is no such record, or it is a tombstone.
        Leased
            Another worker holds it, or has died with it: then the lease may be over.
        Conflict
            It is in another state.
        """
        now = self.clock()
        values = {":leaving": leaving, ":one": 1}
        changes = {
            "status": working,
            "claimed_at": now,
            "lease_expires_at": now + LEASE_SECONDS,
            "due_at": now + LEASE_SECONDS,
            "progress": 0.0,
            "stage": None,
            "seconds_left": None,
            "resends": 0,
        }
        key, extra = item_key(tenant, sort_key(kind, record_id)), "attempt = attempt + :one"
        try:
            return from_item(kind, self.update(key, "#status = :leaving", changes, values, extra=extra))
        except ConditionFailed as refused:
            current = from_item(kind, refused.item) if refused.item else None
            if current is None or current.deleted:
                raise NotFound(current.status if current else None) from None
            if current.status == working and current.lease_expires_at is not None:
                raise Leased(current.lease_expires_at) from None
            raise Conflict(current.status) from None

    def move(
        self,
        kind: type[R],
        tenant: str,
        record_id: str,
        *,
        leaving: Iterable[str],
        changes: Mapping[str, Any],
        extra: str = "",
    ) -> R:
        """Move a record that nobody has to hold; the states it may leave are named.

        Raises
        ------
        NotFound, Conflict
        """
        values = {f":from{i}": status for i, status in enumerate(leaving)}
        condition = f"#status IN ({', '.join(values)})"
        key = item_key(tenant, sort_key(kind, record_id))
        try:
            return from_item(kind, self.update(key, condition, changes, values, extra=extra))
        except ConditionFailed as refused:
            status = refused.item.get("status")
            if status is None or status in TOMBSTONES:
                raise NotFound(status) from None
            raise Conflict(status) from None

    def fenced_move(
        self,
        record: R,
        *,
        leaving: str,
        changes: Mapping[str, Any],
        lease_over: bool = False,
        due_at: float | None = None,
    ) -> R:
        """Move a record on behalf of who read or claimed it, as `fenced_update` does.

        Returns
        -------
        Audio or Generation
            As it is now.

        Raises
        ------
        Fenced
        """
        item = self.fenced_update(
            record, leaving=leaving, changes=changes, lease_over=lease_over, due_at=due_at
        )
        return from_item(type(record), item)

    def fenced_update(
        self,
        record: Audio | Generation,
        *,
        leaving: str,
        changes: Mapping[str, Any],
        lease_over: bool = False,
        due_at: float | None = None,
        returns: Literal["ALL_NEW", "ALL_OLD"] = "ALL_NEW",
    ) -> dict[str, Any]:
        """Change a record's item if state and attempt are still those that were read.

        Parameters
        ----------
        lease_over : bool
            Whether the record's lease must have ended.
        due_at : float, optional
            Epoch seconds at which it must still be due.

        Returns
        -------
        dict
            As `update` says.

        Raises
        ------
        Fenced
        """
        condition, values = _fence(record, leaving)
        if lease_over:
            condition += " AND lease_expires_at <= :now"
            values[":now"] = number(self.clock())
        if due_at is not None:
            condition += " AND due_at = :due"
            values[":due"] = number(due_at)
        try:
            return self.update(record_key(record), condition, changes, values, returns=returns)
        except ConditionFailed as refused:
            raise Fenced(refused.item.get("status")) from None

    def fenced_count(
        self,
        record: R,
        *,
        leaving: str,
        changes: Mapping[str, Any],
        size: int,
        adding: Callable[[int], dict[str, dict[str, Any]]],
    ) -> R:
        """Move a record as `fenced_move` does, and count the bytes that it then has: both or neither.

        Parameters
        ----------
        size : int
            What is counted for it from now on.
        adding : callable
            Returns the write that adds so many bytes to the tenant's count.

        Returns
        -------
        Audio or Generation
            As it is now.

        Raises
        ------
        Fenced, Conflict
            As `fenced_transaction`.
        """
        return self.fenced_transaction(
            record,
            leaving=leaving,
            changes={**changes, "counted": size},
            also=lambda current: [adding(size - (current.counted or 0))],
        )

    def fenced_transaction(
        self,
        record: R,
        *,
        leaving: str,
        changes: Mapping[str, Any],
        also: Callable[[R], Sequence[dict[str, dict[str, Any]]]],
        refused: Callable[[], None] = lambda: None,
    ) -> R:
        """Move a record as `fenced_move` does, together with other writes: all or none.

        Where the move changes what is counted for the record, it fails if that is not what `also` was told.

        Parameters
        ----------
        also : callable
            Takes the record as it was last read, and returns the other writes, as `transact` takes them.
        refused : callable
            Called when the writes are refused though nobody has moved or claimed the record: it raises where
            the other writes cannot be made.

        Returns
        -------
        Audio or Generation
            As it is now.

        Raises
        ------
        Fenced
        Conflict
            Too many other writes were faster; nothing is lost by trying again later.
        """
        changes = {**changes, "updated_at": iso(self.clock())}
        marked = self._marked(changes)
        condition, values = _fence(record, leaving)
        if "counted" in changes:
            condition += " AND counted = :counted"
            values[":counted"] = record.counted or 0
        current = record
        for _ in rounds():
            request = _update_request(record_key(record), condition, marked, values)
            if self.transact({"Update": request}, *also(current)):
                break
            item = self.read(record_key(record))
            if item.get("write") == marked["write"]:
                break  # by a first try of which the client heard nothing
            if item.get("status") != leaving or int(item["attempt"]) != record.attempt:
                raise Fenced(item.get("status"))
            current = from_item(type(record), item)
            if "counted" in changes:
                values[":counted"] = current.counted or 0  # an upload that was noted late has changed it
            refused()
        return replace(record, **changes)

    def update(
        self,
        key: Mapping[str, str],
        condition: str,
        changes: Mapping[str, Any],
        values: Mapping[str, Any],
        *,
        returns: Literal["ALL_NEW", "ALL_OLD"] = "ALL_NEW",
        extra: str = "",
    ) -> dict[str, Any]:
        """Change an item under a condition; a change to None removes the attribute.

        Parameters
        ----------
        values : mapping
            What the condition and `extra` compare with or add, by placeholder.
        returns : "ALL_NEW" or "ALL_OLD"
            Whether to return the item as it is now, or as it was before.
        extra : str
            A further assignment.

        Returns
        -------
        dict
            What `returns` asks for; the item as it is now when a first try, of which the client heard
            nothing, had made the change.

        Raises
        ------
        ConditionFailed
        Conflict
            Transactions were at work on the item each time.
        """
        changes = self._marked(changes)
        request = _update_request(key, condition, changes, values, extra)
        for _ in rounds():
            try:
                return dict(self.table.update_item(**request, ReturnValues=returns)["Attributes"])
            except ClientError as error:
                if _code(error) == "TransactionConflictException":
                    continue  # a transaction is at work on the item just now
                if _code(error) != "ConditionalCheckFailedException":
                    raise
                item = self.read(key)
                if item.get("write") != changes["write"]:
                    raise ConditionFailed(item) from error
                return item
        raise AssertionError("unreachable")

    def update_all(
        self,
        keys: Iterable[Mapping[str, str]],
        condition: str,
        changes: Mapping[str, Any],
        values: Mapping[str, Any],
    ) -> bool:
        """Change up to a hundred items as `update` does, all or none; False as `transact` says."""
        marked = self._marked(changes)
        return self.transact(*({"Update": _update_request(key, condition, marked, values)} for key in keys))

    def _marked(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        seen = {} if changes.keys() <= _UNSEEN else {"updated_at": iso(self.clock())}
        return {**seen, **changes, "write": uuid4().hex}


def rounds() -> Iterator[int]:
    """Count the tries of a write that other writes may be faster than, with a random pause before each next.

    Raises
    ------
    Conflict
        After the last one: leave the loop when the write is made.
    """
    for lost in range(ROUNDS):
        if lost:
            time.sleep(random.uniform(0, 0.01 * 2 ** min(lost, 5)))
        yield lost
    raise Conflict("contended")


# -- keys ----------------------------------------------------------------------------------------------------


def partition(tenant: str) -> str:
    """Return the partition key of everything that belongs to a tenant."""
    return f"tenant#{tenant}"


def audio_partition(tenant: str, audio_id: str) -> str:
    """Return the partition key of an audio's generations in the index `by_audio`."""
    return f"tenant#{tenant}#audio#{audio_id}"


def item_key(tenant: str, sk: str) -> dict[str, str]:
    """Return the key of a tenant's item."""
    return {"pk": partition(tenant), "sk": sk}


def sort_key(kind: type[Record], record_id: str) -> str:
    """Return the sort key of a record."""
    return f"{kind.kind}#{record_id}"


def record_key(record: Record) -> dict[str, str]:
    """Return the key of a record's item."""
    return item_key(record.tenant, sort_key(type(record), record.id))


def _names(kind: type[Record], *, vectors: bool = False) -> dict[str, str]:
    """Return the attributes of a kind's items, with vectors or without, by their placeholders."""
    left_out = {"replayed"} if vectors else {"replayed", "vector"}
    return {f"#{field.name}": field.name for field in fields(kind) if field.name not in left_out}


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


# -- values --------------------------------------------------------------------------------------------------


def iso(epoch: float) -> str:
    """Write epoch seconds as an ISO 8601 stamp with milliseconds, in UTC."""
    return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def number(value: float) -> Any:
    """Turn a number into the decimal that DynamoDB stores: milliseconds, and three places of progress."""
    return Decimal(str(round(value, 3)))


def to_item(record: Audio | Generation) -> dict[str, Any]:
    """Turn a record into the item of the table."""
    item = {
        f.name: _store(f.name, value)
        for f in fields(record)
        if (value := getattr(record, f.name)) is not None and f.name != "replayed"
    }
    item |= {**record_key(record), "open": "open"}
    if isinstance(record, Generation):
        item["audio_pk"] = audio_partition(record.tenant, record.audio_id)
    return item


def from_item(kind: type[R], item: Mapping[str, Any]) -> R:
    """Turn an item of the table into a record."""
    values: dict[str, Any] = {}
    for field in fields(kind):
        value = item.get(field.name)
        if value is None:
            continue
        if field.name in _DOCUMENTS:
            value = json.loads(value)
        elif field.name in _INTEGERS:
            value = int(value)
        elif field.name in _FLOATS:
            value = float(value)
        elif field.name == "vector":
            value = bytes(value)
        elif field.name == "copied_to":
            value = sorted(value)  # a set in the table; ids sort by time
        values[field.name] = value
    return kind(**values)


def _store(name: str, value: Any) -> Any:
    if name in _DOCUMENTS:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return number(value) if isinstance(value, float) else value


def _fence(record: Audio | Generation, leaving: str) -> tuple[str, dict[str, Any]]:
    """Return the condition that nobody has moved or claimed a record since it was read, and its values."""
    return "#status = :from AND attempt = :attempt", {":from": leaving, ":attempt": record.attempt}


def _code(error: ClientError) -> str:
    return str(error.response["Error"]["Code"])


def _update_request(
    key: Mapping[str, str],
    condition: str,
    changes: Mapping[str, Any],
    values: Mapping[str, Any],
    extra: str = "",
) -> dict[str, Any]:
    """Compose the update of an item, as `update_item` and a transaction take it."""
    names = {f"#{name}": name for name in changes}
    if "#status" in condition:
        names["#status"] = "status"
    sets = [f"#{name} = :set_{name}" for name, value in changes.items() if value is not None]
    removes = [f"#{name}" for name, value in changes.items() if value is None]
    expression = "SET " + ", ".join([*sets, *([extra] if extra else [])])
    if removes:
        expression += " REMOVE " + ", ".join(removes)
    set_values = {f":set_{name}": _store(name, value) for name, value in changes.items() if value is not None}
    return {
        "Key": dict(key),
        "UpdateExpression": expression,
        "ConditionExpression": condition,
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": {**values, **set_values},
    }
