"""`music`: upload tracks, find what sounds like them, make music like them, on any deployment.

What a command does for a user stands here; how the API is spoken to, in the modules beside it.
"""

from __future__ import annotations

import errno
import functools
import inspect
import itertools
import os
import signal
import sys
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from client import fields, jobs, settings, uploads
from client.api import Api
from client.downloads import Destination
from client.downloads import download as fetch
from client.failure import Exit, Failure, file_failure
from client.files import AUDIO, audio_files, is_source
from client.output import Output, clean

ROOT = Path(__file__).resolve().parents[1]
"""The checkout, where `music` runs in one."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
"""What a file says that takes no more, also one that standard output goes to."""

ENDINGS = {"opus": "ogg", "oga": "ogg", "wave": "wav"}
"""Other endings of files in a format that can be made."""

HELP = """Upload tracks, find what sounds like them, and make new music like them.

    music generate track.mp3 -o like.wav

The deployment is --api URL, MUSIC_API, `api` in the configuration file, or http://127.0.0.1:8000, where
`music serve` answers. A key is --key, MUSIC_KEY, or `key` in that file, which is ~/.config/music/config.toml
on Linux. Results go to standard output, all else to standard error."""

app = typer.Typer(
    name="music", help=HELP, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None
)
keys_app = typer.Typer(help="Make, list and revoke API keys, with AWS credentials.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")


def _not_blank(value: Any) -> Any:
    """Refuse an argument that is empty, such as a variable of the shell that nobody has set."""
    if any(not str(one).strip() for one in (value if isinstance(value, list) else [value])):
        raise typer.BadParameter("it is empty")
    return value


def _argument(metavar: str, help_: str | None = None) -> Any:
    """Make what names a track, a generation, a file or a key: an argument that is never empty."""
    return typer.Argument(metavar=metavar, help=help_, show_default=False, callback=_not_blank)


ApiOption = Annotated[str | None, typer.Option("--api", metavar="URL", help="Address of the deployment.")]
KeyOption = Annotated[str | None, typer.Option("--key", metavar="KEY", help="API key.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
OutOption = Annotated[
    str | None,
    typer.Option(
        "--out",
        "-o",
        metavar="FILE",
        help="File, or folder, with a slash a new one; - is standard output.",
    ),
]
ForceOption = Annotated[bool, typer.Option("--force", "-f", help="Replace a file that is there.")]


class Session:
    """What a command that talks to the API works with."""

    def __init__(self, api: Api, output: Output) -> None:
        self.api, self.output = api, output


@app.callback()
def _globals(
    context: typer.Context, api: ApiOption = None, key: KeyOption = None, as_json: JsonOption = False
) -> None:
    context.obj = {"api": api, "key": key, "as_json": as_json}


def _talks_to_the_api(function: Callable[..., None]) -> Callable[..., None]:
    """Make a command of a function of a `Session`: it gets the options that every such command has.

    They may stand before the command's name as well.
    """
    own = inspect.signature(function, eval_str=True)
    _, *parameters = own.parameters.values()  # the session is no option
    common = inspect.signature(_globals, eval_str=True).parameters
    shared = [common[name].replace(kind=inspect.Parameter.KEYWORD_ONLY) for name in ("api", "key", "as_json")]

    @functools.wraps(function)
    def run(context: typer.Context, **values: Any) -> None:
        given = {parameter.name: values.pop(parameter.name) for parameter in shared}
        given = {name: value or context.obj[name] for name, value in given.items()}
        api, output = Api(settings.deployment(given["api"], given["key"])), Output(given["as_json"])
        api.await_room = jobs.Room(api, output.note).wait
        try:
            function(Session(api, output), **values)
        except BrokenPipeError as error:
            raise Failure(Exit.READER_GONE, "whoever reads has read enough") from error

    first = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    signature = own.replace(parameters=[first, *parameters, *shared])
    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    return run


@app.command()
@_talks_to_the_api
def upload(
    session: Session,
    names: Annotated[list[str], _argument("FILE|FOLDER...")],
    wait: Annotated[bool, typer.Option("--wait", help="Until every track is embedded.")] = False,
    at_once: Annotated[int, typer.Option("--at-once", min=1, max=32, help="Files at the same time.")] = 4,
) -> None:
    """Upload files, and the audio files of folders; what is there already is not sent again.

    Files that are named are sent whatever they are called, those of folders by their endings. After Ctrl-C
    the same command goes on where it was.
    """
    api, output = session.api, session.output
    paths = [Path(name) for name in names]
    files, others = audio_files(paths)
    if others:
        output.note(f"files left out by their names: {others}")
    if not files:
        raise Failure(Exit.FILE, f"there is no audio file in {', '.join(map(str, paths))}")
    results: list[uploads.Uploaded] = []
    try:
        with output.progress() as bars:
            total = bars.add(f"{len(files)} files", len(files)) if len(files) > 1 else None
            for result in uploads.upload_all(api, files, bars, at_once):
                results.append(result)
                _say_uploaded(output, result, several=len(files) > 1)
                if total:
                    total.advance(1)
        if wait:
            results = _await_all(session, results)
    except (KeyboardInterrupt, SystemExit):
        there = sum(not result.failure for result in results)
        output.note(f"{there} of {len(files)} files are there: the same command goes on")
        raise
    finally:
        if output.as_json:
            output.document({"files": [result.document() for result in results]})
    failures = [result.failure for result in results if result.failure]
    if failures:
        line = f"{len(failures)} of {len(files)} files failed"
        raise Failure(Exit.FAILED, line) if len(files) > 1 else failures[0]


def _say_uploaded(output: Output, result: uploads.Uploaded, several: bool) -> None:
    if result.failure and several:
        _say_failed(output, result.path, result.failure)
    elif result.audio_id and not output.as_json:
        output.fields(result.audio_id, result.state, result.path)


def _say_failed(output: Output, path: Path, failure: Failure) -> None:
    """Say which of several files failed, and why."""
    line = failure.line.removeprefix(f"{path.name}: ")
    output.note(f"failed: {line}" if str(path) in line else f"failed: {path}: {line}")


def _await_all(session: Session, results: Sequence[uploads.Uploaded]) -> list[uploads.Uploaded]:
    """Wait until tracks are embedded; a track that cannot be is a file that failed."""
    settled = []
    with session.output.progress() as bars:
        for result in results:
            if result.audio_id:
                bar = bars.add(f"embed {result.path.name}")
                try:
                    jobs.follow(session.api, f"/api/audio/{result.audio_id}", bar)
                except Failure as failure:
                    if failure.exit is not Exit.FAILED:
                        raise
                    if len(results) > 1:
                        _say_failed(session.output, result.path, failure)
                    result = uploads.Uploaded(result.path, "failed", result.audio_id, failure)
                finally:
                    bar.remove()
            settled.append(result)
    return settled


@app.command()
@_talks_to_the_api
def embed(
    session: Session,
    ids: Annotated[list[str] | None, _argument("ID...", "Of tracks.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All tracks that need it.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Until every track is embedded.")] = False,
) -> None:
    """Embed tracks again, after a change of the deployment's profile."""
    api, output = session.api, session.output
    if bool(ids) is every:
        raise Failure(Exit.USAGE, "say which tracks are to be embedded again, or --all")
    with output.progress() as bars:
        ids = list(dict.fromkeys(jobs.stale(api) if every else ids or ()))
        several = len(ids) > 1
        done = _each(output, ids, several, lambda id_: jobs.embed_again(api, id_))
        if wait:

            def follow(id_: str) -> dict[str, Any]:
                return jobs.follow(api, f"/api/audio/{id_}", bars.add(f"embed {id_}"))

            done = _each(output, list(done), several, follow)
    if output.as_json:
        output.document({"items": list(done.values())})
    else:
        for id_, record in done.items():
            output.fields(id_, record["status"])
    if not ids:
        output.note("every track is embedded under the profile in force")
    if failed := len(ids) - len(done):
        raise Failure(Exit.FAILED, f"{failed} of {len(ids)} tracks failed")


