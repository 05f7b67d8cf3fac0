"""Drums: grooves of step patterns, and the fills that lead out of a section."""

from collections.abc import Collection, Mapping

from weights.compose.arrangement import Arrangement
from weights.compose.rhythm import STEPS
from weights.compose.section import Section

# General MIDI's percussion.
KICK, STICK, SNARE, CLAP, HAT, PEDAL_HAT, OPEN_HAT = 36, 37, 38, 39, 42, 44, 46
CRASH, RIDE, TAMBOURINE, COWBELL, CONGA, SHAKER = 49, 51, 54, 56, 63, 70
LOW_TOM = 45
TOMS = (50, 48, 47, 45, 43, 41)

# Groups that play alone in introductions.
KICK_AND_HAT = {KICK, HAT}
TICKING = {HAT, PEDAL_HAT, OPEN_HAT, RIDE, TAMBOURINE, SHAKER}  # softer, and softer still off the beat

VELOCITIES = {"X": 1.15, "x": 1.0, "o": 0.78, "g": 0.5}  # accent, stroke, soft stroke, ghost note

Groove = Mapping[int, str]  # a step pattern for each drum; it may be one bar or two


def play(
    a: Arrangement,
    section: Section,
    groove: Groove,
    velocity: float,
    *,
    fills: float = 0.0,
    fill: str = "toms",
    crash: bool = False,
    only: Collection[int] | None = None,
) -> None:
    """Play a groove over a section.

    Parameters
    ----------
    a : Arrangement
    section : Section
    groove : mapping of int to str
    velocity : float
    fills : float
        How often the last bar has a fill, 0 to 1; a fourth bar has one about a third as often.
    fill : str
        On ``toms``, ``snare`` or drum ``machine``, or a ``break``: nothing but the kick.
    crash : bool
        Begin with the crash cymbal.
    only : collection of int, optional
        Drums of the groove that play.
    """
    rng = a.rng
    last = len(section.bars) - 1
    for bar, start in enumerate(section.starts):
        filled = fills and (bar == last or (bar % 4 == 3 and rng.random() < 0.35)) and rng.random() < fills
        length = rng.choice((4, 4, 8) if a.steps == 16 else (3, 6)) if filled else 0
        for drum, pattern in groove.items():
            if only and drum not in only:
                continue
            for step in range(a.steps if drum == KICK else a.steps - length):
                stroke = pattern[(bar * a.steps + step) % len(pattern)]
                if stroke in VELOCITIES:
                    factor = VELOCITIES[stroke]
                    if drum in TICKING:
                        factor *= 0.72 if step % STEPS == 0 else 0.648
                    a.hit(start + step / STEPS, drum, velocity * factor)
        if crash and bar == 0:
            a.hit(start, CRASH, 0.82 * velocity)
        if filled and fill != "break":
            _fill(a, start, length, velocity, fill)


def _fill(a: Arrangement, start: float, length: int, velocity: float, kind: str) -> None:
    """Fill the last steps of a bar, ever louder."""
    rng = a.rng
    for step in range(0, length, rng.choice((1, 2, 1)) if a.steps == 16 else 1):
        done = step / length
        if kind == "machine":
            drum = rng.choice((SNARE, SNARE, CLAP))
        elif kind == "snare" or done < 0.3:
            drum = SNARE
        else:
            drum = TOMS[int(6 * done)]
        if rng.random() < 0.88:
            a.hit(start + (a.steps - length + step) / STEPS, drum, velocity * (0.72 + 0.35 * done))
