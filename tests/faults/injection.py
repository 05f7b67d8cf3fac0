"""What a request may meet on its way from the AWS client to the service and back.

Faults are put where the SDK hands a prepared request to HTTP, below its retries: handlers and SDK behave as
they would against an AWS that has these faults.
"""

from __future__ import annotations

import enum
import io
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import urllib3
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError

SLOW_SECONDS = 0.2
PIECE_BYTES = 1 << 16

Send = Callable[[AWSPreparedRequest], AWSResponse]


class Fault(enum.Enum):
    """What goes wrong."""

    THROTTLED = "refused by a throttle, as this service says it"
    FAILED = "a 500, nothing done"
    CLOSED = "connection closed, nothing done"
    LOST = "done, but the answer never comes: a timeout"
    SLOW = "done, and the answer comes slowly, in pieces"


_THROTTLES = {
    "dynamodb": (400, "ProvisionedThroughputExceededException"),
    "events": (400, "ThrottlingException"),
    "s3": (503, "SlowDown"),
    "s3vectors": (429, "TooManyRequestsException"),
    "sagemaker-runtime": (400, "ThrottlingException"),
    "sqs": (400, "RequestThrottled"),
}
_FAILURES = {
    "dynamodb": "InternalServerError",
    "events": "InternalException",
    "s3": "InternalError",
    "s3vectors": "InternalServerException",
    "sagemaker-runtime": "InternalFailure",
    "sqs": "InternalFailure",
}


class Body(io.BytesIO):
    """The body of an answer that no server sent."""

    def stream(self, **_: Any) -> Iterator[bytes]:
        """Give it in one piece."""
        yield self.read()


class SlowBody:
    """The body of an answer that comes in pieces."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def read(self, amount: int | None = None, **more: Any) -> bytes:
        """Give a piece at a time, however much is asked for; all of it only when all is asked for."""
        time.sleep(SLOW_SECONDS / 10)
        piece: bytes = self._raw.read(min(amount, PIECE_BYTES) if amount else amount, **more)
        return piece


class BrokenBody(SlowBody):
    """The body of an answer that stops half way."""

    def read(self, amount: int | None = None, **more: Any) -> bytes:
        """Give nothing more."""
        raise urllib3.exceptions.ReadTimeoutError(None, None, "Read timed out.")  # type: ignore[arg-type]


def meet(fault: Fault | None, service: str, request: AWSPreparedRequest, send: Send) -> AWSResponse:
    """Let a request meet a fault.

    Parameters
    ----------
    fault : Fault or None
        None lets it pass.
    service : str
        As boto3 names it.
    request : AWSPreparedRequest
    send : callable
        Really sends a request.

    Raises
    ------
    ConnectionClosedError, ReadTimeoutError
        As the SDK's HTTP session raises them.
    """
    url = str(request.url)
    if fault is Fault.CLOSED:
        raise ConnectionClosedError(endpoint_url=url)
    if fault is Fault.THROTTLED:
        return _error(service, url, *_THROTTLES[service])
    if fault is Fault.FAILED:
        return _error(service, url, 500, _FAILURES[service])
    answer = send(request)
    if fault is Fault.LOST:
        raise ReadTimeoutError(endpoint_url=url)
    if fault is Fault.SLOW:
        time.sleep(SLOW_SECONDS)
        answer.raw = SlowBody(answer.raw)
    return answer


def _error(service: str, url: str, status: int, code: str) -> AWSResponse:
    """Make an error as this service words it."""
    if service == "s3":
        body = f"<Error><Code>{code}</Code><Message>Injected.</Message></Error>"
        headers = {"Content-Type": "application/xml", "x-amz-request-id": "INJECTED"}
    else:
        body = json.dumps({"__type": f"com.amazonaws#{code}", "message": "Injected."})
        headers = {"Content-Type": "application/json", "x-amzn-errortype": code}
    return AWSResponse(url, status, headers, Body(body.encode()))  # type: ignore[arg-type]
