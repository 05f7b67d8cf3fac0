"""Pools of worker processes: one pool for each function, one process for each invocation at a time."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from local import template
from local.aws.signature import ACCESS_KEY, SECRET_KEY
from local.invoke import MAX_PAYLOAD_BYTES, InvocationError
from local.logs import Log
from local.template import Deployment, Function

INIT_SECONDS = 300.0
"""For loading a handler. Lambda allows 10 s; workers at low priority on a busy laptop may need minutes."""
HTTP_WORKERS = 16
"""Processes at most for a function behind the API."""


class StartError(Exception):
    """A function's handler cannot be loaded."""


class Process:
    """One process of a function.

    Parameters
    ----------
    function : Function
        What to run.
    environment : mapping
        All of its environment.
    log : Log
        Takes what it prints.
    niceness : int
        Added to the priority of this process.
    """

    def __init__(self, function: Function, environment: Mapping[str, str], log: Log, niceness: int) -> None:
        self._function = function
        requests, self._requests = os.pipe()
        self._answers, answers = os.pipe()
        worker = str(Path(__file__).with_name("worker.py"))
        command = [sys.executable, "-P", worker, function.image.handler, str(requests), str(answers)]
        if niceness:
            command = ["nice", "-n", str(niceness), *command]
        try:
            self._process = subprocess.Popen(
                command,
                env=dict(environment),
                cwd=environment["TMPDIR"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(requests, answers),
                start_new_session=True,  # Ctrl-C is for the parent, which ends its children
            )
        finally:
            os.close(requests)
            os.close(answers)
        self._poll = select.poll()
        self._poll.register(self._answers, select.POLLIN)
        assert self._process.stdout is not None
        self._output = self._process.stdout
        threading.Thread(target=self._follow, args=(log,), daemon=True).start()

    def wait_until_loaded(self) -> None:
        """Wait for the handler.

        Raises
        ------
        InvocationError
            When it cannot be loaded.
        """
        self._receive(
            time.monotonic() + INIT_SECONDS, "Runtime.InitTimeout", f"not loaded in {INIT_SECONDS:.0f} s"
        )

    def invoke(self, event: bytes) -> Any:
        """Send an event (JSON) and wait for the answer; kills the process at the function's timeout."""
        seconds, request_id = self._function.timeout, str(uuid.uuid4())
        arn = f"arn:aws:lambda:{template.REGION}:{template.ACCOUNT}:function:{self._function.name}"
        head = json.dumps({"seconds": seconds, "request_id": request_id, "arn": arn})[:-1]
        data = f'{head}, "event": '.encode() + event + b"}"
        deadline = time.monotonic() + seconds
        self._send(len(data).to_bytes(4, "big") + data)
        message = f"{request_id} Task timed out after {seconds:.2f} seconds"
        return self._receive(deadline, "Sandbox.Timedout", message)

    @property
    def alive(self) -> bool:
        """Whether it can take another event."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End it and whatever it started; an invocation under way fails."""
        kill_group(self._process.pid)
        self._process.wait()

    def close(self) -> None:
        """End it and close its pipes. Only for whoever could otherwise invoke it."""
        self.kill()
        os.close(self._requests)
        os.close(self._answers)

    def _follow(self, log: Log) -> None:
        with self._output:
            log.follow(self._function.label, self._output)

    def _send(self, data: bytes) -> None:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._requests, view) :]
        except BrokenPipeError as error:
            raise self._ended() from error

    def _receive(self, deadline: float, kind: str, message: str) -> Any:
        try:
            length = int.from_bytes(self._read(4, deadline), "big")
            answer = json.loads(self._read(length, deadline))
        except TimeoutError as error:
            self.kill()
            raise InvocationError(kind, message) from error
        if "error" in answer:
            raise InvocationError(answer["error"]["errorType"], answer["error"]["errorMessage"])
        return answer["result"]

    def _read(self, count: int, deadline: float) -> bytes:
        data = bytearray()
        while len(data) < count:
            if not self._poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise TimeoutError
            piece = os.read(self._answers, min(count - len(data), 1 << 20))
            if not piece:
                raise self._ended()
            data += piece
        return bytes(data)

    def _ended(self) -> InvocationError:
        self.kill()
        return InvocationError(
            "Runtime.ExitError", f"the process ended with status {self._process.returncode}"
        )


