"""How much each matrix of a transformer suffers from being stored as integers.

    python -m weights.sensitivity BUNDLE [--steps 48] [--json FILE]

BUNDLE is one of float32. A sequence is generated greedily; then each matrix in turn, and the key-value cache,
is replaced by integers, everything else left as it is, and the logits after that sequence are compared. The
cache needs no calibration: every position and head has a scale of its own.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from music.engine.bundle import open_bundle
from music.engine.packing import Tensors, Weight, pack
from music.musicgen.networks import Condition
from music.musicgen.transformer import MusicGen
from weights.calibrate import greedy

PRECISIONS = ("int8", "int4")


class _Replaced(Tensors):
    """The tensors of a file, all but one matrix."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.replaced: dict[str, Weight] = {}

    def weight(self, name: str) -> Weight:
        return self.replaced.get(name) or super().weight(name)


def measure(path: Path, steps: int = 48, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Measure every matrix and the cache.

    Parameters
    ----------
    path : Path
        The file of a float32 transformer.
    steps : int
        The length of the generated sequence.
    seed : int
        The seed of the text that it is conditioned on, which is random.

    Yields
    ------
    dict
        ``name``, ``precision``, and ``error``: the relative RMS error of the logits.
    """
    tensors = _Replaced(path)
    model = MusicGen(tensors)
    text = np.random.default_rng(seed).standard_normal((12, tensors.weight("text").inputs)).astype(np.float32)
    conditions = [Condition(text), Condition(None)]
    given = greedy(model, conditions, steps)
    exact = model.start(conditions, steps).advance(given)

    def error() -> float:
        found = model.start(conditions, steps).advance(given)
        return float(np.sqrt(np.mean((found - exact) ** 2) / np.mean(exact**2)))

    for name in tensors.matrices:
        if name in {"text", "chroma"}:
            continue  # read once for each prompt, not by every step
        matrix = tensors.weight(name).unpack()
        for precision in PRECISIONS:
            tensors.replaced = {name: _unpacked(pack(matrix, precision))}
            yield {"name": name, "precision": precision, "error": error()}
    tensors.replaced = {}
    model.cache_precision = "int8"
    yield {"name": "cache", "precision": "int8", "error": error()}


def _unpacked(weight: Weight) -> Weight:
    """Pack the same values as float32: the error is that of the weights, not of activations beside them."""
    return pack(weight.unpack())


def summary(rows: list[dict[str, Any]]) -> str:
    """Write a line for each kind of matrix and precision: all its layers together, and the worst of them."""
    kinds: dict[tuple[str, str], list[tuple[float, str]]] = defaultdict(list)
    for row in rows:
        layer, _, kind = row["name"].partition(".")
        kinds[kind if layer.isdecimal() else row["name"], row["precision"]].append(
            (row["error"], row["name"])
        )
    lines = [f"{'matrix':12} {'precision':9} {'all':>9} {'worst':>9}  of"]
    for (kind, precision), errors in kinds.items():
        together = float(np.sqrt(sum(error**2 for error, _ in errors)))
        worst, name = max(errors)
        lines.append(f"{kind:12} {precision:9} {together:9.2%} {worst:9.2%}  {name}")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--steps", type=int, default=48)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    bundle = open_bundle(given.bundle)
    if bundle.precision != "float32":
        parser.error(f"{given.bundle} is of {bundle.precision}: one of float32 is needed")
    rows = list(measure(given.bundle / "musicgen.safetensors", given.steps))
    if given.json:
        given.json.write_text(json.dumps({"steps": given.steps, "errors": rows}, indent=1) + "\n")
    print(summary(rows))


if __name__ == "__main__":
    main()
