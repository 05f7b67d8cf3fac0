"""`python -m client demo`: one track in, new music like it out, and a picture of both.

It starts the local stack, does what any client does (upload by presigned POST, ask for music, wait, download)
and ends the stack. All it knows of the backend is its HTTP API.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from client.sample import PATH as SAMPLE
from client.stack import StackError, StackProcess

PIECE_BYTES = 1 << 18
POLL_SECONDS = 0.2


class DemoError(Exception):
    """The demo cannot go on; the message is the one line to show."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise DemoError(message)


def main(argv: Sequence[str]) -> int:
    """Run the demo; returns the exit status."""
    parser = _Parser(prog="python -m client demo", description=__doc__.splitlines()[0])
    parser.add_argument("--audio", type=Path, default=SAMPLE, help="track to start from (a piece of our own)")
    parser.add_argument("--duration", type=float, default=30.0, help="seconds of new music (%(default)s)")
    parser.add_argument("--temperature", type=float, default=1.0, help="how far it strays (%(default)s)")
    parser.add_argument("--seed", type=int, help="the same seed makes the same music (drawn)")
    parser.add_argument("--profile", default="builtin", help="engine profile (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder to write to (%(default)s)")
    try:
        run(parser.parse_args(argv))
    except (DemoError, StackError) as error:
        line = str(error).splitlines()[-1].removeprefix("error: ")
        print(f"demo: {line}", file=sys.stderr)
        if (log := getattr(error, "log_path", None)) is not None:
            print(f"demo: what the local stack said is in {log}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted", file=sys.stderr)
        return 130
    return 0


def run(arguments: argparse.Namespace) -> None:
    """Start the stack and go through it once.

    Raises
    ------
    DemoError, StackError
    """
    console = Console(highlight=False)
    audio: Path = arguments.audio
    if not audio.is_file():
        raise DemoError(f"there is no file {audio}")
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DemoError(f"cannot write to {arguments.out}: {error.strerror}") from error
    columns = (TextColumn("{task.description:<10}"), BarColumn(40), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars:
        starting = bars.add_task("start", total=None)
        with StackProcess("--profile", arguments.profile) as stack:
            bars.update(starting, total=1, completed=1)
            client = Client(stack.api_url)
            record, embedding = _embed(client, audio, bars)
            generation = _generate(client, record["audio_id"], arguments, bars)
            name, content = client.download(generation["links"]["download"])
    music = arguments.out / name
    picture = music.with_suffix(".png")
    try:
        with whole(music) as part:
            part.write_bytes(content)
        with whole(picture) as part:
            _draw(audio, music, embedding, generation, part)
    except OSError as error:
        raise DemoError(f"cannot write to {arguments.out}: {error.strerror}") from error
    _report(console, embedding, generation)
    console.print(f"\naudio    {music}\npicture  {picture}", soft_wrap=True)


def _embed(client: Client, audio: Path, bars: Progress) -> tuple[dict[str, Any], dict[str, Any]]:
    """Upload the track straight to the bucket, whose event starts the embedding, and wait for it."""
    size = audio.stat().st_size
    task = bars.add_task("upload", total=max(size, 1))
    body = {"filename": audio.name, "bytes": size, "content_type": "application/octet-stream"}
    announced = client.send("POST", "/api/upload", body)
    client.upload(announced["upload"], audio, lambda sent: bars.update(task, advance=sent))
    record = client.wait(announced["links"]["self"], bars, bars.add_task("embed", total=1))
    return record, client.send("GET", announced["links"]["embedding"])


def _generate(client: Client, audio_id: str, arguments: argparse.Namespace, bars: Progress) -> dict[str, Any]:
    """Ask for music like the track and wait for it."""
    body = {"duration": arguments.duration, "temperature": arguments.temperature, "seed": arguments.seed}
    submitted = client.send("POST", f"/api/generate/{audio_id}", body)
    return client.wait(submitted["links"]["self"], bars, bars.add_task("generate", total=1))


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a file beside `path` to write to, which takes its place at the end: there is never half a file.

    Whatever goes wrong, such as a disk that is full, the file beside is gone and `path` is as it was.
    """
    part = path.with_name(f".{path.stem}-{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


class Client:
    """The few calls of the API that the demo needs."""

    def __init__(self, url: str) -> None:
        self.url = url

    def send(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Send a request and return the JSON answer.

        Raises
        ------
        DemoError
            With the problem's own sentence.
        """
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})  # noqa: S310
        request.method = method
        with self._open(request) as answer:
            return json.load(answer)

    def upload(self, upload: dict[str, Any], audio: Path, sent: Callable[[int], object]) -> None:
        """Post a file as a presigned upload says, piece by piece."""
        boundary = uuid.uuid4().hex
        fields = "".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in upload["fields"].items()
        )
        head = (
            f'{fields}--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="audio"\r\n\r\n'
        )
        tail = f"\r\n--{boundary}--\r\n"

        def pieces() -> Iterator[bytes]:
            yield head.encode()
            with audio.open("rb") as file:
                while piece := file.read(PIECE_BYTES):
                    yield piece
                    sent(len(piece))
            yield tail.encode()

        length = len(head.encode()) + audio.stat().st_size + len(tail.encode())
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}", "Content-Length": str(length)}
        request = urllib.request.Request(upload["url"], pieces(), headers, method="POST")  # noqa: S310
        with self._open(request):
            pass

    def wait(self, link: str, bars: Progress, task: Any) -> dict[str, Any]:
        """Follow a record to its end.

        Raises
        ------
        DemoError
            The job failed; with its reason.
        """
        while True:
            record: dict[str, Any] = self.send("GET", link)
            bars.update(task, completed=record["progress"])
            if record["status"] in {"ready", "succeeded"}:
                bars.update(task, completed=1)
                return record
            if record["status"] in {"failed", "cancelled"}:
                raise DemoError(record.get("error", {}).get("detail", record["status"]))
            time.sleep(POLL_SECONDS)

    def download(self, link: str) -> tuple[str, bytes]:
        """Return file name and content, redirects followed."""
        with self._open(urllib.request.Request(self.url + link)) as answer:  # noqa: S310
            name = answer.headers.get_filename() or "generated.wav"
            return Path(name).name, answer.read()

    def _open(self, request: urllib.request.Request) -> Any:
        try:
            return urllib.request.urlopen(request, timeout=60)  # noqa: S310
        except urllib.error.HTTPError as error:
            body = error.read()
            try:
                detail = json.loads(body)["detail"]
            except (ValueError, KeyError, TypeError):
                detail = f"{request.full_url} answered {error.code} {error.reason}"
            raise DemoError(detail) from error
        except OSError as error:
            raise DemoError(f"the local stack does not answer: {error}") from error


