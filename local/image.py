"""What an image holds of this repository, read from its Dockerfile: a function's, or the endpoint's.

A process of the local stack finds exactly that code on its path, so that a module that a Dockerfile does not
copy is missing here too, not only in the image.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

SEARCHED = (PurePosixPath("/var/task"), PurePosixPath("/opt/python"))
"""The folders of an image in which Python looks for modules, the first one first."""


class DockerfileError(Exception):
    """A Dockerfile is not here, or says something that cannot be followed here."""


@dataclass(frozen=True)
class Image:
    """The code in an image, and what it runs.

    Attributes
    ----------
    module : str
        What it runs: the module of a function's handler, or that of ``python3 -m``.
    handler : str
        What Lambda calls, as ``module.name``; empty where the image is not for Lambda.
    code : dict of PurePosixPath to Path
        Each file or folder that was copied into one of the `SEARCHED` folders: its path in the image, and the
        path of the original.
    """

    module: str
    handler: str
    code: dict[PurePosixPath, Path]

    @classmethod
    def read(cls, dockerfile: Path, context: Path) -> Image:
        """Read what the last stage of a Dockerfile copies and runs.

        What it copies from an earlier stage was made there and is left out. These are the engine's libraries,
        which `music.engine.library` finds beside their source on this machine.

        Parameters
        ----------
        dockerfile : Path
        context : Path
            The folder that the sources of its COPY instructions start from.

        Raises
        ------
        DockerfileError
            The Dockerfile or a source is not there, nothing names a handler or a module to run, or two
            instructions would write one inside what the other has copied.
        """
        code: dict[PurePosixPath, Path] = {}
        command: list[str] = []
        entry: list[str] = []
        for name, rest in _instructions(dockerfile):
            if name == "FROM":
                code, command, entry = {}, [], []
            elif name == "COPY" and not rest.startswith("--from="):
                *sources, target = rest.split()
                originals = [path for source in sources for path in _originals(source, context)]
                if not originals:
                    raise DockerfileError(f"{dockerfile}: there is nothing to copy into {target}")
                for original in originals:
                    # A folder's content goes into the target; a file too, if that is written as a folder.
                    into = target.endswith("/") and not original.is_dir()
                    path = PurePosixPath(target, original.name if into else "")
                    if any(path.is_relative_to(other) or other.is_relative_to(path) for other in code):
                        raise DockerfileError(f"{dockerfile}: {path} is copied twice")
                    code[path] = original
            elif name == "CMD":
                command = json.loads(rest)
            elif name == "ENTRYPOINT":
                entry = json.loads(rest)
        searched = {path: original for path, original in code.items() if _searched(path)}
        if entry:
            if entry[:2] != ["python3", "-m"] or len(entry) != 3:
                raise DockerfileError(f"{dockerfile}: the ENTRYPOINT runs no module")
            return cls(f"{entry[2]}.__main__", "", searched)
        if len(command) != 1:
            raise DockerfileError(f"{dockerfile}: the CMD names no handler")
        return cls(command[0].rpartition(".")[0], command[0], searched)

    def lay_out(self, folder: Path) -> list[Path]:
        """Lay the code out under a folder, as links to the originals.

        Returns
        -------
        list of Path
            What stands for the `SEARCHED` folders there.
        """
        for path, original in self.code.items():
            link = folder / path.relative_to("/")
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(original)
        return [folder / searched.relative_to("/") for searched in SEARCHED]

    def modules(self) -> dict[str, Path]:
        """Return every Python module in the image: its full name, and the path of the original."""
        found = {}
        for path, original in self.code.items():
            for file in sorted(original.rglob("*.py")) if original.is_dir() else [original]:
                inside = path / file.relative_to(original)
                folder = _searched(inside)
                if folder and file.suffix == ".py":
                    parts = inside.relative_to(folder).with_suffix("").parts
                    found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
        return found


def _instructions(dockerfile: Path) -> Iterator[tuple[str, str]]:
    """Give the name and the rest of every instruction; continued lines are joined."""
    try:
        text = dockerfile.read_text()
    except OSError as error:
        raise DockerfileError(str(error)) from error
    for line in text.replace("\\\n", " ").splitlines():
        name, _, rest = line.strip().partition(" ")
        if name and not name.startswith("#"):
            yield name, rest.strip()


def _originals(source: str, context: Path) -> list[Path]:
    """Find what a source of a COPY instruction means; a pattern may mean nothing."""
    found = sorted(context.glob(source))
    if not found and "*" not in source:
        raise DockerfileError(f"{context / source}: no such file, and a Dockerfile copies it")
    return [path.resolve() for path in found]


def _searched(path: PurePosixPath) -> PurePosixPath | None:
    """Return which of the `SEARCHED` folders a path of the image is in, if any."""
    return next((folder for folder in SEARCHED if path.is_relative_to(folder)), None)
