"""`music upload`: which files, each once, several at a time, and on from where it was."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from client import api as http
from client import files, jobs
from client.api import Api
from client.failure import Exit, Failure
from client.settings import Deployment as Deployed
from client.stack import ROOT
from tests.support.fake_api import Asked, Ended, FakeApi, Told, problem
from tests.support.stack import Stack
from tests.support.waiting import eventually

Music = Callable[..., Ended]


class Deployment:
    """What an upload does to a deployment: records by idempotency key, and the files that came.

    Attributes
    ----------
    stored : dict
        Content of each track by its id.
    hashes : bool
        Whether content that is there is recognised.
    """

    def __init__(self, api: FakeApi) -> None:
        self.api = api
        self.records: dict[str, dict[str, Any]] = {}
        self.by_key: dict[str, str] = {}
        self.stored: dict[str, bytes] = {}
        self.hashes = True
        self.lock = threading.Lock()
        self.stall: threading.Event | None = None  # what files wait for in the middle of their bytes
        self.stall_after = 0
        self.at_once = self.most_at_once = 0
        api.answers |= {"POST /api/upload": self.announce, "POST /bucket": self.store}

    def announce(self, asked: Asked) -> Told:
        with self.lock:
            body, key = asked.json, asked.headers["Idempotency-Key"]
            audio_id = self.by_key.get(key)
            if audio_id and self.records[audio_id]["status"] == "deleted":
                return problem(404, "not_found")
            if not audio_id and self.hashes:
                for known, content in self.stored.items():
                    if hashlib.sha256(content).hexdigest() == body["sha256"]:
                        return Told(200, self.records[known] | {"status": "uploaded"})
            if not audio_id:
                audio_id = f"01JZ8Q4W3N6V7X9Y2A5B8C{len(self.records):04d}"
                self.by_key[key] = audio_id
                links = {"self": f"/api/audio/{audio_id}"}
                record = {"audio_id": audio_id, "status": "awaiting_upload", "progress": 0.0, "links": links}
                self.records[audio_id] = {**record, "filename": body["filename"]}
                self.api.answers[f"GET /api/audio/{audio_id}"] = self.show(audio_id)
            record = self.records[audio_id]
            if record["status"] != "awaiting_upload":
                return Told(201, record | {"status": "uploaded"})
            upload = {"url": f"{self.api.url}/bucket", "fields": {"key": audio_id}}
            return Told(201, record | {"upload": upload})

    def show(self, audio_id: str) -> Callable[[Asked], Told]:
        return lambda asked: Told(200, self.records[audio_id])

    def store(self, asked: Asked) -> Told:
        with self.lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        if self.stall and len(self.stored) >= self.stall_after:
            self.stall.wait()
        audio_id = asked.body.partition(b'name="key"\r\n\r\n')[2].partition(b"\r\n")[0].decode()
        content = asked.body.partition(b'filename="audio"\r\n\r\n')[2].rpartition(b"\r\n--")[0]
        with self.lock:
            self.at_once -= 1
            self.stored[audio_id] = content
            self.records[audio_id]["status"] = "ready"
        return Told(204, b"")


@pytest.fixture
def remote(fake: FakeApi) -> Deployment:
    return Deployment(fake)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve songs, deep and shallow, and what is none."""
    songs = tmp_path / "songs"
    (songs / "deep/er").mkdir(parents=True)
    for number in range(12):
        place = (songs, songs / "deep", songs / "deep/er")[number % 3]
        (place / f"{number}.{['mp3', 'FLAC'][number % 2]}").write_bytes(b"song %d" % number)
    (songs / "cover.jpg").write_bytes(b"no song")
    (songs / ".hidden.mp3").write_bytes(b"no song")
    (songs / "around").symlink_to(songs)
    monkeypatch.chdir(tmp_path)
    return songs


def test_a_folder_is_uploaded_with_all_below_it(remote: Deployment, music: Music, folder: Path) -> None:
    ended = music("upload", "songs")
    assert ended.code == Exit.DONE
    rows = [line.split("\t") for line in ended.out.splitlines()]
    assert {state for _, state, _ in rows} == {"uploaded"}
    assert {Path(path).read_bytes() for _, _, path in rows} == set(remote.stored.values())
    assert set(remote.stored.values()) == {b"song %d" % number for number in range(12)}
    assert ended.err == "files left out by their names: 2\n"


