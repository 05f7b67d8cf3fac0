"""Walking a new path through the units of a source.

The walk is a draw from ``p(path) ~ exp(-cost(path) / temperature)``. `Transitions` has what each step costs,
and `Outlook` what lies behind it. Costs that depend on what has been played (repetition, the form, verbatim
limits) are added step by step.

References
----------
.. [1] Schwarz, "Data-Driven Concatenative Sound Synthesis", PhD thesis, Université Paris 6, 2004.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from music import reach
from music.interfaces import GenerationError, Parameters
from music.mosaic.ends import End, finishes, gathered
from music.mosaic.form import bars_of, form_of, returned, returns_of
from music.mosaic.outlook import EARLY, Outlook, lateness, noise_at, shortness
from music.mosaic.path import Path, Step, ended, seconds_of
from music.mosaic.transitions import JUMP, OFF_BAR, Transitions, evened
from music.mosaic.units import Units
from music.mosaic.verbatim import LONG_RUN, LONG_SHARE, LONGEST_RUN, Verbatim, same_as, stutters

LONGEST_LOOP = 300.0
"""Seconds."""

_FORM = 0.6  # weight of being in another part of the track than the form asks for,
_ROOM = 0.4  # unless it differs less than this from that part
_REPEAT = 1.5  # weight of hearing a unit again soon
_NEVER = 1e3  # cost of what is not to be played, where something has to be
_SOFTER = 0.5  # for each dB by which the last bar differs from what it leads to
_AGAIN = 0.8  # cost of each earlier use of the same jump
_MEMORY = 30.0  # seconds in which half of the past is forgotten
_UNEVEN = 0.1  # of a walk's duration that a steady pulse may take from it


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
    yield from finishes(transitions, steps, parameters, tonic)


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
    starts = bars_of(units, size, 0)
    if len(kept) < count - size or not len(starts):
        raise GenerationError("no_bars", "The source has too few bars for a loop.")
    kept = _closed(transitions, kept, starts, size, None, parameters, rng)
    rounds = []
    for begin in range(0, count, size):
        turned = [*kept[begin:], *kept[:begin]]
        turned[0] = replace(turned[0], jumped=True, gain=0.0)
        if pulse is None:
            times = np.cumsum([0.0, *(seconds_of(units, step.unit) * step.stretch for step in turned)])
        else:
            times = pulse * np.arange(count + 1)
        end = End(0.0, count, -1, "loop", float(times[-1]))
        rounds.append(gathered(units, _on_grid(units, turned, times), end, end.end))
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
    yield from finishes(transitions, steps, parameters, tonic)


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
    kept = _closed(transitions, steps[:line], bars_of(units, size, 0), size, before, parameters, rng)
    now = ended(units, kept)
    return gathered(units, kept, End(0.0, len(kept), -1, "source", now), now)


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
    starts = bars_of(units, size, int(units.phase[last] - size) % units.meter)
    others = starts[starts != last - size]
    kept = _closed(
        transitions, steps[: count - size], others if len(others) else starts, size, last, parameters, rng
    )
    kept = _on_grid(units, kept, times)
    return gathered(units, kept, End(0.0, count, -1, "source", float(times[-1])), float(times[-1]))


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
) -> list[Step]:
    """Draw the steps of a walk of `duration` seconds.

    It goes on from unit `after` of the source, where that is given, by a jump that keeps the bar; and stays
    near unit `place`, instead of telling the source's story. It goes on for `beyond` seconds more. A phrase
    returns in each half minute. Where a key is asked for, nothing is transposed out of it.
    """
    units = transitions.units
    noise = noise_at(parameters.temperature)
    seconds = np.diff(units.bounds) / units.rate
    period = float(np.median(seconds))
    local = _local_period(seconds)
    steady = _over_bars(local, units.meter)
    if place is None:
        form = form_of(units, duration, parameters.temperature, rng)
    else:
        form = np.sqrt(((units.section[place] - units.section) ** 2).sum(axis=1))[None]
    attraction = np.maximum(form - _ROOM, 0.0) * (_FORM * parameters.guidance_scale / 3.0)
    if price is not None:
        attraction = attraction + price
    values = outlook.values(attraction, lambda done: progress(0.5 * done))
    usual = np.bincount(units.label) / len(units) * (_MEMORY / np.log(2.0) / period)
    heard = np.zeros(len(usual))
    used: dict[int, dict[int, int]] = {}
    verbatim = Verbatim(units)

    steps: list[Step] = []
    gain = 0.0
    if after is None:
        unit = _begin(units, form[0], duration, noise, rng)
    else:
        cost = transitions.cost[after] + attraction[0]
        cost += OFF_BAR * (units.phase != (units.phase[after] + 1) % units.meter)
        onward = min(after + 1, len(units) - 1)
        if np.isfinite(np.delete(cost, onward)).any():
            cost[onward] = np.inf
        unit = _draw(-cost / noise, parameters.top_k, parameters.top_p, rng)
        gain = evened(units, after, unit)
    now, semitones, stretch, played = 0.0, 0, 1.0, 1

    def play(step: Step) -> None:
        steps.append(step)
        verbatim.push(step.unit)
        heard[:] *= 0.5 ** (float(seconds[step.unit]) / _MEMORY)
        heard[units.label[step.unit]] += 1.0

    returns = returns_of(units, duration) if place is None else []
    play(Step(unit, now, semitones, stretch, gain, True))
    while (now := ended(units, steps)) < duration + 0.1 + beyond:
        returns = [span for span in returns if now <= span[1]]
        if returns and now >= returns[0][0] and (units.phase[unit] + 1) % units.meter == 0:
            phrase = returned(transitions, steps, verbatim, duration)
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
        same = same_as(units, onward) if onward >= 0 else np.zeros(len(units), dtype=bool)
        early = EARLY * float(shortness(np.array(played), units))
        cost += np.where(same, 0.3 * JUMP, JUMP + early)
        if units.pulsed:
            cost += 6.0 * np.abs(np.log2(local[unit] * stretch / local))
        for target, times in used.get(int(units.label[unit]), {}).items():
            cost[units.label == target] += _AGAIN * times
        if onward >= 0 and units.playable[onward]:
            cost[onward] = float(lateness(np.array(played), units, parameters.temperature))
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
        score[stutters(steps, units, onward)] = -np.inf
        if not np.isfinite(score).any():  # everything here is too long a repetition: take the shortest
            score = np.where(np.isfinite(cost), -length * 1e3, -np.inf)
        chosen = _draw(score, parameters.top_k, parameters.top_p, rng)

        jumped = chosen != onward
        if jumped:
            places = used.setdefault(int(units.label[unit]), {})
            places[int(units.label[chosen])] = places.get(int(units.label[chosen]), 0) + 1
            gain = evened(units, unit, chosen)
            # Half of the difference in tempo is evened out at each join, so the track's own tempo returns.
            tempo = float(steady[unit]) * stretch / float(steady[chosen]) if units.pulsed else 1.0
            ratio = min(max(tempo, 0.81), 1.23) ** 0.5
            stretch = ratio if abs(ratio - 1.0) > 0.015 else 1.0
            semitones, played = int(shifts[chosen]), 0
        played += 1
        unit = chosen
        play(Step(unit, now, semitones, stretch, gain if jumped else 0.0, jumped))
    return steps


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


def _closed(
    transitions: Transitions,
    kept: list[Step],
    starts: np.ndarray,
    size: int,
    target: int | None,
    parameters: Parameters,
    rng: np.random.Generator,
) -> list[Step]:
    """Add `size` units of the source that follow what is kept and lead to `target`; None is the beginning.

    Among those that begin at `starts` one is drawn, which is as loud as what it leads to.
    """
    units = transitions.units

    def step(one: int, other: np.ndarray | int) -> np.ndarray:
        cost = transitions.cost[one, other].astype(np.float64) + JUMP
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
    noise = noise_at(parameters.temperature)
    start = int(starts[_draw(-cost / noise, parameters.top_k, parameters.top_p, rng)])
    kept = list(kept)
    for unit in range(start, start + size):
        now = ended(units, kept)
        if kept and unit == kept[-1].unit + 1:
            kept.append(replace(kept[-1], unit=unit, start=now, gain=0.0, jumped=False))
        else:
            old = kept[-1] if kept and unit > start else None
            kept.append(Step(unit, now, 0, old.stretch if old else 1.0, 0.0, old is None))
    return kept


def _loudness(units: Units, starts: np.ndarray, size: int) -> np.ndarray:
    """Return the mean power of `size` units from each start on, in dB."""
    at = np.minimum(starts[:, None] + np.arange(size), len(units) - 1)
    return np.asarray(10.0 * np.log10((10.0 ** (units.loudness[at] / 10.0)).mean(axis=1)))


def _on_grid(units: Units, steps: list[Step], times: np.ndarray) -> list[Step]:
    """Let runs begin and end where `times` [shape=(len(steps) + 1,), seconds] say that their units do."""
    begins = [k for k, step in enumerate(steps) if step.jumped or k == 0]
    laid = []
    for begin, end in zip(begins, [*begins[1:], len(steps)], strict=True):
        source = sum(seconds_of(units, step.unit) for step in steps[begin:end])
        stretch = float(times[end] - times[begin]) / source
        now = float(times[begin])
        for step in steps[begin:end]:
            laid.append(replace(step, start=now, stretch=stretch))
            now += seconds_of(units, step.unit) * stretch
    return laid


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
