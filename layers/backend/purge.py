"""Removes what a tombstone stands for: objects, vectors and generations.

`Records.bury` comes first, so that writers are fenced before anything goes. Every step may run again: whoever
dies half way leaves a tombstone that the sweeper finds.
"""

from __future__ import annotations

from typing import cast

from backend.records import Audio, Generation, NotFound, Records, Tombstone
from backend.storage import Storage, parse_candidate_key, upload_key
from backend.vectors import Vectors


def purge(
    record: Audio | Generation,
    records: Records,
    storage: Storage,
    vectors: Vectors,
    status: Tombstone = "deleted",
) -> None:
    """Remove everything that a buried record stands for, and take it off the sweeper's list.

    Parameters
    ----------
    record : Audio or Generation
        Buried already. An audio takes its vector and its generations with it.
    status : "deleted" or "expired"
        What becomes of those generations.
    """
    if isinstance(record, Generation):
        storage.delete_generated(record.tenant, record.id)
    else:
        remove_audio_data(record.tenant, record.id, storage, vectors)
        records.contents.forget(record)
        cursor: str | None = None
        while True:
            generations, cursor = records.list_generations(record.tenant, record.id, cursor)
            for generation in generations:
                try:
                    records.bury(generation, status)
                except NotFound:
                    continue  # somebody else was faster; the index lags behind the table
                purge(generation, records, storage, vectors)
            if cursor is None:
                break
    records.usage.count(record, 0)
    records.usage.settle(record)
    records.purged(record)


def remove_candidates(generation: Generation, records: Records, storage: Storage) -> None:
    """Remove the candidates of a succeeded generation that are not its result, and count what is left.

    Its time must be over, so that nobody chooses another one meanwhile.
    """
    gone = []
    for key in storage.candidates(generation.tenant, generation.id):
        named = parse_candidate_key(key)
        if named and not generation.outlasts(*named[2:]):
            gone.append(key)
    storage.delete_all(gone)
    recount(generation, records, storage)


def recount(generation: Generation, records: Records, storage: Storage) -> None:
    """Count anew what a succeeded generation has in the bucket."""
    own = int((generation.result or {})["bytes"])
    records.usage.recount(
        generation, lambda: own + sum(storage.candidates(generation.tenant, generation.id).values())
    )


def expire(record: Audio | Generation, records: Records, storage: Storage, vectors: Vectors) -> None:
    """Bury a record whose time is over, or take up a tombstone, and remove what it stands for."""
    status = cast(Tombstone, record.status) if record.deleted else "expired"
    if not record.deleted:
        records.bury(record, status)
    purge(record, records, storage, vectors, status)


def remove_audio_data(tenant: str, audio_id: str, storage: Storage, vectors: Vectors) -> None:
    """Remove an audio's object, what was derived from it and its vector; no error when there are none."""
    storage.delete(upload_key(tenant, audio_id))
    storage.delete_derived(tenant, audio_id)
    vectors.delete(tenant, audio_id)
