"""The container behind the SageMaker endpoint: the worker of the generate queue, fed by requests.

    GET /ping           200 once the weights are checked and loaded; until then, and where the machine will
                        not do, 503 with a problem: `{code, detail}` (see `functions.endpoint.machine`)
    POST /invocations   a message of the generate queue; 200 with `{"status": word}` when the job is over, has
                        to wait or is somebody else's (see `backend.jobs`): the record says the same
                        400, 411, 413: not a message; 503: no work can be taken; 500: AWS did not answer

It is the same job as on Lambda: the same claims, leases, snapshots and keys. A message that is to come again
is sent to the queue anew, with a delay; what somebody else has leased the sweeper looks after.

On torch, invocations run side by side, as many as `ENDPOINT_STREAMS` says, and their streams share one batch.
On the C engine, which uses all processors for one job, they run one after the other, in the order in which
they came, and none is claimed before its turn. More than `ENDPOINT_STREAMS` at a time are refused.

At SIGTERM no work is taken any more. What makes steps saves a snapshot at the next one and is given back;
what only computes is given back when it next tells its progress, `RESERVE_SECONDS` before the end; what does
neither is given back by the server, and whoever still works on it is fenced. No try is counted, and messages
are sent, so another container goes on at once. All of it takes less than `STOP_SECONDS`, of the 30 s that
SageMaker waits before it kills. What is killed loses nothing: its lease ends, and the sweeper sends again.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from backend.jobs import INVOCATION_SECONDS, Later, Runner, Target, read_message
from backend.observability import flush, logger, note
from backend.queues import Queues
from backend.records import Generation, Limits, RecordError, Records
from backend.settings import ProfileMismatch, Settings, SettingsError
from functions.endpoint import machine
from functions.endpoint.machine import Refused
from music import loading
from music.engine.bundle import BundleError, available_memory, open_bundle
from music.profiles import DECLARED, ProfileError, bundle_folder

MAX_BODY_BYTES = 128_000
"""The largest body that an asynchronous invocation may bring along."""
STOP_SECONDS = 25.0
"""Seconds from SIGTERM to the end of the process."""
LAST_SECONDS = 4.0
"""What of them is left when the server gives back what nobody else did."""
IDLE_SECONDS = 60.0
"""Seconds after which a connection is closed on which nothing comes."""
AGAIN = {"unfinished", "retried", "no_time", "moved"}
"""What a message is sent again for."""
_RETRY_SECONDS = 30.0  # where AWS did not answer

Answer = tuple[int, dict[str, Any]]


class Endpoint:
    """Takes invocations and does their jobs.

    Parameters
    ----------
    environ : mapping, optional
        The environment.
    clock : callable, optional
        Returns a time in seconds, of which differences matter.

    Examples
    --------
    >>> endpoint = Endpoint()               # doctest: +SKIP
    >>> endpoint.load()                     # doctest: +SKIP
    >>> endpoint.ping()                     # doctest: +SKIP
    (200, {'status': 'ready', ...})
    """

    def __init__(
        self, environ: Mapping[str, str] = os.environ, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._environ, self._clock = environ, clock
        self._changed = threading.Condition()
        self._refused: Refused | None = Refused("loading", "The weights are being checked and loaded.")
        self._about: dict[str, Any] = {}
        self._lanes: list[Runner[Generation]] = []
        self._free: list[Runner[Generation]] = []
        self._waiting: list[object] = []  # in the order in which they came
        self._records: Records | None = None
        self._streams = self._taken = self._answering = 0
        self._ends_at: float | None = None

    # -- what it is

    def load(self) -> None:
        """Check the machine and the weights, and load them; where that cannot be, `ping` says why."""
        started = self._clock()
        try:
            lanes, records, about = self._loaded()
        except Refused as refused:
            self._refuse(refused)
        except Exception as error:  # whatever it is, only `ping` can tell
            logger.exception("not loaded")
            self._refuse(Refused("not_loaded", f"{type(error).__name__}: {error}"))
        else:
            with self._changed:
                self._lanes, self._free, self._records = lanes, list(lanes), records
                self._about, self._refused = about, None
            logger.info("ready", extra={"seconds": round(self._clock() - started, 3), **about})

    def _loaded(self) -> tuple[list[Runner[Generation]], Records, dict[str, Any]]:
        try:
            settings = Settings.from_environment(self._environ)
            streams = read_streams(self._environ)
            runtime = loading.runtime()
        except ProfileMismatch as error:
            raise Refused("wrong_profile", str(error)) from error
        except (SettingsError, ProfileError) as error:
            raise Refused("wrong_settings", str(error)) from error
        if settings.profile not in DECLARED:
            raise Refused("wrong_settings", f"unknown profile {settings.profile!r}")
        side_by_side = streams if runtime == "torch" and not DECLARED[settings.profile].identity else 1
        try:
            check(settings.profile, runtime, streams, in_image="IMAGE_PROFILE" in self._environ)
            from functions.generate import app  # makes AWS clients

            app.profile()
        except (BundleError, ProfileError) as error:
            raise Refused("not_loaded", str(error)) from error
        self._streams = streams
        lanes = [self._lane(app, settings) for _ in range(side_by_side)]
        about = {"profile": settings.profile, "runtime": runtime, "side_by_side": side_by_side}
        return lanes, Records.from_settings(settings), about

    def _lane(self, app: Any, settings: Settings) -> Runner[Generation]:
        """Make what does one job at a time: boto3 resources must not be shared by threads."""
        records = Records.from_settings(settings)
        storage, events = app.Storage.from_settings(settings), app.Events.from_settings(settings, records)
        return Runner(
            app.Generate(records, storage, events),
            records=records,
            renewals=Records.from_settings(settings),
            queues=Queues.from_settings(settings),
            limits=Limits.from_settings(settings),
            stopping=lambda: self._ends_at is not None,
        )

    def _refuse(self, refused: Refused) -> None:
        with self._changed:
            self._refused = refused
        logger.error("refused", extra={"code": refused.code, "detail": refused.detail})

    def ping(self) -> Answer:
        """Answer whether work may be sent here."""
        if problem := self._problem():
            return 503, problem
        return 200, {"status": "ready", **self._about}

    def _problem(self) -> dict[str, Any] | None:
        if self._ends_at is not None:
            return {"code": "stopping", "detail": "The container is being stopped."}
        if refused := self._refused:
            return {"code": refused.code, "detail": refused.detail}
        return None

    # -- what it does

    def invoke(self, body: bytes) -> Answer:
        """Do the job that a message asks for, when its turn comes.

        Parameters
        ----------
        body : bytes
            The message.
        """
        ends_at = self._clock() + INVOCATION_SECONDS
        if problem := self._problem():
            return 503, problem
        try:
            target = read(body)
        except (ValueError, KeyError, TypeError) as error:
            return 400, {"code": "not_a_message", "detail": f"Not a message of the generate queue: {error!r}"}
        with self._changed:
            if self._taken >= self._streams:
                return 503, {"code": "busy", "detail": f"{self._streams} invocations are under way."}
            self._taken += 1
        lane: Runner[Generation] | None = None
        try:
            lane = self._enter()
            if lane is None:
                return 503, self._problem() or {}
            return self._run(lane, target, lambda: self._left(ends_at))
        finally:
            with self._changed:
                self._taken -= 1
                if lane:
                    self._free.append(lane)
                self._changed.notify_all()
            flush()

    def _enter(self) -> Runner[Generation] | None:
        """Wait for a lane, in the order of those who wait; None where the container is stopped meanwhile."""
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            try:
                self._changed.wait_for(
                    lambda: self._ends_at is not None or (self._free and self._waiting[0] is ticket)
                )
                return None if self._ends_at is not None else self._free.pop()
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def _run(self, lane: Runner[Generation], target: Target, remaining: Callable[[], float]) -> Answer:
        try:
            # Nobody counts how often a message came: what a second one finds finished is told again.
            return 200, {"status": lane.run(target, remaining, redelivered=True)}
        except Later as later:
            if later.status in AGAIN:
                send_again(lane.queues, target, later.seconds)
            return 200, {"status": later.status}
        except Exception:
            logger.exception("message not handled")
            send_again(lane.queues, target, _RETRY_SECONDS)
            return 500, {"code": "not_handled", "detail": "AWS did not answer. The message will come again."}

    def _left(self, ends_at: float) -> float:
        if self._ends_at is not None:
            ends_at = min(ends_at, self._ends_at)
        return ends_at - self._clock()

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Keep the process alive for an answer, as long as it can be."""
        with self._changed:
            self._answering += 1
        try:
            yield
        finally:
            with self._changed:
                self._answering -= 1
                self._changed.notify_all()

    # -- how it ends

    def stop(self) -> None:
        """Give back what is under way, and return within `STOP_SECONDS`."""
        with self._changed:
            self._ends_at = self._clock() + STOP_SECONDS
            self._changed.notify_all()
            logger.info("stopping", extra={"invocations": self._taken})
            self._changed.wait_for(lambda: not (self._answering or self._taken), STOP_SECONDS - LAST_SECONDS)
        for lane in self._lanes:
            if self._records and (record := lane.claimed):
                give_back(self._records, lane.queues, record)
        flush()


