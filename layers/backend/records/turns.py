"""Whose turn it is: no tenant has more than so many jobs of a kind with the workers, and its others wait.

Table layout
    sk = turns#audio | turns#generation      holders: ids of the jobs that have a turn

A job needs a turn to be claimed. It keeps it while it runs, and from one attempt to the next where these
follow at once. Whoever ends it hands the turn to the tenant's oldest job that waits, and sends a message for
that one, which so comes behind the messages of everybody else. A message that arrives while its tenant has no
turn left is dropped, which costs milliseconds: its record waits until it is called.

So a tenant with a thousand jobs takes turns with the others job by job, and has all workers while nobody else
wants them, if the turns are as many as the workers.

Whoever dies with a turn keeps it until the sweeper has its job done by somebody else. Holders that are found
finished are taken out when no turn is left. Whoever dies before the next one is called leaves that to the
sweeper, which sends again for what has had no message for long.
"""

from __future__ import annotations

from typing import Any

from backend.records.table import Items, R, item_key
from backend.records.types import CLAIM, UNFINISHED, Record
from backend.records.usage import Usage

_LOOKS = 100
"""Jobs that are looked at, at most, to find the one whose turn it is: the others wait for something else."""


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

    def take(self, kind: type[R], tenant: str, record_id: str, most: int) -> bool:
        """Give a job a turn, unless as many others of the tenant's have one; again changes nothing.

        Returns
        -------
        bool
            Whether it has one.
        """
        condition = "attribute_not_exists(holders) OR size(holders) < :most OR contains(holders, :id)"
        if self._add(kind, tenant, record_id, condition, most):
            return True
        holders = self.holders(kind, tenant)
        found = {holder: self._items.get(kind, tenant, holder) for holder in holders}
        finished = {
            holder
            for holder, record in found.items()
            if record is None or record.status not in UNFINISHED[kind.kind]
        }
        self._remove(kind, tenant, finished)
        return len(holders) - len(finished) < most and self._add(kind, tenant, record_id, condition, most)

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
        holders = self.holders(kind, tenant)
        following, finished = None, set()
        if record_id in holders:
            for identifier in self._usage.unfinished(kind, tenant)[:_LOOKS]:
                if identifier in holders:
                    continue
                record = self._items.get(kind, tenant, identifier)
                if record is None or record.status not in UNFINISHED[kind.kind]:
                    finished.add(identifier)
                elif record.status == CLAIM[kind.kind][0] and self._hand_over(
                    kind, tenant, record_id, identifier, most
                ):
                    following = record
                    break
            self._usage.forget(kind, tenant, finished)
        self._remove(kind, tenant, {record_id})
        return following

    def _hand_over(self, kind: type[Record], tenant: str, holder: str, to: str, most: int) -> bool:
        """Give a turn to another job than its holder, which gives its own up next.

        For a moment both have one, so that no third job slips in between.
        """
        condition = "contains(holders, :holder) AND size(holders) <= :most AND NOT contains(holders, :id)"
        return self._add(kind, tenant, to, condition, most, holder)

    def holders(self, kind: type[Record], tenant: str) -> set[str]:
        """Return the ids of the jobs that have a turn."""
        found: set[str] = self._items.read(_key(kind, tenant)).get("holders", set())
        return found

    def _add(
        self,
        kind: type[Record],
        tenant: str,
        record_id: str,
        condition: str,
        most: int,
        holder: str | None = None,
    ) -> bool:
        values: dict[str, Any] = {":ids": {record_id}, ":id": record_id, ":most": most}
        request: dict[str, Any] = {
            "Key": _key(kind, tenant),
            "UpdateExpression": "ADD holders :ids",
            "ConditionExpression": condition,
            "ExpressionAttributeValues": values | ({":holder": holder} if holder else {}),
        }
        return self._items.ask(request) is not None

    def _remove(self, kind: type[Record], tenant: str, ids: set[str]) -> None:
        if ids:
            self._items.table.update_item(
                Key=_key(kind, tenant),
                UpdateExpression="DELETE holders :ids",
                ExpressionAttributeValues={":ids": ids},
            )


def _key(kind: type[Record], tenant: str) -> dict[str, str]:
    return item_key(tenant, f"turns#{kind.kind}")
