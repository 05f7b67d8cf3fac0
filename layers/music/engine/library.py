"""Which library of kernels this processor runs, where it lies, and on how many threads.

Of this package, the runtime needs the libraries, this module, `memory`, `ops`, `packing`, `safetensors` and
`bundle`; `build` and `kernels.c` make the libraries, and no image holds them.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

FOLDER = Path(__file__).resolve().parent  # the local stack gives a function links to what its image holds
SOURCE = FOLDER / "kernels.c"

_AVX2 = {"avx2", "fma", "f16c", "bmi2"}
_AVX512 = {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd", "avx512_vnni"}

_FLAGS: dict[str, dict[str, set[str]]] = {
    "x86_64": {
        "amx": {*_AVX512, "amx_tile", "amx_int8"},
        "avx512": _AVX512,
        "avxvnni": {*_AVX2, "avx_vnni"},
        "avx2": _AVX2,
    },
    "aarch64": {"neon": set()},
}

VARIANTS: dict[str, tuple[str, ...]] = {name: tuple(variants) for name, variants in _FLAGS.items()}
"""The variants that are built for each architecture, the fastest first."""


def architecture() -> str:
    """Name this machine's architecture as `VARIANTS` does."""
    machine = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)


def supported(cpuinfo: Path = Path("/proc/cpuinfo")) -> list[str]:
    """List the variants that this processor runs, the fastest first."""
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    flags = next((set(line.split(":", 1)[1].split()) for line in lines if line.startswith("flags")), None)
    if flags is None:  # not Linux on x86: every 64-bit Mac has what the plainest variant needs
        return list(VARIANTS.get(architecture(), ()))[-1:]
    known = _FLAGS.get(architecture(), {})
    return [name for name, needed in known.items() if flags >= needed and (name != "amx" or _tiles_granted())]


def _tiles_granted() -> bool:
    """Ask the kernel for the registers of the matrix unit, which a process has only once it has asked."""
    arch_prctl, request_permission, tile_data = 158, 0x1023, 18
    return not ctypes.CDLL(None).syscall(arch_prctl, request_permission, tile_data)


LAMBDA_MEGABYTES = 1769
"""Memory for which AWS Lambda grants one processor, and parts of one in proportion."""


def processors(
    groups: Path = Path("/sys/fs/cgroup"),
    environ: Mapping[str, str] = os.environ,
    membership: Path = Path("/proc/self/cgroup"),
) -> int:
    """Count the processors that this process has for itself, rounded.

    These are the ones that it may run on, or fewer where a control group's quota is less: threads that meet
    at every operation wait for one that is held back. On Lambda the quota follows from the function's memory.
    Two threads take 1.4 times as long as one where one processor is granted, and 0.7 times where 1.7 are (a
    step of MusicGen small in int8).

    Parameters
    ----------
    groups : Path
        Where control groups are mounted, of version 1 or 2.
    environ : mapping of str to str
    membership : Path
        The file that names the groups of this process.
    """
    granted = [len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1]
    if "AWS_LAMBDA_RUNTIME_API" in environ:  # only there does the memory say so
        granted.append(round(int(environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]) / LAMBDA_MEGABYTES))
    granted += [round(quota) for quota in _quotas(groups, membership)]
    return max(1, min(granted))


def _quotas(groups: Path, membership: Path) -> Iterator[float]:
    """Read the quotas of this process's group and of those around it, in processors."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = groups / "cpu" if controllers else groups
        inner = top / name.lstrip("/")
        for folder in (
            inner,
            *inner.parents,
        ):  # a container may see only a part of the tree, or name it otherwise
            for files in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
                try:
                    time, period = " ".join((folder / file).read_text() for file in files).split()
                    if time not in ("max", "-1"):
                        yield int(time) / int(period)
                except (OSError, ValueError):  # not of this version, or the top of the tree, which has none
                    continue
            if folder == top:
                break


def path(variant: str) -> Path:
    """Say where the library of a variant lies."""
    return FOLDER / f"kernels-{architecture()}-{variant}.so"


def version() -> str | None:
    """Digest the source, as each library carries it; None where there is no source beside this module.

    Where there is one, in a checkout, a library that was made of another source is refused. An image holds
    only the libraries, which were built with it.
    """
    return hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16] if SOURCE.exists() else None
