"""A section of a piece: some bars of chords, and perhaps a melody over them."""

from collections.abc import Iterator
from dataclasses import dataclass

from weights.compose.melody import Melody
from weights.compose.rhythm import STEPS
from weights.compose.theory import Bar, Chord, chord_at

INTRO = "intro"


@dataclass(frozen=True)
class Section:
    """What a part plays over.

    Attributes
    ----------
    label : str
        A letter of the form, or `INTRO`.
    start : float
        Quarter notes from the beginning.
    bars : list of Bar
    bar : float
        Length of a bar in quarter notes.
    melody : Melody or None
        In quarter notes from `start`.
    repeat : int
        How often its letter came before.
    """

    label: str
    start: float
    bars: list[Bar]
    bar: float
    melody: Melody | None = None
    repeat: int = 0

    @property
    def intro(self) -> bool:
        """Is it one?"""
        return self.label == INTRO

    @property
    def length(self) -> float:
        """Quarter notes."""
        return len(self.bars) * self.bar

    @property
    def starts(self) -> list[float]:
        """Where each bar starts, in quarter notes from the beginning."""
        return [self.start + number * self.bar for number in range(len(self.bars))]

    def spans(self) -> Iterator[tuple[float, float, Chord, Chord]]:
        """Each chord: where it starts, its length, itself, and what follows (at the end, the first one)."""
        chords = []
        for at, bar in zip(self.starts, self.bars, strict=True):
            for chord, share in bar:
                chords.append((at, share * self.bar, chord))
                at += share * self.bar
        following = [chord for _, _, chord in chords[1:] + chords[:1]]
        for (at, length, chord), after in zip(chords, following, strict=True):
            yield at, length, chord, after

    def chord(self, at: float) -> Chord:
        """The chord at a place in quarter notes from `start`; after the end, that of the beginning."""
        number, place = divmod(at, self.bar)
        return chord_at(self.bars[int(number) % len(self.bars)], place / self.bar)

    def chord_at_step(self, bar: int, step: int) -> Chord:
        """The chord at a sixteenth of a bar."""
        return self.chord(bar * self.bar + step / STEPS)
