"""`python -m client redrive`: try again what the workers of a deployment gave up.

    python -m client redrive --endpoint-url URL     of a local stack, which prints the URL
    python -m client redrive --stack NAME           on AWS, with your shell's credentials

Every dead letter goes back to its worker's queue; a line says what it was about and why it was given up. The
record it names is opened again, unless that has happened already.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from client import aws

INVISIBLE_SECONDS = 60
"""A letter that is being moved is nobody else's for so long; a move that dies leaves it in both queues."""


def main(argv: Sequence[str]) -> int:
    """Move every dead letter back; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m client redrive",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--endpoint-url", help="the local AWS of a running local stack")
    where.add_argument("--stack", help="name of a stack on AWS")
    arguments = parser.parse_args(argv)
    try:
        sqs = aws.client("sqs", arguments.endpoint_url)
        pairs = _stack_queues(arguments.stack) if arguments.stack else _local_queues(sqs)
        count = 0
        for dead, source in pairs:
            for body in move(sqs, dead, source):
                print(_line(body))
                count += 1
    except (BotoCoreError, ClientError, KeyError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{count} dead letters sent again")
    return 0


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
    outputs = aws.outputs(name)
    return [
        (outputs[f"{worker}DeadLettersUrl"], outputs[f"{worker}QueueUrl"]) for worker in ("Embed", "Generate")
    ]
