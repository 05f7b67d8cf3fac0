"""Draw docs/benchmarks/models.png and print what a generated minute costs, from what bench_models wrote.

python -m tests.benchmarks.plot_models [docs/benchmarks/models-PROCESSOR-SET.json]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from music.engine import ops
from tests.benchmarks.machine import models_file, processor

TARGET = Path("docs/benchmarks/models.png")

STEPS_PER_MINUTE = 2 * 1503  # two clips of 30 s
VCPU_MB = 1769  # of memory that come with one vCPU of Lambda
PRICES = {"x86_64": 16.6667e-6, "arm64": 13.3334e-6}  # USD per GB-second, us-east-1
GPU_HOUR = 1.41  # USD, ml.g5.xlarge in us-east-1: the endpoint costs this whether it is asked or not


def mean_step(result: dict[str, Any], rows: str) -> float:
    """Milliseconds of a step, mean over the positions."""
    values = result["details"]["ms by position"]["rows"][rows]
    return float(sum(values) / len(values))


def costs(result: dict[str, Any]) -> str:
    """USD for a minute of music on Lambda, with as many vCPUs as were measured."""
    threads = result["machine"]["threads"]
    gigabytes = threads * VCPU_MB / 1024
    lines = [
        "| candidates | s per minute of music | x86_64, USD | arm64, USD (extrapolated: same speed) |",
        "|---|---|---|---|",
    ]
    for candidates in (1, 4):
        took = mean_step(result, str(2 * candidates)) * STEPS_PER_MINUTE / 1000
        prices = [took * gigabytes * price for price in PRICES.values()]
        lines.append(f"| {candidates} | {took:.0f} | {prices[0]:.4f} | {prices[1]:.4f} |")
        if candidates == 1:
            breakeven = GPU_HOUR / prices[0]
    lines.append(
        f"\n{threads} vCPUs ({gigabytes:.1f} GB at {VCPU_MB} MB for each). A GPU endpoint at {GPU_HOUR} USD "
        f"an hour is cheaper from {breakeven:.0f} minutes of music in each hour on."
    )
    return "\n".join(lines)


def draw(result: dict[str, Any]) -> None:
    """Milliseconds of a step by position, for each batch and number of threads."""
    details = result["details"]
    positions = details["ms by position"]["positions"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), sharex=True)
    for rows, values in details["ms by position"]["rows"].items():
        left.plot(positions, values, marker="o", label=f"{int(rows) // 2}")
    left.set(title="int8 MusicGen small, by candidates at once", xlabel="position", ylabel="ms a step")
    for threads, values in details["ms by threads, 2 rows"].items():
        right.plot(positions, values, marker="o", label=threads)
    right.axhline(20, color="grey", linewidth=1, linestyle="--")
    right.annotate("real time", (positions[0], 20.3), color="grey")
    right.set(title="One candidate, by threads", xlabel="position", ylabel="ms a step")
    for axes in (left, right):
        axes.set_ylim(bottom=0)
        axes.legend()
    figure.suptitle(f"{result['machine']['processor']}, {result['machine']['instruction_set']}")
    figure.tight_layout()
    figure.savefig(TARGET, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    file = Path(sys.argv[1]) if sys.argv[1:] else models_file(processor(), ops.variant())
    measured = json.loads(file.read_text())
    draw(measured)
    print(costs(measured))
