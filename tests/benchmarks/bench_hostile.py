"""Thousands of damaged files through the decoder, and some through the whole embed handler.

    python -m tests.benchmarks.bench_hostile [--files 10000] [--uploads 1000] [--seed 0] [--json FILE]

Prints what became of them, by format; fails if one ends otherwise than as sound or with a code, or takes
30 s, or if memory reaches 1.5 GB. Every file is `tests.support.hostile.mutate(clip, seed)`, so each can be
made again.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "layers"))

from music.audio import AudioError
from music.audio.decode import decode
from tests.benchmarks.machine import machine
from tests.support import hostile, memory
from tests.support.stack import deployed, s3_event

SECONDS = 30.0
MEGABYTES = 1500


def decoded(content: bytes) -> str:
    """What the decoder makes of a file; `MISTAKE` and more for what should not be."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        try:
            decode(file.name, rate=22050, channels=2)
            return "ready"
        except AudioError as error:
            return error.code
        except Exception as error:
            return f"MISTAKE {error!r}"


def timed(clips: dict[str, bytes], seed: int) -> tuple[str, str, str, float]:
    """Format, seed, outcome and seconds of one file; the formats take turns."""
    name = sorted(clips)[seed % len(clips)]
    begun = time.monotonic()
    return name, str(seed), decoded(hostile.mutate(clips[name], seed)), time.monotonic() - begun


def uploads(clips: dict[str, bytes], count: int, first: int) -> Iterator[tuple[str, str, str, float]]:
    """The same through the embed handler: format, seed, outcome and seconds of each."""
    names = sorted(clips)
    with pytest.MonkeyPatch.context() as patch, deployed(patch) as stack:
        app = stack.app("embed")
        for seed in range(first, first + count):
            name = names[seed % len(names)]
            audio = stack.audio()
            stack.upload(audio, hostile.mutate(clips[name], seed))
            begun = time.monotonic()
            again = stack.deliver(app, s3_event(f"uploads/{audio.tenant}/{audio.id}"))
            current = stack.get_audio(audio)
            outcome = (current.error or {}).get("code", current.status)
            known = current.status == "ready" or (
                current.status == "failed" and outcome in AudioError.CODES and not again
            )
            yield name, str(seed), outcome if known else f"MISTAKE {outcome}", time.monotonic() - begun


def show(title: str, results: list[tuple[str, str, str, float]]) -> bool:
    """Print a table; return whether all is well."""
    outcomes = sorted({outcome.split()[0] for _, _, outcome, _ in results}, key=lambda code: code != "ready")
    print(f"\n{title}: {len(results)} files")
    print("  ".join(["format".ljust(12), *outcomes]))
    for name in sorted({name for name, *_ in results}):
        found = Counter(outcome.split()[0] for kind, _, outcome, _ in results if kind == name)
        print("  ".join([name.ljust(12), *(str(found[code]).rjust(len(code)) for code in outcomes)]))
    slowest = max(results, key=lambda result: result[3])
    print(f"slowest: {slowest[3]:.2f} s ({slowest[0]}, seed {slowest[1]}: {slowest[2]})")
    for name, seed, outcome, _ in results:
        if outcome.startswith("MISTAKE"):
            print(f"{name}, seed {seed}: {outcome}")
    return slowest[3] < SECONDS and not any(outcome.startswith("MISTAKE") for _, _, outcome, _ in results)


def figures_of(results: list[tuple[str, str, str, float]]) -> dict[str, Any]:
    """What became of the files, by format, and how long the slowest one took."""
    formats: dict[str, Counter[str]] = {}
    for name, _, outcome, _ in results:
        formats.setdefault(name, Counter())[outcome] += 1
    slowest = max(results, key=lambda result: result[3])
    return {
        "files": len(results),
        "outcomes": {name: dict(found.most_common()) for name, found in sorted(formats.items())},
        "slowest": {"seconds": round(slowest[3], 2), "format": slowest[0], "seed": int(slowest[1])},
    }


def main() -> int:
    """Run, print, and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--uploads", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first file")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    tables: dict[str, list[tuple[str, str, str, float]]] = {}
    fine = True
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as threads:
        clips = hostile.clips(Path(folder))
        seeds = range(asked.seed, asked.seed + asked.files)
        if asked.files:
            tables["decoder"] = list(threads.map(partial(timed, clips), seeds))
        if asked.uploads:
            tables["embed handler"] = list(uploads(clips, asked.uploads, asked.seed))
    for title, results in tables.items():
        fine &= show(title, results)
    peak = {
        "this process": memory.peak() // 2**20,
        "largest decoding process": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024,
    }
    print(f"\npeak memory in MB: {peak}")
    if asked.json:
        figures = {
            "command": "python -m tests.benchmarks.bench_hostile",
            "machine": machine(),
            "first_seed": asked.seed,
            **{title: figures_of(results) for title, results in tables.items()},
            "peak_megabytes": peak,
        }
        asked.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0 if fine and max(peak.values()) < MEGABYTES else 1


if __name__ == "__main__":
    sys.exit(main())
