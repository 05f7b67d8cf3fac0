"""Compares records, objects and vectors: some faults no record that comes due would ever tell.

    object without a living record, or that    deleted                              orphan_object
    came after its audio's time was over
    preview that its audio does not name       deleted                              orphan_object
    candidate that is not kept any more        deleted                              orphan_object
    receipt of an endpoint                     left alone: it expires by itself
    object that is not named as ours are       left alone                           unknown_object
    vector without a living audio              deleted                              orphan_vector
    audio ready, but its object is gone        embedded again: fails and says so    source_missing
    audio ready, but its object was replaced   embedded again                       source_overwritten
    audio ready, but its vector is gone        embedded again                       vector_missing
    generation succeeded, its object is gone   expired                              result_missing

A call looks at a few and notes how far it came, so that all of it is seen in turn, however much there is;
then there is rest for some hours. Every record is written before its object and its vector:
what has no record is nobody's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from backend.observability import logger
from backend.purge import expire
from backend.queues import Queues
from backend.records import Audio, Generation, RecordError, Records
from backend.storage import (
    RECEIPTS,
    ListedObject,
    Storage,
    parse_candidate_key,
    parse_derived_key,
    parse_generated_key,
    parse_upload_key,
    upload_key,
)
from backend.vectors import Vectors, parse_vector_key

LIMIT = 250
"""Records, objects and vectors that one call looks at: 360,000 a day at one call a minute."""
REST_SECONDS = 6 * 3600
"""Seconds between one pass over all there is and the next: every look costs a request or two."""
ORPHAN_SECONDS = 24 * 3600
"""Seconds for which an object without a record is left alone: whoever restores a table has a day for it."""

WALKS = ("objects", "vectors", "records")
Check = tuple[str, Callable[[], str | None]]


@dataclass(frozen=True)
class Reconciliation:
    """The deployment's records, objects and vectors.

    Attributes
    ----------
    records, storage, vectors, queues
        What is compared, and the queues for what has to be embedded again.
    """

    records: Records
    storage: Storage
    vectors: Vectors
    queues: Queues

    def run(self, in_time: Callable[[], bool], limit: int = LIMIT) -> Iterator[tuple[str, str]]:
        """Go on where the last call ended; do nothing while there is rest.

        Parameters
        ----------
        in_time : callable
            Whether there is time for another look; when there is not, the next call begins at the same page.
        limit : int
            How many looks.

        Yields
        ------
        (action, key)
            What was done, and about what; ``"errors"`` where it could not be.
        """
        at = self.records.schedule.reconciliation()
        if float(at.get("rest_until", 0)) > self.records.now():
            return
        walks = iter(WALKS[WALKS.index(at.get("walk", WALKS[0])) :])
        walk, after = next(walks), at.get("after")
        while limit > 0:
            checks, after = self._page(walk, after, limit)
            for key, check in checks:
                if not in_time():
                    return
                if action := _checked(key, check):
                    yield action, key
            limit -= max(len(checks), 1)
            if after is None:
                following = next(walks, None)
                if following is None:
                    rest_until = self.records.now() + REST_SECONDS
                    self.records.schedule.note_reconciliation(rest_until=str(rest_until))
                    return
                walk = following
            self.records.schedule.note_reconciliation(walk=walk, after=after)

    def _page(self, walk: str, after: str | None, limit: int) -> tuple[list[Check], str | None]:
        if walk == "objects":
            objects, after = self.storage.page(after, limit)
            return [(found.key, partial(self._object, found)) for found in objects], after
        if walk == "vectors":
            keys, after = self.vectors.page(after, limit)
            return [(key, partial(self._vector, key)) for key in keys], after
        records, after = self.records.schedule.page(after, limit)
        return [(f"{one.kind}#{one.tenant}/{one.id}", partial(self._record, one)) for one in records], after

    def _object(self, found: ListedObject) -> str | None:
        record: Audio | Generation | None
        if derived := parse_derived_key(found.key):
            tenant, audio_id, revision = derived
            record = audio = self.records.get_audio(tenant, audio_id)
            if (
                audio
                and audio.status in {"ready", "failed"}
                and (audio.derived or {}).get("revision") != revision
            ):
                record = None
        elif candidate := parse_candidate_key(found.key):
            tenant, generation_id, number, extension = candidate
            record = generation = self.records.get_generation(tenant, generation_id)
            if (
                generation
                and generation.status == "succeeded"
                and not generation.has_candidates(self.records.now())
                and not generation.outlasts(number, extension)
            ):
                record = None
        elif source := parse_upload_key(found.key):
            record = self.records.get_audio(*source)
        elif result := parse_generated_key(found.key):
            record = self.records.get_generation(*result)
        else:
            return None if found.key.startswith(f"{RECEIPTS}/") else "unknown_object"
        wanted = record is not None and not record.deleted
        if isinstance(record, Generation):
            wanted = wanted and record.status not in {"failed", "cancelled"}
        elif record is not None and record.status == "failed":
            wanted = record.etag is not None  # one that came after its time was over is counted nowhere
        if wanted or self.records.now() - found.modified < ORPHAN_SECONDS:
            return None
        self.storage.delete(found.key)
        return "orphan_object"

    def _vector(self, key: str) -> str | None:
        tenant, audio_id = parse_vector_key(key)
        audio = self.records.get_audio(tenant, audio_id)
        if audio and not audio.deleted and audio.status != "failed":
            return None
        self.vectors.delete(tenant, audio_id)
        return "orphan_vector"

    def _record(self, record: Audio | Generation) -> str | None:
        if isinstance(record, Generation):
            return self._generation(record)
        if record.status != "ready":
            return None  # it is due sooner or later
        stored = self.storage.head(upload_key(record.tenant, record.id))
        if stored is None:
            action = "source_missing"
        elif stored.etag != record.etag:
            # The worker sees that, too, and charges the tenant for it.
            self.queues.call(record)
            return "source_overwritten"
        elif not record.silent and not self.vectors.has(record.tenant, record.id):
            action = "vector_missing"
        else:
            return None
        self.records.embed_again(record.tenant, record.id)
        self.queues.call(record)
        return action

    def _generation(self, record: Generation) -> str | None:
        if record.status != "succeeded" or self.storage.has_generated(record.tenant, record.id):
            return None
        expire(record, self.records, self.storage, self.vectors)
        return "result_missing"


def _checked(key: str, check: Callable[[], str | None]) -> str | None:
    try:
        return check()
    except RecordError:
        return None  # it moved meanwhile: somebody takes care of it
    except Exception:
        # One that cannot be helped now must not keep the others from being.
        logger.exception("not reconciled", extra={"key": key})
        return "errors"
