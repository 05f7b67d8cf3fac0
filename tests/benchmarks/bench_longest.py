"""What the longest track costs the embedding worker: memory and processor time of one job.

    python -m tests.benchmarks.bench_longest [--json FILE]

15 minutes of stereo noise and chords, as 16-bit flac at 44.1 kHz, are analysed with `mir-512` in a fresh
process. Memory is the most that this process and the decoding one hold; together they may hold what
`template.yaml` gives the worker. Processor time is that of both. The exit status is 1 if they need more.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from local import template
from music.analysis import analyse
from music.audio.decode import MAX_SECONDS
from music.mir512.embedder import Mir512
from tests.benchmarks.machine import machine
from tests.support import memory

RATE = 44100


def write(path: Path) -> None:
    """Write the track, a second at a time: what is not held here is not measured with the rest."""
    rng = np.random.default_rng(0)
    t = np.arange(RATE) / RATE
    with soundfile.SoundFile(path, "w", RATE, 2, "PCM_16") as file:
        for second in range(round(MAX_SECONDS)):
            root = 110.0 * 2.0 ** (int(rng.integers(12)) / 12.0)
            chord = sum(np.sin(2 * np.pi * root * ratio * t) for ratio in (1.0, 1.25, 1.5))
            beats = np.exp(-8.0 * (t * (2 + second % 2) % 1.0))
            file.write((0.08 * chord * beats)[:, None] + 0.05 * rng.standard_normal((RATE, 2)))


def job(path: Path) -> dict[str, float]:
    """Analyse a file, and tell what it took."""
    before = os.times()
    found = analyse(path, Mir512())
    after = os.times()
    return {
        "seconds_of_audio": found.features.duration,
        "own_megabytes": memory.peak() / 2.0**20,
        "decoder_megabytes": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024.0,
        "own_cpu_seconds": after.user + after.system - before.user - before.system,
        "decoder_cpu_seconds": after.children_user
        + after.children_system
        - before.children_user
        - before.children_system,
    }


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description="What the longest track costs the embedding worker.")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.job:
        print(json.dumps(job(asked.job)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "longest.flac"
        write(path)
        command = [sys.executable, "-m", "tests.benchmarks.bench_longest", "--job", str(path)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    measured = {name: round(value, 1) for name, value in json.loads(done.stdout).items()}
    bound = float(template.read()["Parameters"]["EmbedMemory"]["Default"])
    report: dict[str, Any] = {
        "command": "python -m tests.benchmarks.bench_longest",
        "machine": machine(),
        "worker_megabytes": bound,
        "measured": measured,
    }
    print(json.dumps(report, indent=2))
    if asked.json:
        asked.json.write_text(json.dumps(report, indent=2) + "\n")
    return int(measured["own_megabytes"] + measured["decoder_megabytes"] > bound)


if __name__ == "__main__":
    sys.exit(main())
