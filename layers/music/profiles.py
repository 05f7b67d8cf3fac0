"""Profiles: named, consistent sets of an embedder and a generator, as data.

A profile is always named explicitly; nothing here falls back from one to another. `music.loading` makes the
models of one.

Examples
--------
>>> DECLARED["melody"].modes
('similar', 'continue', 'melody')
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from music.interfaces import Identity


class ProfileError(Exception):
    """The named profile does not exist or cannot be loaded."""


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
