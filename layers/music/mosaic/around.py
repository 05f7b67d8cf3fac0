"""New music beside a source or inside it: the source stays what it is up to the seams."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from music.interfaces import GenerationError, Section
from music.mosaic.path import Path, Run, unit_times
from music.mosaic.synthesis import REACH, Join, render, surest_end
from music.mosaic.units import Units

_CONTEXT = 4  # units of the source that are played before a seam and after one
_DIES_AWAY = 9.0  # dB below the usual loudness: there a source is about to end, or has not begun
_BESIDE, _SLOWLY_BESIDE = 0.15, REACH  # seconds from a seam within which its crossfade lies; without a pulse
_ON_BEAT = 0.06  # seconds; units may be halves of beats
_FEWEST = 3  # units of a region

Progress = Callable[[float], None]


@dataclass(frozen=True, eq=False)
class Made:
    """What was drawn and played.

    Attributes
    ----------
    path : Path
        All of it, the source's part included.
    audio : np.ndarray [shape=(channels, n), float32]
    joins : list of Join
    details : dict
        What is told of it besides, JSON-ready.
    new : tuple of (int, int) or None
        Where what is new begins and ends, in samples; None is all of it.
    step_round : float
        LU by which a loop's last bar is louder or softer than its first.
    fault : str or None
        Why it is not to be given to anybody: ``"tempo"`` or ``"key"``, where what is asked for is not heard;
        ``"uneven_loop"``, where a loop is.
    """

    path: Path
    audio: np.ndarray
    joins: list[Join]
    details: dict[str, Any] = field(default_factory=dict)
    new: tuple[int, int] | None = None
    step_round: float = 0.0
    fault: str | None = None


def last_seam(units: Units, found: Sequence[float]) -> int:
    """Return the unit that begins on the last bar line, or beat, before the source dies away.

    Parameters
    ----------
    units : Units
        The source's. They go on to its end; bars and beats may stop before.
    found : sequence of float
        When its bars begin, or its beats where it has no bars, in seconds. Where the last of them ends is
        still a bar line, or a beat; later ones are guessed.
    """
    lines = np.flatnonzero(np.append(units.phase, (units.phase[-1] + 1) % units.meter) == 0)
    if len(found) > 1:
        end = found[-1] + float(np.median(np.diff(found)))
        lines = lines[units.bounds[lines] <= (end + _ON_BEAT) * units.rate]
    sounding = [int(line) for line in lines if line > 0 and _sounds(units)[line - 1]]
    return sounding[-1] if sounding else len(units)


def first_seam(units: Units) -> int:
    """Return the unit that begins on the first bar line, or beat, of the source's sound."""
    sounding = np.flatnonzero((units.phase == 0) & _sounds(units))
    return int(sounding[0]) if len(sounding) else 0


def seams_inside(units: Units, region: Section, beats: Sequence[float]) -> tuple[int, int]:
    """Return the units, on beats, between which a region can be made anew.

    Crossfades lie inside the region, too: beats nearer to its edges than they take are passed over.

    Raises
    ------
    GenerationError
        ``region_too_short``
    """
    beside = _BESIDE if units.pulsed else _SLOWLY_BESIDE
    times = units.bounds / units.rate
    inside = np.flatnonzero((times >= region.start + beside) & (times <= region.end - beside))
    inside = inside[(inside > 0) & (inside < len(units))]
    if units.pulsed:
        off = np.abs(times[inside][:, None] - np.array(beats)[None]).min(axis=1, initial=np.inf)
        inside = inside[off < _ON_BEAT]
    if len(inside) < 2 or inside[-1] - inside[0] < _FEWEST:
        raise GenerationError(
            "region_too_short",
            f"From {region.start:g} to {region.end:g} s there are no {_FEWEST} whole beats with {beside:g} s"
            " beside them, which crossfades need.",
        )
    return int(inside[0]), int(inside[-1])


def extended(
    source: np.ndarray,
    units: Units,
    ends: Iterable[Path],
    seam: int,
    samples: int,
    step: float,
    progress: Progress,
) -> Made:
    """Play the source up to a seam, and `samples` of a path from there on, ended as is surest."""
    path = surest_end(source, units, ends, samples, step)
    first = max(seam - _CONTEXT, 0)
    begin, at = int(units.bounds[first]), int(units.bounds[seam])
    near = _shifted(path, (at - begin) / units.rate, before=Run(first, seam, 0.0, 1.0, 0, 0.0))
    audio, joins = render(source, units, near, at - begin + samples, step, progress)
    audio = np.concatenate([source[:, :begin], audio], axis=1)
    whole = _shifted(path, at / units.rate, before=_source(units, 0, seam))
    details = {"seam": round(at / units.rate, 4)}
    return Made(whole, audio, _later(joins, begin / units.rate), details, (at, audio.shape[1]))


