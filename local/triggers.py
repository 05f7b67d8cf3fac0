"""Invokes functions when something happens: messages in their queue, or their schedule."""

from __future__ import annotations

import threading
import time
import uuid
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from local.aws.provision import client
from local.invoke import InvocationError, Invoker
from local.logs import Log
from local.template import ACCOUNT, REGION, Deployment, Queue, QueueTrigger, ScheduleTrigger

WAIT_SECONDS = 1
"""How long one request waits for messages; also how long an end may take."""


class Triggers:
    """Polls queues and keeps schedules.

    Parameters
    ----------
    deployment : Deployment
        Whose triggers.
    endpoint_url : str
        The local AWS.
    invoker : Invoker
        Runs the functions.
    log : Log
        Takes what happens.
    pollers : int
        Invocations of a queue's function at the same time.
    """

    def __init__(
        self, deployment: Deployment, endpoint_url: str, invoker: Invoker, log: Log, *, pollers: int = 1
    ) -> None:
        self._deployment, self._invoker, self._log = deployment, invoker, log
        self._sqs = client("sqs", endpoint_url, max_pool_connections=50)
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._poll, args=(trigger, lock), daemon=True)
            for trigger in deployment.queue_triggers
            for lock in [threading.Lock()]
            for _ in range(pollers)
        ]
        self._threads += [
            threading.Thread(target=self._tick, args=(schedule,), daemon=True)
            for schedule in deployment.schedules
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Take no further message. Invocations under way are left to whoever closes the invoker."""
        self._stop.set()

    def _poll(self, trigger: QueueTrigger, receiving: threading.Lock) -> None:
        queue = self._deployment.queues[trigger.queue]
        while not self._stop.is_set():
            try:
                with receiving:  # moto would give one message to two who ask at once
                    answer = self._sqs.receive_message(
                        QueueUrl=queue.url,
                        MaxNumberOfMessages=min(trigger.batch_size, 10),
                        WaitTimeSeconds=WAIT_SECONDS,
                        AttributeNames=["All"],
                        MessageAttributeNames=["All"],
                    )
                messages = answer.get("Messages", [])
                if messages and not self._stop.is_set():
                    self._deliver(trigger, queue, messages)
            except (BotoCoreError, ClientError) as error:
                if self._stop.is_set():
                    return
                self._log.line("local", f"{trigger.queue}: {error}", "ERROR")
                self._stop.wait(1.0)

    def _deliver(self, trigger: QueueTrigger, queue: Queue, messages: list[dict[str, Any]]) -> None:
        """Invoke a function with messages, then delete those that it took.

        As with Lambda, a message that it did not take stays in the queue until its visibility timeout.
        """
        event = {"Records": [sqs_record(message, queue.arn) for message in messages]}
        failed = self._failures(trigger, event)
        done = [message for message in messages if message["MessageId"] not in failed]
        if done:
            self._sqs.delete_message_batch(
                QueueUrl=queue.url,
                Entries=[
                    {"Id": str(i), "ReceiptHandle": message["ReceiptHandle"]}
                    for i, message in enumerate(done)
                ],
            )

    def _failures(self, trigger: QueueTrigger, event: dict[str, Any]) -> set[str]:
        """Invoke, and return the ids of the messages that were not taken."""
        everything = {record["messageId"] for record in event["Records"]}
        label, count = self._deployment.functions[trigger.function].label, len(everything)
        start = time.monotonic()
        try:
            answer = self._invoker.invoke(trigger.function, event)
        except InvocationError as error:
            if not self._stop.is_set():
                self._log.line(label, f"failed on {count} message(s): {error.kind}: {error}", "ERROR")
            return everything
        failed = failed_messages(answer, everything) if trigger.partial else set()
        seconds = time.monotonic() - start
        self._log.line(label, f"took {count - len(failed)} of {count} message(s) in {seconds:.2f} s")
        return failed

    def _tick(self, schedule: ScheduleTrigger) -> None:
        label = self._deployment.functions[schedule.function].label
        while not self._stop.wait(schedule.seconds):
            try:
                self._invoker.invoke(schedule.function, scheduled_event(schedule))
            except InvocationError as error:
                if not self._stop.is_set():
                    self._log.line(label, f"failed: {error.kind}: {error}", "ERROR")


def sqs_record(message: dict[str, Any], arn: str) -> dict[str, Any]:
    """Return a received message as a function gets it."""
    attributes = {key: str(value) for key, value in message.get("Attributes", {}).items()}
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": attributes,
        "messageAttributes": {
            name: {key[0].lower() + key[1:]: value for key, value in attribute.items()}
            for name, attribute in message.get("MessageAttributes", {}).items()
        },
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": arn,
        "awsRegion": REGION,
    }


def failed_messages(answer: Any, everything: set[str]) -> set[str]:
    """Read a partial batch response, as Lambda does: whatever is not understood fails the whole batch.

    Parameters
    ----------
    answer
        What the function returned.
    everything : set of str
        Ids of all messages of the batch.
    """
    if answer is None or answer == {}:
        return set()
    if not isinstance(answer, dict):
        return everything
    items = answer.get("batchItemFailures")
    if items is None:
        return set()
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        return everything
    failed = {item.get("itemIdentifier") for item in items}
    return failed if failed <= everything else everything


def scheduled_event(schedule: ScheduleTrigger) -> dict[str, Any]:
    """Return the event of a schedule."""
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": ACCOUNT,
        "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": REGION,
        "resources": [f"arn:aws:events:{REGION}:{ACCOUNT}:rule/{schedule.name}"],
        "detail": {},
    }
