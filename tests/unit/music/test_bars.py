"""Bars: where they begin, and in what meter."""

import json

import numpy as np
import pytest

from music.dsp import bars
from music.features import SAMPLE_RATE, Features, measure
from tests.support import truth
from tests.support.sound import noise
from weights.compose import compose, render
from weights.compose.piece import Piece


def of_meter(meter: str, count: int) -> list[Piece]:
    """The first pieces of a meter among seeds that no weights were fitted on, the styles in turn."""
    found = (piece for piece in truth.pieces(300, 24.0, 7000) if piece.meter == meter)
    return [next(found) for _ in range(count)]


def heard(piece: Piece) -> Features:
    return measure(render(piece, SAMPLE_RATE, 1, None)[0], -14.0)


@pytest.mark.parametrize(("meter", "most"), [("4/4", 5), ("3/4", 4), ("6/8", 3)])
def test_most_pieces_have_the_bars_that_were_written(meter: str, most: int) -> None:
    pieces = of_meter(meter, 6)
    right = [
        truth.bars_right(np.array(found.bars or []), found.meter, piece)
        for piece, found in ((piece, heard(piece)) for piece in pieces)
    ]
    assert sum(right) >= most


def test_every_bar_begins_with_a_beat_and_lasts_as_long_as_the_others() -> None:
    found = heard(compose(7002, 24.0, "pop"))
    assert found.bars
    assert set(found.bars) <= set(found.beats)
    assert np.ptp(np.diff(found.bars)) < 0.1
    assert found.bars_confidence
    assert 0.5 < found.bars_confidence <= 1.0
    assert Features.from_dict(json.loads(json.dumps(found.to_dict()))) == found


@pytest.mark.parametrize(
    "sound", [np.zeros(20 * SAMPLE_RATE, np.float32), noise(20.0)], ids=["silence", "noise"]
)
def test_where_no_bars_are_none_are_claimed(sound: np.ndarray) -> None:
    found = measure(sound, -20.0)
    assert (found.meter, found.bars, found.bars_confidence) == (None, None, 0.0)


def test_five_beats_in_a_bar_are_no_meter_that_is_known() -> None:
    rng = np.random.default_rng(0)
    beat = round(0.5 * SAMPLE_RATE)
    seconds = np.arange(beat) / SAMPLE_RATE
    audio = np.zeros(60 * beat)
    for number in range(60):
        strong = number % 5 == 0
        pitch = 220.0 * 2.0 ** ((0, 5, 7, 9)[number // 5 % 4] / 12.0)
        tone = np.sin(2 * np.pi * pitch * seconds) * np.exp(-3.0 * seconds)
        hiss = rng.standard_normal(beat) * np.exp(-80.0 * seconds)
        audio[number * beat :][:beat] += 0.2 * tone + (0.4 if strong else 0.1) * hiss
    found = measure(audio.astype(np.float32), -20.0)
    assert found.bars_confidence is not None
    assert found.bars is None or found.bars_confidence < 0.6


def test_a_dropped_beat_moves_the_bars_after_it() -> None:
    places = np.concatenate([np.arange(80) % 4, (np.arange(80) + 1) % 4])
    evidence = np.where(places[:, None] == np.arange(4), 0.6, -0.2)
    assert np.array_equal(bars.follow(evidence), places)
