"""Decoders that crash, hang or ask for everything: one failed file each, and no process left behind."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from music import loading
from music.analysis import analyse
from music.audio import AudioError, isolated
from music.audio.decode import decode, stream, streams
from tests.support.files import RATE, tones, write
from tests.support.waiting import eventually

Decoder = Callable[[str], None]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "x"
    soundfile.write(path, tones(2, RATE, 4.0).T, RATE, format="FLAC")
    return path


@pytest.fixture
def decoder(monkeypatch: pytest.MonkeyPatch) -> Decoder:
    """Put another body in the place of the child's reading of the file."""

    def put(body: str) -> None:
        script = (
            "import ctypes, os, sys, time\n"
            "from music.audio import AudioError, child, reader\n"
            "real = reader.read\n"
            "def read(path, rates):\n"
            f"{textwrap.indent(textwrap.dedent(body), '    ')}\n"
            "    yield from ()\n"
            "reader.read = read\n"
            "child.main()\n"
        )
        monkeypatch.setattr(isolated, "_COMMAND", [sys.executable, "-S", "-c", script])

    return put


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """Every process that is started."""
    started: list[subprocess.Popen[bytes]] = []

    class Noted(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self)

    monkeypatch.setattr(isolated.subprocess, "Popen", Noted)
    return started


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes the parent makes room for, each time that it reads."""
    asked: list[int] = []
    read = isolated._read

    def noted(pipe: Any, size: int) -> bytearray:
        asked.append(size)
        return read(pipe, size)

    monkeypatch.setattr(isolated, "_read", noted)
    return asked


def refused(path: Path) -> AudioError:
    with pytest.raises(AudioError) as caught:
        decode(path, rate=22050, channels=1)
    return caught.value


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for yet counts."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):  # before it was opened, or before it was read
        return True


@pytest.mark.parametrize("crash", ["ctypes.string_at(0)", "os.abort()"])
@pytest.mark.parametrize("after", [False, True], ids=["at once", "after some sound"])
def test_a_crash_is_a_damaged_file(
    crash: str,
    after: bool,
    source: Path,
    decoder: Decoder,
    children: list[subprocess.Popen[bytes]],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    body = f"os.write(2, b'heap corrupted at 0xbeef')\n{crash}"
    decoder(f"yield from real(path, rates)\n{body}" if after else body)
    error = refused(source)
    assert error.code == "undecodable"
    assert "beef" not in error.detail
    assert "heap corrupted at 0xbeef" in caplog.text
    assert capfd.readouterr() == ("", "")
    assert [child.returncode for child in children] == [-11 if "ctypes" in crash else -6]


def test_waiting_for_ever_is_given_up(
    source: Path,
    decoder: Decoder,
    children: list[subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(isolated, "_STALL_SECONDS", 1.5)
    decoder("yield from real(path, rates)\ntime.sleep(600)")
    assert refused(source).code == "too_complex"
    assert children[0].returncode == -9  # while it slept


def test_an_endless_loop_ends_with_its_processor_time(
    source: Path, decoder: Decoder, children: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolated, "_CPU_SECONDS", 1)
    decoder("while True: pass")
    assert refused(source).code == "too_complex"
    assert children[0].returncode in (-24, -9)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the address space")
@pytest.mark.parametrize(
    "body", ["bytearray(4 << 30)", "grown = []\nwhile True: grown.append(bytes(1 << 20))"]
)
def test_memory_is_limited(body: str, source: Path, decoder: Decoder) -> None:
    decoder(body)
    assert refused(source).code == "too_complex"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the address space")
def test_memory_is_limited_in_ffmpeg_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small m4a whose index claims 268 million entries, which FFmpeg makes room for at once."""
    path = write(tmp_path / "x", tones(1, RATE), RATE, codec="alac", sample_format="s16p", container="ipod")
    content = bytearray(path.read_bytes())
    count = content.index(b"stts") + 8
    content[count : count + 4] = struct.pack(">I", 1 << 28)
    path.write_bytes(content)
    assert refused(path).code == "too_complex"


