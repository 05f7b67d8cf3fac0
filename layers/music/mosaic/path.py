"""Walking a new path through the units of a source.

The walk is a draw from ``p(path) ~ exp(-cost(path) / temperature)``. Going on to the unit that follows in the
source is free; a jump costs the musical distance between what would have come and what comes instead, each
seen with its neighbours. Messages passed backwards (`Outlook`) tell every step what its choices lead to, so a
path leaves a passage where a good exit is, not where a limit strikes. Costs that depend on what has been
played (repetition, the form, verbatim limits) are added step by step.

A unit played after the same unit as in the source, or after a recording identical to it (`Units.label`),
continues a verbatim run; loops therefore count however often the source itself repeats them.

References
----------
.. [1] Schwarz, "Data-Driven Concatenative Sound Synthesis", PhD thesis, Université Paris 6, 2004.
.. [2] Schödl et al., "Video Textures", SIGGRAPH 2000 (future cost of a transition, on pictures).
"""

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, replace

import numpy as np

from music import reach
from music.features import PHRASE_BEATS
from music.interfaces import GenerationError, Parameters
from music.mosaic.units import Units

LONGEST_RUN = 7.4
"""Seconds of a verbatim run; with its crossfades it stays below 8 s."""
LONG_RUN = 3.7
"""Seconds beyond which a run counts as long (4 s with its crossfades)."""
LONG_SHARE = 0.31
"""Share of the output that long runs may fill; with crossfades it stays below 0.40."""

LONGEST_LOOP = 300.0
"""Seconds."""

_NOISE = 0.3  # of the draw at temperature 1, where a good jump of the source costs 1
_JUMP = 0.7  # cost of jumping at all
_OFF_BAR = 9.0  # more for a jump that is not from the end of a bar to the beginning of one
_EARLY = 2.0  # more for a jump within the first bar of a run
_LATE = 0.5  # per unit beyond two bars, at temperature 1: makes runs end
_FORM = 0.6  # weight of being in another part of the track than the form asks for,
_ROOM = 0.4  # unless it differs less than this from that part
_REPEAT = 1.5  # weight of hearing a unit again soon
_NEVER = 1e3  # cost of what is not to be played, where something has to be
_SOFTER = 0.5  # for each dB by which the last bar differs from what it leads to
_AGAIN = 0.8  # cost of each earlier use of the same jump
_MEMORY = 30.0  # seconds in which half of the past is forgotten
_EXITS = 64  # jumps out of a unit that the outlook weighs
_REGIONS = 16
_STRAY = 0.4  # of a part of the form, that its place in the source strays at temperature 1
_HORIZON = 12  # units the outlook sees ahead in each part of the output
_RETURNS_FROM = 30.0  # seconds of a piece, in each of which some phrase returns:
_RECALLED = 60.0  # from so many seconds before,
_PHRASE_BARS = 2  # so long at least, or
_LONGEST_PHRASE = 9.0  # seconds at most,
_ALIKE = 0.95  # in runs of such a correlation in harmony and rhythm,
_AS_FAST = 0.1  # and that much in the logarithm of tempo,
_SAME_PLACE = 0.5  # at this cost from the place where they were,
_BEFORE_END, _AT_LEAST_BEFORE_END = 7.4, 2.0  # so many seconds before an end
_COOL = 2.0  # exponent of temperatures below 1: how fast draws get surer, and strays less
_UNEVEN = 0.1  # of a walk's duration that a steady pulse may take from it
_STUTTER_UNITS = 8  # that a passage may have and still count as a short one, where there are no bars
_ALIGNED = 0.015  # seconds: a join can move a run by less than that
_SEMITONES = (0, -1, 1, -2, 2)

_ENDS_TRIED, _ENDS_GIVEN = 80, 12  # ways to end a walk,
_OWN_GIVEN = 3  # among them the source's own end, which sounds the same each time
_OWN = 1.5  # what speaks for the source's own end
_DIES_AWAY = 9.0  # dB below the usual loudness: a source that ends so dies away
_ON_LINE = 0.05  # seconds from a bar line within which its last sound begins
_ROOM_TO_END = 6.0  # seconds of a piece in which there is room for the source's own end
_ATTACK = 0.08  # seconds within which onsets are one,
_BEFORE = 0.03  # and before the next one, in which a last sound begins to die away
_SHORTEST_HOLD = 0.15  # seconds that a last sound is heard as it is
_USUAL_SHARE, _LONGEST_SHARE = 0.12, 0.35  # of a piece, that its last sound has; but so long at most:
_SHORTEST_END, _USUAL_END, _LONGEST_END = 0.5, 2.2, 5.0  # seconds from a last sound to the end


@dataclass(frozen=True)
class Run:
    """A stretch of the source played without a break.

    Attributes
    ----------
    first, last : int
        The units that are played, `last` excluded.
    start : float
        When it begins in the output, in seconds.
    stretch : float
        Played duration over source duration.
    semitones : int
        How far it is transposed up.
    gain : float
        In dB at its beginning, falling to 0 at its end: it evens out the step in loudness at the join.
    """

    first: int
    last: int
    start: float
    stretch: float
    semitones: int
    gain: float


@dataclass(frozen=True)
class Path:
    """A walk through the units of a source.

    Attributes
    ----------
    runs : tuple of Run
        In playing order.
    ending : {"natural", "own", "fade", "cut", "loop"}
        How it ends: with a last sound that dies away, as the source does, faded out, cut off, or never.
    end : float
        When that begins: the last sound, the silence after the source's end, the fade, the next round of a
        loop. In seconds.
    hold : float
        Seconds of the last sound that are played as they are, before it dies away.
    longest_verbatim : float
        Seconds of the longest stretch of the source that the output repeats.
    long_share : float
        Share of the output inside such stretches that are long (`LONG_RUN`).
    """

    runs: tuple[Run, ...]
    ending: str
    end: float
    hold: float
    longest_verbatim: float
    long_share: float


