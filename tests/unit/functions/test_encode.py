"""Candidates: given in any format, chosen among, kept for a while, and gone with their generation."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import asdict
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from backend.purge import purge
from backend.records import Audio, Generation, Limits
from backend.records.types import CHOICE_SECONDS
from backend.storage import candidate_key, generated_key, pack, upload_key
from music.audio.encode import encode
from music.profiles import MIR_512
from tests.support import sound
from tests.support.requests import Answer, call
from tests.support.stack import Stack, fake_models
from tests.support.waiting import PATIENCE_SECONDS
from tests.support.world import FEATURES

RATE = 32_000
SECONDS = 0.5
TAGS = {"title": "Generated music", "comment": "Made by mosaic 1, seed 8"}
DOWNLOAD = "/api/download/{generation_id}/{candidate}"
SHOW = "/api/generation/{generation_id}"
DAY = 86400


@pytest.fixture
def app(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr("backend.records.types.MIN_RECORD_BYTES", 1)  # these files are small
    return stack.app("encode")


@pytest.fixture
def api(stack: Stack) -> ModuleType:
    return stack.app("api")


OWN = ((-20.0, "first"), (-14.0, "second"))
"""What is told of each candidate alone: its loudness in LUFS, and how it was made."""


def tone(hertz: float) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(int(SECONDS * RATE)) / RATE).astype(np.float32)[None] * 0.5


def finished(
    stack: Stack,
    format: str = "mp3",
    limits: Limits | None = None,
    audio: Audio | None = None,
    reports: bool = True,
    alone: bool = False,
    **parameters: Any,
) -> Generation:
    """Make a generation of three candidates: the second is the best, the third came to nothing.

    With `alone` the first is the only one.
    """
    if audio is None:
        audio = stack.audio()
        stack.upload(audio)
        etag = stack.s3.head_object(Bucket="music", Key=upload_key(audio.tenant, audio.id))["ETag"]
        stack.records.mark_uploaded(audio.tenant, audio.id, etag=etag, size=5)
        claimed = stack.records.claim_audio(audio.tenant, audio.id)
        ready, _ = stack.records.finish_audio(
            claimed, vector=b"", identity=asdict(MIR_512), features=FEATURES, tags=[]
        )
        stack.records.event_sent(ready)
    made = stack.submit(audio, limits=limits, format=format, candidates=2, **parameters)
    generation = stack.records.claim_generation(made.tenant, made.id)
    own = encode(tone(660.0), RATE, format, TAGS)
    put(stack, generated_key(made.tenant, made.id, format), own)
    files = [encode(tone(hertz), RATE, "flac", TAGS) for hertz in (440.0, 660.0)]
    told = [{"loudness": {"integrated": level}, "details": {"take": take}} for level, take in OWN]
    for index, file in enumerate(files):
        metadata = {"result": pack(told[index])} if reports else {}
        put(stack, candidate_key(made.tenant, made.id, index, "flac"), file, metadata)
    scores = {"embedding": 0.4, "chroma": 0.5, "tempo": 0.6}
    candidates = [
        {"seed": 7, "similarity": scores},
        {"seed": 8, "similarity": {**scores, "embedding": 0.9}},
        {"seed": 9, "faults": ["silent"]},
    ]
    result = {
        "engine": "mosaic",
        "chosen": 0 if alone else 1,
        "seed": 8,
        "similarity": {**scores, "embedding": 0.9},
        **told[1],
        "candidates": candidates[:1] if alone else candidates,
        "duration": SECONDS,
        "sample_rate": RATE,
        "channels": 1,
        "bytes": len(own),
    }
    size = len(own) + sum(map(len, files))
    done = stack.records.finish_generation(generation, result, size=size, candidates_seconds=3 * DAY)
    stack.records.event_sent(done)
    return stack.get_generation(done)


def generated(stack: Stack, monkeypatch: pytest.MonkeyPatch, **asked: Any) -> Generation:
    """Let the workers embed a track and make a generation of it, with models that make two candidates."""
    fake_models(stack, monkeypatch)
    audio = stack.audio()
    stack.upload(audio)
    assert stack.deliver(stack.app("embed"), {"tenant": "default", "audio_id": audio.id}) == []
    made = stack.submit(audio, **asked)
    assert stack.deliver(stack.app("generate"), {"tenant": "default", "generation_id": made.id}) == []
    return made


def put(stack: Stack, key: str, body: bytes, metadata: Mapping[str, str] | None = None) -> None:
    stack.s3.put_object(Bucket="music", Key=key, Body=body, Metadata=metadata or {})


def get(app: ModuleType, generation: Generation, candidate: Any, format: str | None = None) -> Answer:
    query = {"format": format} if format else {}
    return call(app, "GET", DOWNLOAD, query=query, generation_id=generation.id, candidate=str(candidate))


def choose(app: ModuleType, generation: Generation, candidate: Any) -> Answer:
    return call(app, "PATCH", SHOW, body={"chosen": candidate}, generation_id=generation.id)


def hertz(answer: Answer) -> float:
    heard = sound.decode(answer.body)
    return float(np.argmax(np.abs(np.fft.rfft(heard.audio[0])))) * heard.rate / heard.audio.shape[1]


def stored_bytes(stack: Stack) -> int:
    found = stack.s3.list_objects_v2(Bucket="music").get("Contents", [])
    return sum(item["Size"] for item in found if not item["Key"].startswith("uploads/"))


class TestDownload:
    """A candidate's file, in the format that is asked for."""

    @pytest.mark.parametrize("format", ["wav", "flac", "mp3", "ogg"])
    def test_is_the_candidate_in_any_format(self, stack: Stack, app: ModuleType, format: str) -> None:
        generation = finished(stack)
        answer = get(app, generation, 0, format)
        assert answer.status == 200
        assert answer.headers["content-type"] == {"mp3": "audio/mpeg"}.get(format, f"audio/{format}")
        assert f"-{generation.id[-7:]}-0.{format}" in answer.headers["content-disposition"]
        heard = sound.decode(answer.body)
        assert heard.seconds == pytest.approx(SECONDS, abs=0.06)
        assert hertz(answer) == pytest.approx(440.0, abs=5.0)
        assert heard.tags["title"] == TAGS["title"]
        assert get(app, generation, 0, format).headers["etag"] == answer.headers["etag"]

    def test_of_an_only_candidate_is_named_without_its_number(self, stack: Stack, app: ModuleType) -> None:
        generation = finished(stack, alone=True)
        disposition = get(app, generation, 0, "flac").headers["content-disposition"]
        assert f"-{generation.id[-7:]}.flac" in disposition

    def test_is_what_the_generation_gives_for_the_one_that_is_chosen(
        self, stack: Stack, app: ModuleType, api: ModuleType
    ) -> None:
        generation = finished(stack)
        before = set(stack.objects())
        own = call(api, "GET", "/api/download/{generation_id}", generation_id=generation.id)
        assert get(app, generation, 1).body == own.body
        assert set(stack.objects()) == before

    def test_without_a_loss_is_the_same_samples(self, stack: Stack, app: ModuleType) -> None:
        generation = finished(stack)
        flac, wav = (sound.decode(get(app, generation, 0, name).body) for name in ("flac", "wav"))
        assert np.array_equal(flac.audio, wav.audio)

    def test_is_as_deep_as_the_generation(self, stack: Stack, app: ModuleType) -> None:
        generation = finished(stack, bit_depth=24)
        assert sound.decode(get(app, generation, 0, "wav").body).codec == "pcm_s24le"
        assert get(app, generation, 0, "ogg").status == 200

    def test_in_parts(self, stack: Stack, app: ModuleType) -> None:
        generation = finished(stack)
        whole = get(app, generation, 0, "wav").body
        part = call(
            app, "GET", DOWNLOAD, query={"format": "wav"}, headers={"Range": "bytes=10-19"},
            generation_id=generation.id, candidate="0",
        )  # fmt: skip
        assert (part.status, part.body) == (206, whole[10:20])

    @pytest.mark.parametrize("candidate", [2, 3, 99])
    def test_of_none_that_came_to_anything(self, stack: Stack, app: ModuleType, candidate: int) -> None:
        get(app, finished(stack), candidate).problem(404, "not_found")

    @pytest.mark.parametrize("candidate", [-1, 100, "x", "1.5"])
    def test_of_what_is_no_number(self, stack: Stack, app: ModuleType, candidate: Any) -> None:
        get(app, finished(stack), candidate).problem(422, "invalid_parameter")

    def test_in_no_other_format(self, stack: Stack, app: ModuleType) -> None:
        get(app, finished(stack), 0, "midi").problem(422, "invalid_parameter")

    def test_of_what_has_no_result(self, stack: Stack, app: ModuleType) -> None:
        done = finished(stack)
        audio = stack.records.get_audio("default", done.audio_id)
        assert audio
        waiting, cancelled = stack.submit(audio, format="wav"), stack.submit(audio, format="wav")
        stack.records.cancel_generation("default", cancelled.id)
        get(app, waiting, 0).problem(409, "not_finished")
        get(app, cancelled, 0).problem(409, "cancelled")
        choose(app, waiting, 0).problem(409, "not_finished")
        choose(app, cancelled, 0).problem(409, "cancelled")

    def test_twice_at_once_is_one_file(
        self, stack: Stack, app: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        limits = Limits(10, 0, 10**9)
        generation = finished(stack, limits=limits)
        assert get(app, generation, 1, "flac").status == 200  # the request that both threads are part of
        meeting = threading.Barrier(2, timeout=PATIENCE_SECONDS)
        transcoded = app.transcoded

        def together(*arguments: Any) -> bytes:
            made: bytes = transcoded(*arguments)
            meeting.wait()
            return made

        monkeypatch.setattr(app, "transcoded", together)
        answers: list[str] = []

        def ask() -> None:
            answers.append(app.encoded(generation, 0, "ogg").etag)

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(answers) == 2
        assert len(set(answers)) == 1
        assert (stack.get_generation(generation).counted or 0) == stored_bytes(stack)

    def test_is_counted_once(self, stack: Stack, app: ModuleType) -> None:
        generation = finished(stack, limits=Limits(10, 0, 10**9))
        for _ in range(2):
            for format in ("wav", "ogg"):
                assert get(app, generation, 0, format).status == 200
        assert stack.get_generation(generation).counted == stored_bytes(stack)

    def test_is_not_made_without_room(
        self, stack: Stack, app: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        generation = finished(stack, limits=Limits(10, 0, 10**9))
        monkeypatch.setattr(app, "limits", Limits(10, 0, 1))
        before = stack.objects()
        get(app, generation, 0, "ogg").problem(429, "storage_limit")
        assert get(app, generation, 0, "flac").status == 200
        assert stack.objects() == before

    def test_is_not_made_of_what_takes_too_long(
        self, stack: Stack, app: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        generation = finished(stack)
        monkeypatch.setattr(app, "MAX_SAMPLES", 10_000)
        get(app, generation, 0, "ogg").problem(413, "too_long")
        assert get(app, generation, 0, "flac").status == 200


class TestChoose:
    """Another candidate is the result; nothing is overwritten."""

    def test_moves_the_result(self, stack: Stack, app: ModuleType, api: ModuleType) -> None:
        generation = finished(stack)
        download = "/api/download/{generation_id}"
        first = call(api, "GET", download, generation_id=generation.id)
        answer = choose(app, generation, 0)
        assert answer.status == 200
        record = answer.json
        assert (record["chosen"], record["seed"], record["similarity"]["embedding"]) == (0, 7, 0.4)
        assert [one["chosen"] for one in record["candidates"]] == [True, False, False]
        second = call(api, "GET", download, generation_id=generation.id)
        assert second.headers["content-type"] == "audio/mpeg"
        assert (hertz(first), hertz(second)) == (
            pytest.approx(660.0, abs=5.0),
            pytest.approx(440.0, abs=5.0),
        )
        assert record["bytes"] == len(second.body)
        assert first.headers["etag"] != second.headers["etag"]
        assert choose(app, generation, 1).json["chosen"] == 1
        assert call(api, "GET", download, generation_id=generation.id).body == first.body
        shown = call(api, "GET", SHOW, generation_id=generation.id).json
        assert (shown["loudness"], shown["details"]) == ({"integrated": -14.0}, {"take": "second"})

    def test_tells_of_the_result_what_it_is_and_how_it_was_made(self, stack: Stack, app: ModuleType) -> None:
        record = choose(app, finished(stack), 0).json
        assert (record["loudness"], record["details"]) == ({"integrated": -20.0}, {"take": "first"})

    def test_tells_nothing_of_the_best_one_where_nothing_was_kept_of_another(
        self, stack: Stack, app: ModuleType
    ) -> None:
        record = choose(app, finished(stack, reports=False), 0).json
        assert (record["loudness"], record["details"]) == (None, None)

    def test_again_changes_nothing(self, stack: Stack, app: ModuleType) -> None:
        generation = finished(stack)
        once, twice = choose(app, generation, 0).json, choose(app, generation, 0).json
        assert once["updated_at"] == twice["updated_at"]

    @pytest.mark.parametrize("candidate", [2, 3, 99])
    def test_none_that_came_to_nothing(self, stack: Stack, app: ModuleType, candidate: int) -> None:
        choose(app, finished(stack), candidate).problem(404, "not_found")

    @pytest.mark.parametrize("candidate", [-1, 100, "0", None, True, 0.5])
    def test_only_a_number(self, stack: Stack, app: ModuleType, candidate: Any) -> None:
        choose(app, finished(stack), candidate).problem(422, "invalid_parameter")

    def test_while_it_is_deleted(
        self, stack: Stack, app: ModuleType, api: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        generation = finished(stack)
        put_object = app.storage.put

        def meanwhile(*arguments: Any, **options: Any) -> Any:
            purge(stack.records.bury(generation), stack.records, app.storage, None)  # type: ignore[arg-type]
            return put_object(*arguments, **options)

        monkeypatch.setattr(app.storage, "put", meanwhile)
        choose(app, generation, 0).problem(404, "not_found")
        assert [key for key in stack.objects() if generation.id in key] == []
        choose(app, generation, 0).problem(404, "not_found")

    def test_says_which_methods_there_are(self, stack: Stack, api: ModuleType) -> None:
        answer = call(api, "PUT", SHOW, body={}, generation_id=finished(stack).id)
        answer.problem(405, "method_not_allowed")
        assert "PATCH" in answer.headers["allow"]


class TestEnd:
    """Candidates are kept for some days, and what is the result stays."""

    def test_the_others_go(self, stack: Stack, app: ModuleType, api: ModuleType) -> None:
        generation = finished(stack, limits=Limits(10, 0, 10**9))
        assert choose(app, generation, 0).status == 200
        assert get(app, generation, 1, "ogg").status == 200
        stack.clock.now += 3 * DAY + CHOICE_SECONDS + 1
        get(app, generation, 0, "ogg").problem(410, "expired")
        stack.clock.now += 120
        assert stack.sweep()["candidates_expired"] == 1
        own = f"{generation.tenant}/{generation.id}"
        assert [key for key in stack.objects() if generation.id in key] == [
            f"candidates/{own}/0.mp3",
            f"generated/{own}.mp3",
        ]
        assert stack.get_generation(generation).counted == stored_bytes(stack)
        assert hertz(get(app, generation, 0)) == pytest.approx(440.0, abs=5.0)
        record = call(api, "GET", SHOW, generation_id=generation.id).json
        assert ["links" in one for one in record["candidates"]] == [True, True, False]
        assert "candidates_expired" not in stack.sweep()
        assert choose(app, generation, 1).json["chosen"] == 1
        choose(app, generation, 0).problem(410, "expired")
        stack.clock.now += 30 * DAY
        stack.sweep()
        assert [key for key in stack.objects() if generation.id in key] == []

    def test_a_choice_that_comes_too_late_is_refused(
        self, stack: Stack, app: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        generation = finished(stack)
        encoded = app.encoded

        def slow(*arguments: Any) -> Any:
            done = encoded(*arguments)
            stack.clock.now += 3 * DAY
            return done

        monkeypatch.setattr(app, "encoded", slow)
        choose(app, generation, 0).problem(410, "expired")
        assert stack.get_generation(generation).chosen == 1

    def test_results_of_before_have_no_candidates(
        self, stack: Stack, app: ModuleType, api: ModuleType
    ) -> None:
        old = finished(stack)
        changes = {"chosen": None, "chosen_bytes": None, "candidates_expire_at": None}
        result = {name: value for name, value in (old.result or {}).items() if name != "chosen"}
        stack.records.items.move(
            Generation, old.tenant, old.id, leaving=("succeeded",), changes={**changes, "result": result}
        )
        get(app, old, 0).problem(404, "not_found")
        choose(app, old, 0).problem(404, "not_found")
        record = call(api, "GET", SHOW, generation_id=old.id).json
        assert "chosen" not in record
        assert call(api, "GET", "/api/download/{generation_id}", generation_id=old.id).status == 200


class TestWorker:
    """What the generate job leaves of candidates."""

    def test_every_candidate_is_kept_and_counted(self, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
        limits = Limits(10, 0, 10**9)
        made = generated(stack, monkeypatch, format="wav", limits=limits)
        generation = stack.get_generation(made)
        assert (generation.chosen, generation.best) == (0, 0)
        names = [key.rpartition("/")[2] for key in stack.objects() if key.startswith("candidates/")]
        assert names == ["0.flac", "0.json", "1.flac"]
        shown = call(stack.app("api"), "GET", SHOW, generation_id=made.id).json
        assert [one["index"] for one in shown["candidates"]] == [0, 1]
        assert shown["candidates"][1]["links"]["download"] == f"/dev/api/download/{made.id}/1"
        assert shown["candidates"][1]["links"]["play"].startswith("https://")
        assert shown["candidates_expire_at"] > shown["created_at"]
        assert shown["links"]["origins"] == f"/dev/api/generation/{made.id}/origins"
        origins = "/api/generation/{generation_id}/origins"
        told = call(stack.app("api"), "GET", origins, generation_id=made.id).json
        assert told == {
            "generation_id": made.id,
            "candidate": 0,
            "segments": [{"start": 0.0, "end": 5.0, "source_start": 1.0}],
        }
        query = {"candidate": 1}
        answer = call(stack.app("api"), "GET", origins, query=query, generation_id=made.id)
        answer.problem(409, "no_origins")
        query = {"candidate": 2}
        call(stack.app("api"), "GET", origins, query=query, generation_id=made.id).problem(404, "not_found")

    def test_the_results_origins_outlast_the_other_candidates(
        self, stack: Stack, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = generated(stack, monkeypatch, format="wav")
        api = stack.app("api")
        stack.clock.now += 3 * DAY + CHOICE_SECONDS + 1
        assert stack.sweep()["candidates_expired"] == 1
        shown = call(api, "GET", SHOW, generation_id=made.id).json
        assert shown["links"]["origins"] == f"/dev/api/generation/{made.id}/origins"
        origins = "/api/generation/{generation_id}/origins"
        assert call(api, "GET", origins, generation_id=made.id).json["segments"]

    def test_what_is_told_of_the_result_outlasts_the_other_candidates(
        self, stack: Stack, app: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = generated(stack, monkeypatch, format="flac")
        assert choose(app, made, 1).json["details"] == {"take": "second"}
        stack.clock.now += 3 * DAY + CHOICE_SECONDS + 1
        assert stack.sweep()["candidates_expired"] == 1
        shown = call(stack.app("api"), "GET", SHOW, generation_id=made.id).json
        assert (shown["chosen"], shown["details"]) == (1, {"take": "second"})

    def test_what_copies_nothing_has_no_link_to_origins(self, stack: Stack, api: ModuleType) -> None:
        assert "origins" not in call(api, "GET", SHOW, generation_id=finished(stack).id).json["links"]

    def test_a_cancelled_generation_leaves_no_candidates(
        self, stack: Stack, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fake_models(stack, monkeypatch)
        app = stack.app("generate")
        audio = stack.audio()
        stack.upload(audio)
        assert stack.deliver(stack.app("embed"), {"tenant": "default", "audio_id": audio.id}) == []
        made = stack.submit(audio, format="wav")
        put_object = app.storage.put

        def meanwhile(key: str, *arguments: Any, **options: Any) -> Any:
            if key.startswith("generated/"):
                stack.records.cancel_generation("default", made.id)
            return put_object(key, *arguments, **options)

        monkeypatch.setattr(app.storage, "put", meanwhile)
        assert stack.deliver(app, {"tenant": "default", "generation_id": made.id}) == []
        assert stack.get_generation(made).status == "cancelled"
        assert [key for key in stack.objects() if made.id in key] == []


class TestCopy:
    """A result, or a candidate, as a source track."""

    @pytest.fixture
    def upload(self, stack: Stack) -> ModuleType:
        return stack.app("upload")

    def copy(self, upload: ModuleType, generation: Generation, key: str | None = None, **more: Any) -> Answer:
        headers = {"Idempotency-Key": key} if key else {}
        body = {"generation_id": generation.id, **more}
        return call(upload, "POST", "/api/audio", body=body, headers=headers)

    def test_is_uploaded_with_its_lineage(self, stack: Stack, upload: ModuleType, api: ModuleType) -> None:
        generation = finished(stack)
        answer = self.copy(upload, generation)
        assert answer.status == 201
        audio = stack.records.get_audio("default", answer.json["audio_id"])
        assert audio
        assert audio.status == "uploaded"
        assert audio.filename.endswith(".flac")
        stored = stack.s3.get_object(Bucket="music", Key=f"uploads/default/{audio.id}")["Body"].read()
        flac = candidate_key("default", generation.id, 1, "flac")
        assert stored == stack.s3.get_object(Bucket="music", Key=flac)["Body"].read()
        record = call(api, "GET", "/api/audio/{audio_id}", audio_id=audio.id).json
        assert record["made_from"] == {"generation_id": generation.id, "candidate": 1}
        assert call(api, "GET", SHOW, generation_id=generation.id).json["copied_to"] == [audio.id]
        source = call(api, "GET", "/api/audio/{audio_id}", audio_id=generation.audio_id).json
        assert source["made_from"] is None

    @pytest.mark.parametrize(
        ("alone", "asked", "ending"),
        [
            (False, {}, ""),
            (False, {"candidate": 0}, "-0"),
            (False, {"candidate": 1}, "-1"),
            (True, {"candidate": 0}, ""),
        ],
    )
    def test_is_named_after_the_file_that_it_copies(
        self, stack: Stack, upload: ModuleType, alone: bool, asked: dict[str, Any], ending: str
    ) -> None:
        generation = finished(stack, alone=alone)
        audio = stack.records.get_audio("default", self.copy(upload, generation, **asked).json["audio_id"])
        assert audio
        assert audio.filename.endswith(f"-{generation.id[-7:]}{ending}.flac")

    def test_of_another_candidate(self, stack: Stack, upload: ModuleType) -> None:
        generation = finished(stack)
        audio_id = self.copy(upload, generation, candidate=0).json["audio_id"]
        stored = stack.s3.get_object(Bucket="music", Key=f"uploads/default/{audio_id}")["Body"].read()
        flac = candidate_key("default", generation.id, 0, "flac")
        assert stored == stack.s3.get_object(Bucket="music", Key=flac)["Body"].read()

    def test_after_the_candidates_is_of_the_result(
        self, stack: Stack, upload: ModuleType, app: ModuleType
    ) -> None:
        generation = finished(stack)
        choose(app, generation, 0)
        stack.clock.now += 3 * DAY + 120
        stack.sweep()
        answer = self.copy(upload, generation)
        assert answer.json["content_type"] == "audio/mpeg"
        stored = stack.s3.get_object(Bucket="music", Key=f"uploads/default/{answer.json['audio_id']}")
        result = stack.s3.get_object(Bucket="music", Key=candidate_key("default", generation.id, 0, "mp3"))
        assert stored["Body"].read() == result["Body"].read()

    @pytest.mark.parametrize(
        ("candidate", "status"), [(2, 404), (99, 404), (100, 422), (-1, 422), ("0", 422)]
    )
    def test_of_none_there_is(self, stack: Stack, upload: ModuleType, candidate: Any, status: int) -> None:
        assert self.copy(upload, finished(stack), candidate=candidate).status == status

    def test_of_what_has_no_result(self, stack: Stack, upload: ModuleType) -> None:
        done = finished(stack)
        audio = stack.records.get_audio("default", done.audio_id)
        assert audio
        cancelled, waiting = stack.submit(audio, format="wav"), stack.submit(audio, format="wav")
        stack.records.cancel_generation("default", cancelled.id)
        self.copy(upload, cancelled).problem(409, "cancelled")
        self.copy(upload, waiting).problem(409, "not_finished")
        stack.records.bury(done)
        self.copy(upload, done).problem(404, "not_found")

    def test_with_a_key_is_made_once(self, stack: Stack, upload: ModuleType) -> None:
        generation = finished(stack)
        first, second = (self.copy(upload, generation, key="k") for _ in range(2))
        assert first.json["audio_id"] == second.json["audio_id"]
        assert second.headers["idempotent-replayed"] == "true"
        self.copy(upload, generation, key="k", candidate=0).problem(422, "idempotency_mismatch")

    def test_takes_room_and_names_only_the_oldest(
        self, stack: Stack, upload: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        generation = finished(stack)
        copies = [self.copy(upload, generation).json["audio_id"] for _ in range(12)]
        assert len(set(copies)) == 12
        assert set(stack.get_generation(generation).copied_to or []) == set(copies[:10])
        monkeypatch.setattr(upload, "limits", Limits(100, 0, 10))
        self.copy(upload, generation).problem(429, "storage_limit")

    def test_outlives_its_generation(self, stack: Stack, upload: ModuleType, api: ModuleType) -> None:
        generation = finished(stack)
        copied = self.copy(upload, generation).json
        purge(stack.records.bury(generation), stack.records, upload.storage, None)  # type: ignore[arg-type]
        audio = stack.records.get_audio("default", copied["audio_id"])
        assert audio
        assert audio.status == "uploaded"
        assert f"uploads/default/{audio.id}" in stack.objects()
