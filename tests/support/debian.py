"""Programs that tests run, from Debian."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path


def missing(programs: Mapping[str, str]) -> list[str]:
    """Make sure that programs can be run; where root runs on Debian, those that are missing are installed.

    Nothing is installed that Debian only recommends beside them.

    Parameters
    ----------
    programs : mapping of str to str
        By the name of the program, the package that has it.

    Returns
    -------
    list of str
        The packages that are missing still, because nobody may install them here.
    """
    with (Path(tempfile.gettempdir()) / "music-tests-apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # workers of one run take turns
        wanted = [package for program, package in programs.items() if not shutil.which(program)]
        if not wanted or os.geteuid() != 0 or not shutil.which("apt-get"):
            return wanted
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-q"], check=True)
        install = ["apt-get", "install", "-q", "-y", "--no-install-recommends", *wanted]
        subprocess.run(install, env=environment, check=True)
    return []
