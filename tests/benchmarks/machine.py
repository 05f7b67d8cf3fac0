"""Where a benchmark was run."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import numpy as np
import scipy


def machine() -> dict[str, str]:
    """Where this was measured."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return {
        "cpu": f"{os.cpu_count()} x {model}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
    }
