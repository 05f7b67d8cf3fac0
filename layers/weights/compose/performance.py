"""From what is written to what is played: quarter notes become seconds, with swing and human inexactness."""

import math

import numpy as np

from weights.compose.arrangement import Arrangement, Score
from weights.compose.piece import BEATS_PER_BAR, DRUM_CHANNEL, KEYS, NOTE_DTYPE, Piece

MAX_POLYPHONY = 22
SHORTEST = 0.04  # seconds

Played = list[float]  # start, duration, channel, pitch, velocity: changed in place


def perform(score: Score, seed: int, mood: tuple[str, ...], tags: tuple[str, ...]) -> Piece:
    """Play a score."""
    a = score.arrangement
    notes = _thinned(_without_overlaps(_played(a)))
    channels = sorted({int(channel) for _, _, channel, _, _ in notes})
    loudest = max(a.levels[channel] for channel in channels)
    first = math.ceil(a.skip / a.beat - 1e-9)
    return Piece(
        seed=seed,
        seconds=a.seconds,
        notes=np.array([tuple(note) for note in notes], NOTE_DTYPE),
        programs={channel: a.programs[channel] for channel in channels},
        volumes={channel: round(10.0 ** ((a.levels[channel] - loudest) / 20.0), 4) for channel in channels},
        controls=tuple(
            (round(max(0.0, at - a.skip) * a.quarter_seconds, 4), channel, factor)
            for at, channel, factor in a.controls
            if channel in channels and -1.0 < at - a.skip < a.seconds / a.quarter_seconds
        ),
        tempo=a.tempo,
        first_beat=max(0.0, (first * a.beat - a.skip) * a.quarter_seconds),
        first_beat_in_bar=first % BEATS_PER_BAR[a.meter],
        meter=a.meter,
        key=KEYS[a.key],
        mode=a.mode,
        style=a.style,
        instruments=tuple(dict.fromkeys(a.words[channel] for channel in channels)),
        mood=mood,
        energy=score.energy,
        tags=tags,
    )


def _swung(a: Arrangement, at: float) -> float:
    """Where a place in quarter notes comes to lie: the second of two notes comes later."""
    if a.swing == 0.5:
        return at
    pair = 2.0 * a.swing_unit
    number = math.floor(at / pair + 1e-9)
    place = at / pair - number
    if place < 0.5:
        place *= 2.0 * a.swing
    else:
        place = a.swing + (place - 0.5) * 2.0 * (1.0 - a.swing)
    return (number + place) * pair


def _played(a: Arrangement) -> list[Played]:
    """The events in seconds, in the order of their starts."""
    notes: list[Played] = []
    for at, length, channel, pitch, velocity in a.events:
        if at < a.skip - 1e-6:
            # What began before the piece does sounds on, unless there is little left of it.
            if channel == DRUM_CHANNEL or at + length < a.skip + 0.4:
                continue
            length -= a.skip - at
            at = a.skip
        start = (_swung(a, at) - a.skip) * a.quarter_seconds
        end = (_swung(a, at + length) - a.skip) * a.quarter_seconds
        start = max(0.0, start + (a.rng.gauss(0.0, a.jitter) if a.jitter else 0.0))
        if start >= a.seconds - 0.02:
            continue
        velocity += a.rng.gauss(0.0, 3.0 if a.jitter else 1.0)
        if 12 <= pitch <= 115:
            notes.append([start, max(SHORTEST, end - start), channel, pitch, int(max(8, min(127, velocity)))])
    return sorted(notes, key=lambda note: (note[0], note[2], note[3]))


def _without_overlaps(notes: list[Played]) -> list[Played]:
    """End a note where its own pitch is struck again; two strokes within 30 ms are one."""
    last: dict[tuple[float, float], Played] = {}
    kept = []
    for note in notes:
        start, duration, channel, pitch, _ = note
        before = last.get((channel, pitch))
        if before is not None and start < before[0] + before[1]:
            if start - before[0] < 0.03:
                before[1] = max(before[1], start + duration - before[0])
                continue
            before[1] = start - before[0] - 0.004
        last[channel, pitch] = note
        kept.append(note)
    return kept


def _thinned(notes: list[Played]) -> list[Played]:
    """Where too many notes sound, end the one that began first; the lowest goes on."""
    sounding: list[Played] = []
    for note in notes:
        sounding = [other for other in sounding if other[0] + other[1] > note[0]]
        while len(sounding) >= MAX_POLYPHONY:
            lowest = min(sounding, key=lambda other: other[3])
            oldest = min((other for other in sounding if other is not lowest), key=lambda other: other[0])
            oldest[1] = max(SHORTEST, note[0] - oldest[0])
            sounding = [other for other in sounding if other is not oldest]
        sounding.append(note)
    return notes
