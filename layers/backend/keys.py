"""API keys: `id.secret`, where each key speaks for one tenant.

The secret is shown once, when the key is made. A table of their own holds its salted hash under the key's id.
The authorizer alone reads that table, and no function writes it: whoever takes over a worker can make no key.

Revoked keys stay, so that a list shows what once was valid.

See Also
--------
functions/authorizer : Asks here on behalf of API Gateway, which remembers the answer for a minute.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from ulid import ULID

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

SECRET_BYTES = 32
SALT_BYTES = 16
COST = 2**12
"""Cost of scrypt with blocks of 8: a hash takes 4 MB and some 10 ms. A secret of 256 random bits cannot be
guessed anyway; the cost is for whoever reads the table."""

_TENANT = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_TEXT = re.compile(r"([0-7][0-9A-HJKMNP-TV-Z]{25})\.([A-Za-z0-9_-]{43})")


class NoSuchKey(Exception):
    """There is no key with this id."""


@dataclass(frozen=True)
class Key:
    """What may be shown of a key. Times are ISO 8601; `revoked_at` is None while it is valid."""

    id: str
    tenant: str
    created_at: str
    revoked_at: str | None = None


class Keys:
    """The keys in the table.

    Parameters
    ----------
    table : Table
        The boto3 table resource of the keys' table.
    clock : callable
        Epoch seconds; tests pass their own.

    Examples
    --------
    >>> key, text = Keys(table).create()                      # doctest: +SKIP
    >>> Keys(table).tenant_of(text) == key.tenant             # doctest: +SKIP
    True
    """

    def __init__(self, table: Table, clock: Callable[[], float] = time.time) -> None:
        self._table, self._clock = table, clock

    def create(self, tenant: str | None = None) -> tuple[Key, str]:
        """Make a key.

        Parameters
        ----------
        tenant : str, optional
            Whom it speaks for; by default a new tenant, named after the key.

        Returns
        -------
        Key
        str
            The key itself, `id.secret`. It cannot be shown again.

        Raises
        ------
        ValueError
            The tenant's name is not made of lower-case letters, digits and inner hyphens, at most 63: it
            becomes part of paths.
        """
        key_id, secret, salt = str(ULID()), secrets.token_bytes(SECRET_BYTES), secrets.token_bytes(SALT_BYTES)
        tenant = key_id.lower() if tenant is None else tenant
        if not _TENANT.fullmatch(tenant):
            raise ValueError(f"{tenant!r} is no tenant: at most 63 letters a-z, digits and inner hyphens")
        key = Key(key_id, tenant, self._now())
        text = base64.urlsafe_b64encode(secret).decode().rstrip("=")
        item: dict[str, Any] = {
            "id": key.id,
            "tenant": key.tenant,
            "created_at": key.created_at,
            "salt": salt,
            "cost": COST,
            "hash": _hash(text, salt, COST),
        }
        self._table.put_item(Item=item, ConditionExpression="attribute_not_exists(id)")
        return key, f"{key.id}.{text}"

    def list(self, tenant: str | None = None) -> list[Key]:
        """List the keys of a tenant, or all of them, the oldest first, revoked ones included."""
        found: list[Key] = []
        after: dict[str, Any] = {}
        while True:
            page = self._table.scan(**after, ConsistentRead=True)
            found += [_key(item) for item in page["Items"]]
            if "LastEvaluatedKey" not in page:
                return sorted((k for k in found if tenant in (None, k.tenant)), key=lambda k: k.id)
            after = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def revoke(self, key_id: str) -> Key:
        """Make a key invalid; again changes nothing.

        Raises
        ------
        NoSuchKey
        """
        try:
            answer = self._table.update_item(
                Key={"id": key_id},
                UpdateExpression="SET revoked_at = if_not_exists(revoked_at, :now)",
                ConditionExpression="attribute_exists(id)",
                ExpressionAttributeValues={":now": self._now()},
                ReturnValues="ALL_NEW",
            )
        except ClientError as error:
            if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
                raise NoSuchKey(key_id) from error
            raise
        return _key(answer["Attributes"])

    def tenant_of(self, text: str) -> str | None:
        """Return the tenant that a key speaks for, or None when it is not valid (any more).

        Parameters
        ----------
        text : str
            `id.secret`, or anything else that a client sends.
        """
        parts = _TEXT.fullmatch(text)
        if not parts:
            return None
        item = self._table.get_item(Key={"id": parts[1]}, ConsistentRead=True).get("Item")
        if item is None:
            return None
        given = _hash(parts[2], bytes(item["salt"]), int(item["cost"]))  # type: ignore[arg-type]
        if not hmac.compare_digest(given, bytes(item["hash"])):  # type: ignore[arg-type]
            return None
        key = _key(item)
        return None if key.revoked_at else key.tenant

    def _now(self) -> str:
        return datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _key(item: Any) -> Key:
    return Key(item["id"], item["tenant"], item["created_at"], item.get("revoked_at"))


def _hash(secret: str, salt: bytes, cost: int) -> bytes:
    return hashlib.scrypt(secret.encode(), salt=salt, n=cost, r=8, p=1)
