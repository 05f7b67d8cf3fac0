"""MusicGen on arithmetic instead of weights: modes, candidates, interruptions, and time that runs out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from music import resume
from music.interfaces import Candidate, GenerationError, Identity, Parameters, Request
from music.musicgen import melody
from music.musicgen.generator import MusicGen, describe, joined
from music.musicgen.sampling import Sampling
from music.resume import Kept, Suspended
from music.seeds import candidate_seeds
from tests.support.networks import (
    FEATURES,
    FakeCodec,
    FakeLanguage,
    FakeText,
    FakeTokenizer,
    Killed,
    Shelf,
)

IDENTITY = Identity("fake/musicgen", "abc", "1", "float32")
PARAMETERS = Parameters(seed=7, duration=1.0, top_k=20)


def tone(seconds: float, pitch: float = 440.0, channels: int = 1) -> np.ndarray:
    t = np.arange(round(seconds * 32000)) / 32000
    return np.tile(0.3 * np.sin(2 * np.pi * pitch * t), (channels, 1)).astype(np.float32)


def generator(**changed: Any) -> tuple[MusicGen, FakeLanguage, FakeCodec]:
    language, codec = FakeLanguage(changed.pop("codebooks", 4)), FakeCodec()
    made = MusicGen(
        "musicgen-fake", language, FakeTokenizer(), FakeText(), codec, identity=IDENTITY,
        license="CC-BY-NC-4.0", **changed,
    )  # fmt: skip
    return made, language, codec


def run(
    made: MusicGen,
    parameters: Parameters = PARAMETERS,
    *,
    source: np.ndarray | None = None,
    tags: Sequence[str] = (),
    kept: Kept | None = None,
    progress: Callable[[float], None] = lambda done: None,
) -> list[Candidate]:
    sound = tone(2.0, channels=made.channels) if source is None else source
    return list(made.candidates(Request(sound, FEATURES, parameters, tags, kept), progress))


# -- what comes out ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codebooks", [4, 8])
@pytest.mark.parametrize("duration", [1.0, 1.011, 29.99, 30.0, 30.01, 45.0])
def test_audio_is_as_long_as_was_asked_for(codebooks: int, duration: float) -> None:
    made, language, _ = generator(codebooks=codebooks)
    (candidate,) = run(made, replace(PARAMETERS, duration=duration))
    assert candidate.audio.shape[0] == made.channels == codebooks // 4
    assert duration <= candidate.audio.shape[1] / 32000 < duration + 0.02
    assert candidate.audio.dtype == np.float32
    assert candidate.fault is None
    assert len(language.conditions) == (1 if duration <= 30 else 2)


def test_five_minutes_are_windows_of_thirty_seconds() -> None:
    made, language, _ = generator()
    language.max_positions = 1503  # of 2048 that the models have
    steps: list[float] = []
    (candidate,) = run(made, replace(PARAMETERS, duration=300.0, guidance_scale=1.0), progress=steps.append)
    assert candidate.audio.shape[1] == 300 * 32000
    assert len(language.conditions) == 16
    assert len(steps) > 15000
    assert steps == sorted(steps)
    assert steps[-1] == 1.0


def test_a_model_too_small_for_a_window_is_refused_at_once() -> None:
    language = FakeLanguage(max_positions=1000)
    with pytest.raises(ValueError, match="1000 positions"):
        MusicGen(
            "x", language, FakeTokenizer(), FakeText(), FakeCodec(), identity=IDENTITY, license=None
        )  # fmt: skip


def test_each_candidate_is_the_single_run_with_its_seed() -> None:
    made, language, _ = generator()
    candidates = run(made, replace(PARAMETERS, candidates=3))
    assert [candidate.seed for candidate in candidates] == candidate_seeds(7, 3)
    assert {rows for rows, _ in language.calls} == {6}
    for candidate in candidates:
        (alone,) = run(generator()[0], replace(PARAMETERS, seed=candidate.seed))
        assert np.array_equal(alone.audio, candidate.audio)
    assert not np.array_equal(candidates[0].audio, candidates[1].audio)


def test_candidates_that_do_not_fit_into_memory_take_turns() -> None:
    together = run(generator()[0], replace(PARAMETERS, candidates=5))
    for memory, rows in ((1, {2}), (2 * (2 * 1000 * 54 + 4 * 640 * 50), {4, 2})):
        made, language, _ = generator(memory=memory)
        candidates = run(made, replace(PARAMETERS, candidates=5))
        assert {n for n, _ in language.calls} == rows
        assert all(np.array_equal(a.audio, b.audio) for a, b in zip(candidates, together, strict=True))


def test_more_candidates_have_the_seeds_of_fewer() -> None:
    assert candidate_seeds(5, 12)[:4] == candidate_seeds(5, 4)


def test_progress_comes_with_every_step_and_may_stop_it() -> None:
    made, language, _ = generator()
    done: list[float] = []
    run(made, replace(PARAMETERS, candidates=2), progress=done.append)
    assert len(set(done)) == 54  # 53 steps
    assert done == sorted(done)

    class Cancelled(Exception):
        pass

    def stop(share: float) -> None:
        if share > 0.3:
            raise Cancelled

    language.calls.clear()
    with pytest.raises(Cancelled):
        run(made, progress=stop)
    assert 10 < len(language.calls) < 20


def test_audio_is_decoded_while_codes_are_made() -> None:
    made, language, codec = generator()
    seen: list[int] = []
    run(
        made, replace(PARAMETERS, duration=9.0), progress=lambda done: seen.append(len(codec.pushed))
    )  # fmt: skip
    assert codec.pushed == [192, 192, 66]
    assert seen[-10] == 2  # only the last chunk is left when the last step is made
    assert len(language.calls) == 453


def test_logits_that_are_not_finite_stop_one_candidate_and_name_the_step() -> None:
    made, language, _ = generator()
    language.broken = (2, 10)
    good, bad, other = run(made, replace(PARAMETERS, candidates=3))
    assert bad.fault == "logits not finite at step 9"
    assert bad.audio.shape == (1, 0)
    assert good.fault is other.fault is None
    assert np.array_equal(run(generator()[0])[0].audio, good.audio)


def test_audio_that_is_not_finite_is_a_fault_of_one_candidate() -> None:
    made, _, codec = generator()
    codec.broken = 1
    good, bad, other = run(made, replace(PARAMETERS, candidates=3))
    assert bad.fault == "audio not finite"
    assert good.fault is other.fault is None
    assert np.array_equal(run(generator()[0])[0].audio, good.audio)


def test_candidates_that_are_made_together_are_decoded_together() -> None:
    made, _, codec = generator()
    run(made, replace(PARAMETERS, duration=5.0, candidates=3))
    assert codec.pushed == [192, 58]


def test_details_say_how_it_was_made() -> None:
    (candidate,) = run(generator(machine="engine avx2, 2 threads")[0], tags=["calm"])
    details = candidate.details
    assert details["machine"] == "engine avx2, 2 threads"
    assert (details["steps"], details["resumed"]) == (53, 0)
    assert details["steps_per_second"] > 0
    assert details["description"] == "keywords: calm. bpm: 120. key: D minor"


# -- what it is made of --------------------------------------------------------------------------------------


def words(*texts: str) -> np.ndarray:
    return FakeText().encode(FakeTokenizer().encode(" ".join(texts)).ids)


def test_the_text_is_the_prompt_and_what_was_measured() -> None:
    made, language, _ = generator()
    run(made, replace(PARAMETERS, prompt=" A slow waltz. "), tags=["calm", "piano"])
    text = language.conditions[0][0].text
    assert text is not None
    assert np.array_equal(text, words("A slow waltz. keywords: calm, piano. bpm: 120. key: D minor"))


def test_descriptions_leave_out_what_is_not_there() -> None:
    nothing = replace(FEATURES, tempo=0.0, key=None, mode=None)
    assert describe(nothing, []) == ""
    assert describe(nothing, ["calm"]) == "keywords: calm"
    assert describe(replace(nothing, tempo=90.4), []) == "bpm: 90"
    assert joined("a waltz", "") == "a waltz"
    assert joined("", "bpm: 90") == "bpm: 90"


def test_nothing_to_say_is_no_text_and_not_an_empty_one() -> None:
    """Audio differs: an encoded empty text has a token, the null condition has none."""
    made, language, _ = generator()
    nothing = replace(FEATURES, tempo=0.0, key=None, mode=None)
    for prompt in (None, "  "):
        request = Request(tone(1), nothing, replace(PARAMETERS, prompt=prompt))
        list(made.candidates(request, lambda done: None))
    assert [start[0].text for start in language.conditions] == [None, None]
    assert np.asarray(FakeText().encode(FakeTokenizer().encode("").ids)).size


def test_tags_are_left_out_before_a_text_gets_too_long() -> None:
    made, language, _ = generator()
    run(made, replace(PARAMETERS, prompt="word " * 255), tags=[f"tag{i}" for i in range(99)])
    text = language.conditions[0][0].text
    assert text is not None
    assert 290 < len(text) <= 304


def test_tags_are_left_out_of_a_text_that_fills_more_than_its_places() -> None:
    made, language, _ = generator()
    tags = ("calm", "piano", "slow", "waltz")
    whole = len(words("keywords: calm, piano. bpm: 120. key: D minor"))
    language.text_length = whole
    run(made, PARAMETERS, tags=tags)
    language.text_length = 3  # what is measured, and what the user says, are said whole
    run(made, PARAMETERS, tags=tags)
    run(made, replace(PARAMETERS, prompt="A slow waltz"), tags=tags)
    expected = (
        "keywords: calm, piano. bpm: 120. key: D minor",
        "bpm: 120. key: D minor",
        "A slow waltz. bpm: 120. key: D minor",
    )
    for start, said in zip(language.conditions, expected, strict=True):
        text = start[0].text
        assert text is not None
        assert np.array_equal(text, words(said))


def test_a_prompt_over_the_token_limit_is_refused() -> None:
    made, language, _ = generator()
    with pytest.raises(GenerationError, match="257 tokens; at most 256") as caught:
        run(made, replace(PARAMETERS, prompt="word " * 256))
    assert caught.value.code == "prompt_too_long"
    assert not language.conditions


def test_guidance_leads_away_from_a_negative_prompt() -> None:
    made, language, _ = generator()
    run(made, replace(PARAMETERS, prompt="calm", negative_prompt="loud drums"))
    wanted, unwanted = language.conditions[0]
    assert wanted.text is not None
    expected = FakeText().encode(FakeTokenizer().encode("loud drums").ids)
    assert unwanted.text is not None
    assert np.array_equal(unwanted.text, expected)
    run(made, replace(PARAMETERS, prompt="calm"))
    assert language.conditions[-1][1].text is None


def test_what_was_kept_for_another_negative_prompt_is_not_taken_up() -> None:
    made, _, _ = generator()
    sampling = Sampling(1.0, 20, 0.0, 3.0)
    digests = {
        made._inputs(None, unwanted, None, None, sampling, 50)
        for unwanted in (None, np.ones((2, 4), np.float32), np.zeros((2, 4), np.float32))
    }
    assert len(digests) == 3


def test_a_negative_prompt_over_the_token_limit_is_refused() -> None:
    made, language, _ = generator()
    with pytest.raises(GenerationError, match="negative prompt has 257 tokens") as caught:
        run(made, replace(PARAMETERS, negative_prompt="word " * 256))
    assert caught.value.code == "prompt_too_long"
    assert not language.conditions


def test_a_continuation_goes_on_from_the_last_seconds_and_leaves_them_out() -> None:
    made, language, codec = generator()
    loud = tone(20.0) * np.linspace(0.1, 1.0, 640000, dtype=np.float32)
    source = np.pad(loud, ((0, 0), (0, 96000)))  # three seconds of silence at the end
    (candidate,) = run(made, replace(PARAMETERS, mode="continue"), source=source)
    assert candidate.audio.shape == (1, 32000)
    assert language.calls[0][1] + sum(new for _, new in language.calls[1:]) == 600 + 53
    assert sum(codec.pushed) == 650
    given = codec.encode(loud[:, -12 * 32000 :])
    assert given.shape == (4, 600)
    (other,) = run(made, replace(PARAMETERS, mode="continue"), source=source * 0.5)
    assert not np.array_equal(candidate.audio, other.audio)


def test_the_seam_of_a_continuation_is_faded() -> None:
    made, _, _ = generator()
    (candidate,) = run(made, replace(PARAMETERS, mode="continue"), source=tone(3.0))
    begin = np.abs(candidate.audio[0])
    assert begin[0] == 0.0
    assert begin[:40].max() < 0.1 * begin[1000:].max()


def test_a_continuation_of_minutes_goes_on_over_windows() -> None:
    made, language, codec = generator()
    parameters = replace(PARAMETERS, mode="continue", duration=40.0, guidance_scale=1.0)
    (candidate,) = run(made, parameters, source=tone(20.0))
    assert candidate.audio.shape[1] == 40 * 32000
    assert len(language.conditions) == 3  # 52 s with the prompt
    assert sum(codec.pushed) == 52 * 50


@pytest.mark.parametrize("mode", ["similar", "continue", "melody"])
def test_silence_has_nothing_to_go_on_from(mode: str) -> None:
    with pytest.raises(GenerationError) as caught:
        run(generator()[0], replace(PARAMETERS, mode=mode), source=np.zeros((1, 32000), np.float32))
    assert caught.value.code == "silent_source"


def test_a_prompt_says_what_to_make_of_silence() -> None:
    asked = replace(PARAMETERS, prompt="a choir")
    assert run(generator()[0], asked, source=np.zeros((1, 32000), np.float32))[0].audio.any()


def test_two_melodies_give_two_results() -> None:
    made, language, _ = generator()
    low, high, again = (
        run(made, replace(PARAMETERS, mode="melody"), source=tone(3.0, pitch))[0].audio
        for pitch in (440.0, 523.25, 440.0)
    )
    assert np.array_equal(low, again)
    assert not np.array_equal(low, high)
    chroma = language.conditions[1][0].chroma
    assert chroma is not None
    assert chroma.shape == (235, 12)
    assert (chroma.argmax(axis=1) == 0).mean() > 0.9  # C
    assert language.conditions[1][1].chroma is None


def test_two_texts_give_two_results() -> None:
    for mode in ("similar", "melody", "continue"):
        one, two = (
            run(generator()[0], replace(PARAMETERS, mode=mode, prompt=prompt))[0].audio
            for prompt in ("calm", "wild")
        )
        assert not np.array_equal(one, two)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"prompt": "a choir"}, "a choir"),
        ({}, "keywords: piano. bpm: 120. key: D minor"),
        ({"prompt": "a choir", "tempo": 120.0}, "a choir. bpm: 120"),
        ({"prompt": "a choir", "key": "D minor"}, "a choir. key: D minor"),
    ],
)
def test_in_melody_and_continue_the_prompt_is_all_of_the_text_but_for_tempo_and_key(
    asked: dict[str, Any], said: str
) -> None:
    for mode in ("melody", "continue"):
        made, language, _ = generator()
        run(made, replace(PARAMETERS, mode=mode, **asked), tags=["piano"])
        assert np.array_equal(np.asarray(language.conditions[0][0].text), words(said))


def test_later_windows_are_given_the_melody_from_there_on() -> None:
    made, language, _ = generator()
    source = np.concatenate([tone(18.0, 440.0), tone(40.0, 523.25)], axis=1)
    run(made, replace(PARAMETERS, mode="melody", duration=40.0, guidance_scale=1.0), source=source)
    first, second = (np.asarray(start[0].chroma).argmax(axis=1) for start in language.conditions)
    assert (first[:130] == 9).all()
    assert (second[5:] == 0).all()


# -- interruptions -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["similar", "continue"])
def test_a_generation_killed_anywhere_ends_with_the_same_bytes(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot at each step, and death at every third; two candidates, two at a time."""
    monkeypatch.setattr(resume, "SAVE_SECONDS", 0.0)
    parameters = replace(PARAMETERS, duration=0.6, candidates=2, mode=mode)
    whole = run(generator()[0], parameters)
    for steps in range(1, 33, 3):
        shelf = Shelf()
        made, language, _ = generator()

        def kill(share: float, language: FakeLanguage = language, steps: int = steps) -> None:
            if sum(new == 1 for _, new in language.calls) >= steps:
                raise Killed

        with pytest.raises(Killed):
            run(made, parameters, kept=Kept(shelf), progress=kill)
        again, resumed, _ = generator()
        candidates = run(again, parameters, kept=Kept(shelf))
        assert all(np.array_equal(a.audio, b.audio) for a, b in zip(candidates, whole, strict=True)), steps
        # What was saved is not made again: the steps of both add up to those of one.
        assert [c.details["resumed"] for c in candidates] == [1, 1]
        assert sum(n == 1 for _, n in resumed.calls) <= 33


