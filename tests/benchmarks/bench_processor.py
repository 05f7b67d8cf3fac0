"""What `mosaic` takes of a processor: 30 s from a track of 3 minutes, and the graph of one of 15.

    python -m tests.benchmarks.bench_processor [--json FILE]

Tracks are stereo flac of 24 bits at 48 kHz, with a drum on each of 180 beats a minute: few have more.
Each job runs in a fresh process on one thread. Processor time is that of the process and of the one that
decodes: on an idle processor a job lasts as long. Memory is the most that the process holds, the decoded
track included. The exit status says whether every bar holds.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from music import loading, production
from music.analysis import analyse
from music.audio.decode import MAX_SECONDS, decode
from music.dsp.channels import centred
from music.interfaces import Parameters
from music.mosaic.generator import Mosaic
from music.mosaic.outlook import Outlook
from music.mosaic.transitions import Transitions
from music.mosaic.units import cut
from tests.benchmarks.machine import machine
from tests.support import memory

RATE = 48000
BEAT = 1.0 / 3.0  # seconds
BARS = {
    "30 s from 3 min at 32000 Hz": {"seconds": 6.0},
    "30 s from 3 min at 48000 Hz": {"seconds": 9.0},
    "graph of 15 min": {"seconds": 60.0, "megabytes": 600.0},
}


def write(path: Path, seconds: float) -> None:
    """Write a track, a second at a time: what is not held here is not measured with the rest."""
    rng = np.random.default_rng(0)
    t = np.arange(RATE) / RATE
    with soundfile.SoundFile(path, "w", RATE, 2, "PCM_24") as file:
        for _ in range(round(seconds)):
            root = 110.0 * 2.0 ** (int(rng.integers(12)) / 12.0)
            chord = sum(np.sin(2 * np.pi * root * ratio * t) for ratio in (1.0, 1.25, 1.5))
            drum = np.exp(-12.0 * (t % BEAT) / BEAT) * rng.standard_normal(RATE)
            file.write((0.08 * chord + 0.2 * drum)[:, None] + 0.02 * rng.standard_normal((RATE, 2)))


def spent() -> float:
    """Return the processor seconds of this process and of those that it ended."""
    used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def nothing(done: float) -> None:
    """Take no notice of progress."""


def piece(path: Path, rate: int) -> Callable[[], object]:
    """Return what makes 30 s from a track at a rate, from its file to a file."""
    profile = loading.load("builtin")
    heard = analyse(path, profile.embedder)
    parameters = Parameters(seed=1, sample_rate=rate)
    return lambda: production.generate(path, profile, parameters, heard.vector, heard.features, nothing)


def graph(path: Path) -> Callable[[], object]:
    """Return what reads a track, cuts it into units and weighs how they follow each other."""
    rate = Mosaic.sample_rate
    beats = np.arange(0.0, MAX_SECONDS, BEAT).tolist()

    def made() -> Outlook:
        source = centred(decode(path, rate=rate, channels=2))
        return Outlook(Transitions(cut(source, rate, beats, beats[::4], nothing)), 1.0)

    return made


def job(name: str, folder: Path) -> dict[str, float]:
    """Do a job, and tell what it took."""
    doing = (
        graph(folder / "900.flac")
        if name.startswith("graph")
        else piece(folder / "180.flac", int(name.split()[-2]))
    )
    before = spent()
    doing()
    return {
        "seconds": round(spent() - before, 2),
        "megabytes": round(memory.peak() / 2.0**20, 1),
    }


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--job", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.job:
        print(json.dumps(job(asked.job[0], Path(asked.job[1]))))
        return 0
    jobs: dict[str, Any] = {}
    alone = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        for seconds in (180.0, MAX_SECONDS):
            write(Path(folder) / f"{seconds:g}.flac", seconds)
        for name, bars in BARS.items():
            command = [sys.executable, "-m", "tests.benchmarks.bench_processor", "--job", name, folder]
            done = subprocess.run(command, check=True, capture_output=True, text=True, env=alone)
            took = json.loads(done.stdout)
            jobs[name] = {
                **took,
                "bars": bars,
                "holds": all(took[what] <= most for what, most in bars.items()),
            }
    report = {"command": "python -m tests.benchmarks.bench_processor", "machine": machine(), "jobs": jobs}
    print(json.dumps(report, indent=2))
    if asked.json:
        asked.json.write_text(json.dumps(report, indent=2) + "\n")
    return int(not all(one["holds"] for one in jobs.values()))


if __name__ == "__main__":
    sys.exit(main())
