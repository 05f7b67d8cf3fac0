"""Uploads: several files at a time, each once, and what was interrupted goes on."""

from __future__ import annotations

import hashlib
import queue
import threading
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from client.api import PIECE_BYTES, Api
from client.failure import Exit, Failure, file_failure
from client.files import opened, upload_name
from client.output import Bar, Bars

TRIES = 3
FATAL = {Exit.UNREACHABLE, Exit.KEY}
"""What no other file of the same upload can escape."""


@dataclass(frozen=True)
class Uploaded:
    """What became of one file.

    Attributes
    ----------
    path : Path
        The file.
    state : str
        ``uploaded``; ``there``, where the track was there before; ``failed``.
    audio_id : str or None
        The track.
    failure : Failure or None
        Why it failed.
    """

    path: Path
    state: Literal["uploaded", "there", "failed"]
    audio_id: str | None = None
    failure: Failure | None = None

    def document(self) -> dict[str, Any]:
        """Return the result as JSON shows it."""
        found: dict[str, Any] = {"path": str(self.path), "state": self.state, "audio_id": self.audio_id}
        if self.failure:
            found["error"] = {"code": self.failure.code or self.failure.exit.name.lower()}
            found["error"]["detail"] = self.failure.line
        return found


class Contents:
    """The contents that one upload of many files has met, so that each is sent once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ids: dict[str, Future[str | None]] = {}

    def claim(self, sha256: str) -> tuple[Future[str | None], bool]:
        """Return what will be the id of the track with this content, and whether the caller is to send it."""
        with self._lock:
            first = sha256 not in self._ids
            return self._ids.setdefault(sha256, Future()), first


def upload(api: Api, path: Path, bars: Bars, contents: Contents | None = None) -> Uploaded:
    """Upload one file, unless the deployment has its content.

    The request carries an idempotency key that is made of the content and the name: an upload that was
    interrupted goes on with the record that it has begun.

    Parameters
    ----------
    contents : Contents, optional
        Of the other files of the same upload.

    Raises
    ------
    Failure
    """
    name = upload_name(path)
    bar = bars.add(name, None)
    try:
        with opened(path, lambda: int(api.get("/api/profile")["limits"]["upload_bytes"])) as file:
            sha256, size = _measure(path, file)
            if not size:
                raise Failure(Exit.FILE, f"{path} is empty")
            bar.resize(size)
            track, first = (contents or Contents()).claim(sha256)
            if not first and (audio_id := track.result()):
                return Uploaded(path, "there", audio_id)
            body = {"filename": name, "bytes": size, "sha256": sha256}
            audio_id = None
            try:
                result = _send_at_last(api, path, file, body, bar)
                audio_id = result.audio_id
                return result
            finally:
                if first:
                    track.set_result(audio_id)
    finally:
        bar.remove()


def _send_at_last(api: Api, path: Path, file: BinaryIO, body: dict[str, Any], bar: Bar) -> Uploaded:
    """Send a file, some times where the connection to the bucket breaks: its record stays the same."""
    for _ in range(TRIES - 1):
        try:
            return _send(api, path, file, body, bar)
        except Failure as failure:
            if failure.exit is not Exit.UNREACHABLE:
                raise
            bar.update(0)
    return _send(api, path, file, body, bar)


def _send(api: Api, path: Path, file: BinaryIO, body: dict[str, Any], bar: Bar) -> Uploaded:
    """Announce a file, and post it where it is wanted."""
    for key in _keys(f"{body['sha256']} {body['filename']}"):
        try:
            reply = api.post("/api/upload", body, key)
            document = reply.document
            if document["status"] == "awaiting_upload":
                api.post_file(document["upload"], path, file, body["bytes"], bar.advance)
                return Uploaded(path, "uploaded", document["audio_id"])
            # The answer to a key that is known is the first one, whatever became of the track since.
            if reply.status == 200 or api.get(document["links"]["self"])["status"] != "failed":
                return Uploaded(path, "there", document["audio_id"])
        except Failure as failure:
            if failure.exit is not Exit.NOT_FOUND:  # deleted since: it is a new track
                raise
    raise AssertionError("the last key is new, and what is new is taken or refused")


def upload_all(api: Api, paths: Sequence[Path], bars: Bars, at_once: int) -> Iterator[Uploaded]:
    """Upload files, `at_once` at a time, and yield what became of each as it is done.

    Raises
    ------
    Failure
        One that no other file can escape: no API there, or no valid key.
    """
    waiting: queue.SimpleQueue[Path] = queue.SimpleQueue()
    done: queue.SimpleQueue[Uploaded | BaseException] = queue.SimpleQueue()
    for path in paths:
        waiting.put(path)
    contents = Contents()
    ending = threading.Event()

    def work() -> None:
        while not ending.is_set():
            try:
                path = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                done.put(_settled(api, path, bars, contents))
            except BaseException as error:
                done.put(error)
                return

    # Nobody waits for them at the end of the process: half an upload is none to the bucket.
    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(at_once, len(paths)))]
    for thread in threads:
        thread.start()
    try:
        for _ in paths:
            result = done.get()
            if isinstance(result, BaseException):
                raise result
            yield result
    finally:
        ending.set()


def _settled(api: Api, path: Path, bars: Bars, contents: Contents) -> Uploaded:
    """Upload one file of several, and tell its failure where the others can still succeed."""
    try:
        return upload(api, path, bars, contents)
    except Failure as failure:
        if failure.exit in FATAL:
            raise
        return Uploaded(path, "failed", failure=failure)


def _measure(path: Path, file: BinaryIO) -> tuple[str, int]:
    """Return the SHA-256 of a file's content, and its bytes."""
    found, size = hashlib.sha256(), 0
    try:
        while piece := file.read(8 * PIECE_BYTES):
            found.update(piece)
            size += len(piece)
    except OSError as error:
        raise file_failure(path, "read", error) from error
    return found.hexdigest(), size


def _keys(content: str) -> Iterator[str]:
    """Yield idempotency keys: the same ones for the same content, then one that nobody has used."""
    known = hashlib.sha256(content.encode()).hexdigest()
    for number in range(8):
        yield f"{known}-{number}"
    yield uuid.uuid4().hex
