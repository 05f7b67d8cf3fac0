"""Run an image as Lambda would: read-only root, an unprivileged user, 512 MB of /tmp, no /dev/shm."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import yaml

from local.aws.signature import ACCESS_KEY, SECRET_KEY
from local.sam import BUILT
from local.template import REGION, Function

START_SECONDS = 60
INVOCATIONS = "2015-03-31/functions/function/invocations"


def docker(*arguments: str) -> str:
    """Run a docker command and return what it prints.

    Raises
    ------
    RuntimeError
        With what it printed, when it fails.
    """
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"docker {' '.join(arguments)}: {done.stderr or done.stdout}")
    return done.stdout.strip()


def image_of(name: str) -> str:
    """Return the image that was built of a function, by its logical name."""
    image: str = yaml.safe_load(BUILT.read_text())["Resources"][name]["Properties"]["ImageUri"]
    return image


class LambdaContainer:
    """One function's image under the Runtime Interface Emulator, in the surroundings that Lambda gives it.

    Parameters
    ----------
    name : str
        Logical name in the template.
    function : Function
        Its memory and environment.
    endpoint_url : str
        The local AWS, at an address that containers reach.
    """

    def __init__(self, name: str, function: Function, endpoint_url: str) -> None:
        environment = {
            **function.environment,
            "AWS_ENDPOINT_URL": endpoint_url,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_LAMBDA_FUNCTION_TIMEOUT": str(round(function.timeout)),
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory),
            "POWERTOOLS_TRACE_DISABLED": "true",  # there is no X-Ray daemon here
        }
        variables = [part for key, value in environment.items() for part in ("--env", f"{key}={value}")]
        memory = f"{function.memory}m"
        self.id = docker(
            *("run", "--detach", "--read-only", "--tmpfs", "/tmp:size=512m,mode=1777"),
            *("--user", "993", "--ipc", "none", "--memory", memory, "--memory-swap", memory),
            *("--publish", "127.0.0.1::8080", *variables, image_of(name)),
        )
        self.url = f"http://{docker('port', self.id, '8080/tcp')}/{INVOCATIONS}"

    def invoke(self, event: Mapping[str, Any]) -> Any:
        """Send one event and return the answer.

        Raises
        ------
        RuntimeError
            The container does not answer, or the function failed; with its log.
        """
        request = urllib.request.Request(self.url, json.dumps(event).encode())
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with urllib.request.urlopen(request, timeout=900) as response:
                    answer = json.load(response)
                break
            except urllib.error.HTTPError as error:
                raise RuntimeError(f"{error}: {error.read()!r}\n{self.log()}") from error
            except OSError as error:  # the emulator is not listening yet
                if time.monotonic() > deadline:
                    raise RuntimeError(f"no answer: {error}\n{self.log()}") from error
                time.sleep(0.05)
        if isinstance(answer, dict) and "errorType" in answer:
            raise RuntimeError(f"{answer}\n{self.log()}")
        return answer

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the container."""
        inside = ["docker", "exec", self.id, *command]
        return subprocess.run(inside, capture_output=True, text=True, check=False)

    def log(self) -> str:
        """Return what the container has printed."""
        done = subprocess.run(["docker", "logs", self.id], capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    def __enter__(self) -> LambdaContainer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        docker("rm", "--force", self.id)
