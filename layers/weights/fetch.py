"""Fetch checkpoints from the Hugging Face hub: once unpinned, from then on exactly what the lock says.

Needs the package `huggingface_hub`, which nothing else does.
"""

from __future__ import annotations

from pathlib import Path

from weights import Checkpoint, CheckpointError
from weights.check import DESCRIPTION, WEIGHTS, shards, whole
from weights.sources import LOCK, Locked, Model, locked, sha256, write_lock

# Fetched where they are there: nothing here reads them, the torch runtime does.
OPTIONAL = ("generation_config.json", "tokenizer_config.json")


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
        raise CheckpointError(f"{model.name} is not on the hub: use SOURCE=random, or the folder that has it")
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
        if missing := [file for file in DESCRIPTION if file not in there]:
            raise CheckpointError(f"{model.repository}: the hub has no {missing[0]}")
        weights = whole(there, lambda index: shards(get(index, revision)), model.repository)
        for index in set(WEIGHTS) - set(weights):
            if index.endswith(".index.json"):
                (folder / index).unlink(missing_ok=True)  # was fetched to see whether it is whole
        wanted = {*DESCRIPTION, *(file for file in OPTIONAL if file in there), *weights}
        declared = {file: there.get(file, "") for file in wanted}
    found = {}
    for file, expected in sorted(declared.items()):
        found[file] = sha256(get(file, revision))
        if expected and found[file] != expected:
            raise CheckpointError(
                f"{model.repository}: {file} has the sha256 {found[file]}, not {expected} as "
                + ("locked" if known else "the hub declares")
            )
    checkpoint = Checkpoint(folder)  # refuses what is not what it says
    if stray := sorted(set(checkpoint.weights) - set(found)):
        raise CheckpointError(f"{folder / stray[0]}: was not fetched, but would be read; remove it")
    if not known:
        write_lock(model.repository, Locked(revision, found), lock)
    return revision


def _line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
