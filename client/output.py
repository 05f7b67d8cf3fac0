"""What `music` prints: tables and bars on a terminal, plain lines in a pipe, or JSON.

Results go to standard output, and all else to standard error.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TaskID, TaskProgressColumn, TextColumn
from rich.progress import Task as RichTask
from rich.table import Table
from rich.text import Text

LINE_SECONDS = 10.0
"""In a pipe, a job that goes on says so this often."""


_LONG = {"file", "of", "tags", "value"}
"""Columns of a table that may be broken into lines."""


def clean(value: object) -> str:
    """Return a text that does nothing to a terminal: file names are anybody's."""
    return "".join(character if character.isprintable() else "\ufffd" for character in str(value))


class Output:
    """Where a command's results and notes go.

    Parameters
    ----------
    as_json : bool
        Results are JSON documents.
    """

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json
        self._out = Console(highlight=False, soft_wrap=True)
        self.notes = Console(stderr=True, highlight=False, soft_wrap=True)

    def document(self, document: Any) -> None:
        """Print one JSON document on one line."""
        print(json.dumps(document, ensure_ascii=False), flush=True)

    def line(self, text: object) -> None:
        """Print a line of the result."""
        print(clean(text), flush=True)

    def fields(self, *values: object) -> None:
        """Print one row of results as soon as it is there."""
        between = "  " if self._out.is_terminal else "\t"
        print(between.join(clean("" if value is None else value) for value in values), flush=True)

    def note(self, text: object) -> None:
        """Say something that is no result."""
        print(clean(text), file=sys.stderr, flush=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print rows: a table with headings on a terminal, else lines with tabs between the fields."""
        if not self._out.is_terminal:
            for row in rows:
                print("\t".join(clean("" if field is None else field) for field in row), flush=True)
            return
        table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
        for column in columns:  # an id that is broken in two cannot be copied
            table.add_column(column, no_wrap=column not in _LONG, overflow="fold")
        for row in rows:
            table.add_row(*(Text(clean("" if field is None else field)) for field in row))
        self._out.print(table)

    def progress(self) -> Bars:
        """Show progress for the block of a `with`."""
        return Bars(self.notes)


class _TimeLeft(ProgressColumn):
    """The time left: as the deployment says, else as the bar's speed lets expect."""

    def render(self, task: RichTask) -> Text:
        left = task.fields.get("left")
        left = task.time_remaining if left is None else left
        return Text("" if left is None or task.finished else f"{seconds(left)} left", style="dim")


class Bars:
    """Several tasks and how far they are; to be used from any thread."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: Progress | None = None
        if console.is_terminal:
            columns = (TextColumn("{task.description}", markup=False), BarColumn(30), TaskProgressColumn())
            # Bars and results share a terminal; results that go elsewhere must not be drawn there.
            both = sys.stdout.isatty()
            self._shown = Progress(*columns, _TimeLeft(), console=console, redirect_stdout=both)

    def __enter__(self) -> Bars:
        if self._shown:
            self._shown.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            self._shown.stop()

    def add(self, what: str, total: float | None = 1.0) -> Bar:
        """Begin a task of `total` units; None where nobody knows."""
        return Bar(self._console, self._shown, clean(what), total)


class Bar:
    """One task."""

    def __init__(self, console: Console, shown: Progress | None, what: str, total: float | None) -> None:
        self._console, self._shown, self._what, self._total = console, shown, what, total
        self._done, self._said_share, self._said_at = 0.0, -1, time.monotonic()
        self._lock = threading.Lock()
        self._id = shown.add_task(what, total=total, left=None) if shown else TaskID(0)

    def update(self, done: float, left: float | None = None, stage: str | None = None) -> None:
        """Note that `done` of the total are done, and what the deployment says of the rest.

        Parameters
        ----------
        done : float
            From 0 to the total.
        left : float, optional
            Seconds left.
        stage : str, optional
            What is done now.
        """
        with self._lock:
            self._done = done
        if self._shown:
            what = f"{self._what} ({clean(stage)})" if stage else self._what
            self._shown.update(self._id, completed=done, left=left, description=what)
        elif self._total:
            share = int(100 * done / self._total)
            now = time.monotonic()
            if share != self._said_share and now - self._said_at >= LINE_SECONDS:
                self._said_share, self._said_at = share, now
                rest = f", {seconds(left)} left" if left is not None else ""
                self._console.print(Text(f"{self._what}: {share} %{rest}"), soft_wrap=True)

    def advance(self, step: float) -> None:
        """Note that `step` more of the total are done."""
        with self._lock:
            done = self._done + step
        self.update(done)

    def resize(self, total: float | None) -> None:
        """Note how many units there are."""
        self._total = total
        if self._shown:
            self._shown.update(self._id, total=total)

    def end(self, said: str = "done") -> None:
        """Note that all is done."""
        if self._shown:
            total = self._total or 1.0
            self._shown.update(self._id, total=total, completed=total, left=0, description=self._what)
        else:
            self._console.print(Text(f"{self._what}: {clean(said)}"), soft_wrap=True)

    def remove(self) -> None:
        """Show the task no longer."""
        if self._shown:
            self._shown.remove_task(self._id)


def seconds(value: float) -> str:
    """Write a number of seconds as people say it.

    Examples
    --------
    >>> seconds(7.2), seconds(312), seconds(7500)
    ('8 s', '5 min 12 s', '2 h 5 min')
    """
    whole = int(-(-value // 1))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size(value: float | None) -> str:
    """Write a number of bytes.

    Examples
    --------
    >>> size(999), size(4_700_000)
    ('999 B', '4.7 MB')
    """
    if value is None:
        return ""
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"
