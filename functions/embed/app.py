"""Turns an uploaded track into its vector, features and tags.

Takes S3 event notifications and our own ``{"tenant", "audio_id"}`` messages from one queue. An event is only
a hint that an object may be there: what counts is the object itself and the record.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import numpy as np
from botocore.exceptions import BotoCoreError, ClientError

from backend.errors import PermanentError
from backend.events import Events
from backend.jobs import Consumer, Lease, Runner, Target, Worker, download_source
from backend.observability import logger
from backend.purge import remove_audio_data
from backend.queues import Queues
from backend.records import Audio, Charge, Conflict, Generation, LimitReached, Limits, RecordError, Records
from backend.settings import MAX_UPLOAD_BYTES, Settings
from backend.start import Loaded
from backend.storage import PREVIEW_TYPE, Storage, analysis_key, parse_upload_key, preview_key, upload_key
from backend.vectors import Vectors
from music import loading, profiles
from music.analysis import REVISION, Analysis, analyse
from music.audio import AudioError, sniff

settings = Settings.from_environment()
embedder = Loaded("embedder", partial(loading.load_embedder, settings.profile))
records = Records.from_settings(settings)
storage = Storage.from_settings(settings)
vectors = Vectors.from_settings(settings)
queues = Queues.from_settings(settings)
limits = Limits.from_settings(settings)
costs = profiles.DECLARED[settings.profile].costs
events = Events.from_settings(settings, records)


class Embed(Worker[Audio]):
    """The embed job."""

    kind = Audio

    def prepare(self) -> None:
        """Load the embedder."""
        embedder()

    def targets(self, body: dict[str, Any]) -> list[Target]:
        """Read our own message, or the keys of an S3 event notification that are ours."""
        if body.get("Event") == "s3:TestEvent":
            return []
        if "audio_id" in body:
            return [Target.from_message(body, Audio.kind)]
        found = []
        for entry in body["Records"]:
            # Keys in notifications are encoded as in a form: a space is a plus sign.
            key = unquote_plus(entry["s3"]["object"]["key"])
            ours = parse_upload_key(key) if entry["s3"]["bucket"]["name"] == settings.bucket_name else None
            if ours and entry["eventName"].startswith("ObjectCreated:"):
                found.append(Target(*ours))
            else:
                logger.warning("event ignored", extra={"key": key, "event": entry["eventName"]})
        return found

    def find(self, target: Target) -> Audio | None:
        """Read the audio."""
        return records.get_audio(target.tenant, target.id)

    def claim(self, target: Target) -> Audio:
        """Take note of the object that is there now, and claim the audio."""
        stored = storage.head(upload_key(target.tenant, target.id))
        audio = self.find(target)
        if stored and audio and audio.etag != stored.etag:
            try:
                if audio.status == "ready":  # posted again: the last upload counts, and is charged
                    charge = Charge(*costs.embedding_of(stored.size))
                    records.embed_again(target.tenant, target.id, charge=charge, limits=limits)
                records.mark_uploaded(target.tenant, target.id, etag=stored.etag, size=stored.size)
            except Conflict as moved:
                logger.info("object not noted", extra={"status": moved.status})
                if moved.status == "failed" and audio.etag is None:
                    # It came after its time was over: nobody counts it, and nobody would remove it.
                    storage.delete(upload_key(target.tenant, target.id))
            except LimitReached as reached:
                # What was embedded before stays; the reconciliation tries again.
                logger.warning("not embedded again", extra={"code": reached.code})
        return records.claim_audio(target.tenant, target.id, limits, called=target.called)

    def work(self, record: Audio, lease: Lease[Audio]) -> None:
        """Download, analyse, store the vector, and release what waited for it."""
        if not record.size:
            raise PermanentError("empty_audio", "The file is empty.")
        if record.size > MAX_UPLOAD_BYTES:
            raise PermanentError(
                "too_large", f"The file has {record.size} bytes; {MAX_UPLOAD_BYTES} are allowed."
            )
        progress = lease.progress
        lease.stage("reading")
        progress(0.0)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "source"
            sha256 = download_source(storage, record, path)
            progress(0.2)
            try:
                found_type = sniff.content_type(path)
                analysis = analyse(
                    path, embedder(), lambda done: progress(0.2 + 0.7 * done), stage=lease.stage
                )
            except AudioError as error:
                raise PermanentError(error.code, error.detail) from error
        lease.stage("storing")
        progress(0.9)
        derived = self._derive(record, sha256, analysis)
        duplicate_of = records.contents.note(record.tenant, record.id, sha256)
        if analysis.features.loudness is None:  # silence is like nothing
            vectors.delete(record.tenant, record.id)
        else:
            vectors.put(
                record.tenant, record.id, analysis.vector.tolist(), analysis.identity.id, analysis.windows
            )
        progress(0.95)
        finished, released = records.finish_audio(
            record,
            vector=np.asarray(analysis.vector, "<f4").tobytes(),
            identity=asdict(analysis.identity),
            features=analysis.features.to_dict(),
            tags=analysis.tags,
            tag_scores=analysis.tag_scores,
            windows=analysis.windows,
            sha256=sha256,
            duplicate_of=duplicate_of,
            content_type=found_type,
            derived=derived,
        )
        # From here on the audio is ready, whatever happens: what is not sent now, the sweeper sends.
        try:
            for generation in released:
                if not records.has_turn(generation, limits):
                    continue
                queues.send_generate(generation.tenant, generation.id, generation.correlation_id)
        except (RecordError, BotoCoreError, ClientError):
            logger.exception("released generations not sent")
        events.publish(finished)
        if record.derived and record.derived["revision"] != derived["revision"]:
            storage.delete_derived(record.tenant, record.id, but=derived["revision"])

    def _derive(self, record: Audio, sha256: str, analysis: Analysis) -> dict[str, Any]:
        """Write what a player needs, unless an earlier attempt has: the same file makes the same.

        Returns
        -------
        dict
            As `Audio.derived`.
        """
        revision = hashlib.sha256(f"{sha256} {REVISION}".encode()).hexdigest()[:16]
        document = {"audio_id": record.id, **analysis.document()}
        text = json.dumps(document, separators=(",", ":")).encode()
        preview = preview_key(record.tenant, record.id, revision)
        shown = analysis_key(record.tenant, record.id, revision)
        return {
            "revision": revision,
            "preview": storage.keep(preview, analysis.preview, PREVIEW_TYPE),
            "analysis": storage.keep(shown, text, "application/json"),
        }

    def fail(self, record: Audio, code: str, detail: str) -> list[Generation]:
        """Fail the audio and the generations that wait for it."""
        failed, generations = records.fail_audio(record, code, detail)
        self.settled(failed)
        for generation in generations:
            events.publish(generation)
        return generations

    def discard(self, target: Target) -> None:
        """Remove the object and the vector of an audio that was deleted."""
        remove_audio_data(target.tenant, target.id, storage, vectors)

    def settled(self, record: Audio) -> None:
        """Publish what became of the audio, and make sure that nothing is known of a failed one."""
        if record.status == "failed":
            vectors.delete(record.tenant, record.id)
            storage.delete_derived(record.tenant, record.id)
        events.publish(record)


consumer = Consumer(
    Runner(
        Embed(),
        records=records,
        renewals=Records.from_settings(settings),
        queues=queues,
        limits=limits,
    ),
    settings.embed_queue_url,
)

handler = consumer.handler()
