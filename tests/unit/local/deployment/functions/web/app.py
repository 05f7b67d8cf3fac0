"""Answers with what the test asks for."""

import base64
import json
import os
import time
from pathlib import Path
from typing import Any


def handler(event: dict[str, Any], context: Any) -> Any:
    """Do what `?do=` says; by default, show the event and the environment."""
    wish = (event.get("queryStringParameters") or {}).get("do")
    print(json.dumps({"level": "INFO", "message": "web was asked", "wish": wish}))
    if wish == "raise":
        raise ValueError("on purpose")
    if wish == "exit":
        os._exit(3)
    if wish == "sleep":
        time.sleep(600)
    if wish == "poll":
        until = Path(event["queryStringParameters"]["until"])
        while not until.exists():
            time.sleep(0.05)
    if wish == "malformed":
        return {"statusCode": 200, "body": {"not": "text"}}
    if wish == "large":
        return {"statusCode": 200, "body": "x" * (6 * 1024 * 1024)}
    if wish == "audio":
        body = base64.b64encode(bytes(range(256))).decode()
        headers = {"Content-Type": "audio/wav"}
        cookies = {"X-Many": ["one", "two"]}
        return {
            "statusCode": 200,
            "headers": headers,
            "multiValueHeaders": cookies,
            "body": body,
            "isBase64Encoded": True,
        }
    shown = {
        "event": event,
        "environment": dict(os.environ),
        "pid": os.getpid(),
        "nice": os.nice(0),
        "left": context.get_remaining_time_in_millis(),
        "function_name": context.function_name,
        "request_id": context.aws_request_id,
    }
    return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": json.dumps(shown)}
