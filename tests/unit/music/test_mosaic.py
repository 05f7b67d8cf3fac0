"""The built-in generator, on small pieces made here: what users can ask of it, and what it promises."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest

from music import features, reach
from music.audio.decode import resample
from music.audio.loudness import integrated_loudness
from music.dsp import rhythm
from music.dsp.stretch import stretched
from music.features import Features
from music.interfaces import Candidate, GenerationError, Parameters, Request, Section
from music.mosaic import ends, form, generator, path, synthesis, units, walk
from music.mosaic.generator import Mosaic
from music.mosaic.outlook import Outlook
from music.mosaic.transitions import Transitions
from music.seeds import candidate_seeds
from tests.benchmarks.bench_mosaic import worst_join
from tests.benchmarks.verbatim import verbatim
from tests.support import sound

RATE = 32000
BEAT = 0.5  # seconds


def _measured(
    duration: float, beats: list[float], loudness: float | None = -18.0, per_bar: int = 4
) -> Features:
    return Features(
        duration=duration,
        tempo=120.0 if beats else 0.0,
        key="C",
        mode="major",
        loudness=loudness,
        spectral_centroid=1500.0,
        onset_rate=4.0,
        beats=beats,
        meter=f"{per_bar}/4" if beats else None,
        bars=beats[::per_bar] if beats else None,
    )


@cache
def _song(bars: int = 16, per_bar: int = 4, seed: int = 0) -> tuple[np.ndarray, Features]:
    """A drum on every beat, stronger on the first, a chord per bar, a melody that never comes back."""
    rng = np.random.default_rng(seed)
    size = round(BEAT * RATE)
    seconds = np.arange(size) / RATE
    audio = np.zeros((2, bars * per_bar * size), dtype=np.float32)
    for index in range(bars * per_bar):
        bar, place = divmod(index, per_bar)
        root = 110.0 * 2.0 ** ((0, 5, 7, 9)[bar % 4] / 12)
        sound = sum(0.05 * np.sin(2 * np.pi * root * ratio * seconds) for ratio in (1.0, 1.25, 1.5, 2.0))
        melody = 440.0 * 2.0 ** ((0, 2, 4, 7, 9, 12)[int(rng.integers(6))] / 12)
        sound = sound + 0.12 * np.sin(2 * np.pi * melody * seconds + rng.uniform(0, 6)) * np.exp(-4 * seconds)
        thump = np.sin(2 * np.pi * (90.0 if place == 0 else 220.0) * seconds) * np.exp(-25 * seconds)
        sound = sound + (0.5 if place == 0 else 0.2) * thump
        hiss = 0.05 * rng.standard_normal((2, size)) * np.exp(-40 * seconds)
        ends = np.minimum(1.0, np.minimum(seconds, seconds[::-1]) / 0.002)
        audio[:, index * size : (index + 1) * size] = (sound + hiss) * ends
    return audio, _measured(
        audio.shape[1] / RATE, [BEAT * beat for beat in range(bars * per_bar)], per_bar=per_bar
    )


def _nothing(done: float) -> None:
    pass


def _run(source: np.ndarray, measured: Features, **wanted: Any) -> list[Candidate]:
    parameters = Parameters(**({"seed": 1, "duration": 12.0} | wanted))
    return list(Mosaic().candidates(Request(source, measured, parameters), _nothing))


def _one(**wanted: Any) -> Candidate:
    return _run(*_song(), **wanted)[0]


@pytest.mark.parametrize("duration", [1.0, 2.5, 7.77, 40.0])
def test_duration_is_exact_even_beyond_the_source(duration: float) -> None:
    audio = _one(duration=duration).audio
    assert audio.shape == (2, round(duration * RATE))
    assert audio.dtype == np.float32
    assert np.isfinite(audio).all()
    assert np.abs(audio).max() <= 1.0
    # Music all the way to the fade: no second of silence.
    seconds = audio[0, : max(int(duration) - 2, 1) * RATE].reshape(-1, RATE)
    assert np.sqrt((seconds**2).mean(axis=1)).min() > 0.01


def test_same_seed_same_bytes_and_another_seed_other_music() -> None:
    assert _one().audio.tobytes() == _one().audio.tobytes()
    assert _one().details["runs"] != _one(seed=2).details["runs"]


@pytest.mark.parametrize("seed", [0, 7, -3, 2**80])
def test_candidate_is_the_single_run_with_its_seed(seed: int) -> None:
    source, measured = _song()
    made = _run(source, measured, seed=seed, duration=5.0, candidates=3)
    assert made[0].seed == seed
    assert len({candidate.seed for candidate in made}) == 3
    for candidate in made:
        alone = _run(source, measured, seed=candidate.seed, duration=5.0)[0]
        assert alone.audio.tobytes() == candidate.audio.tobytes()


def test_seeds_do_not_depend_on_how_many_are_asked_for() -> None:
    assert candidate_seeds(5, 8)[:3] == candidate_seeds(5, 3)


def test_source_is_analysed_once_and_candidates_come_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            calls.append(name)
            return function(*arguments, **named)

        return call

    monkeypatch.setattr(generator, "cut", counted("cut", generator.cut))
    monkeypatch.setattr(generator, "render", counted("render", generator.render))
    source, measured = _song()
    request = Request(source, measured, Parameters(seed=1, duration=4.0, candidates=3))
    made = Mosaic().candidates(request, _nothing)
    next(made)
    assert calls == ["cut", "render"]
    assert len(list(made)) == 2
    assert calls == ["cut", "render", "render", "render"]


def test_mono_stays_mono() -> None:
    source, measured = _song()
    assert _run(source[:1], measured, duration=3.0)[0].audio.shape == (1, 3 * RATE)


@pytest.mark.parametrize("loudness", [None, -18.0])
def test_silence_gives_silence_and_says_so(loudness: float | None) -> None:
    silent = np.zeros((1, 3 * RATE), dtype=np.float32)
    made = _run(silent, _measured(3.0, [], loudness), duration=2.0, candidates=2)
    assert [candidate.details for candidate in made] == [{"silent": True}] * 2
    assert not made[0].audio.any()
    assert made[0].audio.shape == (1, 2 * RATE)


def test_of_silence_no_loop_is_made() -> None:
    with pytest.raises(GenerationError) as refused:
        _run(np.zeros((1, 8 * RATE), dtype=np.float32), _measured(8.0, []), loop=True, bars=2)
    assert refused.value.code == "no_bars"


@pytest.mark.parametrize("early", [0.0, 0.013, 0.02])
@pytest.mark.parametrize("bars", [4, 8])
def test_an_instrument_that_is_always_early_changes_no_tempo(early: float, bars: int) -> None:
    steady, measured = _song(16)
    source = np.zeros_like(steady)
    size, ahead = round(BEAT * RATE), round(early * RATE)
    for index in range(len(measured.beats)):
        begin = index * size - ahead * (index % 2)
        source[:, begin : begin + size] += steady[:, index * size : (index + 1) * size]
    for seed in range(3):
        made = _run(source, measured, loop=True, bars=bars, duration=4 * BEAT * bars, seed=seed)[0]
        assert made.audio.shape[1] / RATE == pytest.approx(4 * BEAT * bars, rel=0.005)
        assert made.details["end"] == pytest.approx(made.audio.shape[1] / RATE, abs=1e-4)
        assert {run["stretch"] for run in made.details["runs"]} == {1.0}


@pytest.mark.parametrize(
    "source", [np.zeros((3, RATE)), np.zeros((2, 100)), np.zeros(RATE)], ids=["3 channels", "short", "flat"]
)
def test_sources_it_cannot_use_are_refused(source: np.ndarray) -> None:
    with pytest.raises(ValueError, match="1 or 2 channels"):
        _run(source.astype(np.float32), _measured(1.0, []))


@pytest.mark.parametrize("hiss", [0.0, 1e-6])
def test_of_a_single_click_nothing_is_made(hiss: float) -> None:
    rng = np.random.default_rng(1)
    source = (hiss * rng.standard_normal((1, 20 * RATE))).astype(np.float32)
    source[0, 5 * RATE : 5 * RATE + 640] += 0.5 * rng.standard_normal(640) * np.exp(-np.arange(640) / 128)
    with pytest.raises(GenerationError) as refused:
        _run(source, _measured(20.0, []))
    assert refused.value.code == "too_little_sound"


@pytest.mark.parametrize("seconds", [0.5, 1.0, 3.3])
def test_short_sources_make_long_music(seconds: float) -> None:
    source = _song()[0][:, : round(seconds * RATE)]
    beats = [beat * BEAT for beat in range(int(seconds / BEAT))]
    made = _run(source, _measured(seconds, beats))[0]
    assert made.audio.shape == (2, 12 * RATE)
    assert np.sqrt((made.audio**2).mean()) > 0.02


@pytest.mark.parametrize("kind", ["noise", "ambient"])
def test_music_without_beats(kind: str) -> None:
    rng = np.random.default_rng(3)
    seconds = np.arange(25 * RATE) / RATE
    if kind == "noise":
        source = 0.1 * rng.standard_normal((1, len(seconds)))
    else:
        source = np.zeros((1, len(seconds)))
        for note, slow in ((220.0, 0.7), (277.2, 1.1), (329.6, 0.4)):
            source[0] += 0.1 * np.sin(2 * np.pi * note * seconds) * (1.0 + np.sin(seconds * slow))
    source = source.astype(np.float32)
    made = _run(source, _measured(25.0, []))[0]
    assert made.details["unit_kind"] == "slice"
    assert made.details["longest_verbatim"] <= 8.0
    assert worst_join(made, source) <= 1.0


@pytest.mark.parametrize("temperature", [0.05, 1.0, 2.0])
def test_verbatim_bounds_hold_by_path_and_by_ear(temperature: float) -> None:
    source, measured = _song(32)
    made = _run(source, measured, duration=30.0, temperature=temperature)[0]
    assert made.details["longest_verbatim"] <= 8.0
    assert made.details["long_verbatim_share"] <= 0.4
    longest, share = verbatim(made.audio, source, RATE)
    assert longest <= 8.0
    assert share <= 0.4
    assert longest >= 1.0  # it does play the source, in pieces


def test_a_loop_is_verbatim_however_often_the_source_repeats_it() -> None:
    loop, _ = _song(4)
    source = np.tile(loop, (1, 6))
    measured = _measured(source.shape[1] / RATE, [BEAT * beat for beat in range(96)])
    cut = units.cut(source, RATE, measured.beats, measured.bars or (), _nothing)
    assert len(set(cut.label.tolist())) <= 24  # 16 beats of the loop, and the seams
    made = _run(source, measured, duration=30.0)[0]
    longest, share = verbatim(made.audio, source, RATE)
    assert longest <= 8.0
    assert share <= 0.4


def test_verbatim_hears_a_copy_and_only_a_copy() -> None:
    source, _ = _song(32)
    assert verbatim(source[:, 5 * RATE : 15 * RATE], source, RATE)[0] == pytest.approx(10.0, abs=0.5)
    assert verbatim(source[:, 5 * RATE : 15 * RATE], source, RATE)[1] == pytest.approx(1.0, abs=0.05)
    assert verbatim(_song(8, seed=9)[0], source, RATE)[0] <= 2.0


def test_the_share_of_long_runs_is_a_share_where_the_last_unit_outlasts_the_piece() -> None:
    source, measured = _song()
    cut = units.cut(source, RATE, measured.beats, measured.bars or (), _nothing)
    steps = [path.Step(unit, BEAT * unit, 0, 1.0, 0.0, unit == 0) for unit in range(16)]
    for duration, share in ((7.7, 1.0), (16.0, 0.5)):
        end = ends.End(0.0, 16, -1, "cut", duration)
        assert ends.gathered(cut, steps, end, duration).long_share == pytest.approx(share, abs=1e-3)
        assert ends.gathered(cut, steps, end, duration).long_share <= 1.0


def test_joins_do_not_click() -> None:
    source, measured = _song()
    for candidate in _run(source, measured, duration=30.0, candidates=3):
        assert len(candidate.details["joins"]) >= 5
        assert worst_join(candidate, source) <= 1.0


def test_meter_is_kept_at_temperature_one() -> None:
    runs = _one(duration=40.0).details["runs"]
    assert len(runs) > 8
    slips = [(after["source_start"] - before["source_end"]) / (4 * BEAT) for before, after in pairwise(runs)]
    kept = [abs(slip - round(slip)) < 0.05 for slip in slips]
    assert np.mean(kept) >= 0.9


@pytest.mark.parametrize("per_bar", [3, 4])
def test_bars_are_found(per_bar: int) -> None:
    source, measured = _song(16, per_bar)
    cut = units.cut(source, RATE, measured.beats, measured.bars or (), _nothing)
    assert cut.pulsed
    assert cut.meter == per_bar
    assert (cut.phase[: per_bar * 15] == np.arange(per_bar * 15) % per_bar).mean() > 0.95


def test_the_higher_the_temperature_the_less_alike_are_two_seeds() -> None:
    source, measured = _song(32)
    cut = units.cut(source, RATE, measured.beats, measured.bars or (), _nothing)
    transitions = Transitions(cut)

    def played(temperature: float, seed: int) -> np.ndarray:
        parameters = Parameters(seed=seed, temperature=temperature)
        outlook, rng = Outlook(transitions, temperature), np.random.default_rng(seed)
        walked = next(walk.walk(transitions, outlook, parameters, np.zeros(12), rng, _nothing))
        return np.concatenate([cut.label[run.first : run.last] for run in walked.runs])[:55]

    def apart(temperature: float) -> float:
        pieces = [played(temperature, seed) for seed in range(4)]
        return float(np.mean([np.mean(a != b) for a, b in combinations(pieces, 2)]))

    cold, warm, hot = (apart(temperature) for temperature in (0.2, 1.0, 2.0))
    assert cold < 0.6 * hot
    assert cold < warm


@pytest.mark.parametrize("temperature", [0.05, 0.2, 1.0, 2.0])
def test_no_short_passage_is_jumped_back_to_for_a_third_time_in_a_row(temperature: float) -> None:
    source, measured = _song(32)
    for seed in range(3):
        made = _run(source, measured, duration=40.0, temperature=temperature, seed=seed)[0]
        beats = [
            (beat, index == 0)
            for run in made.details["runs"]
            for index, beat in enumerate(
                range(round(run["source_start"] / BEAT), round(run["source_end"] / BEAT))
            )
        ]
        for size in range(1, 9):
            for start in range(len(beats) - 3 * size + 1):
                one, two, three = (
                    [beat for beat, _ in beats[start + k * size : start + (k + 1) * size]] for k in range(3)
                )
                assert not one == two == three or not beats[start + 2 * size][1]


@pytest.mark.parametrize("per_bar", [3, 4])
@pytest.mark.parametrize("temperature", [0.2, 1.0, 2.0])
def test_jumps_go_from_the_end_of_a_bar_to_the_beginning_of_one(per_bar: int, temperature: float) -> None:
    source, measured = _song(24, per_bar)
    jumps = []
    for seed in range(3):
        runs = _run(source, measured, duration=30.0, seed=seed, temperature=temperature)[0].details["runs"]
        jumps += [(before["source_end"], after["source_start"]) for before, after in pairwise(runs)]
    bar = per_bar * BEAT
    on_lines = [all(abs(time - bar * round(time / bar)) < 0.07 for time in jump) for jump in jumps]
    assert np.mean(on_lines) >= 0.95


def test_without_bars_none_are_claimed() -> None:
    source, measured = _song()
    without = replace(measured, meter=None, bars=None)
    assert _run(source, measured)[0].details["meter"] == "4/4"
    details = _run(source, without)[0].details
    assert (details["meter"], details["units_per_bar"]) == ("none", 1)


def test_without_bars_jumps_go_from_beat_to_beat_though_units_are_shorter() -> None:
    source, measured = _song(32)
    slow = replace(measured, beats=measured.beats[::2], meter=None, bars=None)
    jumps = [
        (before["source_end"], after["source_start"])
        for seed in range(3)
        for before, after in pairwise(_run(source, slow, duration=30.0, seed=seed)[0].details["runs"])
    ]
    on_beats = [all(abs(time - 2 * BEAT * round(time / 2 / BEAT)) < 0.07 for time in jump) for jump in jumps]
    assert len(jumps) > 15
    assert np.mean(on_beats) >= 0.95


def test_a_bar_that_begins_where_the_source_ends_begins_with_none_of_its_units() -> None:
    source, measured = _song(8)
    size = round((measured.duration - 2.0) * RATE)
    ended = source[:, : size + round(0.03 * RATE)]
    beats = [beat for beat in measured.beats if beat <= size / RATE]
    cut = units.cut(ended, RATE, beats, beats[::4], _nothing)
    assert beats[-1] in beats[::4]
    assert cut.phase.tolist() == [number % 4 for number in range(len(cut))]


def test_bars_longer_than_what_may_be_copied_are_halved() -> None:
    source, _ = _song(16)
    slow = _measured(source.shape[1] / RATE, [BEAT * beat for beat in range(64)], per_bar=8)
    assert _run(source, slow)[0].details["units_per_bar"] == 4


# -- phrases ---------------------------------------------------------------------------------------------


@cache
def _through_composed(bars: int, per_bar: int) -> tuple[np.ndarray, Features]:
    """Music in which nothing comes back: other notes at other times in each beat, drums on the first ones."""
    rng = np.random.default_rng(3)
    size = round(BEAT * RATE)
    seconds = np.arange(size) / RATE
    audio = np.zeros((1, bars * per_bar * size), dtype=np.float32)
    for beat in range(bars * per_bar):
        thump = (
            np.sin(2 * np.pi * 90.0 * seconds)
            * np.exp(-25 * seconds)
            * (0.5 if beat % per_bar == 0 else 0.15)
        )
        audio[0, beat * size : (beat + 1) * size] += thump
        for part in np.flatnonzero(rng.random(4) < 0.5):
            note = np.sin(2 * np.pi * 220.0 * 2.0 ** (rng.integers(24) / 12) * seconds) * np.exp(-6 * seconds)
            begin = beat * size + part * size // 4
            audio[0, begin : begin + size] += 0.2 * note[: audio.shape[1] - begin]
    beats = [BEAT * beat for beat in range(bars * per_bar)]
    return audio, _measured(audio.shape[1] / RATE, beats, per_bar=per_bar)


@pytest.mark.parametrize("per_bar", [3, 4])
@pytest.mark.parametrize("temperature", [0.2, 1.0, 2.0])
def test_a_phrase_returns_in_half_a_minute(temperature: float, per_bar: int) -> None:
    source, measured = _through_composed(96 // per_bar, per_bar)
    made = _run(source, measured, duration=30.0, temperature=temperature)[0]
    small = resample(made.audio, RATE, features.SAMPLE_RATE)
    assert features.measure_likeness(small)[2] >= 0.8
    assert made.details["longest_verbatim"] <= 8.0
    assert made.details["long_verbatim_share"] <= 0.4


def test_music_that_is_shorter_or_has_no_pulse_has_no_phrase_that_returns_by_plan() -> None:
    source, measured = _through_composed(24, 4)
    cut = units.cut(source, RATE, measured.beats, measured.bars or (), _nothing)
    assert form.returns_of(cut, 29.9) == []
    assert len(form.returns_of(cut, 30.0)) == 1
    assert len(form.returns_of(cut, 95.0)) == 3
    slices = units.cut(source, RATE, [], (), _nothing)
    assert form.returns_of(slices, 95.0) == []


# -- endings ---------------------------------------------------------------------------------------------


def _onsets(audio: np.ndarray) -> np.ndarray:
    """When sounds begin, in seconds."""
    small = resample(audio, RATE, features.SAMPLE_RATE)
    curve = rhythm.superflux(rhythm.mel_bands(small, features.SAMPLE_RATE))
    frame_rate = features.SAMPLE_RATE / rhythm.HOP
    return rhythm.pick_onsets(curve, frame_rate) / frame_rate


def _level(audio: np.ndarray, start: float, end: float) -> float:
    """RMS in dB."""
    return float(10.0 * np.log10((audio[:, round(start * RATE) : round(end * RATE)] ** 2).mean() + 1e-14))


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("duration", [8.0, 14.3, 30.0])
@pytest.mark.parametrize("asked", [None, "natural"])
def test_it_ends_with_a_last_sound_on_a_bar_line_that_dies_away(
    asked: str | None, duration: float, seed: int
) -> None:
    source, measured = _song(32)
    made = _run(source, measured, duration=duration, seed=seed, ending=asked)[0]
    assert made.ends
    assert made.details["ending"] == "natural"
    assert made.audio.shape[1] == round(duration * RATE)
    last = made.details["end"]
    assert abs(_onsets(made.audio)[-1] - last) < 0.07
    before = [run for run in made.details["runs"] if run["start"] < last - 0.1][-1]
    lines = before["start"] + before["stretch"] * (
        np.arange(0.0, measured.duration + 1.0, 4 * BEAT) - before["source_start"]
    )
    assert np.abs(lines - last).min() < 0.07
    assert _level(made.audio, last, last + 0.2) - _level(made.audio, duration - 0.1, duration) > 40.0
    # It dies away by itself: no step, and no hole after the last sound.
    levels = [
        _level(made.audio, last + k / 10, last + (k + 1) / 10) for k in range(int((duration - last) * 10))
    ]
    assert max(np.diff(levels)) < 1.5
    assert min(np.diff(levels[:-1])) > -25.0


def _echoed(level: float, late: float) -> tuple[np.ndarray, units.Units]:
    """A song with a tick after the first beat of every second bar, and its units."""
    source, measured = _song(16)
    audio, count = source.copy(), round(0.05 * RATE)
    tick = np.random.default_rng(5).standard_normal((2, count)) * np.exp(-np.arange(count) / (0.01 * RATE))
    for time in measured.beats[::8]:
        at = round((time + late) * RATE)
        audio[:, at : at + count] += (level * tick).astype(np.float32)
    return audio, units.cut(audio, RATE, measured.beats, measured.bars or (), _nothing)


def _ending_with(unit: int, hold: float) -> path.Path:
    """Four bars, and a last sound that begins with a unit of the song."""
    runs = (path.Run(0, 16, 0.0, 1.0, 0, 0.0), path.Run(unit, unit + 2, 8.0, 1.0, 0, 0.0))
    return path.Path(runs, "natural", 8.0, hold, 8.0, 1.0)


def test_a_last_sound_has_nothing_after_it_that_a_keener_ear_would_hear() -> None:
    clean, echoed = _ending_with(36, 0.3), _ending_with(32, 0.3)
    fade = replace(clean, ending="fade")
    for level in np.geomspace(0.001, 0.1, 60):
        audio, cut = _echoed(float(level), 0.14)
        made, _ = synthesis.render(audio, cut, echoed, 10 * RATE, 1.0, _nothing)
        if _onsets(made)[-1] > 8.07:
            break  # so loud it is heard: a little softer, it is not, in this piece
        just_softer = audio, cut
    assert synthesis.surest_end(*just_softer, iter([echoed, clean, fade]), 10 * RATE, 1.0) is clean
    assert synthesis.surest_end(*just_softer, iter([echoed, fade]), 10 * RATE, 1.0) is echoed


def test_a_last_sound_is_held_until_the_next_one_begins() -> None:
    echoed = _ending_with(32, 0.45)
    fade = replace(echoed, ending="fade")
    chosen = synthesis.surest_end(*_echoed(0.05, 0.3), iter([echoed, fade]), 10 * RATE, 1.0)
    assert chosen.ending == "natural"
    assert 0.2 < chosen.hold < 0.3


def test_the_longer_last_sound_is_kept_where_fewer_ears_agree_on_the_shorter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    longer = _ending_with(32, 0.45)
    monkeypatch.setattr(
        synthesis, "_listened", lambda _, __, end, *rest: (3, 8.3) if end is longer else (2, None)
    )
    ends = iter([longer, replace(longer, ending="fade")])
    assert synthesis.surest_end(*_echoed(0.05, 0.3), ends, 10 * RATE, 1.0) is longer


def test_partials_are_added_as_they_are_defined() -> None:
    rng = np.random.default_rng(2)
    strength = rng.standard_normal((2, 5)) + 1j * rng.standard_normal((2, 5))
    step = -1e-4 * rng.random(5) + 1j * rng.random(5)
    count = 2 * synthesis._BLOCK + 77
    exact = (strength[:, :, None] * np.exp(step[:, None] * np.arange(count))).real.sum(axis=1)
    np.testing.assert_allclose(synthesis._partials(strength, step, count), exact, rtol=0.0, atol=1e-9)
    assert synthesis._partials(strength, step, 0).shape == (2, 0)


def test_the_plainest_end_is_taken_where_no_other_is_heard_on_a_line() -> None:
    late = replace(_ending_with(32, 0.3), end=8.25)
    fade = replace(late, ending="fade")
    assert synthesis.surest_end(*_echoed(0.0, 0.3), iter([late, late, fade]), 10 * RATE, 1.0) is fade


def test_a_fade_and_a_cut_do_as_they_are_told() -> None:
    source, measured = _song(32)
    faded = _run(source, measured, duration=12.0, ending="fade")[0]
    cut = _run(source, measured, duration=12.0, ending="cut")[0]
    assert (faded.details["ending"], cut.details["ending"]) == ("fade", "cut")
    assert not faded.ends
    assert np.array_equal(faded.audio[:, : 9 * RATE], cut.audio[:, : 9 * RATE])
    assert _level(faded.audio, 11.9, 12.0) < _level(cut.audio, 11.0, 12.0) - 20.0
    assert _level(cut.audio, 11.5, 12.0) > _level(cut.audio, 6.0, 9.0) - 6.0


def test_the_source_is_left_to_its_own_end_where_that_dies_away() -> None:
    source, _ = _song(8)
    seconds = np.arange(3 * RATE) / RATE
    chord = sum(np.sin(2 * np.pi * pitch * seconds) for pitch in (110.0, 138.6, 164.8, 220.0))
    source = np.concatenate(
        [source, np.repeat(0.1 * (chord * np.exp(-1.8 * seconds))[None], 2, axis=0)], axis=1
    )
    beats = [BEAT * beat for beat in range(38)]
    made = [
        _run(source.astype(np.float32), _measured(19.0, beats), duration=20.0, seed=seed)[0]
        for seed in range(6)
    ]
    own = [one for one in made if one.details["ending"] == "own"]
    assert own
    assert own[0].ends
    assert own[0].details["runs"][-1]["source_end"] == pytest.approx(19.0, abs=0.3)


@pytest.mark.parametrize("asked", [None, "natural"])
def test_where_nothing_beats_there_is_a_fade_and_it_says_so(asked: str | None) -> None:
    source = (0.1 * np.random.default_rng(3).standard_normal((1, 20 * RATE))).astype(np.float32)
    made = _run(source, _measured(20.0, []), ending=asked)[0]
    assert (made.details["ending"], made.ends) == ("fade", False)


# -- rates ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [44100, 48000])
def test_it_works_at_the_rate_that_is_asked_for(rate: int) -> None:
    source, measured = _song(16)
    fine = resample(source, RATE, rate)
    seconds = np.arange(fine.shape[1]) / rate
    fine += (0.01 * np.sin(2 * np.pi * 18_500.0 * seconds)).astype(np.float32)
    made = _run(fine, measured, duration=10.0, sample_rate=rate)[0]
    usual = _run(source, measured, duration=10.0)[0]
    assert made.audio.shape == (2, 10 * rate)
    # The same music, with what there is above 16 kHz.
    places, usual_places = ([run["source_start"] for run in one.details["runs"]] for one in (made, usual))
    assert places == pytest.approx(usual_places, abs=0.001)
    spectrum = np.abs(np.fft.rfft(made.audio[0, rate : 6 * rate] * np.hanning(5 * rate)))
    hertz = np.fft.rfftfreq(5 * rate, 1.0 / rate)
    high = spectrum[(hertz > 18_000.0) & (hertz < 19_000.0)].max()
    assert high > 30.0 * np.median(spectrum[(hertz > 17_000.0) & (hertz < 18_000.0)])


# -- tempo and key ----------------------------------------------------------------------------------------


@cache
def _in_key() -> tuple[np.ndarray, Features]:
    """A song in D minor, and what is measured of it."""
    mono = sound.song(120.0, 2, "minor", 32.0)
    heard = features.measure(mono, -18.0)
    assert heard.tempo == pytest.approx(120.0, rel=0.005)
    assert (heard.key, heard.mode) == ("D", "minor")
    return resample(np.stack([mono, 0.8 * mono]), features.SAMPLE_RATE, RATE), heard


@pytest.mark.parametrize(("tempo", "up"), [(96.5, 0), (150.0, -5), (120.0, 4), (None, 3)])
def test_tempo_and_key_are_those_that_are_asked_for(tempo: float | None, up: int) -> None:
    source, measured = _in_key()
    key = f"{reach.TONICS[(reach.TONICS.index(measured.key or 'C') + up) % 12]} {measured.mode}"
    made = _run(source, measured, duration=20.0, tempo=tempo, key=key)[0]
    assert made.audio.shape[1] == 20 * RATE
    heard = features.measure(resample(made.audio, RATE, features.SAMPLE_RATE), -18.0)
    assert heard.tempo == pytest.approx(tempo or 120.0, rel=0.01)
    assert f"{heard.key} {heard.mode}" == key


def _in_two_keys(tonic: int, mode: str) -> tuple[np.ndarray, Features]:
    """A song in another key that ends in D minor; its features say D minor."""
    one, measured = _in_key()
    other = resample(sound.song(120.0, tonic, mode, 64.0)[None], features.SAMPLE_RATE, RATE)
    source = np.concatenate([np.repeat(other, 2, axis=0), one], axis=1)
    beats = [round(measured.beats[0] + BEAT * beat, 3) for beat in range(190)]
    return source, replace(measured, duration=96.0, beats=beats, meter="4/4", bars=beats[::4])


@pytest.mark.parametrize(("tonic", "mode", "loop"), [(8, "minor", True), (5, "major", False)])
def test_of_a_source_in_two_keys_what_is_in_its_own_is_chosen(tonic: int, mode: str, loop: bool) -> None:
    asked: dict[str, Any] = {"loop": True, "bars": 8} if loop else {"duration": 16.0}
    made = _run(*_in_two_keys(tonic, mode), key="F minor", **asked)[0]
    heard = features.measure(resample(made.audio, RATE, features.SAMPLE_RATE), -18.0)
    assert (heard.key, heard.mode) == ("F", "minor")


@pytest.mark.parametrize(("duration", "fault"), [(10.0, "key"), (6.0, None)])
def test_a_key_that_is_not_heard_of_so_much_music_is_a_fault(duration: float, fault: str | None) -> None:
    source, measured = _in_key()
    wrong = replace(measured, key="G#")
    made = _run(source, wrong, key="A minor", duration=duration)[0]
    assert made.fault == fault
    assert made.audio.shape[1] == (0 if fault else round(duration * RATE))


@pytest.mark.parametrize(("duration", "fault"), [(10.0, "tempo"), (6.0, None)])
def test_a_tempo_that_is_not_heard_of_so_much_music_is_a_fault(duration: float, fault: str | None) -> None:
    source, measured = _in_key()
    made = _run(source, replace(measured, tempo=60.0), tempo=60.0, duration=duration)[0]
    assert made.fault == fault
    assert made.audio.shape[1] == (0 if fault else round(duration * RATE))
    if fault:
        heard = float(made.details["heard"]["tempo"].removesuffix(" BPM"))
        assert heard == pytest.approx(120.0, rel=0.01)


def test_what_speaks_for_another_tempo_that_is_heard_is_avoided_in_the_next_draw(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second half has other tempos in it: drums at the double."""
    one = sound.song(80.0, 2, "minor", 36.0)
    other = one + 2.0 * sound.song(160.0, 2, "minor", 36.0)
    source = resample(np.concatenate([one, other])[None], features.SAMPLE_RATE, RATE)
    beats = [round(0.05 + 0.75 * beat, 3) for beat in range(96)]
    measured = replace(_measured(72.0, beats), tempo=80.0)
    prices: list[np.ndarray] = []
    heard = replace(measured, tempo=160.0)

    def made(work: Any, rng: Any, progress: Any, price: np.ndarray) -> Any:
        prices.append(price)
        return generator.Made(_ending_with(36, 0.3), np.zeros((1, 12 * RATE), np.float32), [])

    monkeypatch.setattr(generator._Work, "_made", made)
    monkeypatch.setattr(generator, "_heard", lambda *asked: heard)
    drawn = _run(source, measured, tempo=80.0)[0]
    assert drawn.fault == "tempo"
    assert len(prices) == 12
    half = len(prices[1]) // 2
    margin = round(6.0 / 0.75)
    assert prices[1][half + margin :].mean() > prices[1][: half - margin].mean() + 0.3
    assert prices[2].max() == pytest.approx(2.0 * prices[1].max())


