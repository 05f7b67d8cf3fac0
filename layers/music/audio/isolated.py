"""Decoding in a process of its own, so that a file can do no more harm than to fail.

FFmpeg's decoders are a million lines of C that strangers' files are fed to. A decoder that crashes, hangs, or
asks for all memory ends a child process with limits; what comes of it is an `AudioError` like any other. The
child gets none of our environment, so no credentials, and none of our descriptors. It cannot read our memory,
and has no network (see `music.audio.confine`). What it says is checked before anything is allocated for it.
Otherwise it has its parent's rights: it may read and write the files that we may.

Pipes and `subprocess` only: AWS Lambda has no shared memory, which `multiprocessing` needs.
"""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any

import numpy as np

from music.audio import AudioError, confine
from music.audio.ffmpeg import BLOCK, MAX_CHANNELS

_COMMAND = [sys.executable, "-P", "-S", "-m", "music.audio.child"]
_MEMORY_BYTES = 768 << 20  # of address space; 200 MB are FFmpeg itself
_CPU_SECONDS = 120
_STALL_SECONDS = 100.0  # to wait for the next block, of a busy machine; consuming them does not count
_PIPE_BYTES = 1 << 20
_HEAD_BYTES = 1 << 16

_CRASHED = "the file is damaged such that its decoder crashes"

_logger = logging.getLogger(__name__)


class _Nonsense(Exception):
    """The child said what ours never says: a file has taken it over, or has damaged it."""


def blocks(path: Path, rates: Sequence[int]) -> Iterator[tuple[int, tuple[str, ...], np.ndarray]]:
    """Decode a file in a child process.

    The child lives as long as this generator: close it, drop it or let an exception pass, and it is killed.

    Parameters
    ----------
    path : Path
        A local file.
    rates : sequence of int
        Sample rates of the result, in Hz.

    Yields
    ------
    rate : int
        The sample rate of this block in Hz: those of `rates` take turns.
    positions : tuple of str
        The loudspeaker of each channel.
    samples : np.ndarray [shape=(channels, n), float32]

    Raises
    ------
    AudioError
        What `music.audio.reader.read` raises; ``undecodable`` if the decoder crashes; ``too_complex`` if it
        exceeds its memory or its time.
    RuntimeError
        If the child fails for a reason of its own.
    """
    with _child(path, rates) as (pipe, head):
        while "end" not in head:
            if "error" in head:
                raise _refusal(head)
            rate, positions, layout, n = _announced(head, rates)
            packed = np.frombuffer(_read(pipe, 4 * n * len(positions)), "<f4")
            samples = np.ascontiguousarray(packed.reshape(n, -1).T)
            yield rate, layout, arranged(samples, positions, layout)
            head = _head(pipe)


def probe(path: Path) -> tuple[int, int, int]:
    """Decode the beginning of a file in a child process.

    Parameters
    ----------
    path : Path
        A local file.

    Returns
    -------
    rate, channels, bits : int
        As `music.audio.reader.probe` returns them.

    Raises
    ------
    AudioError, RuntimeError
        As `blocks`.
    """
    with _child(path, ()) as (_, head):
        if "error" in head:
            raise _refusal(head)
        rate, channels, bits = (head.get(name) for name in ("rate", "channels", "bits"))
        if not (
            type(rate) is type(channels) is type(bits) is int and rate > 0 and 1 <= channels <= MAX_CHANNELS
        ):
            raise _Nonsense("a file of an impossible shape")
        return rate, channels, bits


@contextmanager
def _child(path: Path, rates: Sequence[int]) -> Iterator[tuple[IO[bytes], dict[str, Any]]]:
    """Start a child; give what it writes and its first head, and say what became of it where it fails."""
    _hide()
    request = {
        "path": str(path.absolute()),
        "rates": list(rates),
        "memory": _MEMORY_BYTES,
        "cpu": _CPU_SECONDS,
    }
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            [*_COMMAND, json.dumps(request)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            bufsize=0,
            pipesize=_PIPE_BYTES,
            env=_environment(),
        ) as child,
    ):
        assert child.stdout
        try:
            head = _head(child.stdout)
            if "unconfined" in head:
                _unconfined(str(head["unconfined"])[:200])
                head = _head(child.stdout)
            yield child.stdout, head
        except EOFError:
            raise _ended(child, errors) from None
        except _Nonsense as nonsense:
            _logger.warning("the decoding process said %s", nonsense)
            raise AudioError("undecodable", _CRASHED) from None
        finally:
            child.kill()


