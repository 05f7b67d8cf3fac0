"""Creates what the template declares, through the same APIs that anybody would use."""

from __future__ import annotations

import json
from typing import Any

import boto3
from botocore.config import Config

from local.aws.signature import ACCESS_KEY, SECRET_KEY
from local.template import REGION, Deployment


def client(service: str, endpoint_url: str, **config: Any) -> Any:
    """Make an AWS client for a local endpoint."""
    return boto3.client(  # type: ignore[call-overload]
        service,
        endpoint_url=endpoint_url,
        region_name=REGION,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=Config(**config),
    )


def provision(deployment: Deployment, endpoint_url: str) -> None:
    """Create tables, queues, buckets and vector indexes, in the order of their dependencies."""
    dynamodb = client("dynamodb", endpoint_url)
    for table in deployment.tables:
        dynamodb.create_table(**table.definition)
        if table.ttl:
            dynamodb.update_time_to_live(TableName=table.name, TimeToLiveSpecification=table.ttl)

    sqs = client("sqs", endpoint_url)
    # Queues that others give up to come first.
    for queue in sorted(deployment.queues.values(), key=lambda queue: queue.dead_letters is not None):
        attributes = dict(queue.attributes)
        if queue.dead_letters:
            redrive = {
                "deadLetterTargetArn": deployment.queues[queue.dead_letters].arn,
                "maxReceiveCount": int(attributes.pop("maxReceiveCount")),
            }
            attributes["RedrivePolicy"] = json.dumps(redrive)
        sqs.create_queue(QueueName=queue.name, Attributes=attributes)

    s3 = client("s3", endpoint_url)
    for bucket in deployment.buckets:
        s3.create_bucket(Bucket=bucket.name)
        if bucket.notifications:
            s3.put_bucket_notification_configuration(
                Bucket=bucket.name, NotificationConfiguration={"QueueConfigurations": bucket.notifications}
            )

    s3vectors = client("s3vectors", endpoint_url)
    for name in deployment.vector_buckets:
        s3vectors.create_vector_bucket(vectorBucketName=name)
    for index in deployment.vector_indexes:
        s3vectors.create_index(vectorBucketName=index.bucket, indexName=index.name, **index.definition)
