"""Keys of a running stack, made as its owner makes them."""

from __future__ import annotations

import subprocess
import sys

from client.stack import ROOT, StackProcess
from tests.support.waiting import PATIENCE_SECONDS


def keys(stack: StackProcess, *arguments: str) -> str:
    """Run `music keys` on the running stack, and return what it prints."""
    command = [sys.executable, "-m", "client.command", "keys", *arguments]
    command += ["--endpoint-url", stack.endpoint_url]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
