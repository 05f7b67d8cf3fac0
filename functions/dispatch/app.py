"""Hands the messages of the generate queue over to the endpoint that generates, where that is the host.

The endpoint is another worker: it claims, works and writes as the Lambda does, and the record is the truth.
A request to it is a message on another queue, SageMaker's own, where it waits while instances start.

    message that nobody understands   back to the queue, soon; in the end it is a dead letter
    the record is gone                acknowledged
    dead letter of the last attempt   the record is opened again here: a letter is never lost to the endpoint
    queued                            `due_at` moves to when the request will have expired, so that the
                                      sweeper sends again what was not claimed by then (`Schedule.hand_over`)
    in whatever state                 the body goes to the endpoint as it is; acknowledged
    no endpoint, a throttle, any      back to the queue after a pause that doubles
    other refusal of AWS

Nothing is claimed here. A message may come twice, and so may a request: the second finds the record taken.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import BotoCoreError, ClientError

from backend.jobs import (
    INVOCATION_SECONDS,
    SENSELESS_SECONDS,
    Target,
    backoff,
    postpone,
    read_message,
)
from backend.observability import correlate, logger, metrics, tracer
from backend.queues import Queues
from backend.records import HANDED_OVER_SECONDS, Fenced, Generation, Records
from backend.settings import Settings, client

settings = Settings.from_environment()
records = Records.from_settings(settings)
queues = Queues.from_settings(settings)
runtime = client("sagemaker-runtime")
endpoint_name = os.environ["ENDPOINT_NAME"]


def dispatch(body: str) -> None:
    """Hand one message over.

    Parameters
    ----------
    body : str
        As it stood in the queue.

    Raises
    ------
    ValueError, KeyError, TypeError
        Nobody can make sense of it.
    BotoCoreError, ClientError
        AWS refuses; nothing is lost by trying again.
    """
    target = Target.from_message(read_message(body), Generation.kind)
    correlate(target.correlation_id)
    logger.append_keys(tenant=target.tenant, record=target.id)
    record = records.get_generation(target.tenant, target.id)
    if record is None:
        logger.info("nothing to do")
        return
    if record.status == "failed" and record.attempt == target.failed_attempt:
        with suppress(Fenced):  # another copy of the letter was faster
            record = records.reopen(record)
            metrics.add_metric("JobsReplayed", MetricUnit.Count, 1)
    if record.status == "queued":
        with suppress(Fenced):  # claimed just now, or withdrawn
            records.schedule.hand_over(record)
    runtime.invoke_endpoint_async(
        EndpointName=endpoint_name,
        ContentType="application/json",
        InferenceId=f"{record.id}-{record.attempt + 1}",
        InvocationTimeoutSeconds=INVOCATION_SECONDS,
        RequestTTLSeconds=HANDED_OVER_SECONDS,
        Body=body.encode(),
    )
    metrics.add_metric("JobsDispatched", MetricUnit.Count, 1)
    logger.info("dispatched", extra={"status": record.status})


@logger.inject_lambda_context(clear_state=True)
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics(capture_cold_start_metric=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, list[dict[str, str]]]:
    """Hand a batch over; answer which messages are to be delivered again."""
    failed = []
    metrics.add_metric("Messages", MetricUnit.Count, len(event["Records"]))
    for message in event["Records"]:
        try:
            dispatch(message["body"])
            continue
        except (BotoCoreError, ClientError):
            logger.exception("message not handed over", extra={"message_id": message["messageId"]})
            pause = backoff(int(message["attributes"]["ApproximateReceiveCount"]))
        except (ValueError, KeyError, TypeError):
            logger.exception("message not understood", extra={"message_id": message["messageId"]})
            pause = SENSELESS_SECONDS
        postpone(queues, settings.generate_queue_url, message["receiptHandle"], pause)
        failed.append({"itemIdentifier": message["messageId"]})
    return {"batchItemFailures": failed}
