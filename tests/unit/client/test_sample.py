"""The shipped sample is what its script plays, and music theory holds in it."""

from __future__ import annotations

import av
import numpy as np

from client import sample


def _decoded() -> np.ndarray:
    with av.open(str(sample.PATH)) as container:
        return np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)


def test_the_recording_is_what_the_script_plays() -> None:
    recording, played = _decoded(), sample.render()
    assert recording.shape[0] == 2
    assert abs(recording.shape[1] - played.shape[1]) < 0.05 * sample.RATE
    n = min(recording.shape[1], played.shape[1])
    for heard, meant in zip(recording[:, :n], played[:, :n], strict=True):
        assert np.corrcoef(heard, meant)[0, 1] > 0.99  # 112 kbit/s costs about 0.5 %
    assert np.abs(recording).max() < 0.9


def test_the_recording_is_small_enough_for_a_repository() -> None:
    assert sample.PATH.stat().st_size < 500_000


def test_every_bar_of_the_melody_is_full() -> None:
    for bar, notes in sample.MELODY.items():
        assert sum(beats for _, beats in notes) == sample.BEATS_PER_BAR, bar
    assert len(sample.CHORDS) == sample.BARS


def test_notes_are_in_equal_temperament() -> None:
    assert sample.frequency("A4") == 440.0
    assert abs(sample.frequency("C4") - 261.626) < 0.001
    assert abs(sample.frequency("Bb3") * 2 - sample.frequency("Bb3", 1)) < 1e-9
