"""The memory that a process took."""

from __future__ import annotations

from pathlib import Path

__all__ = ["peak"]


def peak() -> int:
    """Return the most bytes that this process held in memory since its program began.

    Linux's high-water mark of the program. `resource.getrusage` tells another: that one begins with what the
    process held that started this one.
    """
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
