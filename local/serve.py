"""`python -m local serve`: the whole backend on this machine, in the foreground."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import closing

from local.logs import Log
from local.pool import StartError
from local.serving import HttpServer, PortError
from local.stack import Stack
from local.template import TemplateError

NOT_EMULATED = (
    "not emulated: IAM (nothing is forbidden), cold starts, concurrency limits and throttling, "
    "memory limits, durability (data lives until this ends)"
)


def main(argv: Sequence[str]) -> int:
    """Serve until Ctrl-C or SIGTERM; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m local serve", description=__doc__)
    parser.add_argument(
        "--port", type=int, default=8000, help="port of the API; 0 takes a free one (%(default)s)"
    )
    parser.add_argument("--aws-port", type=int, default=0, help="port of the local AWS (a free one)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--profile", default="builtin", help="engine profile (%(default)s)")
    parser.add_argument(
        "--http-workers", type=int, default=4, help="processes per HTTP function (%(default)s)"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes per worker function (%(default)s)")
    parser.add_argument(
        "--parameter", action="append", default=[], metavar="NAME=VALUE", help="further template parameters"
    )
    parser.add_argument("--verbose", action="store_true", help="show metrics, too")
    parser.add_argument("--ready-fd", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if min(arguments.http_workers, arguments.workers) < 1:
        parser.error("every function needs a process")
    if not all("=" in parameter for parameter in arguments.parameter):
        parser.error("--parameter takes NAME=VALUE")
    parameters = dict(parameter.split("=", 1) for parameter in arguments.parameter)

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    log = Log(verbose=arguments.verbose)
    try:
        api = HttpServer(arguments.host, arguments.port)
        stack = Stack(
            host=arguments.host,
            aws_port=arguments.aws_port,
            parameters={"Profile": arguments.profile, **parameters},
            log=log,
        )
        with closing(stack):
            _start(stack, api, arguments, log)
            stop.wait()
            log.line("local", "ending")
    except (PortError, StartError, TemplateError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _start(stack: Stack, api: HttpServer, arguments: argparse.Namespace, log: Log) -> None:
    stack.start()
    log.line("local", NOT_EMULATED)
    for kind, reason in stack.deployment.not_emulated.items():
        log.line("local", f"not emulated: {kind} ({reason})")
    pools = stack.process_pools(http_workers=arguments.http_workers, workers=arguments.workers)
    stack.start_api(pools, api)
    stack.start_triggers(pools, pollers=arguments.workers)
    log.line("local", f"AWS endpoint: {stack.endpoint_url}")
    log.plain(f"ready: {stack.api_url}")
    if arguments.ready_fd is not None:
        with os.fdopen(arguments.ready_fd, "w") as ready:
            ready.write(f"{stack.api_url} {stack.endpoint_url}\n")
