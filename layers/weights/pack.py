"""Make the bundle that the engine loads: get checkpoints, check and export them, write a manifest."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from music.clap.embedder import PIPELINE
from music.engine import bundle, packing
from music.engine.library import VARIANTS
from music.interfaces import Identity
from music.musicgen.transformer import MusicGen
from weights import Checkpoint, CheckpointError, fetch, synthetic
from weights.calibrate import BAR, accuracy, calibrations
from weights.check import DESCRIPTION, WEIGHTS
from weights.export import export
from weights.export.layers import Calibration
from weights.sources import LOCK, Model, locked, models_of, sha256

CACHE = Path("build/checkpoints")
TARGET = Path("build/models")

# Positions of a clip of 30 s, and rows of one candidate: with and without its condition.
_POSITIONS, _ROWS = 1504, 2


def build(
    profile: str,
    source: str = "hub",
    precision: str = "int8",
    target: Path = TARGET,
    cache: Path = CACHE,
    lock: Path = LOCK,
    endpoint: str | None = None,
) -> Path:
    """Make the bundle of a profile; the same checkpoints give the same bytes.

    The manifest lists format and exporter version, profile, precision, and the processors that it is for;
    ``components``: for ``musicgen`` and ``clap`` the model, its Hugging Face id (None for random weights),
    revision, licence, source and configs; ``files``: bytes and sha256 of each; ``memory``: bytes that running
    each network takes; ``accuracy``: what integers cost MusicGen (see `calibrate.accuracy`), None in float32;
    ``embedder``: the identity of the vectors that its CLAP makes.

    Parameters
    ----------
    profile : str
        The name of the profile, one of `sources.profiles`.
    source : str
        ``hub``; ``random``; or a folder that has the checkpoints in folders ``musicgen`` and ``clap``.
    precision : str
        The precision of the matrices, one of `packing.PRECISIONS`. A network without ``int4`` gets ``int8``.
    target : Path
        Gets a folder named like the profile; it is replaced as a whole, or left as it was.
    cache : Path
        The folder where fetched checkpoints are kept: one for each repository, and for each profile the
        links ``musicgen`` and ``clap`` to those that it is made of.
    lock : Path
    endpoint : str, optional
        The address of the hub.

    Returns
    -------
    Path
        The bundle.

    Raises
    ------
    CheckpointError
        If there is no such profile, or a checkpoint is not what it should be.
    """
    models = models_of(profile)
    if precision not in packing.PRECISIONS:
        raise CheckpointError(f"unknown precision {precision!r}; known: {', '.join(packing.PRECISIONS)}")
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target, prefix=".") as scratch:
        work = Path(scratch)
        components = {}
        checkpoints = {}
        if source == "random":
            synthetic.write(profile, work / "random")
        for part, model in models.items():
            if source == "hub":
                folder = cache / str(model.repository).replace("/", "--")
                revision = fetch.fetch(model, folder, lock, endpoint)
                checkpoints[part] = Checkpoint(folder)
                _link(cache / profile / part, folder)
            else:
                given = work / "random" if source == "random" else Path(source)
                checkpoints[part] = Checkpoint(given / part)
                revision = _identify(checkpoints[part], model, source, lock)
            components[part] = _component(checkpoints[part], model, source, revision)
        made = work / "bundle"
        made.mkdir()
        made.chmod(0o755)
        memory, cost = write_musicgen(checkpoints["musicgen"], precision, made)
        for network in bundle.NETWORKS:
            if network not in memory:
                memory[network] = _export(network, checkpoints[bundle.PARTS[network]], precision, made)
        manifest = {
            "format": bundle.FORMAT,
            "exporter": bundle.EXPORTER,
            "architectures": sorted(VARIANTS),
            "profile": profile,
            "precision": precision,
            "components": components,
            "memory": memory,
            "accuracy": cost,
            "embedder": asdict(_embedder(components["clap"], made)),
            "files": {
                file.name: {"bytes": file.stat().st_size, "sha256": sha256(file)}
                for file in sorted(made.iterdir())
            },
        }
        (made / bundle.MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n", "utf-8")
        for file in made.iterdir():
            file.chmod(0o644)  # images run as another user
        bundle.open_bundle(made, profile)
        if (target / profile).exists():
            (target / profile).rename(work / "old")
        made.rename(target / profile)
    return target / profile


def write_musicgen(
    checkpoint: Checkpoint, precision: str, target: Path
) -> tuple[dict[str, int], dict[str, Any] | None]:
    """Write the transformer and its text encoder; of int8, so much in float32 that the error is below `BAR`.

    Parameters
    ----------
    checkpoint : Checkpoint
        Of MusicGen.
    precision : str
        One of `packing.PRECISIONS`.
    target : Path
        The folder that gets the files.

    Returns
    -------
    memory : dict of str to int
        The bytes that running each of the two networks takes.
    accuracy : dict or None
        What integers cost (see `calibrate.accuracy`); None in float32.
    """
    networks = ("t5", "musicgen")
    if precision == "float32":
        return {network: _export(network, checkpoint, precision, target) for network in networks}, None
    for calibration in calibrations(checkpoint):
        memory = {
            network: _export(network, checkpoint, precision, target, calibration[network])
            for network in networks
        }
        cost = accuracy(checkpoint, target, calibration)
        if precision != "int8" or cost["logit_error"] < BAR:
            break
    return memory, cost


def checkpoint(
    profile: str,
    source: str = "hub",
    target: Path = TARGET,
    cache: Path = CACHE,
    lock: Path = LOCK,
    endpoint: str | None = None,
) -> Path:
    """Lay MusicGen's checkpoint of a profile out for the torch runtime in an image, with its files' hashes.

    Parameters
    ----------
    profile, source, cache, lock, endpoint
        See `build`.
    target : Path
        Gets the folder ``torch/PROFILE/musicgen``, in place of what was there: the files, links to those of
        the cache where that can be, and ``SHA256SUMS``.

    Returns
    -------
    Path
        That folder.

    Raises
    ------
    CheckpointError
        If there is no such profile, or the checkpoint is not what it should be.
    """
    model = models_of(profile)["musicgen"]
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target, prefix=".") as scratch:
        work = Path(scratch)
        if source == "hub":
            given = cache / str(model.repository).replace("/", "--")
            fetch.fetch(model, given, lock, endpoint)
        elif source == "random":
            synthetic.write(profile, work / "random")
            given = work / "random/musicgen"
        else:
            given = Path(source) / "musicgen"
        names = sorted({*DESCRIPTION, *Checkpoint(given).weights})
        names += [name for name in fetch.OPTIONAL if (given / name).is_file()]
        made = work / "musicgen"
        made.mkdir()
        made.chmod(0o755)
        for name in names:
            try:
                os.link((given / name).resolve(), made / name)
            except OSError:  # on another file system
                shutil.copyfile(given / name, made / name)
            (made / name).chmod(0o644)
        sums = "".join(f"{sha256(made / name)}  {name}\n" for name in names)
        (made / "SHA256SUMS").write_text(sums, "utf-8")
        folder = target / "torch" / profile / "musicgen"
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        made.rename(folder)
    return folder


def _link(name: Path, folder: Path) -> None:
    """Let a folder be found by profile and part, as the torch runtime looks for it."""
    name.parent.mkdir(parents=True, exist_ok=True)
    if name.exists() and not name.is_symlink():
        raise CheckpointError(f"{name}: is in the way of a link to {folder}; move it elsewhere")
    name.unlink(missing_ok=True)
    name.symlink_to(os.path.relpath(folder.resolve(), name.parent.resolve()))


def _identify(checkpoint: Checkpoint, model: Model, source: str, lock: Path) -> str:
    """Name what did not come from the hub: by the locked revision if the files are those, else by digest.

    The files are those that were given, in whatever format: the same ones have one name.
    """
    described = (path.name for path in checkpoint.folder.glob("*.json") if path.name not in WEIGHTS)
    hashes = {name: sha256(checkpoint.folder / name) for name in {*described, *checkpoint.weights}}
    known = locked(model.repository, lock) if model.repository else None
    if known and all(
        hashes.get(name) == known.files.get(name) for name in (*DESCRIPTION, *checkpoint.weights)
    ):
        return known.revision
    digest = hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()
    return f"{'random' if source == 'random' else 'local'}-{digest[:12]}"


def _component(checkpoint: Checkpoint, model: Model, source: str, revision: str) -> dict[str, Any]:
    untrained = source == "random"
    return {
        "model": model.name,
        "id": None if untrained else model.repository,
        "revision": revision,
        "license": None if untrained else model.license,
        "source": source if source in ("hub", "random") else "folder",
        "config": checkpoint.config,
        "preprocessor": checkpoint.preprocessor,
    }


def _embedder(made_of: dict[str, Any], folder: Path) -> Identity:
    """Say by what the vectors of the bundle's CLAP may be compared."""
    precision = packing.Tensors(folder / bundle.weights_file("clap_audio")).metadata["precision"]
    return Identity(made_of["model"], made_of["revision"], PIPELINE, precision)


def _export(
    network: str,
    checkpoint: Checkpoint,
    precision: str,
    target: Path,
    calibration: Calibration | None = None,
) -> int:
    """Write a network's files; gives the bytes of memory that running it takes."""
    if precision == "int4" and network != "musicgen":
        precision = "int8"
    file = target / bundle.weights_file(network)
    try:
        packing.write(file, *export(network, checkpoint, precision, calibration))
    except packing.WeightsError as error:
        raise CheckpointError(f"{checkpoint.folder}: {network}: {error}") from error
    if network in bundle.TOKENIZED:
        (target / bundle.tokenizer_file(network)).write_text(checkpoint.tokenizer + "\n", "utf-8")
    caches = 0
    if network == "musicgen":
        caches = MusicGen(packing.Tensors(file)).state_bytes(_ROWS, _POSITIONS)
    return file.stat().st_size + int(caches)
