"""The local stack: the local AWS with everything that the template declares, triggers, and the API.

`Stack` lives in this process. moto keeps its state in module globals, where a test that mocks AWS would
wipe it: `client.stack` starts the same stack as a process of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import TracebackType

from local.aws.data import Data
from local.aws.front import Front
from local.aws.provision import provision
from local.endpoint import Endpoint, Launch, ProcessContainer, answer
from local.gateway import Gateway
from local.http_server import HttpServer
from local.invoke import Invoker
from local.logs import Log
from local.pool import HTTP_WORKERS, ProcessPools
from local.template import ACCOUNT, TEMPLATE, Deployment, load
from local.triggers import Triggers


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
    data : Data, optional
        Keeps what the AWS holds; without it, that ends with the stack.

    Attributes
    ----------
    endpoint_url : str
        The local AWS.
    api_url : str
        The API; empty until `start_api`.
    deployment : Deployment
        What the template declares, functions with their environment included.
    endpoints : dict of str to Endpoint
        The template's endpoints of SageMaker, by name. They take requests from the start.
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
        data: Data | None = None,
    ) -> None:
        self._data = data
        self._host, self.log = host, log or Log()
        self._front = Front(ACCOUNT)
        self._aws = HttpServer(host, aws_port)
        self.endpoint_url, self.api_url = self._aws.url, ""
        self._closing: list[Triggers | Gateway | HttpServer | Invoker | Endpoint] = []
        try:
            self.deployment: Deployment = load(self.endpoint_url, path=template, parameters=parameters)
        except BaseException:
            self._aws.close()
            raise
        self.endpoints = {
            one.name: Endpoint(one, self.endpoint_url, self.log) for one in self.deployment.endpoints
        }

    def start(self) -> None:
        """Start the local AWS, create what the template declares, and put in what the folder holds.

        Raises
        ------
        DataError
            The folder is damaged, or was written for another template.
        """
        self._aws.start(self._front)
        self._front.cors_rules = {bucket.name: bucket.cors for bucket in self.deployment.buckets}
        self._front.invoke = partial(answer, endpoints=self.endpoints)
        provision(self.deployment, self.endpoint_url)
        if self._data:
            found = self._data.load()
            self._front.data = self._data
            self.log.line("local", "found " + ", ".join(f"{count} {what}" for what, count in found.items()))

    def process_pools(self, *, http_workers: int = HTTP_WORKERS, workers: int = 1) -> ProcessPools:
        """Start local processes for the functions, and return what invokes them."""
        pools = ProcessPools(
            self.deployment, self.endpoint_url, self.log, http_workers=http_workers, workers=workers
        )
        self._closing.append(pools)
        pools.start()
        return pools

    def start_endpoints(self, launch: Launch = ProcessContainer) -> None:
        """Let endpoints deliver their requests, to containers that `launch` starts when there are some."""
        for endpoint in self.endpoints.values():
            self._closing.append(endpoint)
            endpoint.start(launch)

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
        self._let_own_page_in()

    def _let_own_page_in(self) -> None:
        """Give the API's own origin, which the template lets use the bucket, its local value."""
        deployed = re.compile(r"https://[^/]+\.execute-api\.[^/]+")
        local = [self.api_url, self.api_url.replace("127.0.0.1", "localhost")]
        for bucket in self.deployment.buckets:
            for rule in bucket.cors:
                origins = rule["AllowedOrigins"]
                if any(deployed.fullmatch(origin) for origin in origins):
                    rule["AllowedOrigins"] = [o for o in origins if not deployed.fullmatch(o)] + local

    def close(self) -> None:
        """End everything, the newest first."""
        while self._closing:
            self._closing.pop().close()
        self._aws.close()
        if self._data:
            self._data.close()

    def __enter__(self) -> Stack:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
