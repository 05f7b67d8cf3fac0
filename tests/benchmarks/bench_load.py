"""Users by the thousand against the local stack, while its workers are killed one after the other.

    python -m tests.benchmarks.bench_load [--uploads 1000] [--generations 500] [--clients 32] [--json FILE]

Each client uploads a track of 10 s, for every second one asks for 5 s of music like it, looks now and then
whether it is finished, downloads it, and goes on. Meanwhile one event in ten is delivered twice, and every
10 s a random process of a worker is killed (SIGKILL). Leases, sweeps and retries are those of production.

Prints what became of every job, then compares records, bucket and index with what was accepted. Fails if
anything was lost (a job given up to the dead letters counts as lost), duplicated or is not finished.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from client.stack import StackProcess
from local.aws.provision import client
from local.template import load
from tests.benchmarks.machine import machine
from tests.support import sound
from tests.support.client import Answer, Api, form

SOURCE_SECONDS, RESULT_SECONDS = 10.0, 5.0
RATE = 22050
DUPLICATED = 0.1
KILL_SECONDS = 10.0
POLL_SECONDS = (1.0, 4.0)
LIMIT_SECONDS = 1200.0
JOIN_SECONDS = 0.5
"""The clients come one after the other, not all in the same moment."""
TRIES = 3
PROMISED_P95 = 0.3
WORKERS = ("EmbedFunction", "GenerateFunction")


class Load:
    """The clients, what they saw, and what disturbs them.

    Parameters
    ----------
    stack : StackProcess
        Runs already.
    asked : argparse.Namespace
        The options.
    """

    def __init__(self, stack: StackProcess, asked: argparse.Namespace) -> None:
        self.asked = asked
        self.api = Api(stack.api_url)
        assert stack.process
        self.root = stack.process.pid
        self.deployment = load(stack.endpoint_url)
        self.sqs = client("sqs", stack.endpoint_url, max_pool_connections=50)
        self.s3 = client("s3", stack.endpoint_url)
        self.vectors = client("s3vectors", stack.endpoint_url)
        self.calls: dict[str, list[float]] = defaultdict(list)
        self.statuses: Counter[int] = Counter()
        self.ends: dict[str, str] = {}
        """How each accepted job ended; empty while it has not."""
        self.downloads: Counter[str] = Counter()
        self.duplicated_events = self.kills = self.refused = 0
        self.memory: dict[str, int] = {"all": 0, "largest": 0, "stack": 0}
        self.over = threading.Event()
        self.began = time.monotonic()

    # -- clients

    def call(self, kind: str, method: str, path: str, **more: Any) -> Answer:
        """One request, timed; repeated when the service could not answer."""
        for tried in range(TRIES):
            begun = time.monotonic()
            answer = self.api.request(method, path, **more)
            self.calls[kind].append(time.monotonic() - begun)
            self.statuses[answer.status] += 1
            if answer.status < 500:
                return answer
            time.sleep(random.uniform(0, 1) * 2**tried)
        return answer

    def session(self, number: int, content: bytes) -> None:
        """One upload, and for every second one a generation, from the beginning to the end."""
        if number < self.asked.clients:
            time.sleep(number * JOIN_SECONDS)
        body, headers = form([], f"track {number}.mp3", content, "audio/mpeg")
        answer = self.call("upload", "POST", "/api/upload", data=body, headers=headers)
        if answer.status != 201:
            self.refused += 1
            return
        uploaded = answer.json()
        audio_id = uploaded["audio_id"]
        self.ends[f"audio {audio_id}"] = ""
        if random.random() < DUPLICATED:
            self.duplicate("EmbedQueue", s3_event(self.deployment.buckets[0].name, audio_id))
        generation = self.submit(number, audio_id) if self.wants_music(number) else None
        self.ends[f"audio {audio_id}"] = self.await_end(uploaded["links"]["self"])
        if generation:
            self.finish(generation)

    def wants_music(self, number: int) -> bool:
        """Whether this upload is one of those that music is asked for."""
        share = self.asked.generations / self.asked.uploads
        return int((number + 1) * share) > int(number * share)

    def submit(self, number: int, audio_id: str) -> Any:
        """Ask for music; return the answer, None if it was refused."""
        answer = self.call(
            "generate",
            "POST",
            f"/api/generate/{audio_id}",
            json_body={"duration": RESULT_SECONDS, "seed": number},
            headers={"Idempotency-Key": f"load {number}"},
        )
        if answer.status != 202:
            self.refused += 1
            return None
        generation = answer.json()
        self.ends[f"generation {generation['generation_id']}"] = ""
        if random.random() < DUPLICATED:
            message = {"tenant": "default", "generation_id": generation["generation_id"]}
            self.duplicate("GenerateQueue", message)
        return generation

    def finish(self, generation: Any) -> None:
        """Wait for a generation and download it."""
        identifier = generation["generation_id"]
        end = self.await_end(generation["links"]["self"])
        self.ends[f"generation {identifier}"] = end
        if end == "succeeded":
            answer = self.call("download", "GET", f"/api/download/{identifier}")
            whole = answer.status == 200 and sound.decode(answer.body).seconds == RESULT_SECONDS
            self.downloads["whole" if whole else "broken"] += 1

    def await_end(self, link: str) -> str:
        """Look now and then, ever more rarely, until the record has come to its end."""
        pause = POLL_SECONDS[0]
        while not self.over.is_set():
            answer = self.call("look", "GET", link)
            if answer.status == 200:
                status: str = answer.json()["status"]
                if status in {"ready", "failed", "succeeded", "cancelled"}:
                    return status
            time.sleep(pause * random.uniform(0.75, 1.25))
            pause = min(pause * 1.5, POLL_SECONDS[1])
        return ""

    # -- what disturbs them

    def duplicate(self, queue: str, body: Any) -> None:
        """Deliver an event once more."""
        self.sqs.send_message(QueueUrl=self.deployment.queues[queue].url, MessageBody=json.dumps(body))
        self.duplicated_events += 1

    def kill(self) -> None:
        """Kill a random process of a worker, every few seconds."""
        while not self.over.wait(KILL_SECONDS):
            found = [pid for pid in descendants(self.root) if function_of(pid) in WORKERS]
            if found:
                with suppress(ProcessLookupError):
                    os.killpg(random.choice(found), signal.SIGKILL)
                    self.kills += 1

    def watch(self) -> None:
        """Note the peaks of memory: proportional set sizes, in bytes."""
        while not self.over.wait(1.0):
            sizes = {pid: memory(pid) for pid in [self.root, *descendants(self.root)]}
            self.memory["all"] = max(self.memory["all"], sum(sizes.values()))
            self.memory["stack"] = max(self.memory["stack"], sizes.pop(self.root))
            self.memory["largest"] = max(self.memory["largest"], *sizes.values(), 0)

    # -- all of it

    def run(self, tracks: Sequence[bytes]) -> None:
        """Let every client do its part, for as long as the limit allows."""
        for disturb in (self.kill, self.watch):
            threading.Thread(target=disturb, daemon=True).start()
        timer = threading.Timer(self.asked.limit, self.over.set)
        timer.start()
        self.began = time.monotonic()
        with ThreadPoolExecutor(self.asked.clients) as clients:
            sessions = [clients.submit(self.session, number, track) for number, track in enumerate(tracks)]
            for session in sessions:
                session.result()
        self.seconds = time.monotonic() - self.began
        timer.cancel()
        self.over.set()

    def compare(self) -> dict[str, Any]:
        """Hold records, bucket, index and dead letters against what was accepted."""
        accepted = {kind: {job.split()[1] for job in self.ends if job.startswith(kind)} for kind in KINDS}
        ended = {job: end for job, end in self.ends.items() if end}
        good = {job for job, end in ended.items() if end in {"ready", "succeeded"}}
        records = {
            "audio": [item["audio_id"] for item in self.listed("/api/audio")],
            "generation": [item["generation_id"] for item in self.listed("/api/generation")],
        }
        keys = [item["Key"] for page in self.pages("list_objects_v2") for item in page.get("Contents", [])]
        made = Counter(key.split("/")[-1].split(".")[0] for key in keys if key.startswith("generated/"))
        vectors = Counter(key.split("/")[-1] for key in self.vector_keys())
        succeeded = {job.split()[1] for job in good if job.startswith("generation")}
        ready = {job.split()[1] for job in good if job.startswith("audio")}
        gone = {
            f"{kind} {identifier}" for kind in KINDS for identifier in accepted[kind] - set(records[kind])
        }
        without = {f"generation {one}" for one in succeeded if not made[one]}
        without |= {f"audio {one}" for one in ready if not vectors[one]}
        letters = self.dead_letters()
        extra = sum(len(set(records[kind]) - accepted[kind]) for kind in KINDS)
        extra += sum(made[one] - 1 for one in made if made[one] > 1)
        extra += sum(count for one, count in made.items() if one not in succeeded)
        extra += sum(count for one, count in vectors.items() if one not in ready)
        return {
            "accepted": {kind: len(accepted[kind]) for kind in KINDS},
            "finished": len(good),
            "not_finished": len(self.ends) - len(ended),
            "lost": len(gone | without | (set(ended) - good)) + letters,
            "dead_letters": letters,
            "duplicated": extra,
        }

    def listed(self, path: str) -> Iterator[Any]:
        """Every item of a list of the API."""
        cursor: dict[str, str] = {}
        while True:
            page = self.api.get(path, limit=100, **cursor).ok(200)
            yield from page["items"]
            if not page["cursor"]:
                return
            cursor = {"cursor": page["cursor"]}

    def pages(self, operation: str) -> Any:
        """Pages of an S3 listing."""
        return self.s3.get_paginator(operation).paginate(Bucket=self.deployment.buckets[0].name)

    def vector_keys(self) -> Iterator[str]:
        """Every key in the index."""
        index = self.deployment.vector_indexes[0]
        pages = self.vectors.get_paginator("list_vectors").paginate(
            vectorBucketName=index.bucket, indexName=index.name
        )
        yield from (vector["key"] for page in pages for vector in page["vectors"])

    def dead_letters(self) -> int:
        """How many messages the dead-letter queues hold."""
        count = 0
        for queue in self.deployment.queues.values():
            if queue.dead_letters:
                answer = self.sqs.get_queue_attributes(
                    QueueUrl=self.deployment.queues[queue.dead_letters].url,
                    AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
                )
                count += sum(int(number) for number in answer["Attributes"].values())
        return count


KINDS = ("audio", "generation")


def s3_event(bucket: str, audio_id: str) -> dict[str, Any]:
    """What the bucket sent when the audio was uploaded."""
    entity = {"bucket": {"name": bucket}, "object": {"key": f"uploads/default/{audio_id}"}}
    return {"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": entity}]}


def tracks(count: int) -> list[bytes]:
    """Make tracks of 10 s, no two alike: chords over a beat, as mp3."""
    made = []
    t = np.arange(round(SOURCE_SECONDS * RATE)) / RATE
    for number in range(count):
        generator = np.random.default_rng(number)
        beat = 60 / generator.uniform(80, 160)
        root = 55 * 2 ** (generator.integers(0, 24) / 12)
        chords = root * 2 ** (generator.integers(0, 12, size=(8, 3)) / 12)
        chord = chords[(t / (4 * beat)).astype(int) % 8]
        tone = np.sin(2 * np.pi * np.cumsum(chord, axis=0) / RATE).sum(axis=1) / 3
        hit = np.exp(-12 * (t % beat)) * generator.standard_normal(len(t))
        audio = (0.3 * tone * (0.5 + 0.5 * np.exp(-3 * (t % beat))) + 0.1 * hit).astype(np.float32)
        made.append(sound.encode(audio[None], RATE, "mp3", "libmp3lame"))
    return made


def descendants(root: int) -> list[int]:
    """Every process under another one."""
    children: dict[int, list[int]] = defaultdict(list)
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            fields = path.read_text().rpartition(")")[2].split()
            children[int(fields[1])].append(int(path.parent.name))
    found, todo = [], [root]
    while todo:
        below = children[todo.pop()]
        found += below
        todo += below
    return found


def function_of(pid: int) -> str:
    """The function that a process runs; empty for any other process."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    names = [entry[25:] for entry in environment if entry.startswith(b"AWS_LAMBDA_FUNCTION_NAME=")]
    return names[0].decode() if names and b"worker.py" in command else ""


