"""``python -m weights.train.curves FIGURES.json CURVES.png``: draw what a training has logged."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure


def draw(values: dict[str, Any], path: Path) -> None:
    """Draw the curves of all stages, one panel each, as a picture."""
    shown = {
        "codec": ("mel", "time", "held_out"),
        "language": ("loss", "book_0", "held_out"),
        "clap": ("text", "sound", "recall"),
    }
    panels = [stage for stage in shown if values["curves"].get(stage)]
    figure = Figure(figsize=(5 * max(1, len(panels)), 3.5), layout="constrained")
    for number, stage in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), number + 1)
        for name in shown[stage]:
            points = [(line["step"], line[name]) for line in values["curves"][stage] if name in line]
            if points:
                axes.plot(*zip(*points, strict=True), label=name, linewidth=1)
        axes.set_title(stage)
        axes.set_xlabel("steps")
        axes.legend()
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text("utf-8")), Path(sys.argv[2]))
