"""The engine's networks against what torch and transformers computed with the same tiny checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from music.clap.audio_encoder import ClapAudio
from music.clap.text_encoder import ClapText
from music.engine.bundle import open_bundle
from music.musicgen.encodec import Encodec
from music.musicgen.t5 import T5
from music.musicgen.transformer import MusicGen
from tests.golden import FOLDER, PROFILES, answers
from weights import pack, synthetic
from weights.sources import sha256

# Of the RMS error, relative to the answer's deviation.
TOLERANCE = {"float32": 1e-4, "int8": 0.05}


class Engine:
    """All networks on the engine."""

    def __init__(self, bundle: Path) -> None:
        opened = open_bundle(bundle)
        self.t5 = T5(opened.tensors("t5"))
        self.musicgen = MusicGen(opened.tensors("musicgen"))
        self.encodec = Encodec(opened.tensors("encodec"))
        self.clap_audio = ClapAudio(opened.tensors("clap_audio"))
        self.clap_text = ClapText(opened.tensors("clap_text"))


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("profile", PROFILES)
def test_every_network_answers_as_transformers_does(profile: str, precision: str, tmp_path: Path) -> None:
    with np.load(FOLDER / f"{profile}.npz") as file:
        expected = dict(file)
    synthetic.write(profile, tmp_path)
    weights = [sha256(tmp_path / part / "model.safetensors") for part in ("musicgen", "clap")]
    assert weights == list(expected.pop("weights")), "other checkpoints: record the golden answers anew"
    bundle = pack.build(profile, str(tmp_path), precision, target=tmp_path / "bundles")
    found = answers(Engine(bundle), text=expected["t5"])
    assert found.keys() == expected.keys()
    codes, right = found.pop("codes"), expected.pop("codes")
    assert (codes == right).mean() >= (1.0 if precision == "float32" else 0.9)
    errors = {
        name: float(np.sqrt(np.mean((found[name] - value) ** 2)) / value.std())
        for name, value in expected.items()
    }
    assert {name: error for name, error in errors.items() if error > TOLERANCE[precision]} == {}
