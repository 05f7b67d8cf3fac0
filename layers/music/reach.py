"""What can be made of a track: to what tempo and key it can be brought, and how far it can be extended.

Importing it is cheap: the standard library alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from music.interfaces import GenerationError

TONICS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
KEYS = tuple(f"{tonic} {mode}" for mode in ("major", "minor") for tonic in TONICS)
SLOWEST, FASTEST = 0.8, 1.25
"""The tempo of a result over its source's."""
LONGEST_EXTENDED = 600.0
"""Seconds of a track and what it is extended by."""
SLACK = 0.05
"""Seconds by which a section or a region may end after the track: durations are shown rounded."""


def speed(tempo: float, wanted: float) -> float:
    """Return the ratio of a wanted tempo to a track's.

    Parameters
    ----------
    tempo, wanted : float
        In BPM; `tempo` is 0 where no pulse was found.

    Raises
    ------
    GenerationError
        ``no_tempo``; ``tempo_out_of_reach`` where it is not 0.8 to 1.25.
    """
    if tempo <= 0.0:
        raise GenerationError("no_tempo", "No pulse was found in the source.")
    ratio = wanted / tempo
    if not SLOWEST <= ratio <= FASTEST:
        slowest, fastest = (
            math.ceil(SLOWEST * tempo * 100.0) / 100.0,
            math.floor(FASTEST * tempo * 100.0) / 100.0,
        )
        raise GenerationError(
            "tempo_out_of_reach",
            f"The source has {tempo:g} BPM; {slowest:.2f} to {fastest:.2f} are in reach.",
        )
    return ratio


def require_bars(bars: Sequence[float] | int | None) -> None:
    """Refuse a loop of a track in which no bars were found.

    Parameters
    ----------
    bars : sequence of float, int or None
        When they begin, or how long they are: nothing, or 0, where there are none.

    Raises
    ------
    GenerationError
        ``no_bars``.
    """
    if not bars:
        raise GenerationError("no_bars", "No bars were found in the source.")


def semitones(tonic: str | None, mode: str | None, wanted: str) -> int:
    """Return how far a track is to be transposed up for a key, -6 to 5.

    Parameters
    ----------
    tonic, mode : str or None
        The track's key, such as ``"A"`` and ``"minor"``; None where it has none.
    wanted : str
        Of `KEYS`.

    Raises
    ------
    GenerationError
        ``no_key``; ``key_out_of_reach`` where the mode is another one.

    Examples
    --------
    >>> semitones("A", "minor", "C minor")
    3
    """
    if tonic is None:
        raise GenerationError("no_key", "No key was found in the source.")
    name, wanted_mode = wanted.split()
    if wanted_mode != mode:
        raise GenerationError(
            "key_out_of_reach",
            f"The source is in {tonic} {mode}; in reach are {_listed([f'{one} {mode}' for one in TONICS])}.",
        )
    return (TONICS.index(name) - TONICS.index(tonic) + 6) % 12 - 6


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
