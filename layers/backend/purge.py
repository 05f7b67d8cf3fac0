"""Removes what a tombstone stands for: objects, vectors and generations.

`Records.bury` comes first, so that writers are fenced before anything goes. Every step may run again: whoever
dies half way leaves a tombstone that the sweeper finds. An audio may have thousands of generations: one call
buries `MOST_BURIED` of them, which nobody sees any more, and removes the objects of `AT_ONCE`. The sweeper
does the rest, a tombstone at a time.
"""

from __future__ import annotations

from typing import cast

from backend.records import Audio, Generation, Records, Tombstone
from backend.storage import Storage, parse_candidate_key, upload_key
from backend.vectors import Vectors

AT_ONCE = 20
"""Generations of an audio whose objects are removed with it: so many take a few seconds."""


def purge(
    record: Audio | Generation,
    records: Records,
    storage: Storage,
    vectors: Vectors,
    status: Tombstone = "deleted",
) -> None:
    """Remove what a buried record stands for, and take it off the sweeper's list.

    Parameters
    ----------
    record : Audio or Generation
        Buried already. An audio takes its vector and its generations with it; what is more
        than a call has time for is left to the sweeper.
    status : "deleted" or "expired"
        What becomes of those generations.
    """
    more = False
    if isinstance(record, Generation):
        storage.delete_generated(record.tenant, record.id)
    else:
        buried, more = records.bury_generations(record, status)
        remove_audio_data(record.tenant, record.id, storage, vectors)
        records.contents.forget(record)
        for generation in buried[:AT_ONCE]:
            purge(generation, records, storage, vectors)
    records.usage.count(record, 0)
    records.usage.settle(record)
    if not more:
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
