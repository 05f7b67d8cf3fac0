"""A fake API, and `music` run against it in this process or as one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from client import api as http
from client import command
from client.stack import ROOT
from tests.support.fake_api import Ended, FakeApi, serving


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration but the test's, a folder of its own, and no waiting."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("MUSIC_API", "MUSIC_KEY", "MUSIC_DEBUG", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(http, "PAUSES_SECONDS", (0.0, 0.0, 0.0))


@pytest.fixture
def fake() -> Iterator[FakeApi]:
    with serving() as api:
        yield api


@pytest.fixture
def music(fake: FakeApi, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Run `music` against the fake API."""

    def run(*arguments: str, api: str | None = fake.url) -> Ended:
        capsys.readouterr()
        code = command.main([*(["--api", api] if api else []), *arguments])
        said = capsys.readouterr()
        return Ended(code, said.out, said.err)

    return run


@pytest.fixture
def process(fake: FakeApi) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `music` as a process against the fake API."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **options: Any) -> subprocess.Popen[str]:
        environment = {**os.environ, "MUSIC_API": fake.url, "PYTHONPATH": str(ROOT)}
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
        command = [sys.executable, "-m", "client.command", *arguments]
        started.append(subprocess.Popen(command, env=environment, **options))
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.wait()
        for stream in (one.stdout, one.stderr):
            if stream:
                stream.close()
