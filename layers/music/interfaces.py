"""What the engines of a profile share: what goes into them, what comes out, and how they are called.

This module imports none of them. Importing it is cheap: the standard library alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np

    from music.dsp.sound import Sound
    from music.features import Features
    from music.resume import Kept


@dataclass(frozen=True)
class Identity:
    """What makes two results of a model comparable: vectors of different identity never meet.

    Attributes
    ----------
    model : str
        The model's name, such as ``mir-512``.
    revision : str
        The revision of its weights or constants.
    pipeline : str
        The version of what we do around the model; it is raised when that changes a result.
    precision : str
        The type that the weights are kept in, such as ``float32``.
    """

    model: str
    revision: str
    pipeline: str
    precision: str

    @property
    def id(self) -> str:
        """Return the four parts joined by slashes, as records and vector metadata carry them."""
        return f"{self.model}/{self.revision}/{self.pipeline}/{self.precision}"


@dataclass(frozen=True)
class Section:
    """A part of a track, from `start` to `end`, in seconds."""

    start: float
    end: float


@dataclass(frozen=True)
class Parameters:
    """What a user asks of a generation; names, defaults and ranges are those of the HTTP contract.

    Ranges are checked where requests enter; `seed` is always set, so that every result can be made again.

    Attributes
    ----------
    seed : int
        The seed of the first candidate (see `music.seeds`).
    duration : float
        In seconds, 1 to 300.
    temperature : float
        How far draws stray from the likeliest, 0.05 to 2.
    top_k : int
        How many of the likeliest choices are drawn from, 0 to 2048; 0 is all.
    top_p : float
        The probability that the choices drawn from have together, 0 to 1; 0 is all.
    guidance_scale : float
        How closely the result follows its conditions, 1 to 10.
    prompt : str or None
        A description in words.
    mode : {"similar", "continue", "melody", "extend", "repaint"}
        What is taken from the source, or what becomes of it.
    candidates : int
        How many pieces are made to choose from, 1 to 8.
    format : {"wav", "flac", "mp3", "ogg"}
        The format of the file.
    section : Section or None
        The part of the source that is used, at least 1 s; None is all of it.
    ending : {"natural", "fade", "cut"} or None
        How the music ends; None is natural where the generator can, else faded out.
    loop : bool
        Whether the end meets the beginning: then `bars` says how long it is, and `duration` about how long.
    bars : int or None
        Whole bars of a loop, 1 to 64.
    sample_rate : {32000, 44100, 48000, "source"}
        Hz of the source as it is worked on, and of the result; "source" is the source's own.
    bit_depth : {16, 24}
        Of wav and flac; that of `repaint` is no less than the source's own.
    negative_prompt : str or None
        A description in words of what to keep away from.
    tempo : float or None
        In BPM, 30 to 300; None is the source's.
    before : bool
        Whether `extend` puts what is new in front of the source.
    region : Section or None
        The part of the source that `repaint` makes anew.
    key : str or None
        Such as ``"A minor"``, of `music.reach.KEYS`; None is the source's.
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
    section: Section | None = None
    ending: str | None = None
    loop: bool = False
    bars: int | None = None
    sample_rate: int | str = 32000
    bit_depth: int = 16
    negative_prompt: str | None = None
    tempo: float | None = None
    key: str | None = None
    before: bool = False
    region: Section | None = None

    @property
    def rate(self) -> int:
        """`sample_rate`, once it is known."""
        if isinstance(self.sample_rate, str):
            raise ValueError("the source's own rate has not been put in its place")
        return self.sample_rate

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Parameters:
        """Restore parameters from what `dataclasses.asdict` or the HTTP contract made of them."""
        parts = {name: Section(**part) for name in ("section", "region") if (part := values.get(name))}
        return cls(**{**values, **parts})


@dataclass(frozen=True, eq=False)
class Candidate:
    """One piece of music as a generator made it, before mastering.

    Attributes
    ----------
    audio : np.ndarray [shape=(channels, n), float32]
        At `Parameters.sample_rate`, at least `Parameters.duration` long; a loop exactly as long as it is.
    seed : int
        A single run with this seed and ``candidates=1`` makes the same audio again.
    details : dict
        What the generator tells about it, JSON-ready; it goes into the record. Of one with a fault, `heard`
        may say by ``"tempo"`` and ``"key"`` what is heard in place of what was asked for.
    fault : str or None
        Why there is no audio, and `audio` is empty; None where there is.
    ends : bool
        Whether the music ends by itself, and nothing has to be faded out.
    new : tuple of (int, int) or None
        Where what is new begins and ends, in samples; the rest is the source. None is all of it.
    finished : bool
        Whether it stays sample for sample as it is: nothing is mastered.
    """

    audio: np.ndarray
    seed: int
    details: dict[str, Any] = field(default_factory=dict)
    fault: str | None = None
    ends: bool = False
    new: tuple[int, int] | None = None
    finished: bool = False


