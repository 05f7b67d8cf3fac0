"""Fixtures for every suite: a running deployment, and a Docker engine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.stack import StackProcess
from local.logs import Log
from local.sam import build, find_base_image
from tests.deployed.rehearsal import LACKING, Rehearsal, rehearsing
from tests.support import debian
from tests.support.client import Api

ENGINE_SECONDS = 60


def pytest_configure() -> None:
    """Let what tests start be interrupted: a shell starts what runs in the background with SIGINT ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> list[str]:
    """Say before all else what a rehearsal of the deployment leaves out."""
    if os.environ.get("API_GATEWAY") != "ministack":
        return []
    lines = [f"  {lacking}: {instead}" for lacking, instead in LACKING.items()]
    return ["deploying onto MiniStack, which lacks, and has instead:", *lines]


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Provide a Docker engine. On a Debian machine without one it is installed, and ended with the tests."""
    there = engine_answers()
    wanted = {"debootstrap": "debootstrap"}  # which makes the base image
    if not there:
        wanted |= {"dockerd": "docker.io", "cgroupfs-mount": "cgroupfs-mount"}
    lacking = debian.missing(wanted)
    if there:
        yield
        return
    if lacking:
        pytest.fail("no Docker engine answers, and only root on Debian can have one installed here")
    log = tmp_path_factory.mktemp("docker") / "dockerd.log"
    with log.open("wb") as output:
        daemon = subprocess.Popen(["dockerd"], stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_for_engine(daemon, log)
        yield
    finally:
        daemon.terminate()
        daemon.wait(timeout=60)


def engine_answers() -> bool:
    """Return whether a Docker engine is there."""
    client = shutil.which("docker")
    if not client:
        return False
    return subprocess.run([client, "info"], capture_output=True, check=False).returncode == 0


def wait_for_engine(daemon: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the engine answers; fail with what it logged when it does not."""
    deadline = time.monotonic() + ENGINE_SECONDS
    while not engine_answers():
        if daemon.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"dockerd did not start:\n{log.read_text()[-3000:]}")
        time.sleep(0.5)


@pytest.fixture(scope="session")
def running(request: pytest.FixtureRequest) -> Iterator[StackProcess]:
    """Run the local stack with `PROFILE` and `GENERATE_HOST`; with `API_GATEWAY=sam-local` under SAM CLI."""
    profile = ("--profile", os.environ.get("PROFILE", "builtin"))
    host = ("--parameter", f"GenerateHost={os.environ.get('GENERATE_HOST', 'lambda')}")
    page = ("--parameter", "AllowedOrigins=https://example.org", *host)
    if os.environ.get("API_GATEWAY") == "sam-local":
        request.getfixturevalue("engine")
        process = StackProcess(*profile, *page, command="sam")
    else:
        process = StackProcess(*profile, *page)
    with process as stack:
        yield stack


@pytest.fixture(scope="session")
def rehearsal(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    """Deploy the template as `make deploy` does, with the parameters of prod, on MiniStack instead of AWS."""
    log = Log()
    build(find_base_image(log), {}, log)
    with rehearsing(tmp_path_factory.mktemp("rehearsal")) as rehearsal, pytest.MonkeyPatch.context() as patch:
        for name in ("SSL_CERT_FILE", "CURL_CA_BUNDLE"):
            patch.setenv(name, str(rehearsal.emulator.certificate.path))
        yield rehearsal


@pytest.fixture(scope="session")
def api(request: pytest.FixtureRequest) -> Api:
    """Return the deployment under test: that at `API_URL` (with `API_TOKEN`), else one of our own."""
    if url := os.environ.get("API_URL"):
        return Api(url, os.environ.get("API_TOKEN"))
    if os.environ.get("API_GATEWAY") == "ministack":
        rehearsal: Rehearsal = request.getfixturevalue("rehearsal")
        return Api(rehearsal.api_url, rehearsal.key())
    stack: StackProcess = request.getfixturevalue("running")
    return Api(stack.api_url)
