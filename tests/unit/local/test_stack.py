"""Gateway, process pools and triggers of the local stack, over a small deployment of their own."""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from local.aws.provision import client
from local.gateway import Gateway, proxy_response
from local.http_server import HttpServer, PortError
from local.invoke import InvocationError
from local.pool import ProcessPools, StartError
from local.stack import Stack
from local.template import ROOT, QueueTrigger, ScheduleTrigger
from local.triggers import Triggers, failed_messages
from tests.support.local_stack import local_stack
from tests.support.waiting import PATIENCE_SECONDS, eventually

TEMPLATE = Path(__file__).with_name("deployment") / "template.yaml"
BUCKET = "music-local-files"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with local_stack(template=TEMPLATE) as stack:
        yield stack


@pytest.fixture(scope="module")
def pools(stack: Stack) -> ProcessPools:
    return stack.process_pools()


@pytest.fixture(scope="module")
def api(stack: Stack, pools: ProcessPools) -> str:
    stack.start_api(pools)
    return stack.api_url


@pytest.fixture(scope="module")
def queue(stack: Stack, pools: ProcessPools) -> Any:
    """A way to send a message to the function `work`."""
    stack.start_triggers(pools)
    sqs = client("sqs", stack.endpoint_url)
    url = stack.deployment.queues["Queue"].url
    return lambda **body: sqs.send_message(QueueUrl=url, MessageBody=json.dumps(body))["MessageId"]


@pytest.fixture(scope="module")
def s3(stack: Stack) -> Any:
    return client("s3", stack.endpoint_url)


def get(api: str, do: str = "", **parameters: Any) -> requests.Response:
    return requests.get(
        f"{api}/echo/x", params={"do": do} if do else None, timeout=PATIENCE_SECONDS, **parameters
    )


class TestEvent:
    """What a handler gets."""

    def test_a_request_becomes_a_proxy_event(self, api: str) -> None:
        answer = requests.post(
            f"{api}/echo/caf%C3%A9%20x?a=1&a=2&b=&c=%2B",
            b"\x00\xff",
            headers={"X-Own": "v", "Content-Type": "a/b"},
        )
        event = answer.json()["event"]
        assert (event["httpMethod"], event["resource"], event["path"]) == (
            "POST",
            "/echo/{name}",
            "/echo/café x",
        )
        assert event["pathParameters"] == {"name": "café x"}
        assert event["queryStringParameters"] == {"a": "2", "b": "", "c": "+"}
        assert event["multiValueQueryStringParameters"] == {"a": ["1", "2"], "b": [""], "c": ["+"]}
        assert event["isBase64Encoded"] is True
        assert base64.b64decode(event["body"]) == b"\x00\xff"
        assert event["headers"]["X-Own"] == "v"
        assert event["multiValueHeaders"]["Content-Type"] == ["a/b"]
        context = event["requestContext"]
        assert (context["stage"], context["path"]) == ("test", "/echo/café x")
        assert context["requestId"] == answer.headers["x-amzn-RequestId"]
        assert context["domainName"] == api.removeprefix("http://")

    def test_has_the_members_of_a_real_one(self, api: str) -> None:
        event = get(api).json()["event"]
        members = {
            "resource", "path", "httpMethod", "headers", "multiValueHeaders", "queryStringParameters",
            "multiValueQueryStringParameters", "pathParameters", "stageVariables", "requestContext", "body",
            "isBase64Encoded",
        }  # fmt: skip
        assert event.keys() == members
        assert event["body"] is None
        assert event["isBase64Encoded"] is False
        assert event["queryStringParameters"] is None

    def test_a_literal_path_comes_before_a_parameter(self, api: str) -> None:
        assert requests.get(f"{api}/echo/literal").json()["event"]["pathParameters"] is None

    def test_the_environment_is_the_templates_and_no_more(self, api: str, stack: Stack) -> None:
        environment = get(api).json()["environment"]
        assert (environment["GREETING"], environment["MOOD"]) == ("hello", "kind")
        assert environment["QUEUE_URL"] == f"{stack.endpoint_url}/123456789012/music-local-Queue"
        assert environment["BUCKET_NAME"] == BUCKET
        assert environment["AWS_ENDPOINT_URL"] == stack.endpoint_url
        assert environment["MODELS"] == os.environ.get("MODELS", str(ROOT / "build/models"))
        assert not environment.keys() & {"PYTEST_CURRENT_TEST", "USER", "VIRTUAL_ENV"}
        assert environment["TMPDIR"] != os.environ.get("TMPDIR")

    def test_the_context_knows_the_timeout(self, api: str) -> None:
        shown = get(api).json()
        assert 0 < shown["left"] <= 60_000
        assert shown["function_name"] == "WebFunction"
        assert len(shown["request_id"]) == 36


