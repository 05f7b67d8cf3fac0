"""Messages to the two workers.

A message only names a record; the record says what is to be done. Sending one twice is harmless.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from backend.settings import Settings, client

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

MAX_VISIBILITY_SECONDS = 43200


class Queues:
    """The embed queue and the generate queue.

    Parameters
    ----------
    embed_url, generate_url : str
        Queue URLs.
    sqs : SQSClient, optional
        Client to use; one with bounded retries is made when absent.

    Examples
    --------
    >>> queues = Queues.from_settings(settings)              # doctest: +SKIP
    >>> queues.send_embed("default", audio_id, "c0ffee")     # doctest: +SKIP
    """

    def __init__(self, embed_url: str, generate_url: str, sqs: SQSClient | None = None) -> None:
        self.embed_url = embed_url
        self.generate_url = generate_url
        self._sqs: SQSClient = sqs or client("sqs")

    @classmethod
    def from_settings(cls, settings: Settings) -> Queues:
        """Make the queues a deployment has."""
        return cls(settings.embed_queue_url, settings.generate_queue_url)

    def send_embed(self, tenant: str, audio_id: str, correlation_id: str) -> None:
        """Ask for an audio to be embedded."""
        self._send(self.embed_url, tenant=tenant, audio_id=audio_id, correlation_id=correlation_id)

    def send_generate(self, tenant: str, generation_id: str, correlation_id: str) -> None:
        """Ask for a queued generation to be run."""
        self._send(
            self.generate_url, tenant=tenant, generation_id=generation_id, correlation_id=correlation_id
        )

    def set_visibility(self, url: str, receipt_handle: str, seconds: float) -> None:
        """Say in how many seconds a received message may be delivered again, 0 to 43200."""
        timeout = int(min(max(seconds, 0), MAX_VISIBILITY_SECONDS))
        self._sqs.change_message_visibility(
            QueueUrl=url, ReceiptHandle=receipt_handle, VisibilityTimeout=timeout
        )

    def _send(self, url: str, **body: str) -> None:
        self._sqs.send_message(QueueUrl=url, MessageBody=json.dumps(body))
