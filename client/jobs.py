"""Jobs: wait for one, and list those that are under way."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from client import api as http
from client.api import Api
from client.failure import STALE, Exit, Failure, stale_line
from client.output import Bar

SUCCEEDED = {"ready", "succeeded"}
ENDED = {*SUCCEEDED, "failed", "cancelled"}
PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 2.0
LOOK_SECONDS = 60.0
"""While there is no room for more jobs, those under way are looked at this often."""
PATIENCE_SECONDS = 900.0
"""Nobody waits for room any longer where nothing has got on for so long."""


def follow(api: Api, link: str, bar: Bar) -> dict[str, Any]:
    """Wait for the end of a job, and return its record.

    Raises
    ------
    Failure
        It failed, or was cancelled; with the reason.
    """
    for number in itertools.count():
        record: dict[str, Any] = api.get(link)
        bar.update(record["progress"], record.get("seconds_left"), record.get("stage"))
        if record["status"] in ENDED:
            check(record)
            bar.end()
            return record
        time.sleep(min(PAUSE_SECONDS * 1.2**number, LONGEST_PAUSE_SECONDS))
    raise AssertionError


def follow_all(
    api: Api, records: Sequence[dict[str, Any]], bars: Mapping[str, Bar]
) -> Iterator[dict[str, Any]]:
    """Wait for the ends of several jobs, and yield the record of each that ends, in whatever way.

    Parameters
    ----------
    records : sequence of dict
        As they were found.
    bars : mapping
        The bar of each, by its id.
    """
    links = {identifier(record): record["links"]["self"] for record in records}
    while links:
        for id_, link in list(links.items()):
            try:
                record = api.get(link)
            except Failure as failure:
                if failure.exit is not Exit.NOT_FOUND:  # removed meanwhile
                    raise
                del links[id_]
                bars[id_].end("removed")
                continue
            bars[id_].update(record["progress"], record.get("seconds_left"), record.get("stage"))
            if record["status"] in ENDED:
                del links[id_]
                bars[id_].remove()
                yield record
        if links:
            time.sleep(LONGEST_PAUSE_SECONDS / 2)


def check(record: dict[str, Any]) -> None:
    """Raise a `Failure` with the reason where a job came to nothing."""
    if record["status"] in {"failed", "cancelled"}:
        error = record.get("error") or {}
        what = record.get("filename") or identifier(record)
        reason = error.get("detail") or f"The job was {record['status']}."
        if error.get("code") == STALE:
            reason = stale_line(reason, record["audio_id"])
        raise Failure(Exit.FAILED, f"{what}: {reason}", error.get("code", record["status"]))


def identifier(record: dict[str, Any]) -> str:
    """Return the id of a record of either kind."""
    return str(record.get("generation_id") or record["audio_id"])


def find(api: Api, id_: str) -> dict[str, Any]:
    """Return the record of a track or of a generation.

    Raises
    ------
    Failure
        There is neither.
    """
    for kind in ("audio", "generation"):
        try:
            return dict(api.get(f"/api/{kind}/{quoted(id_)}"))
        except Failure as failure:
            if failure.exit is not Exit.NOT_FOUND or failure.code == "expired":
                raise
    raise missing("track or generation", id_)


def track_of(api: Api, id_: str) -> str:
    """Return the id of a track, or of the track that a generation's result is copied to, now or before.

    Raises
    ------
    Failure
        There is neither, or the music is not finished.
    """
    record = find(api, id_)
    if "generation_id" not in record:
        return str(record["audio_id"])
    for copy in record.get("copied_to") or ():
        try:
            track = api.get(f"/api/audio/{copy}")
        except Failure as failure:
            if failure.exit is not Exit.NOT_FOUND:  # deleted since
                raise
        else:
            # Another candidate may have been copied, or chosen since.
            if (track.get("made_from") or {}).get("candidate") == record.get("chosen"):
                return str(track["audio_id"])
    return str(api.post("/api/audio", {"generation_id": record["generation_id"]}).document["audio_id"])


def stale(api: Api) -> Iterator[str]:
    """Yield the ids of the tracks whose embedding is of another profile than the one in force."""
    for record in api.pages("/api/audio", limit=100):
        if record["status"] == "ready":
            try:
                api.get(f"/api/embedding/{record['audio_id']}", wait=0)
            except Failure as failure:
                if failure.code == STALE:
                    yield str(record["audio_id"])
                elif failure.exit is not Exit.NOT_FOUND:  # deleted since
                    raise


def embed_again(api: Api, id_: str) -> dict[str, Any]:
    """Ask for a track to be embedded under the profile in force, and return what the API answers.

    Raises
    ------
    Failure
        There is no such track, its file never came, or it failed.
    """
    try:
        return dict(api.post(f"/api/audio/{quoted(id_)}/embed", None).document)
    except Failure as failure:
        raise (missing("track", id_) if failure.code == "not_found" else failure) from failure


def missing(what: str, id_: str) -> Failure:
    """Say that there is no such record, and which command lists those that are."""
    return Failure(
        Exit.NOT_FOUND, f"there is no {what} {id_}: `music tracks` and `music jobs` list those that are"
    )


def recent(api: Api, finished: int) -> list[dict[str, Any]]:
    """List all jobs that are under way, and the newest `finished` generations.

    Every page is read: whatever was asked for, however long ago, may still be under way.

    Returns
    -------
    list of dict
        Records of tracks that are not embedded yet, then of generations; the newest first.
    """
    tracks = api.pages("/api/audio", limit=100)
    jobs = [record for record in tracks if record["status"] not in ENDED]
    ended = 0
    for record in api.pages("/api/generation", limit=100):
        if record["status"] in ENDED:
            ended += 1
            if ended > finished:
                continue
        jobs.append(record)
    return jobs


class Room:
    """Waits where a tenant has as many unfinished jobs as it may have, as long as something gets on.

    Parameters
    ----------
    api : Api
        The deployment.
    note : callable
        Is told once, in a sentence, that it waits.
    """

    def __init__(self, api: Api, note: Callable[[str], object]) -> None:
        self._api, self._note = api, note
        self._lock = threading.Lock()
        self._said = False
        self._seen: set[tuple[str, str, float]] | None = None
        self._looked_at = self._moved_at = -math.inf

    def wait(self, failure: Failure) -> None:
        """Wait before the request is sent again that the API has refused. It may be called from any thread.

        Raises
        ------
        Failure
            Nothing has got on for a long time.
        """
        with self._lock:
            if not self._said:
                self._said = True
                self._note(f"{failure.line} It goes on as soon as there is room; Ctrl-C ends it.")
            self._look()
            if time.monotonic() - max(self._moved_at, self._api.sent_at) > PATIENCE_SECONDS:
                why = f"nothing of it has got on for {PATIENCE_SECONDS / 60:.0f} minutes"
                raise Failure(failure.exit, f"{failure.line.rstrip('.')}, and {why}", failure.code)
        time.sleep(max(failure.pause, http.PAUSES_SECONDS[-1]))

    def _look(self) -> None:
        """Find out whether any job has got on since the last look."""
        now = time.monotonic()
        if now - self._looked_at < LOOK_SECONDS:
            return
        under_way = recent(self._api, 0)
        seen = {(identifier(record), record["status"], record["progress"]) for record in under_way}
        if seen != self._seen:
            self._moved_at = now
        self._seen, self._looked_at = seen, now


def quoted(id_: str) -> str:
    """Return an id that a user gave as one part of a path."""
    return quote(id_, safe="")
