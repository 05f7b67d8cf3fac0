"""What int8 costs where activations have outliers: each kind is put into random weights of MusicGen small.

    python -m tests.benchmarks.bench_outliers [--layers 24] [--json docs/benchmarks/outliers.json]

The bar is 3 % relative root mean square error of the logits against float32.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.machine import machine
from tests.support.outliers import Changes, Injected, injections
from weights import synthetic
from weights.calibrate import BAR
from weights.pack import write_musicgen

HEAD = 64  # channels of a head
SOME, TEXT = [7, 133, 250, 511, 640, 900], [7, 133, 250, 511, 640, 700]
KEYS = [3 + 7 * (head % 3) + HEAD * head for head in range(16)]  # one of each head


def main() -> int:
    """Measure all; the exit status is 1 where one is over the bar."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, help="of the decoder, instead of 24")
    parser.add_argument("--only", help="kinds whose name has this")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found: dict[str, dict[str, dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        synthetic.write("small", scratch, given.layers)
        kinds: dict[str, dict[float, Changes]] = {"none": {1.0: {}}, **injections(SOME, KEYS, TEXT)}
        for kind, factors in kinds.items():
            if given.only and given.only not in kind:
                continue
            for factor, changes in factors.items():
                began = time.perf_counter()
                checkpoint = Injected(Path(scratch) / "musicgen", changes)
                result = write_musicgen(checkpoint, "int8", Path(scratch))[1]
                assert result
                found.setdefault(kind, {})[f"{factor:g}"] = result
                worst, seconds = result["worst"][0], time.perf_counter() - began
                print(
                    f"{kind:26} x{factor:<5g} {result['logit_error']:7.2%}  {result['apart']:5} inputs apart"
                    f"  {result['exact']:3} matrices float32  worst {worst['matrix']} {worst['error']:.2%}"
                    f"  {seconds:.0f} s",
                    flush=True,
                )
    if given.json:
        report = {"machine": machine(), "layers": given.layers or 24, "bar": BAR, "found": found}
        given.json.write_text(json.dumps(report, indent=1) + "\n")
    return int(any(one["logit_error"] >= BAR for kind in found.values() for one in kind.values()))


if __name__ == "__main__":
    sys.exit(main())
