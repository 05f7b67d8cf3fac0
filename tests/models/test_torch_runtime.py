"""A neural profile on torch and transformers, from track to track."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from music import interfaces, loading, profiles
from music.analysis import analyse
from music.audio.encode import encode
from music.production import generate
from music.torch.batch import Batch, Stream
from music.torch.language import Slots
from tests.support.networks import FEATURES
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
    assert made[0].report["details"]["batch"] == "1"
    loading.load.cache_clear()


def test_jobs_of_several_threads_share_one_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME", "torch")
    monkeypatch.setenv("CHECKPOINTS", str(tmp_path))
    loading.load.cache_clear()
    synthetic.write("tiny", tmp_path / "tiny")
    generator = loading.load("tiny").generator
    settle = Batch._settle

    def together(self: Batch, slots: Slots) -> list[Stream]:
        """Begin when both have come."""
        if not self._seats:
            with self._changed:
                self._changed.wait_for(lambda: len(self._waiting) == 2)
        monkeypatch.setattr(Batch, "_settle", settle)
        return settle(self, slots)

    def make(seed: int) -> interfaces.Candidate:
        source = np.random.default_rng(seed).standard_normal((1, 32000)).astype(np.float32) * 0.1
        request = interfaces.Request(source, FEATURES, interfaces.Parameters(seed=seed, duration=1.0))
        (candidate,) = generator.candidates(request, lambda done: None)
        return candidate

    alone = [make(seed) for seed in (3, 4)]
    monkeypatch.setattr(Batch, "_settle", together)
    with ThreadPoolExecutor() as pool:
        shared = list(pool.map(make, (3, 4)))
    assert [candidate.details["batch"] for candidate in alone] == ["1", "1"]
    assert all("2" in candidate.details["batch"].split(", ") for candidate in shared)
    for one, other in zip(alone, shared, strict=True):
        np.testing.assert_allclose(other.audio, one.audio, atol=1e-3)
    loading.load.cache_clear()
