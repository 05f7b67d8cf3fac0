"""What generations cost on an endpoint, on Lambda and on Managed Instances: the figures of docs/deploying.md.

    python -m tests.benchmarks.endpoint_costs [--json FILE]

Nothing is measured here. Every figure that goes in stands below, with where it is from; who changes a price
or a speed changes the tables. MusicGen small, with guidance, so that each stream is two rows.

A step on another GPU is estimated as the measured step of an H200 (docs/benchmarks/gpu.json), which is
launches and arithmetic for the most part, and what the other one takes longer to read weights and cache. That
is a guess until somebody runs `make bench-gpu` there.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FRAMES = 50
"""Steps of the language model for a second of music."""
STEPS = 1500
"""Of a piece of 30 s."""

GPU_REPORT = Path("docs/benchmarks/gpu.json")


def measured_steps() -> dict[int, float]:
    """Return the steps a second of an H200 by streams, as `bench_gpu` found them."""
    details = json.loads(GPU_REPORT.read_text("utf-8"))["details"]
    return {count: details[f"steps a second: ours, {count} streams, bfloat16"] for count in (1, 4, 8, 32)}


H200_BANDWIDTH = 4.2e12
"""Bytes a second that an H200 reads at most, measured apart."""
WEIGHT_BYTES = 0.84e9
"""Of the language model in bfloat16."""
CACHE_BYTES = 2 * 24 * 1024 * 2
"""Keys and values of a row for one position: 24 layers, 1024 wide, bfloat16."""

WAKING_SECONDS = 8 * 60.0
"""From the first request to the first step: an instance, an image of some gigabytes, weights. Assumed."""
LEAVING_SECONDS = 15 * 60.0
"""Without work until there is no instance: target tracking looks at fifteen minutes before it scales in
(Application Auto Scaling User Guide)."""

LAMBDA_GB_SECOND = 0.0000166667
"""Dollars, x86, us-east-1: AWS Lambda pricing."""
LAMBDA_STEP_SECONDS = {1769: 9.8e-3 * 3, 3008: 6.8e-3 * 3}
"""Seconds of a step by MB on the engine, int8: 8 of 24 layers, under quotas (docs/deploying.md)."""

MANAGED_INSTANCE_HOUR = 0.2016
"""Dollars, m7i.xlarge (4 vCPU, 16 GiB), EC2 on demand, us-east-1."""
MANAGED_FEE = 0.15
"""On top of it: Lambda Managed Instances, Lambda pricing (introduced at the end of 2025)."""
MANAGED_LEAST = 3
"""Instances that are launched by default (AWS Lambda Developer Guide, "Best practices")."""
MANAGED_PROCESSORS = 2.0
"""Of an instance, as Lambda counts them at 1,769 MB: two vCPUs share one core."""


@dataclass(frozen=True)
class Card:
    """A kind of instance with one GPU.

    Attributes
    ----------
    instance, gpu : str
    hour : float
        Dollars, SageMaker hosting on demand.
    bandwidth : float
        Bytes a second, from the card's data sheet.
    streams : int
        At once: as many as fit its memory with room, `large` apart.
    """

    instance: str
    gpu: str
    hour: float
    bandwidth: float
    streams: int


CARDS = (
    Card("ml.g6.xlarge", "L4, 24 GB", 1.1267, 300e9, 8),
    Card("ml.g5.xlarge", "A10G, 24 GB", 1.408, 600e9, 8),
    Card("ml.g6e.xlarge", "L40S, 48 GB", 2.6054, 864e9, 32),
)
"""Prices of us-east-1 and -2 as public projects noted them in 2025 and 2026; no price list was at hand."""


def step_seconds(card: Card, streams: int) -> float:
    """Estimate a step of so many streams on a card, at half the length of a piece."""
    cache = 2 * streams * CACHE_BYTES * STEPS / 2
    read = WEIGHT_BYTES + cache
    return 1 / measured_steps()[streams] + read / card.bandwidth - read / H200_BANDWIDTH


def lambda_minute(megabytes: int) -> float:
    """Return the dollars of a minute of music on Lambda."""
    seconds = 60 * FRAMES * LAMBDA_STEP_SECONDS[megabytes]
    return seconds * megabytes / 1024 * LAMBDA_GB_SECOND


def endpoints() -> list[dict[str, Any]]:
    """Return a row for each kind of instance."""
    rows = []
    for card in CARDS:
        times_real_time = card.streams / step_seconds(card, card.streams) / FRAMES
        minutes = 60 * times_real_time
        waking = card.hour * (WAKING_SECONDS + LEAVING_SECONDS) / 3600
        rows.append(
            {
                **asdict(card),
                "times_real_time": times_real_time,
                "minutes_an_hour": minutes,
                "dollars_a_minute": card.hour / minutes,
                "break_even_minutes_an_hour": card.hour / lambda_minute(3008),
                "dollars_a_waking": waking,
                "waking_in_minutes_on_lambda": waking / lambda_minute(3008),
            }
        )
    return rows


def managed() -> dict[str, float]:
    """Return what Lambda Managed Instances would cost."""
    hour = MANAGED_INSTANCE_HOUR * (1 + MANAGED_FEE)
    minutes = 3600 * MANAGED_PROCESSORS / LAMBDA_STEP_SECONDS[1769] / FRAMES / 60
    return {
        "dollars_an_hour": hour,
        "minutes_an_hour": minutes,
        "dollars_a_minute": hour / minutes,
        "dollars_an_hour_at_least": MANAGED_LEAST * hour,
        "discount_that_equals_lambda": 1 - lambda_minute(1769) * minutes / hour,
    }


def report() -> dict[str, Any]:
    """Return everything."""
    lambdas = {str(megabytes): lambda_minute(megabytes) for megabytes in LAMBDA_STEP_SECONDS}
    figures = {"endpoints": endpoints(), "managed_instances": managed(), "lambda_dollars_a_minute": lambdas}
    rounded: dict[str, Any] = json.loads(
        json.dumps(figures), parse_float=lambda text: float(f"{float(text):.3g}")
    )
    return rounded


def table() -> str:
    """Return the table of instances, as docs/deploying.md has it."""
    lines = [
        "| `InstanceType` | GPU | Dollars an hour | Streams | Minutes of music an hour, estimated"
        " | Dollars a minute | Cheaper than Lambda from, minutes an hour | Dollars a wake-up |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in endpoints():
        lines.append(
            f"| `{row['instance']}` | {row['gpu']} | {row['hour']:.2f} | {row['streams']}"
            f" | {row['minutes_an_hour']:,.0f} | {row['dollars_a_minute']:.5f}"
            f" | {row['break_even_minutes_an_hour']:.0f} | {row['dollars_a_waking']:.2f} |"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table and all figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write the figures here too")
    asked = parser.parse_args(argv)
    text = json.dumps(report(), indent=2)
    print(table(), text, sep="\n\n")
    if asked.json:
        asked.json.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