class TestAnswer:
    """What a client gets."""

    def test_binary(self, api: str) -> None:
        answer = get(api, "audio")
        assert (answer.status_code, answer.content) == (200, bytes(range(256)))
        assert answer.headers["Content-Type"] == "audio/wav"
        assert answer.headers["X-Many"] == "one, two"

    @pytest.mark.parametrize("do", ["raise", "exit", "malformed", "large"])
    def test_a_failing_function_is_an_error_of_its_own_request(self, api: str, do: str) -> None:
        assert get(api, do).status_code == 502
        assert get(api).status_code == 200

    @pytest.mark.parametrize("size", [5_000_000, 11_000_000])
    def test_too_large_for_lambda_or_for_the_gateway(self, api: str, size: int) -> None:
        answer = requests.post(f"{api}/echo/x", b"x" * size)
        assert answer.status_code == 413
        # The template's own error has no say in it on AWS either.
        assert answer.headers["Content-Type"] == "application/json"
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert answer.json() == {"message": "Request Too Long"}

    @pytest.mark.parametrize("encoding", ["br", "gzip"])
    def test_a_compressed_body_is_refused(self, api: str, encoding: str) -> None:
        answer = requests.post(f"{api}/echo/x", b"x", headers={"Content-Encoding": encoding})
        assert answer.status_code == 415
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["detail"] == "Unsupported Media Type"

    @pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "POST", "HEAD", "OPTIONS"])
    def test_any_method_reaches_the_function(self, api: str, method: str) -> None:
        answer = requests.request(method, f"{api}/any")
        assert answer.status_code == 200
        if method != "HEAD":
            assert answer.json()["event"]["httpMethod"] == method

    def test_a_method_that_nobody_knows_reaches_nothing(self, api: str) -> None:
        assert requests.request("BREW", f"{api}/any").status_code == 404

    def test_a_slash_at_the_end_is_the_same_route(self, api: str) -> None:
        event = requests.get(f"{api}/echo/literal/").json()["event"]
        assert (event["resource"], event["path"]) == ("/echo/literal", "/echo/literal/")

    def test_no_route(self, api: str) -> None:
        wrong = [("GET", "/other"), ("DELETE", "/echo/x"), ("GET", "/echo")]
        for answer in [requests.request(method, f"{api}{path}") for method, path in wrong]:
            assert answer.status_code == 404
            assert answer.json()["detail"] == "no route"
        assert requests.get(f"{api}/other").json()["path"] == f"{api}/other"

    def test_long_polls_do_not_block(self, api: str, tmp_path: Path) -> None:
        statuses: list[int] = []
        until = tmp_path / "answer"
        wish = {"do": "poll", "until": str(until)}

        def poll() -> None:
            statuses.append(requests.get(f"{api}/echo/x", params=wish, timeout=PATIENCE_SECONDS).status_code)

        polls = [threading.Thread(target=poll) for _ in range(5)]  # each takes a process
        for thread in polls:
            thread.start()
        assert get(api).status_code == 200
        assert statuses == []
        until.touch()
        for thread in polls:
            thread.join()
        assert statuses == [200] * 5

    @pytest.mark.parametrize(
        "answer",
        [
            None,
            "text",
            {},
            {"statusCode": "x"},
            {"statusCode": 200, "body": 1},
            {"statusCode": 200, "other": 1},
            {"statusCode": 200, "body": "no base64!", "isBase64Encoded": True},
        ],
    )
    def test_malformed(self, answer: Any) -> None:
        with pytest.raises((TypeError, ValueError, KeyError, AttributeError)):
            proxy_response(answer, binary=True)

    def test_a_slow_integration_is_504(self, stack: Stack) -> None:

        answered = threading.Event()

        class Slow:
            def invoke(self, function: str, event: Any) -> Any:
                answered.wait()

            def close(self) -> None:
                pass

        server = HttpServer("127.0.0.1", 0)
        server.start(Gateway(stack.deployment, Slow(), stack.log, integration_seconds=0.1))
        answer = requests.get(f"{server.url}/echo/x")
        answered.set()
        server.close()
        assert (answer.status_code, answer.headers["x-amzn-ErrorType"]) == (504, "INTEGRATION_TIMEOUT")


