"""`python -m local sam`: the same backend with its functions in real Lambda containers, under SAM CLI.

    the API        `sam local start-api`, which starts a container for each function at its first call
    the triggers   the local stack's own, which invoke through `sam local start-lambda`
    the endpoint   under `--parameter GenerateHost=sagemaker`, its image in a container whenever there is work
    AWS            the local stack's own, on the Docker bridge's address: containers and host share one URL

Needs a Docker engine and SAM CLI (`make sam` installs the latter into `.venv-sam`). Where AWS's base image
cannot be pulled, a stand-in is built (`local/base_image`).
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import ipaddress
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from local.aws.signature import ACCESS_KEY, SECRET_KEY
from local.gateway import METHODS
from local.http_server import HttpServer, PortError, tcp_port
from local.invoke import LambdaEndpoint
from local.logs import Log
from local.serve import End, end_on_signals, own_origins
from local.stack import Stack
from local.template import REGION, ROOT, TEMPLATE, Deployment, Endpoint, TemplateError

SAM = ROOT / ".venv-sam/bin/sam"
WORK = ROOT / ".aws-sam"
BUILT = WORK / "build/template.yaml"
CONFIG = ROOT / "samconfig.toml"
PUBLIC_IMAGE = "public.ecr.aws/lambda/python:3.13"
START_SECONDS = 120.0


class SamError(Exception):
    """Containers cannot be served; the message is the one line to show."""


def main(argv: Sequence[str]) -> int:
    """Build, and serve until Ctrl-C or SIGTERM; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m local sam", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--port", type=tcp_port, default=8000, help="port of the API; 0 takes a free one (%(default)s)"
    )
    parser.add_argument("--profile", default="builtin", help="engine profile (%(default)s)")
    parser.add_argument("--auth", choices=["keys", "none"], default="none", help="who may call (%(default)s)")
    parser.add_argument(
        "--parameter", action="append", default=[], metavar="NAME=VALUE", help="further template parameters"
    )
    parser.add_argument("--base-image", help=f"what the images start from ({PUBLIC_IMAGE}, or a stand-in)")
    parser.add_argument("--verbose", action="store_true", help="show everything the functions log")
    parser.add_argument("--ready-fd", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if not all("=" in parameter for parameter in arguments.parameter):
        parser.error("--parameter takes NAME=VALUE")
    wakened = end_on_signals()
    log = Log(verbose=arguments.verbose)
    try:
        parameters = {
            "Profile": arguments.profile,
            "AuthMode": arguments.auth,
            **dict(parameter.split("=", 1) for parameter in arguments.parameter),
        }
        with serve(arguments.port, parameters, arguments.base_image, log) as (api_url, endpoint_url):
            log.plain(f"ready: {api_url}")
            if arguments.ready_fd is not None:
                with os.fdopen(arguments.ready_fd, "w") as ready:
                    ready.write(f"{api_url} {endpoint_url}\n")
            os.read(wakened, 1)
    except End:
        log.line("local", "ended")
    except (SamError, PortError, TemplateError) as error:
        log.plain(f"error: {error}")
        return 1
    return 0


@contextmanager
def serve(
    port: int, parameters: Mapping[str, str], base_image: str | None, log: Log
) -> Iterator[tuple[str, str]]:
    """Build the images and serve them.

    Yields
    ------
    tuple of (str, str)
        URL of the API and of the local AWS.

    Raises
    ------
    SamError, PortError, TemplateError
    """
    free = HttpServer("127.0.0.1", port)
    free.close()  # SAM CLI would notice last that somebody else has it
    port = free.port
    host = bridge_address()
    base_image = base_image or find_base_image(log)
    build(base_image, parameters, log)
    parameters = {"AllowedOrigins": own_origins(free), **parameters}
    with ExitStack() as ending:
        stack = ending.enter_context(closing(Stack(host=host, parameters=parameters, log=log)))
        stack.start()
        if stack.deployment.endpoints:
            image = build_endpoint(base_image, stack.deployment.endpoints[0].environment["PROFILE"], log)
            stack.start_endpoints(partial(EndpointContainer, image))
        template = with_environment(BUILT, stack.deployment, stack.endpoint_url, parameters)
        lambda_port = free_port()
        api_url, lambda_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{lambda_port}"
        for command, at in (("start-lambda", lambda_port), ("start-api", port)):
            process = ending.enter_context(sam_local(command, template, at, log))
            wait_for(f"{api_url}/api/health" if at == port else lambda_url, process)
        invoker = LambdaEndpoint(lambda_url)
        ending.enter_context(closing(invoker))
        stack.start_triggers(invoker)
        log.line("local", f"AWS endpoint: {stack.endpoint_url}")
        if stack.deployment.default_authorizer == "keys":
            log.line("local", f"a key: .venv/bin/music keys create --endpoint-url {stack.endpoint_url}")
        yield api_url, stack.endpoint_url


def bridge_address() -> str:
    """Address of the host on Docker's default bridge: the one that containers reach it by.

    Raises
    ------
    SamError
        No engine answers.
    """
    try:
        shown = subprocess.run(
            ["docker", "network", "inspect", "bridge"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise SamError("no Docker engine answers; start one (`docker info` shows what is wrong)") from error
    config = json.loads(shown.stdout)[0]["IPAM"]["Config"][0]
    # Some engines do not name the gateway; it is the first address of the network then.
    return str(config.get("Gateway") or ipaddress.ip_network(config["Subnet"])[1])


def find_base_image(log: Log) -> str:
    """AWS's public image where it is here or can be pulled, else a stand-in built here."""
    for command in (["image", "inspect", PUBLIC_IMAGE], ["pull", "--quiet", PUBLIC_IMAGE]):
        if subprocess.run(["docker", *command], capture_output=True, check=False).returncode == 0:
            return PUBLIC_IMAGE
    log.line("local", f"{PUBLIC_IMAGE} cannot be pulled: building a stand-in, about two minutes once")
    script = ROOT / "local/base_image/build.sh"
    done = subprocess.run([script, ROOT / ".venv-sam"], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip() or "no message").splitlines()[-1]
        raise SamError(f"the base image cannot be built: {reason}")
    return done.stdout.strip()


def build(base_image: str, parameters: Mapping[str, str], log: Log) -> None:
    """Run `sam build`.

    Raises
    ------
    SamError
        SAM CLI is missing or fails; with its last line.
    """
    if not SAM.is_file():
        raise SamError(f"{SAM.relative_to(ROOT)} is missing: `make sam` installs it")
    given = {**parameters, "BaseImage": base_image}
    log.line("local", f"sam build on {base_image}")
    overrides = [f"{name}={value}" for name, value in given.items()]
    WORK.mkdir(exist_ok=True)
    with (WORK / "build.lock").open("w") as lock:  # one folder for what is built
        fcntl.flock(lock, fcntl.LOCK_EX)
        template = WORK / "template.yaml"
        template.write_text(with_own_images(TEMPLATE.read_text()))
        files: list[str | Path] = ["--config-file", CONFIG, "--template", template]
        files += ["--base-dir", ROOT, "--build-dir", BUILT.parent]
        done = subprocess.run(
            [SAM, "build", *files, "--parameter-overrides", *overrides],
            cwd=ROOT,
            env=sam_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            reason = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
            raise SamError(f"sam build: {reason}")


def build_endpoint(base_image: str, profile: str, log: Log) -> str:
    """Build the image of the endpoint, as `RUNTIME` says (see `music.loading.load`); return its name.

    Raises
    ------
    SamError
        With the line that says what is wrong.
    """
    runtime = os.environ.get("RUNTIME", "engine")
    image = f"endpoint-{checkout()}:{profile}-{runtime}"
    log.line("local", f"docker build of {image} on {base_image}")
    arguments = {"BASE_IMAGE": base_image, "RUNTIME": runtime, "PROFILE": profile}
    given = [part for name, value in arguments.items() for part in ("--build-arg", f"{name}={value}")]
    done = subprocess.run(
        ["docker", "build", *given, "--file", ROOT / "functions/endpoint/Dockerfile", "--tag", image, ROOT],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        printed = done.stdout + done.stderr
        reasons = re.findall(r"error: [^\x1b\n]+", printed)  # of what the image runs when it is built
        raise SamError(f"docker build of the endpoint's image: {(reasons or printed.splitlines())[-1]}")
    return image


class EndpointContainer:
    """A container of the endpoint's image, in the surroundings that SageMaker gives it.

    Its root is read-only here, which SageMaker's is not: what it writes lies in `/tmp`.

    Parameters
    ----------
    image : str
        As `build_endpoint` named it.
    endpoint : Endpoint
        Its environment.
    endpoint_url : str
        The local AWS, at an address that containers reach.
    log : Log
        Takes what it prints.
    """

    def __init__(self, image: str, endpoint: Endpoint, endpoint_url: str, log: Log) -> None:
        environment = {
            **endpoint.environment,
            "AWS_ENDPOINT_URL": endpoint_url,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        }
        variables = [part for key, value in environment.items() for part in ("--env", f"{key}={value}")]
        scratch = "/tmp:size=1g,mode=1777"  # noqa: S108 - the container's own
        surroundings = ("--read-only", "--tmpfs", scratch, "--publish", "127.0.0.1::8080")
        self.id = _docker("run", "--detach", *surroundings, *variables, image, "serve")
        self.port = int(_docker("port", self.id, "8080/tcp").rpartition(":")[2])
        self._output = subprocess.Popen(
            ["docker", "logs", "--follow", self.id], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        threading.Thread(target=log.follow, args=("endpoint", self._output.stdout), daemon=True).start()

    def alive(self) -> bool:
        """Tell whether it has not ended."""
        return self.status() == "running"

    def status(self) -> str:
        """Return what Docker says it is: running, exited, …"""
        return _docker("inspect", "--format", "{{.State.Status}}", self.id)

    def terminate(self) -> None:
        """Send SIGTERM."""
        with suppress(SamError):  # it ended by itself
            _docker("kill", "--signal", "TERM", self.id)

    def kill(self) -> None:
        """Send SIGKILL, and remove it."""
        _docker("rm", "--force", self.id)
        self._output.wait()


def _docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SamError(f"docker {arguments[0]}: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
    return done.stdout.strip()


def checkout() -> str:
    """Return what the names of this checkout's images carry."""
    return hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]


def with_own_images(template: str) -> str:
    """Return a template whose images have names of this checkout, such as ``embedfunction-1a2b3c4d:embed``.

    SAM CLI would give the images of every checkout on this machine the same names, those that it runs too,
    whose tags are its own.
    """
    named = rf"\1DockerImage: \2function-{checkout()}\n\g<0>"
    return re.sub(r"(?m)^( +)DockerTag: +(\S+)$", named, template)


def with_environment(
    built: Path, deployment: Deployment, endpoint_url: str, parameters: Mapping[str, str]
) -> Path:
    """Write a copy of the built template with these parameters as defaults, and each environment spelt out.

    SAM CLI passes only variables that the template declares, and does not know the names and addresses of
    what the local stack created.
    """
    template: dict[str, Any] = yaml.safe_load(built.read_text())
    for name, function in deployment.functions.items():
        variables = {**function.environment, "AWS_ENDPOINT_URL": endpoint_url}
        template["Resources"][name]["Properties"]["Environment"] = {"Variables": variables}
    template["Globals"]["Function"].pop("Environment")
    spread_methods(template)
    for name, value in parameters.items():
        template["Parameters"][name]["Default"] = value
    copy = built.with_name("template.local.yaml")
    copy.write_text(yaml.safe_dump(template, sort_keys=False))
    return copy


def spread_methods(template: dict[str, Any]) -> None:
    """Replace each event of the method ANY by events of the methods that no other event of its path has.

    API Gateway takes the exact one of two that fit; SAM CLI keeps routes in a set, and takes either.
    """
    functions = [
        item["Properties"] for item in template["Resources"].values() if "Events" in item["Properties"]
    ]
    routes = [event["Properties"] for function in functions for event in function["Events"].values()]
    exact = {(route["Method"], route["Path"]) for route in routes if "Path" in route}
    for function in functions:
        spread: dict[str, Any] = {}
        for name, event in function["Events"].items():
            route = event["Properties"]
            if route.get("Method") != "ANY":
                spread[name] = event
                continue
            for method in sorted(METHODS):
                if (method, route["Path"]) not in exact:
                    spread[f"{name}{method}"] = {**event, "Properties": {**route, "Method": method}}
        function["Events"] = spread


@contextmanager
def sam_local(command: str, template: Path, port: int, log: Log) -> Iterator[subprocess.Popen[bytes]]:
    """Run `sam local COMMAND`; at the end it stops its containers and is gone."""
    process = subprocess.Popen(
        [SAM, "local", command, "--config-file", CONFIG, "--template", template, "--port", str(port)],
        cwd=ROOT,
        env=sam_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C is for us; we tell it
    )
    follower = threading.Thread(target=log.follow, args=(command, process.stdout), daemon=True)
    follower.start()
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        follower.join(timeout=5)


def sam_environment() -> dict[str, str]:
    """What SAM CLI runs with: the credentials that the local AWS checks signatures with, and no telemetry."""
    return {
        **os.environ,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "SAM_CLI_TELEMETRY": "0",
        "PYTHONUNBUFFERED": "1",
    }


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until a process answers HTTP with anything but a server's error.

    Raises
    ------
    SamError
    """
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=60):  # noqa: S310
                return
        except urllib.error.HTTPError as error:
            if error.code < 500:
                return
            reason = str(error)
        except OSError as error:
            reason = str(error)
        if process.poll() is not None:
            raise SamError("sam local ended; its own lines above say why")
        if time.monotonic() > deadline:
            raise SamError(f"{url} does not answer: {reason}")
        time.sleep(0.3)
