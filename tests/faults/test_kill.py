"""SIGKILL for the workers of the running stack: between any two of their side effects, and at random moments.

Every job ends succeeded, with one object and one vector, and the bytes of an uninterrupted run.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from local.pool import Process
from tests.faults.process import Plan
from tests.faults.stage import Job, Stage, kill, staged
from tests.support import sound

LONG = os.environ.get("FAULT_SUITE") == "long"
RANDOM_KILLS = 200 if LONG else 20
PARAMETERS = {"duration": 3, "seed": 7, "candidates": 2}
DEATHS = 3
"""Of one job at random moments: after `MAX_ATTEMPTS` = 5 it would rightly be given up."""
OPEN_JOBS = 6


@pytest.fixture(scope="module")
def source() -> bytes:
    """Make a source of 8 s."""
    beat = sound.noise(8.0, seed=3) * 0.5 + sound.drone(8.0)
    return sound.encode(beat, 22050, "mp3", "libmp3lame")


def boundaries(calls: list[str]) -> list[tuple[str, str]]:
    """Return what lies between the calls of one job: the first follows nothing, nothing follows the last."""
    return list(pairwise(["", *calls, ""]))


def test_a_worker_may_die_between_any_two_side_effects(tmp_path: Path, source: bytes) -> None:
    with staged(tmp_path) as stage:
        # The first of its content, and a copy: all later ones are told from the first in the same calls.
        jobs = [stage.submit(source, PARAMETERS) for _ in range(2)]
        expected, *others = [stage.finish(job) for job in jobs]
        assert others == [expected] * len(others)
        jobs.append(stage.submit(source, PARAMETERS))
        assert stage.finish(jobs[-1]) == expected
        calls = {
            "EmbedFunction": calls_of(stage, "EmbedFunction", jobs[-1].audio_id),
            "GenerateFunction": calls_of(stage, "GenerateFunction", jobs[-1].generation_id),
        }
        assert {"PutVectors", "UpdateItem", "SendMessage"} <= set(calls["EmbedFunction"])
        assert {"PutObject", "UpdateItem", "PutEvents"} <= set(calls["GenerateFunction"])
        stage.sweeper_plans = [
            Plan("", before=1),
            *(Plan("", before_call=name) for name in ("UpdateItem", "SendMessage", "PutItem")),
            *(Plan("", after=name) for name in ("SendMessage", "PutItem")),
        ]
        for number in range(1, 2 + max(map(len, calls.values()))):

            def plans(job: Job, number: int = number) -> dict[tuple[str, str], Plan]:
                ids = {"EmbedFunction": job.audio_id, "GenerateFunction": job.generation_id}
                return {
                    (function, ids[function]): Plan("", before=number)
                    if number <= len(made)
                    else Plan("", after=made[-1])
                    for function, made in calls.items()
                    if number <= len(made) + 1
                }

            jobs.append(stage.submit(source, PARAMETERS, plans))
        stage.check(jobs, expected)
        killed = {
            function: [
                tuple(line["killed"])
                for line in stage.noted("calls.jsonl")
                if "killed" in line and line["function"] == function
            ]
            for function in (*calls, "SweeperFunction")
        }
        for function, made in calls.items():
            assert Counter(killed[function]) == Counter(boundaries(made)), function
        assert stage.sweeper_plans == []
        deaths = Counter(following for _, following in killed["SweeperFunction"])
        assert deaths == {"Query": 1, "UpdateItem": 1, "SendMessage": 1, "PutItem": 1, "": 2}


def calls_of(stage: Stage, function: str, job: str) -> list[str]:
    """Return the calls of the invocations of a function for one job."""
    tokens = {token for token, of in stage.tokens.items() if of == (function, job)}
    return [line["call"] for line in stage.noted("calls.jsonl") if "call" in line and line["token"] in tokens]


def test_a_worker_may_die_at_any_moment(tmp_path: Path, source: bytes) -> None:
    with staged(tmp_path, workers=2) as stage:
        jobs = [stage.submit(source, PARAMETERS)]
        expected = stage.finish(jobs[0])
        deaths: Counter[str] = Counter()
        while deaths.total() < RANDOM_KILLS:
            for _ in range(OPEN_JOBS - open_jobs(stage, jobs)):
                jobs.append(stage.submit(source, PARAMETERS))
            kill_one(stage, deaths)
        stage.check(jobs, expected)
        assert max(deaths.values()) <= DEATHS
        print(f"{deaths.total()} kills in {len(deaths)} of {2 * len(jobs)} embeddings and generations")


def open_jobs(stage: Stage, jobs: list[Job]) -> int:
    """Return how many of the last jobs are not finished."""
    last = jobs[-OPEN_JOBS:]
    records = [stage.api.get(f"/api/generation/{job.generation_id}").ok(200) for job in last]
    assert not [record for record in records if record["status"] == "failed"]
    return sum(record["status"] != "succeeded" for record in records)


def kill_one(stage: Stage, deaths: Counter[str]) -> None:
    """Wait for a moment in the life of some job, and kill its process if it is still at it."""
    for _ in range(250):
        now = stage.busy.now()
        mortal = [(process, job, begun) for process, (job, begun) in now.items() if deaths[job] < DEATHS]
        if mortal:
            process, job, begun = random.choice(mortal)
            time.sleep(random.uniform(0, 1.5))
            if stage.busy.now().get(process) == (job, begun):
                die(process, job, deaths)
                return
        time.sleep(0.02)


def die(process: Process, job: str, deaths: Counter[str]) -> None:
    """Kill a process, and count it."""
    kill(process)
    deaths[job] += 1
