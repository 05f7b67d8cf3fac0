"""The start of a function: when its models are loaded, and what that read.

Lambda gives the phase in which modules are imported 10 s. What takes longer is ended, and begun anew with the
first event; where it takes longer than the function's timeout, with each event. So models are no part of it:
they are loaded when the first event comes, in the time that this event has. To load one is to read the heads
of its files of weights: these are mapped, and read where they are used; what one event has read, the next one
finds in memory. Only the language model, which reads all of its weights at every step, is copied as a whole.

An environment that is provisioned is started ahead of all events, and has minutes for that: there models are
loaded at once, and nobody waits for them. The local stack says of its processes that they are provisioned.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Generic, TypeVar

from backend.observability import logger

T = TypeVar("T")

_MAPPING = re.compile(r"[0-9a-f]+-[0-9a-f]+ ")


class Loaded(Generic[T]):
    """What a function has to load, once.

    Parameters
    ----------
    name : str
        What it is, for the log.
    load : callable
        Returns it.

    Examples
    --------
    >>> embedder = Loaded("embedder", partial(load_embedder, "small"))      # doctest: +SKIP
    >>> embedder().embed(audio)                                             # doctest: +SKIP
    """

    def __init__(self, name: str, load: Callable[[], T]) -> None:
        self._name, self._load = name, load
        self._value: T | None = None
        if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "provisioned-concurrency":
            self()

    def __call__(self) -> T:
        """Return it; the first call that succeeds loads it, and says in the log what that took."""
        if self._value is None:
            begun, read = time.monotonic(), bytes_read()
            self._value = self._load()
            mapped, resident = weights()
            figures = {
                "loaded": self._name,
                "initialization": os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
                "seconds": round(time.monotonic() - begun, 3),
                "read_bytes": None if read is None else (bytes_read() or 0) - read,
                "weights_bytes": mapped,
                "weights_read_bytes": resident,
            }
            logger.info("loaded", extra=figures)
        return self._value


def bytes_read() -> int | None:
    """Return the bytes that were read for this process from storage, on Lambda its image; None if unknown."""
    with suppress(OSError):
        found = re.search(r"^read_bytes: (\d+)$", Path("/proc/self/io").read_text(), re.MULTILINE)
        return int(found[1]) if found else None
    return None


def weights() -> tuple[int | None, int | None]:
    """Return the bytes of the weights that are mapped, and how many of them were read; None if unknown."""
    size = resident = 0
    ours = False
    try:
        lines = Path("/proc/self/smaps").read_text().splitlines()
    except OSError:
        return None, None
    for line in lines:
        if _MAPPING.match(line):
            ours = line.endswith(".safetensors")
        elif ours and line.startswith("Size:"):
            size += int(line.split()[1]) << 10
        elif ours and line.startswith("Rss:"):
            resident += int(line.split()[1]) << 10
    return size, resident
