"""Why a command ends, as one line and as an exit code."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """The exit codes of `music`; docs/command-line.md explains them."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    KEY = 4
    NOT_FOUND = 5
    REFUSED = 6
    FILE = 7
    NOT_FINISHED = 8
    INTERRUPTED = 130
    READER_GONE = 141
    TERMINATED = 143


class Failure(Exception):
    """A command cannot go on.

    Parameters
    ----------
    exit : Exit
        How it ends.
    line : str
        What is wrong and what to do, in one line.
    code : str
        The stable code of the API's problem, where there is one.
    pause : float
        Seconds after which the API wants to be asked again; 0 where it does not say.
    """

    def __init__(self, exit: Exit, line: str, code: str = "", pause: float = 0.0) -> None:
        super().__init__(line)
        self.exit, self.line, self.code, self.pause = exit, line, code, pause


STALE = "stale_embedding"
"""The code of a problem of a track that was embedded under another profile."""


def stale_line(line: str, audio_id: str) -> str:
    """Say, after what is wrong with a stale track, which command mends it."""
    return f"{line} `music embed {audio_id}` does that, and `music embed --all` to all such tracks"


def file_failure(path: object, verb: str, error: OSError) -> Failure:
    """Say that a file cannot be read or written, and why."""
    return Failure(Exit.FILE, f"{path} cannot be {verb}: {error.strerror or error}")
