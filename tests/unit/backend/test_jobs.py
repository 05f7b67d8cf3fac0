"""The consumer of both queues, seen through the embed function: every way an attempt can end."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from backend import jobs
from backend.errors import TransientError
from backend.events import PAUSE_SECONDS
from backend.jobs import MAX_ATTEMPTS, Lease, Pace, backoff
from backend.records import LEASE_SECONDS, RENEW_SECONDS, Audio, Fenced, Limits
from music.audio import AudioError
from tests.support.stack import Context, Stack, fake_models, sqs_event
from tests.support.waiting import eventually


@pytest.fixture
def app(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Any:
    fake_models(stack, monkeypatch)
    return stack.app("embed")


@pytest.fixture
def uploaded(stack: Stack) -> Audio:
    audio = stack.audio()
    stack.upload(audio)
    return audio


@pytest.fixture
def postponed(app: Any, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds for which messages were put off."""
    seconds: list[float] = []
    monkeypatch.setattr(app.queues, "set_visibility", lambda url, handle, wait: seconds.append(wait))
    return seconds


ETAG = f'"{hashlib.md5(b"sound").hexdigest()}"'


def message(audio: Audio) -> dict[str, str]:
    return {"tenant": audio.tenant, "audio_id": audio.id, "correlation_id": "corr-message"}


