"""`music`: what each command asks of the API and prints, how it ends, and what it leaves behind."""

from __future__ import annotations

import os
import pty
import re
import resource
import select
import signal
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import typer

from backend.storage import content_disposition
from client import command, fields, files, settings
from client.failure import Exit
from client.stack import ROOT
from tests.support.fake_api import Asked, Ended, FakeApi, Told, problem, serving
from tests.support.waiting import eventually

Music = Callable[..., Ended]
Process = Callable[..., "subprocess.Popen[str]"]

AUDIO, OTHER, GENERATION = (f"01JZ8Q4W3N6V7X9Y2A5B8C1D4{end}" for end in "EFG")
FEATURES = {
    "duration": 183.2,
    "tempo": 117.5,
    "key": "D",
    "mode": "minor",
    "beats": [0.1 * n for n in range(300)],
}
TRACK = {
    "audio_id": AUDIO,
    "status": "ready",
    "filename": "a.mp3",
    "progress": 1.0,
    "features": FEATURES,
    "tags": ["fast", "minor"],
    "links": {"self": f"/api/audio/{AUDIO}"},
}
MADE = {
    "generation_id": GENERATION,
    "audio_id": AUDIO,
    "status": "succeeded",
    "progress": 1.0,
    "seed": 7,
    "similarity": {"embedding": 0.81, "chroma": 0.9, "tempo": None},
    "parameters": {"format": "wav"},
    "links": {"self": f"/api/generation/{GENERATION}", "download": f"/api/download/{GENERATION}"},
}
MADE_OF = {"wav", "wave", "flac", "mp3", "ogg", "oga", "opus"}
"""Endings of the formats that music is made in."""
SOUND = bytes(range(256)) * 1000
FILE = Told(
    200, SOUND, {"Content-Type": "audio/wav", "Content-Disposition": 'attachment; filename="a-D4G.wav"'}
)


def commands() -> list[tuple[str, Any]]:
    """All commands by their names, those of `music keys` too."""
    group = typer.main.get_group(command.app)
    found: list[tuple[str, Any]] = []
    for name, known in group.commands.items():
        inner = getattr(known, "commands", None)
        found += [(f"{name} {one}", of) for one, of in inner.items()] if inner else [(name, known)]
    return found


def arguments_of(known: Any) -> list[Any]:
    """What a command takes without an option's name before it."""
    return [parameter for parameter in known.params if parameter.param_type_name == "argument"]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def made(fake: FakeApi) -> FakeApi:
    """An API with a track and a finished generation."""
    fake.answers |= {
        f"GET /api/audio/{AUDIO}": Told(200, TRACK),
        f"POST /api/generate/{AUDIO}": Told(202, MADE | {"status": "queued", "progress": 0.0}),
        f"GET /api/generation/{GENERATION}": Told(200, MADE),
        f"GET /api/download/{GENERATION}": FILE,
        "GET /api/audio": Told(200, {"items": [TRACK], "cursor": None}),
        "GET /api/generation": Told(200, {"items": [MADE], "cursor": None}),
    }
    return fake


