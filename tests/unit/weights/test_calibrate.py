"""Activations that are far larger than the others cost integers little, and what integers cost is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from music.engine import packing
from music.engine.packing import Tensors
from music.musicgen.transformer import MusicGen
from tests.support.outliers import Injected, injections
from weights import Checkpoint, pack, synthetic
from weights.calibrate import BAR, accuracy, calibrate, calibrations
from weights.export import export
from weights.export.layers import Calibration

PLAIN = {"t5": Calibration(), "musicgen": Calibration()}
_DECODER = "decoder.model.decoder"

SOME, KEYS, TEXT = [7, 33, 50], [3, 35], [5, 20]  # of the keys, one of each head
INJECTIONS = injections(SOME, KEYS, TEXT)
UNCALIBRATED = {
    "inputs, taken back": 0.02,
    "inputs": 0.01,
    "feed-forward, taken back": 0.01,
    "keys": 0.01,
    "values, taken back": 0.01,
    "cross keys": 0.01,
}
"""What factors over 30 cost at least without a calibration, where that is more than rounding."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    synthetic.write("tiny", folder)
    return folder


def _error(checkpoint: Checkpoint, folder: Path, calibration: dict[str, Calibration]) -> float:
    folder.mkdir(exist_ok=True)
    for network in ("t5", "musicgen"):
        exported = export(network, checkpoint, "int8", calibration[network])
        packing.write(folder / f"{network}.safetensors", *exported)
    found: float = accuracy(checkpoint, folder, calibration)["logit_error"]
    return found


@pytest.mark.parametrize(
    ("kind", "factor"), [(kind, factor) for kind, factors in INJECTIONS.items() for factor in factors]
)
def test_outliers_cost_less_than_three_percent(made: Path, tmp_path: Path, kind: str, factor: float) -> None:
    checkpoint = Injected(made / "musicgen", INJECTIONS[kind][factor])
    calibration = calibrate(checkpoint)
    found = _error(checkpoint, tmp_path / "calibrated", calibration)
    assert 0.001 < found < BAR
    if factor > 30 and (floor := UNCALIBRATED.get(kind)):
        before = _error(checkpoint, tmp_path / "plain", PLAIN)
        assert before > max(floor, found)


@pytest.mark.parametrize("profile", ["tiny", "tiny-melody", "tiny-stereo"])
def test_without_outliers_nothing_is_set_apart(tmp_path: Path, profile: str) -> None:
    synthetic.write(profile, tmp_path)
    checkpoint = Checkpoint(tmp_path / "musicgen")
    assert calibrate(checkpoint) == PLAIN
    assert _error(checkpoint, tmp_path / "bundle", PLAIN) < 0.015


def test_what_is_moved_from_keys_to_queries_changes_nothing_but_rounding(made: Path, tmp_path: Path) -> None:
    moved = INJECTIONS["keys, taken back"][300] | INJECTIONS["values, taken back"][300]
    checkpoint = Injected(made / "musicgen", moved)
    calibration = calibrate(checkpoint)["musicgen"]
    rows, width = calibration.rows["0.self.qkv"], 64
    queries, keys, values = np.split(rows, 3)
    assert [np.flatnonzero(part).tolist() for part in (queries, keys, values)] == [KEYS, KEYS, SOME]
    assert len(queries) == width
    assert (queries == -keys).all()
    assert calibration.columns["0.self.out"].tolist() == SOME, "what is multiplied again is not rounded"
    found = export("musicgen", checkpoint, "int8", calibration)[0]["0.self.qkv"]
    before = export("musicgen", Checkpoint(made / "musicgen"), "int8")[0]["0.self.qkv"]
    assert isinstance(found, packing.Weight)
    assert isinstance(before, packing.Weight)
    # Each channel is within a power of two of what it was before it was injected.
    assert np.abs(found.unpack()).max() < 4 * np.abs(before.unpack()).max()


def test_a_layer_of_sharp_attention_stays_float32(made: Path, tmp_path: Path) -> None:
    sharp = {r"layers\.1\.self_attn\.k_proj\.weight$": (KEYS, 0, 300.0)}
    checkpoint = Injected(made / "musicgen", sharp)
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


def test_sharp_attention_to_the_text_stays_float32(made: Path) -> None:
    sharp = {r"layers\.1\.encoder_attn\.k_proj\.weight$": (KEYS, 0, 300.0)}
    calibration = calibrate(Injected(made / "musicgen", sharp))
    assert calibration["musicgen"].exact == {"1.cross.q", "1.cross.kv"}


def test_what_integers_are_too_coarse_for_stays_float32(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = Injected(made / "musicgen", {r"layers\.0\.self_attn\.k_proj\.weight$": (KEYS, 0, 300.0)})
    stages = list(calibrations(checkpoint))
    assert [len(stage["musicgen"].exact) for stage in stages] == [1, 1, 9, 16]
    found = {}
    for bar in (0.03, 0.0075, 0.006, 0.0001):
        monkeypatch.setattr(pack, "BAR", bar)
        _, cost = pack.write_musicgen(checkpoint, "int8", tmp_path)
        assert cost
        assert cost["logit_error"] < bar
        found[bar] = cost["exact"], cost["logit_error"] == 0
    assert found == {0.03: (1, False), 0.0075: (9, False), 0.006: (17, False), 0.0001: (24, True)}
    _, experimental = pack.write_musicgen(Checkpoint(made / "musicgen"), "int4", tmp_path)
    assert experimental
    assert (experimental["exact"], experimental["logit_error"] > 0.03) == (0, True)


def test_a_channel_that_is_always_zero_is_no_measure_of_others(made: Path) -> None:
    dead = list(range(31))
    checkpoint = Injected(made / "musicgen", {r"self_attn\.k_proj\.weight$": (dead, 0, 0.0)})
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