class Transitions:
    """How well each unit of a source follows each other one, made once per source.

    Attributes
    ----------
    cost : np.ndarray [shape=(N, N), float32]
        ``cost[i, j]`` of playing `j` after `i`; a good jump of this source costs about 1. Infinite where `j`
        is not playable.
    scale : float
        Distance in descriptors that makes a cost of 1.
    """

    def __init__(self, units: Units) -> None:
        self.units = units
        count = len(units)
        level = np.clip(units.loudness, units.loudness.max() - 50.0, None)
        self._plain = np.concatenate(
            [
                units.timbre.reshape(count, -1) * (0.5 / np.sqrt(24.0)),
                level[:, None] / 9.0,
                np.clip(units.rhythm, 0.0, 4.0) * 0.12,
            ],
            axis=1,
        ).astype(np.float32)
        distance = _pairwise(self._plain)
        distance += _harmony(units.chroma, units.chroma)
        cost = _in_context(distance)
        del distance
        self._places = _places(units)
        following = np.minimum(np.arange(count) + 1, count - 1)
        best = []
        for i in range(count):
            fits = np.flatnonzero((self._places[i] < 1.0) & units.playable)
            fits = fits[np.abs(fits - following[i]) > 1]
            if len(fits):
                near = min(6, len(fits))
                best.append(np.partition(cost[i, fits], near - 1)[:near].mean())
        self.scale = max(float(np.median(best)), 0.15) if best else 1.0
        cost /= self.scale
        cost += self._places
        cost[:, ~units.playable] = np.inf
        self.cost = cost

    def row(self, i: int, shift: int) -> tuple[np.ndarray, np.ndarray]:
        """Weigh every unit as the next one, each in the transposition that suits best.

        Parameters
        ----------
        i : int
            The unit that is played.
        shift : int
            The semitones that it is played up.

        Returns
        -------
        cost : np.ndarray [shape=(N,), float64]
            As `cost` has it.
        semitones : np.ndarray [shape=(N,), int64]
            How far each unit would be transposed.
        """
        count = len(self.units)
        cost, chosen = self.cost[i].astype(np.float64), np.zeros(count, dtype=np.int64)
        if not self.units.pulsed:
            return cost, chosen
        at = np.clip([i, i + 1, i + 2], 0, count - 1)
        there = _harmony(self.units.chroma[at], self.units.chroma)
        options = np.empty((len(_SEMITONES), count))
        for k, semitones in enumerate(_SEMITONES):
            turned = np.roll(self.units.chroma[at], shift - semitones, axis=2)
            harmony = _harmony(turned, self.units.chroma)
            change = _row_in_context(harmony - there) / self.scale
            options[k] = change + (0.8 + 0.3 * abs(semitones) + 1.5 * (shift != 0)) * (semitones != 0)
        best = options.argmin(axis=0)
        return cost + options[best, np.arange(count)], np.asarray(_SEMITONES)[best]


def _pairwise(points: np.ndarray) -> np.ndarray:
    """Return Euclidean distances [shape=(N, N), float32] between rows [shape=(N, d)], without BLAS."""
    norms = np.einsum("ik,ik->i", points, points)
    squares = np.einsum("ik,jk->ij", points, points)
    squares *= -2.0
    squares += norms[:, None]
    squares += norms[None]
    return np.sqrt(np.maximum(squares, 0.0, out=squares), out=squares)


