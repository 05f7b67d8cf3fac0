"""Melodies over chords: a few motifs that return moved, mirrored and varied; a cadence every four bars."""

import itertools
import random
from collections.abc import Sequence
from typing import NamedTuple

from weights.compose.arrangement import Arrangement
from weights.compose.rhythm import rhythms
from weights.compose.theory import PENTATONIC, Bar, Chord, Keyboard, around, chord_at, nearest

# Motifs of four bars. A letter alone is the motif as it is; with s it is moved (a sequence), with i mirrored,
# with r in another rhythm, with v in another rhythm perhaps.
_PLANS = [
    plan.split()
    for plan in ("A As B C", "A B A C", "A Ar Av C", "A B Ai C", "A As Ai C", "A B As B", "A As Av C")
]
_CONTOUR = 16  # steps of a contour, more than a bar has notes


class Note(NamedTuple):
    """A note of a melody: quarter notes from its beginning, length in quarter notes, pitch, and accent."""

    at: float
    length: float
    pitch: int
    accent: float


Melody = list[Note]


def melody(
    a: Arrangement,
    bars: Sequence[Bar],
    kind: str,
    low: int,
    high: int,
    leap: float,
    *,
    pentatonic: bool = False,
    closed: bool = True,
    rests: float = 0.0,
    chromatic: float = 0.0,
) -> Melody:
    """Write a melody over the chords of some bars.

    Parameters
    ----------
    a : Arrangement
        For its scale, meter and random numbers.
    bars : sequence of Bar
    kind : str
        Of its rhythms, see `weights.compose.rhythm.rhythms`.
    low, high : int
        Range of its pitches.
    leap : float
        How often it leaps rather than steps, 0 to 1.
    pentatonic : bool
        Between the chords' tones, use the five-tone scale alone.
    closed : bool
        End on the tonic.
    rests, chromatic : float
        How often a note is left out, or approached from a semitone below, 0 to 1.
    """
    rng = a.rng
    pool = rhythms(a.meter, kind)
    motifs = {letter: rng.choice(pool) for letter in "ABC"}
    plan = rng.choice(_PLANS)
    contours = {letter: _contour(rng, leap) for letter in "ABC"}
    previous = None
    home = int((low + high) / 2 + rng.uniform(-2.0, 2.0))
    first_anchor = None
    order = [_motif(rng, plan, number) for number in range(len(bars))]
    sequence = 2 * rng.choice((1, -1, -1))
    other_rhythm = _varied(rng, motifs["A"])

    notes: Melody = []
    for number, (name, bar) in enumerate(zip(order, bars, strict=True)):
        last = number == len(bars) - 1
        cadence = last or number % 4 == 3
        rhythm = motifs[name[0]]
        if name == "Ar":
            rhythm = other_rhythm
        elif name == "Av" and rng.random() < 0.5:
            rhythm = _varied(rng, rhythm)
        if cadence:
            rhythm = _with_held_end(rng, rhythm, a.bar, a.meter)
        contour = contours[name[0]]
        if name == "Ai":
            contour = [-step for step in contour]

        # Where the motif starts: its own place, or near to where the melody is.
        if first_anchor is not None and name[0] == "A":
            target = first_anchor + (sequence if name == "As" else 0)
        elif previous is not None:
            target = previous + rng.choice((-3, -2, 0, 2, 3))
        else:
            target = home
        if target < low:
            target += 5
        if target > high - 3:
            target -= 5
        anchor = nearest(bar[0][0].tones[:3], target)
        if first_anchor is None:
            first_anchor = anchor

        position = 0.0
        sounded = 0
        for index, length in enumerate(rhythm):
            if length < 0.0 or (rests and rng.random() < rests and index > 0):
                position += abs(length)
                continue
            chord = chord_at(bar, position / a.bar)
            on_beat = abs(position / a.beat - round(position / a.beat)) < 1e-6
            strong = on_beat and (length >= 1.0 or position in (0.0, 2.0))
            pitch = _keyboard(a, chord, pentatonic).step(anchor, contour[sounded % _CONTOUR])
            if strong or length >= 1.5:
                pitch = nearest(chord.tones[:4], pitch)
            ending = cadence and index == len(rhythm) - 1
            if ending and last and closed:
                tonic = a.tonic if a.tonic in chord.tones else chord.root
                pitch = nearest((tonic,), pitch if previous is None else previous)
            elif ending:
                pitch = nearest(chord.tones[:3], pitch if previous is None else previous)
            while pitch > high:
                pitch -= 12
            while pitch < low:
                pitch += 12
            if previous is not None:
                pitch = _nearer(pitch, previous, low, high)
                if sounded and abs(pitch - previous) > 7 and not (ending and last):
                    closer = nearest(chord.tones[:3], previous + (4 if pitch > previous else -4))
                    pitch = closer if low <= closer <= high else pitch
            notes.append(Note(number * a.bar + position, length, pitch, 1.06 if strong else 1.0))
            previous = pitch
            sounded += 1
            position += length
    return _approached(rng, notes, chromatic) if chromatic else notes


