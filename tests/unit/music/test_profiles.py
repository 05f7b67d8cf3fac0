from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from music import interfaces, loading, profiles


def test_the_declaration_of_builtin_is_what_is_loaded() -> None:
    declared, profile = profiles.DECLARED["builtin"], loading.load("builtin")
    assert profile.embedder.identity == declared.identity
    assert profile.embedder.identity.model == declared.embedder
    assert profile.generator.name == declared.generator
    assert profile.generator.license == declared.license
    assert (profile.modes, profile.text) == (("similar", "extend", "repaint"), False)
    assert loading.load("builtin") is profile


def test_the_builtin_embedder_keeps_its_promise() -> None:
    embedder = loading.load("builtin").embedder
    noise = np.random.default_rng(0).standard_normal(3 * embedder.sample_rate).astype(np.float32) * 0.1
    vector = embedder.embed(noise)
    assert vector.shape == (embedder.dimension,) == (512,)
    assert vector.dtype == np.float32
    assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-5)


def test_an_unknown_profile_names_the_known_ones() -> None:
    with pytest.raises(profiles.ProfileError, match=r"'huge'.*builtin, small, medium, large, melody"):
        loading.load("huge")


def test_no_profile_falls_back_to_another() -> None:
    with pytest.raises(profiles.ProfileError, match="melody"):
        loading.load("melody")


def test_declarations_are_cheap_to_read() -> None:
    """The api function imports them, and its image has no numpy."""
    script = "import sys, music.profiles; print([m for m in ('numpy', 'scipy', 'av') if m in sys.modules])"
    layers = Path(__file__).parents[3] / "layers"
    run = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONPATH": str(layers)}, capture_output=True, check=True
    )
    assert run.stdout.strip() == b"[]"


def test_an_identity_is_one_string() -> None:
    identity = interfaces.Identity("clap", "8fa0f1c", "2", "float32")
    assert identity.id == "clap/8fa0f1c/2/float32"
