"""Scales and chords. Pitch classes are 0 for C to 11 for B; pitches are MIDI's, 60 for middle C."""

import bisect
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "lydian": (0, 2, 4, 6, 7, 9, 11),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
}
PENTATONIC = {"major": (0, 2, 4, 7, 9), "minor": (0, 3, 5, 7, 10)}

_NUMERALS = {"I": 0, "II": 2, "III": 4, "IV": 5, "V": 7, "VI": 9, "VII": 11}
_ACCIDENTALS = {"": 0, "b": -1, "#": 1}
# Semitones above the root, by what follows the numeral; an "m" stands for a numeral in lower case.
_QUALITIES = {
    "": (0, 4, 7),
    "m": (0, 3, 7),
    "5": (0, 7),
    "m5": (0, 7),
    "6": (0, 4, 7, 9),
    "m6": (0, 3, 7, 9),
    "69": (0, 4, 7, 9, 14),
    "7": (0, 4, 7, 10),
    "m7": (0, 3, 7, 10),
    "maj7": (0, 4, 7, 11),
    "7b9": (0, 4, 7, 10, 13),
    "9": (0, 4, 7, 10, 14),
    "m9": (0, 3, 7, 10, 14),
    "maj9": (0, 4, 7, 11, 14),
    "13": (0, 4, 10, 14, 21),
    "add9": (0, 4, 7, 14),
    "madd9": (0, 3, 7, 14),
    "sus2": (0, 2, 7),
    "sus4": (0, 5, 7),
    "7sus4": (0, 5, 7, 10),
    "mo": (0, 3, 6),
    "mo7": (0, 3, 6, 9),
    "mh7": (0, 3, 6, 10),
}
_SYMBOL = re.compile(r"([b#]?)(VII|VI|IV|V|III|II|I|vii|vi|iv|v|iii|ii|i)([^/]*)(?:/(\d))?")


@dataclass(frozen=True)
class Chord:
    """A chord: its root, its tones as semitones above the root and as pitch classes, and the lowest one."""

    root: int
    intervals: tuple[int, ...]
    tones: tuple[int, ...]
    bass: int

    @property
    def minor(self) -> bool:
        """Has it a minor third?"""
        return 3 in self.intervals

    @property
    def fifth(self) -> int:
        """Pitch class of the fifth, or of what stands in its place."""
        return self.tones[2] if len(self.tones) > 2 else self.tones[1]


# The chords of a bar, each with its share of the bar.
Bar = Sequence[tuple[Chord, float]]


def chord(symbol: str, tonic: int) -> Chord:
    """Read a chord in Roman numerals: ``bVII7``, ``iih7`` (half diminished), ``V/1`` (second tone lowest).

    Raises
    ------
    ValueError
        If it is not one.
    """
    parts = _SYMBOL.fullmatch(symbol)
    if parts is None:
        raise ValueError(f"{symbol} is not a chord")
    accidental, numeral, quality, inversion = parts.groups()
    intervals = _QUALITIES.get(("m" if numeral.islower() else "") + quality)
    if intervals is None:
        raise ValueError(f"{symbol} is not a chord: {quality} is not a quality")
    root = (tonic + _NUMERALS[numeral.upper()] + _ACCIDENTALS[accidental]) % 12
    tones = tuple((root + interval) % 12 for interval in intervals)
    return Chord(root, intervals, tones, tones[int(inversion or 0)])


def progression(text: str, tonic: int) -> list[Bar]:
    """Read the chords of some bars: ``I vi | IV V7`` are two bars of two chords."""
    bars = [bar.split() for bar in text.split("|")]
    return [[(chord(symbol, tonic), 1.0 / len(bar)) for symbol in bar] for bar in bars]


def chord_at(bar: Bar, place: float) -> Chord:
    """The chord at a place in a bar, 0 to 1."""
    end = 0.0
    for chord, share in bar:
        end += share
        if place < end - 1e-6:
            return chord
    return bar[-1][0]


def around(chord: Chord, scale: Sequence[int]) -> list[int]:
    """Bend a scale so that it holds a chord's tones: each missing tone takes the place of the nearest one."""
    bent = list(scale)
    for tone in chord.tones[:4]:
        if tone not in bent:
            away = [
                min((step - tone) % 12, (tone - step) % 12) + 0.5 * (step in chord.tones) for step in bent
            ]
            bent[away.index(min(away))] = tone
    return bent


@cache
def _keys(pitch_classes: frozenset[int]) -> tuple[int, ...]:
    return tuple(pitch for pitch in range(21, 109) if pitch % 12 in pitch_classes)


class Keyboard:
    """The pitches of some pitch classes over the whole keyboard, to walk on by steps."""

    def __init__(self, pitch_classes: Iterable[int]) -> None:
        self.pitches = _keys(frozenset(pitch_classes))

    def index(self, pitch: float) -> int:
        """Which of the pitches is nearest."""
        above = bisect.bisect_left(self.pitches, pitch)
        if above == len(self.pitches):
            return above - 1
        if above > 0 and pitch - self.pitches[above - 1] < self.pitches[above] - pitch:
            return above - 1
        return above

    def step(self, pitch: float, steps: int = 0) -> int:
        """The pitch that is some steps above (or below) the one nearest to a pitch."""
        return self.pitches[max(0, min(len(self.pitches) - 1, self.index(pitch) + steps))]


def nearest(pitch_classes: Sequence[int], pitch: int) -> int:
    """The pitch of some pitch classes that is nearest to a pitch; of two, the higher."""
    for distance in range(7):
        for candidate in (pitch + distance, pitch - distance):
            if candidate % 12 in pitch_classes:
                return candidate
    return pitch


def into(pitch: int, low: int, high: int) -> int:
    """Move a pitch by one octave at most, towards a range."""
    if pitch > high:
        return pitch - 12
    return pitch + 12 if pitch < low else pitch
