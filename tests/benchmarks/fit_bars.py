"""Fit the weights of bars on composed music, and write them beside the analysis.

    python -m tests.benchmarks.fit_bars [--out FILE]

The pieces are those of `fit_analysis`; `bench_truth` judges on others. Beats are those that the analysis
finds: where they are wrong no kind of bars is right, and none is. A multinomial logit over kinds and phases
of bars and none, with a quadratic penalty. To be run again whenever the analysis finds other beats.
"""

import os

# Before numpy is imported: sums in BLAS depend on the number of threads.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse  # noqa: E402
from collections.abc import Iterable, Iterator  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402

from music.dsp import bars, rhythm  # noqa: E402
from music.features import SAMPLE_RATE, measure_rhythm  # noqa: E402
from tests.benchmarks.fit_analysis import FRAME_RATE, SECONDS, SEEDS, hear, logit  # noqa: E402
from tests.support import truth  # noqa: E402
from weights.compose.soundfont import fetch  # noqa: E402

PENALTY = 3.0
FEWEST_BEATS = 8
HIT = 0.85  # share of the true downbeats that a right answer has


@dataclass(frozen=True, eq=False)
class Heard:
    """What is measured of a piece (see `music.dsp.bars`), the beats that were found, and what is true."""

    found: np.ndarray
    shape: np.ndarray
    beats: np.ndarray
    meter: str
    downbeats: np.ndarray


def pieces() -> Iterator[Heard]:
    """Listen to the pieces; those without beats are left out."""
    soundfont = fetch()
    for first, count in SEEDS:
        for piece in truth.pieces(count, SECONDS, first):
            sound = hear(truth.kept(piece, SAMPLE_RATE, soundfont), piece.tempo, piece)
            beats = np.array(measure_rhythm(sound.curves, SECONDS).beats)
            if len(beats) >= FEWEST_BEATS:
                yield Heard(
                    bars.at_beats(sound.curves, sound.salience, FRAME_RATE, beats),
                    rhythm.beat_shape(sound.curves, FRAME_RATE, beats * FRAME_RATE),
                    beats,
                    piece.meter,
                    piece.downbeats,
                )


def right(heard: Heard, kind: int) -> list[bool]:
    """Tell for each phase of a kind of bars whether it is the truth."""
    meter, size = bars.KINDS[kind]
    near = truth.BEAT_TOLERANCE
    true = heard.downbeats[
        (heard.downbeats > heard.beats[0] - near) & (heard.downbeats < heard.beats[-1] + near)
    ]
    answers = []
    for first in range(size):
        said = heard.beats[(-first) % size :: size]
        hits = np.abs(said[None] - true[:, None]).min(axis=1, initial=np.inf) < near
        as_many = abs(len(said) - len(true)) <= max(1.0, 0.1 * len(true))
        answers.append(bool(meter == heard.meter and len(true) and hits.mean() > HIT and as_many))
    return answers


def fit(heard: Iterable[Heard]) -> tuple[np.ndarray, float]:
    """Fit `music.dsp.bars.weights`: ``kinds`` and ``none``."""
    sizes = [bars.length(kind) for kind in range(len(bars.KINDS))]
    edges = np.cumsum([0, *sizes])
    clues, answers = [], []
    for one in heard:
        rows, said = [], []
        for kind in range(len(bars.KINDS)):
            for row in bars.clues(one.found, one.shape, kind):
                rows.append(np.zeros(edges[-1]))
                rows[-1][edges[kind] : edges[kind + 1]] = row
            said += right(one, kind)
        clues.append([*rows, np.zeros(edges[-1])])
        answers.append([*said, not any(said)])
    choices = len(answers[0])
    weights, none = logit(
        np.array(clues), np.array([answers], dtype=float), PENALTY, lambda at: at == choices - 1
    )
    kinds = np.zeros((len(sizes), max(sizes)))
    for kind, size in enumerate(sizes):
        kinds[kind, :size] = weights[edges[kind] : edges[kind + 1]]
    return kinds, none


def main() -> None:
    """Listen, fit and write."""
    parser = argparse.ArgumentParser(description="Fit the weights of bars.")
    parser.add_argument("--out", type=Path, default=bars.WEIGHTS)
    asked = parser.parse_args()
    kinds, none = fit(pieces())
    np.savez(asked.out, kinds=kinds.astype(np.float32), none=np.float32(none))
    print(f"{asked.out}: {asked.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
