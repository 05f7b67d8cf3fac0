"""What is played: runs of a source's units, one after the other."""

from dataclasses import dataclass, replace

import numpy as np

from music.mosaic.units import Units


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


@dataclass(frozen=True)
class Step:
    """One unit of a walk, played as `Run` says; `jumped` tells that a run begins."""

    unit: int
    start: float
    semitones: int
    stretch: float
    gain: float
    jumped: bool


def seconds_of(units: Units, unit: int) -> float:
    return float(units.bounds[unit + 1] - units.bounds[unit]) / units.rate


def ended(units: Units, steps: list[Step]) -> float:
    """Return when steps end, in seconds."""
    return steps[-1].start + seconds_of(units, steps[-1].unit) * steps[-1].stretch if steps else 0.0


def unit_times(units: Units, path: Path) -> np.ndarray:
    """Return when each unit of a path begins, in playing order [shape=(units,), seconds]."""
    return np.concatenate(
        [
            run.start
            + (units.bounds[run.first : run.last] - units.bounds[run.first]) / units.rate * run.stretch
            for run in path.runs
        ]
    )


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
