"""How near the analysis comes to the truth, on music of which everything is known.

    python -m tests.benchmarks.bench_truth [--pieces 300] [--seconds 30] [--seed 0] [--synth] [--json FILE]

The weights of the analysis are fitted on other seeds. Pieces in 22 styles are composed and rendered with
FluidR3Mono (Debian's package, fetched once), or with the built-in synthesizer. Tempo within 4 %, exactly and
up to an octave; key exactly, and with relatives and fifths at half weight; beats by their F-measure; bars
right if meter and 85 % of the downbeats are, of all pieces and of those where bars were found.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np

from music.features import SAMPLE_RATE, Features, measure
from tests.benchmarks.machine import machine
from tests.support import truth
from weights.compose import Piece, render
from weights.compose.soundfont import fetch

BARS = {"tempo": 0.80, "tempo_to_octave": 0.95, "key": 0.75, "key_with_neighbours": 0.85}
JUDGED = 300  # pieces


@dataclass(frozen=True)
class Scores:
    """How near the analysis of one piece comes, 0 to 1 each."""

    tempo: float
    tempo_to_octave: float
    key: float
    key_with_neighbours: float
    beats: float
    bars_found: float
    bars_right: float


def analyse(piece: Piece, soundfont: Path | None) -> Features:
    """Render a piece and measure it; its loudness is asked by nobody here."""
    return measure(render(piece, SAMPLE_RATE, 1, soundfont)[0], -14.0)


def score(piece: Piece, features: Features) -> Scores:
    """Compare what was measured with what is true."""
    key = truth.key_score((features.key, features.mode), (piece.key, piece.mode))
    return Scores(
        tempo=float(truth.same_tempo(features.tempo, piece.tempo)),
        tempo_to_octave=float(truth.same_tempo(features.tempo, piece.tempo, octaves=True)),
        key=float(key == 1.0),
        key_with_neighbours=key,
        beats=truth.f_measure(np.array(features.beats), piece.beats),
        bars_found=float(features.bars is not None),
        bars_right=float(truth.bars_right(np.array(features.bars or []), features.meter, piece)),
    )


def mean(scores: Iterable[Scores]) -> dict[str, float]:
    """Mean of each score over some pieces."""
    rows = [vars(row) for row in scores]
    means = {name: fmean(row[name] for row in rows) for name in rows[0]}
    if means["bars_found"]:
        means["bars_right_where_found"] = means["bars_right"] / means["bars_found"]
    return {name: round(value, 4) for name, value in means.items()}


def main() -> int:
    """Run, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pieces", type=int, default=JUDGED)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0, help="of the first piece")
    parser.add_argument("--synth", action="store_true", help="the built-in synthesizer, no soundfont")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    soundfont = None if asked.synth else fetch()
    styles: dict[str, list[Scores]] = defaultdict(list)
    for piece in truth.pieces(asked.pieces, asked.seconds, asked.seed):
        found = analyse(piece, soundfont)
        scores = score(piece, found)
        styles[piece.style].append(scores)
        print(
            f"{piece.seed:5} {piece.style:16} {piece.meter} {piece.tempo:6.1f} {found.tempo:6.1f}"
            f"  {piece.key + ' ' + piece.mode:9} {found.key or '-'} {found.mode or ''}"
            f"  beats {scores.beats:.2f}  bars {found.meter or '-'} {'ok' if scores.bars_right else ''}",
            flush=True,
        )
    table = {
        "all": mean(row for rows in styles.values() for row in rows),
        **{style: mean(rows) for style, rows in sorted(styles.items())},
    }
    for style, row in table.items():
        print(f"{style:16}", "  ".join(f"{name} {value:.2f}" for name, value in row.items()))
    if asked.json:
        figures = {
            "command": "python -m tests.benchmarks.bench_truth",
            "machine": machine(),
            "pieces": asked.pieces,
            "seconds": asked.seconds,
            "first_seed": asked.seed,
            "player": soundfont.name if soundfont else "built-in synthesizer",
            "bars": BARS,
            "scores": table,
        }
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        asked.json.write_text(json.dumps(figures, indent=2) + "\n")
    if asked.synth or asked.pieces < JUDGED:
        return 0
    missed = {name: table["all"][name] for name, bar in BARS.items() if table["all"][name] < bar}
    for name, value in missed.items():
        print(f"MISSED  {name} at least {BARS[name]:.2f}: {value:.3f}")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