def memory(pid: int) -> int:
    """Proportional set size, in bytes; 0 once the process is gone."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except (OSError, IndexError):
        pass
    return 0


def quantile(seconds: Sequence[float], share: float) -> float:
    """A quantile in milliseconds."""
    return round(1000 * float(np.quantile(seconds, share)), 1) if seconds else 0.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print, and say by the exit status whether every promise holds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--uploads", type=int, default=1000)
    parser.add_argument("--generations", type=int, default=500)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--workers", type=int, default=1, help="processes for each worker (%(default)s)")
    parser.add_argument("--limit", type=float, default=LIMIT_SECONDS, help="seconds at most (%(default)s)")
    parser.add_argument("--note", default="", help="something to say beside the figures")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    asked = parser.parse_args(argv)
    made = tracks(asked.uploads)
    # On a small machine more than one process of each at once only makes everything slower.
    with StackProcess("--workers", str(asked.workers)) as stack:
        load_ = Load(stack, asked)
        before = os.getloadavg()[0]
        load_.run(made)
        found = load_.compare()
    every = [seconds for calls in load_.calls.values() for seconds in calls]
    jobs = sum(found["accepted"].values())
    report = {
        "command": " ".join(["python -m tests.benchmarks.bench_load", *(argv or sys.argv[1:])]),
        "machine": machine(),
        "note": asked.note,
        "load_average_before": round(before, 2),
        "clients": asked.clients,
        "minutes": round(load_.seconds / 60, 1),
        **found,
        "refused": load_.refused,
        "downloads": dict(load_.downloads),
        "events_delivered_twice": load_.duplicated_events,
        "workers_killed": load_.kills,
        "calls": len(every),
        "statuses": {str(status): count for status, count in sorted(load_.statuses.items())},
        "p50_ms": quantile(every, 0.5),
        "p95_ms": quantile(every, 0.95),
        "by_call": {
            kind: {"calls": len(calls), "p50_ms": quantile(calls, 0.5), "p95_ms": quantile(calls, 0.95)}
            for kind, calls in sorted(load_.calls.items())
        },
        "peak_megabytes": {name: size >> 20 for name, size in load_.memory.items()},
    }
    for name, value in report.items():
        print(f"{name:24} {value}")
    if asked.json:
        asked.json.write_text(json.dumps(report, indent=2) + "\n")
    kept = {
        "nothing lost": found["lost"] == 0,
        "nothing duplicated": found["duplicated"] == 0,
        "everything finished": found["not_finished"] == 0 and found["finished"] == jobs,
        "all asked for was accepted": jobs == asked.uploads + asked.generations,
        "every download is whole": load_.downloads["broken"] == 0,
        "API p95 under 300 ms": quantile(every, 0.95) < 1000 * PROMISED_P95,
    }
    for promise, holds in kept.items():
        print(f"{'kept' if holds else 'BROKEN':8} {promise}")
    return 0 if all(kept.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
