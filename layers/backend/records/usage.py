"""What the tenants' limits count: unfinished generations, seconds of music in a day, stored bytes.

Table layout
    sk = usage#unfinished    generations: ids, those that have finished meanwhile included
    sk = usage#{day}         seconds asked for on that day (UTC)
    sk = usage#stored        bytes in the bucket

Each record carries the bytes that are counted for it (`counted`), and both change in one transaction: the sum
over the records is the count, whatever dies when.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from backend.records.table import Items, iso, item_key, record_key, rounds
from backend.records.types import (
    STORAGE_RETRY_SECONDS,
    TOMBSTONES,
    UNFINISHED_GENERATION,
    Audio,
    Generation,
    LimitReached,
    Limits,
    Record,
)

STORED = "usage#stored"
UNFINISHED = "usage#unfinished"

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

    def stored(self, tenant: str) -> int:
        """Return the bytes that the tenant's limit counts."""
        return int(self._items.read(item_key(tenant, STORED)).get("bytes", 0))

    def count(self, record: Record, size: int, *, only: str | None = None) -> None:
        """Let the tenant's count hold the bytes that a record has in the bucket; again changes nothing.

        Parameters
        ----------
        record : Audio or Generation
            Its id is what counts: it is read anew.
        size : int
            Bytes; 0 when its object is removed or will not come. Only a tombstone and an audio that awaits
            its upload have nothing, and nothing else is counted for them: the count of a record that has
            moved is left to whoever moved it.
        only : str, optional
            The status that it must still have.

        Raises
        ------
        Conflict
            Too many other writes were faster; nothing is lost by trying again later.
        """
        key = record_key(record)
        for _ in rounds():
            item = self._items.read(key)
            counted, status = item.get("counted"), item.get("status")
            empty = status == "awaiting_upload" or status in TOMBSTONES
            if counted is None or int(counted) == size or empty != (size == 0) or (only and status != only):
                return
            noted = {
                "Key": key,
                "UpdateExpression": "SET counted = :size",
                "ConditionExpression": "counted = :counted AND #status = :status",
                "ExpressionAttributeNames": {"#status": "status"},
                "ExpressionAttributeValues": {":size": size, ":counted": counted, ":status": status},
            }
            if self._items.transact({"Update": noted}, self.adding(record.tenant, size - int(counted))):
                return

    def adding(self, tenant: str, more: int) -> Write:
        """Return the write that adds bytes to what is counted as stored; fewer than 0 are taken off."""
        return {
            "Update": {
                "Key": item_key(tenant, STORED),
                "UpdateExpression": "ADD #bytes :more",
                "ExpressionAttributeNames": {"#bytes": "bytes"},
                "ExpressionAttributeValues": {":more": more},
            }
        }

    # -- a new audio -------------------------------------------------------------------------------------

    def reserving(self, audio: Audio, limits: Limits) -> Write:
        """Return the write that counts a new audio's bytes, and fails where there is no room for them."""
        size, most = audio.counted or 0, limits.stored_bytes
        return {
            "Update": {
                "Key": item_key(audio.tenant, STORED),
                "UpdateExpression": "ADD #bytes :size",
                # The second part alone would let a first file be of any size.
                "ConditionExpression": ":size <= :most AND (attribute_not_exists(#bytes) OR #bytes <= :room)",
                "ExpressionAttributeNames": {"#bytes": "bytes"},
                "ExpressionAttributeValues": {":size": size, ":most": most, ":room": most - size},
            }
        }

    def check_audio(self, audio: Audio, limits: Limits) -> None:
        """Find out whether a limit stopped an audio.

        Raises
        ------
        LimitReached
        """
        size, most = audio.counted or 0, limits.stored_bytes
        left = most - self.stored(audio.tenant)
        if size > left:
            raise LimitReached(
                "storage_limit",
                f"The file has {size} bytes; {max(0, left)} of your {most} are left: delete something.",
                STORAGE_RETRY_SECONDS,
            )

    # -- a new generation --------------------------------------------------------------------------------

    def charging(self, generation: Generation, limits: Limits) -> list[Write]:
        """Return the writes that count a new generation, and fail where it is one too many."""
        tenant, now, cost = generation.tenant, self._items.clock(), _cost(generation)
        unfinished = {
            "Key": item_key(tenant, UNFINISHED),
            "UpdateExpression": "ADD generations :id",
            "ConditionExpression": "attribute_not_exists(generations) OR size(generations) < :most",
            "ExpressionAttributeValues": {":id": {generation.id}, ":most": limits.unfinished},
        }
        today = {
            "Key": item_key(tenant, _day(now)),
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
            "Key": item_key(tenant, STORED),
            "ConditionExpression": "attribute_not_exists(#bytes) OR #bytes < :most",
            "ExpressionAttributeNames": {"#bytes": "bytes"},
            "ExpressionAttributeValues": {":most": limits.stored_bytes},
        }
        return [{"Update": unfinished}, {"Update": today}, {"ConditionCheck": stored}]

    def check_generation(self, generation: Generation, limits: Limits) -> None:
        """Find out whether a limit stopped a generation, and forget generations that have finished.

        Nobody but this method takes finished generations out of the tenant's set, and only when it is full: a
        crash anywhere can leave it too large for a while, and never too small.

        Raises
        ------
        LimitReached
        """
        tenant, now = generation.tenant, self._items.clock()
        spent = Decimal(str(self._items.read(item_key(tenant, _day(now))).get("seconds", 0)))
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
        noted = self._items.read(item_key(tenant, UNFINISHED)).get("generations", set())
        if len(noted) < limits.unfinished:
            return
        found = {identifier: self._items.get(Generation, tenant, identifier) for identifier in noted}
        finished = {
            identifier
            for identifier, record in found.items()
            if record is None or record.status not in UNFINISHED_GENERATION
        }
        if not finished:
            raise LimitReached(
                "too_many_unfinished", f"{limits.unfinished} of your generations are not finished yet.", 15
            )
        self._items.table.update_item(
            Key=item_key(tenant, UNFINISHED),
            UpdateExpression="DELETE generations :finished",
            ExpressionAttributeValues={":finished": finished},
        )


def _day(now: float) -> str:
    return f"usage#{iso(now)[:10]}"


def _cost(generation: Generation) -> Decimal:
    """Return the seconds of music that are made for a generation, each candidate counted."""
    parameters = generation.parameters or {}
    return Decimal(str(parameters["duration"])) * int(parameters.get("candidates", 1))
