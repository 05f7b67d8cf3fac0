"""Every minute, looks at each record whose time has come and does what nobody else did.

    lease ended                     requeued and sent again
    queued or uploaded for long     sent again (the message may have been lost), ever more rarely; what waits
                                    for a turn of its tenant is only looked at, once in a quarter of an hour
    upload awaited for long         taken in if the object is there (the event was lost, or who took it died);
                                    failed once it cannot arrive any more
    waiting for an audio that has   released or failed with it
    come to its end
    at its end, its event not sent  published again, ever more rarely
    candidates kept long enough     those that are not the result are removed
    life over                       record, object, vector and generations expire together
    tombstone not yet purged        what it stood for is removed; of an audio with very many generations, as
                                    much as one look has time for, and the rest in the next sweeps

Every tenant gets its share of a sweep before anybody gets more. In the time that is left, some more records,
objects and vectors are reconciled (`backend.reconcile`). Every move is conditional on what was read, so a
sweep may overlap another one, a worker or a user's request.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from backend.events import Events
from backend.observability import correlate, logger, metrics, tracer
from backend.purge import expire, remove_candidates
from backend.queues import Queues
from backend.reconcile import Reconciliation
from backend.records import Audio, Generation, Limits, RecordError, Records
from backend.settings import Settings
from backend.storage import Storage, upload_key
from backend.vectors import Vectors

RESERVE_SECONDS = 10.0
"""Seconds before the end of its function's time at which a sweep stops; the next one goes on."""

settings = Settings.from_environment()
records = Records.from_settings(settings)
storage = Storage.from_settings(settings)
vectors = Vectors.from_settings(settings)
queues = Queues.from_settings(settings)
limits = Limits.from_settings(settings)
events = Events.from_settings(settings, records)
reconciliation = Reconciliation(records, storage, vectors, queues)


class Sweep:
    """One sweep: what it has found out holds as long as it lasts."""

    def __init__(self) -> None:
        self._full: dict[tuple[str, str], set[str]] = {}
        """The jobs that have the turns of those who have none left, by tenant and kind."""

    def do(self, record: Audio | Generation) -> str:
        """Do what a due record needs.

        Returns
        -------
        str
            What was done, in one word, for logs and metrics.

        Raises
        ------
        RecordError
            The record moved meanwhile: somebody else took care of it.
        """
        if record.deleted or record.expires_at <= records.now():
            expire(record, records, storage, vectors)
            return "purged" if record.deleted else "expired"
        if record.event_due:
            record = records.schedule.postpone(record)  # first: the next sweep meets another
            if events.publish(record):
                return "event_sent"
            if records.now() < record.rests_until:
                return "event_not_sent"
        if record.status in {"uploaded", "queued"}:
            waits = self._waits(record)
            records.schedule.postpone(record, long=waits)
            return "sent_again" if not waits and self._call(record) else "out_of_turn"
        done, called = sweep_audio(record) if isinstance(record, Audio) else sweep_generation(record)
        if called and not self._waits(record):
            self._call(record)
        return done

    def _waits(self, record: Audio | Generation) -> bool:
        """Tell whether a record is known to wait for a turn. Its tenant may have thousands that do."""
        return record.id not in self._full.get((record.tenant, record.kind), {record.id})

    def _call(self, record: Audio | Generation) -> bool:
        """Send a record's message again, unless its tenant has no turn left: one of its jobs calls it."""
        has_turn = records.has_turn(record, limits, called=True)
        if has_turn:
            queues.call(record)
        else:
            holders = records.turns.holders(type(record), record.tenant)
            self._full[record.tenant, record.kind] = holders
        return has_turn


def sweep_audio(audio: Audio) -> tuple[str, bool]:
    """Do what a due audio needs; tell what was done, and whether its message is to be sent again."""
    if audio.status == "awaiting_upload":
        stored = storage.head(upload_key(audio.tenant, audio.id))
        if stored is None and records.now() < audio.upload_until:
            records.schedule.postpone(audio)
            return "still_awaited", False
        if stored is None:
            records.usage.count(audio, 0)
            failed, generations = records.fail_audio(audio, "expired", "The file was not uploaded in time.")
            events.publish(failed)
            for generation in generations:
                events.publish(generation)
            return "upload_expired", False
        records.mark_uploaded(audio.tenant, audio.id, etag=stored.etag, size=stored.size)
        return "event_missed", True
    if audio.status == "embedding":
        if is_leased(audio):
            records.schedule.await_lease(audio)
            return "still_worked_on", False
        records.requeue(audio)
        return "requeued", True
    return "nothing", False


def sweep_generation(generation: Generation) -> tuple[str, bool]:
    """Do what a due generation needs, and tell as `sweep_audio` does."""
    if generation.status == "waiting":
        audio = records.get_audio(generation.tenant, generation.audio_id)
        if audio is None or audio.deleted or audio.status == "failed":
            code = "source_failed" if audio and not audio.deleted else "source_deleted"
            events.publish(records.fail_generation(generation, code, "The source audio is not to be had."))
            return "failed", False
        if audio.status != "ready":
            records.schedule.postpone(generation)
            return "still_waiting", False
        released = records.release_waiting(generation.tenant, generation.id)
        return ("released", True) if released else ("nothing", False)
    if generation.status == "running":
        if is_leased(generation):
            records.schedule.await_lease(generation)
            return "still_worked_on", False
        records.requeue(generation)
        return "requeued", True
    if generation.status == "succeeded" and generation.candidates_expire_at is not None:
        remove_candidates(generation, records, storage)
        records.candidates_gone(generation)
        return "candidates_expired", False
    return "nothing", False


def is_leased(record: Audio | Generation) -> bool:
    """Tell whether a worker holds a live lease: renewals extend it, and leave the time that we look at."""
    return record.lease_expires_at is not None and record.lease_expires_at > records.now()


@logger.inject_lambda_context(clear_state=True)
@tracer.capture_lambda_handler
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    """Sweep until nothing is due or time is nearly up, and reconcile; say how often what was done."""

    def in_time() -> bool:
        return context.get_remaining_time_in_millis() > RESERVE_SECONDS * 1000

    metrics.add_metric("SweeperLag", MetricUnit.Seconds, records.schedule.lag())
    sweep, done = Sweep(), Counter[str]()
    for record in records.schedule.due():
        if not in_time():
            break
        correlate(record.correlation_id)
        try:
            action = sweep.do(record)
        except RecordError:
            action = "moved_meanwhile"
        except Exception:
            # One record that cannot be helped now must not keep the others from being.
            logger.exception("sweep failed", extra={"kind": record.kind, "record": record.id})
            action = "errors"
        done[action] += 1
        logger.info(action, extra={"kind": record.kind, "record": record.id, "status": record.status})
    logger.set_correlation_id(None)
    for action, key in reconciliation.run(in_time):
        done[action] += 1
        logger.warning(action, extra={"key": key})
    for action, count in done.items():
        metrics.add_metric(f"Sweep_{action}", MetricUnit.Count, count)
    metrics.add_metric("Swept", MetricUnit.Count, done.total())
    return dict(done)
