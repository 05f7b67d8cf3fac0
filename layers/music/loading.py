"""From the name of a profile to its models. Each is imported when it is asked for, and made once per process.

Examples
--------
>>> profile = load("builtin")
>>> profile.embedder.identity.model
'mir-512'
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from music.interfaces import Embedder, Generator, Identity, TextEmbedder
from music.profiles import DECLARED, ProfileError, bundle_folder

if TYPE_CHECKING:
    from music.engine.bundle import Bundle


@dataclass(frozen=True)
class Profile:
    """An embedder and a generator that belong together, loaded.

    Attributes
    ----------
    name : str
        A key of `music.profiles.DECLARED`.
    embedder : Embedder
        What makes vectors of tracks; it also scores what the generator makes.
    generator : Generator
        What makes music.
    """

    name: str
    embedder: Embedder
    generator: Generator

    @property
    def modes(self) -> tuple[str, ...]:
        """The generation modes that `generator` supports."""
        return DECLARED[self.name].modes

    @property
    def endings(self) -> tuple[str, ...]:
        """How what `generator` makes can end."""
        return DECLARED[self.name].endings

    @property
    def loops(self) -> bool:
        """Whether `generator` makes loops."""
        return DECLARED[self.name].loops

    @property
    def sample_rates(self) -> tuple[int | str, ...]:
        """Hz that `generator` can work at; "source" is any."""
        return DECLARED[self.name].sample_rates

    @property
    def before(self) -> bool:
        """Whether `extend` can put what is new in front of the source."""
        return DECLARED[self.name].before

    @property
    def turns(self) -> bool:
        """Whether `generator` brings its source to another tempo and key."""
        return DECLARED[self.name].turns

    @property
    def source_type(self) -> str:
        """What `generator` makes, in the words of IPTC."""
        return DECLARED[self.name].source_type

    @property
    def text(self) -> bool:
        """Whether prompts and text search are understood."""
        return DECLARED[self.name].text


@cache
def load_text(name: str) -> TextEmbedder:
    """Load the text half of a profile's embedder, once per process.

    Parameters
    ----------
    name : str
        A key of `music.profiles.DECLARED`.

    Returns
    -------
    TextEmbedder

    Raises
    ------
    ProfileError
        If the profile understands no text, or its bundle is not here or cannot be used.
    """
    if not DECLARED[name].text:
        raise ProfileError(f"profile {name!r} understands no text")
    from music.clap.embedder import ClapSearch

    with _explained(name):
        return ClapSearch(_bundle(name, "clap_text"))


@cache
def load_embedder(name: str) -> Embedder:
    """Load the embedder of a profile, once per process.

    Parameters
    ----------
    name : str
        A key of `music.profiles.DECLARED`.

    Returns
    -------
    Embedder

    Raises
    ------
    ProfileError
        For the reasons that `load` has.
    """
    _known(name)
    if name == "builtin":
        from music.mir512.embedder import Mir512

        return Mir512()
    if runtime("EMBEDDER_RUNTIME", runtime()) == "torch":
        from music.torch.clap import ClapTowers

        return ClapTowers(checkpoint_folder(name, "clap"), _unpinned(name, "clap")).embedder()
    from music.clap.embedder import Clap

    with _explained(name):
        return Clap.open(_bundle(name, "clap_audio", "clap_tags"))


@cache
def load(name: str) -> Profile:
    """Load a profile, once per process.

    The neural ones run on our own engine, from a bundle (see `bundle_folder`). With ``RUNTIME=torch`` they
    run on torch, on a GPU where there is one, from the checkpoints in the folder that ``CHECKPOINTS`` names:
    for each profile ``musicgen`` and ``clap``, as the hub has them. By default it is ``build/checkpoints``,
    where building a bundle from the hub leaves them. ``PRECISION`` may be float32 or bfloat16 then (see
    `music.torch.device.Device`). ``EMBEDDER_RUNTIME`` says the same of the embedder alone: vectors are only
    compared with those of the same weights, so it runs where the tracks' were made.

    Parameters
    ----------
    name : str
        A key of `music.profiles.DECLARED`.

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
        from music.mosaic.generator import Mosaic

        return Profile(name, load_embedder(name), Mosaic())
    return Profile(name, load_embedder(name), _torch(name) if runtime() == "torch" else _engine(name))


