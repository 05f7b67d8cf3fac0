"""Which pitches the tones of a chord are played at, so that hands and voices move little."""

import random
from collections.abc import Iterator, Sequence

from weights.compose.theory import Chord


def voice(
    chord: Chord, previous: Sequence[int] | None, low: int, high: int, voices: int = 4, rootless: bool = False
) -> list[int]:
    """Voice a chord in close position, nearest to the previous voicing.

    Parameters
    ----------
    chord : Chord
    previous : sequence of int, optional
        Pitches that were sounded before; without them the middle of the range is sought.
    low, high : int
        Range of the pitches.
    voices : int
        How many pitches.
    rootless : bool
        Leave the root of a chord of four tones or more to the bass.

    Returns
    -------
    list of int
        Pitches, ascending.
    """
    intervals = chord.intervals[1:] if rootless and len(chord.intervals) > 3 else chord.intervals
    tones = list(dict.fromkeys((chord.root + interval) % 12 for interval in intervals))
    for dispensable in ((chord.root + 7) % 12, *((chord.root,) if rootless else ())):
        if len(tones) > voices and dispensable in tones:
            tones.remove(dispensable)
    ascending = sorted(tones[:voices])
    middle = (low + high) / 2

    best: list[int] = []
    least = float("inf")
    for first in range(len(ascending)):
        rotated = ascending[first:] + ascending[:first]
        for octave in range(low - low % 12, high, 12):
            pitches = [octave + rotated[0]]
            if pitches[0] < low:
                pitches[0] += 12
            while len(pitches) < voices:
                above = pitches[-1] + 1
                pitches.append(above + (rotated[len(pitches) % len(rotated)] - above) % 12)
            if pitches[-1] > high:
                continue
            mean = sum(pitches) / voices
            if previous:
                cost = 0.0 + sum(min(abs(pitch - other) for other in previous) for pitch in pitches)
                cost += 0.7 * abs(mean - sum(previous) / len(previous))
                cost += 0.25 * abs(mean - middle)
            else:
                cost = abs(mean - middle)
            if cost < least:
                best, least = pitches, cost
    # No room for all of them: as many as there are tones, from the bottom.
    return best or sorted(low + (tone - low) % 12 for tone in tones[:voices])


Setting = tuple[int, int, int, int]  # pitches of bass, tenor, alto and soprano


def four_voices(chords: Sequence[Chord], rng: random.Random) -> list[Setting]:
    """Set chords for four voices: small steps, all tones there, no parallel fifths or octaves.

    Each chord takes the setting that costs least after the one before; a little chance varies repeats.
    """
    settings: list[Setting] = []
    for chord in chords:
        previous = settings[-1] if settings else None
        costs = {
            setting: _cost(setting, chord, previous) + 1.2 * rng.random() for setting in _settings(chord)
        }
        settings.append(min(costs, key=costs.__getitem__))
    return settings


def _settings(chord: Chord) -> Iterator[Setting]:
    """Every way to set a chord within the voices' ranges, neighbours at most an octave apart."""
    tones = set(chord.tones[:4])
    for bass in range(38, 58):
        if bass % 12 != chord.bass:
            continue
        for tenor in range(max(bass, 48), 65):
            if tenor % 12 not in tones:
                continue
            for alto in range(max(tenor, 55), min(tenor + 13, 73)):
                if alto % 12 not in tones:
                    continue
                for soprano in range(max(alto, 62), min(alto + 13, 82)):
                    if soprano % 12 in tones:
                        yield bass, tenor, alto, soprano


def _cost(setting: Setting, chord: Chord, previous: Setting | None) -> float:
    bass, tenor, alto, soprano = setting
    thirds = [tone for tone in chord.tones[:4] if (tone - chord.root) % 12 in (3, 4)]
    needed = [chord.root, *thirds, *chord.tones[3:4]]
    sounding = [pitch % 12 for pitch in setting]
    cost = 6.0 * sum(tone not in sounding for tone in needed)
    cost += 2.0 * (alto in (tenor, soprano))
    cost += 2.0 * any(sounding[1:].count(third) > 1 for third in thirds)
    cost += 0.6 * (max(0, soprano - 77) + max(0, 66 - soprano))
    if previous is None:
        return cost + 0.5 * abs(soprano - 71) + 0.3 * abs(bass - 46)
    weights = (0.25, 1.0, 1.0, 0.8)
    cost += sum(weight * abs(to - at) for weight, to, at in zip(weights, setting, previous, strict=True))
    cost += 1.5 * (soprano == previous[3])
    for upper in range(4):
        for lower in range(upper):
            interval = (setting[upper] - setting[lower]) % 12
            before = (previous[upper] - previous[lower]) % 12
            cost += 9.0 * (interval == before and interval in (0, 7) and setting[upper] != previous[upper])
    return cost