class TestStrangers:
    """Pages in the developer's browser that are not the stack's own."""

    @pytest.mark.parametrize(
        "host",
        [
            "evil.example",
            "evil.example:{port}",
            "127.0.0.1.evil.example",
            "localhost.evil",
            "",
            "a@localhost",
        ],
    )
    def test_a_host_of_another_name_is_misdirected(self, api: str, stack: Stack, host: str) -> None:
        for url in (api, stack.endpoint_url):
            named = host.format(port=url.rpartition(":")[2])
            answer = requests.get(f"{url}/echo/x", headers={"Host": named})
            assert answer.status_code == 421
            assert answer.json()["code"] == "misdirected_request"
            assert url in answer.json()["detail"]
            assert "Access-Control-Allow-Origin" not in answer.headers

    @pytest.mark.parametrize("host", ["localhost", "LOCALHOST:{port}", "127.0.0.1", "127.0.0.1:{port}"])
    def test_this_machine_has_two_names(self, api: str, host: str) -> None:
        named = host.format(port=api.rpartition(":")[2])
        assert requests.get(f"{api}/echo/x", headers={"Host": named}).status_code == 200

    @pytest.mark.parametrize(
        ("told", "host", "known"),
        [
            ("172.17.0.1", "172.17.0.1:80", True),
            ("172.17.0.1", "172.17.0.2", False),
            ("music.lan", "Music.LAN:8000", True),
            ("0.0.0.0", "192.168.1.7:8000", True),
            ("0.0.0.0", "[::1]:8000", True),
            ("0.0.0.0", "evil.example", False),
            ("127.0.0.1", "192.168.1.7", False),
        ],
    )
    def test_it_also_has_the_name_it_was_told(self, told: str, host: str, known: bool) -> None:
        server = HttpServer("127.0.0.1", 0)
        server.host = told
        assert server._is_named(host) is known
        server.close()

    @pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
    @pytest.mark.parametrize(
        "origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost"]
    )
    def test_a_page_of_another_origin_reaches_no_function(
        self, api: str, pools: ProcessPools, method: str, origin: str
    ) -> None:
        body = b"x" * 3_000_000 if method == "POST" else None
        answer = requests.request(method, f"{api}/any", data=body, headers={"Origin": origin})
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert "event" not in answer.json()
        assert "Access-Control-Allow-Origin" not in answer.headers

    def test_the_stacks_own_page_and_those_that_are_allowed_may_ask(self, api: str) -> None:
        port = api.rpartition(":")[2]
        for origin in (api, "https://page.example", "https://other.example"):
            assert requests.get(f"{api}/any", headers={"Origin": origin}).status_code == 200
        own = f"http://localhost:{port}"
        assert (
            requests.get(f"{api}/any", headers={"Origin": own, "Host": f"localhost:{port}"}).status_code
            == 200
        )

    def test_with_a_star_every_page_may_ask(self, stack: Stack, pools: ProcessPools) -> None:
        server = HttpServer("127.0.0.1", 0)
        deployment = replace(stack.deployment, allowed_origins=("*",))
        server.start(Gateway(deployment, pools, stack.log))
        assert (
            requests.get(f"{server.url}/any", headers={"Origin": "https://evil.example"}).status_code == 200
        )
        server.close()


