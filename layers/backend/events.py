"""Completion and failure are published as EventBridge events.

Delivery is at least once: compare ``generation_id`` or ``audio_id`` and ``status``. The move that ends a
record notes that its event is due, and whoever makes it publishes the event and takes the note away. Where
that fails, or its process dies, the sweeper does it. An event that cannot be sent holds nothing else up.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from backend.observability import logger
from backend.records import Audio, Generation, Records
from backend.settings import Settings, client

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient

SOURCE = "music-generation-backend"
PAUSE_SECONDS = 30.0
"""Seconds after a failure in which nothing is tried: who waits for a bus that hangs does nothing else."""


class Events:
    """The event bus to which completion and failure are published.

    Parameters
    ----------
    bus : str
        Name of the bus.
    records : Records
        Where it is noted that an event is sent.
    eventbridge : EventBridgeClient, optional
        Client to use; one with bounded retries is made when absent.
    """

    def __init__(self, bus: str, records: Records, eventbridge: EventBridgeClient | None = None) -> None:
        self._bus, self._records = bus, records
        self._eventbridge: EventBridgeClient = eventbridge or client("events")
        self._paused_until = 0.0

    @classmethod
    def from_settings(cls, settings: Settings, records: Records) -> Events:
        """Make the bus that a deployment has."""
        return cls(settings.event_bus_name, records)

    def publish(self, record: Audio | Generation) -> bool:
        """Publish that a record has come to its end, if that is due.

        The detail type is such as ``Generation succeeded`` or ``Audio failed``.

        Returns
        -------
        bool
            Whether nothing is left to be sent; otherwise the sweeper tries again.
        """
        if not record.event_due:
            return True
        if self._records.now() < self._paused_until:
            return False
        detail = {
            "tenant": record.tenant,
            f"{record.kind}_id": record.id,
            "status": record.status,
            "correlation_id": record.correlation_id,
        }
        if isinstance(record, Generation):
            detail["audio_id"] = record.audio_id
        try:
            answer = self._eventbridge.put_events(
                Entries=[
                    {
                        "EventBusName": self._bus,
                        "Source": SOURCE,
                        "DetailType": f"{record.kind.capitalize()} {record.status}",
                        "Detail": json.dumps({**detail, "error": record.error}),
                    }
                ]
            )
            if not answer["FailedEntryCount"]:
                self._records.event_sent(record)
                return True
            logger.error("event refused", extra={"record": record.id, "entries": answer["Entries"]})
        except (BotoCoreError, ClientError):
            logger.exception("event not sent", extra={"record": record.id})
        self._paused_until = self._records.now() + PAUSE_SECONDS
        return False
