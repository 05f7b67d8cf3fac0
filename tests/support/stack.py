"""A deployment in moto for tests of the functions: real handlers, real clients, a clock of our own."""

from __future__ import annotations

import importlib
import itertools
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any, Final
from urllib.parse import quote_plus

import boto3
import numpy as np
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from moto import mock_aws

from backend.records import Audio, Charge, Generation, Limits, Records
from backend.storage import upload_key
from music.analysis import Analysis
from music.features import Features
from music.interfaces import Identity
from music.production import CandidateFile
from tests.support.table import START, Clock, create_keys_table, create_table, serialise_writes

REGION: Final = "eu-central-1"
ACCOUNT = "123456789012"
QUEUES = f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_REGION": REGION,
    "TABLE_NAME": "records",
    "KEYS_TABLE_NAME": "keys",
    "BUCKET_NAME": "music",
    "VECTOR_BUCKET_NAME": "music-vectors",
    "VECTOR_INDEX_NAME": "embeddings",
    "EMBED_QUEUE_URL": f"{QUEUES}/embed",
    "GENERATE_QUEUE_URL": f"{QUEUES}/generate",
    "EMBED_DEAD_LETTERS_URL": f"{QUEUES}/embed-dead",
    "GENERATE_DEAD_LETTERS_URL": f"{QUEUES}/generate-dead",
    "EVENT_BUS_NAME": "default",
    "PROFILE": "builtin",
    "GENERATE_HOST": "lambda",
    "ENDPOINT_NAME": "music-generate",
    "ALLOWED_ORIGINS": "*",
    "RETENTION_DAYS": "30",
    "CANDIDATE_DAYS": "3",
    "LOG_LEVEL": "INFO",
    "AUTH_MODE": "none",
    "MAX_UNFINISHED": "50",
    "MAX_WORKER_SECONDS_PER_DAY": "36000",
    "MAX_RUNNING": "2",
    "MAX_STORED_BYTES": "1000000000",
    "POWERTOOLS_SERVICE_NAME": "test",
    "POWERTOOLS_METRICS_NAMESPACE": "Test",
    "POWERTOOLS_TRACE_DISABLED": "true",
}
DIMENSION = 512


@dataclass
class Context:
    """What Lambda tells a handler; `left` is the seconds it has."""

    left: float = 600.0
    function_name: str = "function"
    memory_limit_in_mb: int = 1024
    invoked_function_arn: str = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:function"
    aws_request_id: str = "request-1"

    def get_remaining_time_in_millis(self) -> int:
        return int(self.left * 1000)


