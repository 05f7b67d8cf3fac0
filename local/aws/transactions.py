"""DynamoDB transactions that cost what they write.

moto copies the whole table before each transaction, to put it back if a condition fails: with a thousand
records that takes a third of a second, and everybody waits. Here it keeps the items that the transaction
names, which are all that it can change.
"""

from __future__ import annotations

import copy
from typing import Any

from moto.dynamodb.models import DynamoDBBackend, Table

_transact = DynamoDBBackend.transact_write_items


def install() -> None:
    """Put it in the place of moto's own."""
    backend: Any = DynamoDBBackend
    backend.transact_write_items = _transact_write_items
    table: Any = Table
    table.__deepcopy__ = lambda table, memo: table


def _transact_write_items(backend: DynamoDBBackend, transact_items: list[dict[str, Any]]) -> None:
    saved: list[tuple[Any, Any, Any]] = []
    for entry in transact_items:
        for operation in entry.values():
            table = backend.get_table(operation["TableName"])
            keys = backend.get_keys_value(table, operation.get("Key") or operation["Item"])
            saved.append((table, keys, copy.deepcopy(table.get_item(*keys))))
    try:
        _transact(backend, transact_items)
    except Exception:
        for table, (partition, sort), item in saved:
            items, key = (table.items, partition) if sort is None else (table.items[partition], sort)
            items.pop(key, None)
            if item is not None:
                items[key] = item
        raise
