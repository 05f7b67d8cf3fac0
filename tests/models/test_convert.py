"""Pickled checkpoints become safetensors, and nothing in a pickle runs."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.support.hub import running
from weights import Checkpoint, CheckpointError, fetch, pack, synthetic
from weights.convert import convert
from weights.sources import Model, sha256

_INTEGERS = ("position_ids", "token_type_ids", "relative_position_index", "num_batches_tracked")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    synthetic.write("tiny", folder)
    return folder


@pytest.fixture(autouse=True)
def _this_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_PYTHON", sys.executable)


def _pickled(source: Path, target: Path, parts: int = 1) -> Path:
    """A copy as older releases saved it: pickles, T5's tied embedding under both names."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.safetensors"))
    tensors = load_file(source / "model.safetensors")
    if "text_encoder.shared.weight" in tensors:
        tensors["text_encoder.encoder.embed_tokens.weight"] = tensors["text_encoder.shared.weight"]
    if parts == 1:
        torch.save(tensors, target / "pytorch_model.bin")
        return target
    names = sorted(tensors)
    where: dict[str, str] = {}
    for part in range(parts):
        file = f"pytorch_model-{part + 1:05}-of-{parts:05}.bin"
        mine = names[part::parts]
        torch.save({name: tensors[name] for name in mine}, target / file)
        where |= dict.fromkeys(mine, file)
    (target / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": where}))
    return target


@pytest.mark.parametrize("part", ["musicgen", "clap"])
@pytest.mark.parametrize("parts", [1, 3])
def test_a_converted_checkpoint_is_the_same(made: Path, tmp_path: Path, part: str, parts: int) -> None:
    folder = _pickled(made / part, tmp_path / part, parts)
    with pytest.raises(CheckpointError, match=r"neither model\.safetensors"):
        Checkpoint(folder)
    convert(folder, folder)
    before, after = Checkpoint(made / part), Checkpoint(folder)
    assert after.names() == before.names()
    for name in before.names():
        if not name.endswith(_INTEGERS):
            np.testing.assert_array_equal(after.tensor(name), before.tensor(name))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precisions_stay_as_they_are(made: Path, tmp_path: Path, dtype: torch.dtype) -> None:
    folder = _pickled(made / "musicgen", tmp_path / "half")
    tensors = torch.load(folder / "pytorch_model.bin", weights_only=True)
    torch.save({name: value.to(dtype) for name, value in tensors.items()}, folder / "pytorch_model.bin")
    convert(folder, folder)
    name = "enc_to_dec_proj.weight"
    np.testing.assert_array_equal(Checkpoint(folder).tensor(name), tensors[name].to(dtype).float().numpy())


class _Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_runs_something_is_refused(made: Path, tmp_path: Path) -> None:
    folder = _pickled(made / "clap", tmp_path / "bomb")
    torch.save({"x": _Bomb(tmp_path / "exploded")}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"bomb: cannot be converted"):
        convert(folder, folder)
    assert not (tmp_path / "exploded").exists()
    assert not list(folder.glob("*.safetensors*"))


def test_a_pickle_of_something_else_is_refused(made: Path, tmp_path: Path) -> None:
    folder = _pickled(made / "clap", tmp_path / "else")
    torch.save({"step": 3}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="holds more than tensors"):
        convert(folder, folder)


def test_a_repository_of_pickles_is_converted_and_locked_when_it_is_fetched(
    made: Path, tmp_path: Path
) -> None:
    model = Model("clap-htsat-unfused", "laion/clap-htsat-unfused", "Apache-2.0")
    published = _pickled(made / "clap", tmp_path / "hub" / "laion" / "clap-htsat-unfused")
    with running(tmp_path / "hub") as server:
        for folder in (tmp_path / "one", tmp_path / "other"):
            fetch.fetch(model, folder, tmp_path / "lock.json", server.endpoint)
            assert Checkpoint(folder).names() == Checkpoint(made / "clap").names()
    entry = json.loads((tmp_path / "lock.json").read_text())["laion/clap-htsat-unfused"]
    assert entry["files"]["pytorch_model.bin"] == sha256(published / "pytorch_model.bin")
    assert entry["converted"] == {"model.safetensors": sha256(tmp_path / "other" / "model.safetensors")}


def test_a_folder_of_pickles_is_not_written_to(made: Path, tmp_path: Path) -> None:
    folder = _pickled(made / "clap", tmp_path / "given")
    before = sorted(folder.iterdir())
    whole = pack.whole(folder, tmp_path / "converted")
    assert whole == tmp_path / "converted"
    assert Checkpoint(whole).names() == Checkpoint(made / "clap").names()
    assert sorted(folder.iterdir()) == before