@dataclass(frozen=True, eq=False)
class Request:
    """What a generator is asked to make, and from what.

    Attributes
    ----------
    source : np.ndarray [shape=(channels, n), float32]
        The track, at ``parameters.sample_rate`` and with at most the generator's `channels`.
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
    """What is asked for cannot be made, now or ever.

    Parameters
    ----------
    code : str
        Stable and machine readable.
    detail : str
        One sentence for the person who asked.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail


class TextTooLong(ValueError):
    """A text has more tokens than the model can take; the message says how many are allowed."""


class Embedder(Protocol):
    """Turns sound into a unit vector whose cosine means likeness."""

    @property
    def identity(self) -> Identity:
        """The identity of the vectors."""
        ...

    @property
    def dimension(self) -> int:
        """The length of the vectors."""
        ...

    @property
    def sample_rate(self) -> int:
        """The sample rate in Hz of the sound that it takes."""
        ...

    def embed(self, audio: np.ndarray, sound: Sound | None = None) -> np.ndarray:
        """Embed a whole track.

        Parameters
        ----------
        audio : np.ndarray [shape=(channels, n) or (n,), float32]
            Finite audio at `sample_rate`, of one or two channels. An embedder of one channel puts
            `music.dsp.channels.folded` in their place.
        sound : Sound, optional
            The same audio, of which something may be measured already.

        Returns
        -------
        np.ndarray [shape=(dimension,), float32]
            Of unit length.

        Raises
        ------
        ValueError
            If `audio` has another shape, or holds NaN or infinities.
        """
        ...

    def listen(self) -> Listener | None:
        """Begin a track that comes in blocks.

        Returns
        -------
        Listener or None
            None where `embed` needs the whole track.
        """
        ...

    def tags(self, vector: np.ndarray) -> dict[str, dict[str, float]]:
        """Name a track by its vector.

        Parameters
        ----------
        vector : np.ndarray [shape=(dimension,)]
            As `embed` or `Listener.vector` made it.

        Returns
        -------
        dict of str to dict of str to float
            For each category its tags with their scores, best first; empty where the model knows no text.
        """
        ...


class Listener(Protocol):
    """A track that is being embedded while it is decoded."""

    @property
    def windows(self) -> int:
        """The number of windows that were embedded so far."""
        ...

    def hear(self, block: np.ndarray) -> None:
        """Take the next samples of one channel [shape=(n,), float32], at the embedder's sample rate."""
        ...

    def vector(self) -> np.ndarray:
        """End the track, and return what `Embedder.embed` returns for the whole, but for rounding.

        Returns
        -------
        np.ndarray [shape=(dimension,), float32]
            Of unit length.

        Raises
        ------
        ValueError
            If there were no samples.
        """
        ...


class TextEmbedder(Protocol):
    """Turns a description into a vector that compares with those of tracks."""

    @property
    def identity(self) -> Identity:
        """The identity of the vectors that its own may be compared with."""
        ...

    def embed(self, text: str) -> np.ndarray:
        """Embed a text.

        Returns
        -------
        np.ndarray [shape=(dimension,), float32]
            Of unit length.

        Raises
        ------
        TextTooLong
            If the text has more tokens than the model can take.
        """
        ...


class Generator(Protocol):
    """Makes new music from a source and parameters."""

    @property
    def name(self) -> str:
        """The engine's name, such as ``mosaic``."""
        ...

    @property
    def identity(self) -> Identity:
        """The identity of the model that makes the music."""
        ...

    @property
    def sample_rate(self) -> int:
        """The sample rate in Hz that it works at, if it is not asked for another that its profile knows."""
        ...

    @property
    def channels(self) -> int:
        """The most channels of the source that it takes: 1 or 2."""
        ...

    @property
    def license(self) -> str | None:
        """The licence of the weights (an SPDX identifier), or None where there are no weights."""
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
            If what is asked for cannot be made of this source.
        music.resume.Suspended
            If there is not enough time; what was made is kept.
        """
        ...
