"""`music demo`: from a track to new music and a picture, on a stack of its own."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import av
import pytest
from PIL import Image

from client.failure import Exit
from client.files import whole
from client.stack import ROOT


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "client.command", "demo", *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_a_track_becomes_music_and_a_picture_of_both(tmp_path: Path) -> None:
    done = demo("--duration", "2", "--seed", "7", "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    music, picture = (next((tmp_path / "out").glob(f"sample-*.{kind}")) for kind in ("wav", "png"))
    with av.open(str(music)) as container:
        assert container.duration == 2 * av.time_base
    with Image.open(picture) as image:
        assert image.size == (1300, 720)
    assert f"audio    {music}\npicture  {picture}\n" in done.stdout
    assert "mosaic, seed 7" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "exit", "message"),
    [
        (["--audio", "nowhere.mp3"], Exit.FILE, "error: there is no file nowhere.mp3\n"),
        (
            ["--out", str(ROOT / "Makefile")],
            Exit.FILE,
            f"error: {ROOT / 'Makefile'} cannot be written to: File exists\n",
        ),
        (
            ["--duration", "long"],
            Exit.USAGE,
            "error: Invalid value for '--duration': Input should be a valid number, unable to parse string "
            "as a number (`music demo --help` lists what there is)\n",
        ),
    ],
)
def test_what_cannot_be_is_one_clear_line(arguments: list[str], exit: Exit, message: str) -> None:
    done = demo(*arguments)
    assert (done.returncode, done.stderr) == (exit, message)


def log_named_in(line: str) -> Path:
    return Path(line.rpartition("; what the local stack said is in ")[2].strip())


def test_a_stack_that_does_not_start_is_one_clear_line_and_its_log(tmp_path: Path) -> None:
    done = demo("--profile", "Nonsense", "--out", str(tmp_path))
    assert done.returncode == Exit.FAILED
    (line,) = done.stderr.splitlines()
    assert "parameter Profile must look like" in line
    log = log_named_in(line)
    assert "parameter Profile must look like" in log.read_text()
    log.unlink()
    assert list(tmp_path.iterdir()) == []


def test_a_failed_run_names_its_log(tmp_path: Path) -> None:
    track = tmp_path / "no music.mp3"
    track.write_text("only words")
    done = demo("--audio", str(track), "--out", str(tmp_path / "out"))
    assert done.returncode == Exit.FAILED
    line = done.stderr.splitlines()[-1]
    assert "the file is not wav" in line
    log = log_named_in(line)
    assert "undecodable" in log.read_text()
    log.unlink()


def test_a_disk_that_fills_up_leaves_no_half_file(tmp_path: Path) -> None:
    music = tmp_path / "music.wav"
    music.write_bytes(b"made before")
    for path in (music, tmp_path / "other.wav"):
        with pytest.raises(OSError, match="No space left"), whole(path) as part:  # noqa: PT012
            part.write_bytes(b"half of")
            raise OSError(errno.ENOSPC, "No space left on device")
    assert [path.name for path in tmp_path.iterdir()] == ["music.wav"]
    assert music.read_bytes() == b"made before"
    with whole(music) as part:
        part.write_bytes(b"all of it")
    assert [path.name for path in tmp_path.iterdir()] == ["music.wav"]
    assert music.read_bytes() == b"all of it"
