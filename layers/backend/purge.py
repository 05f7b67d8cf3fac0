"""What a tombstone stands for, removed: objects, vectors and generations.

`Records.bury` comes first, so that writers are fenced before anything goes. Every step may run again: whoever
dies half way leaves a tombstone that the sweeper finds.
"""

from __future__ import annotations

from backend.records import Audio, Generation, NotFound, Records, Tombstone
from backend.storage import Storage, upload_key
from backend.vectors import Vectors


def purge_audio(
    audio: Audio, records: Records, storage: Storage, vectors: Vectors, status: Tombstone = "deleted"
) -> None:
    """Remove a buried audio's object, vector and generations, and take it off the sweeper's list.

    Parameters
    ----------
    audio : Audio
        The audio, buried already.
    status : "deleted" or "expired"
        What becomes of its generations.
    """
    remove_audio_data(audio.tenant, audio.id, storage, vectors)
    cursor: str | None = None
    while True:
        generations, cursor = records.list_generations(audio.tenant, audio.id, cursor)
        for generation in generations:
            try:
                records.bury(generation, status)
            except NotFound:
                continue  # somebody else was faster; the index lags behind the table
            purge_generation(generation, records, storage)
        if cursor is None:
            break
    records.purged(audio)


def purge_generation(generation: Generation, records: Records, storage: Storage) -> None:
    """Remove a buried generation's object and take it off the sweeper's list."""
    storage.delete_generated(generation.tenant, generation.id)
    records.purged(generation)


def remove_audio_data(tenant: str, audio_id: str, storage: Storage, vectors: Vectors) -> None:
    """Remove an audio's object and vector; no error when there are none."""
    storage.delete(upload_key(tenant, audio_id))
    vectors.delete(tenant, audio_id)
