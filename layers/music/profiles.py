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
from typing import Any

from music.interfaces import Identity


class ProfileError(Exception):
    """There is no profile of this name, or it cannot be loaded."""


@dataclass(frozen=True)
class Declaration:
    """What is known of a profile without loading it.

    Attributes
    ----------
    name : str
        What the profile is asked for by.
    modes : tuple of str
        The generation modes that its generator supports.
    text : bool
        Whether it understands prompts and text search.
    embedder, generator : str
        The names of its models.
    identity : Identity or None
        The embedder's identity; None where it is only known once weights have been fetched.
    license : str or None
        The licence of the generator's weights (an SPDX identifier); None where there are none, or untrained
        ones.
    max_duration : float
        The longest piece in seconds that a few invocations can make.
    max_total : float
        The seconds of all candidates of a piece together that they can make.
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


MIR_512 = Identity(model="mir-512", revision="b901e83e8b6c", pipeline="2", precision="float32")
"""The revision is the beginning of the SHA-256 of `music.mir512`'s constants."""

MOSAIC = Identity(model="mosaic", revision="1", pipeline="2", precision="float32")

DIMENSION = 512
"""The length of the vectors of every embedder."""

_MODES = ("similar", "continue")
_WITH_MELODY = (*_MODES, "melody")


def _musicgen(
    name: str, modes: tuple[str, ...], longest: float, license: str | None = "CC-BY-NC-4.0"
) -> Declaration:
    """Declare a profile of CLAP and MusicGen."""
    return Declaration(
        name=name,
        modes=modes,
        text=True,
        embedder="clap",
        generator=f"musicgen-{name}",
        license=license,
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
        _musicgen("pocket", _WITH_MELODY, 300.0, "MIT"),
        _musicgen("tiny", _MODES, 300.0, None),
        _musicgen("tiny-melody", _WITH_MELODY, 300.0, None),
        _musicgen("tiny-stereo", _MODES, 300.0, None),
    )
}
"""The profiles by name. The weights of `pocket` are the project's own and lie in the repository. `tiny` and
its kin are untrained: they make noise, and exercise the whole neural path without a download."""


def identity(name: str) -> Identity:
    """Return the identity of a profile's embedder without loading it.

    Parameters
    ----------
    name : str
        A key of `DECLARED`.

    Returns
    -------
    Identity

    Raises
    ------
    ProfileError
        If it depends on a bundle that is not here.
    """
    if declared := DECLARED[name].identity:
        return declared
    embedder: dict[str, str] = _of_manifest(name, "embedder")
    return Identity(**embedder)


def embedder_license(name: str) -> str | None:
    """Return the licence of the weights of a profile's embedder, as an SPDX identifier; None without weights.

    Raises
    ------
    ProfileError
        If it depends on a bundle that is not here.
    """
    if DECLARED[name].identity:
        return None
    license: str | None = _of_manifest(name, "components")["clap"]["license"]
    return license


def generator(name: str) -> dict[str, str | None]:
    """Return `model`, `revision`, `precision` and `license` of a profile's generator without loading it.

    Raises
    ------
    ProfileError
        If it depends on a bundle that is not here.
    """
    if DECLARED[name].identity:
        own = MOSAIC
        return {
            "model": own.model,
            "revision": own.revision,
            "precision": own.precision,
            "license": DECLARED[name].license,
        }
    component = _of_manifest(name, "components")["musicgen"]
    named = {key: component[key] for key in ("model", "revision", "license")}
    return {**named, "precision": _of_manifest(name, "precision")}


def accuracy(name: str) -> dict[str, Any] | None:
    """Return what the precision of a profile's weights costs, as it was measured when they were built.

    Parameters
    ----------
    name : str
        A key of `DECLARED`.

    Returns
    -------
    dict or None
        ``precision``; ``logit_error``, the relative root mean square error of the logits against float32;
        ``worst``, the matrices with the largest errors, each with ``matrix`` and ``error``. None where
        nothing was lost: in float32, and without weights.

    Raises
    ------
    ProfileError
        If the profile's bundle is not here.
    """
    if DECLARED[name].identity:
        return None
    measured = _of_manifest(name, "accuracy")
    return measured and {"precision": _of_manifest(name, "precision")} | {
        key: measured[key] for key in ("logit_error", "worst")
    }


def _of_manifest(name: str, entry: str) -> Any:
    """Read an entry of the manifest of a profile's bundle."""
    manifest = bundle_folder(name) / "manifest.json"
    try:
        return json.loads(manifest.read_text("utf-8"))[entry]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ProfileError(f"{manifest}: says nothing of {entry} of profile {name!r}: {error!r}") from error


def bundle_folder(name: str) -> Path:
    """Return the folder that the bundle of a profile is looked for in.

    It lies in the folder that the environment variable ``MODELS`` names, which is by default where images
    have it, ``/opt/models``.
    """
    return Path(os.environ.get("MODELS", "/opt/models")) / name