class TestTriggers:
    """Messages, their redelivery and their end."""

    def seen(self, s3: Any) -> dict[str, Any]:
        keys = [item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET, Prefix="seen/").get("Contents", [])]
        return {key.removeprefix("seen/"): key for key in keys}

    def test_a_message_is_delivered(self, queue: Any, s3: Any) -> None:
        message = queue(hello="wörld")
        key = eventually(lambda: self.seen(s3).get(message))
        record = json.loads(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
        assert json.loads(record["body"]) == {"hello": "wörld"}
        assert record["eventSource"] == "aws:sqs"
        assert record["eventSourceARN"] == "arn:aws:sqs:us-east-1:123456789012:music-local-Queue"
        assert record["attributes"]["ApproximateReceiveCount"] == "1"

    def test_an_upload_is_delivered(self, queue: Any, s3: Any) -> None:
        s3.put_object(Bucket=BUCKET, Key="elsewhere/x", Body=b"")
        s3.put_object(Bucket=BUCKET, Key="uploads/my song+é.wav", Body=b"sound")

        def find() -> list[str]:
            bodies = [s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in self.seen(s3).values()]
            records = [r for body in bodies for r in json.loads(json.loads(body)["body"]).get("Records", [])]
            return [record["s3"]["object"]["key"] for record in records]

        keys = eventually(find)
        assert any("my+song%2B%C3%A9.wav" in key for key in keys)
        assert not any("elsewhere" in key for key in keys)

    def test_a_refused_message_comes_again_and_then_goes_to_the_dead_letters(
        self, queue: Any, stack: Stack, s3: Any
    ) -> None:
        taken = queue(do="take")
        # In one batch with what raises, it would fail, too.
        eventually(lambda: taken in self.seen(s3))
        refused, raising = queue(do="refuse"), queue(do="raise")
        sqs = client("sqs", stack.endpoint_url)
        dead: list[str] = []

        def buried() -> bool:
            url = stack.deployment.queues["DeadLetters"].url
            answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=60)
            dead.extend(message["MessageId"] for message in answer.get("Messages", []))
            return {refused, raising} <= set(dead)

        eventually(buried)
        assert sorted(dead) == sorted([refused, raising])

    @pytest.mark.parametrize(
        ("answer", "failed"),
        [
            (None, set()),
            ({}, set()),
            ({"batchItemFailures": []}, set()),
            ({"batchItemFailures": None}, set()),
            ({"batchItemFailures": [{"itemIdentifier": "a"}]}, {"a"}),
            ({"batchItemFailures": [{"itemIdentifier": "other"}]}, {"a", "b"}),
            ({"batchItemFailures": [{"itemIdentifier": ""}]}, {"a", "b"}),
            ({"batchItemFailures": [{}]}, {"a", "b"}),
            ({"batchItemFailures": "a"}, {"a", "b"}),
            ("nonsense", {"a", "b"}),
        ],
    )
    def test_partial_batch_responses(self, answer: Any, failed: set[str]) -> None:
        assert failed_messages(answer, {"a", "b"}) == failed

    def test_without_partial_responses_an_answer_takes_all(self, stack: Stack) -> None:
        trigger = QueueTrigger("WorkFunction", "Queue", 10, partial=False)

        class Refusing:
            def invoke(self, function: str, event: Any) -> Any:
                return {"batchItemFailures": [{"itemIdentifier": "a"}]}

            def close(self) -> None:
                pass

        triggers = Triggers(stack.deployment, stack.endpoint_url, Refusing(), stack.log)
        assert triggers._failures(trigger, {"Records": [{"messageId": "a"}]}) == set()

    def test_schedules(self, stack: Stack) -> None:
        events: list[tuple[str, Any]] = []

        class Recording:
            def invoke(self, function: str, event: Any) -> Any:
                events.append((function, event))
                raise InvocationError("Error", "and yet it goes on")

            def close(self) -> None:
                pass

        triggers = Triggers(stack.deployment, stack.endpoint_url, Recording(), stack.log)
        schedule = ScheduleTrigger("EveryNow", "WorkFunction", 0.05)
        thread = threading.Thread(target=triggers._tick, args=(schedule,))
        thread.start()
        eventually(lambda: len(events) >= 2)
        triggers.close()
        thread.join()
        function, event = events[0]
        assert (function, event["detail-type"], event["source"]) == (
            "WorkFunction",
            "Scheduled Event",
            "aws.events",
        )