def _each(
    output: Output, ids: Sequence[str], several: bool, step: Callable[[str], dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Take a step for each id, say of several which fail, and return the records of the others."""
    done = {}
    for id_ in ids:
        try:
            done[id_] = step(id_)
        except Failure as failure:
            if not several or failure.exit in uploads.FATAL:
                raise
            output.note(f"failed: {id_}: {failure.line}")
    return done


@app.command()
@_talks_to_the_api
def tracks(
    session: Session,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only so many, the newest.")] = None,
) -> None:
    """List the tracks, the newest first."""
    output = session.output
    found = session.api.pages("/api/audio", limit=min(limit or 100, 100))
    found = itertools.islice(found, limit)
    if output.as_json:
        output.document({"items": list(found)})
        return
    columns = ("id", "status", "length", "tempo", "key", "file", "tags")
    output.table(columns, (_track_row(record) for record in found))


def _track_row(record: dict[str, Any]) -> list[object]:
    features = record.get("features") or {}
    key = " ".join(filter(None, (features.get("key"), features.get("mode"))))
    length = f"{features['duration']:.1f} s" if features else ""
    tempo = f"{features['tempo']:.0f}" if features.get("tempo") else ""
    tags = ", ".join((record.get("tags") or [])[:4])
    return [record["audio_id"], record["status"], length, tempo, key, record["filename"], tags]


@app.command()
@_talks_to_the_api
def show(
    session: Session,
    id_: Annotated[str, _argument("ID", "Of a track or of a generation.")],
) -> None:
    """Show all that is known of a track or of a generation."""
    record = jobs.find(session.api, id_)
    if session.output.as_json:
        session.output.document(record)
        return
    session.output.table(("field", "value"), [(name, _shown(value)) for name, value in _flat(record)])


def _flat(document: dict[str, Any], before: str = "") -> list[tuple[str, Any]]:
    """List the fields of a document, those of inner ones under `outer.inner`, and no links."""
    found: list[tuple[str, Any]] = []
    for name, value in document.items():
        if name == "links":
            continue
        if isinstance(value, dict):
            found += _flat(value, f"{before}{name}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for number, inner in enumerate(value):
                found += _flat(inner, f"{before}{name}.{number}.")
        else:
            found.append((before + name, value))
    return found


def _shown(value: object) -> str:
    if isinstance(value, list):
        numbers = all(isinstance(item, int | float) for item in value)
        return f"{len(value)} values" if numbers and len(value) > 8 else ", ".join(map(_shown, value))
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:.1f}"
    return "" if value is None else str(value)


@app.command()
@_talks_to_the_api
def similar(
    session: Session,
    id_: Annotated[str, _argument("ID", "Of a track.")],
    k: Annotated[int, typer.Option("-k", min=1, max=100, help="How many.")] = 10,
    distinct: Annotated[bool, typer.Option("--distinct", help="Each content once.")] = False,
) -> None:
    """List the tracks that sound most like one, with their cosine."""
    query = {"k": k, **({"distinct": "true"} if distinct else {})}
    _say_results(session.output, session.api.get(f"/api/similar/{jobs.quoted(id_)}", **query))


@app.command()
@_talks_to_the_api
def search(
    session: Session,
    text: Annotated[str, _argument("TEXT", "What it should sound like.")],
    k: Annotated[int, typer.Option("-k", min=1, max=100, help="How many.")] = 10,
) -> None:
    """List the tracks that fit a description; it needs a profile that understands text."""
    _say_results(session.output, session.api.post("/api/search", {"text": text, "k": k}).document)


def _say_results(output: Output, document: dict[str, Any]) -> None:
    if output.as_json:
        output.document(document)
        return
    rows = [
        (
            f"{result['score']:.3f}",
            result["audio_id"],
            result["filename"],
            ", ".join(result.get("tags") or []),
        )
        for result in document["results"]
    ]
    output.table(("score", "id", "file", "tags"), rows)


@app.command("jobs")
@_talks_to_the_api
def list_jobs(
    session: Session,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until nothing is under way.")] = False,
    finished: Annotated[int, typer.Option("--finished", min=0, help="So many that are finished, too.")] = 20,
) -> None:
    """List what is under way, and what was made last."""
    output = session.output
    records = jobs.recent(session.api, finished)
    if not follow:
        if output.as_json:
            output.document({"items": records})
        else:
            output.table(("id", "job", "status", "done", "left", "of"), map(_job_row, records))
        return
    # What is not uploaded is no job yet: its file may never come.
    ended = {*jobs.ENDED, "awaiting_upload"}
    under_way = [record for record in records if record["status"] not in ended]
    with output.progress() as bars:
        bars_of = {jobs.identifier(record): bars.add(_job_name(record)) for record in under_way}
        failed = 0
        for record in jobs.follow_all(session.api, under_way, bars_of):
            failed += record["status"] != "succeeded" and record["status"] != "ready"
            if output.as_json:
                output.document(record)
            else:
                output.fields(*_job_row(record))
    if failed:
        raise Failure(Exit.FAILED, f"{failed} of {len(under_way)} jobs failed: `music show ID` says why")


def _job_name(record: dict[str, Any]) -> str:
    kind = "generate" if "generation_id" in record else "embed"
    return f"{kind} {jobs.identifier(record)}"


def _job_row(record: dict[str, Any]) -> list[object]:
    left = record.get("seconds_left")
    kind, name = _job_name(record).split()
    share = f"{record['progress']:.0%}"
    of = record["audio_id"] if kind == "generate" else record["filename"]
    return [name, kind, record["status"], share, None if left is None else f"{left:.0f} s", of]


def _generate(
    session: Session,
    source: Annotated[str, _argument("ID|FILE", "A track, music that was made, or a file.")],
    out: OutOption = None,
    force: ForceOption = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Fetch the file once it is made.")] = True,
    **values: Any,
) -> None:
    """Make music like a track, and fetch it.

    With a file, everything is done: upload, embedding, music, download. Without -o the file gets the
    deployment's name for it, in this folder. An ending such as .flac of -o sets the format. A file that is
    there stays, unless --force is given; the source always does.
    """
    api, output = session.api, session.output
    path = Path(source)
    is_file = is_source(path)
    destination = Destination(out, force, path if is_file else None)
    if out and not wait:
        raise Failure(Exit.USAGE, "--no-wait fetches no file: say -o to `music download`, and here --format")
    _check(destination, output)
    body = fields.body({**values, "format": _format(values["format"], destination)})
    generation: dict[str, Any] | None = None
    try:
        with output.progress() as bars:
            if is_file:
                uploaded = uploads.upload(api, path, bars)
                audio_id = uploaded.audio_id
            elif path.exists() or not source.isalnum():
                raise Failure(Exit.FILE, f"there is no file {source}, and no track has such an id")
            else:
                audio_id = jobs.track_of(api, source)
            generation = api.post(f"/api/generate/{audio_id}", body).document
            if not wait:
                _say_generation(output, generation, None)
                return
            if is_file:
                jobs.follow(api, f"/api/audio/{audio_id}", bars.add("embed"))
            generation = jobs.follow(api, generation["links"]["self"], bars.add("generate"))
            file = fetch(api, generation["links"]["download"], destination, bars)
    except (KeyboardInterrupt, SystemExit):
        if generation:
            output.note(f"it goes on: {_fetching(generation)}")
        raise
    except Failure as failure:
        if generation and failure.exit in {Exit.FILE, Exit.UNREACHABLE}:
            raise Failure(failure.exit, f"{failure.line}; {_fetching(generation)}") from failure
        raise
    _say_generation(output, generation, file)


def _check(destination: Destination, output: Output) -> None:
    """Check, before anything is asked, that there is a place for the file."""
    if destination.is_standard_output and output.as_json:
        raise Failure(Exit.USAGE, "-o - and --json both want standard output: leave one of them out")
    destination.check()


def _fetching(generation: dict[str, Any]) -> str:
    return f"`music download {generation['generation_id']} --wait` fetches the music"


def _format(given: str | None, destination: Destination) -> str | None:
    """Return the format that is wanted: as given, or by the ending of the file to write."""
    formats = next(field.schema["enum"] for field in fields.fields() if field.name == "format")
    if given not in {None, *formats}:
        raise Failure(Exit.USAGE, f"--format takes {', '.join(formats)}, not {given}")
    ending = ENDINGS.get(destination.ending, destination.ending)
    if ending in formats:
        if given not in {None, ending}:
            raise Failure(Exit.USAGE, f"{destination.given} is no name for --format {given}")
        return ending
    if ending in AUDIO or (ending and given is None):
        *others, last = formats
        known = f"{', '.join(others)} or {last}"
        raise Failure(Exit.USAGE, f"{destination.given} names no format that can be made, which are {known}")
    return given


def _say_generation(output: Output, generation: dict[str, Any], file: Path | None) -> None:
    if output.as_json:
        output.document(generation | ({"file": str(file)} if file else {}))
        return
    if file is None:
        output.line(generation["generation_id"])
        return
    for fault in generation.get("faults") or ():
        output.note(f"fault: {fault}")
    scores = ", ".join(
        f"{name} {value:.2f}"
        for name, value in (generation.get("similarity") or {}).items()
        if value is not None
    )
    output.note(f"{generation['generation_id']}: seed {generation['seed']}, similarity: {scores}")
    if str(file) != "-":
        output.line(file)


def _command_of_generate() -> Callable[..., None]:
    """Give `_generate` one option for each field of the request, as the contract has them."""
    own = inspect.signature(_generate, eval_str=True)
    parameters = [*own.parameters.values()][:-1]
    parameters = [*parameters, *(field.parameter() for field in fields.fields())]

    @functools.wraps(_generate)
    def generate(*arguments: Any, **values: Any) -> None:
        _generate(*arguments, **values)

    generate.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    return generate


app.command("generate")(_talks_to_the_api(_command_of_generate()))


@app.command()
@_talks_to_the_api
def download(
    session: Session,
    id_: Annotated[str, _argument("ID", "Of a generation.")],
    out: OutOption = None,
    force: ForceOption = False,
    candidate: Annotated[
        int | None,
        typer.Option("--candidate", min=0, metavar="N", help="Another one than the chosen one."),
    ] = None,
    format_: Annotated[
        str | None, typer.Option("--format", help="Another format than it was made in.", metavar="FORMAT")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until it is made.")] = False,
) -> None:
    """Fetch the music of a generation. A file that is there stays, unless --force is given."""
    api, output = session.api, session.output
    destination = Destination(out, force)
    _check(destination, output)
    wanted = _format(format_, destination)
    with output.progress() as bars:
        try:
            record = api.get(f"/api/generation/{jobs.quoted(id_)}")
        except Failure as failure:
            raise (jobs.missing("generation", id_) if failure.code == "not_found" else failure) from failure
        if wait:
            record = jobs.follow(api, record["links"]["self"], bars.add("generate"))
        jobs.check(record)
        if record["status"] not in jobs.SUCCEEDED:
            done = f"{record['progress']:.0%}"
            raise Failure(Exit.NOT_FINISHED, f"it is {record['status']}, {done} done: --wait waits for it")
        link = record["links"]["download"]
        if candidate is not None or wanted not in {None, record["parameters"]["format"]}:
            number = record.get("chosen") or 0 if candidate is None else candidate
            link += f"/{number}" + (f"?format={wanted}" if wanted else "")
        file = fetch(api, link, destination, bars)
    if output.as_json:
        output.document({"generation_id": record["generation_id"], "file": str(file)})
    elif str(file) != "-":
        output.line(file)


@app.command("open")
@_talks_to_the_api
def open_page(session: Session) -> None:
    """Open the deployment's page in the browser."""
    url = f"{session.api.url}/"
    session.api.get("/api/health")
    if session.output.as_json:
        session.output.document({"url": url})
    else:
        session.output.line(url)
    if not webbrowser.open(url):
        session.output.note("no browser can be opened here: open this address in one")


# What follows does not talk to the API: it starts a stack, or works with AWS.


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False
)
def serve(context: typer.Context) -> None:
    """Run the local stack in the foreground, until Ctrl-C; `music serve --help` lists its options."""
    _checkout("serve")
    python_path = filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(python_path)}
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-m", "local", "serve", *context.args], environment)  # noqa: S606


