"""Where a benchmark was run."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import numpy as np
import scipy


def processor() -> str:
    """Name the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def machine() -> dict[str, str]:
    """Where this was measured."""
    return {
        "cpu": f"{os.cpu_count()} x {processor()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
    }