def kill_group(pid: int) -> None:
    """End a process that leads a session of its own, and whatever it started (SIGKILL)."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


class Pool:
    """The processes of one function. As Lambda does, it starts one when an event finds all of them busy.

    Parameters
    ----------
    function, environment, log, niceness
        See `Process`.
    limit : int
        Processes at most. When so many are busy, an event waits.
    """

    def __init__(
        self,
        function: Function,
        environment: Mapping[str, str],
        log: Log,
        *,
        limit: int,
        niceness: int = 0,
    ) -> None:
        self._function, self._environment, self._log, self._niceness = function, environment, log, niceness
        self._limit = limit
        self._processes: set[Process] = set()
        self._idle: list[Process] = []
        self._closed = False
        self._change = threading.Condition()

    def start(self) -> None:
        """Start the first process and wait for it.

        Raises
        ------
        StartError
            When the handler cannot be loaded.
        """
        try:
            self._give_back(self._take())
        except InvocationError as error:
            raise StartError(f"{self._function.label} cannot be loaded: {error}") from error

    def invoke(self, event: Any) -> Any:
        """Invoke the function in a process that is free."""
        data = json.dumps(event).encode()
        if len(data) > MAX_PAYLOAD_BYTES:
            message = f"{len(data)} byte payload is too large for the RequestResponse invocation type"
            raise InvocationError("RequestEntityTooLargeException", message)
        process = self._take()
        try:
            answer = process.invoke(data)
        finally:
            self._give_back(process)
        if len(json.dumps(answer)) > MAX_PAYLOAD_BYTES:
            message = (
                f"Response payload size exceeded maximum allowed payload size ({MAX_PAYLOAD_BYTES} bytes)."
            )
            raise InvocationError("Function.ResponseSizeTooLarge", message)
        return answer

    def close(self) -> None:
        """End every process, busy or not."""
        with self._change:
            self._closed = True
            idle, self._idle = self._idle, []
            busy = self._processes.difference(idle)
            self._change.notify_all()
        for process in idle:
            self._discard(process)
        for process in busy:
            process.kill()  # and whoever waits for it discards it

    def _take(self) -> Process:
        with self._change:
            while True:
                if self._closed:
                    raise InvocationError("Runtime.Unavailable", "the local stack is ending")
                while self._idle:
                    process = self._idle.pop()
                    if process.alive:
                        return process
                    self._processes.discard(process)
                    process.close()
                if len(self._processes) < self._limit:
                    process = Process(self._function, self._environment, self._log, self._niceness)
                    self._processes.add(process)
                    break
                self._change.wait()
        try:
            process.wait_until_loaded()
        except BaseException:
            self._discard(process)
            raise
        return process

    def _give_back(self, process: Process) -> None:
        with self._change:
            if process.alive and not self._closed:
                self._idle.append(process)
                self._change.notify()
                return
        self._discard(process)

    def _discard(self, process: Process) -> None:
        process.close()
        with self._change:
            self._processes.discard(process)
            self._change.notify()


class ProcessPools:
    """Invokes the functions of a deployment in local processes.

    Parameters
    ----------
    deployment : Deployment
        The functions and their environment.
    endpoint_url : str
        The local AWS.
    log : Log
        Takes what handlers print.
    http_workers : int
        Processes at most of every function behind the API.
    workers : int
        Processes at most of every other function; they run at low priority.
    """

    def __init__(
        self,
        deployment: Deployment,
        endpoint_url: str,
        log: Log,
        *,
        http_workers: int = HTTP_WORKERS,
        workers: int = 1,
    ) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="music-local-"))
        behind_api = {route.function for route in deployment.routes}
        behind_api |= {authorizer.function for authorizer in deployment.authorizers.values()}
        self._pools = {}
        for name, function in deployment.functions.items():
            environment = _environment(function, endpoint_url, self._folder)
            if name in behind_api:
                pool = Pool(function, environment, log, limit=http_workers)
            else:
                pool = Pool(function, environment, log, limit=workers, niceness=10)
            self._pools[name] = pool

    def start(self) -> None:
        """Start the first process of every pool, all at once, and wait for them.

        Raises
        ------
        StartError
            When a handler cannot be loaded.
        """
        errors: list[StartError] = []

        def start(pool: Pool) -> None:
            try:
                pool.start()
            except StartError as error:
                errors.append(error)

        threads = [threading.Thread(target=start, args=(pool,), daemon=True) for pool in self._pools.values()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise StartError("; ".join(str(error) for error in errors))

    def invoke(self, function: str, event: Any) -> Any:
        """Invoke a function and wait for its answer."""
        return self._pools[function].invoke(event)

    def close(self) -> None:
        """End every process."""
        for pool in self._pools.values():
            pool.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def _environment(function: Function, endpoint_url: str, folder: Path) -> dict[str, str]:
    """All that a function finds in its environment: the template's, and what Lambda and the SDK need."""
    temporary = folder / function.label / "tmp"
    temporary.mkdir(parents=True)
    searched = function.image.lay_out(folder / function.label / "image")
    return {
        **function.environment,
        **surroundings(endpoint_url, temporary, searched),
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory),
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        # Processes are started ahead, and load their models then: who lacks weights learns so at once.
        "AWS_LAMBDA_INITIALIZATION_TYPE": "provisioned-concurrency",
    }


def surroundings(endpoint_url: str, temporary: Path, searched: Sequence[Path]) -> dict[str, str]:
    """Return what any process of the stack finds in its environment, whatever the template says.

    Parameters
    ----------
    endpoint_url : str
        The local AWS.
    temporary : Path
        Its home, and its place for temporary files.
    searched : sequence of Path
        Where its modules are.
    """
    return {
        "AWS_ENDPOINT_URL": endpoint_url,
        "AWS_REGION": template.REGION,
        "AWS_DEFAULT_REGION": template.REGION,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "MODELS": os.environ.get("MODELS", str(template.ROOT / "build/models")),
        # The runtime on torch, where it is installed (see `music.loading.load`).
        **{
            name: os.environ[name]
            for name in ("RUNTIME", "EMBEDDER_RUNTIME", "CHECKPOINTS", "PRECISION")
            if name in os.environ
        },
        "HOME": str(temporary),
        "TMPDIR": str(temporary),
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONPATH": os.pathsep.join(map(str, searched)),
        "PYTHONUNBUFFERED": "1",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
    }
