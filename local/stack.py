"""The local stack: the local AWS with everything that the template declares, triggers, and the API.

`Stack` lives in this process. `StackProcess` is the same stack in a process of its own, for tests: moto keeps
its state in module globals, where a test that mocks AWS would wipe it.

Examples
--------
>>> with StackProcess() as stack:                                               # doctest: +SKIP
...     urllib.request.urlopen(f"{stack.api_url}/api/health").status
200
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO

from local.aws.front import Front
from local.aws.provision import provision
from local.gateway import Gateway
from local.invoke import Invoker
from local.logs import Log
from local.pool import ProcessPools
from local.serving import HttpServer
from local.template import ACCOUNT, ROOT, TEMPLATE, Deployment, load
from local.triggers import Triggers

END_SECONDS = 150.0


class Stack:
    """The local AWS and what the template declares in it; then triggers and the API, as wanted.

    Parameters
    ----------
    host : str
        Address that everything listens on.
    aws_port : int
        Port of the local AWS; 0 takes a free one.
    parameters : mapping, optional
        Template parameters.
    template : Path
        The template.
    log : Log, optional
        Takes what happens.

    Attributes
    ----------
    endpoint_url : str
        The local AWS.
    api_url : str
        The API; empty until `start_api`.
    deployment : Deployment
        What the template declares, functions with their environment included.
    log : Log
        Takes what happens.

    Examples
    --------
    Everything in containers: start the AWS, give the functions' environment to `sam local start-lambda`, let
    the triggers invoke through it.

    >>> with Stack(host=bridge_address) as stack:                              # doctest: +SKIP
    ...     stack.start_triggers(LambdaEndpoint("http://127.0.0.1:3001"))
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        aws_port: int = 0,
        parameters: Mapping[str, str] | None = None,
        template: Path = TEMPLATE,
        log: Log | None = None,
    ) -> None:
        self._host, self.log = host, log or Log()
        self._front = Front(ACCOUNT)
        self._aws = HttpServer(host, aws_port)
        self.endpoint_url, self.api_url = self._aws.url, ""
        self._closing: list[Triggers | Gateway | HttpServer | Invoker] = []
        try:
            self.deployment: Deployment = load(self.endpoint_url, path=template, parameters=parameters)
        except BaseException:
            self._aws.close()
            raise

    def start(self) -> None:
        """Start the local AWS and create what the template declares."""
        self._aws.start(self._front)
        self._front.cors_rules = {bucket.name: bucket.cors for bucket in self.deployment.buckets}
        provision(self.deployment, self.endpoint_url)

    def process_pools(self, *, http_workers: int = 4, workers: int = 1) -> ProcessPools:
        """Start local processes for the functions, and return what invokes them."""
        pools = ProcessPools(
            self.deployment, self.endpoint_url, self.log, http_workers=http_workers, workers=workers
        )
        self._closing.append(pools)
        pools.start()
        return pools

    def start_triggers(self, invoker: Invoker, *, pollers: int = 1) -> None:
        """Let queues and schedules invoke functions."""
        triggers = Triggers(self.deployment, self.endpoint_url, invoker, self.log, pollers=pollers)
        self._closing.append(triggers)
        triggers.start()

    def start_api(self, invoker: Invoker, server: HttpServer | None = None) -> None:
        """Serve the API, from a free port when no server is given."""
        gateway = Gateway(self.deployment, invoker, self.log)
        server = server or HttpServer(self._host, 0)
        self._closing += [gateway, server]
        server.start(gateway)
        self.api_url = server.url

    def close(self) -> None:
        """End everything, the newest first."""
        while self._closing:
            self._closing.pop().close()
        self._aws.close()

    def __enter__(self) -> Stack:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class StackProcess:
    """`python -m local serve` (or ``sam``) on free ports, from `with` to the end of its block.

    Parameters
    ----------
    arguments : str
        Further arguments, such as ``"--profile", "builtin"``.
    command : str
        ``"serve"``, or ``"sam"`` for functions in containers.

    Attributes
    ----------
    api_url, endpoint_url : str
        Where the API and the local AWS answer.
    log_path : Path
        File with everything that it prints.

    Raises
    ------
    RuntimeError
        On entry, with what it printed, when it does not get ready.
    """

    def __init__(self, *arguments: str, command: str = "serve") -> None:
        self._command, self._arguments = command, arguments
        self.process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None
        self.api_url = self.endpoint_url = ""
        self.log_path = Path()

    def __enter__(self) -> StackProcess:
        self._output = tempfile.NamedTemporaryFile(prefix="music-local-", suffix=".log", delete=False)
        self.log_path = Path(self._output.name)
        command = [sys.executable, "-m", "local", self._command, "--port", "0"]
        ready, write_ready = os.pipe()
        try:
            self.process = subprocess.Popen(
                [*command, "--ready-fd", str(write_ready), *self._arguments],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.STDOUT,
                pass_fds=[write_ready],
            )
        finally:
            os.close(write_ready)
        with os.fdopen(ready) as lines:
            match = re.fullmatch(r"(\S+) (\S+)\n", lines.readline())
        if not match:
            self.close()
            raise RuntimeError(f"the local stack did not start:\n{self.log_path.read_text()}")
        self.api_url, self.endpoint_url = match.groups()
        return self

    def close(self) -> int:
        """End it as Ctrl-C would, and return its exit status."""
        assert self.process is not None
        assert self._output is not None
        self.process.send_signal(signal.SIGINT)
        try:
            status = self.process.wait(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        self._output.close()
        return status

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        self.log_path.unlink(missing_ok=True)
