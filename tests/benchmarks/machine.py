"""Where a benchmark was run."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import numpy as np
import scipy


def processor() -> str:
    """Name the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def models_file(processor: str, instruction_set: str) -> Path:
    """Say where the results of `bench_models` on a processor lie; several go by one name.

    Examples
    --------
    >>> models_file("Intel(R) Xeon(R) Processor", "amx")
    PosixPath('docs/benchmarks/models-intel-xeon-amx.json')
    """
    words = re.findall("[a-z0-9]+", re.sub(r"\((r|tm)\)|\bprocessor\b", " ", processor.lower()))
    return Path("docs/benchmarks") / f"models-{'-'.join([*words, instruction_set])}.json"


def machine() -> dict[str, str]:
    """Where this was measured."""
    return {
        "cpu": f"{os.cpu_count()} x {processor()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
    }
