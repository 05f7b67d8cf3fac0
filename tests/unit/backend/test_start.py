"""When a function loads its models, and what it says of that."""

from __future__ import annotations

import importlib
import mmap
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from backend import start
from backend.records import new_id
from backend.start import Loaded
from music import loading
from tests.support.stack import Context, Stack, sqs_event

WORKERS = {"embed": "load_embedder", "generate": "load"}
RECORDS = {"embed": "audio", "generate": "generation"}


@pytest.fixture
def calls() -> list[str]:
    """What was loaded."""
    return []


@pytest.fixture
def imported_anew(stack: Stack) -> Iterator[None]:
    """Let functions be imported by the test, and by whoever comes after it."""
    for name in [name for name in sys.modules if name.startswith("functions.")]:
        del sys.modules[name]
    yield
    for name in [name for name in sys.modules if name.startswith("functions.")]:
        del sys.modules[name]


def told(caplog: pytest.LogCaptureFixture) -> Any:
    """Return the one line of the log that says what was loaded."""
    (line,) = [record for record in caplog.records if record.message == "loaded"]
    return line


def loading_of(calls: list[str]) -> str:
    """Load a model."""
    calls.append("loaded")
    return "a model"


def test_a_start_on_demand_loads_nothing_before_it_is_asked_for(
    calls: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
    loaded = Loaded("weights", partial(loading_of, calls))
    assert calls == []
    assert [loaded(), loaded()] == ["a model"] * 2
    assert calls == ["loaded"]
    assert (told(caplog).loaded, told(caplog).initialization) == ("weights", "on-demand")
    assert told(caplog).seconds >= 0
    assert told(caplog).read_bytes >= 0


def test_a_provisioned_start_loads_ahead(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "provisioned-concurrency")
    loaded = Loaded("weights", partial(loading_of, calls))
    assert calls == ["loaded"]
    assert loaded() == "a model"
    assert calls == ["loaded"]


def test_what_cannot_be_loaded_is_tried_again_with_the_next_event() -> None:
    calls: list[str] = []

    def load() -> str:
        calls.append("begun")
        if len(calls) == 1:
            raise ValueError("the folder is not there")
        return "a model"

    loaded = Loaded("weights", load)
    with pytest.raises(ValueError, match="not there"):
        loaded()
    assert loaded() == "a model"


def test_the_log_says_how_much_of_the_weights_was_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "music.safetensors"
    file.write_bytes(bytes(1 << 24))

    def load() -> mmap.mmap:
        with file.open("rb") as opened:
            mapping = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        assert mapping[:4096] == bytes(4096)
        return mapping

    before, _ = start.weights()
    mapping = Loaded("music", load)()
    assert told(caplog).weights_bytes - (before or 0) == 1 << 24
    assert 0 < told(caplog).weights_read_bytes < told(caplog).weights_bytes
    mapping.close()


@pytest.mark.parametrize("function", WORKERS)
@pytest.mark.usefixtures("imported_anew")
def test_a_worker_that_starts_on_demand_loads_its_models_with_its_first_messages(
    stack: Stack, function: str, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long that takes, no start is begun anew for it."""
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
    load = getattr(loading, WORKERS[function])

    def slow(name: str) -> Any:
        calls.append(name)
        return load(name)

    monkeypatch.setattr(loading, WORKERS[function], slow)
    app = importlib.import_module(f"functions.{function}.app")
    assert calls == []
    for _ in range(2):
        message = {"tenant": "default", f"{RECORDS[function]}_id": new_id()}
        assert stack.deliver(app, message) == []
        assert calls == ["builtin"]


@pytest.mark.usefixtures("imported_anew")
def test_messages_stay_in_the_queue_where_the_models_cannot_be_loaded(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(name: str) -> Any:
        raise RuntimeError("the weights are damaged")

    monkeypatch.setattr(loading, "load_embedder", broken)
    app, audio = stack.app("embed"), stack.audio()
    stack.upload(audio)
    with pytest.raises(RuntimeError, match="damaged"):
        app.handler(sqs_event({"tenant": "default", "audio_id": audio.id}), Context())
    assert stack.get_audio(audio).status == "awaiting_upload"
    assert stack.get_audio(audio).attempt == 0