@app.command()
def demo(
    audio: Annotated[Path | None, typer.Option(help="Track to start from (a piece of our own).")] = None,
    duration: Annotated[float, typer.Option(help="Seconds of new music.")] = 30.0,
    temperature: Annotated[float, typer.Option(help="How far it strays.")] = 1.0,
    seed: Annotated[int | None, typer.Option(help="The same seed makes the same music.")] = None,
    profile: Annotated[str, typer.Option(help="Engine profile.")] = "builtin",
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("out"),
) -> None:
    """Start a local stack, make music like a track, draw a picture of both, and end the stack."""
    _checkout("demo")
    from client import demo as demonstration

    wishes = {"duration": duration, "temperature": temperature, "seed": seed}
    demonstration.run(audio, wishes, profile, out)


StackOption = Annotated[str | None, typer.Option("--stack", metavar="NAME", help="A stack on AWS.")]
EndpointOption = Annotated[
    str | None,
    typer.Option("--endpoint-url", metavar="URL", help="The AWS of a local stack."),
]
TenantOption = Annotated[
    str | None, typer.Option("--tenant", metavar="NAME", help="Whom it speaks for; a new tenant by default.")
]


@keys_app.command("create")
def create_key(
    stack: StackOption = None, endpoint_url: EndpointOption = None, tenant: TenantOption = None
) -> None:
    """Make a key and print it, this once. It needs AWS credentials, or a local stack."""
    _checkout("keys")
    from client import keys

    keys.create(*_one_place(stack, endpoint_url), tenant)