class TestDeployment:
    """Which deployment, and which key."""

    def config(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "config/music/config.toml"
        path.parent.mkdir(parents=True)
        path.write_text(text)
        assert settings.config_path() == path

    def key_sent(self, fake: FakeApi) -> str | None:
        return fake.asked[-1].headers.get("Authorization")

    def test_options_go_before_the_environment_and_that_before_the_file(
        self, made: FakeApi, music: Music, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.config(tmp_path, f'api = "{made.url}/"\nkey = "of.file"\n')
        assert music("tracks", api=None).code == Exit.DONE
        assert self.key_sent(made) == "Bearer of.file"
        monkeypatch.setenv("MUSIC_KEY", "of.environment")
        assert music("tracks", api=None).code == Exit.DONE
        assert self.key_sent(made) == "Bearer of.environment"
        for arguments in (["--key", "of.option", "tracks"], ["tracks", "--key", "of.option"]):
            assert music(*arguments, api=None).code == Exit.DONE
            assert self.key_sent(made) == "Bearer of.option"
        monkeypatch.setenv("MUSIC_API", "http://127.0.0.1:9")
        assert music("tracks", api=None).code == Exit.UNREACHABLE
        assert music("tracks", "--api", made.url, api=None).code == Exit.DONE

    def test_the_files_key_goes_to_the_files_api_alone(
        self, made: FakeApi, music: Music, tmp_path: Path
    ) -> None:
        self.config(tmp_path, 'api = "https://music.example"\nkey = "of.file"\n')
        assert music("tracks").code == Exit.DONE
        assert self.key_sent(made) is None

    @pytest.mark.parametrize(
        ("text", "line"),
        [
            ("api = http", "is no TOML"),
            ('url = "http://x"', "url is not known there"),
            ("key = 5", "key is not known there"),
            ('api = "ftp://x"', "is no address of an API"),
        ],
    )
    def test_a_file_that_cannot_be_read_is_one_line(
        self, music: Music, tmp_path: Path, text: str, line: str
    ) -> None:
        self.config(tmp_path, text)
        ended = music("tracks", api=None)
        assert ended.code == Exit.USAGE
        assert line in ended.error

    def test_links_are_followed_below_a_stage(self, made: FakeApi, music: Music) -> None:
        for name, told in list(made.answers.items()):
            made.answers[name.replace("/api/", "/dev/api/")] = told
        links = {name: f"/dev{link}" for name, link in MADE["links"].items()}  # type: ignore[attr-defined]
        made.answers[f"GET /dev/api/generation/{GENERATION}"] = Told(200, MADE | {"links": links})
        assert music("download", GENERATION, api=f"{made.url}/dev").code == Exit.DONE
        assert {asked.path.split("/")[1] for asked in made.asked} == {"dev"}


class TestErrors:
    """Whatever goes wrong is one line that says what to do, and a code of its own."""

    @pytest.mark.parametrize(
        ("told", "code", "line"),
        [
            (problem(401, "unauthorized"), Exit.KEY, "a key is needed there: give one with --key"),
            (Told(403, b"{}"), Exit.KEY, "a key is needed"),
            (problem(404, "not_found"), Exit.NOT_FOUND, "`music tracks`"),
            (problem(410, "expired", "It has expired."), Exit.NOT_FOUND, "It has expired."),
            (problem(422, "invalid_parameter", "Too big", field="k"), Exit.REFUSED, "k: Too big"),
            (
                problem(
                    429,
                    "limit",
                    "Enough for today.",
                ),
                Exit.REFUSED,
                "Enough for today.",
            ),
            (problem(500, "internal_error", "Our mistake."), Exit.UNREACHABLE, "Our mistake."),
            (Told(503, b"<html>"), Exit.UNREACHABLE, "answers 503"),
            (Told(418, b"<html>"), Exit.UNREACHABLE, "is no music generation backend"),
            (Told(501, b"<html>"), Exit.UNREACHABLE, "is no music generation backend"),
            (Told(200, b"<html>"), Exit.UNREACHABLE, "is no music generation backend"),
        ],
    )
    def test_of_the_api(self, fake: FakeApi, music: Music, told: Told, code: Exit, line: str) -> None:
        fake.answers[f"GET /api/audio/{AUDIO}"] = fake.answers[f"GET /api/generation/{AUDIO}"] = told
        ended = music("show", AUDIO)
        assert (ended.code, ended.out) == (code, "")
        assert line in ended.error

    def test_of_a_key_that_is_given(self, fake: FakeApi, music: Music) -> None:
        fake.answers["GET /api/audio"] = problem(403, "access_denied")
        ended = music("tracks", "--key", "wrong.key")
        assert (ended.code, "this key is not valid there" in ended.error) == (Exit.KEY, True)
        assert "wrong.key" not in ended.error
        assert music("tracks", "--key", "no\nkey").code == Exit.KEY

    def test_of_no_api(self, music: Music) -> None:
        ended = music("tracks", api="http://127.0.0.1:9")
        assert ended.code == Exit.UNREACHABLE
        assert "no API answers at http://127.0.0.1:9" in ended.error
        assert "`music serve`" in ended.error

    @pytest.mark.parametrize(
        "arguments",
        [
            ["nonsense"],
            ["show"],
            ["similar", AUDIO, "-k", "many"],
            ["similar", AUDIO, "-k", "101"],
            ["tracks", "--api", "127.0.0.1:8000"],
            ["generate", AUDIO, "--duration", "0.5"],
            ["generate", AUDIO, "--mode", "loud"],
            ["generate", AUDIO, "--format", "wav", "-o", "like.mp3"],
            ["download", GENERATION, "-o", "-", "--json"],
            ["download", GENERATION, "--format", "midi"],
            ["download", GENERATION, "--format", "mp3", "-o", "like.wav"],
            *(
                [name, AUDIO, "-o", f"like.{ending}", *more]
                for name in ("generate", "download")
                for ending, more in (
                    *((ending, []) for ending in sorted({*files.AUDIO, "xyz", "M4A"} - MADE_OF)),
                    *((ending, ["--format", "flac"]) for ending in sorted(files.AUDIO - {"flac"})),
                )
            ),
            ["keys", "create"],
            ["redrive", "--stack", "a", "--endpoint-url", "b"],
        ],
    )
    def test_of_usage(self, fake: FakeApi, music: Music, arguments: list[str]) -> None:
        ended = music(*arguments)
        assert ended.code == Exit.USAGE
        assert ended.error
        assert fake.asked == []

    @pytest.mark.parametrize("empty", ["", " ", "\t\n"])
    @pytest.mark.parametrize("name", [name for name, known in commands() if arguments_of(known)])
    def test_of_an_argument_that_is_empty(self, fake: FakeApi, music: Music, name: str, empty: str) -> None:
        (argument,) = arguments_of(dict(commands())[name])
        for given in ([empty], *([[AUDIO, empty]] if argument.nargs == -1 else [])):
            ended = music(*name.split(), *given)
            assert ended.code == Exit.USAGE
            assert "it is empty" in ended.error
        assert fake.asked == []

    @pytest.mark.parametrize(
        ("arguments", "line"),
        [
            (["upload", "nothing.mp3"], "there is no file nothing.mp3"),
            (["generate", "nothing.mp3"], "there is no file nothing.mp3"),
            (["generate", AUDIO, "-o", "nowhere/like.wav"], "there is no folder nowhere"),
            (["download", GENERATION, "-o", "nowhere/like.wav"], "there is no folder nowhere"),
        ],
    )
    def test_of_files_are_found_before_anything_is_asked(
        self, fake: FakeApi, music: Music, arguments: list[str], line: str
    ) -> None:
        ended = music(*arguments)
        assert ended.code == Exit.FILE
        assert line in ended.error
        assert fake.asked == []

    def test_of_music_itself_are_no_traceback(self, music: Music, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(*_: Any) -> None:
            raise ZeroDivisionError("of nothing")

        monkeypatch.setattr(settings, "deployment", broken)
        ended = music("tracks")
        assert ended.code == Exit.FAILED
        assert "ZeroDivisionError: of nothing" in ended.error
        monkeypatch.setenv("MUSIC_DEBUG", "1")
        with pytest.raises(ZeroDivisionError):
            music("tracks")

    def test_every_code_is_documented(self) -> None:
        page = (ROOT / "docs/command-line.md").read_text("utf-8")
        table = page.partition("## Exit codes")[2]
        documented = {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
        assert documented == {int(code) for code in Exit}


class TestRequests:
    """A request that may well succeed is sent again, and means the same then."""

    def test_is_sent_again_under_the_same_key(self, made: FakeApi, music: Music) -> None:
        accepted = made.answers[f"POST /api/generate/{AUDIO}"]
        assert isinstance(accepted, Told)
        busy = problem(429, "too_many", "Slowly.")
        made.answers[f"POST /api/generate/{AUDIO}"] = [Told(503, b""), busy, accepted]
        assert music("generate", AUDIO, "--no-wait").out == f"{GENERATION}\n"
        keys = [asked.headers["Idempotency-Key"] for asked in made.asked if asked.method == "POST"]
        assert len(keys) == 3
        assert len(set(keys)) == 1

    def test_waits_for_room_for_its_job(self, made: FakeApi, music: Music) -> None:
        full = problem(429, "too_many_unfinished", "3 of your generations are not finished yet.")
        accepted = made.answers[f"POST /api/generate/{AUDIO}"]
        assert isinstance(accepted, Told)
        made.answers[f"POST /api/generate/{AUDIO}"] = [full] * 10 + [accepted]
        ended = music("generate", AUDIO, "--no-wait")
        assert (ended.code, ended.out) == (Exit.DONE, f"{GENERATION}\n")
        assert ended.err.count("as soon as there is room") == 1
        keys = {asked.headers["Idempotency-Key"] for asked in made.asked if asked.method == "POST"}
        assert len(keys) == 1

    def test_is_not_sent_again_where_that_takes_long(self, made: FakeApi, music: Music) -> None:
        limit = problem(429, "limit", "Enough for today.")
        made.answers["GET /api/audio"] = Told(429, limit.body, {"Retry-After": "3600"})
        assert music("tracks").code == Exit.REFUSED
        assert len(made.asked) == 1

    def test_of_the_bucket_carries_no_key(self, made: FakeApi, music: Music) -> None:
        with serving() as bucket:
            bucket.answers["GET /file"] = FILE
            made.answers[f"GET /api/download/{GENERATION}"] = Told(
                302, b"", {"Location": f"{bucket.url}/file"}
            )
            assert music("download", GENERATION, "--key", "of.me").code == Exit.DONE
            assert "Authorization" not in bucket.asked[0].headers
        assert Path("a-D4G.wav").read_bytes() == SOUND
        assert all(asked.headers["Authorization"] == "Bearer of.me" for asked in made.asked)


class TestGenerate:
    """`music generate`."""

    def test_from_file_to_file(self, made: FakeApi, music: Music) -> None:
        Path("track.mp3").write_bytes(b"music")
        fields = {"key": "uploads/x", "policy": "p"}
        upload = {"url": f"{made.url}/bucket", "fields": fields, "expires_at": ""}
        made.answers["POST /api/upload"] = Told(201, {**TRACK, "status": "awaiting_upload", "upload": upload})
        made.answers["POST /bucket"] = Told(204, b"")
        ended = music("generate", "track.mp3", "-o", "like.wav", "--seed", "7")
        assert (ended.code, ended.out) == (Exit.DONE, "like.wav\n")
        assert Path("like.wav").read_bytes() == SOUND
        assert posted(made) == {"seed": 7, "format": "wav"}
        (stored,) = [asked for asked in made.asked if asked.path == "/bucket"]
        assert stored.body.index(b'name="key"') < stored.body.index(b'name="file"')
        assert b"\r\n\r\nmusic\r\n--" in stored.body

    def test_has_every_field_of_the_contract_as_an_option(self, made: FakeApi, music: Music) -> None:
        known = fields.fields()
        properties = fields.contract()["components"]["schemas"]["GenerateRequest"]["properties"]
        assert list(dict.fromkeys(field.path[0] for field in known)) == list(properties)
        shown = music("generate", "--help").out
        arguments: list[str] = []
        expected: dict[str, Any] = {}
        for field in known:
            assert field.option in shown
            assert field.description
            given, value = example(field)
            arguments += [field.option] if given is None else [field.option, given]
            place = expected
            for name in field.path[:-1]:
                place = place.setdefault(name, {})
            place[field.path[-1]] = value
        assert music("generate", AUDIO, "--no-wait", *arguments).code == Exit.DONE
        assert made.asked[-1].json == expected

    def test_sends_nothing_that_was_not_given(self, made: FakeApi, music: Music) -> None:
        assert music("generate", AUDIO, "--no-wait").code == Exit.DONE
        assert made.asked[-1].json == {}

    def test_of_what_was_made_is_made_of_a_copy(self, made: FakeApi, music: Music) -> None:
        made.answers["POST /api/audio"] = Told(201, TRACK)
        assert music("generate", GENERATION, "--no-wait").code == Exit.DONE
        assert posted(made, "/api/audio") == {"generation_id": GENERATION}
        assert posted(made) == {}

    @pytest.mark.parametrize("chosen", [0, 1])
    def test_of_what_was_made_is_made_of_a_copy_that_is_there(
        self, made: FakeApi, music: Music, chosen: int
    ) -> None:
        """Of what is chosen now: the first copy was deleted, the second is of another candidate."""
        another = AUDIO[:-1] + "9"
        for candidate, audio_id in ((1 - chosen, another), (chosen, AUDIO)):
            track = TRACK | {"audio_id": audio_id, "made_from": {"candidate": candidate}}
            made.answers[f"GET /api/audio/{audio_id}"] = Told(200, track)
        copied = MADE | {"chosen": chosen, "copied_to": [OTHER, another, AUDIO]}
        made.answers[f"GET /api/generation/{GENERATION}"] = Told(200, copied)
        assert music("generate", GENERATION, "--no-wait").code == Exit.DONE
        assert [asked.path for asked in made.asked if asked.method == "POST"] == [f"/api/generate/{AUDIO}"]

    def test_takes_a_key_in_flats(self, made: FakeApi, music: Music) -> None:
        assert music("generate", AUDIO, "--no-wait", "--in-key", "Bb major").code == Exit.DONE
        assert posted(made) == {"key": "Bb major"}
        assert music("generate", AUDIO, "--no-wait", "--in-key", "H major").code == Exit.USAGE

    def test_that_fetches_no_file_takes_no_name_for_one(self, made: FakeApi, music: Music) -> None:
        ended = music("generate", AUDIO, "--no-wait", "-o", "like.wav")
        assert ended.code == Exit.USAGE
        assert "music download" in ended.err
        assert made.asked == []

    @pytest.mark.parametrize(
        ("number", "code", "line"),
        [(signal.SIGINT, Exit.INTERRUPTED, "interrupted"), (signal.SIGTERM, Exit.TERMINATED, "terminated")],
    )
    def test_that_is_ended_says_how_its_music_is_had(
        self, made: FakeApi, process: Process, number: signal.Signals, code: Exit, line: str
    ) -> None:
        running = MADE | {"status": "running", "progress": 0.2}
        made.answers[f"GET /api/generation/{GENERATION}"] = Told(200, running)
        done = process("generate", AUDIO)
        eventually(lambda: [asked for asked in made.asked if asked.path == f"/api/generation/{GENERATION}"])
        done.send_signal(number)
        out, err = done.communicate()
        assert (done.returncode, out) == (code, "")
        assert f"it goes on: `music download {GENERATION} --wait`" in err
        assert err.endswith(f"error: {line}\n")

    @pytest.mark.parametrize(
        ("out", "format_"),
        [("like.flac", "flac"), ("LIKE.FLAC", "flac"), ("like.opus", "ogg"), ("v1.flac/", None), ("a", None)],
    )
    def test_takes_the_format_from_the_file(
        self, made: FakeApi, music: Music, out: str, format_: str | None
    ) -> None:
        assert music("generate", AUDIO, "-o", out).code == Exit.DONE
        assert posted(made) == ({"format": format_} if format_ else {})

    def test_without_a_name_the_deployment_names_the_file(self, made: FakeApi, music: Music) -> None:
        assert music("generate", AUDIO).out == "a-D4G.wav\n"
        ended = music("generate", AUDIO)  # what the deployment calls it is there
        assert ended.code == Exit.FILE
        assert "a-D4G.wav is there already: --force replaces it" in ended.err
        assert f"`music download {GENERATION} --wait`" in ended.err
        Path("folder").mkdir()
        assert music("generate", AUDIO, "-o", "folder").out == "folder/a-D4G.wav\n"
        assert Path("folder/a-D4G.wav").read_bytes() == SOUND

    @pytest.mark.parametrize(
        ("disposition", "name"),
        [
            ('filename="../../evil.wav"', "evil.wav"),
            ("filename*=UTF-8''..%2F..%2Fevil.wav", "evil.wav"),
            ('filename="..\\\\..\\\\evil.wav"', "evil.wav"),
            ("filename*=UTF-8''%2Ebashrc", "bashrc"),
            ("filename*=UTF-8''a%0A%1B%5B1m%E2%80%AEb.wav", "a__[1m_b.wav"),
            ("filename*=UTF-8''%2E%2E", "music.wav"),
            ("inline", "music.wav"),
            ("filename*=UTF-8''K%F6ln.wav", "K\ufffdln.wav"),
            ("filename*=unknown''K%C3%B6ln.wav", "K\xc3\xb6ln.wav"),
            ("FileName*=utf-8'en'K%C3%B6ln.wav; filename=K_ln.wav", "K\xf6ln.wav"),
            ("filename*=UTF-8''" + quote("春" * 200) + ".wav", "春" * 83 + ".wav"),
            ('filename="a.' + "b" * 400 + '"', "a." + "b" * 253),
        ],
    )
    def test_a_name_of_the_deployment_is_a_name_in_its_folder(
        self, made: FakeApi, music: Music, disposition: str, name: str
    ) -> None:
        headers = {"Content-Disposition": f"attachment; {disposition}"}
        made.answers[f"GET /api/download/{GENERATION}"] = Told(200, SOUND, headers)
        assert music("generate", AUDIO).code == Exit.DONE
        assert [path.name for path in Path().iterdir()] == [name]
        assert len(os.fsencode(name)) <= 255

    @pytest.mark.parametrize(
        "name", ["Frühling – 春の歌.wav", "a-D4G.wav", '100 % "live".ogg', "🎵.mp3", "e\u0301.flac"]
    )
    def test_a_name_in_any_script_stays_as_the_deployment_sends_it(
        self, made: FakeApi, music: Music, name: str
    ) -> None:
        headers = {"Content-Disposition": content_disposition(name)}
        made.answers[f"GET /api/download/{GENERATION}"] = Told(200, SOUND, headers)
        assert music("generate", AUDIO).out == f"{name}\n"
        assert Path(name).read_bytes() == SOUND

    def test_in_json_is_the_record_and_the_file(self, made: FakeApi, music: Music) -> None:
        assert music("generate", AUDIO, "-o", "like.wav", "--json").json == MADE | {"file": "like.wav"}
        assert music("--json", "generate", AUDIO, "--no-wait").json["status"] == "queued"

    def test_of_a_job_that_fails_is_its_reason(self, made: FakeApi, music: Music) -> None:
        failed = {**MADE, "status": "failed", "error": {"code": "silence", "detail": "There is no sound."}}
        made.answers[f"GET /api/generation/{GENERATION}"] = Told(200, failed)
        ended = music("generate", AUDIO)
        assert (ended.code, ended.error) == (Exit.FAILED, f"{GENERATION}: There is no sound.")
        assert list(Path().iterdir()) == []

    def test_of_an_unknown_track(self, fake: FakeApi, music: Music) -> None:
        ended = music("generate", AUDIO)
        assert ended.code == Exit.NOT_FOUND
        assert f"there is no track or generation {AUDIO}: `music tracks`" in ended.error

    def test_that_cannot_be_written_says_how_it_is_fetched(self, made: FakeApi, music: Music) -> None:
        ended = music("generate", AUDIO, "-o", "/dev/full")
        assert ended.code == Exit.FILE
        last = ended.err.splitlines()[-1]
        assert "/dev/full cannot be written: No space left on device" in last
        assert f"`music download {GENERATION} --wait` fetches the music" in last


def posted(api: FakeApi, path: str = "/api/generate/") -> Any:
    """What was posted to a path, once."""
    (asked,) = [asked for asked in api.asked if asked.method == "POST" and asked.path.startswith(path)]
    return asked.json


def example(field: fields.Field) -> tuple[str | None, Any]:
    """Something that a field takes: as it is written for its option, and as it is sent."""
    kind = field.schema.get("type")
    if field.structured:
        return '{"any": 1}', {"any": 1}
    if kind == "boolean":
        return None, True
    if "enum" in field.schema:
        return str(field.schema["enum"][-1]), field.schema["enum"][-1]
    if kind == "string":
        return "a text", "a text"
    value = field.schema["maximum"]
    return str(value), value


def test_a_field_of_any_kind_becomes_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    properties = {
        "loop": {"type": "boolean", "default": False, "description": "Whether."},
        "section": {"anyOf": [{"$ref": "#/components/schemas/Section"}, {"type": "null"}]},
        "key": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "bars": {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 64}, {"type": "null"}]},
        "weights": {"type": "array", "items": {"type": "number"}},
        "ending": {"type": "string", "enum": ["fade", "cut"]},
        "bit_depth": {"type": "integer", "enum": [16, 24], "default": 16, "description": "Bits."},
        "either": {"anyOf": [{"type": "string"}, {"type": "number"}]},
    }
    edges = {edge: {"type": "number", "minimum": 0, "maximum": 900} for edge in ("start", "end")}
    section = {"type": "object", "properties": edges, "description": "A part."}
    schemas = {"GenerateRequest": {"properties": properties}, "Section": section}
    monkeypatch.setattr(fields, "contract", lambda: {"components": {"schemas": schemas}})
    names = [
        "loop",
        "section_start",
        "section_end",
        "in_key",
        "bars",
        "weights",
        "ending",
        "bit_depth",
        "either",
    ]
    known = dict(zip(names, fields.fields(), strict=True))
    assert {name for name, field in known.items() if field.structured} == {"weights", "either"}
    assert known["section_end"].description.startswith("A part. End:")
    assert known["bars"].value(64) == 64
    with pytest.raises(command.Failure, match="--bit-depth takes 16 or 24, not 20"):
        known["bit_depth"].value(20)
    with pytest.raises(command.Failure, match="--bars takes 1 to 64, not 65"):
        known["bars"].value(65)
    given: dict[str, Any] = dict.fromkeys(names)
    given |= {"loop": False, "section_start": 1.0, "section_end": 9.0, "weights": "[1, 2]"}
    assert fields.body(given) == {"loop": False, "section": {"start": 1, "end": 9}, "weights": [1, 2]}
    with pytest.raises(command.Failure, match="--weights takes JSON"):
        fields.body(given | {"weights": "["})
    for field in known.values():
        assert field.parameter().name == field.name


class TestDownload:
    """`music download`."""

    def test_of_a_candidate_in_a_format(self, made: FakeApi, music: Music) -> None:
        made.answers[f"GET /api/download/{GENERATION}/2"] = FILE
        made.answers[f"GET /api/download/{GENERATION}/0"] = FILE
        made.answers[f"GET /api/download/{GENERATION}/1"] = FILE
        made.answers[f"GET /api/generation/{GENERATION}"] = Told(200, MADE | {"chosen": 1})
        for arguments, path in (
            (["--candidate", "2"], "/2"),
            (["--candidate", "2", "-o", "b.OGG"], "/2?format=ogg"),
            (["--format", "mp3"], "/1?format=mp3"),
            (["-o", "b.flac"], "/1?format=flac"),
            (["-o", "b.wav"], ""),  # as it was made
            (["-o", "b"], ""),
            (["-o", ".b"], ""),
            (["-o", "b.opus"], "/1?format=ogg"),
            (["-o", "b.part", "--format", "mp3"], "/1?format=mp3"),
        ):
            assert music("download", GENERATION, "-f", *arguments).code == Exit.DONE
            assert made.asked[-1].path == f"/api/download/{GENERATION}{path}"

    def test_to_standard_output_is_the_file_alone(self, made: FakeApi, process: Process) -> None:
        done = process("download", GENERATION, "-o", "-", text=False)
        out, _ = done.communicate()
        assert (done.returncode, out) == (Exit.DONE, SOUND)

    def test_of_what_is_not_finished(self, made: FakeApi, music: Music) -> None:
        running = MADE | {"status": "running", "progress": 0.4, "stage": "generate", "seconds_left": 9.0}
        made.answers[f"GET /api/generation/{GENERATION}"] = [
            Told(200, running),
            Told(200, running),
            Told(200, MADE),
        ]
        ended = music("download", GENERATION)
        assert (ended.code, ended.error) == (
            Exit.NOT_FINISHED,
            "it is running, 40% done: --wait waits for it",
        )
        assert music("download", GENERATION, "--wait", "--json").json == {
            "generation_id": GENERATION,
            "file": "a-D4G.wav",
        }

    def test_that_breaks_off_leaves_the_file_that_was_there(self, made: FakeApi, music: Music) -> None:
        Path("like.wav").write_bytes(b"made before")
        made.answers[f"GET /api/download/{GENERATION}"] = Told(200, SOUND, cut=1000)
        ended = music("download", GENERATION, "-o", "like.wav", "--force")
        assert ended.code == Exit.UNREACHABLE
        assert [path.name for path in Path().iterdir()] == ["like.wav"]
        assert Path("like.wav").read_bytes() == b"made before"

    def test_onto_a_full_disk_leaves_no_half_file(self, made: FakeApi, process: Process) -> None:
        def small_files() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

        done = process("download", GENERATION, "-o", "like.wav", preexec_fn=small_files)
        _, err = done.communicate()
        assert done.returncode == Exit.FILE
        assert err.splitlines()[-1] == "error: like.wav cannot be written: File too large"
        assert list(Path().iterdir()) == []

    @pytest.mark.parametrize(
        ("number", "code"), [(signal.SIGINT, Exit.INTERRUPTED), (signal.SIGTERM, Exit.TERMINATED)]
    )
    def test_that_is_interrupted_leaves_no_half_file(
        self, made: FakeApi, process: Process, number: signal.Signals, code: Exit
    ) -> None:
        stall = threading.Event()
        made.answers[f"GET /api/download/{GENERATION}"] = Told(200, SOUND, stall=stall)
        done = process("download", GENERATION, "-o", "like.wav")
        eventually(lambda: list(Path().iterdir()))
        done.send_signal(number)
        _, err = done.communicate()
        stall.set()
        assert done.returncode == code
        assert "Traceback" not in err
        assert list(Path().iterdir()) == []

    def test_into_a_link_keeps_the_link(self, made: FakeApi, music: Music) -> None:
        Path("real.wav").write_bytes(b"made before")
        Path("like.wav").symlink_to("real.wav")
        assert music("download", GENERATION, "-o", "like.wav").code == Exit.FILE
        assert Path("real.wav").read_bytes() == b"made before"
        assert music("download", GENERATION, "-o", "like.wav", "--force").code == Exit.DONE
        assert Path("like.wav").is_symlink()
        assert Path("real.wav").read_bytes() == SOUND


def writing() -> list[str]:
    """The commands that write a file, which have -o."""
    return [name for name, known in commands() if any("-o" in parameter.opts for parameter in known.params)]


class TestWhatStays:
    """A file that is there is replaced where that is asked for, and the source never."""

    def test_every_command_that_writes_a_file_is_known(self) -> None:
        assert set(writing()) == {"generate", "download"}

    @pytest.mark.parametrize("name", writing())
    def test_a_file_that_is_there_is_found_before_anything_is_asked(
        self, made: FakeApi, music: Music, name: str
    ) -> None:
        id_ = {"generate": AUDIO, "download": GENERATION}[name]
        Path("like.wav").write_bytes(b"made before")
        for force in ([], ["--json"], ["--wait"]):
            ended = music(name, id_, "-o", "like.wav", *force)
            assert (ended.code, ended.error) == (
                Exit.FILE,
                "like.wav is there already: --force replaces it",
            )
        assert made.asked == []
        assert Path("like.wav").read_bytes() == b"made before"
        for force in (["--force"], ["-f"]):
            assert music(name, id_, "-o", "like.wav", *force).code == Exit.DONE
            assert Path("like.wav").read_bytes() == SOUND

    @pytest.mark.parametrize("name", writing())
    def test_a_file_that_comes_while_the_music_is_made_stays(
        self, made: FakeApi, music: Music, name: str
    ) -> None:
        id_ = {"generate": AUDIO, "download": GENERATION}[name]

        def write(asked: Asked) -> Told:
            Path("like.wav").write_bytes(b"of another")
            return FILE

        made.answers[f"GET /api/download/{GENERATION}"] = write
        ended = music(name, id_, "-o", "like.wav")
        assert ended.code == Exit.FILE
        assert "like.wav is there already" in ended.err
        assert Path("like.wav").read_bytes() == b"of another"

    @pytest.mark.parametrize("force", [[], ["--force"]])
    @pytest.mark.parametrize("out", ["song.wav", "./song.wav", "linked.wav", "same.wav", "../here/song.wav"])
    def test_the_source_stays_under_any_of_its_names(
        self, made: FakeApi, music: Music, out: str, force: list[str]
    ) -> None:
        Path("song.wav").write_bytes(b"my own")
        Path("linked.wav").symlink_to("song.wav")
        Path("same.wav").hardlink_to("song.wav")
        ended = music("generate", "song.wav", "-o", out, *force)
        assert ended.code == Exit.USAGE
        assert "is the source itself" in ended.error
        assert made.asked == []
        assert {path.read_bytes() for path in Path().iterdir()} == {b"my own"}

    def test_the_source_stays_where_the_deployment_calls_the_music_so(
        self, made: FakeApi, music: Music
    ) -> None:
        Path("a-D4G.wav").write_bytes(b"my own")
        made.answers["POST /api/upload"] = Told(200, TRACK)
        ended = music("generate", "a-D4G.wav", "--force")
        assert ended.code == Exit.USAGE
        assert "is the source itself" in ended.err
        assert Path("a-D4G.wav").read_bytes() == b"my own"

    @pytest.mark.parametrize("name", writing())
    @pytest.mark.parametrize("out", ["new/", "new/.", "new//"])
    def test_a_slash_makes_a_folder(self, made: FakeApi, music: Music, name: str, out: str) -> None:
        id_ = {"generate": AUDIO, "download": GENERATION}[name]
        assert music(name, id_, "-o", out).out == "new/a-D4G.wav\n"
        assert Path("new/a-D4G.wav").read_bytes() == SOUND

    @pytest.mark.parametrize("name", writing())
    @pytest.mark.parametrize(
        ("out", "code", "line"),
        [
            ("", Exit.USAGE, "an empty name"),
            ("no/new/", Exit.FILE, "there is no folder no"),
            ("file/", Exit.FILE, "file is no folder"),
            ("gone", Exit.FILE, "there is no folder"),
            ("n" * 300, Exit.FILE, "File name too long"),
        ],
    )
    def test_what_cannot_be_written_is_found_before_anything_is_asked(
        self, made: FakeApi, music: Music, name: str, out: str, code: Exit, line: str
    ) -> None:
        id_ = {"generate": AUDIO, "download": GENERATION}[name]
        Path("file").write_bytes(b"made before")
        Path("gone").symlink_to("nowhere/like")
        ended = music(name, id_, "-o", out)
        assert ended.code == code
        assert line in ended.error
        assert made.asked == []

    def test_devices_and_pipes_are_written_to(self, made: FakeApi, process: Process) -> None:
        os.mkfifo("pipe.xyz")
        done = process("download", GENERATION, "-o", "pipe.xyz")
        assert Path("pipe.xyz").read_bytes() == SOUND
        done.communicate()
        assert done.returncode == Exit.DONE


def stale(audio_id: str) -> Told:
    """The answer of a deployment whose profile has changed since a track was embedded."""
    links = {"embed": f"/api/audio/{audio_id}/embed"}
    return problem(409, "stale_embedding", "Another profile is in force.", links=links)


class TestEmbed:
    """`music embed`, and the commands that name it."""

    @pytest.fixture
    def moved(self, made: FakeApi) -> FakeApi:
        """A deployment with a new profile, two tracks of an old one, one of this one, and one under way."""
        current, under_way = (f"01JZ8Q4W3N6V7X9Y2A5B8C1D4{end}" for end in "XY")
        tracks = [TRACK | {"audio_id": id_} for id_ in (AUDIO, current, OTHER)]
        tracks.insert(1, TRACK | {"audio_id": under_way, "status": "embedding"})
        made.answers["GET /api/audio"] = Told(200, {"items": tracks, "cursor": None})
        made.answers[f"GET /api/embedding/{current}"] = Told(200, {"embedding": []})
        for id_ in (AUDIO, OTHER):
            pending = {"audio_id": id_, "status": "uploaded", "progress": 0.0}
            made.answers |= {
                f"GET /api/embedding/{id_}": stale(id_),
                f"GET /api/similar/{id_}": stale(id_),
                f"POST /api/generate/{id_}": stale(id_),
                f"POST /api/audio/{id_}/embed": Told(202, pending),
                f"GET /api/audio/{id_}": Told(200, TRACK | {"audio_id": id_}),
            }
        return made

    def embedded(self, api: FakeApi) -> list[str]:
        return [asked.path.split("/")[3] for asked in api.asked if asked.path.endswith("/embed")]

    @pytest.mark.parametrize("arguments", [["similar", AUDIO], ["generate", AUDIO]])
    def test_a_stale_track_is_told_with_the_command_that_mends_it(
        self, moved: FakeApi, music: Music, arguments: list[str]
    ) -> None:
        ended = music(*arguments)
        assert ended.code == Exit.REFUSED
        assert f"`music embed {AUDIO}`" in ended.error
        named = re.findall(r"`music ([^`]+)`", ended.error)
        assert [music(*command.split()).code for command in named] == [Exit.DONE] * len(named)

    def test_a_job_that_finds_its_track_stale_names_the_command(self, moved: FakeApi, music: Music) -> None:
        error = {"code": "stale_embedding", "detail": "It was embedded by another model."}
        failed = MADE | {"status": "failed", "error": error}
        moved.answers[f"GET /api/generation/{GENERATION}"] = Told(200, failed)
        ended = music("download", GENERATION, "--wait")
        assert (ended.code, f"`music embed {AUDIO}`" in ended.error) == (Exit.FAILED, True)

    def test_of_all_is_of_those_that_are_stale(self, moved: FakeApi, music: Music) -> None:
        ended = music("embed", "--all")
        assert (ended.code, ended.out) == (Exit.DONE, f"{AUDIO}\tuploaded\n{OTHER}\tuploaded\n")
        assert self.embedded(moved) == [AUDIO, OTHER]

    def test_of_all_where_none_is_stale_is_nothing(self, made: FakeApi, music: Music) -> None:
        made.answers[f"GET /api/embedding/{AUDIO}"] = Told(200, {"embedding": []})
        ended = music("embed", "--all", "--json")
        assert (ended.code, ended.json) == (Exit.DONE, {"items": []})
        assert self.embedded(made) == []

    def test_waits_for_tracks_to_be_ready(self, moved: FakeApi, music: Music) -> None:
        ended = music("embed", OTHER, AUDIO, OTHER, "--wait")
        assert (ended.code, ended.out) == (Exit.DONE, f"{OTHER}\tready\n{AUDIO}\tready\n")
        assert self.embedded(moved) == [OTHER, AUDIO]

    @pytest.mark.parametrize("wait", [[], ["--wait"]])
    def test_of_several_tells_which_fail(self, moved: FakeApi, music: Music, wait: list[str]) -> None:
        ended = music("embed", GENERATION, AUDIO, *wait, "--json")
        assert ended.code == Exit.FAILED
        assert [item["audio_id"] for item in ended.json["items"]] == [AUDIO]
        assert f"failed: {GENERATION}: there is no track {GENERATION}" in ended.err
        assert ended.err.endswith("error: 1 of 2 tracks failed\n")
        assert music("embed", GENERATION).code == Exit.NOT_FOUND

    def test_takes_tracks_or_all(self, moved: FakeApi, music: Music) -> None:
        assert music("embed").code == Exit.USAGE
        assert music("embed", AUDIO, "--all").code == Exit.USAGE
        assert moved.asked == []


class TestLists:
    """`music tracks`, `show`, `similar`, `search`, `jobs` and `open`."""

    def test_tracks_in_a_pipe_are_fields_between_tabs(self, made: FakeApi, music: Music) -> None:
        pages = {None: ([TRACK], "more"), "more": ([TRACK | {"audio_id": OTHER, "features": None}], None)}

        def page(asked: Asked) -> Told:
            cursor = asked.path.partition("cursor=")[2] or None
            items, following = pages[cursor]
            return Told(200, {"items": items, "cursor": following})

        made.answers["GET /api/audio"] = page
        lines = [line.split("\t") for line in music("tracks").out.splitlines()]
        assert lines == [
            [AUDIO, "ready", "183.2 s", "118", "D minor", "a.mp3", "fast, minor"],
            [OTHER, "ready", "", "", "", "a.mp3", "fast, minor"],
        ]
        assert [item["audio_id"] for item in music("tracks", "--json").json["items"]] == [AUDIO, OTHER]
        assert len(music("tracks", "--limit", "1").out.splitlines()) == 1

    def test_show_tells_a_record_of_either_kind(self, made: FakeApi, music: Music) -> None:
        shown = dict(line.split("\t") for line in music("show", AUDIO).out.splitlines())
        assert shown["features.tempo"] == "117.5"
        assert shown["features.beats"] == "300 values"
        assert shown["tags"] == "fast, minor"
        assert "similarity.embedding\t0.81\n" in music("show", GENERATION).out
        assert music("show", GENERATION, "--json").json == MADE

    def test_similar_and_search_tell_scores(self, made: FakeApi, music: Music) -> None:
        results = {"results": [{"audio_id": OTHER, "score": 0.91234, "filename": "b.mp3", "tags": ["calm"]}]}
        made.answers[f"GET /api/similar/{AUDIO}"] = made.answers["POST /api/search"] = Told(200, results)
        for arguments in (["similar", AUDIO, "-k", "3"], ["search", "calm piano", "-k", "3"]):
            assert music(*arguments).out == f"0.912\t{OTHER}\tb.mp3\tcalm\n"
            assert music(*arguments, "--json").json == results
        assert made.asked[0].path.endswith("?k=3")
        assert made.asked[-1].json == {"text": "calm piano", "k": 3}
        made.answers[f"GET /api/similar/{AUDIO}"] = Told(200, {"results": []})
        assert music("similar", AUDIO, "--distinct").out == ""
        assert made.asked[-1].path.endswith("distinct=true")

    def test_jobs_tells_what_is_under_way_and_what_was_made_last(self, made: FakeApi, music: Music) -> None:
        embedding = TRACK | {"status": "embedding", "progress": 0.5, "stage": "embed", "seconds_left": 4.2}
        made.answers["GET /api/audio"] = Told(200, {"items": [embedding, TRACK], "cursor": None})
        lines = music("jobs").out.splitlines()
        assert lines == [
            f"{AUDIO}\tembed\tembedding\t50%\t4 s\ta.mp3",
            f"{GENERATION}\tgenerate\tsucceeded\t100%\t\t{AUDIO}",
        ]
        assert len(music("jobs", "--json").json["items"]) == 2
        assert len(music("jobs", "--finished", "0").out.splitlines()) == 1

    @pytest.mark.parametrize(("kind", "record"), [("audio", TRACK), ("generation", MADE)])
    def test_jobs_tells_what_is_under_way_however_old_it_is(
        self, made: FakeApi, music: Music, kind: str, record: dict[str, Any]
    ) -> None:
        name = f"{kind}_id"
        under_way = record | {"status": "queued", "progress": 0.0}
        items = [record | {name: f"{number:026d}"} for number in range(3000)]
        items += [under_way | {name: f"{number:026d}"} for number in range(3000, 3160)]

        def page(asked: Asked) -> Told:
            start = int(asked.path.partition("cursor=")[2] or 0)
            following = start + 100 if start + 100 < len(items) else None
            return Told(200, {"items": items[start : start + 100], "cursor": following and str(following)})

        made.answers |= {
            "GET /api/audio": Told(200, {"items": [], "cursor": None}),
            "GET /api/generation": Told(200, {"items": [], "cursor": None}),
            f"GET /api/{kind}": page,
        }
        listed = music("jobs", "--finished", "0", "--json").json["items"]
        assert [item[name] for item in listed] == [item[name] for item in items[3000:]]

    def test_jobs_are_followed_to_their_end(
        self, made: FakeApi, music: Music, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("client.jobs.LONGEST_PAUSE_SECONDS", 0.0)
        running, failed = MADE | {"status": "running", "progress": 0.2}, MADE | {"status": "failed"}
        removed = {**running, "generation_id": OTHER, "links": {"self": f"/api/generation/{OTHER}"}}
        made.answers["GET /api/generation"] = Told(200, {"items": [running, removed], "cursor": None})
        made.answers[f"GET /api/generation/{GENERATION}"] = [Told(200, running), Told(200, MADE)]
        waits = TRACK | {"status": "awaiting_upload", "progress": 0.0}  # for a file that may never come
        made.answers["GET /api/audio"] = Told(200, {"items": [waits], "cursor": None})
        ended = music("jobs", "--follow")
        assert (ended.code, ended.out) == (
            Exit.DONE,
            f"{GENERATION}\tgenerate\tsucceeded\t100%\t\t{AUDIO}\n",
        )
        made.answers[f"GET /api/generation/{GENERATION}"] = Told(200, failed)
        ended = music("jobs", "-f", "--json")
        assert (ended.code, ended.json) == (Exit.FAILED, failed)

    def test_open_opens_the_page(self, fake: FakeApi, music: Music, monkeypatch: pytest.MonkeyPatch) -> None:
        opened: list[str] = []

        def note(url: str) -> bool:
            opened.append(url)
            return True

        monkeypatch.setattr("webbrowser.open", note)
        fake.answers["GET /api/health"] = Told(200, {"status": "ok"})
        assert music("open").out == f"{fake.url}/\n"
        assert music("open", "--json").json == {"url": f"{fake.url}/"}
        assert opened == [f"{fake.url}/"] * 2

    def test_names_do_nothing_to_a_terminal(self, made: FakeApi, music: Music) -> None:
        evil = TRACK | {"filename": "\x1b]0;owned\x07\x9b31m\u202ea\tb\r\n[bold]c"}
        made.answers["GET /api/audio"] = Told(200, {"items": [evil], "cursor": None})
        (line,) = music("tracks").out.splitlines()
        assert line.count("\t") == 6
        assert re.search(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u202e]", line) is None
        assert "[bold]c" in line

    @pytest.mark.parametrize("arguments", [["tracks"], ["generate", AUDIO, "-o", "-"]])
    def test_a_full_disk_is_one_line_that_says_so(
        self, made: FakeApi, process: Process, arguments: list[str]
    ) -> None:
        made.answers["GET /api/audio"] = Told(200, {"items": [TRACK], "cursor": None})
        with Path("/dev/full").open("w") as full:
            done = process(*arguments, stdout=full)
            _, err = done.communicate()
        assert done.returncode == Exit.FILE
        line = err.splitlines()[-1]
        assert line.startswith("error: standard output cannot be written: No space left on device")
        assert (f"`music download {GENERATION}" in line) == (arguments[0] == "generate")

    def test_a_reader_that_has_enough_is_no_error(self, made: FakeApi, process: Process) -> None:
        items = [TRACK] * 5000
        made.answers["GET /api/audio"] = Told(200, {"items": items, "cursor": None})
        done = process("tracks")
        assert done.stdout
        assert done.stderr
        assert done.stdout.readline().startswith(AUDIO)
        done.stdout.close()
        assert done.wait() == Exit.READER_GONE
        assert done.stderr.read() == ""


class TestTerminal:
    """Bars on a terminal, lines in a pipe."""

    def on_a_terminal(self, fake: FakeApi, *arguments: str) -> str:
        """Run `music` on a terminal of its own, and return all that it showed there."""
        environment = {**os.environ, "MUSIC_API": fake.url, "PYTHONPATH": str(ROOT), "TERM": "xterm"}
        main, other = pty.openpty()
        command = [sys.executable, "-m", "client.command", *arguments]
        done = subprocess.Popen(command, env=environment, stdin=other, stdout=other, stderr=other)
        os.close(other)
        shown = b""
        while done.poll() is None or select.select([main], [], [], 0)[0]:
            if select.select([main], [], [], 0.05)[0]:
                try:
                    shown += os.read(main, 65536)
                except OSError:  # how Linux says that nobody has the terminal open any more
                    break
        done.wait()
        os.close(main)
        assert done.returncode == Exit.DONE, shown
        return shown.decode()

    def test_bars_tell_the_stage_and_the_time_left(self, made: FakeApi) -> None:
        running = MADE | {"status": "running", "progress": 0.4, "stage": "score", "seconds_left": 65.0}
        made.answers[f"GET /api/generation/{GENERATION}"] = [Told(200, running)] * 3 + [Told(200, MADE)]
        shown = self.on_a_terminal(made, "generate", AUDIO, "-o", "like.wav")
        assert "generate (score)" in shown
        assert "40%" in shown
        assert "1 min 5 s left" in shown
        assert "like.wav" in shown
        assert Path("like.wav").read_bytes() == SOUND

    def test_tables_have_headings_and_keep_ids_whole(
        self, made: FakeApi, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COLUMNS", "80")
        items = [TRACK | {"filename": "a long name of a long song " * 4, "tags": ["mid-tempo", "minor"]}]
        made.answers["GET /api/audio"] = Told(200, {"items": items, "cursor": None})
        shown = self.on_a_terminal(made, "tracks")
        assert AUDIO in shown
        assert "tempo" in shown
        assert "\t" not in shown

    def test_in_a_pipe_there_are_lines_alone(self, made: FakeApi, process: Process) -> None:
        done = process("generate", AUDIO, "-o", "like.wav")
        out, err = done.communicate()
        assert (done.returncode, out) == (Exit.DONE, "like.wav\n")
        assert err.splitlines() == [
            "generate: done",
            "download: 256.0 kB",
            f"{GENERATION}: seed 7, similarity: embedding 0.81, chroma 0.90",
        ]


class TestProgram:
    """The program itself."""

    def test_is_a_script_of_the_package(self) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())
        assert project["project"]["scripts"] == {"music": "client.command:main"}

    @pytest.mark.parametrize(
        "name",
        [
            *(
                "upload",
                "embed",
                "tracks",
                "show",
                "similar",
                "search",
                "jobs",
                "generate",
                "download",
                "open",
            ),
            *("demo", "redrive", "deploy", "keys", "keys create", "keys list", "keys revoke"),
        ],
    )
    def test_every_command_says_how_it_is_used(self, fake: FakeApi, music: Music, name: str) -> None:
        ended = music(*name.split(), "--help", api=None)
        assert ended.code == Exit.DONE
        assert f"music {name}" in ended.out
        assert "--help" in ended.out
        assert fake.asked == []

    def test_without_a_command_it_shows_them(self, music: Music) -> None:
        ended = music(api=None)
        assert ended.code == Exit.USAGE
        assert "generate" in ended.err

    def test_serve_is_the_local_stack(self, process: Process) -> None:
        done = process("serve", "--http-workers", "0", cwd="/")
        _, err = done.communicate()
        assert done.returncode == 2
        assert "every function needs a process" in err

    def test_those_that_need_aws_say_so(self, music: Music) -> None:
        for name in ("keys create", "keys list", "keys revoke", "redrive", "deploy"):
            assert "It needs AWS credentials" in " ".join(
                music(*name.split(), "--help", api=None).out.split()
            )

    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_shells_complete_commands(
        self, process: Process, shell: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("_MUSIC_COMPLETE", f"complete_{shell}")
        monkeypatch.setenv("COMP_WORDS", "music gen")
        monkeypatch.setenv("COMP_CWORD", "1")
        monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "music gen")
        monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
        out, _ = process().communicate()
        assert "generate" in out
        assert "tracks" not in out

    def test_a_proxy_is_never_asked_for_what_runs_on_this_machine(
        self, made: FakeApi, music: Music, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        monkeypatch.setenv("no_proxy", "intranet.example")
        assert music("tracks").code == Exit.DONE
        assert os.environ["no_proxy"] == "intranet.example,127.0.0.1,localhost"