@dataclass
class Stack:
    """The deployment, and what tests want to know about it."""

    records: Records
    keys: Any
    clock: Clock
    s3: Any
    sqs: Any
    s3vectors: Any
    published: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    """The operations of AWS that were asked for, one after the other."""
    bus_is_down: bool = False

    def app(self, name: str) -> ModuleType:
        """Import a function, and set its clocks."""
        app = importlib.import_module(f"functions.{name}.app")
        app.records.items.clock = self.clock
        if hasattr(app, "consumer"):
            app.consumer.runner._renewals.items.clock = self.clock
        return app

    def audio(self, tenant: str = "default", size: int | None = None, limits: Limits | None = None) -> Audio:
        """Make a record that awaits its upload."""
        return self.records.create_audio(
            tenant,
            filename="my söng+1.wav",
            content_type="audio/wav",
            size=size,
            upload_expires_at=self.clock() + 900,
            correlation_id="corr-audio",
            limits=limits,
            charge=Charge(3.0, "the track"),
        )

    def upload(self, audio: Audio, body: bytes = b"sound") -> None:
        """Put a source into the bucket, as a presigned POST does."""
        self.s3.put_object(Bucket="music", Key=upload_key(audio.tenant, audio.id), Body=body)

    def embedded(self) -> Audio:
        """Make an audio that is ready, by the embed function with the models that there are."""
        audio = self.audio()
        self.upload(audio)
        assert self.deliver(self.app("embed"), {"tenant": "default", "audio_id": audio.id}) == []
        return audio

    def get_audio(self, audio: Audio) -> Audio:
        """Read an audio that must be there."""
        current = self.records.get_audio(audio.tenant, audio.id)
        assert current
        return current

    def get_generation(self, generation: Generation) -> Generation:
        """Read a generation that must be there."""
        current = self.records.get_generation(generation.tenant, generation.id)
        assert current
        return current

    def statuses(self) -> dict[str, str]:
        """Return the statuses of all records by their ids, in one request."""
        items = self.records.items.table.scan(
            ProjectionExpression="id, #status", ExpressionAttributeNames={"#status": "status"}
        )["Items"]
        return {str(item["id"]): str(item["status"]) for item in items if "status" in item}

    def submit(self, audio: Audio, *, limits: Limits | None = None, **parameters: Any) -> Generation:
        """Ask for a generation."""
        return self.records.submit_generation(
            audio.tenant,
            audio.id,
            profile="builtin",
            parameters={"seed": 7, "duration": 5.0, **parameters},
            correlation_id="corr-generation",
            limits=limits,
            charge=Charge(5.0, "the music"),
        )

    def objects(self) -> list[str]:
        """Return all keys in the bucket."""
        return [item["Key"] for item in self.s3.list_objects_v2(Bucket="music").get("Contents", [])]

    def vectors(self) -> list[str]:
        """Return all keys in the index."""
        answer = self.s3vectors.list_vectors(vectorBucketName="music-vectors", indexName="embeddings")
        return [vector["key"] for vector in answer["vectors"]]

    def drain(self, queue: str) -> list[dict[str, Any]]:
        """Take all messages out of a queue, and return their bodies."""
        bodies = []
        while messages := self.sqs.receive_message(QueueUrl=f"{QUEUES}/{queue}", MaxNumberOfMessages=10).get(
            "Messages"
        ):
            for message in messages:
                bodies.append(json.loads(message["Body"]))
                self.sqs.delete_message(QueueUrl=f"{QUEUES}/{queue}", ReceiptHandle=message["ReceiptHandle"])
        return bodies

    def empty(self) -> None:
        """Remove everything from it, and set its clock back."""
        table = self.records.items.table
        for item in table.scan()["Items"]:
            table.delete_item(Key={"pk": item["pk"], "sk": item["sk"]})
        for item in self.keys.scan()["Items"]:
            self.keys.delete_item(Key={"id": item["id"]})
        for key in self.objects():
            self.s3.delete_object(Bucket="music", Key=key)
        if keys := self.vectors():
            self.s3vectors.delete_vectors(vectorBucketName="music-vectors", indexName="embeddings", keys=keys)
        for queue in ("embed", "generate", "embed-dead", "generate-dead"):
            self.drain(queue)
        self.published.clear()
        self.asked.clear()
        self.bus_is_down = False
        self.clock.now = START
        for name in ("embed", "generate", "sweeper"):
            if app := sys.modules.get(f"functions.{name}.app"):
                app.events._paused_until = 0.0  # by the clock that goes back

    def deliver(self, app: ModuleType, *bodies: Any, left: float = 600.0, received: int = 1) -> list[str]:
        """Hand a batch to a worker; return the ids of the messages it wants again: "0", "1", …"""
        answer = app.handler(sqs_event(*bodies, received=received), Context(left))
        return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]

    def sweep(self) -> dict[str, int]:
        """Run the sweeper once."""
        done: dict[str, int] = self.app("sweeper").handler({"source": "aws.events"}, Context(60))
        return done


def sqs_event(*bodies: Any, received: int = 1) -> dict[str, Any]:
    """Make the event that Lambda makes of a batch; a text body goes in as it is."""
    records = [
        {
            "messageId": str(index),
            "receiptHandle": f"receipt-{index}",
            "body": body if isinstance(body, str) else json.dumps(body),
            "attributes": {
                "ApproximateReceiveCount": str(received),
                "SentTimestamp": "1700000000000",
                "SenderId": "x",
                "ApproximateFirstReceiveTimestamp": "1700000000000",
            },
            "messageAttributes": {},
            "md5OfBody": "",
            "eventSource": "aws:sqs",
            "eventSourceARN": f"arn:aws:sqs:{REGION}:{ACCOUNT}:queue",
            "awsRegion": REGION,
        }
        for index, body in enumerate(bodies)
    ]
    return {"Records": records}


def s3_event(*keys: str, name: str = "ObjectCreated:Post", bucket: str = "music") -> dict[str, Any]:
    """Make the notification that S3 sends; keys are encoded as S3 encodes them."""
    return {
        "Records": [
            {
                "eventVersion": "2.1",
                "eventSource": "aws:s3",
                "eventName": name,
                "s3": {"bucket": {"name": bucket}, "object": {"key": quote_plus(key, safe="/"), "size": 5}},
            }
            for key in keys
        ]
    }