def _draw(
    audio: Path, music: Path, embedding: dict[str, Any], generation: dict[str, Any], picture: Path
) -> None:
    """Draw source and result side by side."""
    from client.picture import RATE, Panel, compare
    from music.audio.decode import decode

    features = embedding["features"]
    measured = f"{features['duration']:.1f} s"
    if features["tempo"]:
        measured += f" · {features['tempo']:.0f} BPM"
    if features["key"]:
        measured += f" · {features['key']} {features['mode']}"
    scores = " · ".join(f"{name} {value:.2f}" for name, value in generation["similarity"].items())
    made = f"{generation['duration']:.1f} s · seed {generation['seed']} · similarity: {scores}"
    source, result = (decode(path, rate=RATE, channels=1)[0] for path in (audio, music))
    compare(Panel(source, audio.name, measured), Panel(result, music.name, made), picture)


def _report(console: Console, embedding: dict[str, Any], generation: dict[str, Any]) -> None:
    """Print what was measured and made."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    identity = "/".join(embedding[part] for part in ("model", "revision", "pipeline", "precision"))
    table.add_row("embedding", f"{identity}, {embedding['dimension']} dimensions")
    for name, value in embedding["features"].items():
        table.add_row(name.replace("_", " "), f"{len(value)}" if isinstance(value, list) else f"{value}")
    table.add_row("tags", ", ".join(embedding["tags"]))
    table.add_row("engine", f"{generation['engine']}, seed {generation['seed']}")
    if generation["revision"].startswith("random-"):
        table.add_row(
            "", "its weights are untrained: what it makes is noise, and what it says of music is chance"
        )
    for fault in generation.get("faults", ()):
        table.add_row("fault", fault)
    for name, value in generation["similarity"].items():
        table.add_row(f"similarity ({name})", f"{value:.3f}")
    loudness = generation["loudness"]
    if loudness["integrated"] is not None:
        table.add_row(
            "result", f"{loudness['integrated']:.1f} LUFS, true peak {loudness['true_peak']:.1f} dBTP"
        )
    console.print()
    console.print(table)
