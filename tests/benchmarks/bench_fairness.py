"""One greedy tenant with a thousand jobs, and nine small ones beside it, on the local stack.

    python -m tests.benchmarks.bench_fairness [--greedy 1000] [--small 9] [--jobs 5] [--json FILE]

Each small tenant asks for a piece of 5 s, waits for it, rests for a moment and asks for the next one; first
alone, and then while a thousand pieces that the greedy one has asked for wait in the same queue. A job's wait
is the time from its submission to its result, as its record says.

Fails where the small ones' median wait is more than twice of what it was alone, where one of their jobs does
not succeed, or where the workers did nothing for the greedy one meanwhile. `--running 1000` shows what
happens without turns.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from client.stack import StackProcess
from tests.benchmarks.machine import machine
from tests.support import sound
from tests.support.client import Api
from tests.support.keys import keys
from tests.support.waiting import eventually

SOURCE_SECONDS, RESULT_SECONDS, REST_SECONDS = 10.0, 5.0, 1.0
RATE = 22_050
PROMISED = 2.0
"""The small tenants' median wait beside the greedy one is at most so many times that of before."""


def track() -> bytes:
    """Make a track of 10 s: a chord over a beat, as mp3."""
    t = np.arange(round(SOURCE_SECONDS * RATE)) / RATE
    tone = sum(np.sin(2 * np.pi * pitch * t) for pitch in (220.0, 277.2, 329.6)) / 3
    hit = np.exp(-12 * (t % 0.5)) * np.random.default_rng(7).standard_normal(len(t))
    return sound.encode((0.3 * tone + 0.1 * hit).astype(np.float32)[None], RATE, "mp3", "libmp3lame")


class Tenant:
    """Somebody with a key and a track.

    Parameters
    ----------
    stack : StackProcess
        Runs already.
    name : str
        Of the tenant.
    content : bytes
        Its track.
    """

    def __init__(self, stack: StackProcess, name: str, content: bytes) -> None:
        self.api = Api(stack.api_url, keys(stack, "create", "--tenant", name), patience=1800)
        self.audio = self.api.ready(self.api.upload("song.mp3", content, "audio/mpeg"))["audio_id"]

    def ask(self, number: int) -> Any:
        """Ask for a piece."""
        return self.api.generate(self.audio, duration=RESULT_SECONDS, seed=number)

    def work(self, jobs: int) -> list[float]:
        """Ask for one piece after the other; return how long each took."""
        found = []
        for number in range(jobs):
            link = self.ask(number)["links"]["self"]
            record = eventually(
                lambda link=link: self.look(link),  # type: ignore[misc]
                until=lambda seen: seen["status"] not in {"waiting", "queued", "running"},
                every=0.5,
                patience=1800,
            )
            assert record["status"] == "succeeded", record
            found.append(seconds(record["updated_at"]) - seconds(record["created_at"]))
            time.sleep(REST_SECONDS * random.uniform(0.5, 1.5))
        return found

    def look(self, path: str, **query: str) -> Any:
        """Get a document; once more where a machine that is too busy let the request run out of time."""
        for tried in range(5):
            answer = self.api.get(path, **query)
            if answer.status < 500:
                break
            time.sleep(2**tried)
        return answer.ok(200)

    def finished(self) -> int:
        """Count the pieces that are there."""
        count, cursor = 0, dict[str, str]()
        while True:
            page = self.look("/api/generation", limit="100", **cursor)
            count += sum(item["status"] == "succeeded" for item in page["items"])
            if not page["cursor"]:
                return count
            cursor = {"cursor": page["cursor"]}


def seconds(stamp: str) -> float:
    """Read a time of a record, in seconds since 1970."""
    return datetime.fromisoformat(stamp).timestamp()


def together(small: Sequence[Tenant], jobs: int) -> list[float]:
    """Let all small tenants work at the same time; return all waits."""
    with ThreadPoolExecutor(len(small)) as pool:
        return [wait for waits in pool.map(lambda tenant: tenant.work(jobs), small) for wait in waits]


def figures(waits: Sequence[float]) -> dict[str, float]:
    """Sum up waits, in seconds."""
    return {
        "jobs": len(waits),
        "median": round(statistics.median(waits), 2),
        "p90": round(float(np.quantile(waits, 0.9)), 2),
        "longest": round(max(waits), 2),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print, and say by the exit status whether every promise holds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--greedy", type=int, default=1000, help="jobs of the greedy one (%(default)s)")
    parser.add_argument("--small", type=int, default=9, help="small tenants (%(default)s)")
    parser.add_argument("--jobs", type=int, default=5, help="jobs of each small one (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes for each worker (%(default)s)")
    parser.add_argument("--running", type=int, default=2, help="turns of each tenant (%(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    asked = parser.parse_args(argv)
    limits = {"MaxUnfinished": 1000, "MaxWorkerSecondsPerDay": 0, "MaxRunning": asked.running}
    parameters = [word for name, value in limits.items() for word in ("--parameter", f"{name}={value}")]
    before, content = os.getloadavg()[0], track()
    with StackProcess("--auth", "keys", "--workers", str(asked.workers), *parameters) as stack:
        small = [Tenant(stack, f"small-{number}", content) for number in range(asked.small)]
        together(small, 1)  # what is loaded once
        alone = together(small, asked.jobs)
        greedy = Tenant(stack, "greedy", content)
        begun = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(greedy.ask, range(asked.greedy)))
        submitted = time.monotonic() - begun
        done = greedy.finished()
        begun = time.monotonic()
        beside = together(small, asked.jobs)
        took = time.monotonic() - begun
        meanwhile = greedy.finished() - done
    ratio = statistics.median(beside) / statistics.median(alone)
    report = {
        "command": " ".join(["python -m tests.benchmarks.bench_fairness", *(argv or sys.argv[1:])]),
        "machine": machine(),
        "load_average_before": round(before, 2),
        "workers": asked.workers,
        "turns": asked.running,
        "small_tenants": asked.small,
        "greedy_jobs": asked.greedy,
        "greedy_jobs_submitted_in_seconds": round(submitted, 1),
        "greedy_jobs_waiting_when_the_small_ones_begin": asked.greedy - done,
        "wait_alone_seconds": figures(alone),
        "wait_beside_the_greedy_one_seconds": figures(beside),
        "ratio_of_medians": round(ratio, 2),
        "greedy_jobs_done_meanwhile": meanwhile,
        "meanwhile_seconds": round(took, 1),
    }
    for name, value in report.items():
        print(f"{name:48} {value}")
    if asked.json:
        asked.json.write_text(json.dumps(report, indent=2) + "\n")
    kept = {
        f"the small ones wait at most {PROMISED:g} times as long": ratio <= PROMISED,
        "the greedy one is served as well": meanwhile > 0,
        "there was a queue": asked.greedy - done > 2 * asked.workers,
    }
    for promise, holds in kept.items():
        print(f"{'kept' if holds else 'BROKEN':8} {promise}")
    return 0 if all(kept.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