@contextmanager
def deployed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """Deploy everything that the functions need, for as long as the context lasts."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    serialise_writes(monkeypatch)
    clock = Clock()
    with mock_aws():
        table, keys = create_table(boto3.resource("dynamodb")), create_keys_table(boto3.resource("dynamodb"))
        s3, sqs, s3vectors = boto3.client("s3"), boto3.client("sqs"), boto3.client("s3vectors")
        s3.create_bucket(Bucket="music", CreateBucketConfiguration={"LocationConstraint": REGION})
        for queue in ("embed", "generate", "embed-dead", "generate-dead"):
            sqs.create_queue(QueueName=queue)
        s3vectors.create_vector_bucket(vectorBucketName="music-vectors")
        s3vectors.create_index(
            vectorBucketName="music-vectors",
            indexName="embeddings",
            dataType="float32",
            dimension=DIMENSION,
            distanceMetric="cosine",
        )
        made = Stack(Records(table, 30 * 86400, clock), keys, clock, s3, sqs, s3vectors)

        ask = BaseClient._make_api_call  # type: ignore[attr-defined]

        def answer(client: BaseClient, operation: str, request: dict[str, Any]) -> Any:
            """Take note of events instead of sending them: moto does not tell which it has got."""
            made.asked.append(operation)
            if operation != "PutEvents":
                return ask(client, operation, request)
            if made.bus_is_down:
                raise ClientError({"Error": {"Code": "InternalException"}}, operation)
            for entry in request["Entries"]:
                told = json.loads(entry["Detail"])
                identifier = told.get("generation_id") or told["audio_id"]
                made.published.append({"id": identifier, "status": told["status"], "error": told["error"]})
            return {"FailedEntryCount": 0, "Entries": [{"EventId": "1"} for _ in request["Entries"]]}

        monkeypatch.setattr(BaseClient, "_make_api_call", answer)
        yield made


@pytest.fixture(scope="module")
def deployment() -> Iterator[Stack]:
    """Yield a deployment for all tests of a module: making one costs half a second."""
    with pytest.MonkeyPatch.context() as patch, deployed(patch) as made:
        yield made


@pytest.fixture
def stack(deployment: Stack) -> Stack:
    """Return the module's deployment with nothing in it."""
    deployment.empty()
    return deployment


def fake_models(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace analysis and generation. No two runs make the same bytes, so that a replaced object shows."""
    embed, generate = stack.app("embed"), stack.app("generate")
    identity: Identity = embed.embedder().identity
    features = Features.from_dict(
        {
            "duration": 5.0,
            "tempo": 120.0,
            "key": "C",
            "mode": "major",
            "loudness": -14.0,
            "spectral_centroid": 1000.0,
            "onset_rate": 2.0,
            "beats": [0.5, 1.0],
        }
    )
    runs, previews = itertools.count(), itertools.count()

    def analyse(path: Any, profile: Any, *more: Any, **options: Any) -> Any:
        vector = np.zeros(512, np.float32)
        vector[0] = 1.0
        return Analysis(
            vector,
            features,
            ["fast", "jazz"],
            {"genre": {"jazz": 0.7}},
            identity,
            windows=3,
            preview=b"mp3 " + b"+" * next(previews),
            preview_loudness=-14.6,
            peaks=[0.25, 0.5],
            chroma=np.eye(12, 2, dtype=np.float32),
        )

    def make(*arguments: Any, **options: Any) -> Any:
        run = str(next(runs))
        scores = {"embedding": 0.5, "chroma": 0.5, "tempo": 0.5}
        tried = [{"seed": 7, "similarity": scores}, {"seed": 8, "similarity": scores}]
        if keep := options.get("keep"):
            origins = [{"start": 0.0, "end": 5.0, "source_start": 1.0}]
            keep(CandidateFile(0, b"fLaC 0 " + run.encode(), origins, {"details": {"take": "first"}}))
            keep(CandidateFile(1, b"fLaC 1 " + run.encode(), None, {"details": {"take": "second"}}))
        report = {"run": run, "chosen": 0, "candidates": tried}
        return SimpleNamespace(audio=run.encode(), content_type="audio/wav", report=report)

    monkeypatch.setattr(embed, "analyse", analyse)
    monkeypatch.setattr(generate, "generate", make)