def _engine(name: str) -> Generator:
    """Load MusicGen on our own engine."""
    from tokenizers import Tokenizer

    from music.engine import ops
    from music.engine.bundle import available_memory
    from music.musicgen import encodec, t5, transformer
    from music.musicgen.generator import PIPELINE, MusicGen

    with _explained(name):
        bundle = _bundle(name, "t5", "musicgen", "encodec")
        if name == "large" and bundle.precision == "float32":
            raise ProfileError(
                f"{bundle.path}: profile 'large' runs at int8 only, this bundle is float32 (13 GB): "
                "make models PROFILE=large PRECISION=int8"
            )
        component = bundle.component("musicgen")
        language = transformer.MusicGen(bundle.tensors("musicgen", copied=True))
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


def _torch(name: str) -> Generator:
    """Load MusicGen on torch: on a GPU where there is one."""
    from music.engine.bundle import available_memory
    from music.musicgen.generator import MAX_TEXT_TOKENS, MusicGen
    from music.torch import checkpoint, encodec, musicgen
    from music.torch.device import Device
    from music.torch.language import Network
    from music.torch.memory import SHARE

    folder = checkpoint_folder(name, "musicgen")
    try:
        device = Device(os.environ.get("PRECISION"))
        text, codec = musicgen.T5(folder, device.name), encodec.Encodec(folder, device.name)
        network = Network(folder, device.name, device.dtype)
        free = device.free_memory(available_memory())
        language = musicgen.MusicGen(network, free // SHARE, MAX_TEXT_TOKENS)
    except ValueError as error:
        raise ProfileError(f"profile {name!r}: {error}") from error
    return MusicGen(
        DECLARED[name].generator,
        language,
        checkpoint.tokenizer(folder),
        text,
        codec,
        identity=_unpinned(name, "musicgen", device.precision),
        license=DECLARED[name].license,
        machine=device.describe(),
        memory=free,
    )


def _known(name: str) -> None:
    if name not in DECLARED:
        raise ProfileError(f"unknown profile {name!r}; known profiles: {', '.join(DECLARED)}")


def runtime(variable: str = "RUNTIME", default: str = "engine") -> str:
    """Return what neural profiles run on, ``"engine"`` or ``"torch"``: what an environment variable says.

    Raises
    ------
    ProfileError
        If it says something else.
    """
    named = os.environ.get(variable, default)
    if named not in {"engine", "torch"}:
        raise ProfileError(f"unknown {variable} {named!r}; known: engine, torch")
    return named


def _bundle(name: str, *networks: str) -> Bundle:
    from music.engine.bundle import open_bundle

    bundle = open_bundle(bundle_folder(name), name, networks)
    bundle.require_memory()
    return bundle


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn the errors of a bundle that is missing or cannot be used into a `ProfileError`."""
    from music.engine.bundle import BundleError
    from music.engine.ops import EngineError
    from music.engine.packing import WeightsError

    try:
        yield
    except (BundleError, WeightsError, EngineError) as error:
        raise ProfileError(f"profile {name!r}: {error}") from error


def checkpoint_folder(name: str, part: str) -> Path:
    folder = Path(os.environ.get("CHECKPOINTS", "build/checkpoints")) / name / part
    if not (folder / "config.json").is_file():
        raise ProfileError(
            f"{folder}: no checkpoint there (no config.json); make models PROFILE={name} fetches it, and "
            "CHECKPOINTS names the folder of all"
        )
    return folder


def _unpinned(name: str, part: str, precision: str = "float32") -> Identity:
    """Return the identity of a checkpoint that somebody put there: nobody has said which revision it is."""
    return Identity(f"{name}/{part}", "local", "1", precision)
