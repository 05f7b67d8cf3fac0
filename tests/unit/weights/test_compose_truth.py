"""How analyses are held against the truth."""

import numpy as np
import pytest

from tests.benchmarks import bench_truth
from tests.support import truth
from weights.compose import STYLES


def test_a_tempo_may_be_four_per_cent_off_or_its_octave() -> None:
    assert truth.same_tempo(103.9, 100.0)
    assert not truth.same_tempo(104.1, 100.0)
    assert not truth.same_tempo(50.0, 100.0)
    assert truth.same_tempo(50.0, 100.0, octaves=True)
    assert truth.same_tempo(207.0, 100.0, octaves=True)
    assert not truth.same_tempo(150.0, 100.0, octaves=True)
    assert not truth.same_tempo(0.0, 100.0, octaves=True)


@pytest.mark.parametrize(
    ("found", "score"),
    [
        (("C", "major"), 1.0),
        (("G", "major"), 0.5),
        (("F", "major"), 0.5),
        (("A", "minor"), 0.5),
        (("C", "minor"), 0.0),
        (("D#", "major"), 0.0),
        ((None, None), 0.0),
    ],
)
def test_relatives_and_fifths_count_half(found: tuple[str | None, str | None], score: float) -> None:
    assert truth.key_score(found, ("C", "major")) == score


def test_the_relative_of_a_minor_key_is_a_third_up() -> None:
    assert truth.key_score(("C", "major"), ("A", "minor")) == 0.5
    assert truth.key_score(("F#", "major"), ("A", "minor")) == 0.0


def test_beats_are_found_once_each() -> None:
    true = np.arange(0.0, 20.0, 0.5)
    assert truth.f_measure(true + 0.06, true) == 1.0
    assert truth.f_measure(true + 0.08, true) == 0.0
    assert truth.f_measure(true[::2], true) == pytest.approx(2 / 3)
    assert truth.f_measure(np.sort(np.concatenate([true, true + 0.01])), true) == pytest.approx(2 / 3)
    assert truth.f_measure(true[true >= 5.0], true) == 1.0
    assert truth.f_measure(np.zeros(0), np.array([1.0])) == 1.0
    assert truth.f_measure(np.zeros(0), true) == 0.0


def test_styles_take_turns() -> None:
    pieces = list(truth.pieces(24, 4.0, first_seed=7))
    assert [piece.seed for piece in pieces] == list(range(7, 31))
    assert pieces[0].style == pieces[23].style == next(iter(STYLES))


def test_the_analysis_finds_most_of_what_is_true() -> None:
    # The benchmark measures the analysis; this sees on a dozen short pieces that truth and analysis meet.
    rows = []
    for number, style in enumerate(
        ("pop", "waltz", "chiptune", "synthwave", "bluegrass", "marching band") * 2
    ):
        piece, audio = truth.rendered(number, style, 12.0, bench_truth.SAMPLE_RATE)
        rows.append(bench_truth.score(piece, bench_truth.measure(audio, -14.0)))
    found = bench_truth.mean(rows)
    assert found["tempo"] >= 0.8
    assert found["tempo_to_octave"] >= 0.9
    assert found["key"] >= 0.75
    assert found["beats"] >= 0.8
