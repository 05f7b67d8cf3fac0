"""Every figure of a training, as it comes: printed, and kept in a JSON file (`curves` draws it)."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

from weights.train.schedule import Budget

_EVERY = 6.0  # seconds


class NotFiniteError(Exception):
    """A loss is not a number: the stage ends with what was good last."""


class Figures:
    """The figures of one training, whose stages may be run one by one.

    Parameters
    ----------
    path : Path
        Of the JSON file; what it holds already is kept.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._began = time.monotonic()
        self._shown: dict[str, float] = {}
        self._steps: dict[str, tuple[float, int]] = {}
        self.values: dict[str, Any] = {"curves": {}, "results": {}}
        if path.exists():
            self.values = json.loads(path.read_text("utf-8"))

    def say(self, text: str) -> None:
        """Print a line with the time since the begin."""
        print(f"[{time.monotonic() - self._began:6.1f}] {text}", flush=True)

    def due(self, name: str, every: float = _EVERY) -> bool:
        """Whether it is so many seconds since this was last true."""
        now = time.monotonic()
        if now - self._shown.get(name, -math.inf) < every:
            return False
        self._shown[name] = now
        return True

    def log(self, stage: str, step: int, budget: Budget, **values: float) -> None:
        """Keep values of a step.

        Raises
        ------
        NotFiniteError
            If one is not finite.
        """
        now, (then, before) = time.monotonic(), self._steps.get(stage, (time.monotonic(), step))
        line = {"seconds": round(budget.elapsed(), 1), "step": step}
        line |= {name: round(value, 4) for name, value in values.items()}
        if step > before:
            line["steps_per_second"] = round((step - before) / (now - then), 2)
        self._steps[stage] = now, step
        self.say(f"{stage} {100 * budget.spent():.0f}% " + " ".join(f"{k} {v:g}" for k, v in line.items()))
        wrong = [name for name, value in values.items() if not math.isfinite(value)]
        if wrong:
            raise NotFiniteError(f"{stage}, step {step}: {', '.join(wrong)} not finite")
        self.values["curves"].setdefault(stage, []).append(line)

    def result(self, stage: str, **values: Any) -> None:
        """Keep what a stage came to, and write the file."""
        self.values["results"].setdefault(stage, {}).update(values)
        self.say(f"{stage}: " + json.dumps(values))
        self.save()

    def save(self) -> None:
        """Write the file."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(self.values, indent=1) + "\n", "utf-8")