def test_windows_are_resumed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("music.musicgen.generator.WINDOW_SECONDS", 0.6)
    monkeypatch.setattr("music.musicgen.generator.STRIDE_SECONDS", 0.36)
    monkeypatch.setattr(resume, "SAVE_SECONDS", 0.0)
    parameters = replace(PARAMETERS, duration=2.0)
    (whole,) = run(generator()[0], parameters)
    steps = whole.details["steps"]
    for stop in range(2, steps, 7):
        shelf = Shelf()
        with pytest.raises(Killed):
            run(generator()[0], parameters, kept=Kept(shelf), progress=_killer(stop))
        assert 0 < shelf.saved[-1][0] < steps
        (candidate,) = run(generator()[0], parameters, kept=Kept(shelf))
        assert np.array_equal(candidate.audio, whole.audio), stop


def _killer(calls: int) -> Callable[[float], None]:
    seen = 0

    def kill(share: float) -> None:
        nonlocal seen
        seen += 1
        if seen > calls:
            raise Killed

    return kill


def test_what_does_not_fit_is_suspended_and_gone_on_with_until_it_is_done() -> None:
    """Thirty seconds for each invocation, one second for each step, and a reserve of twenty."""
    shelf, parameters = Shelf(), replace(PARAMETERS, candidates=2, duration=0.5)
    whole = run(generator()[0], parameters)
    invocations, made_steps = 0, 0
    while True:
        invocations += 1
        made, language, _ = generator()
        shelf.left = 30.5 if invocations < 4 else 300.0

        def tick(share: float, language: FakeLanguage = language, start: float = shelf.left) -> None:
            shelf.left = start - len(language.calls)

        try:
            candidates = run(made, parameters, kept=Kept(shelf), progress=tick)
            break
        except Suspended:
            made_steps += len(language.calls)
        assert invocations < 10
    assert invocations == 4
    assert candidates[0].details["resumed"] == 3
    assert [c.details["steps"] for c in candidates] == [28, 28]
    assert all(np.array_equal(a.audio, b.audio) for a, b in zip(candidates, whole, strict=True))
    assert [step for step, _ in shelf.saved] == sorted({step for step, _ in shelf.saved})