def read_streams(environ: Mapping[str, str]) -> int:
    """Return how many invocations may run at a time.

    Raises
    ------
    SettingsError
        If `ENDPOINT_STREAMS` is no whole number from 1 on.
    """
    value = environ.get("ENDPOINT_STREAMS", "").strip()
    if not value.isdecimal() or int(value) < 1:
        raise SettingsError(
            f"environment variable ENDPOINT_STREAMS must be a whole number, at least 1, not {value!r}"
        )
    return int(value)


def read(body: bytes) -> Target:
    """Read a message of `backend.queues`.

    Raises
    ------
    ValueError, KeyError, TypeError
        It is none.
    """
    target = Target.from_message(read_message(body), Generation.kind)
    if not all(isinstance(one, str) and one for one in (target.tenant, target.id)):
        raise ValueError("tenant and id are texts")
    return target


def check(profile: str, runtime: str, streams: int, *, in_image: bool = False) -> None:
    """Check the machine and the weights' files before anything is loaded.

    Parameters
    ----------
    profile, runtime : str
        What is to be loaded, and on what.
    streams : int
        Candidates that are made at the same time.
    in_image : bool
        Whether a checkpoint has hashes beside it, as in an image; those of a bundle are in its manifest.

    Raises
    ------
    Refused
        See `functions.endpoint.machine`.
    """
    if DECLARED[profile].identity:
        return  # no weights, and no GPU
    try:
        if runtime == "torch":
            folder = loading.checkpoint_folder(profile, "musicgen")
            check_torch(folder, streams)
            if in_image:
                machine.verify(folder)
        if networks := networks_of(runtime, loading.runtime("EMBEDDER_RUNTIME", runtime)):
            bundle = open_bundle(bundle_folder(profile), profile, networks)
            if runtime == "engine":
                machine.require_memory(bundle.memory(), available_memory())
            bundle.verify()
    except (BundleError, ProfileError) as error:
        raise Refused("weights_damaged", str(error)) from error


