"""The demo's picture: valid for any length, and its scales say what they show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from client import picture
from client.picture import RATE, Panel, compare
from music.dsp import spectra


def _tone(hertz: float, seconds: float) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


@pytest.mark.parametrize("seconds", [0.0, 0.01, 1.0, 900.0])
def test_a_picture_is_drawn_for_any_length(seconds: float, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    compare(
        Panel(_tone(440, seconds), "tune.mp3", "source"), Panel(_tone(220, 30), "like.wav", "result"), path
    )
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.size == (1300, 720)
        assert len(set(image.convert("L").tobytes())) > 50  # something is drawn
    assert path.stat().st_size < 400_000


def test_a_second_is_as_wide_on_both_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []
    save = Figure.savefig

    def keep(figure: Figure, *arguments: Any, **options: Any) -> None:
        figures.append(figure)
        save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    compare(Panel(_tone(440, 3.0), "a", ""), Panel(_tone(220, 12.0), "b", ""), tmp_path / "picture.png")
    panels = figures[0].axes[:6]
    assert {axes.get_xlim() for axes in panels} == {(0.0, 12.0)}
    (width,) = {round(axes.get_position().width, 6) for axes in panels}
    assert width > 0.3


def test_silence_is_drawn_as_silence(tmp_path: Path) -> None:
    silence = np.zeros(RATE, np.float32)
    compare(Panel(silence, "a", ""), Panel(silence, "b", ""), tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 5_000


@pytest.mark.parametrize("hertz", picture._HERTZ)
def test_a_tone_lies_at_its_tick(hertz: int) -> None:
    rows = spectra.mel_spectrogram(_tone(hertz, 1.0), RATE, n_mels=picture._MELS).mean(axis=1)
    assert abs(int(rows.argmax()) + 0.5 - picture._mel_of(hertz)) <= 1.0
