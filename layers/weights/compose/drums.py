"""Drums: grooves of step patterns, and the fills that lead out of a section."""

import random
from collections.abc import Collection, Mapping

from weights.compose.arrangement import Arrangement
from weights.compose.chance import lines
from weights.compose.rhythm import STEPS
from weights.compose.section import Section

# They play alone in introductions.
KICK_AND_HAT = {"kick", "hat"}

# Softer than other drums, and softer still off the beat.
_TICKING = {"hat", "pedal", "open", "ride", "tambourine", "shaker"}

VELOCITIES = {"X": 1.15, "x": 1.0, "o": 0.78, "g": 0.5}  # accent, stroke, soft stroke, ghost note

Groove = Mapping[str, str]  # a step pattern of one bar or two for each drum


def pick(rng: random.Random, grooves: str) -> dict[str, str]:
    """One of the grooves in a text, each a line: a drum and its pattern, the next drum and its pattern."""
    words = rng.choice(lines(grooves)).split()
    return dict(zip(words[::2], words[1::2], strict=True))


def play(
    a: Arrangement,
    section: Section,
    groove: Groove,
    velocity: float,
    *,
    fills: float = 0.0,
    fill: str = "toms",
    crash: bool = False,
    only: Collection[str] | None = None,
) -> None:
    """Play a groove over a section.

    Parameters
    ----------
    a : Arrangement
    section : Section
    groove : Groove
    velocity : float
    fills : float
        How often the last bar has a fill, 0 to 1; a fourth bar has one about a third as often.
    fill : str
        On ``toms``, ``snare`` or drum ``machine``, or a ``break``: nothing but the kick.
    crash : bool
        Begin with the crash cymbal.
    only : collection of str, optional
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
            for step in range(a.steps if drum == "kick" else a.steps - length):
                stroke = pattern[(bar * a.steps + step) % len(pattern)]
                if stroke in VELOCITIES:
                    factor = VELOCITIES[stroke]
                    if drum in _TICKING:
                        factor *= 0.72 if step % STEPS == 0 else 0.648
                    a.hit(start + step / STEPS, drum, velocity * factor)
        if crash and bar == 0:
            a.hit(start, "crash", 0.82 * velocity)
        if filled and fill != "break":
            _fill(a, start, length, velocity, fill)


def _fill(a: Arrangement, start: float, length: int, velocity: float, kind: str) -> None:
    """Fill the last steps of a bar, ever louder."""
    rng = a.rng
    for step in range(0, length, rng.choice((1, 2, 1)) if a.steps == 16 else 1):
        done = step / length
        if kind == "machine":
            drum = rng.choice(("snare", "snare", "clap"))
        elif kind == "snare" or done < 0.3:
            drum = "snare"
        else:
            drum = f"tom {1 + int(6 * done)}"
        if rng.random() < 0.88:
            a.hit(start + (a.steps - length + step) / STEPS, drum, velocity * (0.72 + 0.35 * done))
