"""Chords, voices and melodies keep the rules of their craft."""

import itertools
import random

import pytest

from weights.compose import drums
from weights.compose.arrangement import Arrangement
from weights.compose.melody import melody
from weights.compose.rhythm import strokes
from weights.compose.theory import Keyboard, around, chord, nearest, progression
from weights.compose.voicing import four_voices, voice

C, E, F, G, B = 0, 4, 5, 7, 11


@pytest.mark.parametrize(
    ("symbol", "tones", "bass"),
    [
        ("I", (0, 4, 7), 0),
        ("vi", (9, 0, 4), 9),
        ("V7/1", (7, 11, 2, 5), 11),
        ("bVII", (10, 2, 5), 10),
        ("iih7", (2, 5, 8, 0), 2),
        ("#ivo7", (6, 9, 0, 3), 6),
        ("IVmaj9", (5, 9, 0, 4, 7), 5),
        ("i5", (0, 7), 0),
    ],
)
def test_a_roman_numeral_is_a_chord(symbol: str, tones: tuple[int, ...], bass: int) -> None:
    read = chord(symbol, C)
    assert read.tones == tones
    assert read.bass == bass
    assert chord(symbol, G).tones == tuple((tone + 7) % 12 for tone in tones)


@pytest.mark.parametrize("symbol", ["", "H7", "Iadd2", "viii"])
def test_what_is_no_chord_is_refused_by_name(symbol: str) -> None:
    with pytest.raises(ValueError, match=f"^{symbol} is not a chord"):
        chord(symbol, C)


def test_a_scale_bends_to_a_chord() -> None:
    major = [0, 2, 4, 5, 7, 9, 11]
    assert around(chord("ii7", C), major) == major
    for symbol in ("iv", "V7b9", "bII", "III7"):
        bent = around(chord(symbol, C), major)
        assert set(chord(symbol, C).tones[:4]) <= set(bent)
        assert len(bent) == 7


def test_a_keyboard_is_walked_by_steps() -> None:
    white = Keyboard([0, 2, 4, 5, 7, 9, 11])
    assert [white.step(60, steps) for steps in (-2, -1, 0, 1, 7)] == [57, 59, 60, 62, 72]
    assert white.step(61) in (60, 62)
    assert nearest((C, G), 63) == 60
    assert nearest((C, G), 66) == 67


@pytest.mark.parametrize("symbols", ["I | IV | V7 | I", "ii9 | V13 | Imaj9 | VI7", "i5 | bVI5 | bVII5 | i5"])
def test_chords_are_voiced_in_range_and_near_to_each_other(symbols: str) -> None:
    previous: list[int] = []
    for bar in progression(symbols, E):
        harmony = bar[0][0]
        pitches = voice(harmony, previous, 50, 76)
        assert pitches == sorted(set(pitches))
        assert 50 <= pitches[0] <= pitches[-1] <= 76
        assert {pitch % 12 for pitch in pitches} <= set(harmony.tones)
        if previous:
            assert abs(sum(pitches) - sum(previous)) / 4 < 5
        previous = pitches


def test_four_voices_move_little_and_not_in_parallel_fifths() -> None:
    bars = progression("I V/1 | vi iii | IV I/1 | ii7 V | I V/1 | vi ii7/1 | I/2 V7 | I", F)
    chords = [harmony for bar in bars for harmony, _ in bar]
    parallels, moves = 0, []
    for seed in range(10):
        settings = four_voices(chords, random.Random(seed))
        for harmony, setting in zip(chords, settings, strict=True):
            assert list(setting) == sorted(setting)
            assert setting[0] % 12 == harmony.bass
            assert {pitch % 12 for pitch in setting} <= set(harmony.tones)
        for before, after in itertools.pairwise(settings):
            moves += [abs(to - at) for at, to in zip(before[1:], after[1:], strict=True)]
            for low, high in itertools.combinations(range(4), 2):
                interval = (after[high] - after[low]) % 12
                same = (before[high] - before[low]) % 12 == interval in (0, 7)
                parallels += same and after[high] != before[high]
    assert sum(moves) / len(moves) < 3.0
    assert parallels / (10 * (len(chords) - 1)) < 0.1


@pytest.mark.parametrize("meter", ["4/4", "3/4", "6/8"])
@pytest.mark.parametrize("kind", ["slow", "mid", "fast", "run"])
def test_a_melody_stays_in_its_range_and_ends_on_the_tonic(meter: str, kind: str) -> None:
    for seed in range(5):
        a = Arrangement(random.Random(seed), "test", 20.0, 100.0, meter, "major", jitter=0.0)
        bars = progression("I | vi | IV | V7 | I | ii | V7 | I", a.tonic)
        notes = melody(a, bars, kind, 60, 81, 0.25)
        assert all(60 <= note.pitch <= 81 for note in notes)
        assert notes[-1].pitch % 12 == a.tonic
        assert notes[-1].at + notes[-1].length <= 8 * a.bar
        for note, following in itertools.pairwise(notes):
            assert note.at + note.length <= following.at + 1e-9
            assert abs(following.pitch - note.pitch) <= 12


def test_step_patterns_say_when_and_how_long() -> None:
    assert list(strokes("X--x.o..", 0, 8)) == [(0, "X", 3), (3, "x", 1), (5, "o", 1)]
    assert list(strokes("R---8---", 1, 4)) == [(0, "8", 4)]
    groove = drums.pick(random.Random(0), "kick X... snare ..X.")
    assert groove == {"kick": "X...", "snare": "..X."}
