"""The first hour: what make does with what it is given, and the steps of a first run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from local import step
from local.arguments import VARIABLES, mistakes
from local.template import ROOT
from tests.support.waiting import PATIENCE_SECONDS

STUB = """#!{python}
import json, os, sys
print(json.dumps(sys.argv[1:]))
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout where everything is installed, and Python only shows what it is asked for."""
    folder = tmp_path / "check out"
    folder.mkdir()
    for name in ("Makefile", "local", "layers"):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv/bin").mkdir(parents=True)
    for stamp in ("bin/activate", "local", "dev", "engine"):
        (folder / ".venv" / stamp).touch()
    (folder / "pyproject.toml").touch()
    for name in ("python", "music"):
        program = folder / ".venv/bin" / name
        program.write_text(STUB.format(python=sys.executable))
        program.chmod(0o755)
    return folder


def make(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", f"PYTHON={sys.executable}", *arguments]
    return subprocess.run(command, cwd=folder, env=kept | environment, capture_output=True, text=True)


def shown(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 0, done.stderr
    arguments: list[str] = json.loads(done.stdout)
    return arguments


@pytest.mark.parametrize(
    "name",
    [
        'Ke$ha "live" `touch executed`.mp3',
        "$(shell touch executed) ${HOME} $$ $x.mp3",
        "it's; touch executed & #1 100% \\ {a,b}*.mp3",
        "Größe ♫.mp3",
    ],
)
def test_nothing_of_a_name_is_expanded_or_executed(checkout: Path, name: str) -> None:
    (checkout / name).write_bytes(b"music")
    arguments = shown(make(checkout, "demo", f"AUDIO={name}", f"OUT=to {name}"))
    assert arguments[arguments.index("--audio") + 1] == name
    assert arguments[arguments.index("--out") + 1] == f"to {name}"
    arguments = shown(make(checkout, "serve", f"DATA=in {name}"))
    assert arguments[arguments.index("--data") + 1] == f"in {name}"
    # The same where it comes by the environment.
    assert shown(make(checkout, "demo", AUDIO=name))[1:3] == ["--audio", name]
    assert not (checkout / "executed").exists()


def test_what_is_not_given_has_its_default(checkout: Path) -> None:
    assert shown(make(checkout, "demo")) == [
        *("demo", "--duration", "30", "--temperature", "1.0"),
        *("--profile", "builtin", "--out", "out"),
    ]
    assert shown(make(checkout, "serve")) == [
        *("serve", "--port", "8000", "--profile", "builtin", "--parameter", "GenerateHost=lambda"),
    ]


@pytest.mark.parametrize(
    ("profile", "host", "laid_out"),
    [("small", "sagemaker", True), ("small", "lambda", False), ("builtin", "sagemaker", False)],
)
def test_the_checkpoint_of_an_endpoint_is_laid_out_before_it_is_deployed(
    checkout: Path, profile: str, host: str, laid_out: bool
) -> None:
    (checkout / "tests/sam").mkdir(parents=True)
    (checkout / "tests/sam/requirements.txt").touch()
    planned = make(checkout, "--dry-run", "deploy", f"PROFILE={profile}", f"GENERATE_HOST={host}")
    assert planned.returncode == 0, planned.stderr
    assert ("-m weights torch" in planned.stdout) == laid_out
    assert '--generate-host "$GENERATE_HOST"' in planned.stdout


@pytest.mark.parametrize("source", ["hub", "somewhere"])
def test_weights_are_made_without_torch(checkout: Path, source: str) -> None:
    planned = make(checkout, "--dry-run", "models", "PROFILE=small", f"SOURCE={source}")
    assert planned.returncode == 0, planned.stderr
    assert "weights build" in planned.stdout
    assert "torch" not in planned.stdout


@pytest.mark.parametrize(
    ("target", "given", "line"),
    [
        ("demo", {"PROFILE": "smal"}, "PROFILE='smal' is no profile: builtin, small, "),
        ("demo", {"DURATION": "3O"}, "DURATION='3O' is no number from 1 to 300"),
        ("demo", {"DURATION": "0.5"}, "DURATION='0.5' is no number from 1 to 300"),
        ("demo", {"DURATION": "nan"}, "DURATION='nan' is no number from 1 to 300"),
        ("demo", {"TEMPERATURE": "3"}, "TEMPERATURE='3' is no number from 0.05 to 2"),
        ("demo", {"SEED": "1.5"}, "SEED='1.5' is no whole number from 0 to 9007199254740991"),
        ("demo", {"AUDIO": "nowhere.mp3"}, "AUDIO: there is no file nowhere.mp3"),
        ("demo", {"OUT": "Makefile/out"}, "Makefile is no folder"),
        ("serve", {"PORT": "80000"}, "PORT='80000' is no port: 0 to 65535"),
        ("serve", {"DATA": "Makefile"}, "Makefile is no folder"),
        ("serve", {"PORT": "http"}, "PORT='http' is no port: 0 to 65535"),
        ("sam", {"PROFILE": "smal"}, "PROFILE='smal' is no profile"),
        ("models", {"PROFILE": "smal"}, "PROFILE='smal' is no profile"),
        ("serve", {"GENERATE_HOST": "ec2"}, "GENERATE_HOST='ec2' is none: lambda or sagemaker"),
        ("deploy", {"GENERATE_HOST": "ec2"}, "GENERATE_HOST='ec2' is none: lambda or sagemaker"),
        ("test-deployed", {}, "API_URL='' is no address"),
        ("test-deployed", {"API_URL": "abc.execute-api"}, "API_URL='abc.execute-api' is no address"),
        ("redrive", {}, "ENDPOINT= of a local stack is needed"),
    ],
)
def test_a_typo_is_found_before_anything_is_installed(
    checkout: Path, target: str, given: dict[str, str], line: str
) -> None:
    shutil.rmtree(checkout / ".venv")
    done = make(checkout, target, *(f"{name}={value}" for name, value in given.items()))
    assert done.returncode != 0
    assert f"make {target}: " in done.stderr
    assert line in done.stderr
    assert not (checkout / ".venv").exists()


def test_what_is_right_is_no_mistake(tmp_path: Path) -> None:
    track = tmp_path / "song.mp3"
    track.write_bytes(b"music")
    given: dict[str, Any] = {
        "PROFILE": "small",
        "GENERATE_HOST": "sagemaker",
        "DURATION": "30",
        "TEMPERATURE": "0.8",
        "SEED": "0",
        "AUDIO": str(track),
        "OUT": str(tmp_path / "new/out"),
        "PORT": "0",
        "API_URL": "https://x.example/dev",
        "ENDPOINT": "http://127.0.0.1:4566",
    }
    for target in VARIABLES:
        assert list(mistakes(target, given)) == []


class TestStep:
    """One step of a first run."""

    def test_says_what_it_does_and_how_long_it_took(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        command = ["sh", "-c", "echo much; echo detail >&2"]
        assert step.run(tmp_path / "stamp", "installing it", [], command, tmp_path) == 0
        said = capfd.readouterr()
        assert said.out.startswith("installing it ... ")
        assert said.out.endswith(" s\n")
        assert "detail" not in said.out + said.err
        assert (tmp_path / "stamp").exists()

    def test_is_done_again_only_for_something_newer(self, tmp_path: Path) -> None:
        stamp, lock, done = tmp_path / "stamp", tmp_path / "requirements.txt", tmp_path / "done"
        lock.touch()
        command = ["sh", "-c", f"echo x >> {done}"]
        for _ in range(2):
            assert step.run(stamp, "installing it", [lock], command, tmp_path) == 0
        assert done.read_text() == "x\n"
        os.utime(stamp, (1, 1))
        assert step.run(stamp, "installing it", [lock], command, tmp_path) == 0
        assert done.read_text() == "x\nx\n"

    def test_that_fails_shows_the_end_of_its_log_and_names_it(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        command = ["sh", "-c", "seq 100; echo no such package; exit 3"]
        assert step.run(tmp_path / "stamp", "installing it", [], command, tmp_path) == 3
        said = capfd.readouterr()
        assert said.out == "installing it ... failed\n"
        *_, reason, where = said.err.splitlines()
        assert reason == "no such package"
        log = Path(where.removeprefix("all of it is in "))
        assert log.read_text().splitlines()[:2] == ["1", "2"]
        assert not (tmp_path / "stamp").exists()

    def test_of_two_at_once_one_waits_and_finds_it_done(self, tmp_path: Path) -> None:
        stamp, done, go = tmp_path / "stamp", tmp_path / "done", tmp_path / "go"
        work = f"echo x >> {done}; while ! test -e {go}; do sleep 0.05; done"
        code = "from local import step; from pathlib import Path; raise SystemExit(step.run("
        code += (
            f"Path({str(stamp)!r}), 'installing it', [], ['sh', '-c', {work!r}], Path({str(tmp_path)!r})))"
        )
        command = [sys.executable, "-c", code]
        first, second = (
            subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)
        )
        assert first.stdout
        assert second.stdout
        lines = {first.stdout.read(7), second.stdout.read(7)}
        assert lines == {"install", "waiting"}
        go.touch()
        assert (first.wait(PATIENCE_SECONDS), second.wait(PATIENCE_SECONDS)) == (0, 0)
        assert done.read_text() == "x\n"
        for process in (first, second):
            assert process.stdout
            process.stdout.close()