@keys_app.command("list")
def list_keys(
    stack: StackOption = None, endpoint_url: EndpointOption = None, tenant: TenantOption = None
) -> None:
    """List the keys. It needs AWS credentials, or a local stack."""
    _checkout("keys")
    from client import keys

    keys.show(*_one_place(stack, endpoint_url), tenant)


@keys_app.command("revoke")
def revoke_key(
    id_: Annotated[str, _argument("ID", "What stands before a key's dot.")],
    stack: StackOption = None,
    endpoint_url: EndpointOption = None,
) -> None:
    """Revoke a key, which works for up to a minute more. It needs AWS credentials, or a local stack."""
    _checkout("keys")
    from client import keys

    keys.revoke(*_one_place(stack, endpoint_url), id_)


@app.command()
def redrive(stack: StackOption = None, endpoint_url: EndpointOption = None) -> None:
    """Try again what workers gave up. It needs AWS credentials, or a local stack."""
    _checkout("redrive")
    from client import redrive as dead_letters

    dead_letters.run(*_one_place(stack, endpoint_url))


@app.command()
def deploy(
    profile: Annotated[str, typer.Option(help="Engine profile.")] = "builtin",
    config_env: Annotated[str, typer.Option(help="Section of samconfig.toml.")] = "default",
    generate_host: Annotated[
        str, typer.Option(help="Where generations run: lambda, or sagemaker, an endpoint.")
    ] = "lambda",
    endpoint_base: Annotated[
        str | None, typer.Option(metavar="IMAGE", help="What the endpoint's image starts from.")
    ] = None,
) -> None:
    """Build the images and deploy the stack. It needs AWS credentials, SAM CLI and Docker."""
    _checkout("deploy")
    from client import deploy as deployment

    deployment.run(profile, config_env, generate_host, endpoint_base)


