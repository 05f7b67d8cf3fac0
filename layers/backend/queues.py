"""Messages to the two workers, and the dead letters of what they gave up.

A message only names a record; the record says what is to be done. Sending one twice is harmless.

A dead letter also names the attempt that failed. Moved back to the worker's queue it opens the record again,
if that is still what the record failed in: any number of copies, replayed at any time, make one new job.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from backend.records import Audio, Generation
from backend.settings import Settings, client

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

MAX_VISIBILITY_SECONDS = 43200
"""Seconds for which SQS can hide a message, at most."""
MAX_DELAY_SECONDS = 900
"""Seconds after which SQS can deliver a message for the first time, at most."""


class Queues:
    """The embed queue and the generate queue.

    Parameters
    ----------
    embed_url, generate_url : str
        Queue URLs.
    dead_letter_urls : mapping
        URLs of the queues for dead letters, by kind of record.
    sqs : SQSClient, optional
        Client to use; one with bounded retries is made when absent.

    Examples
    --------
    >>> queues = Queues.from_settings(settings)              # doctest: +SKIP
    >>> queues.send_embed("default", audio_id, "c0ffee")     # doctest: +SKIP
    """

    def __init__(
        self,
        embed_url: str,
        generate_url: str,
        dead_letter_urls: Mapping[str, str],
        sqs: SQSClient | None = None,
    ) -> None:
        self.embed_url = embed_url
        self.generate_url = generate_url
        self.dead_letter_urls = dead_letter_urls
        self._sqs: SQSClient = sqs or client("sqs")

    @classmethod
    def from_settings(cls, settings: Settings) -> Queues:
        """Make the queues that a deployment has."""
        dead_letter_urls = {
            Audio.kind: settings.embed_dead_letters_url,
            Generation.kind: settings.generate_dead_letters_url,
        }
        return cls(settings.embed_queue_url, settings.generate_queue_url, dead_letter_urls)

    def send_embed(self, tenant: str, audio_id: str, correlation_id: str) -> None:
        """Ask for an audio to be embedded."""
        self._send(self.embed_url, tenant=tenant, audio_id=audio_id, correlation_id=correlation_id)

    def send_generate(
        self, tenant: str, generation_id: str, correlation_id: str | None, delay: float = 0
    ) -> None:
        """Ask for a queued generation to be run, in so many seconds (900 at most)."""
        self._send(
            self.generate_url,
            delay=delay,
            tenant=tenant,
            generation_id=generation_id,
            correlation_id=correlation_id,
        )

    def call(self, record: Audio | Generation) -> None:
        """Call for a record that waits for its turn or had no message for long (see `records.turns`)."""
        self._send(
            self.embed_url if isinstance(record, Audio) else self.generate_url,
            tenant=record.tenant,
            **_named(record),
            correlation_id=record.correlation_id,
            called=True,
        )

    def send_dead_letter(self, record: Audio | Generation, error: Mapping[str, Any]) -> None:
        """Send the dead letter of a job that is given up.

        Parameters
        ----------
        record : Audio or Generation
            As claimed for the attempt that failed.
        error : mapping
            Why: ``{code, detail}``, for who reads the queue.
        """
        self._send(
            self.dead_letter_urls[record.kind],
            tenant=record.tenant,
            **_named(record),
            correlation_id=record.correlation_id,
            failed_attempt=record.attempt,
            error=dict(error),
        )

    def set_visibility(self, url: str, receipt_handle: str, seconds: float) -> None:
        """Say in how many seconds a received message may be delivered again, 0 to 43200."""
        timeout = int(min(max(seconds, 0), MAX_VISIBILITY_SECONDS))
        self._sqs.change_message_visibility(
            QueueUrl=url, ReceiptHandle=receipt_handle, VisibilityTimeout=timeout
        )

    def _send(self, url: str, *, delay: float = 0, **body: Any) -> None:
        delay_seconds = int(min(delay, MAX_DELAY_SECONDS))
        self._sqs.send_message(QueueUrl=url, MessageBody=json.dumps(body), DelaySeconds=delay_seconds)


def _named(record: Audio | Generation) -> dict[str, Any]:
    """Name a record as messages do."""
    return {f"{record.kind}_id": record.id}
