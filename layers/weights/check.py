"""Open a checkpoint as the Hugging Face hub has it, without torch, and refuse one that does not run here."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from music.clap import mel
from music.engine import safetensors
from weights import CheckpointError
from weights.configs import complete
from weights.layouts import layout

# The same tensor under the name that newer releases of transformers save it by.
_RENAMED = (
    (".parametrizations.weight.original0", ".weight_g"),
    (".parametrizations.weight.original1", ".weight_v"),
    ("text_encoder.encoder.embed_tokens.weight", "text_encoder.shared.weight"),
)


class Checkpoint:
    """A folder with `config.json`, `model.safetensors` (or its shards and their index) and a tokenizer.

    Files are mapped: opening reads headers only, and a tensor costs memory when it is looked at.

    Parameters
    ----------
    folder : str or Path

    Attributes
    ----------
    folder : Path
    config : dict
        The content of `config.json`, completed by the defaults that it leaves out.

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
        self._entries = {published(name): entry for name, entry in self._read().items()}
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
            A read-only view of the file where it is stored as float32, else converted from F16 or BF16.

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

    @property
    def tokenizer(self) -> Path:
        """The file `tokenizer.json`."""
        return self._file("tokenizer.json")

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
        if (self.folder / "model.safetensors").is_file():
            return _mapped(self.folder / "model.safetensors")
        index = "model.safetensors.index.json"
        if not (self.folder / index).is_file():
            raise CheckpointError(f"{self.folder}: neither model.safetensors nor {index} is there")
        where = shards(self.folder / index)
        files = {file: _mapped(self._file(file)) for file in sorted(set(where.values()))}
        for name, file in where.items():
            if name not in files[file]:
                raise CheckpointError(f"{self.folder / file}: tensor {name} is missing")
        return {name: files[file][name] for name, file in where.items()}

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
    try:
        return safetensors.read(path)[0]
    except safetensors.WeightsError as error:
        raise CheckpointError(str(error)) from error


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
