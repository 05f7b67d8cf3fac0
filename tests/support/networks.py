"""Networks to test generators with: arithmetic instead of weights, every promise of the interfaces kept."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import numpy as np

from music.features import Features
from music.musicgen.decoding import Decoding, Window
from music.musicgen.networks import Condition
from music.musicgen.sampling import Sampling
from music.resume import Take

FEATURES = Features(
    duration=20.0, tempo=119.6, key="D", mode="minor", loudness=-14.0, spectral_centroid=1500.0,
    onset_rate=3.0, beats=[0.5, 1.0],
)  # fmt: skip
"""What was measured of a track that a generator is given."""


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
        self.chroma, self.text_length = 12, 0
        self.calls: list[tuple[int, int]] = []
        self.conditions: list[list[Condition]] = []
        self.broken: tuple[int, int] | None = None

    def start(self, conditions: Sequence[Condition], capacity: int) -> FakeState:
        """Begin."""
        if capacity > self.max_positions:
            raise ValueError("too long")
        self.conditions.append(list(conditions))
        return FakeState(self, conditions, capacity)

    def decode(
        self,
        windows: Sequence[Window],
        conditions: Callable[[Window], Condition],
        sampling: Sampling,
        takes: Sequence[Take],
        against: Condition,
    ) -> Decoding:
        """Begin, one step at a time."""
        return Decoding(self, windows, conditions, sampling, takes, against)

    def state_bytes(self, rows: int, capacity: int) -> int:
        """Return a kilobyte for each position."""
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
    """Return a condition that differs from others."""
    return Condition(np.full((2, 3), number, np.float32))


class FakeText:
    """Hidden states are the tokens themselves."""

    def encode(self, ids: Sequence[int]) -> np.ndarray:
        """Encode."""
        assert len(ids)
        return np.repeat(np.asarray(ids, np.float32)[:, None], 3, axis=1)


class FakeTokenizer:
    """A token for each word, and one for the end."""

    def encode(self, text: str) -> SimpleNamespace:
        """Tokenize."""
        return SimpleNamespace(ids=[zlib.crc32(word.encode()) % 1000 for word in text.split()] + [1])


class FakeCodec:
    """A frame is 20 ms of a sum of tones, one for each codebook; coding finds them again.

    Attributes
    ----------
    pushed : list of int
        Frames of each push.
    broken : int or None
        The candidate whose audio is not finite.
    """

    sample_rate = 32000
    codebooks = 4
    hop = 640

    def __init__(self) -> None:
        self.pushed: list[int] = []
        self.broken: int | None = None

    def encode(self, audio: np.ndarray) -> np.ndarray:
        """Take the levels of four bands as codes."""
        frames = -(-audio.shape[1] // self.hop)
        padded = np.pad(audio, ((0, 0), (0, frames * self.hop - audio.shape[1])))
        blocks = padded.reshape(len(audio), frames, 4, -1)
        levels = np.minimum(np.abs(blocks).mean(axis=3) * 100, 31).astype(np.int64)
        return levels.transpose(2, 0, 1).reshape(4 * len(audio), frames)

    def decoder(self, channels: int, candidates: int) -> FakeDecoder:
        """Begin."""
        return FakeDecoder(self, channels, candidates)


class FakeDecoder:
    """Holds the last frame back, as a codec that looks ahead does."""

    def __init__(self, codec: FakeCodec, channels: int, candidates: int) -> None:
        self._codec, self._shape = codec, (candidates, channels)
        self._held = np.zeros((candidates, channels, 0), np.float32)

    def push(self, codes: np.ndarray) -> np.ndarray:
        """Decode."""
        assert codes.min() >= 0
        self._codec.pushed.append(codes.shape[2])
        candidates, channels = self._shape
        t = np.arange(self._codec.hop) / self._codec.sample_rate
        pitch = 100.0 + 50.0 * codes.reshape(candidates, 4, channels, -1)
        audio = 0.05 * np.sin(2 * np.pi * pitch[..., None] * t).sum(axis=1).reshape(candidates, channels, -1)
        if self._codec.broken is not None:
            audio[self._codec.broken] = np.nan
        whole = np.concatenate([self._held, audio.astype(np.float32)], axis=2)
        self._held = whole[:, :, -self._codec.hop :]
        return whole[:, :, : -self._codec.hop]

    def finish(self) -> np.ndarray:
        """End."""
        return self._held


class Shelf:
    """Snapshots in a list, and a clock that the test turns."""

    def __init__(self, left: float = float("inf")) -> None:
        self.saved: list[tuple[int, bytes]] = []
        self.left = left

    def load(self) -> list[bytes]:
        return [data for _, data in reversed(self.saved)]

    def save(self, data: bytes, step: int) -> None:
        self.saved.append((step, data))

    def remaining(self) -> float:
        return self.left


class Killed(Exception):
    """The process is gone."""
