"""What every function's image holds, its size, and its cold start.

    python -m tests.benchmarks.bench_images [--json FILE] [--before FILE] [--runs N] [--quick]

Files and MB are those of what lies in /opt/python and /var/task, by top folder: the project's own code, and
installed packages. Each image is then started from nothing as Lambda starts it (read-only root, unprivileged
user, the template's memory, no /dev/shm; see `tests.support.images`), and gets one event: a request of the
API, or a message about a record that does not exist. Cold start is the time from `docker run` to the answer,
less that of a container of the same base image that imports nothing: import plus first invocation. Needs a
Docker engine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from local.logs import Log
from local.sam import SamError, bridge_address, build, find_base_image
from local.stack import Stack
from local.template import ROOT, Function
from tests.support.images import LambdaContainer, docker, image_of

EVENTS = {
    "authorizer": "authorizer-token",
    "upload": "upload-json",
    "api": "api-health",
    "wait": "wait-embedding",
    "embed": "embed-message",
    "generate": "generate-message",
    "search": "search-text",
    "encode": "encode-candidate",
    "sweeper": "sweeper-schedule",
}

OWN = ("backend", "functions", "music")
"""The project's own folders; every other one is of an installed package."""

LIST = """
import collections, json, os
found = collections.defaultdict(lambda: [0, 0])
for root in ("/opt/python", "/var/task"):
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            top = found[os.path.relpath(path, root).split("/")[0]]
            top[0] += 1
            top[1] += os.lstat(path).st_size
print(json.dumps(found))
"""
"""Run in an image: files and bytes of each top folder of the two that Python searches."""


def bare_start(base_image: str) -> float:
    """Return the seconds to run a container of the base image that only starts Python."""
    started = time.perf_counter()
    docker("run", "--rm", "--entrypoint", "python3", base_image, "-c", "pass")
    return time.perf_counter() - started


def cold_start(name: str, function: Function, endpoint_url: str) -> tuple[float, float]:
    """Return the seconds from nothing to the first answer, and those of the second invocation."""
    event = json.loads((ROOT / f"events/{EVENTS[function.label]}.json").read_text())
    started = time.perf_counter()
    with LambdaContainer(name, function, endpoint_url) as container:
        container.invoke(event)
        first = time.perf_counter() - started
        container.invoke(event)
        return first, time.perf_counter() - started - first


def megabytes(image: str) -> float:
    """Return the size of an image on disk, in MB, the base image included."""
    return int(docker("image", "inspect", "--format", "{{.Size}}", image)) / 1e6


def contents(image: str) -> dict[str, dict[str, float]]:
    """Return files and MB of each top folder in /opt/python and /var/task, the largest first."""
    listed = json.loads(docker("run", "--rm", "--entrypoint", "python3", image, "-c", LIST))
    largest = sorted(listed.items(), key=lambda item: -item[1][1])
    return {name: {"files": files, "mb": round(size / 1e6, 3)} for name, (files, size) in largest}


def line(row: Mapping[str, Any]) -> str:
    """Lay out what an image holds: files and MB of the project's own code, then of installed packages."""
    own = [item for name, item in row["holds"].items() if name in OWN]
    packages = [item for name, item in row["holds"].items() if name not in OWN]
    columns = [f"{row['function']:10} {row['image_mb']:9.0f}"]
    for items in (own, packages):
        columns.append(f"{sum(item['files'] for item in items):7} {sum(item['mb'] for item in items):6.1f}")
    return " ".join(columns)


def measure(runs: int) -> dict[str, Any]:
    """Build the images and measure them.

    Raises
    ------
    SamError
        There is no Docker engine, or the images cannot be built.
    """
    log = Log(sys.stderr)
    host = bridge_address()
    base_image = find_base_image(log)
    build(base_image, {"Profile": "builtin"}, log)
    bare = statistics.median(bare_start(base_image) for _ in range(runs))
    rows = []
    with Stack(host=host, parameters={"AuthMode": "none"}, log=log) as stack:
        for name, function in stack.deployment.functions.items():
            times = [cold_start(name, function, stack.endpoint_url) for _ in range(runs)]
            first, second = (statistics.median(column) for column in zip(*times, strict=True))
            rows.append(
                {
                    "function": function.label,
                    "image_mb": round(megabytes(image_of(name)), 1),
                    "memory_mb": function.memory,
                    "cold_start_s": round(first - bare, 2),
                    "warm_ms": round(second * 1000, 1),
                    "holds": contents(image_of(name)),
                }
            )
    return {
        "base_image_mb": round(megabytes(base_image), 1),
        "bare_container_s": round(bare, 2),
        "runs": runs,
        "load": round(os.getloadavg()[0], 1),
        "docker": docker("version", "--format", "{{.Server.Version}}"),
        "machine": f"{platform.machine()}, {platform.system()} {platform.release()}",
        "images": rows,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; returns the exit status."""
    parser = argparse.ArgumentParser(description="Measure size and cold start of the images.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every number here too")
    parser.add_argument("--before", type=Path, metavar="FILE", help="an earlier FILE, to compare with")
    parser.add_argument("--runs", type=int, default=5, help="cold starts of each image (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="one cold start of each image")
    given = parser.parse_args(arguments)
    try:
        found = measure(1 if given.quick else given.runs)
    except (SamError, subprocess.SubprocessError) as error:
        print(f"images: {error}", file=sys.stderr)
        return 2
    print(f"python -m tests.benchmarks.bench_images   {found['machine']}, Docker {found['docker']}")
    print(f"base image {found['base_image_mb']:.0f} MB; {found['runs']} runs; load {found['load']}\n")
    print(f"{'':20} {'own code':>14} {'packages':>14}   {'cold start':>10} {'warm':>6}")
    print(
        f"{'function':10} {'image MB':>9} {'files':>7} {'MB':>6} {'files':>7} {'MB':>6}   {'s':>10} {'ms':>6}"
    )
    for row in found["images"]:
        print(f"{line(row)}   {row['cold_start_s']:10.2f} {row['warm_ms']:6.1f}")
    if given.before:
        found["before"] = json.loads(given.before.read_text())["images"]
        print("\nbefore:", *map(line, found["before"]), sep="\n")
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
