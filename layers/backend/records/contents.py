"""Which of a tenant's audio have the same content: an item for each content, with the oldest few ids.

Table layout
    sk = content#{sha256 of a file}      audio: ids, those that are gone meanwhile included
"""

from __future__ import annotations

from typing import Any

from backend.records.table import Items, item_key
from backend.records.types import RESEND_LIMIT_SECONDS, Audio

KEPT = 8
"""Ids of the same content that are noted: however often a file is posted, the item grows no larger, and no
upload looks at more records than these."""


class Contents:
    """The contents of all tenants' audio.

    Parameters
    ----------
    items : Items
        The items of the table.
    retention_seconds : float
        Life of a record.
    """

    def __init__(self, items: Items, retention_seconds: float) -> None:
        self._items = items
        self._retention_seconds = retention_seconds

    def note(self, tenant: str, audio_id: str, sha256: str) -> str | None:
        """Note an audio's content, and find the tenant's oldest living audio that has the same.

        Of many copies the first few are noted. While any of them lives it is found; when all of these are
        gone, the next upload is the first again.

        Parameters
        ----------
        audio_id : str
            May be noted before its record is written.
        sha256 : str
            Of the file, in hexadecimal.

        Returns
        -------
        str or None
            Id of an audio older than this one.
        """
        key = _key(tenant, sha256)
        noted = self._add(key, audio_id)
        older, gone = None, set()
        for other in sorted(noted)[:KEPT]:  # ids sort by time
            if other >= audio_id:
                break
            audio = self._items.get(Audio, tenant, other)
            # One that is not embedded yet has not said what it holds, but it was noted here.
            if audio and not audio.deleted and audio.sha256 in {None, sha256}:
                older = other
                break
            gone.add(other)
        if gone:
            self._items.table.update_item(
                Key=key,
                UpdateExpression="DELETE audio :gone",
                ExpressionAttributeValues={":gone": gone},
            )
            if audio_id not in noted:
                self._add(key, audio_id)
        return older

    def find(self, tenant: str, sha256: str) -> Audio | None:
        """Find the tenant's oldest audio whose stored file has this content; a failed one does not count.

        Parameters
        ----------
        sha256 : str
            Of the file, in hexadecimal. The audio's own was measured, never only claimed.
        """
        noted: set[str] = self._items.read(_key(tenant, sha256)).get("audio", set())
        for audio_id in sorted(noted)[:KEPT]:  # ids sort by time
            audio = self._items.get(Audio, tenant, audio_id)
            if audio and audio.sha256 == sha256 and audio.status in {"uploaded", "embedding", "ready"}:
                return audio
        return None

    def _add(self, key: dict[str, str], audio_id: str) -> set[str]:
        """Add an id where there is room for one; return those that are there then."""
        expires = int(self._items.clock() + self._retention_seconds + RESEND_LIMIT_SECONDS)
        request: dict[str, Any] = {
            "Key": key,
            "UpdateExpression": "ADD audio :ids SET #ttl = :ttl",
            "ConditionExpression": "attribute_not_exists(audio) OR size(audio) < :kept",
            "ExpressionAttributeNames": {"#ttl": "ttl"},
            "ExpressionAttributeValues": {":ids": {audio_id}, ":ttl": expires, ":kept": KEPT},
            "ReturnValues": "ALL_NEW",
        }
        found = self._items.ask(request) or self._items.read(key)
        noted: set[str] = found.get("audio", set())
        return noted


def _key(tenant: str, sha256: str) -> dict[str, str]:
    return item_key(tenant, f"content#{sha256}")
