"""The local stack as a process of its own.

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
from pathlib import Path
from types import TracebackType
from typing import IO

ROOT = Path(__file__).parents[1]
END_SECONDS = 150.0


class StackError(Exception):
    """The local stack did not start; the message is what it printed.

    Its log stays where an error ends the block of a `StackProcess`; the error then has its `log_path`.
    """

    log_path: Path | None = None


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
    StackError
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
            failure = StackError(f"the local stack did not start:\n{self.log_path.read_text().strip()}")
            failure.log_path = self.log_path
            raise failure
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
        if isinstance(error, Exception):
            error.log_path = self.log_path  # type: ignore[attr-defined]
        else:
            self.log_path.unlink(missing_ok=True)