def test_the_end_waits_for_the_next_invocation_if_there_is_no_time_for_it() -> None:
    """Codes are made, but mastering and scoring would not be done in time."""
    shelf = Shelf(left=25.0)
    made, language, _ = generator()
    with pytest.raises(Suspended):
        run(made, kept=Kept(shelf))
    assert len(language.calls) == 53
    again, nothing_to_do, _ = generator()
    (candidate,) = run(again, kept=Kept(shelf))
    assert not nothing_to_do.calls
    assert np.array_equal(candidate.audio, run(generator()[0])[0].audio)


def test_every_invocation_makes_at_least_a_step() -> None:
    """Or it would be asked for again for ever."""
    shelf = Shelf(left=0.0)
    for step in (1, 2, 3):
        with pytest.raises(Suspended):
            run(generator()[0], kept=Kept(shelf))
        assert shelf.saved[-1][0] == step


def test_audio_is_not_decoded_in_an_invocation_that_will_not_end_it() -> None:
    made, _, codec = generator()
    shelf = Shelf(left=20.0)
    with pytest.raises(Suspended):
        run(made, replace(PARAMETERS, duration=3.0), kept=Kept(shelf))
    assert not codec.pushed


def test_a_snapshot_of_something_else_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "SAVE_SECONDS", 0.0)
    for other in (
        replace(PARAMETERS, temperature=0.9),
        replace(PARAMETERS, prompt="a choir"),
        replace(PARAMETERS, duration=1.5),
        replace(PARAMETERS, guidance_scale=2.0),
    ):
        shelf = Shelf()
        run(generator()[0], other, kept=Kept(shelf))
        made, language, _ = generator()
        (candidate,) = run(made, kept=Kept(shelf))
        assert candidate.details["resumed"] == 0
        assert len(language.calls) == 53


