"""Profiles: named, consistent sets of an embedder and a generator.

A profile is always named explicitly; nothing here falls back from one to another. Importing this module is
cheap (the standard library alone): what a profile can do is plain data, and `load` imports its models.

Examples
--------
>>> DECLARED["melody"].modes
('similar', 'continue', 'melody')
>>> profile = load("builtin")
>>> profile.embedder.identity.model
'mir-512'
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np

    from models.engine.bundle import Bundle
    from models.features import Features
    from models.generators.resume import Kept


class ProfileError(Exception):
    """The named profile does not exist or cannot be loaded."""


class TextTooLong(ValueError):
    """A text has more tokens than the model can take; the message says how many are allowed."""


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


class GenerationError(Exception):
    """What is asked for cannot be made, now or ever: a stable `code` and a sentence."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail


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
        """What the quality gate looks for in its candidates (see `models.quality`)."""
        ...

    def candidates(
        self,
        source: np.ndarray,
        features: Features,
        parameters: Parameters,
        progress: Callable[[float], None],
        *,
        tags: Sequence[str] = (),
        kept: Kept | None = None,
    ) -> Iterator[Candidate]:
        """Yield ``parameters.candidates`` candidates.

        Parameters
        ----------
        source : np.ndarray [shape=(channels, n)]
            float32 at `sample_rate`.
        features : Features
            What the embedding pipeline measured on the source.
        parameters : Parameters
            What the user asked for.
        progress : callable
            Called with the share of the whole job that is done, rising in [0, 1]. It may raise to cancel;
            the exception must pass through.
        tags : sequence of str
            What the source is like, most telling first.
        kept : Kept, optional
            What an earlier invocation made, and where to keep what is made now.

        Raises
        ------
        GenerationError
            What is asked for cannot be made of this source.
        models.generators.resume.Suspended
            There is not enough time, and what was made is kept.
        """
        ...


@dataclass(frozen=True)
class Declaration:
    """What is known of a profile without loading it.

    Attributes
    ----------
    modes : tuple of str
        The generation modes that its generator supports.
    text : bool
        Whether it understands prompts and text search.
    embedder, generator : str
        The names of its models.
    identity : Identity or None
        The embedder's; None where it is only known once weights have been fetched.
    license : str or None
        Licence of the generator's weights (an SPDX identifier); None when there are none, or untrained ones.
    max_duration, max_total : float
        Seconds of a piece, and of all candidates of one together: what a few invocations can make.
    """

    name: str
    modes: tuple[str, ...]
    text: bool
    embedder: str
    generator: str
    identity: Identity | None = None
    license: str | None = None
    max_duration: float = 300.0
    max_total: float = 2400.0


MIR_512 = Identity(model="mir-512", revision="d82e85c7868c", pipeline="1", precision="float32")


_MODES = ("similar", "continue")
_WITH_MELODY = (*_MODES, "melody")


def _musicgen(
    name: str, modes: tuple[str, ...], longest: float, license: str | None = "CC-BY-NC-4.0"
) -> Declaration:
    return Declaration(
        name,
        modes,
        True,
        "clap",
        f"musicgen-{name}",
        None,
        license,
        max_duration=longest,
        max_total=2 * longest,
    )


DECLARED: dict[str, Declaration] = {
    declaration.name: declaration
    for declaration in (
        Declaration("builtin", ("similar",), False, "mir-512", "mosaic", identity=MIR_512),
        _musicgen("small", _MODES, 300.0),
        _musicgen("medium", _MODES, 120.0),
        _musicgen("large", _MODES, 60.0),
        _musicgen("melody", _WITH_MELODY, 120.0),
        _musicgen("stereo-small", _MODES, 300.0),
        _musicgen("tiny", _MODES, 300.0, None),
        _musicgen("tiny-melody", _WITH_MELODY, 300.0, None),
        _musicgen("tiny-stereo", _MODES, 300.0, None),
    )
}
"""`tiny` and its kin are untrained: they make noise, and show all of the path without network."""


@dataclass(frozen=True)
class Profile:
    """An embedder and a generator that belong together, loaded."""

    name: str
    embedder: Embedder
    generator: Generator

    @property
    def modes(self) -> tuple[str, ...]:
        """The generation modes that `generator` supports."""
        return DECLARED[self.name].modes

    @property
    def text(self) -> bool:
        """Whether prompts and text search are understood."""
        return DECLARED[self.name].text


