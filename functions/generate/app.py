"""Turns a queued generation into new music in the bucket.

The key of the result follows from the generation, and an object that is there is never replaced: whichever
attempt writes it first has made the result, and every later one adopts it with what its metadata says.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ulid import ULID

from backend.errors import PermanentError, TransientError
from backend.events import Events
from backend.jobs import Consumer, Lease, Runner, Target, Unfinished, Worker, download_source
from backend.observability import logger
from backend.queues import Queues
from backend.records import Audio, Generation, Limits, Records
from backend.settings import Settings
from backend.start import Loaded
from backend.storage import ObjectMissing, Storage, candidate_key, generated_key, pack, snapshot_key, unpack
from music import loading, profiles
from music.audio import AudioError
from music.features import Features
from music.interfaces import GenerationError, Identity, Parameters
from music.production import CandidateFile, generate
from music.resume import Suspended

settings = Settings.from_environment()
profile = Loaded("profile", partial(loading.load, settings.profile))
records = Records.from_settings(settings)
storage = Storage.from_settings(settings)
queues = Queues.from_settings(settings)
limits = Limits.from_settings(settings)
events = Events.from_settings(settings, records)


class Generate(Worker[Generation]):
    """The generate job.

    Parameters
    ----------
    records, storage, events
        Used by one thread at a time: boto3 resources must not be shared by threads.
    """

    kind = Generation

    def __init__(self, records: Records, storage: Storage, events: Events) -> None:
        self._records, self._storage, self._events = records, storage, events

    def prepare(self) -> None:
        """Load the profile's models."""
        profile()

    def targets(self, body: dict[str, Any]) -> list[Target]:
        """Read our own message."""
        return [Target.from_message(body, Generation.kind)]

    def find(self, target: Target) -> Generation | None:
        """Read the generation."""
        return self._records.get_generation(target.tenant, target.id)

    def claim(self, target: Target) -> Generation:
        """Claim the generation."""
        return self._records.claim_generation(target.tenant, target.id, limits, called=target.called)

    def work(self, record: Generation, lease: Lease[Generation]) -> None:
        """Make the music unless an earlier attempt has, and finish with what its metadata says."""
        parameters = parameters_of(record)
        key = generated_key(record.tenant, record.id, parameters.format)
        lease.stage("reading")
        lease.progress(0.0)
        result = adopt(self._storage, key)
        if result is None:
            audio = source_of(self._records, record)
            started = time.monotonic()
            speed = self._records.speeds.read(settings.profile)
            music = parameters.duration * parameters.candidates
            lease.expect(music / speed.music_seconds_per_second if speed else None)
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "source"
                download_source(self._storage, audio, path)
                try:
                    made = generate(
                        path,
                        profile(),
                        parameters,
                        np.frombuffer(audio.vector or b"", "<f4"),
                        Features.from_dict(audio.features or {}),
                        lease.progress,
                        tags=audio.tags or [],
                        snapshots=GenerationSnapshots(self._storage, record, lease),
                        stage=lease.stage,
                        keep=partial(keep, self._storage, record),
                    )
                except Suspended:
                    raise Unfinished from None
                except (AudioError, GenerationError) as error:
                    raise PermanentError(error.code, error.detail) from error
                except profiles.ProfileError as error:
                    raise PermanentError("unsupported_by_profile", str(error)) from error
            lease.stage("storing")
            if record.attempt == 1:  # a later one may have gone on from where another was
                music = parameters.duration * len(made.report["candidates"])
                self._records.speeds.note(settings.profile, music, time.monotonic() - started)
            # The parameters stay out (a prompt may be long): the record has them.
            told = {name: value for name, value in made.report.items() if name != "parameters"}
            if not self._storage.put(key, made.audio, made.content_type, metadata={"result": pack(told)}):
                logger.info("an earlier attempt was faster")
            result = adopt(self._storage, key)
            if result is None:
                raise TransientError("result_missing", "The finished object disappeared.")
        result |= {"parameters": asdict(parameters), "format": parameters.format}
        kept = "chosen" in result  # an attempt of an older release kept none
        candidates = self._storage.candidates(record.tenant, record.id) if kept else {}
        result["origins"] = any(name.endswith(".json") for name in candidates)
        finished = self._records.finish_generation(
            record,
            result,
            size=result["bytes"] + sum(candidates.values()),
            candidates_seconds=settings.candidate_days * 86400 if kept else None,
        )
        self.settled(finished)

    def fail(self, record: Generation, code: str, detail: str) -> list[Generation]:
        """Fail the generation; nothing of it stays."""
        self.settled(self._records.fail_generation(record, code, detail))
        return []

    def discard(self, target: Target) -> None:
        """Remove the object of a generation that was cancelled or deleted."""
        self._storage.delete_generated(target.tenant, target.id)

    def settled(self, record: Generation) -> None:
        """Publish what became of the generation, and make sure that nothing but its result is left."""
        if record.status == "failed":
            self._storage.delete_generated(record.tenant, record.id)
        else:
            self._storage.delete_all(self._storage.snapshots(record.tenant, record.id))
        self._events.publish(record)


