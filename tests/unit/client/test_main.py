"""The command line of what drives a deployment."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from types import SimpleNamespace

import pytest

from client import __main__ as command_line
from client.stack import ROOT


def test_a_proxy_is_never_asked_for_what_runs_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "intranet.example")
    monkeypatch.setattr(sys, "path", list(sys.path))
    seen: list[bool] = []

    def run(arguments: list[str]) -> int:
        hosts = ("127.0.0.1", "localhost", "intranet.example", "example.org")
        seen.extend(bool(urllib.request.proxy_bypass(host)) for host in hosts)
        return 7

    monkeypatch.setattr(command_line, "import_module", lambda name: SimpleNamespace(main=run))
    assert command_line.main(["demo", "--seed", "1"]) == 7
    assert seen == [True, True, True, False]
    assert os.environ["no_proxy"].startswith("intranet.example,")


@pytest.mark.parametrize("command", command_line.COMMANDS)
def test_every_command_says_how_it_is_used(command: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-m", "client", command, "--help"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert f"python -m client {command}" in done.stdout


def test_without_a_known_command() -> None:
    with pytest.raises(SystemExit, match="2"):
        command_line.main(["nonsense"])
