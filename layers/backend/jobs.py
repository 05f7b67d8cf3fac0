"""What all workers share: from a message to a record that has come to its end.

A message names a record. A `Runner` claims the record, keeps its lease alive from a second thread while the
worker computes, and says in a word what became of it. The message is done with if the record is terminal or
gone; otherwise it is to come again (`Later`):

    claimed by somebody else        leased: again when that lease ends
    its tenant has no turn left     out_of_turn: the tenant's jobs that end call for it (`records.turns`)
    cancelled or deleted            cancelled, deleted, expired: what a late writer may have left is removed
    finished by somebody else       the record's own status
    there is none                   not_found
    taken away meanwhile            fenced, unless it is finished; with a live lease, again when that ends
    PermanentError                  failed
    Unfinished                      unfinished: the record goes back to where it was, and the message comes
                                    again at once; no try is counted
    its host stops                  the same
    anything else                   retried: the record goes back to where it was, the message comes again
                                    after a pause; after `MAX_ATTEMPTS` the record fails, and a dead letter is
                                    left
    failed, and this is the dead    the record is opened again, and claimed
    letter of its last attempt
    no time for a job is left       no_time: again at once
    the process dies                nothing is written: the lease ends, the sweeper requeues

Two hosts run it. A `Consumer` is Lambda's: it takes the batches of one queue, and a message that is to come
again goes back to the queue with its visibility set to that moment. The endpoint's (`functions.endpoint`)
takes one message with each request, many side by side, and sends another one with a delay; a record that
somebody else has leased needs none, since the sweeper looks after leases.

Nothing here relies on the queue's visibility timeout, and every step may happen twice.
"""

from __future__ import annotations

import contextvars
import hashlib
import json
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import uniform
from types import TracebackType
from typing import Any, Generic, TypeVar

from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import BotoCoreError, ClientError

from backend.errors import JobError, PermanentError, TransientError
from backend.observability import correlate, count, logger, metrics, note, tracer
from backend.queues import Queues
from backend.records import (
    LEASE_SECONDS,
    PENDING_AUDIO,
    RENEW_SECONDS,
    UNFINISHED_GENERATION,
    Audio,
    Conflict,
    Fenced,
    Generation,
    Leased,
    Limits,
    NotFound,
    OutOfTurn,
    RecordError,
    Records,
)
from backend.storage import ObjectChanged, ObjectMissing, Storage, upload_key

MAX_ATTEMPTS = 5
"""A record fails for good after so many claims."""
RESERVE_SECONDS = 10.0
"""Seconds of its function's time that a worker keeps to give a job up in order."""
PROGRESS_SECONDS = 2.0
"""Seconds between two writes of progress; without progress the lease is renewed every `RENEW_SECONDS`."""
INVOCATION_SECONDS = 3600
"""Seconds that one request to an endpoint may be worked on: the most that SageMaker lets it."""
SENSELESS_SECONDS = 5.0
"""Seconds after which a message that nobody understands comes back, on its way to the dead letters."""
_TICK_SECONDS = 0.5
_LEAP = 0.1
"""Share that is more than work can do in a tick: an earlier attempt did it, or it was less than thought."""
_TELLING = 0.05
"""Share that must have been seen to be done before it says how long the rest takes."""
_UNFINISHED = {*PENDING_AUDIO, *UNFINISHED_GENERATION}
_CLAIMABLE = {"uploaded", "embedding", "queued", "running"}
_WITHDRAWN = {"cancelled", "deleted", "expired"}

R = TypeVar("R", Audio, Generation)


class Unfinished(Exception):
    """The attempt ends before the job does, by no fault of it: the next one goes on from what is kept."""


class Later(Exception):
    """The message is not done with: deliver it again in `seconds`; `status` says why, in a word."""

    def __init__(self, seconds: float, status: str) -> None:
        super().__init__(f"{status}: again in {seconds:.0f} s")
        self.seconds, self.status = max(seconds, 0.0), status


@dataclass(frozen=True)
class Target:
    """The record that a message names, or even calls; a dead letter also names the attempt that failed."""

    tenant: str
    id: str
    correlation_id: str | None = None
    failed_attempt: int | None = None
    called: bool = False

    @classmethod
    def from_message(cls, body: Mapping[str, Any], kind: str) -> Target:
        """Read a message of `backend.queues`.

        Raises
        ------
        KeyError
            It is not about a record of this kind.
        """
        return cls(
            body["tenant"],
            body[f"{kind}_id"],
            body.get("correlation_id"),
            body.get("failed_attempt"),
            bool(body.get("called")),
        )