def preceded(
    source: np.ndarray,
    units: Units,
    path: Path,
    seam: int,
    samples: int,
    step: float,
    progress: Progress,
) -> Made:
    """Play the last `samples` of a path, and the source from unit `seam` on."""
    rate = units.rate
    last = min(seam + _CONTEXT, len(units))
    begin, stop = int(units.bounds[seam]), int(units.bounds[last])
    at = round(path.end * rate)
    near = replace(path, runs=(*path.runs, Run(seam, last, at / rate, 1.0, 0, 0.0)))
    audio, joins = render(source, units, near, at + stop - begin, step, progress, into_source=True)
    cut = at - samples
    audio = audio[:, cut:]
    rise = min(int(np.ceil(_until_unit(units, path, cut / rate) * rate)), samples)
    audio[:, :rise] *= (np.sin(0.5 * np.pi * np.arange(rise) / max(rise, 1)) ** 2).astype(np.float32)
    audio = np.concatenate([audio, source[:, stop:]], axis=1)
    whole = _shifted(path, -cut / rate, after=_source(units, seam, len(units), samples / rate))
    joins = [join for join in _later(joins, -cut / rate) if join.time > 0.0]
    return Made(whole, audio, joins, {"seam": round(samples / rate, 4)}, (0, samples))


def repainted(
    source: np.ndarray,
    units: Units,
    path: Path,
    seams: tuple[int, int],
    region: Section,
    step: float,
    progress: Progress,
) -> Made:
    """Play the source with a path between two units, and every sample outside the region as it is."""
    rate = units.rate
    begin, end = int(np.ceil(region.start * rate)), int(region.end * rate)
    first = max(int(np.searchsorted(units.bounds, begin, side="right")) - 1, 0)
    last = min(int(np.searchsorted(units.bounds, end)), len(units))
    origin, at = int(units.bounds[first]), int(units.bounds[seams[0]])
    near = _shifted(path, (at - origin) / rate, before=Run(first, seams[0], 0.0, 1.0, 0, 0.0))
    back = Run(seams[1], last, (int(units.bounds[seams[1]]) - origin) / rate, 1.0, 0, 0.0)
    near = replace(near, runs=(*near.runs, back))
    made, joins = render(
        source, units, near, int(units.bounds[last]) - origin, step, progress, into_source=True
    )
    audio = source.copy()
    begin, end = max(begin, origin), min(end, int(units.bounds[last]))
    audio[:, begin:end] = np.clip(made[:, begin - origin : end - origin], -1.0, 1.0)
    whole = _shifted(
        path, at / rate, before=_source(units, 0, seams[0]), after=_source(units, seams[1], len(units))
    )
    edges = [round(float(units.bounds[seam]) / rate, 4) for seam in seams]
    details = {"region_start": edges[0], "region_end": edges[1]}
    return Made(whole, audio, _later(joins, origin / rate), details, (begin, end))


def _sounds(units: Units) -> np.ndarray:
    """Return which units are not much softer than usual [shape=(N,), bool]."""
    usual = float(np.median(units.loudness[units.playable]))
    return units.playable & (units.loudness > usual - _DIES_AWAY)


def _source(units: Units, first: int, last: int, start: float | None = None) -> Run:
    """Return units of the source as they are."""
    begin = float(units.bounds[first]) / units.rate
    return Run(first, last, begin if start is None else start, 1.0, 0, 0.0)


def _shifted(path: Path, seconds: float, before: Run | None = None, after: Run | None = None) -> Path:
    """Play a path later, between other runs."""
    runs = [replace(run, start=run.start + seconds) for run in path.runs]
    runs = [*([before] if before else []), *runs, *([after] if after else [])]
    return replace(path, runs=tuple(runs), end=path.end + seconds)


def _later(joins: list[Join], seconds: float) -> list[Join]:
    return [replace(join, time=join.time + seconds) for join in joins]


def _until_unit(units: Units, path: Path, time: float) -> float:
    """Return the seconds from a time in a path to when the next unit begins."""
    begins = np.append(unit_times(units, path), path.end)
    return float(begins[begins >= time - 1e-6].min() - time)
