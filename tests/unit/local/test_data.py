"""A folder that keeps what the local AWS holds, across restarts and crashes."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from client.stack import StackProcess
from local.arguments import mistakes
from local.aws.data import FILE, Data, DataError
from local.aws.provision import client
from local.stack import Stack
from local.template import ACCOUNT, ROOT
from tests.support import sound
from tests.support.client import Api
from tests.support.keys import keys
from tests.support.local_stack import local_stack
from tests.support.waiting import eventually

TEMPLATE = Path(__file__).with_name("deployment") / "template.yaml"
BUCKET = "music-local-files"
TABLE = "music-local-Table"
INDEX = {"vectorBucketName": "vectors", "indexName": "points"}
ITEM = {
    "pk": {"S": "ä/1"},
    "bytes": {"B": b"\x00\xff"},
    "number": {"N": "0.1"},
    "list": {"L": [{"M": {"a": {"N": "1"}, "b": {"B": b"\x01"}}}, {"NULL": True}]},
    "set": {"SS": ["x", "y"]},
    "flag": {"BOOL": False},
}


def running(folder: Path) -> AbstractContextManager[Stack]:
    """A stack of the small template over a folder."""
    return local_stack(template=TEMPLATE, data=Data(folder, ACCOUNT))


def clients(stack: Stack) -> Iterator[Any]:
    for service in ("dynamodb", "s3", "s3vectors", "sqs"):
        yield client(service, stack.endpoint_url, retries={"total_max_attempts": 1})


def held(stack: Stack) -> dict[str, Any]:
    """Everything that the AWS holds, as its clients see it."""
    dynamodb, s3, s3vectors, sqs = clients(stack)
    objects = {}
    for listed in s3.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        got = s3.get_object(Bucket=BUCKET, Key=listed["Key"])
        told = {name: got.get(name) for name in ("ETag", "ContentType", "Metadata", "LastModified")}
        objects[listed["Key"]] = {**told, "body": got["Body"].read()}
    messages = []
    for queue in sorted(stack.deployment.queues):
        url = stack.deployment.queues[queue].url
        while got := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=600).get(
            "Messages"
        ):
            # S3 says of each start that it can.
            messages += [(queue, one["Body"]) for one in got if "s3:TestEvent" not in one["Body"]]
    return {
        "items": sorted(dynamodb.scan(TableName=TABLE)["Items"], key=lambda item: item["pk"]["S"]),
        "objects": objects,
        "vectors": s3vectors.list_vectors(**INDEX, returnData=True, returnMetadata=True)["vectors"],
        "messages": sorted(messages),
    }


def fill(stack: Stack) -> None:
    """Change everything in every way that the functions do."""
    dynamodb, s3, s3vectors, sqs = clients(stack)
    dynamodb.put_item(TableName=TABLE, Item=ITEM)
    for name in ("gone", "moved", "twice"):
        dynamodb.put_item(TableName=TABLE, Item={"pk": {"S": name}})
    dynamodb.delete_item(TableName=TABLE, Key={"pk": {"S": "gone"}})
    one = {"ExpressionAttributeValues": {":one": {"N": "1"}}}
    changed = {"TableName": TABLE, "Key": {"pk": {"S": "twice"}}, "UpdateExpression": "ADD n :one", **one}
    dynamodb.update_item(**changed)
    dynamodb.transact_write_items(
        TransactItems=[
            {"Put": {"TableName": TABLE, "Item": {"pk": {"S": "made"}}}},
            {"Delete": {"TableName": TABLE, "Key": {"pk": {"S": "moved"}}}},
            {"Update": changed},
        ]
    )
    dynamodb.batch_write_item(RequestItems={TABLE: [{"PutRequest": {"Item": {"pk": {"S": "batch"}}}}]})
    with pytest.raises(ClientError):
        dynamodb.put_item(
            TableName=TABLE, Item={"pk": {"S": "never"}}, ConditionExpression="attribute_exists(pk)"
        )
    for key in ("uploads/ü +%41/~", "generated/a.wav", "deleted", "deleted too"):
        s3.put_object(
            Bucket=BUCKET,
            Key=key,
            Body=key.encode(),
            ContentType="audio/x",
            Metadata={"result": "a  b"},
        )
    s3.put_object(Bucket=BUCKET, Key="generated/a.wav", Body=b"\x00" * 100_000, ContentType="audio/wav")
    s3.delete_object(Bucket=BUCKET, Key="deleted")
    s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "deleted too"}]})
    vectors = [
        {"key": name, "data": {"float32": [float(i)] * 8}, "metadata": {"tenant": "a", "windows": 3}}
        for i, name in enumerate(("one", "two", "three"), 1)
    ]
    s3vectors.put_vectors(**INDEX, vectors=vectors)
    s3vectors.delete_vectors(**INDEX, keys=["two"])
    url = stack.deployment.queues["Queue"].url
    for body in ("waits", "is taken", "is done"):
        sqs.send_message(QueueUrl=url, MessageBody=body)
    for message in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]:
        if message["Body"] == "is done":
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])


def test_everything_is_there_again_as_it_was(tmp_path: Path) -> None:
    with running(tmp_path / "my data") as stack:
        fill(stack)
    with running(tmp_path / "my data") as stack:
        first = held(stack)
    assert [item["pk"]["S"] for item in first["items"]] == ["batch", "made", "twice", "ä/1"]
    assert first["items"][2]["n"] == {"N": "2"}
    assert first["items"][3] == ITEM
    assert set(first["objects"]) == {"uploads/ü +%41/~", "generated/a.wav"}
    assert first["objects"]["generated/a.wav"]["body"] == b"\x00" * 100_000
    assert [vector["key"] for vector in first["vectors"]] == ["one", "three"]
    assert [body for _, body in first["messages"] if "Records" not in body] == ["is taken", "waits"]
    # S3 told the queue of the upload once, and not again at the restart.
    assert sum("Records" in body for _, body in first["messages"]) == 1
    with running(tmp_path / "my data") as stack:
        assert held(stack) == first


def test_without_a_folder_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with local_stack(template=TEMPLATE) as stack:
        fill(stack)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_not_acknowledged_and_written_later(tmp_path: Path) -> None:
    with running(tmp_path) as stack:
        dynamodb, s3, *_ = clients(stack)
        assert stack._data
        pages = stack._data._database.execute("PRAGMA page_count").fetchone()[0]
        stack._data._database.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(ClientError) as caught:
            s3.put_object(Bucket=BUCKET, Key="large", Body=bytes(10**6))
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
        assert f"cannot use {tmp_path}: database or disk is full" in str(caught.value)
        stack._data._database.execute("PRAGMA max_page_count = 100000")
        dynamodb.put_item(TableName=TABLE, Item={"pk": {"S": "small"}})
    with running(tmp_path) as stack:
        found = held(stack)
        assert list(found["objects"]) == ["large"]
        assert len(found["items"]) == 1


def test_a_folder_is_one_stacks_own(tmp_path: Path) -> None:
    data = Data(tmp_path, ACCOUNT)
    script = (
        "import sys; from pathlib import Path; from local.aws.data import Data; Data(Path(sys.argv[1]), '1')"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ask = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(ask, env=environment, capture_output=True, text=True, check=False)
    assert f"another local stack uses {tmp_path}" in done.stderr.splitlines()[-1]
    data.close()
    assert subprocess.run(ask, env=environment, check=False).returncode == 0


@pytest.mark.parametrize("version", [0, 2])
def test_a_folder_of_another_version_is_refused(tmp_path: Path, version: int) -> None:
    Data(tmp_path, ACCOUNT).close()
    with sqlite3.connect(tmp_path / FILE) as database:
        database.execute(f"PRAGMA user_version = {version}")
    database.close()
    with pytest.raises(DataError, match=rf"is of version {version}; this local stack reads 1"):
        Data(tmp_path, ACCOUNT)


def test_a_folder_of_another_template_is_refused(tmp_path: Path) -> None:
    with running(tmp_path) as stack:
        fill(stack)
    with sqlite3.connect(tmp_path / FILE) as database:
        database.execute("UPDATE items SET place = 'music-local-Other'")
    database.close()
    with (
        pytest.raises(DataError, match="has items of music-local-Other, which the template does not"),
        running(tmp_path),
    ):
        pass


@pytest.mark.parametrize("where", ["the head", "the middle"])
def test_a_damaged_folder_is_one_clear_error(tmp_path: Path, where: str) -> None:
    with running(tmp_path) as stack:
        fill(stack)
    content = bytearray((tmp_path / FILE).read_bytes())
    start = 0 if where == "the head" else 4096
    content[start : start + 4096 * 20] = os.urandom(len(content[start : start + 4096 * 20]))
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(DataError, match="is damaged"), running(tmp_path):
        pass


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(DataError, match=rf"cannot use {path}: File exists"):
        Data(path, ACCOUNT)
    (mistake,) = mistakes("serve", {"DATA": str(path)})
    assert mistake == f"DATA: {path} is no folder"
    assert list(mistakes("serve", {"DATA": str(tmp_path / "new/er")})) == []


def test_no_role_writes_through_an_operation_that_is_not_kept() -> None:
    kept = {
        *("dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:BatchWriteItem"),
        *("s3:PutObject", "s3:DeleteObject", "s3vectors:PutVectors", "s3vectors:DeleteVectors"),
        *("sqs:SendMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"),
    }
    template = (ROOT / "template.yaml").read_text()
    allowed = set(re.findall(r"\b(?:dynamodb|s3|s3vectors|sqs):[A-Z]\w+", template))
    reading = re.compile(r"\w+:(Get|List|Query|Scan|Describe|Receive|ConditionCheck|BatchGet)")
    writing = {action for action in allowed if not reading.match(action)} - {"s3:ObjectCreated"}
    assert writing
    assert writing <= kept


class TestStack:
    """The whole backend over a folder."""

    def test_a_crash_loses_nothing_that_was_acknowledged_and_jobs_go_on(self, tmp_path: Path) -> None:
        folder = str(tmp_path / "my $data")
        tracks = [sound.wav(sound.chords(4.0 + number), 32000) for number in range(5)]
        with StackProcess("--auth", "keys", "--data", folder) as stack:
            key = keys(stack, "create")
            api = Api(stack.api_url, key)
            first, second, third = (
                api.ready(api.upload("söng.wav", track, "audio/wav")) for track in tracks[:3]
            )
            made, music = api.make(first["audio_id"], duration=1)
            embedding = api.get(first["links"]["embedding"]).ok(200)
            command = [sys.executable, "-m", "local", "serve", "--port", "0", "--data", folder]
            refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            assert (refused.returncode, refused.stderr) == (1, f"error: another local stack uses {folder}\n")
            assert api.delete(third["links"]["self"]).status == 204
            accepted = [api.generate(first["audio_id"], duration=2, seed=seed) for seed in range(3)]
            uploaded = [api.upload("song.wav", track, "audio/wav") for track in tracks[3:]]
            announced = api.announce("late.mp3", 9)
            eventually(lambda: api.get(accepted[0]["links"]["self"]).ok(200)["status"] != "queued")
            assert stack.process
            os.kill(stack.process.pid, signal.SIGKILL)
            stack.process.wait()
        with StackProcess("--auth", "keys", "--data", folder) as stack:
            assert "found" in stack.log_path.read_text()
            api = Api(stack.api_url, key)
            listed = api.get("/api/audio").ok(200)["items"]
            known = [one["audio_id"] for one in (first, second, *uploaded, announced)]
            assert [item["audio_id"] for item in listed] == known[::-1]
            assert api.get(announced["links"]["self"]).ok(200)["status"] == "awaiting_upload"
            assert api.get(first["links"]["embedding"]).ok(200) == embedding
            assert api.get(first["links"]["content"]).body == tracks[0]
            assert api.get(made["links"]["download"]).body == music.body
            for one in uploaded:
                api.ready(one)
            for one in accepted:
                api.succeeded(one)
            neighbours = api.get(first["links"]["similar"]).ok(200)["results"]
            assert {one["audio_id"] for one in neighbours} == set(known[1:4])
