"""Shards of rendered pieces, written by several processes, as training reads them.

``shard-00000.npy`` is int16 [pieces, samples], mono; ``shard-00000.jsonl`` has a line for each piece: what
`Piece.truth` says.
"""

import json
import multiprocessing
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from weights.compose.composer import compose
from weights.compose.mix import render

PIECES_PER_SHARD = 16
SEEDS_PER_RUN = 10_000_000  # runs with different seeds share no piece


@dataclass(frozen=True)
class Run:
    """What to render, and where to."""

    folder: Path
    pieces: int
    seconds: float
    rate: int
    seed: int
    soundfont: Path | None

    @property
    def shards(self) -> int:
        return -(-self.pieces // PIECES_PER_SHARD)

    def audio(self, shard: int) -> Path:
        """The file that appears last, when the shard is whole."""
        return self.folder / f"shard-{shard:05d}.npy"

    def seeds(self, shard: int) -> range:
        first = self.seed * SEEDS_PER_RUN
        return range(
            first + shard * PIECES_PER_SHARD, first + min((shard + 1) * PIECES_PER_SHARD, self.pieces)
        )


def write_shard(run: Run, shard: int) -> None:
    """Compose and render the pieces of one shard; write their truth, then their audio."""
    pieces = [compose(seed, run.seconds) for seed in run.seeds(shard)]
    audio = np.empty((len(pieces), round(run.seconds * run.rate)), np.int16)
    for row, piece in zip(audio, pieces, strict=True):
        row[:] = np.rint(render(piece, run.rate, 1, run.soundfont)[0] * 32767.0)
    target = run.audio(shard)
    partial = target.with_suffix(f".{os.getpid()}.partial")
    partial.write_text("".join(json.dumps(piece.truth()) + "\n" for piece in pieces), "utf-8")
    partial.replace(target.with_suffix(".jsonl"))
    with partial.open("wb") as file:
        np.save(file, audio)
    partial.replace(target)


def _work(run: Run, counter: Any, deadline: float) -> None:
    """Write shards that nobody has begun, until there are none or time is up."""
    os.nice(10)
    while time.time() < deadline:
        with counter.get_lock():
            shard = counter.value
            counter.value += 1
        if shard >= run.shards:
            return
        if not run.audio(shard).exists():
            write_shard(run, shard)


def write(run: Run, workers: int, budget: float) -> tuple[int, int]:
    """Write all shards that are not there yet.

    Parameters
    ----------
    run : Run
    workers : int
        Processes.
    budget : float
        Seconds after which no shard is begun.

    Returns
    -------
    (int, int)
        Shards that are there, and processes that failed.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    # Spawned, not forked: the caller may run threads.
    context = multiprocessing.get_context("spawn")
    counter = context.Value("q", 0)
    deadline = time.time() + budget
    processes = [
        context.Process(target=_work, args=(run, counter, deadline)) for _ in range(min(workers, run.shards))
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    there = sum(run.audio(shard).exists() for shard in range(run.shards))
    return there, sum(process.exitcode != 0 for process in processes)
