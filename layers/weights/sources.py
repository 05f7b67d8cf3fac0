"""Which published models a profile is made of (`sources.toml`), and what was fetched of them (the lock)."""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from weights import CheckpointError

SOURCES = Path(__file__).with_name("sources.toml")
LOCK = Path(__file__).with_name("sources.lock.json")


@dataclass(frozen=True)
class Model:
    """A published model.

    Attributes
    ----------
    name : str
        What `configs` and the manifest call it.
    repository : str or None
        Its Hugging Face id; None for what nobody publishes.
    license : str or None
        The licence of the weights, an SPDX identifier; None where there is nothing to license.
    """

    name: str
    repository: str | None = None
    license: str | None = None


@cache
def _sources() -> dict[str, Any]:
    return tomllib.loads(SOURCES.read_text("utf-8"))


def profiles() -> tuple[str, ...]:
    """List the profiles that have weights."""
    return tuple(_sources()["profiles"])


def models_of(profile: str) -> dict[str, Model]:
    """List the models of a profile, by the part they play in it: ``musicgen`` and ``clap``.

    Raises
    ------
    CheckpointError
        If there is no such profile.
    """
    if profile not in profiles():
        raise CheckpointError(f"unknown profile {profile!r}; profiles with weights: {', '.join(profiles())}")
    published = _sources()["models"]
    return {
        part: Model(name, **published.get(name, {})) for part, name in _sources()["profiles"][profile].items()
    }


def sha256(path: Path) -> str:
    """Digest a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Locked:
    """What the first fetch of a repository found.

    Attributes
    ----------
    revision : str
        The commit.
    files : dict of str to str
        sha256 of each file that was fetched.
    """

    revision: str
    files: dict[str, str]


def locked(repository: str, lock: Path = LOCK) -> Locked | None:
    """Look a repository up in the lock file; None if it was never fetched.

    Raises
    ------
    CheckpointError
        If the lock file is damaged.
    """
    if not lock.exists():
        return None
    try:
        entry = json.loads(lock.read_text("utf-8")).get(repository)
        return None if entry is None else Locked(entry["revision"], dict(entry["files"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{lock}: damaged: {error}") from error


def write_lock(repository: str, entry: Locked, lock: Path = LOCK) -> None:
    """Add a repository to the lock file. What is there already stays as it is."""
    content = json.loads(lock.read_text("utf-8")) if lock.exists() else {}
    content.setdefault(repository, vars(entry))
    partial = lock.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", "utf-8")
    partial.replace(lock)
