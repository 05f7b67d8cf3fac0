"""Whose turn it is: no tenant has more than so many jobs of a kind with the workers, and its others wait.

Table layout
    sk = turns#audio | turns#generation      holders: ids of the jobs that have a turn
                                             called: of these, those that nobody has claimed yet

A job needs a turn to be claimed. It keeps it while it runs, and from one attempt to the next where these
follow at once. Whoever ends it hands the turn to the tenant's oldest job that waits, and sends a message for
that one, which so comes behind the messages of everybody else. Only this message claims it: an older one may
stand before everybody else's. A message that arrives while its tenant has no turn left is dropped, which
costs milliseconds: its record waits until it is called. For a generation none is sent then; of an upload the
bucket tells.

So a tenant with a thousand jobs takes turns with the others job by job, and has all workers while nobody else
wants them, if the turns are as many as the workers.

Whoever dies with a turn keeps it until the sweeper has its job done by somebody else. Holders that are found
finished are taken out when no turn is left. Whoever dies before the next one is called leaves that to the
sweeper, which sends again for what has had no message for long.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from backend.records.table import Items, R, item_key
from backend.records.types import CLAIM, RESEND_SECONDS, UNFINISHED, Record
from backend.records.usage import Usage

_NAMES = {"#called": "called"}
_LOOKS = 100
"""Jobs, at most, that are passed over because they wait for something else: what stands behind more of them
the sweeper calls."""


class Turns:
    """The turns of all tenants.

    Parameters
    ----------
    items : Items
        The items of the table.
    usage : Usage
        Knows what each tenant has unfinished.
    """

    def __init__(self, items: Items, usage: Usage) -> None:
        self._items = items
        self._usage = usage

    def take(self, kind: type[R], tenant: str, record_id: str, most: int, *, called: bool = False) -> bool:
        """Give a job a turn for a message that has come, unless as many others of the tenant's have one.

        Parameters
        ----------
        called : bool
            Whether the message calls the job, as whoever passed the turn on has sent it, or the sweeper.

        Returns
        -------
        bool
            Whether it has one. One that is called has none for another message.
        """
        if self._take(kind, tenant, record_id, most, called):
            return True
        holders = self.holders(kind, tenant)
        finished = self._usage.finished(kind, tenant, holders)
        self._remove(kind, tenant, finished)
        free = len(holders) - len(finished) < most
        return free and self._take(kind, tenant, record_id, most, called)

    def _take(self, kind: type[Record], tenant: str, record_id: str, most: int, called: bool) -> bool:
        condition = "(attribute_not_exists(holders) OR size(holders) < :most OR contains(holders, :id))"
        if not called:
            condition += " AND NOT contains(#called, :id)"  # the message that calls it is on its way
        request: dict[str, Any] = {
            "Key": _key(kind, tenant),
            "UpdateExpression": "ADD holders :ids" + (" DELETE #called :ids" if called else ""),
            "ConditionExpression": condition,
            "ExpressionAttributeNames": _NAMES,
            "ExpressionAttributeValues": {":ids": {record_id}, ":id": record_id, ":most": most},
        }
        return self._items.ask(request) is not None

    def pass_on(self, kind: type[R], tenant: str, record_id: str, most: int) -> R | None:
        """Let the tenant's oldest job that waits have the turn of one that does not need it any more.

        Parameters
        ----------
        record_id : str
            The job that had the turn.

        Returns
        -------
        Audio, Generation or None
            Whose turn it is; the caller sends its message.
        """
        if record_id not in self.holders(kind, tenant):
            return None
        for following in self._waiting(kind, tenant):
            if self._hand_over(kind, tenant, record_id, following.id, most):
                self._remove(kind, tenant, {record_id})
                return following
        self._remove(kind, tenant, {record_id})
        for following in self._waiting(kind, tenant):  # who was asked for meanwhile, and found no turn left
            if self._take(kind, tenant, following.id, most, called=False):
                return following
        return None

    def _waiting(self, kind: type[R], tenant: str) -> Iterator[R]:
        """Find the tenant's jobs that wait for nothing but a turn, oldest first; forget what is finished.

        One after the other is read, until the caller has what it looks for: what a job that ends costs does
        not depend on how many wait. Each finished one is met once, and forgotten.
        """
        holders = self.holders(kind, tenant)
        finished: set[str] = set()
        passed_over = 0
        for identifier in self._usage.noted(kind, tenant):
            if identifier in holders:
                continue
            record = self._items.get(kind, tenant, identifier)
            if record is None or record.status not in UNFINISHED[kind.kind]:
                finished.add(identifier)
            elif record.status == CLAIM[kind.kind][0] and not self._rests(record):
                self._usage.forget(kind, tenant, finished)
                finished = set()
                yield record
            elif (passed_over := passed_over + 1) == _LOOKS:
                break
        self._usage.forget(kind, tenant, finished)

    def _rests(self, record: Record) -> bool:
        """Tell whether a job failed for now, and its message comes back after a pause."""
        paused = record.error is not None and record.resends == 0
        return paused and record.due_at - RESEND_SECONDS > self._items.clock()

    def _hand_over(self, kind: type[Record], tenant: str, holder: str, to: str, most: int) -> bool:
        """Give a turn to another job than its holder, which gives its own up next.

        For a moment both have one, so that no third job slips in between.
        """
        request: dict[str, Any] = {
            "Key": _key(kind, tenant),
            "UpdateExpression": "ADD holders :ids, #called :ids",
            "ExpressionAttributeNames": _NAMES,
            "ConditionExpression": "contains(holders, :holder) AND size(holders) <= :most"
            " AND NOT contains(holders, :id)",
            "ExpressionAttributeValues": {":ids": {to}, ":id": to, ":holder": holder, ":most": most},
        }
        return self._items.ask(request) is not None

    def holders(self, kind: type[Record], tenant: str) -> set[str]:
        """Return the ids of the jobs that have a turn."""
        found: set[str] = self._items.read(_key(kind, tenant)).get("holders", set())
        return found

    def _remove(self, kind: type[Record], tenant: str, ids: set[str]) -> None:
        if ids:
            self._items.table.update_item(
                Key=_key(kind, tenant),
                UpdateExpression="DELETE holders :ids, #called :ids",
                ExpressionAttributeNames=_NAMES,
                ExpressionAttributeValues={":ids": ids},
            )


def _key(kind: type[Record], tenant: str) -> dict[str, str]:
    return item_key(tenant, f"turns#{kind.kind}")
