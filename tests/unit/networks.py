"""Networks to test generators with: arithmetic instead of weights, every promise of the interfaces kept."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from models.networks.interfaces import Condition


class FakeLanguage:
    """Logits follow from a row's condition and all the codes it has been given, and from nothing else.

    Attributes
    ----------
    calls : list of (rows, new positions)
        Of every `advance`.
    conditions : list of list of Condition
        Of every `start`.
    broken : (text, position) or None
        Rows with this text have logits that are not finite from this position on.
    """

    def __init__(self, codebooks: int = 4, vocabulary: int = 32, max_positions: int = 2048) -> None:
        self.codebooks, self.vocabulary, self.max_positions = codebooks, vocabulary, max_positions
        self.chroma = 12
        self.calls: list[tuple[int, int]] = []
        self.conditions: list[list[Condition]] = []
        self.broken: tuple[int, int] | None = None

    def start(self, conditions: Sequence[Condition], capacity: int) -> FakeState:
        """Begin."""
        if capacity > self.max_positions:
            raise ValueError("too long")
        self.conditions.append(list(conditions))
        return FakeState(self, conditions, capacity)

    def state_bytes(self, rows: int, capacity: int) -> int:
        """A kilobyte for each position."""
        return 1000 * rows * capacity


class FakeState:
    """A checksum for each row."""

    def __init__(self, language: FakeLanguage, conditions: Sequence[Condition], capacity: int) -> None:
        self._language, self._capacity, self.length = language, capacity, 0
        self._rows = [
            b"".join(
                b"none" if part is None else part.tobytes() for part in (condition.text, condition.chroma)
            )
            for condition in conditions
        ]

    def advance(self, codes: np.ndarray) -> np.ndarray:
        """Mix the codes in."""
        language = self._language
        rows, new, codebooks = codes.shape
        assert (rows, codebooks) == (len(self._rows), language.codebooks)
        assert codes.min() >= 0
        assert codes.max() <= language.vocabulary
        if self.length + new > self._capacity or new < 1:
            raise ValueError("no room")
        language.calls.append((rows, new))
        for position in range(new):
            self._rows = [
                zlib.crc32(codes[row, position].astype("<i4").tobytes(), zlib.crc32(before)).to_bytes(
                    4, "little"
                )
                for row, before in enumerate(self._rows)
            ]
        self.length += new
        logits = np.stack(
            [
                np.random.default_rng(int.from_bytes(row, "little"))
                .standard_normal((codebooks, language.vocabulary))
                .astype(np.float32)
                for row in self._rows
            ]
        )
        if language.broken and self.length >= language.broken[1]:
            logits[language.broken[0]] = np.nan
        return logits


def text(number: int) -> Condition:
    """A condition that differs from others."""
    return Condition(np.full((2, 3), number, np.float32))
