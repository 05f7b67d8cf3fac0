"""Which of a tenant's audio have the same content: an item for each content, with the oldest few ids.

Table layout
    sk = content#{sha256 of a file}      audio: ids, some that are gone meanwhile included
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from backend.records.table import Items, item_key
from backend.records.types import RESEND_LIMIT_SECONDS, Audio

KEPT = 100
"""Ids of the same content that are noted: however often a file is posted, the item grows no larger, and one
request reads all of their records."""


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

        Of many copies the first `KEPT` are noted. While any of them lives it is found; when all of these are
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
        before = {other for other in noted if other < audio_id}  # ids sort by time
        found = self._items.get_all(Audio, tenant, before)
        # One that is not embedded yet has not said what it holds, but it was noted here.
        older = {one.id for one in found.values() if not one.deleted and one.sha256 in {None, sha256}}
        if gone := before - older:
            self._remove(key, gone)
            if audio_id not in noted:
                self._add(key, audio_id)
        return min(older, default=None)

    def forget(self, audio: Audio) -> None:
        """Take out a removed audio, which leaves room for another copy."""
        if audio.sha256:
            self._remove(_key(audio.tenant, audio.sha256), {audio.id})

    def living(self, audio: Audio) -> Audio:
        """Leave out of an audio which one it is a duplicate of, if that is gone meanwhile."""
        (shown,) = self.all_living([audio])
        return shown

    def all_living(self, audio: Iterable[Audio]) -> list[Audio]:
        """Do as `living` for several audio of a tenant."""
        shown = list(audio)
        named = {one.duplicate_of for one in shown if one.duplicate_of}
        found = self._items.get_all(Audio, shown[0].tenant, named) if named else {}
        gone = named - {one.id for one in found.values() if not one.deleted}
        return [replace(one, duplicate_of=None) if one.duplicate_of in gone else one for one in shown]

    def find(self, tenant: str, sha256: str) -> Audio | None:
        """Find the tenant's oldest audio whose stored file has this content; a failed one does not count.

        Parameters
        ----------
        sha256 : str
            Of the file, in hexadecimal. The audio's own was measured, never only claimed.
        """
        noted: set[str] = self._items.read(_key(tenant, sha256)).get("audio", set())
        found = self._items.get_all(Audio, tenant, noted)
        for _, audio in sorted(found.items()):  # ids sort by time
            if audio.sha256 == sha256 and audio.status in {"uploaded", "embedding", "ready"}:
                return audio
        return None

    def _remove(self, key: dict[str, str], gone: set[str]) -> None:
        request = {
            "Key": key,
            "UpdateExpression": "DELETE audio :gone",
            "ExpressionAttributeValues": {":gone": gone},
            "ConditionExpression": "attribute_exists(pk)",  # nothing is made only to be emptied
        }
        self._items.ask(request)

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
