"""What a generation has made so far, kept so that another invocation can go on with it.

A snapshot holds the codes of every candidate and how many steps they took. That is all the state there is:
the caches of the networks are computed again from the codes, and a random stream follows from its seed and
the count. So a generation that is interrupted anywhere ends with the same bytes.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import numpy as np

VERSION = 1
SAVE_SECONDS = 30.0
"""How often a snapshot is made."""
RESERVE_SECONDS = 20.0
"""What is left of an invocation's time when it stops making steps: for a last snapshot, and the record."""


class Suspended(Exception):
    """There was not enough time. All that was made is kept, and the same request goes on from there."""


@dataclass(eq=False)
class Take:
    """The codes of one candidate, as far as they are made.

    Attributes
    ----------
    seed : int
        The seed of its random stream.
    codes : np.ndarray [shape=(codebooks, frames), int16]
        The codes of the whole piece, the prompt included; -1 where there are none yet.
    step : int
        Steps that are made, over all windows.
    failed : int or None
        The step at which its logits were not finite: it has no more codes from there on.
    """

    seed: int
    codes: np.ndarray
    step: int = 0
    failed: int | None = None


class Snapshots(Protocol):
    """Where snapshots are kept, and how much time there is."""

    def load(self) -> Iterable[bytes]:
        """Return the snapshots that are kept, the latest first."""
        ...

    def save(self, data: bytes, step: int) -> None:
        """Keep a snapshot; `step` rises from one snapshot to the next."""
        ...

    def remaining(self) -> float:
        """Return how many seconds this invocation may still work."""
        ...


class Forgetful:
    """Snapshots that are not kept, for an invocation without a time limit."""

    def load(self) -> Iterable[bytes]:
        """Return no snapshots."""
        return ()

    def save(self, data: bytes, step: int) -> None:
        """Drop a snapshot."""

    def remaining(self) -> float:
        """Return infinity."""
        return float("inf")


class Kept:
    """The candidates of one generation, over all of its invocations.

    Parameters
    ----------
    snapshots : Snapshots
        Where they are kept.
    clock : callable
        Returns a time in seconds, of which differences matter.

    Attributes
    ----------
    takes : dict of int to Take
        The candidates by their seeds.
    resumed : int
        How often the generation was resumed.
    machines : list of str
        What the candidates were made on, each machine once: the same bytes are promised on one machine.
    """

    def __init__(self, snapshots: Snapshots, clock: Callable[[], float] = time.monotonic) -> None:
        self.takes: dict[int, Take] = {}
        self.resumed = 0
        self.machines: list[str] = []
        self._snapshots, self._clock = snapshots, clock
        self._inputs: str | None = None
        self._saved_at = clock()
        self._worked = False

    def open(self, inputs: str, machine: str) -> None:
        """Load the latest snapshot of the same inputs, unless that is done.

        Parameters
        ----------
        inputs : str
            Stands for everything that the codes depend on besides their seeds. A snapshot made of other
            inputs (by another version of the model, say) is of no use, and left alone.
        machine : str
            What this invocation runs on, for `machines`.
        """
        if self._inputs == inputs:
            return
        self._inputs, self.takes, self.resumed, self.machines = inputs, {}, 0, []
        for data in self._snapshots.load():
            try:
                header, takes = unpack(data)
            except ValueError:
                continue  # cut short or of another version: there may be one before it
            if header["inputs"] == inputs:
                self.takes = {take.seed: take for take in takes}
                self.resumed, self.machines = header["resumed"] + 1, header["machines"]
                break
        if machine not in self.machines:
            self.machines.append(machine)

    def worked(self) -> None:
        """Note that a step was made, and save a snapshot every `SAVE_SECONDS`."""
        self._worked = True
        if self._clock() - self._saved_at >= SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Save a snapshot now."""
        assert self._inputs is not None
        header = {"inputs": self._inputs, "resumed": self.resumed, "machines": self.machines}
        takes = list(self.takes.values())
        self._snapshots.save(pack(header, takes), sum(take.step for take in takes))
        self._saved_at = self._clock()

    def fits(self, seconds: float) -> bool:
        """Return whether there are so many seconds before `RESERVE_SECONDS` begin."""
        return self._snapshots.remaining() - RESERVE_SECONDS >= seconds

    def make_room(self, seconds: float) -> None:
        """Suspend the generation unless there are so many seconds (see `fits`).

        An invocation that has made nothing yet is not suspended: one that never gets anywhere must fail in
        the end.

        Raises
        ------
        Suspended
            If there are not; a snapshot was saved.
        """
        if self._worked and not self.fits(seconds):
            self.suspend()

    def suspend(self) -> NoReturn:
        """Save a snapshot and stop.

        Raises
        ------
        Suspended
            Always.
        """
        self.save()
        raise Suspended


def pack(header: dict[str, Any], takes: Iterable[Take]) -> bytes:
    """Write a snapshot.

    Parameters
    ----------
    header : dict
        What goes with the takes, JSON-ready.
    takes : iterable of Take
        All candidates.

    Returns
    -------
    bytes
        Compressed: about 33 kB for each minute of a candidate with eight codebooks.

    See Also
    --------
    unpack : the inverse.
    """
    takes = list(takes)
    described = [
        {"seed": take.seed, "step": take.step, "failed": take.failed, "shape": take.codes.shape}
        for take in takes
    ]
    head = json.dumps({"version": VERSION, **header, "takes": described}).encode()
    codes = b"".join(take.codes.astype("<i2").tobytes() for take in takes)
    return zlib.compress(len(head).to_bytes(4, "little") + head + codes)


def unpack(data: bytes) -> tuple[dict[str, Any], list[Take]]:
    """Read a snapshot.

    Parameters
    ----------
    data : bytes
        What `pack` returned.

    Returns
    -------
    header : dict
        What went with the takes.
    takes : list of Take

    Raises
    ------
    ValueError
        If the snapshot is damaged, or of another version.
    """
    try:
        plain = zlib.decompress(data)
        size = 4 + int.from_bytes(plain[:4], "little")
        header = json.loads(plain[4:size])
        if header["version"] != VERSION:
            raise ValueError(f"a snapshot of version {header['version']}")
        takes, at = [], size
        for described in header["takes"]:
            shape = tuple(described["shape"])
            codes = np.frombuffer(plain, "<i2", int(np.prod(shape)), at).reshape(shape).astype(np.int16)
            takes.append(Take(described["seed"], codes, described["step"], described["failed"]))
            at += 2 * codes.size
    except (zlib.error, KeyError, TypeError) as error:
        raise ValueError("not a snapshot") from error
    return header, takes
