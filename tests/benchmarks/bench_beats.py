"""Beats on real music, of which no truth is known, held against those of the analysis before.

    python -m tests.benchmarks.bench_beats [--json FILE] [--against FILE]

The middle minute of every track of the corpus is measured. `found`: the share of tracks with beats.
`evenness`: the share of intervals between beats within 10 % of their median. `contrast`: onset strength at
the beats (the highest within 46 ms) over its mean over the minute. `steadiness`: the share of tracks whose
two halves, measured alone, have the same tempo up to an octave; none counts as another one.

With `--against`, the figures of another analysis, the tempos are compared, too: the share of its tempos that
are found again, exactly and up to an octave. The exit status is 1 if a figure falls by more than 0.02.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from music.audio.decode import decode
from music.dsp import rhythm
from music.features import SAMPLE_RATE, measure
from tests.benchmarks import corpus
from tests.benchmarks.machine import machine
from tests.support.truth import same_tempo

MINUTE = 60 * SAMPLE_RATE
SLACK = 0.02


def middle(track: corpus.Track) -> np.ndarray:
    """The middle minute of a track [shape=(channels, n)]."""
    audio = decode(track.path, rate=SAMPLE_RATE, channels=2, max_seconds=3600.0)
    start = max((audio.shape[1] - MINUTE) // 2, 0)
    return audio[:, start : start + MINUTE]


def row(audio: np.ndarray) -> dict[str, Any]:
    """What is found in a minute of music [shape=(channels, n)]."""
    found = measure(audio, -14.0)
    beats = np.array(found.beats)
    flux = rhythm.superflux(rhythm.mel_bands(audio, SAMPLE_RATE))
    evenness = contrast = 0.0
    if len(beats) > 2:
        intervals = np.diff(beats)
        evenness = float(np.mean(np.abs(intervals / np.median(intervals) - 1.0) < 0.1))
        frames = np.round(beats * SAMPLE_RATE / rhythm.HOP).astype(np.int64)
        near = np.max([flux[np.clip(frames + k, 0, len(flux) - 1)] for k in range(-2, 3)], axis=0)
        contrast = float(near.mean() / max(flux.mean(), 1e-9))
    half = audio.shape[1] // 2
    one, other = (measure(part, -14.0).tempo for part in (audio[:, :half], audio[:, half:]))
    return {
        "tempo": found.tempo,
        "evenness": round(evenness, 3),
        "contrast": round(contrast, 3),
        "steady": bool(one and other and same_tempo(one, other, octaves=True)),
    }


def figures(rows: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Means over tracks; evenness and contrast over those with beats."""
    sounding = [found for found in rows.values() if found["tempo"]]
    return {
        "found": round(len(sounding) / len(rows), 4),
        "evenness": round(float(np.mean([found["evenness"] for found in sounding])), 4),
        "contrast": round(float(np.mean([found["contrast"] for found in sounding])), 4),
        "steadiness": round(float(np.mean([found["steady"] for found in rows.values()])), 4),
    }


def agreement(rows: dict[str, dict[str, Any]], others: dict[str, dict[str, Any]]) -> dict[str, float]:
    """The share of the other analysis's tempos that are found again."""
    pairs = [(rows[name]["tempo"], other["tempo"]) for name, other in others.items() if other["tempo"]]
    return {
        name: round(float(np.mean([same_tempo(a, b, octaves) for a, b in pairs])), 4)
        for name, octaves in (("tempo", False), ("tempo_to_octave", True))
    }


def main() -> int:
    """Measure, compare and write."""
    parser = argparse.ArgumentParser(description="Beats on real music, held against those before.")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--against", type=Path)
    asked = parser.parse_args()
    rows = {}
    for track in corpus.tracks():
        rows[track.name] = row(middle(track))
        print(track.name, rows[track.name], flush=True)
    report: dict[str, Any] = {
        "command": "python -m tests.benchmarks.bench_beats",
        "machine": machine(),
        "figures": figures(rows),
    }
    fell = False
    if asked.against:
        before = json.loads(asked.against.read_text())
        report |= {"before": before["figures"], "agreement": agreement(rows, before["tracks"])}
        fell = any(report["figures"][name] < value - SLACK for name, value in before["figures"].items())
    report["tracks"] = rows
    print({name: value for name, value in report.items() if name != "tracks"})
    if asked.json:
        asked.json.write_text(json.dumps(report, indent=2) + "\n")
    return int(fell)


if __name__ == "__main__":
    sys.exit(main())