class TestProcesses:
    """Pools."""

    def test_workers_run_at_low_priority(self, pools: ProcessPools, api: str) -> None:
        own = os.nice(0)
        assert get(api).json()["nice"] == own
        worker = next(iter(pools._pools["WorkFunction"]._processes))
        assert os.getpriority(os.PRIO_PROCESS, worker._process.pid) > own

    def test_an_invocation_ends_with_its_time_and_its_process_with_it(self, stack: Stack) -> None:
        functions = stack.deployment.functions
        brief = replace(functions["WebFunction"], timeout=0.5)
        deployment = replace(stack.deployment, functions={"WebFunction": brief})
        pools = ProcessPools(deployment, stack.endpoint_url, stack.log)
        try:
            pools.start()
            (process,) = pools._pools["WebFunction"]._processes
            with pytest.raises(InvocationError, match=r"Task timed out after 0\.50 seconds") as caught:
                pools.invoke("WebFunction", {"queryStringParameters": {"do": "sleep"}})
            assert caught.value.kind == "Sandbox.Timedout"
            assert not process.alive
            assert process not in pools._pools["WebFunction"]._processes
        finally:
            pools.close()

    def test_an_idle_process_that_died_is_not_given_work(self, pools: ProcessPools, api: str) -> None:
        idle = list(pools._pools["WebFunction"]._idle)
        assert idle
        for process in idle:
            process.kill()
        assert get(api).status_code == 200

    def test_a_handler_that_cannot_be_loaded_stops_the_start(self, stack: Stack) -> None:
        functions = stack.deployment.functions
        web = functions["WebFunction"]
        broken = replace(web, image=replace(web.image, handler="app.missing"))
        deployment = replace(stack.deployment, functions={**functions, "WebFunction": broken})
        pools = ProcessPools(deployment, stack.endpoint_url, stack.log)
        try:
            with pytest.raises(StartError, match=r"web cannot be loaded.*missing"):
                pools.start()
        finally:
            pools.close()

    def test_closing_ends_every_process_and_what_waits_for_one(self, stack: Stack) -> None:
        pools = ProcessPools(stack.deployment, stack.endpoint_url, stack.log, http_workers=2)
        pools.start()
        errors: list[str] = []

        def invoke() -> None:
            try:
                pools.invoke("WebFunction", {"queryStringParameters": {"do": "sleep"}})
            except InvocationError as error:
                errors.append(error.kind)

        threads = [threading.Thread(target=invoke) for _ in range(6)]  # more than processes
        for thread in threads:
            thread.start()
        pool = pools._pools["WebFunction"]
        eventually(lambda: len(pool._processes) == pool._limit)
        processes = [process._process for pool in pools._pools.values() for process in pool._processes]
        pools.close()
        for thread in threads:
            thread.join()
        assert len(errors) == 6
        assert all(process.poll() is not None for process in processes)


def test_a_port_in_use_is_one_clear_error() -> None:
    server = HttpServer("127.0.0.1", 0)
    with pytest.raises(
        PortError, match=rf"cannot listen on 127\.0\.0\.1:{server.port}: Address already in use$"
    ):
        HttpServer("127.0.0.1", server.port)
    server.close()