@pytest.mark.parametrize(("duration", "draws"), [(60.0, 12), (120.0, 6), (300.0, 3)])
def test_of_long_pieces_fewer_are_drawn(duration: float, draws: int, monkeypatch: pytest.MonkeyPatch) -> None:
    source, measured = _song(4)
    drawn: list[Any] = []

    def made(*asked: Any) -> Any:
        drawn.append(asked)
        return generator.Made(_ending_with(8, 0.3), np.zeros((1, round(duration * RATE)), np.float32), [])

    monkeypatch.setattr(generator._Work, "_made", made)
    monkeypatch.setattr(generator, "_heard", lambda *asked: replace(measured, tempo=60.0))
    assert _run(source, measured, tempo=120.0, duration=duration)[0].fault == "tempo"
    assert len(drawn) == draws


def test_tempo_and_key_are_listened_for_in_what_will_be_delivered(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[np.ndarray] = []

    def listening(audio: np.ndarray, loudness: float) -> Features:
        heard.append(audio)
        return features.measure(audio, loudness)

    monkeypatch.setattr(generator, "measure", listening)
    source, measured = _in_key()
    _run(source, replace(measured, loudness=-12.0), key="D minor", duration=12.0)
    assert [integrated_loudness(audio, features.SAMPLE_RATE) for audio in heard] == [
        pytest.approx(-12.0, abs=1.0)
    ] * len(heard)
    assert heard


def test_where_a_key_is_asked_for_nothing_is_transposed_out_of_it() -> None:
    made = _run(*_in_key(), key="D# minor", duration=30.0, temperature=2.0)[0]
    assert {run["semitones"] for run in made.details["runs"]} == {1}


def test_the_same_seed_makes_the_same_bytes_at_another_tempo_in_another_key() -> None:
    one, other = (
        _run(*_in_key(), duration=8.0, tempo=100.0, key="D# minor")[0].audio.tobytes() for _ in range(2)
    )
    assert one == other


def test_a_drifting_source_has_one_tempo_where_one_is_asked_for() -> None:
    """From 110 to 130 BPM: each run is brought to the same pulse."""
    source, measured = _song(24)
    beats = [0.0]
    parts = []
    for index in range(96):
        factor = 1.09 - 0.17 * index / 96
        beat = source[:, round(index * BEAT * RATE) : round((index + 1) * BEAT * RATE)]
        parts.append(stretched(beat, factor, 0.0, RATE))
        beats.append(beats[-1] + parts[-1].shape[1] / RATE)
    drifting = replace(measured, beats=beats[:-1], bars=beats[:-1:4], tempo=120.0, duration=beats[-1])
    made = _run(np.concatenate(parts, axis=1), drifting, tempo=110.0, ending="cut", duration=20.0)[0]
    starts = np.array([run["start"] for run in made.details["runs"]])
    assert len(starts) > 2
    assert starts * 110.0 / 60.0 == pytest.approx(np.round(starts * 110.0 / 60.0), abs=0.02)


def test_a_loop_at_a_tempo_lasts_as_long_as_its_beats() -> None:
    made = _run(*_song(), loop=True, bars=4, tempo=100.0)[0]
    assert made.audio.shape[1] / RATE == pytest.approx(16 * 0.6, abs=0.02)


@pytest.mark.parametrize(
    ("code", "asked", "known"),
    [
        ("tempo_out_of_reach", {"tempo": 151.0}, {}),
        ("no_tempo", {"tempo": 120.0}, {"tempo": 0.0, "beats": [], "meter": None, "bars": None}),
        ("key_out_of_reach", {"key": "C minor"}, {}),
        ("no_key", {"key": "C major"}, {"key": None, "mode": None}),
    ],
)
def test_what_is_out_of_reach_is_refused_with_its_code(code: str, asked: Any, known: Any) -> None:
    source, measured = _song(4)
    with pytest.raises(GenerationError) as refused:
        _run(source, replace(measured, **known), **asked)
    assert refused.value.code == code


# -- beside the source, and inside it -----------------------------------------------------------------------


def _same_but_for_loudness(made: np.ndarray, source: np.ndarray) -> None:
    ratio = float(np.vdot(made, source) / np.vdot(source, source))
    np.testing.assert_allclose(made, ratio * source, rtol=0.0, atol=2e-3)


def test_extending_goes_on_from_the_last_bar_line_before_the_source_dies_away() -> None:
    source, measured = _song(16)
    tail = (
        np.exp(-np.arange(round(3.3 * RATE)) / (0.3 * RATE)).astype(np.float32)
        * source[:, : round(3.3 * RATE)]
    )
    source = np.concatenate([source, 0.1 * tail], axis=1)
    made = _run(source, measured, mode="extend", duration=9.7)[0]
    assert made.details["seam"] == pytest.approx(32.0, abs=0.01)
    assert made.new is not None
    assert (made.new[0], made.audio.shape[1]) == (round(made.details["seam"] * RATE), made.new[1])
    assert made.new[1] - made.new[0] == round(9.7 * RATE)
    before = made.new[0] - round(0.15 * RATE)
    level = float(np.abs(source).max())
    np.testing.assert_allclose(
        made.audio[:, :before] / np.abs(made.audio).max(), source[:, :before] / level, rtol=0.0, atol=0.2
    )
    _same_but_for_loudness(made.audio[:, :before], source[:, :before])
    assert made.details["runs"][0] == {
        "start": 0.0, "source_start": 0.0, "source_end": made.details["seam"], "semitones": 0, "stretch": 1.0,
    }  # fmt: skip
    assert all(run["source_start"] != made.details["seam"] for run in made.details["runs"])
    assert max(join["step"] for join in made.details["joins"]) <= made.details["usual_step"]


@pytest.mark.parametrize(("per_bar", "found", "seam"), [(4, 60, 30.0), (4, 56, 28.0), (1, 61, 30.5)])
def test_extending_goes_on_from_a_line_that_was_found_or_where_the_last_of_them_ends(
    per_bar: int, found: int, seam: float
) -> None:
    source, measured = _song(16)
    beats = measured.beats[:found]
    known = _measured(measured.duration, beats, per_bar=per_bar)
    known = replace(known, meter=None, bars=None) if per_bar == 1 else known
    made = _run(source, known, mode="extend", duration=4.0)[0]
    assert made.details["seam"] == pytest.approx(seam, abs=0.02)


@pytest.mark.parametrize("duration", [1.0, 7.3, 30.0])
def test_what_is_put_in_front_leads_to_the_first_bar_line(duration: float) -> None:
    source, measured = _song(16)
    made = _run(source, measured, mode="extend", before=True, duration=duration)[0]
    new = round(duration * RATE)
    assert made.new == (0, new)
    assert made.audio.shape[1] == new + source.shape[1]
    after = round(0.15 * RATE)
    _same_but_for_loudness(made.audio[:, new + after :], source[:, after:])
    starts = [run["start"] for run in made.details["runs"]]
    assert starts[0] == 0.0
    assert starts[-1] == pytest.approx(duration, abs=1e-3)
    assert starts == sorted(starts)
    assert max(join["step"] for join in made.details["joins"]) <= made.details["usual_step"]


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("offset", [0.02, -0.3])
def test_a_track_that_is_extended_keeps_its_offset(before: bool, offset: float) -> None:
    """What is silent in a track whose mean is not 0 stays so: else it would begin or end with a step."""
    source, measured = _song(16)
    source = source + np.float32(offset)
    source[:, : RATE // 2] = source[:, -RATE // 2 :] = 0.0
    made = _run(source, measured, mode="extend", before=before, duration=4.0)[0]
    assert made.new is not None
    apart = round(0.15 * RATE)
    own = made.audio[:, made.new[1] + apart :] if before else made.audio[:, : made.new[0] - apart]
    as_it_was = source[:, -own.shape[1] :] if before else source[:, : own.shape[1]]
    squares = np.vdot(as_it_was.astype(float), as_it_was.astype(float))
    ratio = float(np.vdot(own.astype(float), as_it_was.astype(float)) / squares)
    np.testing.assert_allclose(own, ratio * as_it_was, rtol=0.0, atol=1e-6)


@pytest.mark.parametrize(
    "region", [Section(8.2, 17.9), Section(0.0, 6.0), Section(27.0, 32.0), Section(9.0, 11.3)]
)
@pytest.mark.parametrize("rate", [32000, 44100])
def test_outside_the_region_every_sample_is_the_source(region: Section, rate: int) -> None:
    source, measured = _song(16)
    source = resample(source, RATE, rate)
    made = _run(source, measured, mode="repaint", region=region, sample_rate=rate)[0]
    assert made.finished
    assert made.audio.shape == source.shape
    changed = np.flatnonzero((made.audio != source).any(axis=0)) / rate
    assert region.start <= changed[0]
    assert changed[-1] <= region.end
    inside = round(region.start * rate), round(region.end * rate)
    assert np.abs(made.audio - source)[:, slice(*inside)].max() > 0.05
    seams = made.details["region_start"], made.details["region_end"]
    assert region.start <= seams[0] < seams[1] <= region.end
    for seam in seams:
        assert min(abs(seam - beat) for beat in measured.beats) < 0.02
    for join in made.details["joins"]:
        assert join["step"] <= made.details["usual_step"]
        assert region.start <= join["time"] - join["length"] / 2
        assert join["time"] + join["length"] / 2 <= region.end
    # What is new is no copy of what was there, and goes on in the bar.
    runs = made.details["runs"][1:-1]
    for run in runs:
        assert (run["source_start"] - run["start"]) % 2.0 == pytest.approx(0.0, abs=0.02) or (
            run["source_start"] - run["start"]
        ) % 2.0 == pytest.approx(2.0, abs=0.02)
    assert any(abs(run["source_start"] - run["start"]) > 0.1 for run in runs)


def test_a_region_without_beats_is_refused_with_its_code() -> None:
    with pytest.raises(GenerationError) as refused:
        _run(*_song(16), mode="repaint", region=Section(8.1, 9.4))
    assert refused.value.code == "region_too_short"


def test_a_silent_source_stays_what_it_is_around_what_is_new() -> None:
    source, measured = np.zeros((2, 6 * RATE), np.float32), _measured(6.0, [], None)
    extended = _run(source, measured, mode="extend", duration=2.0)[0].audio
    assert extended.shape[1] == 8 * RATE
    repainted = _run(source, measured, mode="repaint", region=Section(1.0, 3.0))[0].audio
    assert repainted.shape == source.shape


def _part(begin: float, end: float) -> tuple[np.ndarray, Features]:
    """Part of the song, in beats, as a section of it is worked on."""
    source, measured = _song()
    inside = [beat - begin * BEAT for beat in measured.beats if begin <= beat / BEAT < end]
    bars = [bar - begin * BEAT for bar in measured.bars or [] if begin <= bar / BEAT < end]
    part = source[:, round(begin * BEAT * RATE) : round(end * BEAT * RATE)]
    return part, replace(measured, duration=part.shape[1] / RATE, beats=inside, bars=bars)


@pytest.mark.parametrize("off", [0.1, 0.2, 0.25, 0.6, 0.9])
def test_a_source_that_begins_and_ends_between_beats_is_cut_into_whole_beats(off: float) -> None:
    part, measured = _part(9 + off, 40 + off)
    found = units.cut(part, RATE, measured.beats, measured.bars or (), _nothing)
    lengths = np.diff(found.bounds) / RATE
    assert found.pulsed
    assert len(found) >= 29
    np.testing.assert_allclose(lengths, BEAT, atol=0.06 * BEAT)


@pytest.mark.parametrize("early", [0.0, 0.04])
def test_a_source_that_begins_on_a_beat_is_cut_from_its_first_sample_on(early: float) -> None:
    source, measured = _song()
    beats = [beat - early * BEAT for beat in measured.beats[1:]]
    found = units.cut(source, RATE, beats, (), _nothing)
    assert (len(found), found.bounds[0]) == (64, 0)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_loop_from_a_section_between_beats_has_whole_bars(seed: int) -> None:
    part, measured = _part(9.25, 22.25)
    section = Section(9.25 * BEAT, 22.25 * BEAT)
    made = _run(part, measured, section=section, loop=True, bars=4, seed=seed)[0]
    assert made.audio.shape[1] == pytest.approx(16 * BEAT * RATE, rel=0.005)


# -- loops ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("per_bar", [3, 4])
@pytest.mark.parametrize("bars", [1, 4, 13])
def test_a_loop_is_whole_bars_and_its_end_meets_its_beginning(bars: int, per_bar: int) -> None:
    source, measured = _song(24, per_bar)
    made = _run(source, measured, loop=True, bars=bars)[0]
    bar = per_bar * BEAT
    assert made.details["ending"] == "loop"
    assert made.audio.shape[1] / RATE == pytest.approx(bars * bar, abs=0.02)
    assert made.audio.shape[1] == made.details["loop_samples"]
    # Played round and round, the seam is no more of a step than the source has, and no more of an event
    # than its own beats.
    step = float(np.abs(made.audio[:, 0] - made.audio[:, -1]).max())
    assert step <= np.percentile(np.abs(np.diff(source, axis=1)), 99.9)
    tiled = np.tile(made.audio, (1, 3 if bars > 1 else 6))
    small = resample(tiled, RATE, features.SAMPLE_RATE)
    flux = rhythm.superflux(rhythm.mel_bands(small, features.SAMPLE_RATE))
    frames = np.arange(1, round(tiled.shape[1] / RATE / BEAT)) * BEAT * features.SAMPLE_RATE / rhythm.HOP
    beats = np.array([flux[int(frame) - 3 : int(frame) + 6].max() for frame in frames])
    seam = round(made.audio.shape[1] / RATE * features.SAMPLE_RATE / rhythm.HOP)
    assert flux[seam - 3 : seam + 6].max() <= np.percentile(beats, 95) + 0.02


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("bars", [2, 8])
def test_a_loop_is_as_loud_at_its_end_as_at_its_beginning(bars: int, seed: int) -> None:
    """Of a source whose bars are some loud and some soft."""
    source, measured = _song(24)
    gains = 10.0 ** (np.random.default_rng(seed).uniform(-5.0, 0.0, 24) / 20.0)
    uneven = (source * np.repeat(gains, source.shape[1] // 24)).astype(np.float32)
    made = _run(uneven, measured, loop=True, bars=bars, seed=seed)[0].audio
    bar = made.shape[1] // bars
    first, last = (integrated_loudness(made[:, k * bar : (k + 1) * bar], RATE) for k in (0, bars - 1))
    assert abs(first - last) <= 1.0


def test_a_loop_that_no_draw_makes_even_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = iter([3.0, 2.0, *[4.0] * 10, 0.5])
    monkeypatch.setattr(generator, "smoothest_bar", lambda *loop: (0, next(steps)))
    made = _run(*_song(), loop=True, bars=2)[0]
    assert (made.fault, made.audio.shape[1], next(steps)) == ("uneven_loop", 0, 0.5)


def test_a_loop_is_drawn_again_until_it_is_even(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = iter([3.0, 0.9, 0.1])
    monkeypatch.setattr(generator, "smoothest_bar", lambda *loop: (0, next(steps)))
    made = _run(*_song(), loop=True, bars=2)[0]
    assert (made.fault, next(steps)) == (None, 0.1)


def test_a_loop_begins_near_its_bar_where_there_is_least_of_a_step() -> None:
    audio = np.random.default_rng(4).uniform(-1.0, 1.0, (2, 3 * RATE)).astype(np.float32)
    audio[:, RATE - 60 : RATE - 40] = 0.25
    turned, begin = synthesis.turned(audio, RATE, RATE)
    assert RATE - 60 < begin < RATE - 40
    assert np.array_equal(turned, np.roll(audio, -begin, axis=1))
    again, first = synthesis.turned(audio, RATE, 0)
    assert np.array_equal(again, np.roll(audio, -first, axis=1))


@pytest.mark.parametrize("bars", [3, 5, 8])
def test_a_loop_begins_where_its_seam_is_heard_least(bars: int) -> None:
    """Between two bars that are as loud, not where the music grows louder or softer."""
    loud = [1.0, *[0.25] * (bars - 2), 1.0]
    bar, _ = _song(bars)
    size = bar.shape[1] // bars
    made = bar * np.repeat(np.array(loud, np.float32), size)
    for turn in range(bars):
        turned = np.roll(made, turn * size, axis=1)
        levels = np.roll(loud, turn)
        first, step = synthesis.smoothest_bar(turned, RATE, size * np.arange(bars), 4)
        assert levels[first] == levels[first - 1]
        assert step < 0.5


def test_a_loop_does_not_begin_with_a_strike() -> None:
    source, _ = _song(4)
    size = source.shape[1] // 4
    source = source.copy()
    source[:, : round(0.05 * RATE)] += (
        np.random.default_rng(0).uniform(-0.9, 0.9, round(0.05 * RATE)).astype("f4")
    )
    for turn in range(4):
        turned = np.roll(source, turn * size, axis=1)
        first, _ = synthesis.smoothest_bar(turned, RATE, size * np.arange(4), 4)
        assert (first - turn) % 4 != 0


def test_a_loop_goes_round_as_the_music_between_its_bars_goes_on() -> None:
    """A source of one bar over and over has a loop that is that bar."""
    bar, _ = _song(1)
    source = np.tile(bar, (1, 12))
    measured = _measured(24.0, [BEAT * beat for beat in range(48)])
    made = _run(source, measured, loop=True, bars=2)[0].audio
    lag = int(np.argmax(np.correlate(np.tile(made[0], 2), bar[0], mode="valid")[: len(bar[0])]))
    turned = np.roll(made, -lag, axis=1)[:, : bar.shape[1]]
    off = float(np.sqrt(((turned / np.abs(turned).max() - bar / np.abs(bar).max()) ** 2).mean()))
    assert off < 0.1 * float(np.sqrt((bar**2).mean()) / np.abs(bar).max())


def test_a_loop_of_a_source_without_bars_is_refused_with_its_code() -> None:
    source, measured = _song()
    with pytest.raises(GenerationError) as refused:
        _run(source, replace(measured, meter=None, bars=None), loop=True, bars=4)
    assert refused.value.code == "no_bars"


def test_a_loop_of_over_five_minutes_is_refused_with_its_code() -> None:
    source, measured = _song(16)
    slow = replace(measured, meter="4/4", bars=measured.beats[::16])  # bars of 8 s
    with pytest.raises(GenerationError) as refused:
        _run(source, slow, loop=True, bars=40)
    assert refused.value.code == "loop_too_long"


def test_draw_keeps_to_top_k_and_top_p() -> None:
    score = np.log(np.array([0.1, 0.5, 0.25, 0.15]))

    def drawn(top_k: int, top_p: float) -> set[int]:
        rng = np.random.default_rng(0)
        return {walk._draw(score, top_k, top_p, rng) for _ in range(300)}

    assert drawn(0, 0.0) == {0, 1, 2, 3}
    assert drawn(1, 0.0) == {1}
    assert drawn(3, 0.0) == {1, 2, 3}
    assert drawn(0, 0.6) == {1, 2}
    assert drawn(1, 0.9) == {1}


def test_top_k_changes_the_music() -> None:
    assert _one(top_k=1, temperature=2.0).details["runs"] != _one(top_k=0, temperature=2.0).details["runs"]


def test_long_silences_are_not_played() -> None:
    source, measured = _song()
    source = source.copy()
    source[:, 10 * RATE : 20 * RATE] = 0.0
    made = _run(source, measured, duration=20.0)[0]
    for run in made.details["runs"]:
        assert run["source_end"] <= 10.6 or run["source_start"] >= 19.4


def test_progress_rises_and_cancels() -> None:
    source, measured = _song()
    seen: list[float] = []
    request = Request(source, measured, Parameters(seed=1, duration=20.0, candidates=2))
    list(Mosaic().candidates(request, seen.append))
    assert seen == sorted(seen)
    assert seen[0] == 0.0
    assert seen[-1] == pytest.approx(1.0)
    assert len(seen) > 20

    class CancelledError(Exception):
        pass

    def cancel(done: float) -> None:
        if done > 0.5:
            raise CancelledError

    with pytest.raises(CancelledError):
        list(Mosaic().candidates(request, cancel))


def test_progress_comes_at_every_tenth_of_the_work() -> None:
    """A lease is renewed and a cancellation is heard where progress is told."""
    source, measured = _song(90)  # three minutes
    told: list[float] = []
    request = Request(source, measured, Parameters(seed=1, duration=60.0))
    list(Mosaic().candidates(request, told.append))
    assert max(np.diff([0.0, *told, 1.0])) < 0.1


@pytest.mark.parametrize("semitones", [-2, 1])
def test_transposition_moves_pitch_and_keeps_time(semitones: int) -> None:
    seconds = np.arange(8 * RATE) / RATE
    tone = (0.3 * np.sin(2 * np.pi * 440.0 * seconds)).astype(np.float32)[None]
    cut = units.cut(tone, RATE, [], (), _nothing)
    walked = path.Path((path.Run(2, len(cut) - 2, 0.0, 1.0, semitones, 0.0),), "fade", 6.0, 0.0, 0.0, 0.0)
    audio, _ = synthesis.render(tone, cut, walked, 4 * RATE, 0.1, _nothing)
    heard = np.argmax(np.abs(np.fft.rfft(audio[0, RATE : 2 * RATE])))
    assert heard == pytest.approx(440.0 * 2.0 ** (semitones / 12), abs=3)


@pytest.mark.parametrize("ratio", [0.0, 0.4, 1.0])
def test_crossfades_keep_power(ratio: float) -> None:
    down, up = synthesis._gains(400, ratio)
    assert down**2 + up**2 + 2.0 * ratio * down * up == pytest.approx(1.0, abs=1e-4)
    assert down[0] > 0.99
    assert up[-1] > 0.99


def test_a_crossfade_finds_the_narrow_places_between_clicks() -> None:
    seconds = np.arange(round(2 * synthesis.REACH * RATE)) / RATE
    tone = (0.05 * np.sin(2 * np.pi * 200.0 * seconds)).astype(np.float32)[None]
    clicks = tone.copy()
    clicks[:, :: round(0.009 * RATE)] += 0.5
    widths, spread = np.array([0.012, 0.16, 0.08]), np.arange(-0.06, 0.0301, 0.005)
    reach = round(synthesis.REACH * RATE)
    lag, middle, length, ratio = synthesis._meet(clicks, clicks, reach, RATE, 0.1, widths, spread, 0)
    begin = middle - length // 2
    around = clicks[:, begin - 16 : begin + length + 16]
    assert (lag, ratio) == (0, pytest.approx(1.0))
    assert np.abs(np.diff(around, axis=1)).max() < 0.1


def test_usual_step_is_the_percentile() -> None:
    source = _song()[0]
    exact = float(np.percentile(np.abs(np.diff(source, axis=1)), 99.9))
    assert synthesis.usual_step(source) == pytest.approx(exact, rel=0.1)


def test_measured_beats_serve_as_they_come() -> None:
    source, _ = _song()
    mono = source.mean(axis=0)
    resampled = np.interp(
        np.arange(round(len(mono) * features.SAMPLE_RATE / RATE)) * RATE / features.SAMPLE_RATE,
        np.arange(len(mono)),
        mono,
    ).astype(np.float32)
    made = _run(source, features.measure(resampled, -18.0), duration=10.0)[0]
    assert made.details["unit_kind"] == "beat"
    assert made.audio.shape == (2, 10 * RATE)


def test_nothing_that_compiles_is_imported() -> None:
    code = "import sys, music.mosaic.generator; print([m for m in ('librosa', 'numba') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd="layers", capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
