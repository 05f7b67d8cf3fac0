"""What a decoder that a file has taken over cannot do."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from music.audio import isolated
from music.audio.decode import decode
from tests.support.files import RATE, tones

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's means are Linux's")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "x"
    soundfile.write(path, tones(2, RATE, 1.0).T, RATE, format="FLAC")
    return path


def child(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    """Let the child run these lines before it decodes."""
    script = "\n".join(["from music.audio import child, confine, reader", *lines, "child.main()"])
    monkeypatch.setattr(isolated, "_COMMAND", [sys.executable, "-S", "-c", script])


def test_it_reaches_no_server_of_this_machine(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = tmp_path / "report"
    with socket.create_server(("127.0.0.1", 0)) as listening:
        call = f"socket.create_connection(('127.0.0.1', {listening.getsockname()[1]}), 5)"
        child(
            monkeypatch,
            "import socket",
            "real = reader.read",
            "def read(path, rates):",
            f"    try: {call}; said = 'reached'",
            "    except OSError as error: said = type(error).__name__",
            f"    open({str(report)!r}, 'w').write(said)",
            "    yield from real(path, rates)",
            f"{call}.close()",  # as long as nobody has asked the kernel
            "reader.read = read",
        )
        assert decode(source, rate=RATE, channels=2).size
    assert report.read_text() == "PermissionError"


def test_a_kernel_that_leaves_it_the_network_is_named_once(
    source: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    isolated._reasons.clear()
    with caplog.at_level(logging.WARNING, "music.audio.isolated"):
        for reason in ("confine._CALLS.clear()", "import sys; sys.platform = 'other'"):
            child(monkeypatch, reason)
            assert decode(source, rate=RATE, channels=2).size
    (said,) = caplog.records
    assert "keeps the network: [Errno 38] no filter for linux" in said.getMessage()


def test_the_environment_of_its_parent_is_closed_to_it(source: Path) -> None:
    """Read by another process of the same user, who is not root: root may read everything."""
    script = f"""if True:
        import ctypes, os, sys
        from pathlib import Path
        from music.audio import isolated

        def read_by_another():
            if (child := os.fork()) == 0:
                try:
                    open(f"/proc/{{os.getppid()}}/environ").read()
                except PermissionError:
                    os._exit(13)
                os._exit(0)
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

        prctl, get_dumpable, set_dumpable = ctypes.CDLL(None).prctl, 3, 4
        list(isolated.blocks(Path({str(source)!r}), [22050]))
        dumpable = prctl(get_dumpable)
        if os.getuid() == 0:
            os.setuid(65534)
        for value in (1, dumpable):
            prctl(set_dumpable, value)
            print(read_by_another())
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["0", "13"], done.stderr


def test_it_inherits_no_descriptor(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = tmp_path / "report"
    child(
        monkeypatch,
        "import os",
        f"open({str(report)!r}, 'w').write(' '.join(os.listdir('/proc/self/fd')))",
    )
    with socket.create_server(("127.0.0.1", 0)) as listening, source.open("rb") as file:
        for descriptor in (listening.fileno(), file.fileno()):
            os.set_inheritable(descriptor, True)
        assert decode(source, rate=RATE, channels=2).size
    # 3 is the listing's own.
    assert {int(name) for name in report.read_text().split()} <= {0, 1, 2, 3, 4}


def test_limits_of_the_machine_that_are_lower_stay(source: Path) -> None:
    script = f"""if True:
        import resource
        from pathlib import Path
        from music.audio import isolated
        for name, most in (("CPU", 60), ("FSIZE", 1 << 15), ("AS", 700 << 20)):
            resource.setrlimit(getattr(resource, f"RLIMIT_{{name}}"), (most, most))
        print(len(list(isolated.blocks(Path({str(source)!r}), [22050]))))
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert int(done.stdout) >= 1, done.stderr
