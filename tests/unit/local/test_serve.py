"""`python -m local serve` as a process: its start, its end, and its errors."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from client.stack import StackProcess
from local.template import ROOT
from tests.support.client import Api
from tests.support.keys import keys
from tests.support.waiting import PATIENCE_SECONDS, eventually

TEMPLATE = str(Path(__file__).with_name("deployment") / "template.yaml")


def serve(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "local", "serve", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_SECONDS)


def processes() -> dict[int, int]:
    """Every process that runs, and its parent, in one reading: each may end while it is asked."""
    command = ["ps", "-A", "-o", "pid=,ppid=,stat="]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listed.splitlines()]
    return {int(pid): int(parent) for pid, parent, state in rows if not state.startswith("Z")}


def children(pid: int) -> list[int]:
    return [child for child, parent in processes().items() if parent == pid]


def alive(pids: list[int]) -> set[int]:
    return processes().keys() & set(pids)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ends_cleanly_even_in_the_middle_of_a_request(number: signal.Signals) -> None:
    stack = StackProcess("--template", TEMPLATE)
    with stack:
        assert requests.get(f"{stack.api_url}/echo/x").status_code == 200
        poll = subprocess.Popen(["curl", "-s", f"{stack.api_url}/echo/x?do=sleep"], stdout=subprocess.DEVNULL)
        eventually(lambda: stack.log_path.read_text().count("web was asked") == 2)
        assert stack.process is not None
        workers = children(stack.process.pid)
        assert len(workers) >= 2
        stack.process.send_signal(number)
        assert stack.process.wait(PATIENCE_SECONDS) == 0
        output = stack.log_path.read_text()
        poll.kill()
        poll.wait()
    assert not alive(workers)
    assert "Traceback" not in output
    assert f"ready: {stack.api_url}\n" in output
    assert "not emulated: IAM" in output
    assert "durability" in output


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # what the killed one leaves
    stack = StackProcess("--template", TEMPLATE)
    with stack:
        assert stack.process is not None
        workers = children(stack.process.pid)
        os.kill(stack.process.pid, signal.SIGKILL)
        stack.process.wait()
    assert len(workers) >= 2
    eventually(lambda: not alive(workers))


def test_is_reachable_from_this_machine_only() -> None:
    with StackProcess("--template", TEMPLATE) as stack:
        for url in (stack.api_url, stack.endpoint_url):
            assert url.startswith("http://127.0.0.1:")
            with socket.socket() as connection, pytest.raises(OSError, match="refused"):
                connection.connect(("127.0.0.2", int(url.rpartition(":")[2])))


def test_a_port_in_use_is_one_clear_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = serve("--port", str(port), "--template", TEMPLATE)
    assert done.returncode == 1
    assert done.stderr == f"error: cannot listen on 127.0.0.1:{port}: Address already in use\n"


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--parameter", "Nonsense=1"], 1, "error: Nonsense: the template has no such parameter\n"),
        (["--parameter", "Nonsense"], 2, "--parameter takes NAME=VALUE"),
        (["--http-workers", "0"], 2, "every function needs a process"),
        (["--port", "80000"], 2, "argument --port: '80000' is no port: 0 to 65535"),
        (["--aws-port", "-1"], 2, "'-1' is no port"),
    ],
)
def test_wrong_arguments(arguments: list[str], status: int, message: str) -> None:
    done = serve("--port", "0", "--template", TEMPLATE, *arguments)
    assert done.returncode == status
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_the_users_own_aws_configuration_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config"
    config.write_text(
        "[profile work]\nregion = eu-west-1\nuse_fips_endpoint = true\nuse_dualstack_endpoint = true\n"
        "endpoint_url = http://127.0.0.1:9\ns3 =\n  use_accelerate_endpoint = true\n"
    )
    for name, value in {
        "AWS_CONFIG_FILE": str(config),
        "AWS_PROFILE": "work",
        "AWS_REGION": "eu-west-1",
        "AWS_USE_FIPS_ENDPOINT": "true",
        "AWS_USE_DUALSTACK_ENDPOINT": "true",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
    }.items():
        monkeypatch.setenv(name, value)
    with StackProcess("--auth", "keys") as stack:
        key = keys(stack, "create")
        api = Api(stack.api_url, key)
        uploaded = api.upload_directly("a.mp3", b"no music")
        assert api.finished(uploaded["links"]["self"])["status"] == "failed"  # it was read and judged
        redrive = [sys.executable, "-m", "client.command", "redrive", "--endpoint-url", stack.endpoint_url]
        done = subprocess.run(redrive, cwd=ROOT, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")


def test_a_handler_that_cannot_be_loaded_is_one_clear_line_after_its_log(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(Path(TEMPLATE).parent, tmp_path / "deployment"))
    for name in ("web", "work"):
        (copy / "functions" / name / "app.py").write_text("import nothing_of_this_name\n")
    done = serve("--port", "0", "--template", str(copy / "template.yaml"))
    assert done.returncode == 1
    assert "error: web cannot be loaded: No module named 'nothing_of_this_name'" in done.stderr.replace(
        "work cannot be loaded: No module named 'nothing_of_this_name'; ", ""
    )


def test_without_a_known_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "local", "nonsense"], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 2
    assert "serve" in done.stderr