def _harmony(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the distance in harmony, 0 to 2 [shape=(N, M)], of chromas [shape=(N, 2, 12) and (M, 2, 12)]."""
    return 2.0 - np.einsum("ihk,jhk->ij", a, b)


def _in_context(distance: np.ndarray) -> np.ndarray:
    """Return the cost of jumping from `i` to `j` [shape=(N, N)] from the distances of units [shape=(N, N)].

    ``cost[i, j] = 0.5 d[i + 1, j] + 0.25 d[i, j - 1] + 0.25 d[i + 2, j + 1]``: what is replaced, what came
    before and what comes after.
    """
    count = len(distance)
    rows = np.arange(count)
    one, two = np.minimum(rows + 1, count - 1), np.minimum(rows + 2, count - 1)
    before = np.maximum(rows - 1, 0)
    cost = 0.5 * distance[one]
    cost += 0.25 * distance[:, before]
    cost += 0.25 * distance[two][:, one]
    return cost


def _row_in_context(rows: np.ndarray) -> np.ndarray:
    """Return row i of `_in_context` [shape=(N,)] from the distances of i, i + 1, i + 2 [shape=(3, N)]."""
    count = rows.shape[1]
    columns = np.arange(count)
    return (
        0.5 * rows[1]
        + 0.25 * rows[0, np.maximum(columns - 1, 0)]
        + 0.25 * rows[2, np.minimum(columns + 1, count - 1)]
    )


def _places(units: Units) -> np.ndarray:
    """Return the cost of breaking the bar [shape=(N, N), float32]: by landing or leaving inside it."""
    count = len(units)
    if units.meter == 1:
        return np.zeros((count, count), dtype=np.float32)
    ends = (units.phase + 1) % units.meter == 0
    keeps = ends[:, None] & (units.phase == 0)[None]
    return np.where(keeps, np.float32(0.0), np.float32(_OFF_BAR))


def _noise(temperature: float) -> float:
    """Return the noise of draws, in costs."""
    return _NOISE * temperature ** (_COOL if temperature < 1.0 else 1.0)


class Outlook:
    """What lies ahead of each unit at a temperature: the future's share of every decision.

    Jumps to the `_EXITS` nearest units are weighed, and to the nearest in each of `_REGIONS` parts of the
    source, so that a passage unlike all others still has its ways out.
    """

    def __init__(self, transitions: Transitions, temperature: float) -> None:
        units = transitions.units
        count = len(units)
        self._noise = _noise(temperature)
        period = float(np.median(np.diff(units.bounds))) / units.rate
        self._fresh = max(int(LONG_RUN / period), 1)
        self.most = max(min(int(LONGEST_RUN / period), 64), self._fresh)
        cost = transitions.cost.copy()
        # What sounds the same as going on is no way out of a verbatim run.
        for i in range(count - 1):
            cost[i, _same(units, i + 1)] = np.inf
        exits = min(_EXITS, count)
        near = np.argpartition(cost, exits - 1, axis=1)[:, :exits]
        near_cost = np.take_along_axis(cost, near, axis=1)
        regions = np.array_split(np.arange(count), min(_REGIONS, count))
        far = np.stack([part[0] + cost[:, part].argmin(axis=1) for part in regions], axis=1)
        far_cost = np.take_along_axis(cost, far, axis=1)
        far_cost[far_cost <= near_cost.max(axis=1, keepdims=True)] = np.inf  # those are near ones again
        self._where = np.concatenate([near, far], axis=1)
        self._weight = (
            -(np.concatenate([near_cost, far_cost], axis=1).astype(np.float64) + _JUMP) / self._noise
        )
        left = np.arange(self.most + 1)
        self._early = -_EARLY * _shortness(np.maximum(self._fresh - left, 1), units) / self._noise
        self._late = -_lateness(np.maximum(self._fresh - left, 0), units, temperature) / self._noise
        self._goes_on = units.playable[1:, None]

    def values(self, attraction: np.ndarray, progress: Callable[[float], None]) -> np.ndarray:
        """Return the logarithm of what lies ahead from each part of the output on, passed back from the last.

        Parameters
        ----------
        attraction : np.ndarray [shape=(parts, N)]
            Cost of playing each unit in each part.
        progress : callable
            Called with the share done, in [0, 1]; whatever it raises passes through.

        Returns
        -------
        np.ndarray [shape=(parts, N, most + 1), float32]
            By part, unit, and units left before a forced jump. Differences matter; the greatest is 0.
        """
        parts, count = attraction.shape
        values = np.empty((parts, count, self.most + 1), dtype=np.float32)
        value = np.zeros((count, self.most + 1))
        for part in range(parts - 1, -1, -1):
            pull = attraction[part] / self._noise
            for _ in range(_HORIZON):
                leave = _logsumexp(self._weight + (value[:, self._fresh] - pull)[self._where])
                stay = np.full_like(value, -np.inf)
                onward = value[1:, :-1] + self._late[1:] - pull[1:, None]
                stay[:-1, 1:] = np.where(self._goes_on, onward, -np.inf)
                value = np.logaddexp(stay, leave[:, None] + self._early)
                value = np.maximum(value - value.max(), -1e6)
            values[part] = value
            progress((parts - part) / parts)
        return values


def _same(units: Units, unit: int) -> np.ndarray:
    """Find the units that sound the same as `unit` in its place [shape=(N,), bool]."""
    return (units.label == units.label[unit]) & (np.abs(units.shift - units.shift[unit]) < _ALIGNED)


def _shortness(played: np.ndarray, units: Units) -> np.ndarray:
    """Return how short runs are, by units played: 1 for none, 0 for at least a bar (or 1.6 s)."""
    period = float(np.median(np.diff(units.bounds))) / units.rate
    bar = float(units.meter) if units.whole_bar else max(1.6 / period, 1.0)
    return np.clip(1.0 - played / bar, 0.0, 1.0)


def _lateness(played: np.ndarray, units: Units, temperature: float) -> np.ndarray:
    """Return the cost of one more unit in runs, by units played: low temperatures let them go on longer."""
    period = float(np.median(np.diff(units.bounds))) / units.rate
    bars = 2.0 * units.meter if units.whole_bar else max(3.0 / period, 1.0)
    wanted = min(bars, max(LONG_RUN / period, 1.0)) * temperature**-0.5
    return _LATE * temperature * np.maximum(played / wanted - 0.75, 0.0)


def _logsumexp(values: np.ndarray) -> np.ndarray:
    """Add values given as logarithms, over the last axis; rows without a finite value give -inf."""
    top = values.max(axis=-1)
    safe = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return safe + np.log(np.exp(values - safe[..., None]).sum(axis=-1))


class _Verbatim:
    """How long a stretch of the source the output's end repeats, wherever in the source that stretch lies.

    A match is a unit that is the same recording as the last one played. It goes on from the match before it
    if the recordings also follow each other at the same distance, as far as joins can tell (`_ALIGNED`).
    """

    def __init__(self, units: Units) -> None:
        self._units = units
        self._begin = units.bounds[:-1] / units.rate
        self.seconds = np.diff(units.bounds) / units.rate
        order = np.argsort(units.label, kind="stable")
        self._members = np.split(order, np.flatnonzero(np.diff(units.label[order])) + 1)
        self._matches = np.zeros(0, dtype=np.int64)
        self._lengths = np.zeros(0)
        self._ends = np.zeros(0)  # where in the source each match ends, in seconds
        self.longest = 0.0
        self.now = 0.0  # seconds of source played
        self.covered = 0.0  # end of the last run of over LONG_RUN
        self.long = 0.0  # seconds inside such runs

    def after(self) -> np.ndarray:
        """Return the seconds of the run that each next unit would make or continue [shape=(N,)]."""
        longest = np.zeros(len(self.seconds))
        units = self._units
        for match, length, end in zip(self._matches, self._lengths, self._ends, strict=True):
            following = match + 1
            if following < len(longest):
                like = self._members[units.label[following]]
                begin = self._begin[following] + units.shift[following] - units.shift[like]
                goes_on = like[np.abs(begin - end) < _ALIGNED]
                longest[goes_on] = np.maximum(longest[goes_on], length)
        return longest + self.seconds

    def long_after(self, length: np.ndarray) -> np.ndarray:
        """Return what `long` would be after each next unit [shape=(N,)], from `after`'s lengths."""
        end = self.now + self.seconds
        return self.long + np.where(length > LONG_RUN, end - np.maximum(end - length, self.covered), 0.0)

    def push(self, unit: int) -> None:
        """Play a unit."""
        units = self._units
        matches = self._members[units.label[unit]]
        begins = self._begin[matches] + units.shift[matches] - units.shift[unit]
        lengths = np.full(len(matches), self.seconds[unit])
        where = np.searchsorted(self._matches, matches - 1)
        known = np.flatnonzero(where < len(self._matches))
        known = known[self._matches[where[known]] == matches[known] - 1]
        known = known[np.abs(self._ends[where[known]] - begins[known]) < _ALIGNED]
        lengths[known] += self._lengths[where[known]]
        self._matches, self._lengths, self._ends = matches, lengths, begins + self.seconds[unit]
        length = float(lengths.max())
        self.now += float(self.seconds[unit])
        self.longest = max(self.longest, length)
        if length > LONG_RUN:
            self.long += self.now - max(self.now - length, self.covered)
            self.covered = self.now


@dataclass(frozen=True)
class _Step:
    """One unit of a walk, played as `Run` says; `jumped` tells that a run begins."""

    unit: int
    start: float
    semitones: int
    stretch: float
    gain: float
    jumped: bool


def walk(
    transitions: Transitions,
    outlook: Outlook,
    parameters: Parameters,
    tonic: np.ndarray,
    rng: np.random.Generator,
    progress: Callable[[float], None],
    pulse: float | None = None,
    price: np.ndarray | None = None,
) -> Iterator[Path]:
    """Draw a path, and end it as it is asked to.

    Parameters
    ----------
    transitions : Transitions
        The source's.
    outlook : Outlook
        The source's, at the same temperature.
    parameters : Parameters
        `duration`, `temperature`, `top_k`, `top_p`, `guidance_scale` and `ending` are used.
    tonic : np.ndarray [shape=(12,)]
        Pitch classes of the chord to end with, of unit length; 0 where none is home.
    rng : np.random.Generator
        The random stream of the candidate.
    progress : callable
        Called with the share done, in [0, 1], every few units; whatever it raises passes through.
    pulse : float, optional
        Seconds that every unit is to last; by default as long as in the source, evened out at joins.
    price : np.ndarray [shape=(N,)], optional
        Cost of playing each unit, besides all others.

    Yields
    ------
    Path
        The same one with some ends, the most natural one first; the last is the plainest.
    """
    units, duration = transitions.units, parameters.duration
    if pulse is None:
        steps = _steps(transitions, outlook, parameters, duration, rng, progress, price=price)
    else:
        longest = float(np.diff(units.bounds).max()) / units.rate
        beyond = _UNEVEN * duration + 2.0 * longest
        steps = _steps(transitions, outlook, parameters, duration, rng, progress, beyond=beyond, price=price)
        times = pulse * np.arange(len(steps) + 1)
        steps = _on_grid(units, steps, times)[: int(np.searchsorted(times, duration + 0.1))]
    yield from _finishes(transitions, steps, parameters, tonic)


def walk_round(
    transitions: Transitions,
    outlook: Outlook,
    parameters: Parameters,
    rng: np.random.Generator,
    progress: Callable[[float], None],
    pulse: float | None = None,
    speed: float = 1.0,
    price: np.ndarray | None = None,
) -> list[Path]:
    """Draw a path of whole bars whose end leads to its beginning.

    A walk is drawn that is long enough. The bar that it ends with is chosen anew among all of the source, by
    how well it follows the one before and leads to the first.

    Parameters
    ----------
    transitions, outlook, rng, progress, pulse, price
        As `walk` takes them.
    parameters : Parameters
        `bars`, `temperature`, `top_k`, `top_p` and `guidance_scale` are used.
    speed : float
        How fast the path will be played (`at_speed`).

    Returns
    -------
    list of Path
        The same round, begun at each of its bars. Its `ending` is ``"loop"``, and its `end` when it begins
        again.

    Raises
    ------
    GenerationError
        ``no_bars`` if the source has none, or too few; ``loop_too_long`` if they last over 300 s.
    """
    units = transitions.units
    reach.require_bars(units.whole_bar)
    assert parameters.bars
    size, count = units.whole_bar, parameters.bars * units.whole_bar
    longest = float(np.diff(units.bounds).max()) / units.rate
    period = float(np.median(np.diff(units.bounds))) / units.rate
    if count * period > LONGEST_LOOP * speed:
        raise GenerationError(
            "loop_too_long", f"{parameters.bars} bars of the track last over {LONGEST_LOOP:g} s."
        )
    long = 1.3 * count * period + 2.0 * longest
    steps = _steps(transitions, outlook, parameters, long, rng, progress, price=price)
    kept = steps[: count - size]
    starts = _bars(units, size, 0)
    if len(kept) < count - size or not len(starts):
        raise GenerationError("no_bars", "The track has too few bars for a loop.")
    kept = _closed(transitions, kept, starts, size, None, parameters, rng)
    rounds = []
    for begin in range(0, count, size):
        turned = [*kept[begin:], *kept[:begin]]
        turned[0] = replace(turned[0], jumped=True, gain=0.0)
        if pulse is None:
            times = np.cumsum([0.0, *(_seconds(units, step.unit) * step.stretch for step in turned)])
        else:
            times = pulse * np.arange(count + 1)
        end = _End(0.0, count, -1, "loop", float(times[-1]))
        rounds.append(_path(units, _on_grid(units, turned, times), end, end.end))
    return rounds


def walk_on(
    transitions: Transitions,
    outlook: Outlook,
    parameters: Parameters,
    tonic: np.ndarray,
    rng: np.random.Generator,
    progress: Callable[[float], None],
    after: int,
) -> Iterator[Path]:
    """Draw a path as `walk` does, that goes on from unit `after`, but not as the source does."""
    steps = _steps(transitions, outlook, parameters, parameters.duration, rng, progress, after=after)
    yield from _finishes(transitions, steps, parameters, tonic)


def walk_up_to(
    transitions: Transitions,
    outlook: Outlook,
    parameters: Parameters,
    rng: np.random.Generator,
    progress: Callable[[float], None],
    before: int,
) -> Path:
    """Draw a path of at least `duration` that leads to unit `before` of the source.

    Returns
    -------
    Path
        Its `ending` is ``"source"``, and its `end` when that unit begins.
    """
    units, duration = transitions.units, parameters.duration
    size, seconds = units.meter, np.diff(units.bounds) / units.rate
    spare = (3.0 * size + 2.0) * float(seconds.max())
    steps = _steps(transitions, outlook, parameters, duration + spare, rng, progress)
    enough = duration - size * float(seconds.min())
    line = next(k for k, one in enumerate(steps) if one.start >= enough and units.phase[one.unit] == 0)
    kept = _closed(transitions, steps[:line], _bars(units, size, 0), size, before, parameters, rng)
    now = _ended(units, kept)
    return _path(units, kept, _End(0.0, len(kept), -1, "source", now), now)


def walk_between(
    transitions: Transitions,
    outlook: Outlook,
    parameters: Parameters,
    rng: np.random.Generator,
    progress: Callable[[float], None],
    first: int,
    last: int,
) -> Path:
    """Draw a path that takes the place of units `first` to `last` of the source, `last` excluded.

    It sounds like the part of the source that it lies in, and its runs lie on that part's beats.

    Parameters
    ----------
    first, last : int
        At least 1, and 2 apart.

    Returns
    -------
    Path
        Its `ending` is ``"source"``, and its `end` when unit `last` begins.
    """
    units = transitions.units
    count, size = last - first, min(units.meter, last - first - 1)
    times = (units.bounds[first : last + 1] - units.bounds[first]) / units.rate
    spare = 2.0 * float(np.diff(units.bounds).max()) / units.rate
    steps = _steps(
        transitions, outlook, parameters, 1.3 * float(times[-1]) + spare, rng, progress,
        after=first - 1, place=(first + last) // 2,
    )  # fmt: skip
    starts = _bars(units, size, int(units.phase[last] - size) % units.meter)
    others = starts[starts != last - size]
    kept = _closed(
        transitions, steps[: count - size], others if len(others) else starts, size, last, parameters, rng
    )
    kept = _on_grid(units, kept, times)
    return _path(units, kept, _End(0.0, count, -1, "source", float(times[-1])), float(times[-1]))


def _phrases(units: Units) -> list[int]:
    """Return how many units phrases that return may have, the longest first: whole bars, 2, 4, or more."""
    beats = PHRASE_BEATS * max(units.per_beat, 1)
    bar = units.whole_bar or 1
    sizes = [bar * max(_PHRASE_BARS, -(-beats // bar))]
    period = float(np.median(np.diff(units.bounds))) / units.rate
    while 2 * sizes[0] * period <= _LONGEST_PHRASE:
        sizes.insert(0, 2 * sizes[0])
    return sizes


def _returned(
    transitions: Transitions, steps: list[_Step], verbatim: _Verbatim, duration: float
) -> list[_Step]:
    """Let a phrase of the last minute return: of the longest ones that which follows best what was played.

    Their runs come from other places of the source, alike in harmony and rhythm, where there are some; others
    from where they were. Empty where the limits on copies allow none.
    """
    units = transitions.units
    now = _ended(units, steps)
    best: list[_Step] = []
    least = np.inf
    for size in _phrases(units):
        for line in range(len(steps) - size - units.meter + 1):
            if units.phase[steps[line].unit] or steps[line].start < now - _RECALLED:
                continue
            for elsewhere in (True, False):
                phrase, cost = _again(transitions, steps, line, size, elsewhere)
                if cost < least and _allowed(units, steps, phrase, verbatim, duration):
                    best, least = phrase, cost
        if best:
            break
    return best


def _again(
    transitions: Transitions, steps: list[_Step], line: int, size: int, elsewhere: bool
) -> tuple[list[_Step], float]:
    """Play `size` steps from `line` on after all steps, from like places `elsewhere` or from where they were.

    Returns
    -------
    phrase : list of _Step
    cost : float
        Of its joins, and of each run that comes from where it was.
    """
    units = transitions.units
    old = steps[line : line + size]
    begins = [k for k, step in enumerate(old) if step.jumped or k == 0]
    phrase: list[_Step] = []
    cost, now, before = 0.0, _ended(units, steps), steps[-1].unit
    for begin, end in zip(begins, [*begins[1:], size], strict=True):
        first, count = old[begin].unit, end - begin
        places = _like(units, first, count) if elsewhere else np.array([first])
        price = transitions.cost[before, places] + _SAME_PLACE * (np.abs(places - first) < count)
        place = int(places[price.argmin()])
        cost += float(price.min())
        seconds = _ended(units, old[begin:end]) - old[begin].start
        stretch = seconds * units.rate / float(units.bounds[place + count] - units.bounds[place])
        gain = _evened(units, before, place)
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
            now = _ended(units, phrase)
        before = place + count - 1
    return phrase, cost


def _like(units: Units, first: int, count: int) -> np.ndarray:
    """Find where `count` units begin that are like those from `first` on in harmony, rhythm and tempo."""
    starts = _bars(units, count, int(units.phase[first]))
    seconds = np.diff(units.bounds)
    at = starts[:, None] + np.arange(count)
    own = np.arange(first, first + count)
    alike = np.abs(np.log2(seconds[at].sum(axis=1) / seconds[own].sum())) < _AS_FAST
    for described in (units.chroma, units.rhythm):
        alike &= np.einsum("ik,k->i", _standard(described[at]), _standard(described[own][None])[0]) >= _ALIKE
    return starts[alike | (starts == first)] if (starts == first).any() else np.append(starts[alike], first)


def _allowed(
    units: Units, steps: list[_Step], phrase: list[_Step], verbatim: _Verbatim, duration: float
) -> bool:
    """Do the limits on copies and on short passages allow a phrase after what was played?"""
    ahead = copy(verbatim)
    played = list(steps)
    for step in phrase:
        if step.jumped and step.unit in _stutters(played, units, -1):
            return False
        played.append(step)
        ahead.push(step.unit)
    return ahead.longest <= LONGEST_RUN and ahead.long <= LONG_SHARE * duration


def _evened(units: Units, before: int, unit: int) -> float:
    """Return the gain in dB that evens out a jump from unit `before` to `unit` in loudness."""
    expected = float(units.loudness[min(before + 1, len(units) - 1)])
    return float(np.clip(0.6 * (expected - units.loudness[unit]), -2.5, 2.5))


def _standard(phrases: np.ndarray) -> np.ndarray:
    """Bring phrases [shape=(n, units, ...)] to mean 0 and length 1 each [shape=(n, values)], to correlate."""
    flat = phrases.reshape(len(phrases), -1).astype(np.float64)
    flat = flat - flat.mean(axis=1, keepdims=True)
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9))


def _bars(units: Units, size: int, phase: int) -> np.ndarray:
    """Find where `size` playable units follow each other, the first of them at `phase`."""
    starts = np.flatnonzero(units.phase == phase)
    starts = starts[starts + size <= len(units)]
    return starts[[bool(units.playable[start : start + size].all()) for start in starts]]


def _closed(
    transitions: Transitions,
    kept: list[_Step],
    starts: np.ndarray,
    size: int,
    target: int | None,
    parameters: Parameters,
    rng: np.random.Generator,
) -> list[_Step]:
    """Add `size` units of the source that follow what is kept and lead to `target`; None is the beginning.

    Among those that begin at `starts` one is drawn, which is as loud as what it leads to.
    """
    units = transitions.units

    def step(one: int, other: np.ndarray | int) -> np.ndarray:
        cost = transitions.cost[one, other].astype(np.float64) + _JUMP
        return np.where(np.asarray(other) == one + 1, 0.0, cost)

    if target is None and kept:
        target = kept[0].unit
    cost = np.array(
        [float(step(int(start) + size - 1, int(start) if target is None else target)) for start in starts]
    )
    cost[~np.isfinite(cost)] = _NEVER
    if target is not None:
        apart = _loudness(units, starts, size) - _loudness(units, np.array([target]), size)
        cost += _SOFTER * np.maximum(np.abs(apart) - 0.5, 0.0)
    if kept:
        cost += step(kept[-1].unit, starts)
        cost += _AGAIN * np.isin(units.label[starts], units.label[[one.unit for one in kept]])
    noise = _noise(parameters.temperature)
    start = int(starts[_draw(-cost / noise, parameters.top_k, parameters.top_p, rng)])
    kept = list(kept)
    for unit in range(start, start + size):
        now = _ended(units, kept)
        if kept and unit == kept[-1].unit + 1:
            kept.append(replace(kept[-1], unit=unit, start=now, gain=0.0, jumped=False))
        else:
            old = kept[-1] if kept and unit > start else None
            kept.append(_Step(unit, now, 0, old.stretch if old else 1.0, 0.0, old is None))
    return kept


def _loudness(units: Units, starts: np.ndarray, size: int) -> np.ndarray:
    """Return the mean power of `size` units from each start on, in dB."""
    at = np.minimum(starts[:, None] + np.arange(size), len(units) - 1)
    return np.asarray(10.0 * np.log10((10.0 ** (units.loudness[at] / 10.0)).mean(axis=1)))


def unit_times(units: Units, path: Path) -> np.ndarray:
    """Return when each unit of a path begins, in playing order [shape=(units,), seconds]."""
    return np.concatenate(
        [
            run.start
            + (units.bounds[run.first : run.last] - units.bounds[run.first]) / units.rate * run.stretch
            for run in path.runs
        ]
    )


def _ended(units: Units, steps: list[_Step]) -> float:
    """Return when steps end, in seconds."""
    return steps[-1].start + _seconds(units, steps[-1].unit) * steps[-1].stretch if steps else 0.0


def at_speed(path: Path, speed: float, semitones: int) -> Path:
    """Play a path faster or slower, and higher or lower.

    Parameters
    ----------
    path : Path
        What is played.
    speed : float
        The new tempo over the old one.
    semitones : int
        How far it is transposed up.

    Returns
    -------
    Path
    """
    runs = tuple(
        replace(
            run, start=run.start / speed, stretch=run.stretch / speed, semitones=run.semitones + semitones
        )
        for run in path.runs
    )
    return replace(path, runs=runs, end=path.end / speed, hold=path.hold / speed)


def _on_grid(units: Units, steps: list[_Step], times: np.ndarray) -> list[_Step]:
    """Let runs begin and end where `times` [shape=(len(steps) + 1,), seconds] say that their units do."""
    begins = [k for k, step in enumerate(steps) if step.jumped or k == 0]
    laid = []
    for begin, end in zip(begins, [*begins[1:], len(steps)], strict=True):
        source = sum(_seconds(units, step.unit) for step in steps[begin:end])
        stretch = float(times[end] - times[begin]) / source
        now = float(times[begin])
        for step in steps[begin:end]:
            laid.append(replace(step, start=now, stretch=stretch))
            now += _seconds(units, step.unit) * stretch
    return laid


def _steps(
    transitions: Transitions,
    outlook: Outlook,
    parameters: Parameters,
    duration: float,
    rng: np.random.Generator,
    progress: Callable[[float], None],
    after: int | None = None,
    place: int | None = None,
    beyond: float = 0.0,
    price: np.ndarray | None = None,
) -> list[_Step]:
    """Draw the steps of a walk of `duration` seconds.

    It goes on from unit `after` of the source, where that is given, by a jump that keeps the bar; and stays
    near unit `place`, instead of telling the source's story. It goes on for `beyond` seconds more. A phrase
    returns in each half minute. Where a key is asked for, nothing is transposed out of it.
    """
    units = transitions.units
    noise = _noise(parameters.temperature)
    seconds = np.diff(units.bounds) / units.rate
    period = float(np.median(seconds))
    local = _local_period(seconds)
    steady = _over_bars(local, units.meter)
    if place is None:
        form = _form(units, duration, parameters.temperature, rng)
    else:
        form = np.sqrt(((units.section[place] - units.section) ** 2).sum(axis=1))[None]
    attraction = np.maximum(form - _ROOM, 0.0) * (_FORM * parameters.guidance_scale / 3.0)
    if price is not None:
        attraction = attraction + price
    values = outlook.values(attraction, lambda done: progress(0.5 * done))
    usual = np.bincount(units.label) / len(units) * (_MEMORY / np.log(2.0) / period)
    heard = np.zeros(len(usual))
    used: dict[int, dict[int, int]] = {}
    verbatim = _Verbatim(units)

    steps: list[_Step] = []
    gain = 0.0
    if after is None:
        unit = _begin(units, form[0], duration, noise, rng)
    else:
        cost = transitions.cost[after] + attraction[0]
        cost += _OFF_BAR * (units.phase != (units.phase[after] + 1) % units.meter)
        onward = min(after + 1, len(units) - 1)
        if np.isfinite(np.delete(cost, onward)).any():
            cost[onward] = np.inf
        unit = _draw(-cost / noise, parameters.top_k, parameters.top_p, rng)
        gain = _evened(units, after, unit)
    now, semitones, stretch, played = 0.0, 0, 1.0, 1

    def play(step: _Step) -> None:
        steps.append(step)
        verbatim.push(step.unit)
        heard[:] *= 0.5 ** (float(seconds[step.unit]) / _MEMORY)
        heard[units.label[step.unit]] += 1.0

    returns = _returns(units, duration) if place is None else []
    play(_Step(unit, now, semitones, stretch, gain, True))
    while (now := _ended(units, steps)) < duration + 0.1 + beyond:
        returns = [span for span in returns if now <= span[1]]
        if returns and now >= returns[0][0] and (units.phase[unit] + 1) % units.meter == 0:
            phrase = _returned(transitions, steps, verbatim, duration)
            for step in phrase:
                play(step)
            if phrase:
                del returns[0]
                unit, semitones, stretch = phrase[-1].unit, phrase[-1].semitones, phrase[-1].stretch
                played = len(phrase) - max(k for k, step in enumerate(phrase) if step.jumped)
                continue
        if len(steps) % 8 == 0:
            progress(0.5 + 0.5 * min(now / duration, 1.0))

        if parameters.key is None:
            cost, shifts = transitions.row(unit, semitones)
        else:
            cost, shifts = transitions.cost[unit].astype(np.float64), np.zeros(len(units), dtype=np.int64)
        onward = unit + 1 if unit + 1 < len(units) else -1
        same = _same(units, onward) if onward >= 0 else np.zeros(len(units), dtype=bool)
        early = _EARLY * float(_shortness(np.array(played), units))
        cost += np.where(same, 0.3 * _JUMP, _JUMP + early)
        if units.pulsed:
            cost += 6.0 * np.abs(np.log2(local[unit] * stretch / local))
        for target, times in used.get(int(units.label[unit]), {}).items():
            cost[units.label == target] += _AGAIN * times
        if onward >= 0 and units.playable[onward]:
            cost[onward] = float(_lateness(np.array(played), units, parameters.temperature))
            shifts[onward] = semitones
        section = min(int(now / duration * len(attraction)), len(attraction) - 1)
        cost += attraction[section]
        cost += (_REPEAT * np.maximum(heard - usual, 0.0) / (1.0 + usual))[units.label]

        length = verbatim.after()
        share = LONG_SHARE * (0.5 if returns else 1.0)  # half is left to what is to return
        room = share * duration - verbatim.long_after(length)
        ceiling = np.where(
            length > LONG_RUN, np.minimum(LONGEST_RUN, length + room), np.clip(room, LONG_RUN, LONGEST_RUN)
        )
        left = np.clip(((ceiling - length) / period).astype(np.int64), 0, outlook.most)
        score = -cost / noise + values[section, np.arange(len(units)), left]
        score[length > ceiling] = -np.inf
        score[_stutters(steps, units, onward)] = -np.inf
        if not np.isfinite(score).any():  # everything here is too long a repetition: take the shortest
            score = np.where(np.isfinite(cost), -length * 1e3, -np.inf)
        chosen = _draw(score, parameters.top_k, parameters.top_p, rng)

        jumped = chosen != onward
        if jumped:
            places = used.setdefault(int(units.label[unit]), {})
            places[int(units.label[chosen])] = places.get(int(units.label[chosen]), 0) + 1
            gain = _evened(units, unit, chosen)
            # Half of the difference in tempo is evened out at each join, so the track's own tempo returns.
            tempo = float(steady[unit]) * stretch / float(steady[chosen]) if units.pulsed else 1.0
            ratio = min(max(tempo, 0.81), 1.23) ** 0.5
            stretch = ratio if abs(ratio - 1.0) > 0.015 else 1.0
            semitones, played = int(shifts[chosen]), 0
        played += 1
        unit = chosen
        play(_Step(unit, now, semitones, stretch, gain if jumped else 0.0, jumped))
    return steps


def _returns(units: Units, duration: float) -> list[tuple[float, float]]:
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


def _stutters(steps: list[_Step], units: Units, onward: int) -> list[int]:
    """Find the jumps that would play a passage of under two bars a third time in a row."""
    played = [step.unit for step in steps]
    longest = max(2 * units.meter, _STUTTER_UNITS)
    again = {
        played[-size]
        for size in range(1, min(longest, len(played) // 2) + 1)
        if played[-size:] == played[-2 * size : -size]
    }
    return [unit for unit in again if unit != onward]


def _draw(score: np.ndarray, top_k: int, top_p: float, rng: np.random.Generator) -> int:
    """Draw an index with probability ~ exp(score), from the `top_k` best (0: all) that make up `top_p`."""
    order = np.argsort(-score, kind="stable")
    if top_k:
        order = order[:top_k]
    weight = np.exp(score[order] - score[order[0]])
    if top_p > 0.0:
        inside = np.cumsum(weight) - weight < top_p * weight.sum()
        order, weight = order[inside], weight[inside]
    edges = np.cumsum(weight)
    return int(
        order[min(int(np.searchsorted(edges, rng.random() * edges[-1], side="right")), len(order) - 1)]
    )


def _local_period(seconds: np.ndarray) -> np.ndarray:
    """Return the length of units around each one [shape=(N,)]: the median of nine."""
    padded = np.pad(seconds, 4, mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, 9), axis=1)


def _over_bars(local: np.ndarray, meter: int) -> np.ndarray:
    """Average the lengths of units over two bars [shape=(N,)].

    Units begin with attacks, and an instrument that always plays on the same beat may be early or late.
    Without the average, each jump from the last beat of a bar to a first one would see one change of tempo.
    """
    weights = np.full(2 * meter + 1, 0.5 / meter)
    weights[[0, -1]] /= 2.0
    return np.convolve(np.pad(local, meter, mode="edge"), weights, mode="valid")


def _form(units: Units, duration: float, temperature: float, rng: np.random.Generator) -> np.ndarray:
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
        + rng.uniform(-_STRAY, _STRAY, parts) * temperature ** (_COOL if temperature < 1.0 else 1.5)
    ) / parts
    places = inside[np.clip((drawn * len(inside)).astype(np.int64), 0, len(inside) - 1)]
    return np.sqrt(((units.section[places][:, None] - units.section[None]) ** 2).sum(axis=2))


def _begin(units: Units, apart: np.ndarray, duration: float, noise: float, rng: np.random.Generator) -> int:
    """Draw a unit to begin with: a first beat with an attack, where the track or a part of it begins."""
    change = np.zeros(len(units))
    change[1:] = np.sqrt((np.diff(units.section, axis=0) ** 2).sum(axis=1))
    attack = units.rhythm[:, 0] + 0.5 * change / max(float(change.max()), 1e-6)
    cost = 2.0 * apart + 4.0 * (units.phase != 0) - 0.4 * np.clip(attack, 0.0, 3.0)
    cost -= cost[units.playable].min()
    if duration >= 12.0:
        # The track's own beginning, unless it is a prelude to something else.
        first = int(np.argmax(units.playable))
        cost[first] = 3.0 * max(float(apart[first]) - 1.0, 0.0) - 0.5
    return _draw(np.where(units.playable, -cost / noise, -np.inf), 0, 0.0, rng)


@dataclass(frozen=True)
class _End:
    """A way to end a walk: `unit` follows the first `kept` steps."""

    cost: float
    kept: int
    unit: int
    ending: str
    end: float
    hold: float = 0.0


def _finishes(
    transitions: Transitions, steps: list[_Step], parameters: Parameters, tonic: np.ndarray
) -> Iterator[Path]:
    """Give a walk the end that is asked for: natural ones, the best first, and a fade at last."""
    units, duration = transitions.units, parameters.duration
    if parameters.ending == "cut":
        yield _path(units, steps, _End(0.0, len(steps), -1, "cut", duration), duration)
        return
    ends: list[_End] = []
    if parameters.ending != "fade":
        ends += _own_ends(transitions, steps, duration)
        ends += _last_sounds(transitions, steps, duration, tonic)
    given = own = 0
    for end in sorted(ends, key=lambda one: one.cost)[:_ENDS_TRIED]:
        if end.ending == "own" and own == _OWN_GIVEN:
            continue
        old = steps[end.kept]
        tail = [old] if old.unit == end.unit else [_Step(end.unit, old.start, 0, 1.0, 0.0, True)]
        while tail[-1].unit + 1 < len(units):
            after = tail[-1].start + _seconds(units, tail[-1].unit) * tail[-1].stretch
            if after >= (end.end + end.hold if end.ending == "natural" else duration + 0.1):
                break
            tail.append(_Step(tail[-1].unit + 1, after, tail[0].semitones, tail[0].stretch, 0.0, False))
        path = _path(units, steps[: end.kept] + tail, end, duration)
        if path.longest_verbatim <= LONGEST_RUN + 0.1 and path.long_share <= LONG_SHARE + 0.02:
            yield path
            given += 1
            own += end.ending == "own"
            if given == _ENDS_GIVEN:
                break
    fade = max(duration - min(0.25 * duration, 2.0), 0.0)
    yield _path(units, steps, _End(0.0, len(steps), -1, "fade", fade), duration)


def _seconds(units: Units, unit: int) -> float:
    return float(units.bounds[unit + 1] - units.bounds[unit]) / units.rate


def _own_ends(transitions: Transitions, steps: list[_Step], duration: float) -> Iterator[_End]:
    """Ways into the source's own end, where that dies away after a last sound on a bar line."""
    units = transitions.units
    last = int(np.flatnonzero(units.playable)[-1])
    end = float(units.bounds[last + 1]) / units.rate
    usual = float(np.median(units.loudness[units.playable]))
    heard = units.onsets[units.onsets < end]
    lines = units.bounds[:-1][(units.phase == 0) & units.playable] / units.rate
    if not len(heard) or not units.pulsed or float(units.loudness[last]) > usual - _DIES_AWAY:
        return
    if np.abs(lines - heard[-1]).min() > _ON_LINE or duration < _ROOM_TO_END:
        return
    rest = end - units.bounds[:-1] / units.rate
    for kept in range(1, len(steps)):
        if units.phase[steps[kept].unit] or duration - steps[kept].start > LONGEST_RUN:
            continue
        slack = duration - steps[kept].start - rest
        for unit in np.flatnonzero((slack > 0.0) & (slack < 1.5) & (units.phase == 0) & units.playable):
            cost = float(transitions.cost[steps[kept - 1].unit, unit] + 0.5 * slack[unit]) - _OWN
            yield _End(cost, kept, int(unit), "own", duration - float(slack[unit]))


def _last_sounds(
    transitions: Transitions, steps: list[_Step], duration: float, tonic: np.ndarray
) -> Iterator[_End]:
    """Ways to a last sound on a bar line that dies away: loud, of the tonic, with nothing soon after it."""
    units = transitions.units
    if not units.pulsed:
        return
    begin = units.bounds[:-1] / units.rate
    following = np.append(units.onsets, np.inf)[np.searchsorted(units.onsets, begin + _ATTACK)]
    hold = np.minimum(following - _BEFORE, np.append(begin[1:], np.inf) + 0.5) - begin
    usual = float(np.median(units.loudness[units.playable]))
    clear = np.abs(units.onsets[None] - begin[:, None]).min(axis=1, initial=np.inf) < _ON_LINE
    clear &= units.playable & (hold > _SHORTEST_HOLD)
    # Where no bar of the source begins with an onset, another beat sounds on the last bar line.
    fits = np.flatnonzero(clear & (units.phase == 0) if (clear & (units.phase == 0)).any() else clear)
    home = np.einsum("np,p->n", units.chroma[fits, 0], tonic)
    own = (
        1.0 - home
        + 0.1 * np.maximum(usual - units.loudness[fits], 0.0)
        + 2.0 * np.maximum(0.4 - hold[fits], 0.0)
        - 0.1 * np.clip(units.rhythm[fits, 0], 0.0, 3.0)
    )  # fmt: skip
    longest_end = min(_LONGEST_END, _LONGEST_SHARE * duration)
    usual_end = float(np.clip(_USUAL_SHARE * duration, 0.7, _USUAL_END))
    for kept in range(1, len(steps)):
        remaining = duration - steps[kept].start
        if units.phase[steps[kept].unit] or not _SHORTEST_END <= remaining <= longest_end:
            continue
        cost = transitions.cost[steps[kept - 1].unit, fits] + own + abs(np.log2(remaining / usual_end))
        for unit, each in zip(fits, cost, strict=True):
            played = min(float(hold[unit]), 0.5 * remaining)
            yield _End(float(each), kept, int(unit), "natural", steps[kept].start, played)


def _path(units: Units, steps: list[_Step], end: _End, duration: float) -> Path:
    """Gather steps into runs, and measure what they repeat of the source."""
    verbatim = _Verbatim(units)
    runs: list[Run] = []
    for step in steps:
        verbatim.push(step.unit)
        if not step.jumped and runs:
            old = runs[-1]
            runs[-1] = Run(old.first, step.unit + 1, old.start, old.stretch, old.semitones, old.gain)
        else:
            runs.append(Run(step.unit, step.unit + 1, step.start, step.stretch, step.semitones, step.gain))
    # Steps may go on for a little after the output's end.
    share = verbatim.long / max(duration, verbatim.now)
    return Path(tuple(runs), end.ending, end.end, end.hold, verbatim.longest, share)
