"""Render many pieces, for training to read.

    python -m weights.compose --out DIR --pieces 12000 --seconds 45 --workers 15 --seed 1 --budget 240

See `weights.compose.shards` for what it writes. A run that was cut off goes on where it ended.
"""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from weights.compose.composer import SECONDS
from weights.compose.mix import RATES
from weights.compose.shards import SEEDS_PER_RUN, Run, write
from weights.compose.soundfont import SoundfontError, check, fetch


def main(arguments: Sequence[str] | None = None) -> int:
    """Render the pieces; 0 if every shard is there, or the budget ended first."""
    parser = argparse.ArgumentParser(
        prog="python -m weights.compose", description="Render many pieces of music."
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the shards")
    parser.add_argument("--pieces", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=45.0, help="length of a piece")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, default=0, help="two seeds have no piece in common")
    parser.add_argument(
        "--budget", type=float, default=math.inf, help="seconds after which no shard is begun"
    )
    parser.add_argument("--rate", type=int, default=32000, help="samples per second")
    player = parser.add_mutually_exclusive_group()
    player.add_argument("--soundfont", type=Path, help="default: $SOUNDFONT, or FluidR3Mono, fetched once")
    player.add_argument("--synth", action="store_true", help="the built-in synthesizer instead")
    chosen = parser.parse_args(arguments)
    if not 1 <= chosen.pieces <= SEEDS_PER_RUN:
        parser.error(f"--pieces must be 1 to {SEEDS_PER_RUN}")
    if chosen.workers < 1:
        parser.error("--workers must be at least 1")
    for name, least, most in (("seconds", *SECONDS), ("rate", *RATES)):
        if not least <= getattr(chosen, name) <= most:
            parser.error(f"--{name} must be {least:g} to {most:g}")
    soundfont = None
    if not chosen.synth:
        try:
            soundfont = check(chosen.soundfont) if chosen.soundfont else fetch()
        except SoundfontError as error:
            parser.error(str(error))

    began = time.monotonic()
    run = Run(chosen.out, chosen.pieces, chosen.seconds, chosen.rate, chosen.seed, soundfont)
    there, failed = write(run, chosen.workers, chosen.budget)
    seconds = round(time.monotonic() - began, 1)
    print(
        json.dumps({"shards": there, "of": run.shards, "failed_workers": failed, "seconds": seconds}),
        flush=True,
    )
    return 1 if failed or (there < run.shards and chosen.budget == math.inf) else 0


if __name__ == "__main__":
    sys.exit(main())
