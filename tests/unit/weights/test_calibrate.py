"""Activations that are far larger than the others cost integers little, and what integers cost is said."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from music.engine import packing
from music.engine.packing import Tensors
from music.musicgen.transformer import MusicGen
from weights import Checkpoint, synthetic
from weights.calibrate import accuracy, calibrate
from weights.export import export
from weights.export.layers import Calibration

PLAIN = {"t5": Calibration(), "musicgen": Calibration()}
_DECODER = "decoder.model.decoder"

Changes = dict[str, tuple[list[int], int, float]]
"""By a pattern of names: places, axis, factor."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    synthetic.write("tiny", folder)
    return folder


def _with(made: Path, target: Path, changes: Changes) -> Checkpoint:
    """A copy of which some tensors are multiplied in some places along an axis, by their names."""
    shutil.copytree(made / "musicgen", target)
    tensors = load_file(target / "model.safetensors")
    for pattern, (places, axis, factor) in changes.items():
        found = [name for name in tensors if re.search(pattern, name)]
        assert found, pattern
        for name in found:
            np.moveaxis(tensors[name], axis, 0)[places] *= np.float32(factor)
    save_file(tensors, target / "model.safetensors")
    return Checkpoint(target)


def _error(checkpoint: Checkpoint, folder: Path, calibration: dict[str, Calibration]) -> float:
    folder.mkdir(exist_ok=True)
    for network in ("t5", "musicgen"):
        exported = export(network, checkpoint, "int8", calibration[network])
        packing.write(folder / f"{network}.safetensors", *exported)
    found: float = accuracy(checkpoint, folder, calibration)["logit_error"]
    return found


_NORMS = r"layers\.\d\..*layer_norm\.weight$"
_READERS = r"(self_attn\.[qkv]_proj|encoder_attn\.q_proj|fc1)\.weight$"
_Q, _K, _V, _OUT = (rf"self_attn\.{part}_proj\.weight$" for part in ("q", "k", "v", "out"))
_SOME = [7, 33, 50]
_KEYS = [3, 35]  # one of each head


@pytest.mark.parametrize(
    ("changes", "uncalibrated"),
    [
        *[({_NORMS: (_SOME, 0, f), _READERS: (_SOME, 1, 1 / f)}, 0.02) for f in (30, 300, 1000)],
        *[({_NORMS: (_SOME, 0, f)}, 0.01) for f in (30, 300)],
        *[
            ({r"fc1\.weight": (_SOME, 0, f), r"fc2\.weight": (_SOME, 1, 1 / f)}, 0.01)
            for f in (30, 300, 1000)
        ],
        *[({r"fc2\.weight": (_SOME, 0, f)}, 0.0) for f in (30, 300, 1000)],
        *[({_K: (_KEYS, 0, f), _Q: (_KEYS, 0, 1 / f)}, 0.0) for f in (30, 100, 300)],
        *[({_K: (_KEYS, 0, f)}, 0.01) for f in (30, 100, 300)],
        *[({_V: (_SOME, 0, f), _OUT: (_SOME, 1, 1 / f)}, 0.01) for f in (30, 300)],
        *[({r"embed_tokens\.0\.weight": ([-1], 0, f)}, 0.0) for f in (30, 1000)],
        *[({r"layer\.0\.layer_norm\.weight": ([5, 20], 0, f)}, 0.0) for f in (30, 300, 1000)],
        *[({r"DenseReluDense\.wo\.weight": ([5, 20], 0, f)}, 0.0) for f in (30, 300, 1000)],
    ],
)
def test_outliers_cost_less_than_three_percent(
    made: Path, tmp_path: Path, changes: Changes, uncalibrated: float
) -> None:
    checkpoint = _with(made, tmp_path / "checkpoint", changes)
    calibration = calibrate(checkpoint)
    found = _error(checkpoint, tmp_path / "calibrated", calibration)
    assert 0.001 < found < 0.03
    if uncalibrated:
        before = _error(checkpoint, tmp_path / "plain", PLAIN)
        assert before > max(uncalibrated, found)


