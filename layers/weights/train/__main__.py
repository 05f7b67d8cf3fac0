"""``python -m weights.train``: train the profile `pocket`, or go on training it."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

from weights.train.figures import Figures
from weights.train.recipe import POCKET, TOY
from weights.train.stages import STAGES, Training
from weights.train.store import Store


def main(arguments: list[str] | None = None) -> int:
    """Run stages; returns 0 if all of them came to their end."""
    began = time.monotonic()
    parser = argparse.ArgumentParser(prog="python -m weights.train", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of rendered shards; more may come")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the checkpoints; what it has is gone on with"
    )
    parser.add_argument("--minutes", type=float, required=True, help="for all stages together")
    parser.add_argument("--stages", default=",".join(STAGES), help="which of them, separated by commas")
    parser.add_argument("--pieces", type=int, default=14_000, help="that there is memory for")
    parser.add_argument("--least", type=int, help="pieces that are waited for")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds that they are waited for")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--compile", action="store_true", help="compile the language model")
    parser.add_argument("--toy", action="store_true", help="networks that learn nothing, in seconds")
    given = parser.parse_args(arguments)
    stages = given.stages.split(",")
    if unknown := set(stages) - set(STAGES):
        parser.error(f"no such stage: {', '.join(sorted(unknown))}")
    recipe = TOY if given.toy else POCKET
    device = torch.device(given.device)
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    figures = Figures(given.out / "figures.json")
    store = Store(given.data, device, given.pieces, recipe.held_out, figures.say)
    store.open(given.least or 2 * recipe.held_out, given.patience)
    figures.say(f"{store.count} pieces to begin with, on {device}")
    training = Training(recipe, store, given.out, figures, given.compile)
    failed = training.run(stages, 60 * given.minutes - (time.monotonic() - began))
    figures.save()
    for stage in failed:
        figures.say(f"{stage} FAILED")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