def test_a_folder_that_cannot_be_read_is_told_before_anything_is_sent(
    remote: Deployment, music: Music, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = folder / "closed"
    closed.mkdir()
    scan = os.scandir

    def refuse(path: Any) -> Any:
        if Path(path) == closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    ended = music("upload", str(folder))
    assert ended.code == Exit.FILE
    assert ended.err == f"error: {closed} cannot be read: Permission denied\n"
    assert not remote.stored


def test_a_folder_without_audio_is_a_mistake(remote: Deployment, music: Music, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no song")
    ended = music("upload", str(tmp_path))
    assert ended.code == Exit.FILE
    assert ended.err.endswith(f"error: there is no audio file in {tmp_path}\n")


def test_what_is_there_is_not_sent_again(remote: Deployment, music: Music, folder: Path) -> None:
    assert music("upload", "songs").code == Exit.DONE
    posted = len(remote.api.asked)
    (folder / "0.mp3").rename(folder / "another name.mp3")
    rows = [line.split("\t") for line in music("upload", "songs").out.splitlines()]
    assert [state for _, state, _ in rows] == ["there"] * 12
    assert not any(asked.path == "/bucket" for asked in remote.api.asked[posted:])
    assert len(remote.records) == 12


def test_the_same_content_twice_is_sent_once(remote: Deployment, music: Music, folder: Path) -> None:
    remote.hashes = False  # it is not embedded yet
    for number in range(6):
        (folder / f"copy {number}.mp3").write_bytes(b"song 1")
    document = music("upload", "songs", "songs/deep/1.FLAC", "--json").json
    states = [file["state"] for file in document["files"]]
    assert (states.count("uploaded"), states.count("there")) == (12, 6)
    assert len(remote.records) == 12


def test_some_go_at_the_same_time_and_no_more(remote: Deployment, music: Music, folder: Path) -> None:
    stall = remote.stall = threading.Event()

    def let_go() -> None:
        eventually(lambda: remote.at_once == 3)
        stall.set()

    waiting = threading.Thread(target=let_go)
    waiting.start()
    assert music("upload", "songs", "--at-once", "3").code == Exit.DONE
    waiting.join()
    assert remote.most_at_once == 3


def test_an_upload_that_is_interrupted_goes_on(
    remote: Deployment, music: Music, folder: Path, process: Callable[..., subprocess.Popen[str]]
) -> None:
    remote.hashes = False
    remote.stall, remote.stall_after = threading.Event(), 5
    upload = process("upload", "songs", "--at-once", "2")
    assert upload.stdout
    first = [upload.stdout.readline() for _ in range(5)]
    eventually(lambda: remote.at_once == 2)
    upload.send_signal(signal.SIGINT)
    out, err = upload.communicate()
    assert upload.returncode == Exit.INTERRUPTED
    there = len(first) + len(out.splitlines())
    assert err.splitlines()[-2:] == [
        f"{there} of 12 files are there: the same command goes on",
        "error: interrupted",
    ]
    remote.stall.set()
    remote.stall = None
    ended = music("upload", "songs")
    assert ended.code == Exit.DONE
    assert len(ended.out.splitlines()) == 12
    assert len(remote.records) == 12  # those that had begun were not begun again
    assert sorted(remote.stored.values()) == sorted(b"song %d" % number for number in range(12))


@pytest.mark.parametrize("status", ["deleted", "failed"])
def test_a_track_that_is_gone_or_has_failed_is_a_new_one(
    remote: Deployment, music: Music, folder: Path, status: str
) -> None:
    remote.hashes = False
    for times in range(1, 4):
        ended = music("upload", "songs/0.mp3")
        assert (ended.code, ended.out.split("\t")[1]) == (Exit.DONE, "uploaded")
        assert len(remote.records) == times
        list(remote.records.values())[-1]["status"] = status


def test_files_that_fail_are_told_and_the_others_go_on(
    remote: Deployment, music: Music, folder: Path
) -> None:
    (folder / "0.mp3").write_bytes(b"")
    announce = remote.announce

    def vanishing(asked: Asked) -> Told:
        (folder / "deep/er/2.mp3").unlink(missing_ok=True)
        if asked.json["filename"] == "5.FLAC":  # a reason that names no file
            return problem(413, "too_large", "The largest file is 5 bytes.")
        return announce(asked)

    remote.api.answers["POST /api/upload"] = vanishing
    (folder / "deep/er/2.mp3").write_bytes(b"x" * 10)
    ended = music("upload", "songs", "--at-once", "1", "--json")
    assert ended.code == Exit.FAILED
    errors = {file["path"]: file["error"] for file in ended.json["files"] if file["state"] == "failed"}
    assert errors["songs/0.mp3"] == {"code": "file", "detail": "songs/0.mp3 is empty"}
    assert errors["songs/deep/er/2.mp3"]["detail"].endswith("cannot be read: No such file or directory")
    assert errors["songs/deep/er/5.FLAC"] == {"code": "too_large", "detail": "The largest file is 5 bytes."}
    assert len(errors) == 3
    assert "failed: songs/0.mp3 is empty\n" in ended.err
    assert "failed: songs/deep/er/5.FLAC: The largest file is 5 bytes.\n" in ended.err
    assert ended.err.endswith("error: 3 of 12 files failed\n")
    assert len(remote.stored) == 9


FULL = problem(429, "too_many_unfinished", "3 of your tracks are not embedded yet.")


def test_an_upload_waits_until_there_is_room(remote: Deployment, music: Music, folder: Path) -> None:
    refused: list[str] = []

    def filling(asked: Asked) -> Told:  # every file is refused more often than any other request is sent
        name = asked.json["filename"]
        if refused.count(name) < 10:
            refused.append(name)
            return FULL
        return remote.announce(asked)

    remote.api.answers |= {
        "POST /api/upload": filling,
        "GET /api/audio": Told(200, {"items": [], "cursor": None}),
        "GET /api/generation": Told(200, {"items": [], "cursor": None}),
    }
    ended = music("upload", "songs")
    assert ended.code == Exit.DONE
    assert len(refused) == 120
    assert set(remote.stored.values()) == {b"song %d" % number for number in range(12)}
    (line,) = [line for line in ended.err.splitlines() if "left out" not in line]
    assert line.startswith("3 of your tracks are not embedded yet. It goes on as soon as there is room")


def test_waiting_for_room_ends_where_nothing_gets_on(
    remote: Deployment, music: Music, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(jobs, "PATIENCE_SECONDS", 0.1)
    stuck = {"audio_id": "A", "status": "awaiting_upload", "progress": 0.0}
    remote.api.answers |= {
        "POST /api/upload": FULL,
        "GET /api/audio": Told(200, {"items": [stuck], "cursor": None}),
        "GET /api/generation": Told(200, {"items": [], "cursor": None}),
    }
    ended = music("upload", "songs", "--at-once", "12")
    assert ended.code == Exit.FAILED
    failed = [line for line in ended.err.splitlines() if line.startswith("failed: ")]
    paths = {str(path) for path in Path("songs").rglob("[0-9]*")}
    assert {line.split(": ")[1] for line in failed} == paths
    assert all("nothing of it has got on" in line for line in failed)


def test_waiting_for_room_is_interrupted(
    remote: Deployment, folder: Path, process: Callable[..., subprocess.Popen[str]]
) -> None:
    remote.api.answers |= {
        "POST /api/upload": FULL,
        "GET /api/audio": Told(200, {"items": [], "cursor": None}),
        "GET /api/generation": Told(200, {"items": [], "cursor": None}),
    }
    upload = process("upload", "songs/0.mp3")
    assert upload.stderr
    assert "It goes on as soon as there is room" in upload.stderr.readline()
    upload.send_signal(signal.SIGINT)
    upload.communicate()
    assert upload.returncode == Exit.INTERRUPTED
    assert remote.stored == {}


@pytest.mark.parametrize("what", ["status", "progress", "sent"])
def test_whatever_gets_on_keeps_an_upload_waiting(fake: FakeApi, what: str) -> None:
    api = Api(Deployed(fake.url, None))
    record = {"audio_id": "A", "status": "embedding", "progress": 0.0}
    fake.answers |= {
        "GET /api/audio": lambda asked: Told(200, {"items": [record], "cursor": None}),
        "GET /api/generation": Told(200, {"items": [], "cursor": None}),
    }
    said: list[str] = []
    now = 1e6
    clock = SimpleNamespace(monotonic=lambda: now, sleep=lambda seconds: None)
    full = Failure(Exit.REFUSED, "Full.", http.FULL, 15.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "time", clock)
        room = jobs.Room(api, said.append)
        for number in range(1, 20):  # far longer than anybody waits for nothing
            now += jobs.PATIENCE_SECONDS * 0.9
            if what == "sent":
                api.sent_at = now
            else:
                record[what] = number / 20 if what == "progress" else f"status {number}"
            room.wait(full)
        now += jobs.PATIENCE_SECONDS * 0.9
        room.wait(full)
        now += jobs.PATIENCE_SECONDS * 0.2
        with pytest.raises(Failure, match="nothing of it has got on for 15 minutes"):
            room.wait(full)
    assert len(said) == 1


def test_what_no_file_can_escape_ends_all_at_once(remote: Deployment, music: Music, folder: Path) -> None:
    remote.api.answers["POST /api/upload"] = problem(401, "unauthorized")
    ended = music("upload", "songs", "--at-once", "1")
    assert ended.code == Exit.KEY
    assert len(remote.api.asked) < 12


def test_a_file_that_changes_while_it_is_sent_is_not_stored(
    remote: Deployment, music: Music, folder: Path
) -> None:
    path = folder / "0.mp3"
    path.write_bytes(b"x" * 1_000_000)
    announce = remote.announce

    def shortening(asked: Asked) -> Told:
        path.write_bytes(b"x" * 100_000)
        return announce(asked)

    remote.api.answers["POST /api/upload"] = shortening
    ended = music("upload", "songs/0.mp3")
    assert (ended.code, ended.error) == (
        Exit.FILE,
        "songs/0.mp3 became shorter while it was sent: try again",
    )
    assert remote.stored == {}


def test_a_bucket_that_refuses_is_one_line(remote: Deployment, music: Music, folder: Path) -> None:
    body = b"<Error><Code>EntityTooLarge</Code></Error>"
    remote.api.answers["POST /bucket"] = Told(400, body, {"Content-Type": "application/xml"})
    ended = music("upload", "songs/0.mp3")
    assert (ended.code, ended.error) == (Exit.REFUSED, "the bucket refuses songs/0.mp3: EntityTooLarge")


def test_a_bucket_that_stumbles_is_asked_again(remote: Deployment, music: Music, folder: Path) -> None:
    tries: list[Asked] = []

    def stumbling(asked: Asked) -> Told:
        tries.append(asked)
        return remote.store(asked) if len(tries) == 3 else Told(503, b"")

    remote.api.answers["POST /bucket"] = stumbling
    assert music("upload", "songs/0.mp3").code == Exit.DONE
    assert list(remote.stored.values()) == [b"song 0"]
    assert len(remote.records) == 1


def test_waiting_tells_which_could_not_be_embedded(remote: Deployment, music: Music, folder: Path) -> None:
    store = remote.store

    def judging(asked: Asked) -> Told:
        told = store(asked)
        for audio_id, content in remote.stored.items():
            if content == b"song 3":
                error = {"code": "undecodable", "detail": "This is no music."}
                remote.records[audio_id] |= {"status": "failed", "error": error}
        return told

    remote.api.answers["POST /bucket"] = judging
    ended = music("upload", "songs", "--wait")
    assert ended.code == Exit.FAILED
    assert "failed: songs/3.FLAC: This is no music.\n" in ended.err
    assert ended.err.endswith("error: 1 of 12 files failed\n")


def test_names_that_are_no_text_are_sent(remote: Deployment, music: Music, folder: Path) -> None:
    path = folder / "deep" / "K\udcf6ln.mp3"
    path.write_bytes(b"song of a name")
    assert music("upload", str(path)).code == Exit.DONE
    (record,) = remote.records.values()
    assert record["filename"] == "K\ufffdln.mp3"


def limited(remote: Deployment, most: int) -> None:
    remote.api.answers["GET /api/profile"] = Told(200, {"limits": {"upload_bytes": most}})


@pytest.mark.parametrize("content", [b"", b"song of a pipe", bytes(range(256)) * 20_000])
def test_a_pipe_is_read_once_and_sent(
    remote: Deployment, process: Callable[..., subprocess.Popen[bytes]], content: bytes
) -> None:
    limited(remote, len(content))
    upload = process("upload", "/dev/stdin", stdin=subprocess.PIPE, text=False)
    out, err = upload.communicate(content)
    if not content:
        assert (upload.returncode, err) == (Exit.FILE, b"error: /dev/stdin is empty\n")
        return
    assert upload.returncode == Exit.DONE
    assert out.split(b"\t")[1:] == [b"uploaded", b"/dev/stdin\n"]
    assert list(remote.stored.values()) == [content]
    assert [record["filename"] for record in remote.records.values()] == ["stdin"]


def test_a_named_pipe_is_sent_under_its_name(
    remote: Deployment, process: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    limited(remote, 100)
    pipe = tmp_path / "song.wav"
    os.mkfifo(pipe)
    upload = process("upload", str(pipe))
    pipe.write_bytes(b"song of a pipe")
    upload.communicate()
    assert upload.returncode == Exit.DONE
    assert list(remote.stored.values()) == [b"song of a pipe"]
    assert [record["filename"] for record in remote.records.values()] == ["song.wav"]


@pytest.mark.parametrize("command", ["upload", "generate"])
def test_of_what_never_ends_no_more_is_read_than_can_be_uploaded(
    remote: Deployment, music: Music, command: str
) -> None:
    limited(remote, 5_000_000)
    ended = music(command, "/dev/zero")
    assert (ended.code, ended.error) == (
        Exit.REFUSED,
        "/dev/zero has more than 5000000 bytes, the largest upload",
    )
    assert remote.records == {}


def test_a_pipe_that_nobody_writes_to_is_interrupted(
    remote: Deployment, process: Callable[..., subprocess.Popen[str]]
) -> None:
    limited(remote, 100)
    upload = process("upload", "/dev/stdin", stdin=subprocess.PIPE)
    eventually(lambda: any(asked.path == "/api/profile" for asked in remote.api.asked))
    upload.send_signal(signal.SIGINT)
    assert upload.wait() == Exit.INTERRUPTED  # its standard input is open still


def test_the_pipes_of_a_folder_are_left_out(remote: Deployment, music: Music, folder: Path) -> None:
    os.mkfifo(folder / "pipe.wav")
    ended = music("upload", "songs")
    assert ended.code == Exit.DONE
    assert len(remote.stored) == 12
    assert ended.err == "files left out by their names: 3\n"


@pytest.mark.parametrize("command", ["upload", "generate"])
def test_a_name_too_long_for_a_file_is_one_line(remote: Deployment, music: Music, command: str) -> None:
    ended = music(command, "n" * 300)
    assert ended.code == Exit.FILE
    assert "File name too long" in ended.error


def test_the_files_of_a_folder_are_of_every_kind_that_is_taken(stack: Stack) -> None:
    page = (ROOT / "docs/files.md").read_text("utf-8")
    table = page.partition("<!-- kinds")[2].partition("<!-- end of kinds -->")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[3:]]
    taken = {re.split(r"[ ,]", row[0])[0] for row in rows if not row[-1].startswith("refused")}
    refused = {re.split(r"[ ,]", row[0])[0] for row in rows} - taken
    assert {"wav", "mp2", "mov", "mka"} <= taken <= files.AUDIO
    assert refused == {"caf", "au"}
    assert not refused & files.AUDIO
    (films,) = re.findall(r"The sound of a film in ([a-z0-9, ]+) is taken", page)
    assert set(re.split(r", | or ", films)) <= files.AUDIO
    assert {"m4b", "w64"} <= files.AUDIO  # m4a of a book, and Wave64
    assert set(stack.app("upload").BY_EXTENSION) <= files.AUDIO


def test_the_page_knows_the_same_endings() -> None:
    library = (Path(__file__).parents[3] / "functions/api/web/library.js").read_text("utf-8")
    (endings,) = re.findall(r'const ENDINGS =\s+"([a-z0-9 ]+)"', library)
    assert endings.split() == sorted(files.AUDIO)


def test_the_endings_of_the_files_of_a_folder_are_documented() -> None:
    page = (ROOT / "docs/command-line.md").read_text("utf-8")
    (listed,) = re.findall(r"files of these endings are:([^:]+?)\.\s+Hidden", page)
    assert re.findall(r"`\.(\w+)`", listed) == sorted(files.AUDIO)


def test_a_folders_files_are_those_that_can_be_named_one_by_one(
    remote: Deployment, music: Music, folder: Path
) -> None:
    for number, ending in enumerate(sorted(files.AUDIO)):
        (folder / f"kind.{ending.upper() if number % 2 else ending}").write_bytes(ending.encode())
    assert music("upload", "songs").code == Exit.DONE
    assert {ending.encode() for ending in files.AUDIO} <= set(remote.stored.values())


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    music_file = tmp_path / "music.wav"
    music_file.write_bytes(b"made before")
    with pytest.raises(ZeroDivisionError), files.whole(music_file) as part:  # noqa: PT012
        part.write_bytes(b"half of")
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == ["music.wav"]
    assert music_file.read_bytes() == b"made before"
