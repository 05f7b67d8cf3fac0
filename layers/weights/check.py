"""Open a checkpoint as the Hugging Face hub has it, without torch, and refuse one that does not run here."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from music.clap import mel
from music.engine import safetensors
from weights import CheckpointError, pytorch
from weights.configs import complete
from weights.layouts import layout

# The same tensor under the name that newer releases of transformers save it by.
_RENAMED = (
    (".parametrizations.weight.original0", ".weight_g"),
    (".parametrizations.weight.original1", ".weight_v"),
    ("text_encoder.encoder.embed_tokens.weight", "text_encoder.shared.weight"),
)


DESCRIPTION = ("config.json", "preprocessor_config.json", "tokenizer.json")
"""What a checkpoint consists of beside its weights."""

WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""The names that weights are published under, the best first: whole, or as shards that an index lists."""


class Checkpoint:
    """A folder with `config.json`, weights under one of the names in `WEIGHTS`, and a tokenizer.

    Files are mapped: opening reads headers only, and a tensor costs memory when it is looked at.

    Parameters
    ----------
    folder : str or Path

    Attributes
    ----------
    folder : Path
    config : dict
        The content of `config.json`, completed by the defaults that it leaves out.
    weights : tuple of str
        The names of the files that its tensors are read from, the index first where there is one.

    Raises
    ------
    CheckpointError
        If a file is missing or damaged, the config describes a network that this project does not run or
        other spectrograms than it computes, or a tensor that follows from the config is missing or has
        another shape.

    Examples
    --------
    >>> checkpoint = Checkpoint("checkpoints/small/musicgen")
    >>> checkpoint.config["decoder"]["num_hidden_layers"]
    24
    >>> checkpoint.tensor("enc_to_dec_proj.bias").shape
    (1024,)
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise CheckpointError(f"{self.folder}: no such folder")
        self.config: dict[str, Any] = complete(self._json("config.json"))
        there = {path.name for path in self.folder.iterdir()}
        self.weights = whole(there, lambda index: shards(self.folder / index), str(self.folder))
        self._entries = self._read()
        for name, tensor in layout(self.config).items():
            if name in self._entries:
                self._expect(name, tensor.shape)
            elif tensor.needed:
                raise CheckpointError(f"{self.folder}: tensor {name} is missing")
        if self.config["model_type"] == "clap":
            self._expect_spectrograms()

    def names(self) -> list[str]:
        """List the names of all tensors, sorted."""
        return sorted(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def shape(self, name: str) -> tuple[int, ...]:
        """Look the shape of a tensor up; raises `CheckpointError` if there is none of this name."""
        return self._entry(name).shape

    def tensor(self, name: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
        """Read a tensor.

        Parameters
        ----------
        name : str
        shape : tuple of int, optional
            The shape that it must have.

        Returns
        -------
        np.ndarray [shape as stored, dtype=float32]
            A read-only view of the file where it is stored as float32, else converted from F64, F16 or BF16.

        Raises
        ------
        CheckpointError
            If there is no such tensor, it holds integers, or its shape is another one.
        """
        entry = self._entry(name)
        if shape is not None:
            self._expect(name, shape)
        try:
            return entry.float32()
        except TypeError as error:
            raise CheckpointError(f"{self.folder}: tensor {name}: {error}") from error

    @cached_property
    def preprocessor(self) -> dict[str, Any]:
        """The content of `preprocessor_config.json`."""
        return self._json("preprocessor_config.json")

    @cached_property
    def tokenizer(self) -> str:
        """The content of `tokenizer.json`, but for settings of whoever saved it: no text is cut or padded."""
        whole = self._json("tokenizer.json") | {"truncation": None, "padding": None}
        return json.dumps(whole, ensure_ascii=False, separators=(",", ":"))

    def _file(self, name: str) -> Path:
        path = self.folder / name
        if not path.is_file():
            raise CheckpointError(f"{path}: no such file")
        return path

    def _json(self, name: str) -> dict[str, Any]:
        try:
            content = json.loads(self._file(name).read_text("utf-8"))
        except ValueError as error:
            raise CheckpointError(f"{self.folder / name}: not JSON: {error}") from error
        if not isinstance(content, dict):
            raise CheckpointError(f"{self.folder / name}: not a JSON object")
        return content

    def _read(self) -> dict[str, safetensors.Entry]:
        index = self.weights[0] if self.weights[0].endswith(".index.json") else None
        files = self.weights[1:] if index else self.weights
        read = {file: _mapped(self.folder / file) for file in files}
        if index is None:
            found = read[files[0]]
        else:
            found = {}
            for name, file in shards(self.folder / index).items():
                if name not in read[file]:
                    raise CheckpointError(f"{self.folder / file}: tensor {name} is missing")
                found[name] = read[file][name]
        # A tied tensor may be there under both of its names; the published one stands.
        renamed = {published(name): entry for name, entry in found.items()}
        return renamed | {name: found[name] for name in renamed if name in found}

    def _entry(self, name: str) -> safetensors.Entry:
        if name not in self._entries:
            raise CheckpointError(f"{self.folder}: tensor {name} is missing")
        return self._entries[name]

    def _expect_spectrograms(self) -> None:
        file = self.folder / "preprocessor_config.json"
        for name, value in mel.SETTINGS.items():
            if (found := self.preprocessor.get(name, value)) != value:
                raise CheckpointError(f"{file}: {name} is {found!r}; only {value!r} is supported")

    def _expect(self, name: str, shape: tuple[int, ...]) -> None:
        if self._entries[name].shape != shape:
            raise CheckpointError(
                f"{self.folder}: tensor {name} has the shape {self._entries[name].shape}, not {shape}"
            )


def _mapped(path: Path) -> dict[str, safetensors.Entry]:
    if path.suffix == ".bin":
        return pytorch.read(path)
    try:
        return safetensors.read(path)[0]
    except safetensors.WeightsError as error:
        raise CheckpointError(str(error)) from error


def whole(there: Container[str], shards: Callable[[str], Mapping[str, str]], where: str) -> tuple[str, ...]:
    """Find the best weights that are whole.

    Parameters
    ----------
    there : container of str
        The names of the files of a folder or a repository.
    shards : callable
        Reads an index (see the function `shards`).
    where : str
        What the files are called together, for the error.

    Returns
    -------
    tuple of str
        The names of their files, the index first where there is one.

    Raises
    ------
    CheckpointError
        If there are none, or an index is damaged.
    """
    lacking = []
    for name in WEIGHTS:
        if name not in there:
            continue
        if not name.endswith(".index.json"):
            return (name,)
        files = sorted(set(shards(name).values()))
        missing = [file for file in files if file not in there]
        if files and not missing:
            return (name, *files)
        lacking.append(f"{name} lists {missing[0]}, which is not there" if missing else f"{name} lists none")
    raise CheckpointError(f"{where}: no weights: {'; '.join(lacking) or 'none of ' + ', '.join(WEIGHTS)}")


def shards(index: Path) -> dict[str, str]:
    """Read which file holds which tensor, from an ``….index.json``.

    Raises
    ------
    CheckpointError
        If it is not such a file, or points out of its folder.
    """
    try:
        where = json.loads(index.read_text("utf-8"))["weight_map"]
        if all(Path(file).name == file for file in where.values()):
            return dict(where)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index}: not an index of weights: {error}") from error
    raise CheckpointError(f"{index}: weight_map points out of its folder")


def published(name: str) -> str:
    """Give the published name of a tensor, whatever release named it."""
    for newer, older in _RENAMED:
        if name.endswith(newer):
            return name.removesuffix(newer) + older
    return name
