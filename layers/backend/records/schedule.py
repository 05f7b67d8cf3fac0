"""What the sweeper reads: which records are due, all of them in turn, and when to look at one again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from backend.records.table import Items, R, from_item, number
from backend.records.types import (
    HANDED_OVER_SECONDS,
    RESEND_LIMIT_SECONDS,
    RESEND_SECONDS,
    Audio,
    Generation,
)

PAGE = 1000
"""Records whose keys are read from the index at once: they are short."""
SHARE = 100
"""Records of a tenant that a sweep looks at before it has looked at everybody's."""
MOST_LATER = 10_000
"""Records beyond their tenants' shares that a sweep remembers: more than it has time for."""

_RECONCILIATION = {"pk": "sweeper", "sk": "reconciliation"}


class Schedule:
    """The records in the order of the times at which they have to be looked at.

    Parameters
    ----------
    items : Items
        The items of the table.
    """

    def __init__(self, items: Items) -> None:
        self._items = items

    def due(self, limit: int = PAGE, share: int = SHARE) -> Iterator[Audio | Generation]:
        """Find the records whose time has come, each read when its turn comes.

        Each tenant gets its share first, of which the longest overdue comes first. What is more than that
        comes when everybody had a share: who has a hundred thousand records due holds up nobody else.

        Parameters
        ----------
        limit : int
            Records in a page of the index. All pages are read: records that stay due, because nobody can do
            what they need, must not hide the others.
        share : int
            Records of each tenant.

        Yields
        ------
        Audio or Generation
            Tombstones that are not yet purged are among them.
        """
        now = self._items.clock()
        given: Counter[str] = Counter()
        more: list[dict[str, str]] = []
        for keys in self._due_keys(now, limit):
            given[keys["pk"]] += 1
            if given[keys["pk"]] <= share:
                yield from self._if_due(keys, now)
            elif len(more) < MOST_LATER:
                more.append(keys)
        for keys in more:
            yield from self._if_due(keys, now)

    def lag(self) -> float:
        """Return the seconds for which the record has been due that has been for longest; 0 if none is."""
        now = self._items.clock()
        first = next(self._due_keys(now, limit=1), None)
        item = self._read(first) if first else {}
        return max(0.0, now - float(item["due_at"])) if item.get("open") else 0.0

    def _due_keys(self, now: float, limit: int) -> Iterator[dict[str, str]]:
        """Read the keys of what is due from the index, longest overdue first."""
        request = _open_items(limit)
        request["KeyConditionExpression"] += " AND due_at <= :now"
        request["ExpressionAttributeValues"][":now"] = number(now)
        while True:
            answer = self._items.table.query(**request)
            for found in answer["Items"]:
                yield {"pk": str(found["pk"]), "sk": str(found["sk"])}
            if "LastEvaluatedKey" not in answer:
                return
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def _if_due(self, keys: dict[str, str], now: float) -> Iterator[Audio | Generation]:
        item = self._read(keys)
        if item.get("open") and float(item["due_at"]) <= now:
            yield _record(item)

    def page(self, after: str | None, limit: int) -> tuple[list[Audio | Generation], str | None]:
        """Read every record that is no purged tombstone, a page at a time, each consistently.

        Parameters
        ----------
        after : str or None
            Where the page before ended, as it said; None begins anew.
        limit : int
            Most records on a page.

        Returns
        -------
        list of Audio or Generation
        str or None
            Where the next page begins; None after the last one.
        """
        request = _open_items(limit)
        if after:
            start = json.loads(after)
            request["ExclusiveStartKey"] = {**start, "open": "open", "due_at": Decimal(start["due_at"])}
        answer = self._items.table.query(**request)
        items = [self._read(keys) for keys in answer["Items"]]
        last = answer.get("LastEvaluatedKey")
        following = last and json.dumps({name: str(last[name]) for name in ("pk", "sk", "due_at")})
        return [_record(item) for item in items if item], following or None

    def postpone(self, record: R, *, long: bool = False) -> R:
        """Note that a message was sent again, or an upload looked for; the interval doubles each time.

        Parameters
        ----------
        long : bool
            Whether to look at it again after `RESEND_LIMIT_SECONDS`, whatever the interval is.

        Raises
        ------
        Fenced
            The record has moved, or another sweep was faster.
        """
        wait = RESEND_LIMIT_SECONDS
        if not long:
            wait = min(RESEND_SECONDS * 2 ** (record.resends + 1), wait)
        due_at = self._items.clock() + wait
        if isinstance(record, Audio) and record.status == "awaiting_upload":
            due_at = min(due_at, record.upload_until)
        changes = {"due_at": due_at, "resends": record.resends + 1}
        return self._items.fenced_move(record, leaving=record.status, changes=changes, due_at=record.due_at)

    def hand_over(self, record: R) -> R:
        """Note that a record's message goes from its queue to an endpoint, which may have to wake up first.

        The request waits there for `HANDED_OVER_SECONDS` and then expires: the sweeper sends again what
        nobody has claimed by then, and not before. So an endpoint that wakes up finds one request for each
        job.

        Raises
        ------
        Fenced
            The record has moved: somebody has claimed it, or it was withdrawn.
        """
        changes = {"due_at": self._items.clock() + HANDED_OVER_SECONDS}
        return self._items.fenced_move(record, leaving=record.status, changes=changes)

    def await_lease(self, record: R) -> R:
        """Look again at a record that somebody works on when its lease ends.

        Raises
        ------
        Fenced
            The record has moved, or another sweep was faster.
        """
        changes = {"due_at": record.lease_expires_at}
        return self._items.fenced_move(record, leaving=record.status, changes=changes, due_at=record.due_at)

    def reconciliation(self) -> dict[str, str]:
        """Return how far reconciliation came, as it noted."""
        item = self._items.table.get_item(Key=_RECONCILIATION).get("Item") or {}
        return {name: str(value) for name, value in item.items() if name not in _RECONCILIATION}

    def note_reconciliation(self, **at: str | None) -> None:
        """Note how far reconciliation came."""
        noted = {name: value for name, value in at.items() if value}
        self._items.table.put_item(Item={**_RECONCILIATION, **noted})

    def _read(self, keys: Any) -> dict[str, Any]:
        return self._items.read({"pk": keys["pk"], "sk": keys["sk"]})


def _open_items(limit: int) -> dict[str, Any]:
    """Return the query for every record that is no purged tombstone, by the time at which it is due."""
    return {
        "IndexName": "due",
        "KeyConditionExpression": "#open = :open",
        "ExpressionAttributeNames": {"#open": "open"},
        "ExpressionAttributeValues": {":open": "open"},
        "Limit": limit,
    }


def _record(item: dict[str, Any]) -> Audio | Generation:
    return from_item(Audio, item) if item["sk"].startswith("audio#") else from_item(Generation, item)
