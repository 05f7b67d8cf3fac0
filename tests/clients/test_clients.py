"""Clients generated from openapi.json compile, and work against the local stack; linters find no error."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.stack import ROOT, StackProcess
from tests.support import sound

OPENAPI = ROOT / "layers/backend/openapi.json"
HERE = Path(__file__).parent
NODE = ROOT / "build/clients/node_modules"
PYTHON = ROOT / ".venv-clients/bin"


def run(*command: str | Path, cwd: Path) -> str:
    """Run a tool to its end, and return what it printed."""
    environment = {
        **os.environ,
        "PATH": f"{PYTHON}{os.pathsep}{os.environ['PATH']}",
        "REDOCLY_TELEMETRY": "off",
    }
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def stack() -> Iterator[StackProcess]:
    with StackProcess() as started:
        yield started


@pytest.fixture
def track(tmp_path: Path) -> Path:
    path = tmp_path / "track.mp3"
    path.write_bytes(sound.track())
    return path


def test_redocly_finds_no_error(tmp_path: Path) -> None:
    assert "Your API description is valid" in run(NODE / ".bin/redocly", "lint", OPENAPI, cwd=tmp_path)


def test_spectral_finds_no_error(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text('extends: ["spectral:oas"]\n')
    found = run(NODE / ".bin/spectral", "lint", "-F", "error", "-r", rules, OPENAPI, cwd=tmp_path)
    assert "(0 errors" in found or "No results" in found


def test_a_generated_python_client_works(stack: StackProcess, track: Path, tmp_path: Path) -> None:
    generate = (PYTHON / "openapi-python-client", "generate", "--path", OPENAPI, "--output-path")
    said = run(*generate, tmp_path / "made", cwd=tmp_path)
    assert "WARNING" not in said.upper()  # it leaves out what it does not understand
    done = run(PYTHON / "python", HERE / "drive.py", stack.api_url, track, cwd=tmp_path)
    assert "music came out" in done


def test_a_generated_typescript_client_works(stack: StackProcess, track: Path, tmp_path: Path) -> None:
    made = tmp_path / "schema.ts"
    run(
        NODE / ".bin/openapi-typescript", OPENAPI, "--default-non-nullable", "false", "-o", made, cwd=tmp_path
    )
    # The generator itself says so of headers that no answer names.
    assert ": unknown;" not in made.read_text().replace("[name: string]: unknown;", "")
    shutil.copy(HERE / "drive.ts", tmp_path)
    (tmp_path / "node_modules").symlink_to(NODE)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    options = "--strict --noUncheckedIndexedAccess --target es2022 --module nodenext --types node"
    run(NODE / ".bin/tsc", *options.split(), tmp_path / "drive.ts", made, cwd=tmp_path)
    assert "music came out" in run("node", tmp_path / "drive.js", stack.api_url, track, cwd=tmp_path)