class Worker(ABC, Generic[R]):
    """What differs between embedding and generating.

    Attributes
    ----------
    kind : type
        `Audio` or `Generation`.

    See Also
    --------
    Runner : what does not.
    """

    kind: type[R]

    @abstractmethod
    def prepare(self) -> None:
        """Load what the work needs. Where that fails, the messages are not taken: no job is to blame."""

    @abstractmethod
    def targets(self, body: dict[str, Any]) -> list[Target]:
        """Read a message. It may name no record at all; raise `ValueError` if it cannot be understood."""

    @abstractmethod
    def find(self, target: Target) -> R | None:
        """Read the record."""

    @abstractmethod
    def claim(self, target: Target) -> R:
        """Claim the record; raises what `Records.claim_audio` raises."""

    @abstractmethod
    def work(self, record: R, lease: Lease[R]) -> None:
        """Do the job and finish the record.

        Parameters
        ----------
        record : Audio or Generation
            As claimed.
        lease : Lease
            Its `progress` is to be called with a share in [0, 1] at least every few seconds, up to the move
            that finishes the record. It raises when the job must stop: let that pass.

        Raises
        ------
        Unfinished
            What was made is kept, and it is more than there was before; or the host stops.
        PermanentError
            Trying again cannot help.
        """

    @abstractmethod
    def fail(self, record: R, code: str, detail: str) -> list[Generation]:
        """Move the record to failed and publish that; return the generations that failed with it."""

    @abstractmethod
    def discard(self, target: Target) -> None:
        """Remove what was written for a record that was cancelled, deleted or has expired."""

    def settled(self, record: R) -> None:
        """Take note of a record that another worker finished, or whose event may have been lost."""


