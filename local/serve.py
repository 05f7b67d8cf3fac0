"""`python -m local serve`: the whole backend on this machine, in the foreground."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from local.aws.data import Data, DataError
from local.http_server import HttpServer, PortError, tcp_port
from local.logs import Log
from local.pool import HTTP_WORKERS, StartError
from local.stack import Stack
from local.template import ACCOUNT, TEMPLATE, TemplateError

NOT_EMULATED = (
    "not emulated: IAM (nothing is forbidden), cold starts, concurrency limits and throttling, "
    "memory limits, durability ({durability})"
)


class End(Exception):
    """Ctrl-C or SIGTERM."""


def main(argv: Sequence[str]) -> int:
    """Serve until Ctrl-C or SIGTERM; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m local serve", description=__doc__)
    parser.add_argument(
        "--port", type=tcp_port, default=8000, help="port of the API; 0 takes a free one (%(default)s)"
    )
    parser.add_argument("--aws-port", type=tcp_port, default=0, help="port of the local AWS (a free one)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--profile", help="engine profile (the template's default: builtin)")
    parser.add_argument("--auth", choices=["keys", "none"], default="none", help="who may call (%(default)s)")
    parser.add_argument(
        "--http-workers",
        type=int,
        default=HTTP_WORKERS,
        help="processes of an HTTP function (at most %(default)s)",
    )
    parser.add_argument("--workers", type=int, default=1, help="processes of a worker function (%(default)s)")
    parser.add_argument(
        "--parameter", action="append", default=[], metavar="NAME=VALUE", help="further template parameters"
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FOLDER",
        help="keep records, objects and vectors there (else they end with this)",
    )
    parser.add_argument("--template", type=Path, default=TEMPLATE, help="another template")
    parser.add_argument("--verbose", action="store_true", help="show metrics and requests as logged, too")
    parser.add_argument("--ready-fd", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if min(arguments.http_workers, arguments.workers) < 1:
        parser.error("every function needs a process")
    if not all("=" in parameter for parameter in arguments.parameter):
        parser.error("--parameter takes NAME=VALUE")
    parameters = dict(parameter.split("=", 1) for parameter in arguments.parameter)
    if arguments.profile:
        parameters["Profile"] = arguments.profile

    wakened = end_on_signals()
    log = Log(verbose=arguments.verbose)
    try:
        data = Data(arguments.data, ACCOUNT) if arguments.data else None
        api = HttpServer(arguments.host, arguments.port)
        if arguments.template == TEMPLATE:
            parameters = {"AuthMode": arguments.auth, "AllowedOrigins": own_origins(api), **parameters}
        stack = Stack(
            host=arguments.host,
            aws_port=arguments.aws_port,
            parameters=parameters,
            template=arguments.template,
            log=log,
            data=data,
        )
        with closing(stack):
            _start(stack, api, arguments, log)
            os.read(wakened, 1)
    except End:
        log.line("local", "ended")
    except (DataError, PortError, StartError, TemplateError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def own_origins(api: HttpServer) -> str:
    """Origins of the API's own page, as the parameter `AllowedOrigins` takes them: nobody else is let in."""
    return ",".join(dict.fromkeys([api.url, f"http://localhost:{api.port}"]))


def end_on_signals() -> int:
    """Let the first signal raise `End` in the main thread; return a pipe that it also writes to.

    The system may give a signal to any thread. Python then waits until the main thread does something, so the
    main thread must wait for that pipe, not for a lock.
    """

    def end(*_: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        raise End

    wakened, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    return wakened


def _start(stack: Stack, api: HttpServer, arguments: argparse.Namespace, log: Log) -> None:
    stack.start()
    kept = f"data is kept in {arguments.data}" if arguments.data else "data lives until this ends"
    log.line("local", NOT_EMULATED.format(durability=kept))
    left_out = stack.deployment.not_emulated
    for reason in dict.fromkeys(left_out.values()):
        kinds = ", ".join(kind for kind in left_out if left_out[kind] == reason)
        log.line("local", f"not emulated: {kinds} ({reason})")
    pools = stack.process_pools(http_workers=arguments.http_workers, workers=arguments.workers)
    stack.start_api(pools, api)
    stack.start_endpoints()
    stack.start_triggers(pools, pollers=arguments.workers)
    log.line("local", f"AWS endpoint: {stack.endpoint_url}")
    if stack.deployment.default_authorizer == "keys":
        log.line("local", f"a key: .venv/bin/music keys create --endpoint-url {stack.endpoint_url}")
    log.plain(f"ready: {stack.api_url}")
    if arguments.ready_fd is not None:
        with os.fdopen(arguments.ready_fd, "w") as ready:
            ready.write(f"{stack.api_url} {stack.endpoint_url}\n")
