"""Stretching and transposing: what becomes of tones and of clicks."""

import re

import numpy as np
import pytest

from music import reach
from music.dsp.stretch import stretched
from music.interfaces import GenerationError

RATE = 32000


def _tone(hertz: float, seconds: float = 2.0) -> np.ndarray:
    wave = 0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)
    return np.stack([wave, 0.5 * wave]).astype(np.float32)


@pytest.mark.parametrize("factor", [0.8, 0.93, 1.0, 1.25])
@pytest.mark.parametrize("semitones", [-6, 0, 1, 5])
def test_duration_and_pitch_are_those_that_are_asked_for(factor: float, semitones: int) -> None:
    made = stretched(_tone(440.0), factor, semitones, RATE)
    assert made.shape == (2, round(2 * RATE * factor))
    assert made.dtype == np.float32
    middle = made[:, RATE // 2 : RATE + RATE // 4]
    spectrum = np.abs(np.fft.rfft(middle[0] * np.hanning(middle.shape[1]), 8 * RATE))
    assert np.argmax(spectrum) / 8 == pytest.approx(440.0 * 2 ** (semitones / 12), rel=0.006)  # 10 cents
    assert np.abs(middle[0]).max() == pytest.approx(0.3, rel=0.15)
    assert middle[1] == pytest.approx(0.5 * middle[0], abs=1e-3)


@pytest.mark.parametrize(("factor", "semitones"), [(0.8, 0), (1.25, 0), (1.0, 6), (1.1, -3)])
def test_attacks_keep_their_places(factor: float, semitones: int) -> None:
    beats = np.arange(0.5, 3.6, 0.5)
    sound = np.zeros((1, 4 * RATE), dtype=np.float32)
    ring = np.exp(-np.arange(RATE // 4) / (0.03 * RATE)) * _tone(330.0, 0.25)[0]
    for beat in beats:
        sound[0, round(beat * RATE) :][: len(ring)] += ring
    made = np.abs(stretched(sound, factor, semitones, RATE)[0])
    for beat in beats * factor:
        begin = round((beat - 0.1) * RATE)
        around = made[begin : begin + round(0.2 * RATE)]
        attack = begin + int(np.argmax(around > 0.5 * around.max()))
        assert attack / RATE == pytest.approx(beat, abs=0.004)


def test_the_same_sound_gives_the_same_samples() -> None:
    noise = np.random.default_rng(0).standard_normal((2, RATE)).astype(np.float32)
    assert stretched(noise, 1.1, 2, RATE).tobytes() == stretched(noise, 1.1, 2, RATE).tobytes()


@pytest.mark.parametrize("samples", [1, 100, 5000])
def test_what_is_short_is_stretched_too(samples: int) -> None:
    made = stretched(_tone(440.0)[:, :samples], 1.2, 0, RATE)
    assert made.shape == (2, round(samples * 1.2))
    assert np.isfinite(made).all()


def test_every_key_of_the_same_mode_is_within_six_semitones() -> None:
    for mode in ("major", "minor"):
        for tonic in reach.TONICS:
            moved = [reach.semitones(tonic, mode, f"{other} {mode}") for other in reach.TONICS]
            assert sorted(moved) == list(range(-6, 6))
    assert reach.semitones("A", "minor", "C minor") == 3


def test_a_key_of_the_other_mode_is_refused_with_those_in_reach() -> None:
    with pytest.raises(GenerationError, match=r"A minor; in reach are C minor, .* and B minor") as refused:
        reach.semitones("A", "minor", "A major")
    assert refused.value.code == "key_out_of_reach"


def test_tempos_from_four_fifths_to_five_quarters_are_in_reach() -> None:
    assert [reach.speed(100.0, wanted) for wanted in (80.0, 100.0, 125.0)] == [0.8, 1.0, 1.25]
    for wanted in (79.9, 125.1, 200.0):
        with pytest.raises(GenerationError, match=r"80\.00 to 125\.00"):
            reach.speed(100.0, wanted)


@pytest.mark.parametrize("tempo", [115.99, 79.85, 133.33, 120.0, 59.07])
@pytest.mark.parametrize("wanted", [1.0, 1000.0])
def test_the_tempos_that_a_refusal_names_are_in_reach(tempo: float, wanted: float) -> None:
    with pytest.raises(GenerationError) as refused:
        reach.speed(tempo, wanted)
    named = re.findall(r"\d+\.\d\d(?= to| are)", refused.value.detail)
    assert len(named) == 2
    for one in map(float, named):
        assert reach.SLOWEST <= reach.speed(tempo, one) <= reach.FASTEST
