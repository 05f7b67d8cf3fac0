"""`music redrive`: from the dead letters back to the workers."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest

from backend.jobs import MAX_ATTEMPTS
from client import aws
from client.command import main
from client.failure import Exit
from client.stack import ROOT, StackProcess
from tests.support.stack import QUEUES, Stack, fake_models


@pytest.fixture(autouse=True)
def _cloudformation(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stack's outputs, as CloudFormation tells them."""
    outputs = [
        {"OutputKey": f"{worker}{what}Url", "OutputValue": f"{QUEUES}/{worker.lower()}{suffix}"}
        for worker in ("Embed", "Generate")
        for what, suffix in (("Queue", ""), ("DeadLetters", "-dead"))
    ]
    make = boto3.client

    class CloudFormation:
        def describe_stacks(self, **request: Any) -> Any:
            assert request == {"StackName": "music"}
            return {"Stacks": [{"Outputs": outputs}]}

    def client(name: str, **options: Any) -> Any:
        return CloudFormation() if name == "cloudformation" else make(name, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(boto3, "client", client)


def test_what_was_given_up_is_tried_again(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_models(stack, monkeypatch)
    app, audio = stack.app("embed"), stack.audio()
    stack.upload(audio)

    def out_of_memory(*arguments: Any, **options: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(app, "analyse", out_of_memory)
        for _ in range(MAX_ATTEMPTS):
            stack.deliver(app, {"tenant": "default", "audio_id": audio.id})
    assert stack.get_audio(audio).status == "failed"
    capsys.readouterr()
    assert main(["redrive", "--stack", "music"]) == 0
    said = capsys.readouterr().out
    assert f"audio {audio.id}: internal_error: Something went wrong on our side. Gave up after 5" in said
    assert "1 dead letters sent again" in said
    (letter,) = stack.drain("embed")
    assert stack.deliver(app, letter) == []
    assert stack.get_audio(audio).status == "ready"
    assert main(["redrive", "--stack", "music"]) == 0
    assert capsys.readouterr().out.endswith("\n0 dead letters sent again\n")


def test_every_letter_goes_to_its_own_worker_and_none_is_lost(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(12):
        stack.sqs.send_message(
            QueueUrl=f"{QUEUES}/generate-dead", MessageBody=json.dumps({"generation_id": f"g{number}"})
        )
    stack.sqs.send_message(QueueUrl=f"{QUEUES}/embed-dead", MessageBody='"nonsense"')
    assert main(["redrive", "--stack", "music"]) == 0
    assert 'not a message of ours: "nonsense"' in capsys.readouterr().out
    assert stack.drain("embed") == ["nonsense"]
    assert sorted(body["generation_id"] for body in stack.drain("generate")) == sorted(
        f"g{number}" for number in range(12)
    )
    assert stack.drain("generate-dead") == stack.drain("embed-dead") == []


def test_a_deployment_that_is_not_there_is_one_clear_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["redrive", "--endpoint-url", "http://127.0.0.1:9"]) == Exit.UNREACHABLE
    assert "error: " in capsys.readouterr().err


def test_the_queues_of_a_local_stack_are_found_at_its_endpoint(capsys: pytest.CaptureFixture[str]) -> None:
    template = ROOT / "tests/unit/local/deployment/template.yaml"
    with StackProcess("--template", str(template)) as local:
        sqs = aws.client("sqs", local.endpoint_url)
        (dead,) = [url for url in sqs.list_queues()["QueueUrls"] if "DeadLetters" in url]
        sqs.send_message(QueueUrl=dead, MessageBody='{"do": "nothing"}')
        assert main(["redrive", "--endpoint-url", local.endpoint_url]) == 0
        assert capsys.readouterr().out.endswith("\n1 dead letters sent again\n")
        assert "Messages" not in sqs.receive_message(QueueUrl=dead, WaitTimeSeconds=0)