class Runner(Generic[R]):
    """Runs a worker on the records that messages name, one at a time.

    Parameters
    ----------
    worker : Worker
        What to do.
    records : Records
        For the moves that end or repeat a job.
    renewals : Records
        A second table, used by the renewing thread alone: boto3 resources must not be shared by threads.
    queues : Queues
        For dead letters, and to call for the next job of a tenant.
    limits : Limits, optional
        What each tenant may have.
    stopping : callable, optional
        Whether the host stops: what its time does not suffice for then is no fault of the job's.

    Attributes
    ----------
    worker, queues
        As given.
    claimed : Audio, Generation or None
        The record that is being worked on, as claimed.
    """

    def __init__(
        self,
        worker: Worker[R],
        *,
        records: Records,
        renewals: Records,
        queues: Queues,
        limits: Limits | None = None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self.claimed: R | None = None
        self.worker: Worker[R] = worker
        self._records = records
        self._renewals = renewals
        self.queues = queues
        self._limits = limits
        self._stopping = stopping

    def run(self, target: Target, remaining: Callable[[], float], *, redelivered: bool = False) -> str:
        """Do what a message asks for.

        Parameters
        ----------
        target : Target
            What the message names.
        remaining : callable
            Seconds that the host leaves for it.
        redelivered : bool
            Whether the message came before: then somebody may have died before all was told.

        Returns
        -------
        str
            What became of it, a word of this module's docstring, or the record's status: ``"done"`` if this
            attempt has finished it.

        Raises
        ------
        Later
            The message is not done with.
        """
        correlate(target.correlation_id)
        note(tenant=target.tenant, record=target.id)
        if remaining() < 2 * RESERVE_SECONDS:
            raise Later(0, "no_time")
        try:
            if target.failed_attempt is not None:
                self._reopen(target)
            record = self.worker.claim(target)
        except Leased as leased:
            logger.info("leased to another worker")
            raise Later(leased.until - self._records.now() + 1, "leased") from leased
        except OutOfTurn:
            logger.info("out of turn")
            count("JobsOutOfTurn")
            return "out_of_turn"
        except (NotFound, Conflict) as error:
            status = self._not_claimed(target, error.status, redelivered)
            self._pass_turn(target)
            return status
        correlate(record.correlation_id)
        note(attempt=record.attempt)
        started = time.monotonic()
        try:
            self.claimed = record
            status = self._attempt(record, remaining)
        except Fenced as fenced:
            logger.warning("fenced out", extra={"status": fenced.status})
            status = self._fenced_out(target)
        finally:
            self.claimed = None
            self._settle(record, time.monotonic() - started)
        self._pass_turn(target)
        return status

    def _settle(self, record: R, seconds: float) -> None:
        """Charge the tenant for an attempt. One that cannot be charged is no reason to do its job again."""
        if record.charged is None:
            return
        try:
            self._records.usage.settle(record, seconds)
        except (RecordError, BotoCoreError, ClientError):
            logger.exception("attempt not charged", extra={"seconds": round(seconds, 3)})

    def _pass_turn(self, target: Target) -> None:
        """Call for the tenant's next job. If that cannot be done now, the sweeper finds it."""
        if self._limits is None:
            return
        try:
            following = self._records.turns.pass_on(
                self.worker.kind, target.tenant, target.id, self._limits.running
            )
            if following:
                self.queues.call(following)
        except (RecordError, BotoCoreError, ClientError):
            logger.exception("turn not passed on")

    def _reopen(self, target: Target) -> None:
        """Open a failed record again, if the dead letter at hand is the one of its last attempt."""
        record = self.worker.find(target)
        if record and record.status == "failed" and record.attempt == target.failed_attempt:
            with suppress(Fenced):  # another copy of the letter was faster
                self._records.reopen(record)
                logger.info("opened again")
                count("JobsReplayed")

    def _attempt(self, record: R, remaining: Callable[[], float]) -> str:
        """Work on a claimed record once; return what became of it.

        Raises
        ------
        Fenced, Later
        """
        if record.tries > MAX_ATTEMPTS:
            # Only a worker that dies gets here: one that can still speak gives up at its last attempt.
            reason = record.error or {
                "code": "interrupted",
                "detail": "The worker died.",
            }
            return self._give_up(record, reason["code"], reason["detail"])
        started = time.monotonic()
        try:
            with Lease(self._renewals, record, remaining, self._stopping) as lease:
                self.worker.work(record, lease)
        except Fenced:
            raise
        except Unfinished:
            logger.info("to be gone on with", extra={"seconds": round(time.monotonic() - started, 3)})
            count("JobsSplit")
            self._records.give_back(record, failed=False)
            raise Later(0, "unfinished") from None
        except PermanentError as error:
            logger.warning("failed for good", extra={"code": error.code, "detail": error.detail})
            count("JobsFailed")
            self.worker.fail(record, error.code, error.detail)
            return "failed"
        except Exception as error:
            logger.exception("attempt failed")
            return self._retry(record, error)
        logger.info("done", extra={"seconds": round(time.monotonic() - started, 3)})
        count("JobsDone")
        count("JobSeconds", time.monotonic() - started, "Seconds")
        return "done"

    def _retry(self, record: R, error: Exception) -> str:
        reason = (
            error
            if isinstance(error, JobError)
            else TransientError("internal_error", "Something went wrong on our side.")
        )
        if record.tries >= MAX_ATTEMPTS:
            return self._give_up(record, reason.code, reason.detail)
        delay = backoff(record.tries)
        count("JobsRetried")
        self._records.give_back(record, delay=delay, error={"code": reason.code, "detail": reason.detail})
        self._pass_turn(Target(record.tenant, record.id))
        raise Later(delay, "retried") from error

    def _give_up(self, record: R, code: str, detail: str) -> str:
        logger.error("given up", extra={"code": code, "detail": detail})
        count("JobsFailed")
        detail = f"{detail} Gave up after {MAX_ATTEMPTS} attempts."
        error = {"code": code, "detail": detail}
        # The letter first: one too many is harmless, and a failed record without one cannot be replayed.
        self.queues.send_dead_letter(record, error)
        for generation in self.worker.fail(record, code, detail):
            self.queues.send_dead_letter(generation, error)
        return "failed"

    def _not_claimed(self, target: Target, status: str | None, redelivered: bool) -> str:
        """Leave a record alone that needs no work, after what a dead worker may have left undone."""
        logger.info("nothing to do", extra={"status": status})
        if status in _CLAIMABLE:
            raise Later(1, "moved")  # between the refusal and the look at it
        if status in _WITHDRAWN:
            self.worker.discard(target)
        elif redelivered and status is not None and status not in _UNFINISHED:
            record = self.worker.find(target)
            if record and not record.deleted:
                self.worker.settled(record)
        return status or "not_found"

    def _fenced_out(self, target: Target) -> str:
        """Decide about a message whose record was taken away from its worker."""
        current = self.worker.find(target)
        if current is None or current.status in _WITHDRAWN:
            self.worker.discard(target)
        elif current.status in _UNFINISHED:
            now = self._records.now()
            raise Later((current.lease_expires_at or now) - now + 1, "fenced")
        else:
            self.worker.settled(current)
        return current.status if current else "not_found"


class Consumer(Generic[R]):
    """Runs a worker on the messages of one queue, a batch at a time: the host that Lambda is.

    Parameters
    ----------
    runner : Runner
        Does the jobs.
    url : str
        The queue that messages come from.

    Examples
    --------
    >>> consumer = Consumer(Runner(Embed(), records=records, ...), url)      # doctest: +SKIP
    >>> handler = consumer.handler()                                        # doctest: +SKIP
    """

    def __init__(self, runner: Runner[R], url: str) -> None:
        self.runner: Runner[R] = runner
        self._url = url

    def handler(self) -> Callable[[dict[str, Any], LambdaContext], PartialItemFailureResponse]:
        """Return the Lambda handler: `handle` with logging, tracing and metrics around it."""

        @logger.inject_lambda_context(clear_state=True)
        @tracer.capture_lambda_handler(capture_response=False)
        @metrics.log_metrics(capture_cold_start_metric=True)
        def handle(event: dict[str, Any], context: LambdaContext) -> PartialItemFailureResponse:
            return self.handle(event, context)

        return handle

    def handle(self, event: dict[str, Any], context: LambdaContext) -> PartialItemFailureResponse:
        """Handle a batch.

        Returns
        -------
        dict
            ``batchItemFailures`` with the messages that are to be delivered again.
        """
        count("Messages", len(event["Records"]))
        self.runner.worker.prepare()
        processor = BatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)
        return process_partial_response(
            event=event,
            record_handler=partial(self._message, remaining=lambda: _remaining(context)),
            processor=processor,
            context=context,
        )

    def _message(self, record: SQSRecord, remaining: Callable[[], float]) -> None:
        """Handle one message; the batch processor passes it by this name."""
        redelivered = int(record.attributes.approximate_receive_count) > 1
        postponed: Later | None = None
        try:
            for target in self._targets(record):
                try:
                    self.runner.run(target, remaining, redelivered=redelivered)
                except Later as later:
                    postponed = later
        except Exception:
            # AWS does not answer. The batch processor keeps quiet about what it catches.
            logger.exception("message not handled", extra={"message_id": record.message_id})
            raise
        if postponed:
            self._postpone(record, postponed)
            raise postponed

    def _targets(self, message: SQSRecord) -> list[Target]:
        try:
            return self.runner.worker.targets(read_message(message.body))
        except (ValueError, KeyError, TypeError):
            # Nobody can make sense of it: let it be seen among the dead letters, soon.
            self._postpone(message, Later(SENSELESS_SECONDS, "senseless"))
            raise

    def _postpone(self, message: SQSRecord, later: Later) -> None:
        postpone(self.runner.queues, self._url, message.receipt_handle, later.seconds)