def networks_of(runtime: str, embedder_runtime: str) -> tuple[str, ...]:
    """Name what of a bundle the engine runs."""
    music = ("t5", "musicgen", "encodec") if runtime == "engine" else ()
    return (*music, *(("clap_audio", "clap_tags") if embedder_runtime == "engine" else ()))


def check_torch(folder: Path, streams: int) -> None:
    """Check that a checkpoint fits the GPU that torch is built for, or the machine where it is for none."""
    import torch

    from music.musicgen.generator import MAX_TEXT_TOKENS
    from music.torch import memory

    built_for: str | None = torch.version.cuda
    precision = os.environ.get("PRECISION") or ("bfloat16" if built_for else "float32")
    if precision not in memory.ITEM_BYTES:
        raise Refused("wrong_settings", f"unknown PRECISION {precision!r}")
    config = machine.read_config(folder)
    try:
        needed = partial(memory.needed, config, precision, streams, MAX_TEXT_TOKENS)
        if built_for is None:
            machine.require_memory(needed(machine.HOST_BYTES), available_memory())
        else:
            machine.require_gpu(built_for, machine.read_driver(), needed(machine.GPU_BYTES))
    except (ValueError, KeyError, TypeError) as error:
        raise Refused("weights_damaged", f"{folder / 'config.json'}: {error!r}") from error