def identity(name: str) -> Identity:
    """Say what vectors the embedder of a profile makes, without loading it.

    Raises
    ------
    ProfileError
        If it depends on a bundle that is not here.
    """
    if declared := DECLARED[name].identity:
        return declared
    manifest = bundle_folder(name) / "manifest.json"
    try:
        return Identity(**json.loads(manifest.read_text("utf-8"))["embedder"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ProfileError(
            f"{manifest}: says nothing of the embedder of profile {name!r}: {error!r}"
        ) from error


def bundle_folder(name: str) -> Path:
    """Where the bundle of a profile is looked for: in the folder that the variable ``MODELS`` names.

    Images have ``/opt/models``, which is the default.
    """
    return Path(os.environ.get("MODELS", "/opt/models")) / name


@cache
def load_text(name: str) -> TextEmbedder:
    """Load the text half of a profile's embedder, once per process.

    Raises
    ------
    ProfileError
        If it has none, or its bundle is not here or cannot be used.
    """
    if not DECLARED[name].text:
        raise ProfileError(f"profile {name!r} understands no text")
    from models.embedders.clap import ClapSearch
    from models.engine.bundle import BundleError, open_bundle

    try:
        bundle = open_bundle(bundle_folder(name), name, ["clap_text"])
        bundle.require_memory()
    except BundleError as error:
        raise ProfileError(str(error)) from error
    return ClapSearch(bundle)


@cache
def load_embedder(name: str) -> Embedder:
    """Load the embedder of a profile, once per process.

    Raises
    ------
    ProfileError
        As `load`.
    """
    _known(name)
    if name == "builtin":
        from models.embedders.mir512 import Mir512

        return Mir512()
    if _runtime() == "reference":
        from models.reference.clap import ClapReference

        return ClapReference(_checkpoint(name, "clap"), _unpinned(name, "clap")).embedder()
    from models.embedders.clap import Clap

    with _explained(name):
        return Clap.open(_bundle(name, "clap_audio", "clap_tags"))


@cache
def load(name: str) -> Profile:
    """Load a profile, once per process.

    The neural ones run on our own engine, from a bundle (see `bundle_folder`). With ``RUNTIME=reference``
    they run on torch and transformers, from the checkpoints in the folder that ``CHECKPOINTS`` names: for
    each profile ``musicgen`` and ``clap``, as the hub has them.

    Parameters
    ----------
    name : str
        A key of `DECLARED`.

    Returns
    -------
    Profile

    Raises
    ------
    ProfileError
        If there is no such profile (the message names the known ones), its bundle is missing, is of another
        profile, version or processor, or needs more memory than there is; or it is `large` in float32.
    """
    _known(name)
    if name == "builtin":
        from models.generators.mosaic import Mosaic

        return Profile(name, load_embedder(name), Mosaic())
    return Profile(
        name, load_embedder(name), _reference(name) if _runtime() == "reference" else _engine(name)
    )


def _engine(name: str) -> Generator:
    """MusicGen on our own engine."""
    from tokenizers import Tokenizer

    from models.engine import ops
    from models.engine.bundle import available_memory
    from models.generators.musicgen import PIPELINE, MusicGen
    from models.networks import encodec, musicgen, t5

    with _explained(name):
        bundle = _bundle(name, "t5", "musicgen", "encodec")
        if name == "large" and bundle.precision == "float32":
            raise ProfileError(
                f"{bundle.path}: profile 'large' runs at int8 only, this bundle is float32 (13 GB): "
                "make models PROFILE=large PRECISION=int8"
            )
        component = bundle.component("musicgen")
        language = musicgen.MusicGen(bundle.tensors("musicgen"))
        one = language.state_bytes(2, 1504)  # is part of what the bundle says that it needs
        return MusicGen(
            DECLARED[name].generator,
            language,
            Tokenizer.from_file(str(bundle.tokenizer("t5"))),
            t5.T5(bundle.tensors("t5")),
            encodec.Encodec(bundle.tensors("encodec")),
            identity=Identity(component["model"], component["revision"], PIPELINE, bundle.precision),
            license=component["license"],
            machine=f"engine {ops.variant()}, {ops.threads()} threads",
            memory=available_memory() - bundle.memory() + one,
        )


def _reference(name: str) -> Generator:
    """MusicGen on torch and transformers."""
    import torch
    from tokenizers import Tokenizer

    from models.engine.bundle import available_memory
    from models.generators.musicgen import MusicGen
    from models.reference import encodec, musicgen

    folder = _checkpoint(name, "musicgen")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = musicgen.load(folder, device)
    return MusicGen(
        DECLARED[name].generator,
        musicgen.MusicGen(model),
        Tokenizer.from_file(str(folder / "tokenizer.json")),
        musicgen.T5(model),
        encodec.Encodec(folder, device),
        identity=_unpinned(name, "musicgen"),
        license=DECLARED[name].license,
        machine=f"torch {torch.__version__} {device}, {torch.get_num_threads()} threads",
        memory=available_memory() // 2,
    )


def _known(name: str) -> None:
    if name not in DECLARED:
        raise ProfileError(f"unknown profile {name!r}; known profiles: {', '.join(DECLARED)}")


def _runtime() -> str:
    """``RUNTIME``: what neural profiles run on."""
    runtime = os.environ.get("RUNTIME", "engine")
    if runtime not in {"engine", "reference"}:
        raise ProfileError(f"unknown RUNTIME {runtime!r}; known: engine, reference")
    return runtime


def _bundle(name: str, *networks: str) -> Bundle:
    from models.engine.bundle import open_bundle

    bundle = open_bundle(bundle_folder(name), name, networks)
    bundle.require_memory()
    return bundle


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn what can be wrong with a bundle into a `ProfileError`."""
    from models.engine.bundle import BundleError
    from models.engine.ops import EngineError
    from models.engine.weights import WeightsError

    try:
        yield
    except (BundleError, WeightsError, EngineError) as error:
        raise ProfileError(f"profile {name!r}: {error}") from error


def _checkpoint(name: str, part: str) -> Path:
    folder = Path(os.environ.get("CHECKPOINTS", "build/checkpoints")) / name / part
    if not (folder / "config.json").is_file():
        raise ProfileError(
            f"{folder}: no checkpoint there (no config.json); CHECKPOINTS names the folder of all"
        )
    return folder


def _unpinned(name: str, part: str) -> Identity:
    """Of a checkpoint that somebody put there: nobody has said which revision it is."""
    return Identity(f"{name}/{part}", "local", "1", "float32")
