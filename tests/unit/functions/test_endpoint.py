"""The endpoint's container: the jobs of Lambda, by requests, side by side, and given back when it stops."""

from __future__ import annotations

import http.client
import io
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from botocore.exceptions import EndpointConnectionError

from backend.jobs import MAX_ATTEMPTS
from backend.records import LEASE_SECONDS, Audio, Generation, Limits
from backend.storage import generated_key
from functions.endpoint import serve
from functions.endpoint.serve import Endpoint
from local.template import ROOT
from music.interfaces import Identity
from music.loading import Profile, load
from music.musicgen.generator import MusicGen
from music.musicgen.networks import Condition
from music.production import generate
from tests.support.networks import FakeCodec, FakeLanguage, FakeState, FakeText, FakeTokenizer
from tests.support.stack import ENVIRONMENT, REGION, Stack, fake_models
from tests.support.waiting import PATIENCE_SECONDS, eventually
from weights import pack

ENVIRON = {**ENVIRONMENT, "ENDPOINT_STREAMS": "3"}


class Now:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def app(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Any:
    fake_models(stack, monkeypatch)
    return stack.app("generate")


@pytest.fixture
def source(stack: Stack, app: Any) -> Audio:
    """An audio that is ready."""
    return stack.embedded()


@pytest.fixture
def now() -> Now:
    return Now()


def loaded(stack: Stack, now: Now, lanes: int = 1, **environ: str) -> Endpoint:
    """Make an endpoint that takes work, with the clock of the stack's records."""
    endpoint = Endpoint({**ENVIRON, **environ}, now)
    endpoint.load()
    assert endpoint.ping()[0] == 200, endpoint.ping()
    while len(endpoint._lanes) < lanes:  # as many as torch has
        lane = endpoint._lane(stack.app("generate"), serve.Settings.from_environment(ENVIRON))
        endpoint._lanes.append(lane)
        endpoint._free.append(lane)
    for lane in endpoint._lanes:
        lane._records.items.clock = stack.clock
        lane._renewals.items.clock = stack.clock
    assert endpoint._records
    endpoint._records.items.clock = stack.clock
    return endpoint


@pytest.fixture
def endpoint(stack: Stack, app: Any, now: Now) -> Endpoint:
    return loaded(stack, now)


def message(generation: Generation, **more: Any) -> bytes:
    body = {"tenant": generation.tenant, "generation_id": generation.id, "correlation_id": "corr", **more}
    return json.dumps(body).encode()


def run(endpoint: Endpoint, generation: Generation, **more: Any) -> str:
    """One invocation; the word that it is answered with."""
    status, answer = endpoint.invoke(message(generation, **more))
    assert status == 200, answer
    word: str = answer["status"]
    return word


class Aside:
    """An invocation in a thread of its own."""

    def __init__(self, endpoint: Endpoint, generation: Generation) -> None:
        self.answer: serve.Answer | None = None

        def ask() -> None:
            with endpoint.answering():
                self.answer = endpoint.invoke(message(generation))

        self.thread = threading.Thread(target=ask, daemon=True)
        self.thread.start()

    def join(self) -> serve.Answer:
        self.thread.join()
        assert self.answer
        return self.answer


class Gate:
    """Holds every generation where it makes music, until it is opened; there they tell their progress."""

    def __init__(self, app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.inside = 0
        lock = threading.Lock()
        make = app.generate

        def held(
            path: Any, profile: Any, parameters: Any, vector: Any, features: Any, progress: Any, **more: Any
        ) -> Any:
            with lock:
                self.inside += 1
            while not self.open.wait(0.01):
                progress(0.5)
            return make(path, profile, parameters, vector, features, progress, **more)

        monkeypatch.setattr(app, "generate", held)


# -- jobs


def test_a_job_is_done_and_a_second_message_finds_it(stack: Stack, endpoint: Endpoint, source: Audio) -> None:
    generation = stack.submit(source, format="flac")
    assert run(endpoint, generation) == "done"
    done = stack.get_generation(generation)
    assert (done.status, done.attempt) == ("succeeded", 1)
    assert generated_key("default", generation.id, "flac") in stack.objects()
    assert run(endpoint, generation) == "succeeded"
    assert stack.get_generation(generation).attempt == 1
    assert [event["id"] for event in stack.published].count(generation.id) == 1


@pytest.mark.parametrize("withdrawn", ["cancelled", "deleted"])
def test_what_is_withdrawn_is_not_begun(
    withdrawn: str, stack: Stack, endpoint: Endpoint, source: Audio
) -> None:
    generation = stack.submit(source)
    if withdrawn == "cancelled":
        stack.records.cancel_generation("default", generation.id)
    else:
        stack.records.bury(generation)
    assert run(endpoint, generation) == withdrawn
    assert stack.get_generation(generation).attempt == 0


def test_a_message_for_nobody_says_so(endpoint: Endpoint) -> None:
    body = {"tenant": "default", "generation_id": "01ARZ3NDEKTSV4RRFFQ69G5FAV"}
    assert endpoint.invoke(json.dumps(body).encode()) == (200, {"status": "not_found"})


def test_what_somebody_else_has_is_left_to_the_sweeper(
    stack: Stack, endpoint: Endpoint, source: Audio
) -> None:
    generation = stack.submit(source)
    stack.records.claim_generation("default", generation.id)
    assert run(endpoint, generation) == "leased"
    assert stack.drain("generate") == []
    stack.clock.now += LEASE_SECONDS + 1  # and whoever had it is dead
    assert stack.sweep() == {"requeued": 1}
    (again,) = stack.drain("generate")
    assert endpoint.invoke(json.dumps(again).encode()) == (200, {"status": "done"})


def test_bad_input_fails_the_record(
    stack: Stack, app: Any, endpoint: Endpoint, source: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation = stack.submit(source)
    with monkeypatch.context() as patch:
        patch.setattr(app, "settings", replace(app.settings, profile="small"))
        assert run(endpoint, generation) == "failed"
    assert stack.get_generation(generation).error == {
        "code": "unsupported_by_profile",
        "detail": "Asked of profile builtin, but small is in force now.",
    }


def test_what_fails_otherwise_is_sent_again_and_given_up_in_the_end(
    stack: Stack, app: Any, endpoint: Endpoint, source: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    delays: list[float] = []

    def send(tenant: str, generation_id: str, correlation_id: str | None, delay: float = 0) -> None:
        assert (tenant, generation_id, correlation_id) == ("default", generation.id, "corr")
        delays.append(delay)

    def broken(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("secret internals")

    monkeypatch.setattr(app, "generate", broken)
    monkeypatch.setattr(endpoint._lanes[0].queues, "send_generate", send)
    generation = stack.submit(source)
    words = [run(endpoint, generation) for _ in range(MAX_ATTEMPTS)]
    assert words == ["retried"] * (MAX_ATTEMPTS - 1) + ["failed"]
    assert len(delays) == MAX_ATTEMPTS - 1
    assert 5.0 <= delays[0] <= 10.0 < delays[-1]
    (letter,) = stack.drain("generate-dead")
    assert letter["failed_attempt"] == MAX_ATTEMPTS
    fake_models(stack, monkeypatch)
    assert run(endpoint, generation) == "failed"  # an ordinary message does not open it again
    assert run(endpoint, generation, failed_attempt=MAX_ATTEMPTS) == "done"


def test_a_job_out_of_turn_is_called_by_the_one_before(
    stack: Stack, app: Any, now: Now, source: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = loaded(stack, now, lanes=2)
    limits = Limits(10, 1000, 10**9, running=1)
    for lane in endpoint._lanes:
        monkeypatch.setattr(lane, "_limits", limits)
    monkeypatch.setattr(app, "limits", limits)
    first, second = (stack.submit(source, limits=limits) for _ in range(2))
    gate = Gate(app, monkeypatch)
    aside = Aside(endpoint, first)
    eventually(lambda: gate.inside == 1)
    assert run(endpoint, second) == "out_of_turn"
    gate.open.set()
    assert aside.join() == (200, {"status": "done"})
    (called,) = stack.drain("generate")
    assert (called["generation_id"], called["called"]) == (second.id, True)
    assert endpoint.invoke(json.dumps(called).encode()) == (200, {"status": "done"})


def test_an_aws_that_does_not_answer_is_an_error_and_the_message_comes_again(
    stack: Stack, endpoint: Endpoint, source: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[float] = []

    def down(*arguments: Any, **options: Any) -> None:
        raise EndpointConnectionError(endpoint_url="https://dynamodb")

    generation = stack.submit(source)
    with monkeypatch.context() as patch:
        patch.setattr(endpoint._lanes[0]._records, "claim_generation", down)
        patch.setattr(endpoint._lanes[0].queues, "send_generate", lambda *who, delay: sent.append(delay))
        status, answer = endpoint.invoke(message(generation))
    assert (status, answer["code"]) == (500, "not_handled")
    assert sent == [30.0]
    assert run(endpoint, generation) == "done"  # and the lane is free


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"[]", b"7", b"\xff", b"{", b"{}", b'{"tenant": "default"}'),
        *(b'{"tenant": 7, "generation_id": "x"}', b'{"tenant": "", "generation_id": "x"}'),
        b'{"tenant": "default", "audio_id": "01ARZ3NDEKTSV4RRFFQ69G5FAV"}',
    ],
)
def test_what_is_no_message_is_refused(endpoint: Endpoint, body: bytes) -> None:
    status, answer = endpoint.invoke(body)
    assert (status, answer["code"]) == (400, "not_a_message")


# -- side by side


def test_jobs_run_side_by_side_where_there_are_lanes(
    stack: Stack, app: Any, now: Now, source: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = loaded(stack, now, lanes=3)
    gate = Gate(app, monkeypatch)
    asides = [Aside(endpoint, stack.submit(source)) for _ in range(3)]
    eventually(lambda: gate.inside == 3)
    assert endpoint.ping()[0] == 200
    gate.open.set()
    assert [aside.join() for aside in asides] == [(200, {"status": "done"})] * 3


def test_on_one_lane_jobs_wait_unclaimed_in_the_order_in_which_they_came(
    stack: Stack, app: Any, endpoint: Endpoint, source: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(app, monkeypatch)
    generations = [stack.submit(source) for _ in range(3)]
    asides = []
    for number, generation in enumerate(generations):
        asides.append(Aside(endpoint, generation))
        eventually(lambda number=number: gate.inside == 1 and len(endpoint._waiting) == number)  # type: ignore[misc]
    assert [stack.get_generation(one).status for one in generations] == ["running", "queued", "queued"]
    gate.open.set()
    assert [aside.join() for aside in asides] == [(200, {"status": "done"})] * 3
    claimed = [stack.get_generation(one).claimed_at for one in generations]
    assert claimed == sorted(claimed, key=lambda at: at or 0)
    assert [event["id"] for event in stack.published[-3:]] == [one.id for one in generations]


def test_more_than_its_streams_are_refused(
    stack: Stack, app: Any, now: Now, source: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = loaded(stack, now, ENDPOINT_STREAMS="1")
    gate = Gate(app, monkeypatch)
    aside = Aside(endpoint, stack.submit(source))
    eventually(lambda: gate.inside == 1)
    status, answer = endpoint.invoke(message(stack.submit(source)))
    assert (status, answer["code"]) == (503, "busy")
    gate.open.set()
    assert aside.join() == (200, {"status": "done"})


# -- the end


def test_a_job_that_only_computes_is_given_back_before_the_end(
    stack: Stack, app: Any, endpoint: Endpoint, now: Now, source: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "LAST_SECONDS", -PATIENCE_SECONDS)  # the server leaves the job to its worker
    gate = Gate(app, monkeypatch)
    generation, waiting = stack.submit(source), stack.submit(source)
    aside = Aside(endpoint, generation)
    eventually(lambda: gate.inside == 1)
    other = Aside(endpoint, waiting)
    eventually(lambda: len(endpoint._waiting) == 1)
    stopping = threading.Thread(target=endpoint.stop)
    stopping.start()
    assert other.join()[0] == 503  # it was not begun
    assert endpoint.ping() == (503, {"code": "stopping", "detail": "The container is being stopped."})
    assert endpoint.invoke(message(waiting))[0] == 503
    assert gate.inside == 1
    now.seconds += serve.STOP_SECONDS - 9
    assert aside.join() == (200, {"status": "unfinished"})
    stopping.join()
    current = stack.get_generation(generation)
    assert (current.status, current.attempt, current.tries, current.error) == ("queued", 1, 0, None)
    (again,) = stack.drain("generate")
    assert again["generation_id"] == generation.id
    gate.open.set()
    assert run(loaded(stack, Now()), generation) == "done"
    assert stack.get_generation(generation).tries == 1


def test_a_job_that_tells_nothing_is_given_back_for_it(
    stack: Stack, app: Any, endpoint: Endpoint, source: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, inside = threading.Event(), threading.Event()
    make = app.generate

    def deaf(*arguments: Any, **options: Any) -> Any:
        inside.set()
        stuck.wait()
        return make(*arguments, **options)

    monkeypatch.setattr(app, "generate", deaf)
    monkeypatch.setattr(serve, "STOP_SECONDS", serve.LAST_SECONDS + 0.1)
    generation = stack.submit(source)
    aside = Aside(endpoint, generation)
    inside.wait()
    endpoint.stop()
    current = stack.get_generation(generation)
    assert (current.status, current.tries) == ("queued", 0)
    assert [body["generation_id"] for body in stack.drain("generate")] == [generation.id]
    stuck.set()  # whoever was stuck may end now: the record does not hear of it
    aside.join()
    assert stack.get_generation(generation).status == "queued"
    monkeypatch.setattr(app, "generate", make)
    assert run(loaded(stack, Now()), generation) == "done"


class Stopped(FakeLanguage):
    """Has its container stopped at a step."""

    def __init__(self) -> None:
        super().__init__()
        self.stop_at = 0
        self.stop: Callable[[], None] = lambda: None

    def start(self, conditions: Sequence[Condition], capacity: int) -> FakeState:
        state = super().start(conditions, capacity)
        advance = state.advance

        def counted(codes: np.ndarray) -> np.ndarray:
            if self.stop_at and len(self.calls) == self.stop_at:
                self.stop()
            return advance(codes)

        state.advance = counted  # type: ignore[method-assign]
        return state


def test_what_makes_steps_keeps_them_and_goes_on_elsewhere(
    stack: Stack, app: Any, now: Now, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = io.BytesIO()
    time = np.arange(2 * 32000) / 32000
    soundfile.write(file, 0.1 * np.sin(2 * np.pi * 440 * time), 32000, format="WAV")
    source = stack.audio()
    stack.upload(source, file.getvalue())
    assert stack.deliver(stack.app("embed"), {"tenant": "default", "audio_id": source.id}) == []
    language = Stopped()
    generator = MusicGen(
        "musicgen-fake", language, FakeTokenizer(), FakeText(), FakeCodec(), license=None,
        identity=Identity("fake/musicgen", "abc", "1", "float32"), machine="arithmetic",
    )  # fmt: skip
    profile = Profile("builtin", load("builtin").embedder, generator)
    monkeypatch.setattr(app, "profile", lambda: profile)
    monkeypatch.setattr(app, "generate", generate)  # the real one
    asked: dict[str, Any] = {"seed": 7, "duration": 1.0, "top_k": 20, "candidates": 2, "format": "wav"}
    whole, cut = stack.submit(source, **asked), stack.submit(source, **asked)
    assert run(loaded(stack, now), whole) == "done"
    steps = len(language.calls)

    endpoint = loaded(stack, now)
    language.calls.clear()
    language.stop_at = 20
    monkeypatch.setattr(serve, "LAST_SECONDS", -PATIENCE_SECONDS)
    stopping = threading.Thread(target=endpoint.stop)

    def stop() -> None:
        language.stop_at = 0
        stopping.start()
        eventually(lambda: endpoint.ping()[0] == 503)

    language.stop = stop
    assert Aside(endpoint, cut).join() == (200, {"status": "unfinished"})
    stopping.join()
    made = len(language.calls)
    assert 20 <= made < steps
    current = stack.get_generation(cut)
    assert (current.status, current.tries, current.attempt) == ("queued", 0, 1)
    assert [key for key in stack.objects() if key.startswith(f"generated/default/{cut.id}/")]
    (again,) = stack.drain("generate")

    language.calls.clear()
    assert loaded(stack, now).invoke(json.dumps(again).encode()) == (200, {"status": "done"})
    assert len(language.calls) == steps - made  # what was kept is not made again
    contents = [
        stack.s3.get_object(Bucket="music", Key=generated_key("default", one.id, "wav"))["Body"].read()
        for one in (whole, cut)
    ]
    assert contents[0] == contents[1]


def test_a_container_that_is_killed_loses_nothing(
    stack: Stack, app: Any, endpoint: Endpoint, source: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """The process is gone: nobody catches this."""

    def die(*arguments: Any, **options: Any) -> None:
        raise Killed

    generation = stack.submit(source)
    with monkeypatch.context() as patch:
        patch.setattr(app, "generate", die)
        with pytest.raises(Killed):
            endpoint.invoke(message(generation))
    assert stack.get_generation(generation).status == "running"
    stack.clock.now += LEASE_SECONDS + 1
    assert stack.sweep() == {"requeued": 1}
    (again,) = stack.drain("generate")
    assert loaded(stack, Now()).invoke(json.dumps(again).encode()) == (200, {"status": "done"})
    assert stack.get_generation(generation).tries == 2


# -- the start


def refused(environ: dict[str, str]) -> tuple[str, str]:
    """Load under an environment; the code and the sentence with which it is refused."""
    endpoint = Endpoint(environ)
    assert endpoint.ping()[1]["code"] == "loading"
    assert endpoint.invoke(b"{}")[0] == 503
    endpoint.load()
    status, problem = endpoint.ping()
    assert status == 503
    assert endpoint.invoke(b"{}") == (503, problem)
    return problem["code"], problem["detail"]


@pytest.mark.parametrize("streams", ["", "0", "-1", "two", "1.5"])
def test_the_streams_are_a_number(stack: Stack, streams: str) -> None:
    code, detail = refused({**ENVIRON, "ENDPOINT_STREAMS": streams})
    assert code == "wrong_settings"
    assert "ENDPOINT_STREAMS" in detail


def test_an_environment_that_lacks_something_is_refused_by_its_name(stack: Stack) -> None:
    lacking = {name: value for name, value in ENVIRON.items() if name != "TABLE_NAME"}
    assert refused(lacking) == ("wrong_settings", "environment variable TABLE_NAME is not set")
    assert refused({**ENVIRON, "PROFILE": "huge"}) == ("wrong_settings", "unknown profile 'huge'")


def test_weights_of_another_profile_are_refused(stack: Stack) -> None:
    code, detail = refused({**ENVIRON, "PROFILE": "large", "IMAGE_PROFILE": "small"})
    assert code == "wrong_profile"
    assert "small" in detail
    assert "large" in detail


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack.build("tiny", "random", target=tmp_path_factory.mktemp("models"))


@pytest.fixture
def models(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The bundle of `tiny` to do harm to, which is where `MODELS` says."""
    monkeypatch.setenv("MODELS", str(tmp_path))
    return Path(shutil.copytree(bundle, tmp_path / "tiny"))


TINY = {**ENVIRON, "PROFILE": "tiny"}


def test_whole_weights_are_taken(models: Path) -> None:
    serve.check("tiny", "engine", 1)


@pytest.mark.parametrize("damage", ["changed", "cut", "missing", "no manifest", "nothing"])
def test_damaged_weights_are_refused(stack: Stack, models: Path, damage: str) -> None:
    weights = models / "musicgen.safetensors"
    if damage == "changed":
        whole = bytearray(weights.read_bytes())
        whole[len(whole) // 2] ^= 1
        weights.write_bytes(whole)
    elif damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-1])
    elif damage == "missing":
        weights.unlink()
    elif damage == "no manifest":
        (models / "manifest.json").write_text("{")
    else:
        shutil.rmtree(models)
    code, detail = refused(TINY)
    assert code == "weights_damaged"
    assert str(models) in detail


def test_a_machine_with_too_little_memory_is_refused(
    stack: Stack, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "available_memory", lambda: 10**6)
    assert refused(TINY)[0] == "too_little_memory"


def test_what_loading_says_is_told(stack: Stack, app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(app, "profile", broken)
    assert refused(ENVIRON) == ("not_loaded", "RuntimeError: out of luck")


# -- HTTP


@pytest.fixture
def connection(endpoint: Endpoint) -> Iterator[http.client.HTTPConnection]:
    server = serve.serve(endpoint, "127.0.0.1", 0)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1])
    try:
        yield connection
    finally:
        connection.close()
        server.shutdown()
        server.server_close()


def ask(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None, **headers: str
) -> serve.Answer:
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def test_the_server_speaks_sagemakers_http(
    connection: http.client.HTTPConnection, stack: Stack, source: Audio
) -> None:
    about = {"status": "ready", "profile": "builtin", "runtime": "engine", "side_by_side": 1}
    assert ask(connection, "GET", "/ping") == (200, about)
    generation = stack.submit(source)
    headers = {"Content-Type": "application/json", "X-Amzn-SageMaker-Inference-Id": f"{generation.id}-1"}
    assert ask(connection, "POST", "/invocations", message(generation), **headers) == (
        200,
        {"status": "done"},
    )
    assert ask(connection, "GET", "/ping") == (200, about)
    assert ask(connection, "GET", "/nowhere")[0] == 404
    assert ask(connection, "POST", "/ping", b"{}")[0] == 404


def test_a_ping_is_answered_during_a_job(
    connection: http.client.HTTPConnection,
    stack: Stack,
    app: Any,
    endpoint: Endpoint,
    source: Audio,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = Gate(app, monkeypatch)
    aside = Aside(endpoint, stack.submit(source))
    eventually(lambda: gate.inside == 1)
    assert ask(connection, "GET", "/ping")[0] == 200
    gate.open.set()
    assert aside.join()[0] == 200


@pytest.mark.parametrize(
    ("length", "status", "code"),
    [
        (str(serve.MAX_BODY_BYTES + 1), 413, "too_large"),
        ("9" * 5000, 413, "too_large"),
        (None, 411, "length_required"),
        ("-1", 411, "length_required"),
        ("many", 411, "length_required"),
    ],
)
def test_a_body_is_bounded_before_it_is_read(
    connection: http.client.HTTPConnection, length: str | None, status: int, code: str
) -> None:
    connection.putrequest("POST", "/invocations")
    if length is not None:
        connection.putheader("Content-Length", length)
    connection.endheaders()  # and nothing follows
    response = connection.getresponse()
    assert (response.status, json.loads(response.read())["code"]) == (status, code)


def test_who_hangs_up_early_holds_nobody_up(connection: http.client.HTTPConnection) -> None:
    connection.putrequest("POST", "/invocations")
    connection.putheader("Content-Length", "100")
    connection.endheaders(b"{")
    connection.close()
    assert ask(connection, "GET", "/ping")[0] == 200


def test_the_process_listens_before_anything_is_loaded_and_ends_at_sigterm(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}/layers:{ROOT}", "PROFILE": "builtin"}
    environment |= {"ENDPOINT_HOST": "127.0.0.1", "SAGEMAKER_BIND_TO_PORT": "0", "AWS_REGION": REGION}
    command = [sys.executable, "-P", "-m", "functions.endpoint", "serve"]
    with subprocess.Popen(
        command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        line = next(line for line in process.stdout if "listening" in line)
        connection = http.client.HTTPConnection("127.0.0.1", json.loads(line)["port"])
        refused = eventually(
            lambda: ask(connection, "GET", "/ping"), lambda found: found[1]["code"] != "loading"
        )
        connection.close()
        assert refused[0] == 503
        assert refused[1]["code"] == "wrong_settings"
        process.terminate()
        assert process.wait() == 0


def test_only_one_command_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert serve.main([]) == serve.main(["train"]) == 2
    assert "usage" in capsys.readouterr().err
