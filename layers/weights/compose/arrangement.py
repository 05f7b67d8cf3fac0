"""What the parts of a piece are written into: notes and volumes of channels, at places in quarter notes."""

import random
from dataclasses import dataclass
from typing import NamedTuple

from weights.compose.instruments import DRUMS, INSTRUMENTS
from weights.compose.piece import DRUM_CHANNEL
from weights.compose.rhythm import STEPS
from weights.compose.theory import SCALES

REFERENCE_LEVEL = -21.0  # dBFS: instruments that are louder or softer in the soundfont are brought near to it


class Event(NamedTuple):
    """A written note: start and length in quarter notes, channel, pitch, velocity (not rounded)."""

    at: float
    length: float
    channel: int
    pitch: int
    velocity: float


class Arrangement:
    """A piece while it is written.

    Parameters
    ----------
    rng : random.Random
        Where all chance comes from.
    style : str
        Its name, in words.
    seconds : float
        Length.
    tempo : float
        Beats per minute; a beat of 6/8 is a dotted quarter.
    meter : str
        ``4/4``, ``3/4`` or ``6/8``.
    mode : str
        ``major`` or ``minor``.
    scale : str, optional
        One of `SCALES`; the mode's own if not given.
    swing : float
        Share of its pair that the first of two swung notes takes: 0.5 is straight, 0.67 is a triplet.
    swing_unit : float
        What is swung: 0.5 for eighths, 0.25 for sixteenths.
    jitter : float
        Standard deviation in seconds of how exactly it is played; 0 for machines.

    Attributes
    ----------
    tonic : int
        Pitch class that chords and scale are built on.
    key : int
        Pitch class of the key that it is said to be in: the tonic, but for phrygian music.
    scale : list of int
        Pitch classes from the tonic up.
    bar, beat : float
        Their lengths in quarter notes.
    steps : int
        Sixteenths in a bar.
    intensity : float
        Factor of all velocities that are written from now on.
    skip : float
        Quarter notes to cut from the beginning.
    """

    def __init__(
        self,
        rng: random.Random,
        style: str,
        seconds: float,
        tempo: float,
        meter: str,
        mode: str,
        *,
        scale: str | None = None,
        swing: float = 0.5,
        swing_unit: float = 0.5,
        jitter: float,
    ) -> None:
        self.rng = rng
        self.style = style
        self.seconds = seconds
        self.tempo = tempo
        self.meter = meter
        self.mode = mode
        self.swing = swing
        self.swing_unit = swing_unit
        self.jitter = jitter
        self.tonic = self.key = rng.randrange(12)
        self.scale = [(self.tonic + step) % 12 for step in SCALES[scale or mode]]
        self.bar = 4.0 if meter == "4/4" else 3.0
        self.beat = 1.5 if meter == "6/8" else 1.0
        self.steps = int(self.bar * STEPS)
        self.quarter_seconds = 60.0 / tempo / self.beat
        self.bar_seconds = self.bar * self.quarter_seconds
        self.intensity = 1.0
        self.skip = 0.0
        self.events: list[Event] = []
        self.controls: list[tuple[float, int, float]] = []  # quarter notes, channel, factor of its volume
        self.names: dict[int, str] = {}
        self.words: dict[int, str] = {}
        self.programs: dict[int, tuple[int, int]] = {}
        self.levels: dict[int, float] = {}

    def instrument(self, name: str, level: float) -> int:
        """A new channel for one of `INSTRUMENTS`, some dB louder than the others; returns its number."""
        chosen = INSTRUMENTS[name]
        channel = len(self.names) + (len(self.names) >= DRUM_CHANNEL)
        self.names[channel] = name
        self.words[channel] = chosen.word
        self.programs[channel] = (chosen.bank, chosen.program)
        self.levels[channel] = level + 0.85 * max(-9.0, min(9.0, REFERENCE_LEVEL - chosen.level))
        return channel

    def drums(self, kit: int, level: float, word: str = "drum kit") -> None:
        """Have drums, of one of General MIDI's kits."""
        self.words[DRUM_CHANNEL] = word
        self.programs[DRUM_CHANNEL] = (128, kit)
        self.levels[DRUM_CHANNEL] = level

    def range(self, channel: int) -> tuple[int, int]:
        """Lowest and highest pitch of a channel's instrument."""
        chosen = INSTRUMENTS[self.names[channel]]
        return chosen.low, chosen.high

    def note(self, channel: int, at: float, length: float, pitch: int, velocity: float) -> None:
        """Write a note."""
        self.events.append(Event(at, length, channel, pitch, velocity * self.intensity))

    def hit(self, at: float, drum: str, velocity: float) -> None:
        """Write a stroke on one of `DRUMS`."""
        self.note(DRUM_CHANNEL, at, 0.25, DRUMS[drum], velocity)

    def accent(self, at: float) -> float:
        """Factor of the velocity by the place in the bar: downbeats are strongest."""
        place = at % self.bar
        if place < 1e-6:
            return 1.08
        if self.meter == "4/4" and abs(place - 2.0) < 1e-6:
            return 1.03
        return 1.0 if abs(place / self.beat - round(place / self.beat)) < 1e-6 else 0.93


@dataclass(frozen=True)
class Score:
    """A finished arrangement, and what it is in words, commas between them; moods are those that may fit."""

    arrangement: Arrangement
    tags: str
    moods: str
    energy: str
