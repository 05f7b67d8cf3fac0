"""A neural profile on torch and transformers, from track to track."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models import profiles
from models.audio.encode import encode
from models.checkpoints import synthetic
from models.embedding import analyse
from models.generation import generate


def test_a_track_is_made_from_a_track(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME", "reference")
    monkeypatch.setenv("CHECKPOINTS", str(tmp_path))
    profiles.load.cache_clear()
    with pytest.raises(profiles.ProfileError, match="no checkpoint there"):
        profiles.load("tiny")
    synthetic.write("tiny", tmp_path / "tiny")
    profile = profiles.load("tiny")
    time = np.arange(5 * 32000) / 32000
    source = (0.3 * np.sin(2 * np.pi * 220 * time) * np.exp(-4 * (time % 0.5)))[None].astype(np.float32)
    path = tmp_path / "source.wav"
    path.write_bytes(encode(source, 32000, "wav", {}))
    analysis = analyse(path, profile.embedder)
    parameters = profiles.Parameters(seed=3, duration=1.0)
    made = [
        generate(path, profile, parameters, analysis.vector, analysis.features, lambda done: None)
        for _ in range(2)
    ]
    assert made[0].audio == made[1].audio
    assert made[0].report["engine"] == "musicgen-tiny"
    assert "torch" in made[0].report["details"]["machine"]
    profiles.load.cache_clear()
