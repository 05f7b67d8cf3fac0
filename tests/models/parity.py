"""What the parity tests found, printed at the end and kept in docs/benchmarks/parity.json.

Only figures of full-size networks belong here. `make test-models` has all of them, and names the file in
``PARITY``.
"""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

import torch
import transformers

from music.engine import ops

_rows: list[dict[str, object]] = []


def note(network: str, figure: str, value: float, bound: float | None) -> None:
    """Note a figure, and fail if it is over its bound."""
    _rows.append({"network": network, "figure": figure, "value": float(f"{value:.3g}"), "bound": bound})
    assert bound is None or value <= bound, f"{network}: {figure} is {value:.3g}, over {bound:.3g}"


def table() -> str:
    """All figures as a table of Markdown; writes them to the file that ``PARITY`` names, too."""
    versions = {
        "torch": torch.__version__, "transformers": transformers.__version__,
        "python": platform.python_version(), "instruction_set": ops.variant(), "threads": ops.threads(),
    }  # fmt: skip
    if path := os.environ.get("PARITY"):
        Path(path).write_text(json.dumps({"versions": versions, "figures": _rows}, indent=1) + "\n")
    lines = ["| network | figure | found | bound |", "|---|---|---|---|"]
    lines += [f"| {r['network']} | {r['figure']} | {r['value']} | {r['bound'] or ''} |" for r in _rows]
    return "\n".join([*lines, ", ".join(f"{name} {value}" for name, value in versions.items())])
