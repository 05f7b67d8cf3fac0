"""Files that torch wrote are read without it, and are to transformers what they are here."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from music import loading
from music.torch import checkpoint
from music.torch.clap import ClapTowers
from tests.support import pickled, published
from weights import Checkpoint, CheckpointError, pytorch, synthetic

_INTEGERS = ("position_ids", "token_type_ids", "relative_position_index", "num_batches_tracked")
_TYPES = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    synthetic.write("tiny", folder)
    return folder


def _saved(source: Path, target: Path, shards: int = 1) -> Path:
    """A pickled copy, written by torch."""
    pickled.checkpoint(source, target, shards)
    for file in target.glob("*.bin"):
        torch.save(torch.load(file, weights_only=True), file)
    return target


@pytest.mark.parametrize("part", ["musicgen", "clap"])
@pytest.mark.parametrize("shards", [1, 2])
def test_a_checkpoint_that_torch_saved_is_the_same(
    made: Path, tmp_path: Path, part: str, shards: int
) -> None:
    before, after = Checkpoint(made / part), Checkpoint(_saved(made / part, tmp_path / part, shards))
    assert after.names() == before.names()
    for name in before.names():
        if not name.endswith(_INTEGERS):
            np.testing.assert_array_equal(after.tensor(name), before.tensor(name))


def test_what_is_written_without_torch_is_what_torch_reads(made: Path, tmp_path: Path) -> None:
    folder = pickled.checkpoint(made / "clap", tmp_path / "clap")
    theirs = torch.load(folder / "pytorch_model.bin", weights_only=True)
    for name, value in load_file(made / "clap" / "model.safetensors").items():
        assert torch.equal(theirs[name], value)


@pytest.mark.parametrize("dtype", _TYPES)
def test_tensors_of_every_type_and_layout_are_read_as_torch_reads_them(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    whole = (torch.arange(60) % 7).to(dtype).reshape(3, 4, 5)
    given = {
        "whole": whole,
        "transposed": whole.transpose(0, 2),
        "slice": whole[1:, ::2, 1],
        "permuted copy": whole.permute(2, 0, 1).contiguous(),
        "repeated": whole[0, 0].expand(8, 5),
        "number": whole[2, 3, 4],
        "empty": whole[:0],
        "parameter": torch.nn.Parameter(whole.clone(), requires_grad=False),
    }
    if dtype.is_floating_point:
        given["with gradient"] = torch.nn.Parameter(whole.clone())
    torch.save(given, tmp_path / "x")
    found = pytorch.read(tmp_path / "x")
    assert list(found) == list(given)
    for name, value in given.items():
        value = value.detach()
        assert found[name].shape == tuple(value.shape)
        if dtype.is_floating_point:
            np.testing.assert_array_equal(found[name].float32(), value.float().numpy(), err_msg=name)
        else:
            np.testing.assert_array_equal(found[name].raw(), value.numpy(), err_msg=name)


def test_the_state_of_a_module_is_read_with_its_ties(tmp_path: Path) -> None:
    module = torch.nn.ModuleDict({"a": torch.nn.Linear(3, 3), "b": torch.nn.Linear(3, 3)})
    module["b"].weight = module["a"].weight
    module["norm"] = torch.nn.utils.parametrizations.weight_norm(torch.nn.Conv1d(2, 4, 3))
    for state in (module.state_dict(), module.state_dict(keep_vars=True)):
        torch.save(state, tmp_path / "x")
        found = pytorch.read(tmp_path / "x")
        assert {name: value.raw().tolist() for name, value in found.items()} == {
            name: value.tolist() for name, value in module.state_dict().items()
        }


class _Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


def test_what_torch_saves_beside_plain_tensors_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    for given, message in (
        ({"x": _Bomb(tmp_path / "exploded")}, "holds posix mkdir, which is no tensor"),
        ({"step": 3}, "holds more than tensors"),
        ({"x": {"y": torch.ones(2)}}, "holds more than tensors"),
        ([torch.ones(2)], "an instruction EMPTY_LIST"),
        ({"x": torch.ones(2, dtype=torch.complex64)}, "holds torch ComplexFloatStorage"),
        ({"x": torch.ones(2).to_sparse()}, r"holds torch\..*, which is no tensor"),
        ({"x": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)}, "QInt8Storage"),
        ({"x": torch.ones(2, dtype=torch.float8_e4m3fn)}, "holds torch.*, which is no"),
        (torch.nn.Linear(2, 2), "which is no tensor|an instruction"),
    ):
        torch.save(given, path)
        with pytest.raises(CheckpointError, match=message):
            pytorch.read(path)
    torch.save({"x": torch.ones(2)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match=r"not a file of torch\.save since PyTorch 1\.6"):
        pytorch.read(path)
    assert [file.name for file in tmp_path.iterdir()] == ["x.bin"]


def test_the_torch_runtime_reads_pickles_and_pads_no_text(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From links, as a build from the hub leaves them; an index whose shards are missing is passed over."""
    (tmp_path / "tiny").mkdir()
    for part in ("musicgen", "clap"):
        folder = _saved(made / part, tmp_path / f"somebody--{part}", 2 if part == "musicgen" else 1)
        (folder / "model.safetensors.index.json").write_text('{"weight_map": {"x": "model-1.safetensors"}}')
        (tmp_path / "tiny" / part).symlink_to(f"../somebody--{part}")
        tokenizer = checkpoint.tokenizer(folder)
        plain = tokenizer.encode("calm").ids
        tokenizer.enable_padding(length=64)
        tokenizer.enable_truncation(3)
        tokenizer.save(str(folder / "tokenizer.json"))
        assert checkpoint.tokenizer(folder).encode("calm").ids == plain
    monkeypatch.setenv("RUNTIME", "torch")
    monkeypatch.setenv("CHECKPOINTS", str(tmp_path))
    loading.load.cache_clear()
    loading.load_embedder.cache_clear()
    loading.load("tiny")
    towers, theirs = ClapTowers(tmp_path / "tiny" / "clap"), ClapTowers(made / "clap")
    # Sums depend on where in memory weights begin.
    np.testing.assert_allclose(towers.embed("calm piano"), theirs.embed("calm piano"), rtol=0, atol=1e-6)
    ours, before = published.load(tmp_path / "tiny" / "musicgen"), published.load(made / "musicgen")
    for name, value in before.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name
    loading.load.cache_clear()
    loading.load_embedder.cache_clear()


@pytest.mark.parametrize("name", ["audio_projection.linear1.weight", "text_model.embeddings.LayerNorm.bias"])
def test_a_clap_that_lacks_a_tensor_is_refused_by_name(made: Path, tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(made / "clap", tmp_path / "clap"))
    tensors = load_file(folder / "model.safetensors")
    del tensors[name]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=re.escape(name)):
        ClapTowers(folder)


def test_half_precision_safetensors_and_pickles_are_one(made: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made / "musicgen", tmp_path / "half"))
    tensors = {name: value.half() for name, value in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    before = Checkpoint(folder)
    other = pickled.checkpoint(folder, tmp_path / "pickled")
    torch.save(tensors, other / "pytorch_model.bin")
    after = Checkpoint(other)
    for name in before.names():
        np.testing.assert_array_equal(after.tensor(name), before.tensor(name))
