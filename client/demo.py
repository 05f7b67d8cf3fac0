"""One track in, new music like it out, and a picture of both.

It starts the local stack, does what any client does (upload by presigned POST, ask for music, wait, download)
and ends the stack. All it knows of the backend is its HTTP API.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from client import jobs, uploads
from client.api import Api
from client.downloads import Destination, download
from client.failure import Exit, Failure, file_failure
from client.files import whole
from client.output import Output
from client.sample import PATH as SAMPLE
from client.settings import Deployment
from client.stack import StackError, StackProcess


def run(audio: Path | None, wishes: dict[str, Any], profile: str, out: Path) -> None:
    """Start a local stack and go through it once.

    Parameters
    ----------
    audio : Path, optional
        Track to start from; a piece of our own by default.
    wishes : dict
        Fields of the request; None is not sent.
    profile : str
        Engine profile of the stack.
    out : Path
        Folder to write to.

    Raises
    ------
    Failure
    """
    track = audio or SAMPLE
    if not track.is_file():
        raise Failure(Exit.FILE, f"there is no file {track}")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise file_failure(out, "written to", error) from error
    body = {name: value for name, value in wishes.items() if value is not None}
    with _named_log(), Output().progress() as bars:
        starting = bars.add("start", None)
        with StackProcess("--profile", profile) as stack:
            starting.end()
            api = Api(Deployment(stack.api_url, None))
            audio_id = uploads.upload(api, track, bars).audio_id
            record = jobs.follow(api, f"/api/audio/{audio_id}", bars.add("embed"))
            embedding = api.get(record["links"]["embedding"])
            submitted = api.post(record["links"]["generate"], body).document
            generation = jobs.follow(api, submitted["links"]["self"], bars.add("generate"))
            music = download(api, generation["links"]["download"], Destination(str(out)), bars)
    picture = music.with_suffix(".png")
    try:
        with whole(picture) as part:
            _draw(track, music, embedding, generation, part)
    except OSError as error:
        raise file_failure(picture, "written", error) from error
    console = Console(highlight=False)
    _report(console, embedding, generation)
    console.print(f"\naudio    {music}\npicture  {picture}", soft_wrap=True)


@contextmanager
def _named_log() -> Iterator[None]:
    """Name the log of the local stack where it, or what it was asked for, fails."""
    try:
        yield
    except (Failure, StackError) as error:
        line = str(error).splitlines()[-1].removeprefix("error: ")
        if (log := getattr(error, "log_path", None)) is not None:
            line += f"; what the local stack said is in {log}"
        raise Failure(getattr(error, "exit", Exit.FAILED), line) from error


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