def breaks(monkeypatch: pytest.MonkeyPatch, app: Any, error: Exception) -> None:
    def analyse(*arguments: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(app, "analyse", analyse)


def test_a_permanent_error_fails_the_record_and_what_waits_for_it(
    stack: Stack, app: Any, uploaded: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = stack.submit(uploaded)
    breaks(monkeypatch, app, AudioError("too_long", "the audio is longer than 900 seconds"))
    assert stack.deliver(app, message(uploaded)) == []
    audio = stack.get_audio(uploaded)
    assert (audio.status, audio.error) == (
        "failed",
        {"code": "too_long", "detail": "the audio is longer than 900 seconds"},
    )
    generation = stack.get_generation(waiting)
    assert generation.status == "failed"
    assert generation.error
    assert generation.error["code"] == "too_long"
    assert {event["id"] for event in stack.published} == {uploaded.id, waiting.id}


def test_a_message_out_of_turn_is_dropped_and_its_job_called_by_the_one_before(
    stack: Stack, app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = Limits(10, 1000, 10**9, running=1)
    monkeypatch.setattr(app, "limits", limits)
    monkeypatch.setattr(app.consumer.runner, "_limits", limits)
    first, second, third = (stack.audio(limits=limits) for _ in range(3))
    for audio in (first, second, third):
        stack.upload(audio)
    seen: list[list[str]] = []
    analyse = app.analyse

    def meanwhile(*arguments: Any, **options: Any) -> Any:
        if not seen:  # another worker gets the messages of the others
            seen.append(stack.deliver(app, message(second), message(third)))
        return analyse(*arguments, **options)

    monkeypatch.setattr(app, "analyse", meanwhile)
    assert stack.deliver(app, message(first)) == []
    assert seen == [[]]
    assert [stack.get_audio(audio).status for audio in (first, second, third)] == ["ready", *["uploaded"] * 2]
    (called,) = stack.drain("embed")
    assert called["audio_id"] == second.id
    assert stack.deliver(app, message(third)) == []
    assert stack.get_audio(third).status == "uploaded"
    assert stack.deliver(app, called) == []
    (called,) = stack.drain("embed")
    assert stack.deliver(app, called) == []
    assert stack.get_audio(third).status == "ready"
    assert stack.drain("embed") == []


def test_a_file_that_kills_each_worker_is_charged_and_given_up(stack: Stack, app: Any) -> None:
    audio = stack.audio(limits=Limits(10, 1000, 10**9))
    stack.upload(audio)
    stack.records.mark_uploaded("default", audio.id, etag=ETAG, size=5)
    for attempt in range(1, MAX_ATTEMPTS + 1):
        stack.records.claim_audio("default", audio.id)  # and its worker dies
        stack.clock.now += LEASE_SECONDS + 1
        assert stack.sweep() == {"requeued": 1}
        assert stack.records.usage.charged("default") == attempt * RENEW_SECONDS
    assert stack.deliver(app, message(audio)) == []
    assert stack.get_audio(audio).error == {
        "code": "interrupted",
        "detail": "The worker died. Gave up after 5 attempts.",
    }
    assert stack.records.usage.charged("default") >= MAX_ATTEMPTS * RENEW_SECONDS


def test_who_waits_to_be_tried_again_lets_the_next_one_go_first(
    stack: Stack, app: Any, postponed: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = Limits(10, 1000, 10**9, running=1)
    monkeypatch.setattr(app, "limits", limits)
    monkeypatch.setattr(app.consumer.runner, "_limits", limits)
    first, second = (stack.audio(limits=limits) for _ in range(2))
    for audio in (first, second):
        stack.upload(audio)
        stack.records.mark_uploaded("default", audio.id, etag=ETAG, size=5)
    breaks(monkeypatch, app, RuntimeError("passes"))
    assert stack.deliver(app, message(first)) == ["0"]
    (called,) = stack.drain("embed")
    assert called["audio_id"] == second.id
    assert stack.deliver(app, message(first)) == []  # out of turn
    # The second one fails, too: the first one is not called before its pause is over.
    assert stack.deliver(app, called) == ["0"]
    assert stack.drain("embed") == []
    assert [stack.get_audio(audio).attempt for audio in (first, second)] == [1, 1]
    fake_models(stack, monkeypatch)
    stack.clock.now += 20
    assert stack.deliver(app, called) == []
    (called,) = stack.drain("embed")
    assert called["audio_id"] == first.id
    assert stack.deliver(app, called) == []
    assert stack.get_audio(first).status == "ready"


def test_any_other_error_is_tried_again_later(
    stack: Stack, app: Any, uploaded: Audio, postponed: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks(monkeypatch, app, RuntimeError("secret internals"))
    assert stack.deliver(app, message(uploaded)) == ["0"]
    audio = stack.get_audio(uploaded)
    assert (audio.status, audio.attempt) == ("uploaded", 1)
    assert audio.error
    assert audio.error["code"] == "internal_error"
    assert "secret" not in audio.error["detail"]
    assert 5.0 <= postponed[0] <= 10.0
    fake_models(stack, monkeypatch)
    assert stack.deliver(app, message(uploaded)) == []
    assert stack.get_audio(uploaded).status == "ready"
    assert stack.get_audio(uploaded).error is None


def test_attempts_are_bounded(
    stack: Stack, app: Any, uploaded: Audio, postponed: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks(monkeypatch, app, RuntimeError("again and again"))
    for attempt in range(1, MAX_ATTEMPTS):
        assert stack.deliver(app, message(uploaded)) == ["0"], attempt
    assert stack.deliver(app, message(uploaded)) == []
    audio = stack.get_audio(uploaded)
    assert audio.status == "failed"
    assert audio.error
    assert audio.error["code"] == "internal_error"
    assert f"{MAX_ATTEMPTS} attempts" in audio.error["detail"]
    assert len(postponed) == MAX_ATTEMPTS - 1
    assert postponed[-1] > postponed[0]


def given_up(stack: Stack, app: Any, uploaded: Audio, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Let every attempt fail; return the dead letter."""
    with monkeypatch.context() as patch:
        breaks(patch, app, RuntimeError("again and again"))
        for _ in range(MAX_ATTEMPTS):
            stack.deliver(app, message(uploaded))
    (letter,) = stack.drain("embed-dead")
    return letter


@pytest.mark.usefixtures("postponed")
def test_a_job_given_up_leaves_a_dead_letter_with_the_reason(
    stack: Stack, app: Any, uploaded: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = stack.submit(uploaded)
    letter = given_up(stack, app, uploaded, monkeypatch)
    audio = stack.get_audio(uploaded)
    assert audio.status == "failed"
    assert letter == {
        "tenant": "default",
        "audio_id": uploaded.id,
        "correlation_id": "corr-audio",
        "failed_attempt": MAX_ATTEMPTS,
        "error": audio.error,
    }
    (other,) = stack.drain("generate-dead")
    assert (other["generation_id"], other["failed_attempt"]) == (waiting.id, 0)


def test_bad_input_leaves_none(
    stack: Stack, app: Any, uploaded: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.submit(uploaded)
    breaks(monkeypatch, app, AudioError("too_long", "the audio is longer than 900 seconds"))
    stack.deliver(app, message(uploaded))
    assert stack.drain("embed-dead") == stack.drain("generate-dead") == []


@pytest.mark.usefixtures("postponed")
def test_a_replayed_dead_letter_makes_one_new_job(
    stack: Stack, app: Any, uploaded: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = stack.submit(uploaded)
    letter = given_up(stack, app, uploaded, monkeypatch)
    (other,) = stack.drain("generate-dead")
    fake_models(stack, monkeypatch)
    # An ordinary copy of the message does not open it: terminal states stay terminal.
    assert stack.deliver(app, message(uploaded), received=2) == []
    assert stack.get_audio(uploaded).status == "failed"
    assert stack.deliver(app, letter) == []
    audio = stack.get_audio(uploaded)
    assert (audio.status, audio.attempt, audio.error) == ("ready", MAX_ATTEMPTS + 1, None)
    assert stack.deliver(app, letter) == []
    assert stack.get_audio(uploaded).attempt == MAX_ATTEMPTS + 1
    generate = stack.app("generate")
    assert stack.get_generation(waiting).status == "failed"
    for _ in range(2):
        assert stack.deliver(generate, other) == []
    generation = stack.get_generation(waiting)
    assert (generation.status, generation.attempt) == ("succeeded", 1)


@pytest.mark.usefixtures("postponed")
def test_a_job_that_fails_again_is_replayed_by_its_new_letter_only(
    stack: Stack, app: Any, uploaded: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = given_up(stack, app, uploaded, monkeypatch)
    with monkeypatch.context() as patch:
        breaks(patch, app, RuntimeError("still"))
        for _ in range(MAX_ATTEMPTS):
            stack.deliver(app, first)
    (second,) = stack.drain("embed-dead")
    assert second["failed_attempt"] == 2 * MAX_ATTEMPTS
    fake_models(stack, monkeypatch)
    assert stack.deliver(app, first) == []
    assert stack.get_audio(uploaded).status == "failed"
    assert stack.deliver(app, second) == []
    assert stack.get_audio(uploaded).status == "ready"


def test_a_record_that_kills_its_workers_fails_too(stack: Stack, app: Any, uploaded: Audio) -> None:
    stored = app.storage.head(f"uploads/default/{uploaded.id}")
    stack.records.mark_uploaded("default", uploaded.id, etag=stored.etag, size=stored.size)
    for _ in range(MAX_ATTEMPTS):
        stack.records.claim_audio("default", uploaded.id)  # and never heard of again
        stack.clock.now += 61
    assert stack.deliver(app, message(uploaded)) == []
    audio = stack.get_audio(uploaded)
    assert audio.status == "failed"
    assert audio.error
    assert audio.error["code"] == "interrupted"
    assert [letter["audio_id"] for letter in stack.drain("embed-dead")] == [uploaded.id]


def test_embedding_again_starts_a_new_count(
    stack: Stack, app: Any, uploaded: Audio, postponed: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks(monkeypatch, app, RuntimeError())
    for _ in range(MAX_ATTEMPTS - 1):
        stack.deliver(app, message(uploaded))
    fake_models(stack, monkeypatch)
    stack.deliver(app, message(uploaded))
    stack.records.embed_again("default", uploaded.id)
    breaks(monkeypatch, app, RuntimeError())
    assert stack.deliver(app, message(uploaded)) == ["0"]
    assert stack.get_audio(uploaded).status == "uploaded"


def test_a_live_lease_is_waited_for(stack: Stack, app: Any, uploaded: Audio, postponed: list[float]) -> None:
    stored = app.storage.head(f"uploads/default/{uploaded.id}")
    stack.records.mark_uploaded("default", uploaded.id, etag=stored.etag, size=stored.size)
    stack.records.claim_audio("default", uploaded.id)
    stack.clock.now += 20
    assert stack.deliver(app, message(uploaded)) == ["0"]
    assert postponed == [pytest.approx(41, abs=1)]
    assert stack.get_audio(uploaded).attempt == 1
    stack.clock.now += 41
    assert stack.deliver(app, message(uploaded)) == []
    assert stack.get_audio(uploaded).attempt == 2


def test_no_job_is_begun_without_time(
    stack: Stack, app: Any, uploaded: Audio, postponed: list[float]
) -> None:
    assert stack.deliver(app, message(uploaded), left=15.0) == ["0"]
    assert postponed == [0.0]
    assert stack.get_audio(uploaded).attempt == 0


def test_an_attempt_ends_before_its_function_is_killed(
    stack: Stack, app: Any, uploaded: Audio, postponed: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = Context(60)
    analyse = app.analyse

    def slow(*arguments: Any, **options: Any) -> Any:
        context.left = 5
        return analyse(*arguments, **options)

    monkeypatch.setattr(app, "analyse", slow)
    answer = app.handler(sqs_event(message(uploaded)), context)
    assert len(answer["batchItemFailures"]) == 1
    audio = stack.get_audio(uploaded)
    assert audio.status == "uploaded"
    assert audio.error
    assert audio.error["code"] == "timed_out"


def test_one_message_that_makes_no_sense_does_not_hold_up_the_others(
    stack: Stack, app: Any, uploaded: Audio
) -> None:
    failed = stack.deliver(app, "not json", "[1]", {"what": "ever"}, message(uploaded))
    assert failed == ["0", "1", "2"]
    assert stack.get_audio(uploaded).status == "ready"


def test_a_message_for_nobody_is_acknowledged(stack: Stack, app: Any) -> None:
    gone = {"tenant": "default", "audio_id": "01ARZ3NDEKTSV4RRFFQ69G5FAV"}
    assert stack.deliver(app, gone) == []


def test_a_message_that_comes_again_tells_what_was_not_told(stack: Stack, app: Any, uploaded: Audio) -> None:
    stack.bus_is_down = True
    assert stack.deliver(app, message(uploaded)) == []
    assert stack.get_audio(uploaded).status == "ready"
    assert stack.published == []
    stack.bus_is_down = False
    stack.clock.now += PAUSE_SECONDS
    for _ in range(2):
        assert stack.deliver(app, message(uploaded), received=2) == []
        assert [event["status"] for event in stack.published] == ["ready"]
    assert stack.get_audio(uploaded).attempt == 1


def test_the_pause_grows_and_is_never_the_same_for_all() -> None:
    assert all(5 <= backoff(1) <= 10 for _ in range(50))
    assert all(40 <= backoff(4) <= 80 for _ in range(50))
    assert all(150 <= backoff(20) <= 300 for _ in range(50))
    assert len({backoff(3) for _ in range(10)}) > 1


class Renewals:
    """A table that only renews."""

    def __init__(self, *answers: Exception | None) -> None:
        self.answers = list(answers)
        self.shares: list[float] = []
        self.stages: list[str | None] = []

    def renew(self, record: Any, progress: float, stage: str | None, seconds_left: float | None) -> None:
        self.shares.append(progress)
        self.stages.append(stage)
        answer = self.answers.pop(0) if self.answers else None
        if answer:
            raise answer


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_TICK_SECONDS", 0.01)
    monkeypatch.setattr(jobs, "RENEW_SECONDS", 0.03)
    monkeypatch.setattr(jobs, "PROGRESS_SECONDS", 0.02)


def lease(renewals: Renewals, audio: Audio, left: float = 600.0) -> Lease[Audio]:
    return Lease(renewals, audio, lambda: left)  # type: ignore[arg-type]


@pytest.mark.usefixtures("hasty")
def test_a_lease_is_kept_and_progress_never_falls(uploaded: Audio) -> None:
    renewals = Renewals()
    with lease(renewals, uploaded) as held:
        for share, written in ((0.1, 0.1), (0.5, 0.5), (0.4, 0.5), (0.9, 0.9)):
            held.progress(share)
            eventually(lambda written=written: renewals.shares[-1:] == [written], every=0.01)  # type: ignore[misc]
        count = len(renewals.shares)
        eventually(lambda: len(renewals.shares) > count + 1, every=0.01)  # without any progress
    assert not held._thread.is_alive()
    assert renewals.shares == sorted(renewals.shares)


@pytest.mark.usefixtures("hasty")
def test_a_new_stage_is_told_without_any_progress(uploaded: Audio) -> None:
    renewals = Renewals()
    with lease(renewals, uploaded) as held:
        for stage in ("decoding", "measuring"):
            held.stage(stage)
            eventually(lambda stage=stage: renewals.stages[-1:] == [stage], every=0.01)  # type: ignore[misc]


def paced(expected: float | None, *shares: float) -> float | None:
    """Return the seconds left after shares that were looked at second by second."""
    pace = Pace(expected)
    pace._at = 0.0
    for second, share in enumerate(shares, 1):
        pace.look(share, float(second))
    return pace.left()


def test_the_time_left_follows_from_the_pace() -> None:
    assert paced(None, 0.05, 0.1, 0.15, 0.2) == pytest.approx(16.0, abs=0.1)
    assert paced(500.0, 0.05, 0.1, 0.15, 0.2) == pytest.approx(16.0, abs=0.1)


def test_what_an_earlier_attempt_did_is_not_this_ones_pace() -> None:
    assert paced(None, 0.0, 0.6, 0.62, 0.64, 0.66, 0.68) == pytest.approx(0.32 / 0.016, rel=0.1)


def test_before_anything_is_seen_the_time_left_is_what_was_expected() -> None:
    assert paced(None, 0.0, 0.01) is None
    assert paced(100.0, 0.0, 0.0) == 100.0
    assert paced(100.0, 0.01, 0.02) == 98.0


@pytest.mark.usefixtures("hasty")
def test_a_lost_lease_stops_the_work(uploaded: Audio) -> None:
    def work(held: Lease[Audio]) -> None:
        eventually(lambda: held.progress(0.5), every=0.01)

    with (
        lease(Renewals(None, Fenced("cancelled")), uploaded) as held,
        pytest.raises(Fenced, match="cancelled"),
    ):
        work(held)


def test_work_stops_when_time_is_nearly_up(uploaded: Audio) -> None:
    with lease(Renewals(), uploaded, left=9.0) as held, pytest.raises(TransientError) as caught:
        held.progress(0.5)
    assert caught.value.code == "timed_out"


def test_a_message_that_makes_no_sense_reaches_the_dead_letters_soon(
    stack: Stack, app: Any, postponed: list[float]
) -> None:
    stack.deliver(app, "not json", {"what": "ever"})
    assert len(postponed) == 2
    assert max(postponed) <= 10


def test_a_late_writer_leaves_no_vector_of_a_failed_audio(
    stack: Stack, app: Any, uploaded: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = app.vectors.put

    def meanwhile(*arguments: Any) -> None:
        stack.records.fail_audio(stack.get_audio(uploaded), "interrupted", "by another worker")
        put(*arguments)

    monkeypatch.setattr(app.vectors, "put", meanwhile)
    assert stack.deliver(app, message(uploaded)) == []
    assert stack.get_audio(uploaded).status == "failed"
    assert stack.vectors() == []
