"""Try again what the workers of a deployment gave up.

Every dead letter goes back to its worker's queue; a line says what it was about and why it was given up. The
record it names is opened again, unless that has happened already.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from client import aws

INVISIBLE_SECONDS = 60
"""A letter that is being moved is nobody else's for so long; a move that dies leaves it in both queues."""


def run(stack: str | None, endpoint_url: str | None) -> None:
    """Move every dead letter back.

    Parameters
    ----------
    stack : str, optional
        Name of a stack on AWS, which is reached with the shell's credentials.
    endpoint_url : str, optional
        The local AWS of a local stack.

    Raises
    ------
    Failure
    """
    with aws.failures():
        sqs = aws.client("sqs", endpoint_url)
        pairs = _stack_queues(stack) if stack else _local_queues(sqs)
        count = 0
        for dead, source in pairs:
            for body in move(sqs, dead, source):
                print(_line(body))
                count += 1
    print(f"{count} dead letters sent again")


def move(sqs: Any, dead: str, source: str) -> Iterator[str]:
    """Move all messages from one queue to another, each sent before it is deleted.

    Parameters
    ----------
    sqs : SQSClient
    dead, source : str
        URLs of the queues to take from and to send to.

    Yields
    ------
    str
        The body of each.
    """
    while messages := sqs.receive_message(
        QueueUrl=dead, MaxNumberOfMessages=10, VisibilityTimeout=INVISIBLE_SECONDS, WaitTimeSeconds=1
    ).get("Messages"):
        for message in messages:
            sqs.send_message(QueueUrl=source, MessageBody=message["Body"])
            sqs.delete_message(QueueUrl=dead, ReceiptHandle=message["ReceiptHandle"])
            yield message["Body"]


def _line(body: str) -> str:
    try:
        letter = json.loads(body)
        kind = "audio" if "audio_id" in letter else "generation"
        error = letter.get("error") or {"code": "not_delivered", "detail": "It was received too often."}
        return f"{kind} {letter[f'{kind}_id']}: {error['code']}: {error['detail']}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"not a message of ours: {body[:200]}"


def _local_queues(sqs: Any) -> list[tuple[str, str]]:
    """Dead letters and source of each pair of queues in a local stack, which has no others."""
    pairs = []
    for url in sqs.list_queues().get("QueueUrls", []):
        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"])
        if policy := attributes.get("Attributes", {}).get("RedrivePolicy"):
            name = json.loads(policy)["deadLetterTargetArn"].rpartition(":")[2]
            pairs.append((sqs.get_queue_url(QueueName=name)["QueueUrl"], url))
    return pairs


def _stack_queues(name: str) -> list[tuple[str, str]]:
    """Dead letters and source of each pair of queues, from the outputs of a stack on AWS."""
    names = [f"{worker}{queue}Url" for worker in ("Embed", "Generate") for queue in ("DeadLetters", "Queue")]
    embed_dead, embed, generate_dead, generate = aws.outputs(name, *names)
    return [(embed_dead, embed), (generate_dead, generate)]
