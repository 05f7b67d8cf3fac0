"""What embeddings and generations take of the workers' time, and the lines that tenants are charged by.

    python -m tests.benchmarks.bench_costs [--profile builtin] [--json FILE]

Runs the two workers' handlers on tracks of several lengths, and fits lines through the processor seconds that
they and their children took. The result is `Costs` in `music.profiles`: the benchmark fails where these are
off by more than half for what it measured.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.optimize

sys.path.insert(0, str(Path(__file__).parents[2] / "layers"))

from music import profiles
from tests.benchmarks.machine import machine
from tests.support import sound
from tests.support.stack import ENVIRONMENT, Stack, deployed

RATE = 44_100
TRACKS = (10.0, 60.0, 240.0, 600.0)
"""Seconds of the tracks that are embedded."""
PIECES = (
    *((10.0, 10.0, 1), (10.0, 120.0, 1), (10.0, 30.0, 4), (240.0, 10.0, 1), (240.0, 60.0, 1)),
    *((600.0, 10.0, 1), (600.0, 30.0, 4)),
)
"""Seconds of the source, seconds of music, candidates."""
OFF = 0.5


def track(seconds: float) -> bytes:
    """Make a track: chords over a beat, in stereo, as mp3."""
    t = np.arange(round(seconds * RATE)) / RATE
    generator = np.random.default_rng(round(seconds))
    roots = 110 * 2 ** (generator.integers(0, 12, size=1024) / 12)
    bar = (t / 2).astype(int) % len(roots)
    phase = 2 * np.pi * np.cumsum(roots[bar]) / RATE
    tone = np.sin(phase) + 0.7 * np.sin(1.26 * phase) + 0.5 * np.sin(1.5 * phase)
    hit = np.exp(-12 * (t % 0.5)) * generator.standard_normal(len(t))
    left, right = 0.15 * tone + 0.2 * hit, 0.12 * tone + 0.1 * hit
    return sound.encode(np.stack([left, right]).astype(np.float32), RATE, "mp3", "libmp3lame")


def processor_seconds() -> float:
    """Return what this process and its children took."""
    used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def line(rows: Sequence[Sequence[float]], measured: Sequence[float]) -> list[float]:
    """Fit coefficients that are not negative, by relative errors."""
    weights = 1 / np.asarray(measured)
    found, _ = scipy.optimize.nnls(np.asarray(rows) * weights[:, None], np.ones(len(measured)))
    return [float(f"{value:.2g}") for value in found]


def measure(stack: Stack) -> dict[str, list[dict[str, Any]]]:
    """Embed the tracks, and make the pieces."""
    embed, generate = stack.app("embed"), stack.app("generate")
    ready, found = {}, {"embeddings": [], "generations": []}  # type: ignore[var-annotated]
    for seconds in (1.0, *TRACKS):  # the first one loads what is loaded once
        audio = stack.audio()
        stack.upload(audio, track(seconds))
        begun = processor_seconds()
        assert stack.deliver(embed, {"tenant": "default", "audio_id": audio.id}) == []
        took = processor_seconds() - begun
        ready[seconds] = stack.get_audio(audio)
        assert ready[seconds].status == "ready"
        if seconds in TRACKS:
            found["embeddings"].append({"seconds": seconds, "took": round(took, 3)})
    for source, duration, candidates in ((10.0, 2.0, 1), *PIECES):
        made = stack.submit(ready[source], duration=duration, candidates=candidates, format="wav")
        begun = processor_seconds()
        assert stack.deliver(generate, {"tenant": "default", "generation_id": made.id}) == []
        took = processor_seconds() - begun
        assert stack.get_generation(made).status == "succeeded"
        if (source, duration, candidates) in PIECES:
            piece = {"source": source, "duration": duration, "candidates": candidates}
            found["generations"].append({**piece, "took": round(took, 3)})
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, fit, compare; say by the exit status whether the costs in force are near."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--profile", default="builtin", choices=sorted(profiles.DECLARED))
    parser.add_argument("--json", type=Path, help="write the figures here too")
    asked = parser.parse_args(argv)
    os.environ["OMP_NUM_THREADS"] = "1"
    ENVIRONMENT["PROFILE"] = asked.profile
    ENVIRONMENT["LOG_LEVEL"] = "ERROR"
    with pytest.MonkeyPatch.context() as patch, deployed(patch) as stack:
        found = measure(stack)
    embeddings, generations = found["embeddings"], found["generations"]
    fitted = [
        *line([(1, one["seconds"]) for one in embeddings], [one["took"] for one in embeddings]),
        *line(
            [(1, one["source"], one["duration"] * one["candidates"]) for one in generations],
            [one["took"] for one in generations],
        ),
    ]
    costs = profiles.DECLARED[asked.profile].costs
    for one in embeddings:
        one["charged"] = round(costs.embedding(one["seconds"]).seconds, 3)
    for one in generations:
        cost = costs.generation(one["source"], one["duration"], one["candidates"])
        one["charged"] = round(cost.seconds, 3)
    worst = max(abs(one["charged"] / one["took"] - 1) for one in [*embeddings, *generations])
    report = {
        "command": " ".join(["python -m tests.benchmarks.bench_costs", *(argv or sys.argv[1:])]),
        "machine": machine(),
        "profile": asked.profile,
        **found,
        "fitted": dict(zip(profiles.Costs.__dataclass_fields__, fitted, strict=True)),
        "largest_error_of_those_in_force": round(worst, 2),
    }
    print(json.dumps(report, indent=2))
    if asked.json:
        asked.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0 if worst <= OFF else 1


if __name__ == "__main__":
    sys.exit(main())
