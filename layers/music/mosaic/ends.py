"""How a walk ends: in the source's own end, in a last sound that dies away, or faded out."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from music.interfaces import Parameters
from music.mosaic.path import Path, Run, Step, seconds_of
from music.mosaic.transitions import Transitions
from music.mosaic.units import Units
from music.mosaic.verbatim import LONG_SHARE, LONGEST_RUN, Verbatim

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
class End:
    """A way to end a walk: `unit` follows the first `kept` steps."""

    cost: float
    kept: int
    unit: int
    ending: str
    end: float
    hold: float = 0.0


def finishes(
    transitions: Transitions, steps: list[Step], parameters: Parameters, tonic: np.ndarray
) -> Iterator[Path]:
    """Give a walk the end that is asked for: natural ones, the best first, and a fade at last."""
    units, duration = transitions.units, parameters.duration
    if parameters.ending == "cut":
        yield gathered(units, steps, End(0.0, len(steps), -1, "cut", duration), duration)
        return
    ends: list[End] = []
    if parameters.ending != "fade":
        ends += _own_ends(transitions, steps, duration)
        ends += _last_sounds(transitions, steps, duration, tonic)
    given = own = 0
    for end in sorted(ends, key=lambda one: one.cost)[:_ENDS_TRIED]:
        if end.ending == "own" and own == _OWN_GIVEN:
            continue
        old = steps[end.kept]
        tail = [old] if old.unit == end.unit else [Step(end.unit, old.start, 0, 1.0, 0.0, True)]
        while tail[-1].unit + 1 < len(units):
            after = tail[-1].start + seconds_of(units, tail[-1].unit) * tail[-1].stretch
            if after >= (end.end + end.hold if end.ending == "natural" else duration + 0.1):
                break
            tail.append(Step(tail[-1].unit + 1, after, tail[0].semitones, tail[0].stretch, 0.0, False))
        path = gathered(units, steps[: end.kept] + tail, end, duration)
        if path.longest_verbatim <= LONGEST_RUN + 0.1 and path.long_share <= LONG_SHARE + 0.02:
            yield path
            given += 1
            own += end.ending == "own"
            if given == _ENDS_GIVEN:
                break
    fade = max(duration - min(0.25 * duration, 2.0), 0.0)
    yield gathered(units, steps, End(0.0, len(steps), -1, "fade", fade), duration)


def _own_ends(transitions: Transitions, steps: list[Step], duration: float) -> Iterator[End]:
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
            yield End(cost, kept, int(unit), "own", duration - float(slack[unit]))


def _last_sounds(
    transitions: Transitions, steps: list[Step], duration: float, tonic: np.ndarray
) -> Iterator[End]:
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
            yield End(float(each), kept, int(unit), "natural", steps[kept].start, played)


def gathered(units: Units, steps: list[Step], end: End, duration: float) -> Path:
    """Gather steps into runs, and measure what they repeat of the source."""
    verbatim = Verbatim(units)
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