def _one_place(stack: str | None, endpoint_url: str | None) -> tuple[str | None, str | None]:
    if (stack is None) == (endpoint_url is None):
        raise Failure(Exit.USAGE, "say --stack NAME on AWS, or --endpoint-url URL of a local stack")
    return stack, endpoint_url


def _checkout(command: str) -> None:
    """Check that the stack's code is here: a package that was installed alone has the command line only."""
    if not (ROOT / "template.yaml").is_file():
        where = "run .venv/bin/music in a checkout"
        raise Failure(Exit.USAGE, f"`music {command}` needs the whole repository: {where}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code, and whatever went wrong is one line."""
    # A proxy in the environment is for the world outside: nobody asks it for what runs on this machine.
    direct = (os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or "").split(",")
    os.environ["no_proxy"] = ",".join(dict.fromkeys([*filter(None, direct), "127.0.0.1", "localhost"]))
    with _terminable():
        try:
            code = app(argv, prog_name="music", standalone_mode=False)
            sys.stdout.flush()
            if code == Exit.INTERRUPTED:
                return _end(Exit.INTERRUPTED, "interrupted")
            return int(code or Exit.DONE)
        except Failure as failure:
            if failure.exit is Exit.READER_GONE:
                _close_output()
                return failure.exit
            return _end(failure.exit, failure.line)
        except SystemExit as ended:
            if ended.code != Exit.TERMINATED:
                raise
            return _end(Exit.TERMINATED, "terminated")
        except OSError as error:
            if error.errno not in _FULL:
                raise
            _close_output()
            return _end(Exit.FILE, file_failure("standard output", "written", error).line)
        except typer.TyperException as error:
            if type(error).__name__ == "NoArgsIsHelpError":  # the message is the help
                print(error.format_message(), file=sys.stderr)
                return Exit.USAGE
            said = error.format_message().rstrip(".").replace("Value error, ", "")
            context = getattr(error, "ctx", None)
            command = context.command_path if context else "music"
            return _end(Exit.USAGE, f"{said} (`{command} --help` lists what there is)")
        except Exception as error:
            if os.environ.get("MUSIC_DEBUG"):
                raise
            said = f"{type(error).__name__}: {error}".splitlines()[0]
            return _end(Exit.FAILED, f"this is a mistake of `music` ({said}): MUSIC_DEBUG=1 shows where")


def _close_output() -> None:
    """Let Python flush at its end into nothing."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _end(code: Exit, line: str) -> int:
    print(f"error: {clean(line)}", file=sys.stderr)
    return code


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end a command as Ctrl-C does, so that no half file is left."""

    def end(*_: object) -> NoReturn:
        raise SystemExit(Exit.TERMINATED)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())