def send_again(queues: Queues, target: Target, seconds: float) -> None:
    """Send a job's message once more, to be delivered in so many seconds; else the sweeper does."""
    try:
        queues.send_generate(target.tenant, target.id, target.correlation_id, delay=seconds)
    except (BotoCoreError, ClientError):
        logger.warning("message not sent again", exc_info=True)


def give_back(records: Records, queues: Queues, record: Generation) -> None:
    """Give a job back whose worker does not; from then on that worker is fenced."""
    try:
        records.give_back(record, failed=False)
    except RecordError:
        return  # its worker was faster
    except (BotoCoreError, ClientError):
        logger.warning("job not given back", exc_info=True)  # its lease ends
        return
    logger.warning("given back for its worker", extra={"record": record.id})
    send_again(queues, Target(record.tenant, record.id, record.correlation_id), 0)


class Handler(BaseHTTPRequestHandler):
    """Speaks SageMaker's HTTP."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "music", ""
    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True
    endpoint: Endpoint

    def do_GET(self) -> None:
        """Answer `/ping`."""
        if self.path != "/ping":
            return self._answer(404, {"code": "not_found", "detail": "There are /ping and /invocations."})
        return self._answer(*self.endpoint.ping())

    def do_POST(self) -> None:
        """Answer `/invocations`."""
        if self.path != "/invocations":
            self.close_connection = True  # with whatever body it has
            return self._answer(404, {"code": "not_found", "detail": "There are /ping and /invocations."})
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            self.close_connection = True
            return self._answer(
                411, {"code": "length_required", "detail": "Content-Length says how long it is."}
            )
        if len(length) > 9 or int(length) > MAX_BODY_BYTES:
            self.close_connection = True
            return self._answer(413, {"code": "too_large", "detail": f"At most {MAX_BODY_BYTES} bytes."})
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            self.close_connection = True  # the client is gone
            return None
        logger.thread_safe_clear_keys()  # of the message before on this connection
        note(inference_id=self.headers.get("X-Amzn-SageMaker-Inference-Id", "")[:200])
        with self.endpoint.answering():
            return self._answer(*self.endpoint.invoke(body))

    def _answer(self, status: int, document: dict[str, Any]) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json" if status == 200 else "application/problem+json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Stay silent: what happens is logged where it happens."""


class Server(ThreadingHTTPServer):
    """Every connection has a thread."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what a connection failed of, such as a client that went."""
        logger.warning("connection failed", exc_info=True)


def serve(endpoint: Endpoint, host: str, port: int) -> Server:
    """Make a server, which listens already."""
    handler = type("EndpointHandler", (Handler,), {"endpoint": endpoint})
    return Server((host, port), handler)


def main(arguments: Sequence[str]) -> int:
    """Serve until SIGTERM."""
    if list(arguments) != ["serve"]:
        print("usage: python -m functions.endpoint serve", file=sys.stderr)
        return 2
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    endpoint = Endpoint()
    host = os.environ.get("ENDPOINT_HOST", "0.0.0.0")  # noqa: S104 - the container's own network
    port = int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080"))
    server = serve(endpoint, host, port)
    logger.info("listening", extra={"port": server.server_address[1]})
    threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
    threading.Thread(target=endpoint.load, daemon=True).start()
    ended.wait()
    last = threading.Timer(STOP_SECONDS, os._exit, (1,))  # where AWS does not answer either: leases end
    last.daemon = True
    last.start()
    endpoint.stop()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # threads that still compute must not hold up the end, nor meet a half-closed interpreter
