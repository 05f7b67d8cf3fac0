"""The report on what each matrix loses as integers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from weights import pack, sensitivity, synthetic


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sensitivity")
    synthetic.write("tiny", folder)
    return folder


def test_every_matrix_and_the_cache_are_measured(folder: Path) -> None:
    bundle = pack.build("tiny", str(folder), "float32", target=folder / "float32")
    rows = list(sensitivity.measure(bundle / "musicgen.safetensors", steps=8))
    errors = {(row["name"], row["precision"]): row["error"] for row in rows}
    names = {name for name, _ in errors} - {"cache"}
    assert {"heads", "0.self.qkv", "1.cross.kv", "1.feed.out"} <= names
    assert len(names) == 1 + 2 * 7
    for name in names:
        assert 0 < errors[name, "int8"] < 0.02
        assert errors[name, "int4"] > 4 * errors[name, "int8"]
    assert 0 < errors["cache", "int8"] < 0.02
    assert "feed.in" in sensitivity.summary(rows)


def test_integers_cannot_be_compared_with_integers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = pack.build("tiny", str(folder), "int8", target=folder / "int8")
    monkeypatch.setattr(sys, "argv", ["sensitivity", str(bundle)])
    with pytest.raises(SystemExit):
        sensitivity.main()
