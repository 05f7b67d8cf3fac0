"""What a process of the stack under test does to itself: shorter clocks, faults, and its own death on time.

Loaded by `hook/sitecustomize.py`, told by its environment:

    FAULTS_FOLDER   for the plan of the next invocation (`Plan`), and for what happened
    FAULTS_CLOCKS   JSON: by module, constants and their values for this run
    FAULTS_RATE     the share of AWS requests that meet a random fault; of the few to SQS, `OFTEN` times that
"""

from __future__ import annotations

import importlib
import json
import os
import random
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.httpsession import URLLib3Session

from tests.faults.injection import Fault, meet

OFTEN = 4


@dataclass(frozen=True)
class Plan:
    """When a process is to kill itself (SIGKILL) in the invocation to come.

    Attributes
    ----------
    token : str
        Another one for each invocation: AWS calls are counted from there.
    before : int
        Before the call of this number, counted from 1; 0 for never.
    after : str
        After this operation.
    before_call : str
        Before this operation.
    """

    token: str
    before: int = 0
    after: str = ""
    before_call: str = ""

    def write(self, folder: Path, function: str) -> None:
        """Tell the process of a function."""
        path = folder / f"{function}.plan"
        path.with_suffix(".new").write_text(json.dumps(asdict(self)))
        path.with_suffix(".new").replace(path)


class Killer:
    """Counts a process's AWS calls, notes them, and ends it where its plan says so.

    Only the calls of the thread that does the job: those of the one that renews the lease come at any time.
    """

    def __init__(self, folder: Path, function: str) -> None:
        self._plan_path = folder / f"{function}.plan"
        self._log_path = folder / "calls.jsonl"
        self._function = function
        self._plan, self._count, self._last = Plan(""), 0, ""

    def before(self, model: Any, **_: Any) -> None:
        """Hear of a call that is about to be made."""
        if not does_jobs(threading.current_thread()):
            return
        if self._plan_path.exists():
            plan = Plan(**json.loads(self._plan_path.read_text()))
            if plan.token != self._plan.token:
                self._plan, self._count, self._last = plan, 0, ""
        self._count += 1
        if self._count == self._plan.before or model.name == self._plan.before_call:
            self._die(self._last, model.name)
        self._note(call=model.name)
        self._last = model.name

    def after(self, model: Any, **_: Any) -> None:
        """Hear of a call that is made."""
        if does_jobs(threading.current_thread()) and model.name == self._plan.after:
            self._die(model.name, "")

    def _die(self, last: str, following: str) -> None:
        self._note(killed=[last, following])
        os.kill(os.getpid(), signal.SIGKILL)

    def _note(self, **what: Any) -> None:
        note(self._log_path, function=self._function, token=self._plan.token, **what)


def does_jobs(thread: threading.Thread) -> bool:
    """Tell whether a thread is a function's one, or one that answers a request to the endpoint."""
    return thread is threading.main_thread() or thread.name.endswith("(process_request_thread)")


class RandomFaults:
    """Lets a share of all requests meet a fault."""

    def __init__(self, rate: float, log_path: Path) -> None:
        self._rate, self._log_path = rate, log_path
        self._random = random.SystemRandom()
        self._session = URLLib3Session()

    def __call__(self, request: AWSPreparedRequest, event_name: str, **_: Any) -> AWSResponse | None:
        """Answer in the place of the SDK's own HTTP session, sometimes."""
        service, operation = event_name.split(".")[1:]
        if self._random.random() >= self._rate * (OFTEN if service == "sqs" else 1):
            return None
        fault = self._random.choice(list(Fault))
        note(self._log_path, fault=fault.name, service=service, operation=operation)
        return meet(fault, service, request, self._session.send)


def note(path: Path, **what: Any) -> None:
    """Append a line; lines of several processes do not mix."""
    with path.open("a") as file:
        file.write(json.dumps(what) + "\n")


def install(environ: Mapping[str, str]) -> None:
    """Do what the environment says."""
    for name, constants in json.loads(environ["FAULTS_CLOCKS"]).items():
        importlib.import_module(name)  # before anybody else takes their values from there
        modules = [one for path, one in sys.modules.items() if path == name or path.startswith(f"{name}.")]
        for constant, value in constants.items():
            holders = [module for module in modules if hasattr(module, constant)]
            if not holders:
                raise AttributeError(f"{name} has no {constant}")
            for module in holders:
                setattr(module, constant, value)
    folder = Path(environ["FAULTS_FOLDER"])
    boto3.setup_default_session()
    events = boto3.DEFAULT_SESSION.events  # type: ignore[union-attr]
    killer = Killer(folder, environ.get("AWS_LAMBDA_FUNCTION_NAME", "Endpoint"))
    events.register("before-call", killer.before)
    events.register("after-call", killer.after)
    if rate := float(environ.get("FAULTS_RATE", "0")):
        faults: Any = RandomFaults(rate, folder / "faults.jsonl")
        events.register("before-send", faults)
