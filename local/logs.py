"""Logs for people: one line each, in colour, with the function's name in front."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from typing import IO, Any
from urllib.parse import quote

from rich.console import Console
from rich.text import Text

_COLOURS = ("cyan", "magenta", "green", "yellow", "blue")
_LEVELS = {
    "DEBUG": "dim",
    "INFO": "default",
    "WARNING": "yellow",
    "ERROR": "bold red",
    "CRITICAL": "bold red",
}
# What every structured line carries, and nobody reads on every line.
_NOISE = {
    "correlation_id",
    "level",
    "message",
    "timestamp",
    "location",
    "service",
    "sampling_rate",
    "cold_start",
    "function_name",
    "function_memory_size",
    "function_arn",
    "function_request_id",
    "xray_trace_id",
    "exception",
    "exception_name",
    "stack_trace",
}


class Log:
    """Writes lines for people.

    Parameters
    ----------
    stream : file, optional
        Where to; standard output when absent.
    verbose : bool
        Show metrics, and what functions log about requests, too.
    """

    def __init__(self, stream: IO[str] | None = None, *, verbose: bool = False) -> None:
        self._console = Console(file=stream, highlight=False, soft_wrap=True)
        self._lock = threading.Lock()
        self._styles: dict[str, str] = {}
        self._verbose = verbose

    def line(self, source: str, message: str, level: str = "INFO") -> None:
        """Write one line about `source` (a function, ``"gateway"`` or ``"local"``)."""
        style = self._styles.setdefault(source, _COLOURS[len(self._styles) % len(_COLOURS)])
        text = Text.assemble((f"{source:>9} ", style), Text(_printed(message), _LEVELS.get(level, "default")))
        with self._lock:
            self._console.print(text)

    def plain(self, message: str) -> None:
        """Write a line without a source."""
        with self._lock:
            self._console.print(Text(_printed(message)))

    def follow(self, source: str, lines: Iterable[bytes]) -> None:
        """Write a process's output until it ends; lines of JSON become readable."""
        for raw in lines:
            text = raw.decode("utf-8", "replace").rstrip()
            record = _structured(text)
            if record is None:
                if text:
                    self.line(source, text)
            elif self._verbose or not ("_aws" in record or record.get("message") == "request"):
                self.line(source, _readable(record), str(record.get("level", "INFO")))


def _printed(message: str) -> str:
    """Return what a terminal prints and does not obey: other characters percent-encoded, as in paths."""
    return "".join(c if c in "\n\t" or c.isprintable() else quote(c, errors="replace") for c in message)


def _structured(text: str) -> dict[str, Any] | None:
    if not text.startswith("{"):
        return None
    try:
        record = json.loads(text)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _readable(record: dict[str, Any]) -> str:
    extras = [f"{k}={v}" for k, v in record.items() if k not in _NOISE and v not in (None, "")]
    if record.get("correlation_id"):
        extras.append(f"[{str(record['correlation_id'])[:8]}]")
    lines = ["  ".join([str(record.get("message", "")), " ".join(extras)]).rstrip()]
    if "exception" in record:
        lines.append(str(record["exception"]))
    return "\n".join(lines)