class GenerationSnapshots:
    """The snapshots of a claimed generation (see `music.resume`), in the bucket.

    One is deleted when a later one is written, whichever attempt made it: at the same step of the same
    generation all of them hold the same.
    """

    def __init__(self, storage: Storage, record: Generation, lease: Lease[Generation]) -> None:
        self._storage, self._record, self._lease = storage, record, lease

    def load(self) -> Iterator[bytes]:
        """Read the snapshots, the furthest first."""
        for key in self._storage.snapshots(self._record.tenant, self._record.id):
            try:
                yield self._storage.read(key)
            except ObjectMissing:
                continue  # an attempt that was believed dead has gone further

    def save(self, data: bytes, step: int) -> None:
        """Write the snapshot of a step, and delete those before it."""
        tenant, identifier = self._record.tenant, self._record.id
        key = snapshot_key(tenant, identifier, step, self._record.attempt)
        self._storage.put(key, data, "application/octet-stream")
        self._storage.delete_all([old for old in self._storage.snapshots(tenant, identifier) if old < key])

    def remaining(self) -> float:
        """Return the seconds that this attempt has left."""
        return self._lease.remaining()


def keep(storage: Storage, generation: Generation, file: CandidateFile) -> None:
    """Store a candidate and what it is made of, unless an earlier attempt has: it made the same."""
    tenant, identifier = generation.tenant, generation.id
    key = candidate_key(tenant, identifier, file.index, "flac")
    storage.put(key, file.audio, "audio/flac", metadata={"result": pack(file.report)})
    if file.origins is not None:
        document = json.dumps({"segments": file.origins}, separators=(",", ":")).encode()
        storage.put(candidate_key(tenant, identifier, file.index, "json"), document, "application/json")


def parameters_of(generation: Generation) -> Parameters:
    """Return the parameters; without a seed, one that follows from the id: the same in every attempt."""
    given = dict(generation.parameters or {})
    if given.get("seed") is None:
        given["seed"] = int(ULID.from_str(generation.id)) % 2**32
    return Parameters.from_dict(given)


def source_of(records: Records, generation: Generation) -> Audio:
    """Return the audio that a generation starts from, if it is fit for that.

    Raises
    ------
    PermanentError, TransientError
        Deleted, failed, embedded by another model, too long; or just now being embedded again.
    """
    if generation.profile != settings.profile:
        raise PermanentError(
            "unsupported_by_profile",
            f"Asked of profile {generation.profile}, but {settings.profile} is in force now.",
        )
    longest = profiles.LENGTHS[settings.generate_host][settings.profile].piece
    if (asked := parameters_of(generation).duration) > longest:  # where another host was in force
        raise PermanentError(
            "unsupported_by_profile",
            f"{settings.profile} makes {longest:g} s at most on {settings.generate_host}, not {asked:g} s.",
        )
    audio = records.get_audio(generation.tenant, generation.audio_id)
    if audio is None or audio.deleted:
        raise PermanentError("source_deleted", "The source audio was deleted.")
    if audio.status == "failed":
        raise PermanentError("source_failed", "The source audio could not be embedded.")
    if audio.status != "ready" or audio.identity is None:
        raise TransientError("source_not_ready", "The source audio is being embedded again.")
    if Identity(**audio.identity) != profile().embedder.identity:
        raise PermanentError(
            "stale_embedding", "The source audio was embedded by another model: embed it again first."
        )
    return audio


def adopt(storage: Storage, key: str) -> dict[str, Any] | None:
    """Return the result that an object in the bucket carries, None when there is no object."""
    stored = storage.head(key)
    if stored is None:
        return None
    return {**unpack(stored.metadata["result"]), "content_type": stored.content_type, "bytes": stored.size}


consumer = Consumer(
    Runner(
        Generate(records, storage, events),
        records=records,
        renewals=Records.from_settings(settings),
        queues=queues,
        limits=limits,
    ),
    settings.generate_queue_url,
)

handler = consumer.handler()