@pytest.mark.parametrize("profile", ["tiny", "tiny-melody", "tiny-stereo"])
def test_without_outliers_nothing_is_set_apart(tmp_path: Path, profile: str) -> None:
    synthetic.write(profile, tmp_path)
    checkpoint = Checkpoint(tmp_path / "musicgen")
    assert calibrate(checkpoint) == PLAIN
    assert _error(checkpoint, tmp_path / "bundle", PLAIN) < 0.015


def test_what_is_moved_from_keys_to_queries_changes_nothing_but_rounding(made: Path, tmp_path: Path) -> None:
    moved: Changes = {
        _K: (_KEYS, 0, 256), _Q: (_KEYS, 0, 1 / 256), _V: (_SOME, 0, 256), _OUT: (_SOME, 1, 1 / 256),
    }  # fmt: skip
    checkpoint = _with(made, tmp_path / "checkpoint", moved)
    calibration = calibrate(checkpoint)["musicgen"]
    rows, width = calibration.rows["0.self.qkv"], 64
    queries, keys, values = np.split(rows, 3)
    assert [np.flatnonzero(part).tolist() for part in (queries, keys, values)] == [_KEYS, _KEYS, _SOME]
    assert len(queries) == width
    assert (queries == -keys).all()
    assert calibration.columns["0.self.out"].tolist() == _SOME, "what is multiplied again is not rounded"
    found = export("musicgen", checkpoint, "int8", calibration)[0]["0.self.qkv"]
    before = export("musicgen", Checkpoint(made / "musicgen"), "int8")[0]["0.self.qkv"]
    assert isinstance(found, packing.Weight)
    assert isinstance(before, packing.Weight)
    # Each channel is within a power of two of what it was before it was injected.
    assert np.abs(found.unpack()).max() < 4 * np.abs(before.unpack()).max()


def test_a_layer_of_sharp_attention_stays_float32(made: Path, tmp_path: Path) -> None:
    checkpoint = _with(made, tmp_path / "checkpoint", {r"layers\.1\." + _K: (_KEYS, 0, 300)})
    calibration = calibrate(checkpoint)
    assert calibration["musicgen"].exact == {"1.self.qkv"}
    _error(checkpoint, tmp_path / "bundle", calibration)
    model = MusicGen(Tensors(tmp_path / "bundle" / "musicgen.safetensors"))
    assert model.exact == {1}
    assert model.tensors.weight("1.self.qkv").precision == "float32"
    assert model.tensors.weight("0.self.qkv").precision == "int8"
    _error(Checkpoint(made / "musicgen"), tmp_path / "plain", PLAIN)
    plain = MusicGen(Tensors(tmp_path / "plain" / "musicgen.safetensors"))
    assert plain.state_bytes(2, 100) < model.state_bytes(2, 100)


def test_a_channel_that_is_always_zero_is_no_measure_of_others(made: Path, tmp_path: Path) -> None:
    dead = list(range(31))
    checkpoint = _with(made, tmp_path / "checkpoint", {_K: (dead, 0, 0)})
    assert not calibrate(checkpoint)["musicgen"].rows.get("0.self.qkv", np.zeros(1)).any()


def test_the_worst_matrices_are_named(made: Path, tmp_path: Path) -> None:
    checkpoint = Checkpoint(made / "musicgen")
    _error(checkpoint, tmp_path / "bundle", PLAIN)
    tensors, metadata = export("musicgen", checkpoint, "int8", PLAIN["musicgen"])
    tensors["1.feed.in"] = packing.pack(
        np.concatenate([checkpoint.tensor(f"{_DECODER}.layers.1.fc1.weight")]), "int4"
    )
    packing.write(tmp_path / "bundle" / "musicgen.safetensors", tensors, metadata)
    found = accuracy(checkpoint, tmp_path / "bundle", PLAIN)
    assert found["worst"][0]["matrix"] == "musicgen.1.feed.in"
    assert 0.05 < found["worst"][0]["error"] < 0.2
    assert len(found["worst"]) == 5
    assert found["worst"][1]["error"] < 0.02
