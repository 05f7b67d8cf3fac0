"""The form of a piece: which part of the source its parts come from, and phrases that return."""

from dataclasses import replace

import numpy as np

from music.features import PHRASE_BEATS
from music.mosaic.outlook import COOL
from music.mosaic.path import Step, ended
from music.mosaic.transitions import Transitions, evened
from music.mosaic.units import Units
from music.mosaic.verbatim import Verbatim, allowed

_STRAY = 0.4  # of a part of the form, that its place in the source strays at temperature 1
_RETURNS_FROM = 30.0  # seconds of a piece, in each of which some phrase returns:
_RECALLED = 60.0  # from so many seconds before,
_PHRASE_BARS = 2  # so long at least, or
_LONGEST_PHRASE = 9.0  # seconds at most,
_ALIKE = 0.95  # in runs of such a correlation in harmony and rhythm,
_AS_FAST = 0.1  # and that much in the logarithm of tempo,
_SAME_PLACE = 0.5  # at this cost from the place where they were,
_BEFORE_END, _AT_LEAST_BEFORE_END = 7.4, 2.0  # so many seconds before an end


def form_of(units: Units, duration: float, temperature: float, rng: np.random.Generator) -> np.ndarray:
    """Measure how far each unit is from the part of the track that each stretch of the output comes from.

    The output tells the source's own story in its own time: about 8 s from each of some places spread over
    the source, in order; the higher the temperature, the less evenly.

    Returns
    -------
    np.ndarray [shape=(parts, N)]
    """
    inside = np.flatnonzero(units.playable)
    parts = max(round(duration / 8.0), 1)
    drawn = (
        np.arange(parts)
        + 0.5
        + rng.uniform(-_STRAY, _STRAY, parts) * temperature ** (COOL if temperature < 1.0 else 1.5)
    ) / parts
    places = inside[np.clip((drawn * len(inside)).astype(np.int64), 0, len(inside) - 1)]
    return np.sqrt(((units.section[places][:, None] - units.section[None]) ** 2).sum(axis=2))


def returns_of(units: Units, duration: float) -> list[tuple[float, float]]:
    """Plan the spans in which phrases begin to return: one in each half minute, before an end begins."""
    if not units.pulsed:
        return []
    count = int(duration // _RETURNS_FROM)
    part = duration / max(count, 1)
    period = float(np.median(np.diff(units.bounds))) / units.rate
    longest, shortest = (size * period for size in (_phrases(units)[0], _phrases(units)[-1]))
    bar = units.meter * period
    spans = []
    for end in part * np.arange(1, count + 1):
        first = max(end - _BEFORE_END - longest - bar, end - part + longest + bar)
        spans.append((float(first), float(end - _AT_LEAST_BEFORE_END - shortest)))
    return spans


def _phrases(units: Units) -> list[int]:
    """Return how many units phrases that return may have, the longest first: whole bars, 2, 4, or more."""
    beats = PHRASE_BEATS * max(units.per_beat, 1)
    bar = units.whole_bar or 1
    sizes = [bar * max(_PHRASE_BARS, -(-beats // bar))]
    period = float(np.median(np.diff(units.bounds))) / units.rate
    while 2 * sizes[0] * period <= _LONGEST_PHRASE:
        sizes.insert(0, 2 * sizes[0])
    return sizes


def returned(transitions: Transitions, steps: list[Step], verbatim: Verbatim, duration: float) -> list[Step]:
    """Let a phrase of the last minute return: of the longest ones that which follows best what was played.

    Their runs come from other places of the source, alike in harmony and rhythm, where there are some; others
    from where they were. Empty where the limits on copies allow none.
    """
    units = transitions.units
    now = ended(units, steps)
    best: list[Step] = []
    least = np.inf
    for size in _phrases(units):
        for line in range(len(steps) - size - units.meter + 1):
            if units.phase[steps[line].unit] or steps[line].start < now - _RECALLED:
                continue
            for elsewhere in (True, False):
                phrase, cost = _again(transitions, steps, line, size, elsewhere)
                if cost < least and allowed(units, steps, phrase, verbatim, duration):
                    best, least = phrase, cost
        if best:
            break
    return best


def _again(
    transitions: Transitions, steps: list[Step], line: int, size: int, elsewhere: bool
) -> tuple[list[Step], float]:
    """Play `size` steps from `line` on after all steps, from like places `elsewhere` or from where they were.

    Returns
    -------
    phrase : list of Step
    cost : float
        Of its joins, and of each run that comes from where it was.
    """
    units = transitions.units
    old = steps[line : line + size]
    begins = [k for k, step in enumerate(old) if step.jumped or k == 0]
    phrase: list[Step] = []
    cost, now, before = 0.0, ended(units, steps), steps[-1].unit
    for begin, end in zip(begins, [*begins[1:], size], strict=True):
        first, count = old[begin].unit, end - begin
        places = _like(units, first, count) if elsewhere else np.array([first])
        price = transitions.cost[before, places] + _SAME_PLACE * (np.abs(places - first) < count)
        place = int(places[price.argmin()])
        cost += float(price.min())
        seconds = ended(units, old[begin:end]) - old[begin].start
        stretch = seconds * units.rate / float(units.bounds[place + count] - units.bounds[place])
        gain = evened(units, before, place)
        for k in range(count):
            phrase.append(
                replace(
                    old[begin],
                    unit=place + k,
                    start=now,
                    stretch=stretch,
                    gain=gain if k == 0 else 0.0,
                    jumped=k == 0,
                )
            )
            now = ended(units, phrase)
        before = place + count - 1
    return phrase, cost


def _like(units: Units, first: int, count: int) -> np.ndarray:
    """Find where `count` units begin that are like those from `first` on in harmony, rhythm and tempo."""
    starts = bars_of(units, count, int(units.phase[first]))
    seconds = np.diff(units.bounds)
    at = starts[:, None] + np.arange(count)
    own = np.arange(first, first + count)
    alike = np.abs(np.log2(seconds[at].sum(axis=1) / seconds[own].sum())) < _AS_FAST
    for described in (units.chroma, units.rhythm):
        alike &= np.einsum("ik,k->i", _standard(described[at]), _standard(described[own][None])[0]) >= _ALIKE
    return starts[alike | (starts == first)] if (starts == first).any() else np.append(starts[alike], first)


def _standard(phrases: np.ndarray) -> np.ndarray:
    """Bring phrases [shape=(n, units, ...)] to mean 0 and length 1 each [shape=(n, values)], to correlate."""
    flat = phrases.reshape(len(phrases), -1).astype(np.float64)
    flat = flat - flat.mean(axis=1, keepdims=True)
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9))


def bars_of(units: Units, size: int, phase: int) -> np.ndarray:
    """Find where `size` playable units follow each other, the first of them at `phase`."""
    starts = np.flatnonzero(units.phase == phase)
    starts = starts[starts + size <= len(units)]
    return starts[[bool(units.playable[start : start + size].all()) for start in starts]]