@cache
def _hide() -> None:
    """Hide this process from its children, once."""
    try:
        confine.hide()
    except OSError as error:
        _logger.warning("the decoding process can read the environment of this one: %s", error)


def _unconfined(reason: str) -> None:
    """Say that the child keeps the network, once, whatever reasons it has later."""
    if not _reasons:
        _reasons.append(reason)
        _logger.warning("the decoding process keeps the network: %s", reason)


_reasons: list[str] = []


def _head(pipe: IO[bytes]) -> dict[str, Any]:
    """Read the head of a message; raise `_Nonsense` if it is none."""
    (length,) = struct.unpack("<I", _read(pipe, 4))
    if length > _HEAD_BYTES:
        raise _Nonsense(f"a head of {length} bytes")
    try:
        head = json.loads(_read(pipe, length))
    except (ValueError, RecursionError):
        raise _Nonsense("a head that is no JSON") from None
    if not isinstance(head, dict):
        raise _Nonsense("a head that is no object")
    return head


def _refusal(head: dict[str, Any]) -> AudioError:
    """Return the error that a head announces."""
    match head["error"]:
        case [str() as code, str() as detail] if code in AudioError.CODES:
            return AudioError(code, detail)
    raise _Nonsense("an error that there is not")


def _announced(
    head: dict[str, Any], rates: Sequence[int]
) -> tuple[int, tuple[str, ...], tuple[str, ...], int]:
    """Return rate, positions, layout and number of samples of the block that a head announces.

    No block is larger than the child makes them, and its loudspeakers are among those of the whole file.
    """
    try:
        rate, n = head["rate"], head["n"]
        positions, layout = tuple(head["positions"]), tuple(head["layout"])
    except (KeyError, TypeError):
        raise _Nonsense("a block without its shape") from None
    counted = type(rate) is int and rate in rates and type(n) is int and 1 <= n <= BLOCK
    named = all(isinstance(name, str) for name in positions + layout)
    if not (counted and named and 1 <= len(positions) <= MAX_CHANNELS and 1 <= len(layout) <= MAX_CHANNELS):
        raise _Nonsense("a block of an impossible shape")
    places = ("FL", "FR") if len(positions) == 1 else positions
    if positions != layout and not set(places) <= set(layout):
        raise _Nonsense("a block of other loudspeakers than its file's")
    return rate, positions, layout, n


def _environment() -> dict[str, str]:
    """Return the child's environment: what Python needs to find our modules, and no threads for numpy."""
    inherited = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "PATH") if name in os.environ}
    path = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)
    return {**inherited, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"}


def arranged(samples: np.ndarray, positions: tuple[str, ...], layout: tuple[str, ...]) -> np.ndarray:
    """Put channels where a layout has them.

    Parameters
    ----------
    samples : np.ndarray [shape=(len(positions), n), float32]
    positions : tuple of str
        The loudspeaker of each channel.
    layout : tuple of str
        The loudspeakers of the result; it has those of `positions`, or, of mono, left and right.

    Returns
    -------
    np.ndarray [shape=(len(layout), n), float32]
        Silent where there is no channel; mono plays left and right.
    """
    if positions == layout:
        return samples
    placed = np.zeros((len(layout), samples.shape[1]), np.float32)
    for channel, position in zip(samples, positions, strict=True):
        for place in ("FL", "FR") if len(positions) == 1 else (position,):
            placed[layout.index(place)] = channel
    return placed


def _read(pipe: IO[bytes], size: int) -> bytearray:
    """Read exactly ``size`` bytes; raise EOFError if there are fewer."""
    buffer = bytearray(size)
    missing = memoryview(buffer)
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    while missing:
        if not poll.poll(1000 * _STALL_SECONDS):
            raise AudioError("too_complex", "decoding the file takes too long")
        if not (count := os.readv(pipe.fileno(), [missing])):
            raise EOFError
        missing = missing[count:]
    return buffer


def _ended(child: subprocess.Popen[bytes], errors: IO[bytes]) -> Exception:
    """Return the error that says why a child ended without a word."""
    try:
        status = child.wait(_STALL_SECONDS)
    except subprocess.TimeoutExpired:
        return AudioError("too_complex", "decoding the file takes too long")
    errors.seek(0)
    said = errors.read(4000).decode(errors="replace").strip()
    _logger.warning("the decoding process ended with status %d: %s", status, said)
    if status in (-signal.SIGXCPU, -signal.SIGKILL):  # the kernel's, for its time or for the machine's memory
        return AudioError("too_complex", "decoding the file takes more time or memory than we give it")
    if status < 0:
        return AudioError("undecodable", _CRASHED)
    return RuntimeError(f"the decoding process ended with status {status}")
