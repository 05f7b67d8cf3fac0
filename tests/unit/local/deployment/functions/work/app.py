"""Takes or refuses messages, as their bodies say."""

import json
import os
from typing import Any

import boto3


def handler(event: dict[str, Any], context: Any) -> Any:
    """Refuse messages that say so, and leave a copy of every other one in the bucket."""
    failures = []
    for record in event["Records"]:
        body = json.loads(record["body"])
        if body.get("do") == "raise":
            raise ValueError("on purpose")
        if body.get("do") == "refuse":
            failures.append({"itemIdentifier": record["messageId"]})
        else:
            key = f"seen/{record['messageId']}"
            boto3.client("s3").put_object(Bucket=os.environ["BUCKET_NAME"], Key=key, Body=json.dumps(record))
    return {"batchItemFailures": failures}
