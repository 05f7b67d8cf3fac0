"""A neural profile on torch and transformers, from track to track."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from music import interfaces, loading, profiles
from music.analysis import analyse
from music.audio.encode import encode
from music.production import generate
from weights import synthetic


def test_a_track_is_made_from_a_track(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME", "torch")
    monkeypatch.setenv("CHECKPOINTS", str(tmp_path))
    loading.load.cache_clear()
    with pytest.raises(profiles.ProfileError, match="no checkpoint there"):
        loading.load("tiny")
    synthetic.write("tiny", tmp_path / "tiny")
    profile = loading.load("tiny")
    time = np.arange(5 * 32000) / 32000
    source = (0.3 * np.sin(2 * np.pi * 220 * time) * np.exp(-4 * (time % 0.5)))[None].astype(np.float32)
    path = tmp_path / "source.wav"
    path.write_bytes(encode(source, 32000, "wav", {}))
    analysis = analyse(path, profile.embedder)
    parameters = interfaces.Parameters(seed=3, duration=1.0)
    made = [
        generate(path, profile, parameters, analysis.vector, analysis.features, lambda done: None)
        for _ in range(2)
    ]
    assert made[0].audio == made[1].audio
    assert made[0].report["engine"] == "musicgen-tiny"
    assert "torch" in made[0].report["details"]["machine"]
    loading.load.cache_clear()