class Lease(Generic[R]):
    """Keeps a claim alive while its worker computes.

    A thread renews the lease and writes the progress. When the claim is lost (cancelled, deleted, claimed by
    another worker, or not renewed in time) the worker's next call of `progress` raises.

    Parameters
    ----------
    records : Records
        Used by this thread alone.
    record : Audio or Generation
        As claimed.
    remaining : callable
        Seconds that the host leaves.
    stopping : callable
        Whether the host stops.

    Examples
    --------
    >>> with Lease(renewals, record, remaining) as lease:       # doctest: +SKIP
    ...     work(record, lease)
    """

    def __init__(
        self,
        records: Records,
        record: R,
        remaining: Callable[[], float],
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._records = records
        self._record: R = record
        self._remaining, self._stopping = remaining, stopping
        self._share = 0.0
        self._stage: str | None = None
        self._pace = Pace()
        self._lost: Fenced | None = None
        self._over = threading.Event()
        keep = partial(contextvars.copy_context().run, self._keep)  # with what the log says of the job
        self._thread = threading.Thread(target=keep, name=f"lease-{record.id}", daemon=True)

    def __enter__(self) -> Lease[R]:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def progress(self, share: float) -> None:
        """Note the share of the job that is done, in [0, 1].

        Raises
        ------
        Fenced
            The claim is lost.
        TransientError
            The host's time is nearly up.
        Unfinished
            The same, because the host stops.
        """
        self._share = max(self._share, share)
        if self._lost:
            raise self._lost
        if self._remaining() < RESERVE_SECONDS:
            if self._stopping():
                raise Unfinished
            raise TransientError("timed_out", "The job did not end in the time that one attempt has.")

    def stage(self, name: str) -> None:
        """Note what the worker is at from now on, in a word."""
        self._stage = name

    def expect(self, seconds: float | None) -> None:
        """Note how long the whole job should take, as far as anybody knows."""
        self._pace.expected = seconds

    def remaining(self) -> float:
        """Return the seconds until `progress` says that the time is up."""
        return self._remaining() - RESERVE_SECONDS

    def _keep(self) -> None:
        renewed, written, told = time.monotonic(), 0.0, None
        while not self._over.wait(_TICK_SECONDS):
            share, stage, age = self._share, self._stage, time.monotonic() - renewed
            self._pace.look(share, time.monotonic())
            news = (share - written >= 0.01 or stage != told) and age >= PROGRESS_SECONDS
            if age < RENEW_SECONDS and not news:
                continue
            left = self._pace.left()
            try:
                self._records.renew(self._record, progress=share, stage=stage, seconds_left=left)
            except Fenced as fenced:
                self._lost = fenced
                return
            except (BotoCoreError, ClientError):
                logger.warning("lease not renewed", exc_info=True)
                if age >= LEASE_SECONDS:
                    self._lost = Fenced(None)
                    return
            else:
                renewed, written, told = time.monotonic(), share, stage


class Pace:
    """How fast a job goes, from its progress as it is looked at again and again.

    Attributes
    ----------
    expected : float or None
        Seconds that the whole job should take; what is seen of it counts for more.
    """

    def __init__(self, expected: float | None = None) -> None:
        self.expected = expected
        self._share, self._at = 0.0, time.monotonic()
        self._done = self._seconds = 0.0

    def look(self, share: float, at: float) -> None:
        """Note the share that is done, in [0, 1], at a time in seconds of the monotonic clock."""
        step, seconds = share - self._share, at - self._at
        self._share, self._at = share, at
        if step <= _LEAP:
            self._done += step
            self._seconds += seconds

    def left(self) -> float | None:
        """Return the seconds that are left; None where nobody can tell."""
        whole = self._seconds / self._done if self._done >= _TELLING else self.expected
        return None if whole is None else round((1.0 - self._share) * whole, 1)


def read_message(text: str | bytes) -> dict[str, Any]:
    """Read the body of a message.

    Raises
    ------
    ValueError
        It is no JSON object.
    """
    body = json.loads(text)
    if not isinstance(body, dict):
        raise ValueError("not an object")
    return body


def postpone(queues: Queues, url: str, receipt_handle: str, seconds: float) -> None:
    """Let a received message come back in so many seconds; where that fails, at the queue's own pace."""
    try:
        queues.set_visibility(url, receipt_handle, seconds)
    except (BotoCoreError, ClientError):
        logger.warning("message not postponed", exc_info=True)  # the sweeper is faster


def download_source(storage: Storage, audio: Audio, path: Path) -> str:
    """Copy the object that the record names, and no other, to a file.

    Returns
    -------
    str
        SHA-256 of the file, in hexadecimal.

    Raises
    ------
    PermanentError, TransientError
        It is gone; it was replaced meanwhile, and its event will say so.
    """
    try:
        with path.open("w+b") as file:
            storage.download(upload_key(audio.tenant, audio.id), file, etag=audio.etag)
            file.seek(0)
            return hashlib.file_digest(file, "sha256").hexdigest()
    except ObjectMissing as error:
        raise PermanentError("source_missing", "The source file is gone.") from error
    except ObjectChanged as error:
        raise TransientError("source_changed", "The source file was replaced meanwhile.") from error


def backoff(tries: int) -> float:
    """Return the seconds until the next attempt: 10, 20, 40, … up to 300, less up to half at random."""
    return min(10.0 * 2 ** (tries - 1), 300.0) * uniform(0.5, 1.0)


def _remaining(context: LambdaContext) -> float:
    return context.get_remaining_time_in_millis() / 1000