def _motif(rng: random.Random, plan: Sequence[str], bar: int) -> str:
    name = plan[bar % 4]
    # The third bar of every second phrase may go elsewhere.
    return rng.choice([name, "B", "Ai"]) if bar % 8 == 6 else name


def _contour(rng: random.Random, leap: float) -> list[int]:
    """Steps of the scale from the anchor, for each note: a walk that turns after leaps and at its limits."""
    contour = [0]
    direction = rng.choice((1, -1))
    while len(contour) < _CONTOUR:
        if rng.random() < leap:
            step = rng.choice((2, 2, 3, 4)) * direction
            direction = -direction
        elif rng.random() < 0.13:
            step = 0
        else:
            step = direction
            if rng.random() < 0.28:
                direction = -direction
        place = contour[-1] + step
        if place > 5:
            place, direction = contour[-1] - 1, -1
        if place < -4:
            place, direction = contour[-1] + 1, 1
        contour.append(place)
    return contour


def _varied(rng: random.Random, rhythm: Sequence[float]) -> list[float]:
    """Split a long note in two, or join two short ones."""
    varied = list(rhythm)
    long = [index for index, length in enumerate(varied) if length >= 1.0]
    pairs = itertools.pairwise(varied)
    short = [index for index, (one, two) in enumerate(pairs) if 0.0 < one <= 0.5 and 0.0 < two <= 0.5]
    if long and (rng.random() < 0.6 or not short):
        index = rng.choice(long)
        varied[index : index + 1] = [varied[index] / 2.0] * 2
    elif short:
        index = rng.choice(short)
        varied[index : index + 2] = [varied[index] + varied[index + 1]]
    return varied


def _with_held_end(rng: random.Random, rhythm: Sequence[float], bar: float, meter: str) -> list[float]:
    """The beginning of a rhythm, and a note that holds to the end of the bar, or nearly."""
    hold = 1.5 if meter == "6/8" else 2.0 if bar == 4.0 else 1.0
    moving: list[float] = []
    filled = 0.0
    for length in rhythm:
        if filled + abs(length) > bar - hold + 1e-6:
            break
        moving.append(length)
        filled += abs(length)
    if filled < bar - hold - 1e-6:
        moving.append(bar - hold - filled)
    return [*moving, hold if rng.random() < 0.6 or hold < 2.0 else 0.75 * hold]


def _keyboard(a: Arrangement, chord: Chord, pentatonic: bool) -> Keyboard:
    if pentatonic:
        return Keyboard([*((a.tonic + step) % 12 for step in PENTATONIC[a.mode]), chord.root])
    return Keyboard(around(chord, a.scale))


def _nearer(pitch: int, previous: int, low: int, high: int) -> int:
    """Another octave of a pitch, if that spares a leap of more than a sixth."""
    if abs(pitch - previous) <= 9:
        return pitch
    other = pitch - 12 if pitch > previous else pitch + 12
    return other if low <= other <= high and abs(other - previous) < abs(pitch - previous) else pitch


def _approached(rng: random.Random, notes: Melody, often: float) -> Melody:
    """Shorten some long notes for one that leads to the next from a semitone below."""
    approached = []
    for note, following in itertools.pairwise(notes):
        if note.length >= 1.0 and rng.random() < often and note.at + note.length == following.at:
            approached.append(Note(following.at - 0.5, 0.5, following.pitch - 1, 0.9))
            note = note._replace(length=note.length - 0.5)
        approached.append(note)
    return [*approached, *notes[-1:]]


def ornamented(a: Arrangement, notes: Melody, amount: float) -> Melody:
    """Vary a melody that returns: split notes with their neighbours, add grace notes, leave some out."""
    keyboard = Keyboard(a.scale)
    varied = []
    for at, length, pitch, accent in notes:
        chance = a.rng.random()
        if length >= 1.0 and chance < amount:
            neighbour = keyboard.step(pitch, a.rng.choice((1, -1)))
            varied.append(Note(at, length / 2.0, pitch, accent))
            varied.append(Note(at + length / 2.0, length / 2.0, neighbour, 0.92 * accent))
        elif length >= 1.5 and chance < 1.6 * amount:
            varied.append(Note(at, 0.25, keyboard.step(pitch, 1), 0.9 * accent))
            varied.append(Note(at + 0.25, length - 0.25, pitch, accent))
        elif length > 0.5 or chance >= 0.3 * amount:
            varied.append(Note(at, length, pitch, accent))
    return varied
