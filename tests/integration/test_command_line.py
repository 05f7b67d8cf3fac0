"""`music` on a running deployment: what its parts promise each other, in one go."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from client.failure import Exit
from client.stack import ROOT
from tests.support import sound
from tests.support.client import Api


@pytest.fixture
def environment(api: Api) -> dict[str, str]:
    key = {"MUSIC_KEY": api.token} if api.token else {}
    return {**os.environ, "MUSIC_API": api.url, "PYTHONPATH": str(ROOT), **key}


def music(environment: dict[str, str], folder: Path, *arguments: str) -> str:
    """Run it in a folder, and return what it prints."""
    command = [sys.executable, "-m", "client.command", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == Exit.DONE, done.stderr
    return done.stdout


def tracks(api: Api) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = api.get("/api/audio", limit=100, **cursor).ok(200)
        found += page["items"]
        if page["cursor"] is None:
            return found
        cursor = {"cursor": page["cursor"]}


def test_from_a_file_to_a_file_and_back(api: Api, environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "my track.wav").write_bytes(sound.wav(sound.chords(8.0), 32000))
    wishes = ("--duration", "2", "--seed", "3", "-o", "like.flac")
    assert music(environment, tmp_path, "generate", "my track.wav", *wishes) == "like.flac\n"
    decoded = sound.decode((tmp_path / "like.flac").read_bytes())
    assert (decoded.codec, decoded.seconds) == ("flac", pytest.approx(2, abs=0.1))
    listed = json.loads(music(environment, tmp_path, "tracks", "--json"))["items"]
    track = next(item for item in listed if item["filename"] == "my track.wav")
    jobs = json.loads(music(environment, tmp_path, "jobs", "--json"))["items"]
    job = next(job for job in jobs if job.get("audio_id") == track["audio_id"])
    shown = music(environment, tmp_path, "show", job["generation_id"])
    assert "parameters.seed\t3\n" in shown
    assert "my track.wav" in music(environment, tmp_path, "show", track["audio_id"])
    music(environment, tmp_path, "similar", track["audio_id"], "-k", "3")
    music(environment, tmp_path, "download", job["generation_id"], "-o", "again.flac")
    assert (tmp_path / "again.flac").read_bytes() == (tmp_path / "like.flac").read_bytes()
    # The file is there: it is not sent again, and the same wishes make the same music.
    assert music(environment, tmp_path, "upload", "my track.wav").split("\t")[:2] == [
        track["audio_id"],
        "there",
    ]


def test_every_candidate_comes_in_any_format_and_what_was_made_is_a_source(
    api: Api, environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "track.wav").write_bytes(sound.wav(sound.chords(6.0), 32000))
    wishes = ("--duration", "2", "--candidates", "2", "--seed", "5", "-o", "like.wav", "--json")
    made = json.loads(music(environment, tmp_path, "generate", "track.wav", *wishes))
    other = 1 - made["chosen"]
    fetch = ("download", made["generation_id"])
    music(environment, tmp_path, *fetch, "--candidate", str(other), "-o", "other.ogg")
    music(environment, tmp_path, *fetch, "-o", "like.mp3")
    codecs = {name: sound.decode((tmp_path / name).read_bytes()).codec for name in ("other.ogg", "like.mp3")}
    assert codecs == {"other.ogg": "opus", "like.mp3": "mp3float"}
    again = ("generate", made["generation_id"], "--duration", "2", "--no-wait", "--json")
    sources = {json.loads(music(environment, tmp_path, *again))["audio_id"] for _ in range(2)}
    assert len(sources) == 1  # one copy is enough
    assert made["audio_id"] not in sources


def test_a_folder_that_is_interrupted_is_there_once_in_the_end(
    api: Api, environment: dict[str, str], tmp_path: Path
) -> None:
    songs = tmp_path / "songs"
    songs.mkdir()
    label = os.urandom(4).hex()
    for number in range(24):
        (songs / f"{label} {number}.wav").write_bytes(
            sound.wav(sound.noise(1.0, seed=int.from_bytes(os.urandom(4))), 22050)
        )
    command = [sys.executable, "-m", "client.command", "upload", str(songs), "--at-once", "2"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as upload:
        assert upload.stdout
        for _ in range(3):
            upload.stdout.readline()
        upload.send_signal(signal.SIGINT)
    assert upload.returncode == Exit.INTERRUPTED
    document = json.loads(music(environment, tmp_path, "upload", "songs", "--wait", "--json"))
    assert len(document["files"]) == 24
    own = [track for track in tracks(api) if track["filename"].startswith(label)]
    assert {track["audio_id"] for track in own} == {file["audio_id"] for file in document["files"]}
    assert {track["status"] for track in own} == {"ready"}
    assert len(own) == 24
    again = json.loads(music(environment, tmp_path, "upload", "songs", "--json"))
    assert {file["state"] for file in again["files"]} == {"there"}
