"""Compile `kernels.c`, once for each kind of processor that it may meet.

The compiler is the pinned `ziglang` wheel, the same everywhere, so neither a laptop nor an image needs one of
its own; it is needed to build, not to run. ``python -m music.engine.build`` writes the libraries beside this
file.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
SOURCE = FOLDER / "kernels.c"

VARIANTS: dict[str, dict[str, tuple[str, ...]]] = {
    "x86_64": {
        "avx512": ("-mcpu=x86_64_v4+avx512vnni", "-mprefer-vector-width=512"),
        "avx2": ("-mcpu=x86_64_v3",),
    },
    "aarch64": {"neon": ()},
}
"""Flags of each variant of an architecture, the fastest first."""

_NEEDED_FLAGS = {
    "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd", "avx512_vnni"},
    "avx2": {"avx2", "fma", "f16c", "bmi2"},
    "neon": set[str](),
}


def architecture() -> str:
    """Name this machine's architecture as `VARIANTS` does."""
    machine = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)


def supported() -> list[str]:
    """List the variants that this processor runs, the fastest first."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    flags = next((set(line.split(":", 1)[1].split()) for line in lines if line.startswith("flags")), None)
    if flags is None:  # not Linux on x86: every 64-bit Mac has what the plainest variant needs
        return list(VARIANTS.get(architecture(), {}))[-1:]
    return [name for name in VARIANTS.get(architecture(), {}) if flags >= _NEEDED_FLAGS[name]]


def processors(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Count the processors that this process has for itself.

    Those that it may run on, or less where a container's quota is less: threads that meet at every operation
    wait for one that is held back.
    """
    allowed = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    try:
        time, period = quota.read_text().split()
        return max(1, min(allowed, int(time) // int(period)))
    except (OSError, ValueError):  # no control group, or no quota ("max")
        return allowed


def version() -> str:
    """Digest of the source, which each library carries: one made of another source is refused."""
    return hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]


def library(variant: str) -> Path:
    """Where the library of a variant lies."""
    return FOLDER / f"kernels-{architecture()}-{variant}.so"


def build() -> list[Path]:
    """Compile every variant of this machine's architecture.

    Raises
    ------
    subprocess.CalledProcessError
        If the compiler fails; it has told why.
    """
    made = []
    for variant, flags in VARIANTS[architecture()].items():
        target = library(variant)
        # An old C library, as manylinux wheels ask for: a library built here runs in every image.
        platform_flags = ("-target", f"{architecture()}-linux-gnu.2.17") if sys.platform == "linux" else ()
        subprocess.run(
            [sys.executable, "-m", "ziglang", "cc", *platform_flags, *flags, "-O3", "-shared", "-fPIC", "-s",
             "-ffp-contract=off", "-fno-sanitize=all", "-Wall", "-Wextra", "-Werror",
             f'-DVERSION="{version()}"', "-o", str(target), str(SOURCE), "-lpthread"],
            check=True,
        )  # fmt: skip
        made.append(target)
    return made


if __name__ == "__main__":
    for path in build():
        print(path.name, path.stat().st_size)
