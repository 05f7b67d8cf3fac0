"""Compile `kernels.c`, once for each kind of processor that it may meet.

The compiler is the pinned `ziglang` wheel, the same everywhere, so neither a laptop nor an image needs one of
its own; it is needed to build, not to run. ``python -m music.engine.build`` writes the libraries beside this
file.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from music.engine import library

_COMPILER_FLAGS: dict[str, tuple[str, ...]] = {
    "amx": ("-mcpu=x86_64_v4+avx512vnni+amx_tile+amx_int8", "-mprefer-vector-width=512"),
    "avx512": ("-mcpu=x86_64_v4+avx512vnni", "-mprefer-vector-width=512"),
    "avxvnni": ("-mcpu=x86_64_v3+avxvnni",),
    "avx2": ("-mcpu=x86_64_v3",),
    "neon": (),
}


def build() -> list[Path]:
    """Compile every variant of this machine's architecture.

    Raises
    ------
    subprocess.CalledProcessError
        If the compiler fails; it has told why.
    """
    made = []
    for variant in library.VARIANTS[library.architecture()]:
        target = library.path(variant)
        # An old C library, as manylinux wheels ask for: a library built here runs in every image.
        old = ("-target", f"{library.architecture()}-linux-gnu.2.17") if sys.platform == "linux" else ()
        subprocess.run(
            [sys.executable, "-m", "ziglang", "cc", *old, *_COMPILER_FLAGS[variant],
             "-O3", "-shared", "-fPIC", "-s",
             "-ffp-contract=off", "-fno-sanitize=all", "-Wall", "-Wextra", "-Werror",
             f'-DVERSION="{library.version()}"', "-o", str(target), str(library.SOURCE), "-lpthread"],
            check=True,
        )  # fmt: skip
        made.append(target)
    return made


if __name__ == "__main__":
    for path in build():
        print(path.name, path.stat().st_size)
