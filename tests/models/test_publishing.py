"""`make models SOURCE=folder` takes what torch wrote in each layout that is published, without torch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from client.stack import ROOT
from tests.models.publishing import LAYOUTS, publish

READER = ROOT / ".venv/bin/python"
"""The environment that makes bundles, which has no torch."""
FULL = bool(os.environ.get("FULL"))
"""Whether the published sizes are tried, too: 40 GB of disk, an hour."""


def _build(profile: str, folder: Path, models: Path) -> dict[str, object]:
    """Make a bundle where there is no torch, and return its manifest."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "layers")}
    command = (READER, "-m", "weights", "build", profile, "--source", folder, "--out", models)
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "logits differ from float32 by" in done.stdout
    manifest: dict[str, object] = json.loads((models / profile / "manifest.json").read_text())
    return manifest


def test_what_makes_bundles_has_no_torch() -> None:
    found = subprocess.run((READER, "-c", "import torch"), capture_output=True, text=True)
    assert "No module named 'torch'" in found.stderr


@pytest.mark.parametrize(
    ("profile", "layout"),
    [
        *[(profile, layout) for profile in ("tiny", "tiny-melody", "tiny-stereo") for layout in LAYOUTS],
        *[(profile, layout) for layout, profile in LAYOUTS.items() if FULL],
    ],
)
def test_each_published_layout_makes_the_same_bundle(tmp_path: Path, profile: str, layout: str) -> None:
    publish(profile, tmp_path / "given", layout)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "given").rglob("*")}
    manifest = _build(profile, tmp_path / "given", tmp_path / "models")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "given").rglob("*")} == before
    shutil.rmtree(tmp_path / "given")
    if not profile.startswith("tiny"):
        return
    publish(profile, tmp_path / "given", "one safetensors")
    assert _build(profile, tmp_path / "given", tmp_path / "models")["files"] == manifest["files"]