def test_a_slow_consumer_is_not_a_slow_decoder(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "_PIPE_BYTES", 4096)
    now, n = time.monotonic, 0
    for index, block in enumerate(stream(source, rate=RATE, channels=2)):
        n += block.shape[1]
        if index == 0:
            monkeypatch.setattr(time, "monotonic", lambda: now() + 10 * isolated._STALL_SECONDS)
    assert n == 4 * RATE


def test_what_is_not_the_files_fault_is_no_audio_error(source: Path, decoder: Decoder) -> None:
    decoder("raise RuntimeError('a mistake of ours')")
    with pytest.raises(RuntimeError, match="status 1"):
        decode(source, rate=22050, channels=1)


BLOCK: dict[str, Any] = {"rate": 22050, "positions": ["FL", "FR"], "layout": ["FL", "FR"], "n": 4}


@pytest.mark.parametrize(
    "head",
    [
        {**BLOCK, "n": (1 << 16) + 1},
        {**BLOCK, "n": 1 << 40},
        {**BLOCK, "n": -1},
        {**BLOCK, "n": 0},
        {**BLOCK, "n": True},
        {**BLOCK, "n": 4.0},
        {**BLOCK, "n": "4"},
        {**BLOCK, "n": None},
        {**BLOCK, "rate": 44100},
        {**BLOCK, "rate": [22050]},
        {**BLOCK, "positions": ["FL"] * 9, "layout": ["FL"] * 9},
        {**BLOCK, "positions": ["FL"] * 10_000},
        {**BLOCK, "layout": ["FL", "FR"] * 5},
        {**BLOCK, "positions": [], "layout": []},
        {**BLOCK, "positions": 2},
        {**BLOCK, "positions": [["FL"], ["FR"]]},
        {**BLOCK, "positions": ["FL", "BL"]},
        {**BLOCK, "positions": ["FC"], "layout": ["FL", "FC"]},
        {"n": 4},
        {},
        [],
        "end",
        {"error": ["undecodable"]},
        {"error": ["no such code", "a sentence"]},
        {"error": [["undecodable"], "a sentence"]},
        {"error": ["undecodable", {"no": "sentence"}]},
        {"error": "undecodable"},
        {"unconfined": "again"},
    ],
    ids=str,
)
def test_what_no_sound_child_says_is_the_fault_of_its_file(
    head: Any,
    source: Path,
    sizes: list[int],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nor is anything allocated for it."""
    script = f"""if True:
        import json, struct, sys, time
        said = [{{"unconfined": "first"}}, json.loads({json.dumps(json.dumps(head))})]
        for text in map(json.dumps, said):
            sys.stdout.buffer.write(struct.pack("<I", len(text)) + text.encode())
        sys.stdout.buffer.write(bytes(1 << 20))
        sys.stdout.buffer.flush()
        time.sleep(60)
    """
    monkeypatch.setattr(isolated, "_COMMAND", [sys.executable, "-c", script])
    error = refused(source)
    assert (error.code, error.detail) == ("undecodable", isolated._CRASHED)
    assert "the decoding process said" in caplog.text
    assert max(sizes) <= isolated._HEAD_BYTES


@pytest.mark.parametrize("length", [(1 << 16) + 1, (1 << 32) - 1])
def test_no_room_is_made_for_a_head_that_is_too_long(
    length: int, source: Path, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = struct.pack("<I", length)
    script = f"import sys, time; sys.stdout.buffer.write({said!r}); sys.stdout.flush(); time.sleep(60)"
    monkeypatch.setattr(isolated, "_COMMAND", [sys.executable, "-c", script])
    assert refused(source).code == "undecodable"
    assert sizes == [4]


@pytest.mark.parametrize("text", ["[" * 60_000, "{", "\udc80", "1" * 5000])
def test_a_head_that_is_no_json_is_the_fault_of_its_file(
    text: str, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = text.encode(errors="surrogateescape")
    script = f"""if True:
        import struct, sys, time
        sys.stdout.buffer.write(struct.pack("<I", {len(data)}) + {data!r})
        sys.stdout.flush()
        time.sleep(60)
    """
    monkeypatch.setattr(isolated, "_COMMAND", [sys.executable, "-c", script])
    assert refused(source).code == "undecodable"


def test_what_libraries_print_does_no_harm(
    source: Path, decoder: Decoder, capfd: pytest.CaptureFixture[str]
) -> None:
    decoder("os.write(1, b'warning')\nos.write(2, bytes(1 << 15))\nyield from real(path, rates)")
    assert decode(source, rate=22050, channels=1).shape == (1, 4 * 22050)
    assert capfd.readouterr() == ("", "")


def test_the_child_gets_no_credentials(
    source: Path, decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    decoder("raise AudioError('undecodable', ' '.join(f'{k}={v}' for k, v in os.environ.items()))")
    told = refused(source).detail
    assert "PYTHONPATH=" in told
    assert "hush" not in told


def test_the_child_starts_without_numpy(source: Path, decoder: Decoder) -> None:
    decoder("yield from real(path, rates)\nraise AudioError('undecodable', str('numpy' in sys.modules))")
    assert refused(source).detail == "False"


def interrupted(path: Path) -> None:
    for _ in stream(path, rate=22050, channels=1):
        raise KeyboardInterrupt


def test_no_process_outlives_its_use(
    source: Path, decoder: Decoder, children: list[subprocess.Popen[bytes]]
) -> None:
    decode(source, rate=22050, channels=1)
    decoder("yield from real(path, rates)\ntime.sleep(600)")
    dropped = stream(source, rate=22050, channels=1)
    next(dropped)
    del dropped
    closed = stream(source, rate=22050, channels=1)
    next(closed)
    closed.close()
    with pytest.raises(KeyboardInterrupt):
        interrupted(source)
    assert len(children) == 4
    assert all(child.returncode is not None for child in children)  # ended, and waited for


def test_cancelling_an_analysis_ends_its_decoding(
    source: Path, decoder: Decoder, children: list[subprocess.Popen[bytes]]
) -> None:
    class Cancelled(Exception):
        pass

    def progress(done: float) -> None:
        raise Cancelled

    decoder("yield from real(path, rates)\ntime.sleep(600)")
    with pytest.raises(Cancelled):
        analyse(source, loading.load_embedder("builtin"), progress)
    assert [child.returncode for child in children] == [-9]


def test_the_child_ends_with_its_parent(source: Path) -> None:
    """Even with one that is killed while the decoder hangs."""
    script = (
        "import subprocess, sys; from pathlib import Path; from music.audio import isolated\n"
        "body = 'from music.audio import child, reader; import time\\n'\n"
        'body += \'def read(path, rates): open(path + ".reached", "w").close(); time.sleep(600)\\n\'\n'
        "body += 'reader.read = read\\nchild.main()'\n"
        "isolated._COMMAND = [sys.executable, '-S', '-c', body]\n"
        "class Told(subprocess.Popen):\n"
        "    def __init__(self, *a, **o):\n"
        "        super().__init__(*a, **o); print(self.pid, flush=True)\n"
        "subprocess.Popen = Told\n"
        "next(isolated.blocks(Path(sys.argv[1]), [22050]))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", script, str(source)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        eventually(source.with_name(f"{source.name}.reached").exists)
        assert not gone(pid)
        parent.kill()
    eventually(lambda: gone(pid))


def test_several_streams_at_once_are_what_each_is_alone(source: Path) -> None:
    wanted = [(48000, 8), (22050, 1), (48000, 1)]
    found: list[list[np.ndarray]] = [[], [], []]
    for which, block in streams(source, wanted):
        found[which].append(block)
    for (rate, channels), blocks in zip(wanted, found, strict=True):
        alone = np.concatenate(list(stream(source, rate=rate, channels=channels)), axis=1)
        assert np.array_equal(np.concatenate(blocks, axis=1), alone)