def test_a_damaged_snapshot_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "SAVE_SECONDS", 0.0)
    shelf = Shelf()
    run(generator()[0], kept=Kept(shelf))
    step, data = shelf.saved[20]
    shelf.saved = [*shelf.saved[:20], (step, data[:-7]), (step + 1, b""), (step + 2, b"\x78\x9c garbage")]
    made, language, _ = generator()
    (candidate,) = run(made, kept=Kept(shelf))
    assert np.array_equal(candidate.audio, run(generator()[0])[0].audio)
    assert sum(new == 1 for _, new in language.calls) + 20 in {53, 54, 52}


def test_another_machine_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "SAVE_SECONDS", 0.0)
    shelf = Shelf()
    with pytest.raises(Killed):
        run(generator(machine="avx2")[0], kept=Kept(shelf), progress=_killer(9))
    (candidate,) = run(generator(machine="avx512")[0], kept=Kept(shelf))
    assert candidate.details["machine"] == "avx2 then avx512"
    assert candidate.details["resumed"] == 1


def test_snapshots_are_small() -> None:
    """Five minutes of one candidate, eight codebooks of noise: under a quarter of a megabyte."""
    codes = np.random.default_rng(0).integers(0, 2048, (8, 15000)).astype(np.int16)
    data = resume.pack({"inputs": "x", "resumed": 0, "machines": []}, [resume.Take(1, codes, 15003)])
    assert len(data) < 250_000
    header, (take,) = resume.unpack(data)
    assert header["inputs"] == "x"
    assert np.array_equal(take.codes, codes)
    assert (take.seed, take.step, take.failed) == (1, 15003, None)


