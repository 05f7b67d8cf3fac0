"""What the engines of a profile share: what goes into them, what comes out, and how they are called.

This module imports none of them. Importing it is cheap: the standard library alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np

    from music.features import Features
    from music.resume import Kept


@dataclass(frozen=True)
class Identity:
    """What makes two results of a model comparable: vectors of different identity never meet."""

    model: str
    revision: str
    pipeline: str
    precision: str

    @property
    def id(self) -> str:
        """The four parts joined by slashes, as records and vector metadata carry them."""
        return f"{self.model}/{self.revision}/{self.pipeline}/{self.precision}"


@dataclass(frozen=True)
class Parameters:
    """What a user asks of a generation; names, defaults and ranges are those of the HTTP contract.

    Ranges are checked where requests enter; `seed` is always set, so that every result can be made again.
    """

    seed: int
    duration: float = 30.0
    temperature: float = 1.0
    top_k: int = 250
    top_p: float = 0.0
    guidance_scale: float = 3.0
    prompt: str | None = None
    mode: str = "similar"
    candidates: int = 1
    format: str = "wav"


@dataclass(frozen=True, eq=False)
class Candidate:
    """One piece of music as a generator made it, before mastering.

    Attributes
    ----------
    audio : np.ndarray [shape=(channels, n)]
        float32 at the generator's sample rate, at least `Parameters.duration` long.
    seed : int
        A single run with this seed and ``candidates=1`` makes the same audio again.
    details : dict
        What the generator has to say about it, JSON-ready; it goes into the record.
    fault : str or None
        Why there is no audio: ``audio`` is then empty.
    """

    audio: np.ndarray
    seed: int
    details: dict[str, Any] = field(default_factory=dict)
    fault: str | None = None


@dataclass(frozen=True, eq=False)
class Request:
    """What a generator is asked to make, and from what.

    Attributes
    ----------
    source : np.ndarray [shape=(channels, n), float32]
        The track, at the generator's `sample_rate` and with at most its `channels`.
    features : Features
        What the embedding pipeline measured on the source.
    parameters : Parameters
        What the user asked for.
    tags : sequence of str
        What the source is like, most telling first.
    kept : Kept or None
        What an earlier invocation made, and where to keep what is made now; None keeps nothing.
    """

    source: np.ndarray
    features: Features
    parameters: Parameters
    tags: Sequence[str] = ()
    kept: Kept | None = None


class GenerationError(Exception):
    """What is asked for cannot be made, now or ever: a stable `code` and a sentence."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail


class TextTooLong(ValueError):
    """A text has more tokens than the model can take; the message says how many are allowed."""


class Embedder(Protocol):
    """Turns sound into a unit vector whose cosine means likeness."""

    @property
    def identity(self) -> Identity: ...

    @property
    def dimension(self) -> int: ...

    @property
    def sample_rate(self) -> int:
        """Hz of the mono signal that `embed` takes."""
        ...

    def embed(self, mono: np.ndarray) -> np.ndarray:
        """Embed ``mono`` [shape=(n,)] as a float32 unit vector [shape=(dimension,)]."""
        ...

    def listen(self) -> Listener | None:
        """Begin a track that comes in blocks; None where `embed` needs the whole of it."""
        ...

    def tags(self, vector: np.ndarray) -> dict[str, dict[str, float]]:
        """Name a track by its vector: for each category tags and scores, best first; none without text."""
        ...


class Listener(Protocol):
    """A track that is being embedded while it is decoded."""

    @property
    def windows(self) -> int:
        """Windows that were embedded so far."""
        ...

    def hear(self, block: np.ndarray) -> None:
        """Take the next samples [shape=(n,)] at the embedder's rate."""
        ...

    def vector(self) -> np.ndarray:
        """End the track; to rounding, what `Embedder.embed` says of the whole."""
        ...


class TextEmbedder(Protocol):
    """Turns a description into a vector that compares with those of tracks."""

    @property
    def identity(self) -> Identity:
        """Of the vectors that it compares with."""
        ...

    def embed(self, text: str) -> np.ndarray:
        """Embed a text as a float32 unit vector [shape=(dimension,)].

        Raises
        ------
        TextTooLong
        """
        ...


class Generator(Protocol):
    """Makes new music from a source and parameters."""

    @property
    def name(self) -> str:
        """The engine's name, such as ``mosaic``."""
        ...

    @property
    def identity(self) -> Identity: ...

    @property
    def sample_rate(self) -> int:
        """Hz of the source it takes and of the candidates it makes."""
        ...

    @property
    def channels(self) -> int:
        """Channels of the source it takes: 1 or 2."""
        ...

    @property
    def license(self) -> str | None:
        """Licence of the weights (an SPDX identifier), or None when there are no weights."""
        ...

    @property
    def checks(self) -> Sequence[str]:
        """What the quality gate looks for in its candidates (see `music.quality`)."""
        ...

    def candidates(self, request: Request, progress: Callable[[float], None]) -> Iterator[Candidate]:
        """Make candidates, one after the other.

        Parameters
        ----------
        request : Request
            What to make, and from what.
        progress : callable
            Called with the share of the whole job that is done, rising in [0, 1]. It may raise to cancel;
            the exception passes through.

        Yields
        ------
        Candidate
            As many as ``request.parameters.candidates``, in the order of their seeds (`music.seeds`).

        Raises
        ------
        GenerationError
            What is asked for cannot be made of this source.
        music.resume.Suspended
            There is not enough time, and what was made is kept.
        """
        ...
