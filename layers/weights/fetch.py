"""Fetch checkpoints from the Hugging Face hub: once unpinned, from then on exactly what the lock says.

Needs the package `huggingface_hub`, which nothing else does.
"""

from __future__ import annotations

from pathlib import Path

from weights import Checkpoint, CheckpointError
from weights.check import shards
from weights.convert import convert
from weights.sources import LOCK, Locked, Model, locked, sha256, write_lock

# What a checkpoint consists of, in the repositories' names; weights beside these are in other formats.
_NEEDED = ("config.json", "preprocessor_config.json", "tokenizer.json")
_OPTIONAL = ("generation_config.json", "tokenizer_config.json")
_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


def fetch(model: Model, folder: Path, lock: Path = LOCK, endpoint: str | None = None) -> str:
    """Fetch a checkpoint, or complete and check what was fetched before.

    A repository that is not in the lock file is fetched as it is now, and what came is written there. One
    that is in it is fetched at its revision, and every file must have its hash.

    Parameters
    ----------
    model : Model
    folder : Path
        Gets the files; those that are there already are not fetched again.
    lock : Path
    endpoint : str, optional
        The address of the hub, instead of the one that `huggingface_hub` is set up with.

    Returns
    -------
    str
        The revision, a commit id.

    Raises
    ------
    CheckpointError
        If nobody publishes the model, the hub cannot be reached or lacks a file, or anything differs from the
        lock.
    """
    try:
        from httpx2 import HTTPError
        from huggingface_hub import HfApi
    except ImportError as error:
        raise CheckpointError("fetching needs the package huggingface_hub: make .venv/hub") from error

    if model.repository is None:
        raise CheckpointError(f"{model.name} is not published anywhere: use SOURCE=random")
    known = locked(model.repository, lock)
    api = HfApi(endpoint=endpoint)

    def get(file: str, revision: str) -> Path:
        try:
            return Path(
                api.hf_hub_download(model.repository or "", file, revision=revision, local_dir=folder)
            )
        except (HTTPError, OSError) as error:
            raise CheckpointError(
                f"{model.repository}: {file} at {revision} cannot be fetched: {_line(error)}"
            ) from error

    if known:
        revision, declared = known.revision, known.files
    else:
        try:
            info = api.model_info(model.repository, files_metadata=True)
        except (HTTPError, OSError) as error:
            raise CheckpointError(f"{model.repository}: the hub does not answer: {_line(error)}") from error
        revision = str(info.sha)
        there = {file.rfilename: file.lfs.sha256 if file.lfs else "" for file in info.siblings or []}
        missing = [file for file in _NEEDED if file not in there]
        weights = next((file for file in _WEIGHTS if file in there), None)
        if missing or not weights:
            raise CheckpointError(
                f"{model.repository}: the hub has no {missing[0] if missing else 'weights'}"
            )
        wanted = {*_NEEDED, *(file for file in _OPTIONAL if file in there), weights}
        if weights.endswith(".index.json"):
            wanted |= set(shards(get(weights, revision)).values())
        declared = {file: there.get(file, "") for file in wanted}
    found = {}
    for file, expected in sorted(declared.items()):
        found[file] = sha256(get(file, revision))
        if expected and found[file] != expected:
            raise CheckpointError(
                f"{model.repository}: {file} has the sha256 {found[file]}, not {expected} as "
                + ("locked" if known else "the hub declares")
            )
    converted = _converted(folder, found, known)
    Checkpoint(folder)  # refuses what is not what it says
    if not known:
        write_lock(model.repository, Locked(revision, found, converted), lock)
    return revision


def _converted(folder: Path, found: dict[str, str], known: Locked | None) -> dict[str, str]:
    """Make safetensors files of a checkpoint that came without; gives their hashes."""
    if not any(file.startswith("pytorch_model") for file in found):
        return {}
    expected = known.converted if known else {}
    present = {file: sha256(folder / file) for file in expected if (folder / file).is_file()}
    if not expected or present != expected:
        present = {path.name: sha256(path) for path in convert(folder, folder)}
    if known and present != expected:
        raise CheckpointError(f"{folder}: what was converted differs from the lock")
    return present


def _line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
