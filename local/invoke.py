"""What every invoker of functions offers, and the one that speaks to `sam local start-lambda`."""

from __future__ import annotations

import json
from typing import Any, Protocol

from local.aws.provision import client

MAX_PAYLOAD_BYTES = 6 * 1024 * 1024
"""Of an event and of an answer, as JSON (Lambda's limit for synchronous invocations)."""


class InvocationError(Exception):
    """A function failed: it raised, ended, ran out of time, or its event or answer was too large.

    Attributes
    ----------
    kind : str
        Lambda's `errorType`, such as ``"Sandbox.Timedout"`` or the name of the exception.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Invoker(Protocol):
    """Whatever can invoke a function by its logical name."""

    def invoke(self, function: str, event: Any) -> Any:
        """Invoke a function and wait for its answer.

        Raises
        ------
        InvocationError
            When it fails.
        """

    def close(self) -> None:
        """End what was started."""


class LambdaEndpoint:
    """Invokes functions behind an endpoint that speaks Lambda's API, such as `sam local start-lambda`.

    Parameters
    ----------
    url : str
        Where it answers.
    """

    def __init__(self, url: str) -> None:
        self._lambda = client(
            "lambda", url, read_timeout=900, retries={"total_max_attempts": 1}, max_pool_connections=50
        )

    def invoke(self, function: str, event: Any) -> Any:
        """Invoke a function and wait for its answer."""
        answer = self._lambda.invoke(FunctionName=function, Payload=json.dumps(event).encode())
        payload = json.loads(answer["Payload"].read() or b"null")
        # `sam local` forgets the FunctionError header of some failures.
        if "FunctionError" in answer or (isinstance(payload, dict) and "errorType" in payload):
            raise InvocationError(str(payload.get("errorType")), str(payload.get("errorMessage")))
        return payload

    def close(self) -> None:
        """Close the connections."""
        self._lambda.close()
