"""What idempotency keys were answered with: an item for each key, for a day.

Table layout
    sk = idempotency#{sha256 of the client's key}      body_hash; audio_id or generation_id; ttl
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from backend.records.table import Items, R, item_key
from backend.records.types import IDEMPOTENCY_SECONDS, Audio, Generation, IdempotencyMismatch


class Replays:
    """The answers to all tenants' idempotency keys.

    Parameters
    ----------
    items : Items
        The items of the table.
    """

    def __init__(self, items: Items) -> None:
        self._items = items

    def find(self, kind: type[R], tenant: str, idempotency: tuple[str, str]) -> R | None:
        """Return what an idempotency key was answered with before, `replayed`; None if it is new.

        Parameters
        ----------
        kind : type
            `Audio` or `Generation`.
        idempotency : (key_hash, body_hash)
            As `Records.create_audio` and `Records.submit_generation` take it. Bodies of the two never have
            the same hash.

        Raises
        ------
        IdempotencyMismatch
            The key came before with another body.
        """
        key_hash, body_hash = idempotency
        item = self._items.read(_key(tenant, key_hash))
        if not item or int(item["ttl"]) <= self._items.clock():
            return None
        if item["body_hash"] != body_hash:
            raise IdempotencyMismatch
        record = self._items.get(kind, tenant, str(item[f"{kind.kind}_id"]))
        return replace(record, replayed=True) if record else None

    def noting(self, record: Audio | Generation, idempotency: tuple[str, str]) -> dict[str, Any]:
        """Return the write that notes a record as the answer to a key, and fails where there is one."""
        key_hash, body_hash = idempotency
        now = int(self._items.clock())
        item = {
            **_key(record.tenant, key_hash),
            "body_hash": body_hash,
            f"{record.kind}_id": record.id,
            "ttl": now + IDEMPOTENCY_SECONDS,
        }
        claim = {
            "Item": item,
            "ConditionExpression": "attribute_not_exists(pk) OR #ttl <= :now",
            "ExpressionAttributeNames": {"#ttl": "ttl"},
            "ExpressionAttributeValues": {":now": now},
        }
        return {"Put": claim}


def _key(tenant: str, key_hash: str) -> dict[str, str]:
    return item_key(tenant, f"idempotency#{key_hash}")
