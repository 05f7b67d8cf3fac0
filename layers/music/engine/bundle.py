"""A folder of weights: opened only if it is whole and was made for this engine.

A bundle holds `manifest.json`, one file of weights per network and the tokenizers. It is made by
``python -m weights build``; nothing of the checkpoints that it was made of is needed to run it.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from music.engine import library
from music.engine.packing import Tensors

MANIFEST = "manifest.json"
PARTS = {
    "t5": "musicgen",
    "musicgen": "musicgen",
    "encodec": "musicgen",
    "clap_audio": "clap",
    "clap_text": "clap",
    "clap_tags": "clap",
}
"""Which component's weights a network runs on."""

NETWORKS = tuple(PARTS)
TOKENIZED = ("t5", "clap_text")

FORMAT = 1
"""The version of the manifest and of the names of the files."""

EXPORTER = 2
"""Raise it whenever `weights.export` writes other tensors or the kernels read them otherwise."""

_SPARE = 200_000_000  # bytes beside weights and caches: the interpreter, its libraries, audio


class BundleError(Exception):
    """A bundle that cannot be used here; the message names the file and what is wrong with it."""


class Bundle:
    """The weights of a profile.

    Attributes
    ----------
    path : Path
    manifest : dict
        See `weights.pack.build`.
    networks : tuple of str
        Those of `NETWORKS` that the bundle was opened for.

    Examples
    --------
    >>> bundle = open_bundle(Path("build/models/small"))
    >>> bundle.component("musicgen")["license"]
    'CC-BY-NC-4.0'
    """

    def __init__(self, path: Path, manifest: dict[str, Any], networks: Iterable[str] = NETWORKS) -> None:
        self.path = path
        self.manifest = manifest
        self.networks = tuple(networks)

    @property
    def profile(self) -> str:
        """The profile that the bundle was made for."""
        return str(self.manifest["profile"])

    @property
    def precision(self) -> str:
        """The precision of its matrices, one of `music.engine.packing.PRECISIONS`."""
        return str(self.manifest["precision"])

    def component(self, name: str) -> dict[str, Any]:
        """Say what ``musicgen`` or ``clap`` was made of: model, id, revision, license, configs."""
        return dict(self.manifest["components"][name])

    def tensors(self, network: str, copied: bool = False) -> Tensors:
        """Map the weights of one of `NETWORKS`, or copy them into memory (see `safetensors.read`)."""
        return Tensors(self.path / weights_file(network), copied)

    def tokenizer(self, network: str) -> Path:
        """Give the path of the `tokenizer.json` of ``t5`` or ``clap_text``."""
        return self.path / tokenizer_file(network)

    def memory(self) -> int:
        """Count the bytes that `networks` take for one candidate of 30 s: weights, caches, the process."""
        return _SPARE + sum(int(self.manifest["memory"][network]) for network in self.networks)

    def require_memory(self, available: int | None = None) -> None:
        """Refuse to load what cannot fit, before anything is loaded.

        Parameters
        ----------
        available : int, optional
            The bytes that there are, by default what `available_memory` finds.

        Raises
        ------
        BundleError
            If `memory` counts more than that.
        """
        has = available_memory() if available is None else available
        if (needs := self.memory()) > has:
            raise BundleError(
                f"{self.path}: {self.profile} at {self.precision} needs {needs / 1e6:.0f} MB of memory; "
                f"{has / 1e6:.0f} MB are available"
            )

    def verify(self) -> None:
        """Compare every file of `networks` with its hash: about 1.5 s for each gigabyte.

        Raises
        ------
        BundleError
            If one differs.
        """
        for name in files_of(self.networks):
            expected = self.manifest["files"][name]
            with (self.path / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != expected["sha256"]:
                raise BundleError(f"{self.path / name}: its sha256 is {found}, not {expected['sha256']}")


def weights_file(network: str) -> str:
    """Name a network's file in a bundle."""
    return f"{network}.safetensors"


def tokenizer_file(network: str) -> str:
    """Name a network's tokenizer in a bundle."""
    return f"{network}.tokenizer.json"


def files_of(networks: Iterable[str]) -> list[str]:
    """List the files that networks need of a bundle, beside the manifest."""
    tokenizers = [tokenizer_file(network) for network in networks if network in TOKENIZED]
    return [*map(weights_file, networks), *tokenizers]


def open_bundle(path: Path, profile: str | None = None, networks: Iterable[str] = NETWORKS) -> Bundle:
    """Open a bundle: everything about it is checked but the files' hashes, which `Bundle.verify` takes.

    Parameters
    ----------
    path : Path
    profile : str, optional
        The profile that the bundle must be of.
    networks : iterable of str
        The networks that it is opened for; files of others may be missing.

    Raises
    ------
    BundleError
        If there is no bundle, it is of another profile, another format or exporter version or for other
        processors, or a file is missing or has another size.
    """
    if not (path / MANIFEST).is_file():
        raise BundleError(
            f"{path}: no bundle there (no {MANIFEST}); make models PROFILE={profile or path.name}"
        )
    try:
        manifest = json.loads((path / MANIFEST).read_text("utf-8"))
        versions = (manifest["format"], manifest["exporter"])
        architectures, made_for = list(manifest["architectures"]), manifest["profile"]
        sizes = {str(name): int(entry["bytes"]) for name, entry in manifest["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{path / MANIFEST}: damaged: {error!r}") from error
    if versions != (FORMAT, EXPORTER):
        raise BundleError(
            f"{path}: made in format {versions[0]} by exporter {versions[1]}, but this engine reads format "
            f"{FORMAT} of exporter {EXPORTER}: make models PROFILE={made_for}"
        )
    if library.architecture() not in architectures:
        raise BundleError(f"{path}: made for {' and '.join(architectures)}, not for {library.architecture()}")
    if profile is not None and made_for != profile:
        raise BundleError(f"{path}: a bundle of {made_for}, not of {profile}")
    networks = tuple(networks)
    for name in files_of(networks):
        file = path / name
        if name not in sizes:
            raise BundleError(f"{path / MANIFEST}: does not list {name}")
        if not file.is_file():
            raise BundleError(f"{file}: missing")
        if file.stat().st_size != sizes[name]:
            raise BundleError(f"{file}: has {file.stat().st_size} bytes, not {sizes[name]}")
    return Bundle(path, manifest, networks)


def available_memory() -> int:
    """Count the bytes that this process may take: the function's size on Lambda, else what is free here."""
    limits = []
    if size := os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"):
        limits.append(int(size) << 20)
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        limits.append(int(lines["MemAvailable"].split()[0]) << 10)
    cgroup = Path("/sys/fs/cgroup/memory.max")
    if cgroup.exists() and (limit := cgroup.read_text().strip()) != "max":
        limits.append(int(limit))
    return min(limits, default=sys.maxsize)


if __name__ == "__main__":  # images run it when they are built: … FOLDER PROFILE NETWORK…
    try:
        open_bundle(Path(sys.argv[1]), sys.argv[2], sys.argv[3:] or NETWORKS).verify()
    except BundleError as error:
        sys.exit(f"error: {error}")