# -- melody --------------------------------------------------------------------------------------------------


def test_chroma_names_the_strongest_pitch_class() -> None:
    for pitch_class, pitch in ((9, 220.0), (9, 880.0), (0, 261.63), (4, 329.63), (11, 493.88)):
        chroma = melody.chroma(tone(2.0, pitch)[0])
        assert chroma.shape == (1 + 64000 // 4096, 12)
        assert (chroma.sum(axis=1) == 1).all()
        assert (chroma.argmax(axis=1) == pitch_class).all()


@pytest.mark.parametrize("samples", [1, 100, 16383, 16384, 50000])
def test_chroma_of_anything_but_nothing(samples: int) -> None:
    noise = np.random.default_rng(0).standard_normal(samples).astype(np.float32)
    assert len(melody.chroma(noise)) == 1 + max(samples, 16384) // 4096
    assert melody.chroma(np.zeros(samples, np.float32))[0, 0] == 1
    with pytest.raises(ValueError, match="samples"):
        melody.chroma(noise[:0])


def test_the_filter_bank_is_librosas() -> None:
    import librosa

    expected = librosa.filters.chroma(sr=32000, n_fft=16384, tuning=0, n_chroma=12)
    assert np.abs(melody.filter_bank().T - expected).max() < 1e-6


def test_a_short_melody_begins_again() -> None:
    short = np.arange(7 * 32000, dtype=np.float32)
    taken = melody.stretch(short, 18.0)
    assert len(taken) == 30 * 32000
    assert taken[0] == 18 * 32000 % len(short)
    assert taken[len(short)] == taken[0]
