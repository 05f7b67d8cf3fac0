"""What is known of a piece of music, as the renderer writes it beside the audio, one JSON object a line."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

SLOW, FAST = 85.0, 128.0
"""Beats per minute: below is slow, above is fast, as in `music.features.tags`."""


@dataclass
class Piece:
    """The truth about a piece.

    Attributes
    ----------
    style : str
    moods, instruments, tags : tuple of str
        `tags` are those that no other field holds.
    energy : str
        One of the energies of CLAP's vocabulary.
    tempo : float
        Beats per minute.
    key, mode : str
        Such as ``F#`` and ``minor``.
    heard : tuple of str
        What is measured of the audio: see `heard`.
    """

    style: str
    moods: tuple[str, ...]
    instruments: tuple[str, ...]
    tags: tuple[str, ...]
    energy: str
    tempo: float
    key: str
    mode: str
    heard: tuple[str, ...] = field(default=())

    @property
    def pace(self) -> str:
        """The tempo in a word."""
        return "slow" if self.tempo < SLOW else "fast" if self.tempo > FAST else "mid-tempo"

    def attributes(self) -> frozenset[str]:
        """All that a caption may say of it."""
        words = {self.style, *self.moods, *self.instruments, *self.tags, self.energy}
        return frozenset(words | {self.pace, f"{self.mode} key"})


def read(line: str) -> Piece:
    """Read a line of a shard's metadata.

    Raises
    ------
    KeyError
        If something is not said.
    ValueError
        If the mode is neither major nor minor.
    """
    given: dict[str, Any] = json.loads(line)
    if given["mode"] not in ("major", "minor"):
        raise ValueError(f"a piece is major or minor, not {given['mode']!r}")
    known = {given["style"], *given["mood"], *given["instruments"]}
    return Piece(
        style=given["style"],
        moods=tuple(given["mood"]),
        instruments=tuple(given["instruments"]),
        tags=tuple(tag for tag in dict.fromkeys(given["tags"]) if tag not in known),
        energy=given["energy"],
        tempo=float(given["tempo"]),
        key=given["key"],
        mode=given["mode"],
    )
