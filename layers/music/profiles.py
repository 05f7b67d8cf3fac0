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
from typing import Any, NamedTuple

from music.interfaces import Identity


class ProfileError(Exception):
    """There is no profile of this name, or it cannot be loaded."""


class Cost(NamedTuple):
    """Seconds of a worker's time, and what they are made up of, in words."""

    seconds: float
    reason: str


@dataclass(frozen=True)
class Costs:
    """What the jobs of a profile take of a worker's time, as lines through what was measured.

    Attributes
    ----------
    embed : float
        Seconds for each embedding: starting the decoder, writing the results.
    embed_second : float
        Seconds for each second of the track.
    generate : float
        Seconds for each generation.
    source_second : float
        Seconds for each second of its source, which is decoded and compared with what is made.
    output_second : float
        Seconds for each second of music of each candidate.

    Notes
    -----
    Those of `builtin` are fitted to what ``tests/benchmarks/bench_costs.py`` measured on one processor
    (docs/benchmarks/costs.json). The neural profiles add what docs/benchmarks/models-amd-epyc-avx512.json has
    for CLAP and MusicGen `small` on two threads; `medium` and `large` are taken to be as much slower as their
    weights are more. What a job took replaces what was predicted when it ends.
    """

    embed: float
    embed_second: float
    generate: float
    source_second: float
    output_second: float

    def embedding(self, seconds: float) -> Cost:
        """Predict an embedding.

        Parameters
        ----------
        seconds : float
            Duration of the track.
        """
        reason = f"{self.embed:g} and {self.embed_second:g} for each of up to {seconds:.0f} s of the track"
        return Cost(self.embed + self.embed_second * seconds, reason)

    def embedding_of(self, size: int) -> Cost:
        """Predict the embedding of a file of which only the bytes are known: as long as it may be.

        Parameters
        ----------
        size : int
            Bytes of the file.
        """
        return self.embedding(longest(size))

    def generation(self, source: float, duration: float, candidates: int) -> Cost:
        """Predict a generation.

        Parameters
        ----------
        source : float
            Duration of the source in seconds.
        duration : float
            Seconds of music asked for.
        candidates : int
            How often.
        """
        reason = (
            f"{self.generate:g}, {self.source_second:g} for each of {source:.0f} s of the source, and "
            f"{self.output_second:g} for each of {duration:g} s of music, times {candidates}"
        )
        seconds = self.generate + self.source_second * source + self.output_second * duration * candidates
        return Cost(seconds, reason)


_LONGEST_SECONDS = 900.0
"""The longest track that is taken (see `music.audio.decode`)."""
_LEAST_BYTES_A_SECOND = 2000
"""Bytes of a second of music at 16 kbit/s: what has fewer is silence, or speech for the telephone."""


def longest(size: int) -> float:
    """Return the seconds that a track of so many bytes may have."""
    return min(_LONGEST_SECONDS, size / _LEAST_BYTES_A_SECOND)


_IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"
TRAINED, COMPOSITE = _IPTC + "trainedAlgorithmicMedia", _IPTC + "compositeSynthetic"
"""Digital source types of the International Press Telecommunications Council: made by a trained model; put
together of parts, some of which are synthetic."""


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
    costs : Costs
        What its jobs take of a worker's time.
    identity : Identity or None
        The embedder's identity; None where it is only known once weights have been fetched.
    license : str or None
        The licence of the generator's weights (an SPDX identifier); None where there are none, or untrained
        ones.
    endings : tuple of str
        How it can end what it makes.
    loops : bool
        Whether it can make loops of whole bars.
    sample_rates : tuple of int or str
        Hz that it can work at; "source" is any.
    before : bool
        Whether `extend` can put what is new in front of the source: its generator joins both itself.
    turns : bool
        Whether it brings its source to another tempo and key. Of the others, a candidate is chosen.
    source_type : str
        What it makes, in the words of IPTC.
    """

    name: str
    modes: tuple[str, ...]
    text: bool
    embedder: str
    generator: str
    costs: Costs
    identity: Identity | None = None
    license: str | None = None
    endings: tuple[str, ...] = ("fade", "cut")
    loops: bool = False
    sample_rates: tuple[int | str, ...] = (32000,)
    before: bool = False
    turns: bool = False
    source_type: str = TRAINED


MIR_512 = Identity(model="mir-512", revision="f5b29d0f095a", pipeline="3", precision="float32")
"""The revision is the beginning of the SHA-256 of `music.mir512`'s constants."""

MOSAIC = Identity(model="mosaic", revision="1", pipeline="8", precision="float32")

DIMENSION = 512
"""The length of the vectors of every embedder."""

_MODES = ("similar", "continue", "extend")
_WITH_MELODY = (*_MODES, "melody")


def _musicgen(
    name: str,
    modes: tuple[str, ...],
    output_second: float,
    license: str | None = "CC-BY-NC-4.0",
) -> Declaration:
    """Declare a profile of CLAP and MusicGen."""
    return Declaration(
        name=name,
        modes=modes,
        text=True,
        embedder="clap",
        generator=f"musicgen-{name}",
        costs=Costs(0.5, 0.04, 1.0, 0.02, output_second),
        license=license,
    )


_BUILTIN = Costs(embed=0.2, embed_second=0.037, generate=0.25, source_second=0.015, output_second=0.022)

DECLARED: dict[str, Declaration] = {
    declaration.name: declaration
    for declaration in (
        Declaration(
            "builtin",
            ("similar", "extend", "repaint"),
            False,
            "mir-512",
            "mosaic",
            _BUILTIN,
            MIR_512,
            endings=("natural", "fade", "cut"),
            loops=True,
            sample_rates=(32000, 44100, 48000, "source"),
            before=True,
            turns=True,
            source_type=COMPOSITE,
        ),
        _musicgen("small", _MODES, 0.8),
        _musicgen("medium", _MODES, 4.0),
        _musicgen("large", _MODES, 9.0),
        _musicgen("melody", _WITH_MELODY, 4.0),
        _musicgen("stereo-small", _MODES, 1.2),
        _musicgen("pocket", _WITH_MELODY, 0.1, "MIT"),
        _musicgen("tiny", _MODES, 0.1, None),
        _musicgen("tiny-melody", _WITH_MELODY, 0.1, None),
        _musicgen("tiny-stereo", _MODES, 0.1, None),
    )
}
"""The profiles by name. The weights of `pocket` are the project's own and lie in the repository. `tiny` and
its kin are untrained: they make noise, and exercise the whole neural path without a download."""


class Length(NamedTuple):
    """The longest piece that may be asked for, and all of its candidates together, in seconds of music."""

    piece: float
    total: float


LENGTHS: dict[str, dict[str, Length]] = {
    "lambda": {
        "builtin": Length(300.0, 2400.0),
        "small": Length(300.0, 600.0),
        "medium": Length(120.0, 240.0),
        "large": Length(60.0, 120.0),
        "melody": Length(120.0, 240.0),
        "stereo-small": Length(300.0, 600.0),
        "pocket": Length(300.0, 600.0),
        "tiny": Length(300.0, 600.0),
        "tiny-melody": Length(300.0, 600.0),
        "tiny-stereo": Length(300.0, 600.0),
    },
    "sagemaker": dict.fromkeys(DECLARED, Length(300.0, 2400.0)),
}
"""What each profile may be asked for, by the host that generates: on Lambda what a few invocations of 15
minutes can make on its processors, on an endpoint everything."""


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
