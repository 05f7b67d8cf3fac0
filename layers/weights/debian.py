"""Files of Debian's packages, unpacked without root: soundfonts and music that may not be committed."""

import os
import shutil
import subprocess
from pathlib import Path


class PackageError(Exception):
    """A package is not here and cannot be fetched; the message names it and says what to do."""


def cache() -> Path:
    """Where fetched files are kept, outside the repository: in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "music-generation-backend"


def unpacked(package: str, folder: Path) -> Path:
    """Make sure that a package is unpacked.

    Parameters
    ----------
    package : str
        Its name in Debian.
    folder : Path
        Where packages are kept, each in a folder of its own beside its ``.deb``. A ``.deb`` that somebody put
        there is taken, so that a machine without apt can do without.

    Returns
    -------
    Path
        The package's own folder: what it installs to ``/usr`` lies in ``usr``.

    Raises
    ------
    PackageError
        If it is not here and apt cannot fetch it, or dpkg cannot unpack it.
    """
    target = folder / package
    if target.is_dir():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    if not (debs := sorted(folder.glob(f"{package}_*.deb"))):
        _run(["apt-get", "download", package], package, folder)
        debs = sorted(folder.glob(f"{package}_*.deb"))
    part = folder / f"{package}.part"
    shutil.rmtree(part, ignore_errors=True)
    _run(["dpkg", "-x", *map(str, debs[-1:]), str(part)], package, folder)
    part.rename(target)
    return target


def _run(command: list[str], package: str, folder: Path) -> None:
    advice = f"put {package}_*.deb into {folder}" if command[0] == "apt-get" else "it needs Debian's dpkg"
    if not shutil.which(command[0]):
        raise PackageError(f"{package}: no {command[0]} here; {advice}")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise PackageError(f"{package}: {command[0]} failed ({reason}); {advice}")
