"""One process of a function: loads the unmodified handler and calls it, as Lambda's runtime does.

`local.pool` runs it as a script, with nothing of the project on its path but the code that the function's
image holds (see `local.image`). It speaks JSON behind a length of 4 bytes over two pipes; the handler's own
stdout and stderr are its log.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from typing import IO, Any


class LambdaContext:
    """What a handler gets as its second argument."""

    function_version = "$LATEST"
    identity = None
    client_context = None

    def __init__(self, name: str, memory: int, arn: str, request_id: str, deadline: float) -> None:
        self.function_name = name
        self.memory_limit_in_mb = memory
        self.invoked_function_arn = arn
        self.aws_request_id = request_id
        self.log_group_name = f"/aws/lambda/{name}"
        self.log_stream_name = f"local/{os.getpid()}"
        self._deadline = deadline

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the function's timeout."""
        return max(0, int((self._deadline - time.monotonic()) * 1000))


def read_frame(stream: IO[bytes]) -> Any:
    """Read one message; raises EOFError when the other side is gone."""
    header = stream.read(4)
    if len(header) < 4:
        raise EOFError
    return json.loads(stream.read(int.from_bytes(header, "big")))


def write_frame(stream: IO[bytes], message: Any) -> None:
    """Write one message."""
    data = json.dumps(message).encode()
    stream.write(len(data).to_bytes(4, "big") + data)
    stream.flush()


def _failure(error: BaseException) -> dict[str, str]:
    traceback.print_exception(error)
    return {"errorType": type(error).__name__, "errorMessage": str(error)}


def main(handler_name: str, requests_fd: int, answers_fd: int) -> None:
    """Serve invocations until the other side closes its pipe."""
    requests, answers = os.fdopen(requests_fd, "rb"), os.fdopen(answers_fd, "wb")
    module, _, attribute = handler_name.rpartition(".")
    try:
        handler = getattr(importlib.import_module(module), attribute)
    except Exception as error:
        write_frame(answers, {"error": _failure(error)})
        return
    write_frame(answers, {"result": None})
    while True:
        try:
            request = read_frame(requests)
        except EOFError:
            return
        context = LambdaContext(
            name=os.environ["AWS_LAMBDA_FUNCTION_NAME"],
            memory=int(os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]),
            arn=request["arn"],
            request_id=request["request_id"],
            deadline=time.monotonic() + request["seconds"],
        )
        try:
            answer: dict[str, Any] = {"result": handler(request["event"], context)}
            json.dumps(answer)
        except Exception as error:
            answer = {"error": _failure(error)}
        sys.stdout.flush()
        sys.stderr.flush()
        write_frame(answers, answer)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
