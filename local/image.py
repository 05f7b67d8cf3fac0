"""What a function's image holds of this repository, read from the function's Dockerfile.

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
    handler : str
        What Lambda calls, as ``module.name``.
    code : dict of PurePosixPath to Path
        Each file or folder that was copied into one of the `SEARCHED` folders: its path in the image, and the
        path of the original.
    """

    handler: str
    code: dict[PurePosixPath, Path]

    @classmethod
    def read(cls, dockerfile: Path, context: Path) -> Image:
        """Read the last stage of a Dockerfile.

        What it copies from an earlier stage is left out: the engine's compiled libraries lie beside their
        source on this machine.

        Parameters
        ----------
        dockerfile : Path
        context : Path
            The folder that the sources of its COPY instructions start from.

        Raises
        ------
        DockerfileError
            The Dockerfile or a source is not there, no CMD names a handler, or two instructions would write
            one inside what the other has copied.
        """
        code: dict[PurePosixPath, Path] = {}
        command: list[str] = []
        for name, rest in _instructions(dockerfile):
            if name == "FROM":
                code, command = {}, []
            elif name == "COPY" and not rest.startswith("--from="):
                *sources, target = rest.split()
                if not target.startswith(tuple(map(str, SEARCHED))):
                    continue
                for source in sources:
                    for path, original in _copied(source, target, context):
                        if any(path.is_relative_to(other) or other.is_relative_to(path) for other in code):
                            raise DockerfileError(f"{dockerfile}: {path} is copied twice")
                        code[path] = original
            elif name == "CMD":
                command = json.loads(rest)
        if len(command) != 1:
            raise DockerfileError(f"{dockerfile}: the CMD names no handler")
        return cls(command[0], code)

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
                inside = path / file.relative_to(original) if original.is_dir() else path
                searched = next(folder for folder in SEARCHED if inside.is_relative_to(folder))
                parts = inside.relative_to(searched).with_suffix("").parts
                if file.suffix == ".py":
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


def _copied(source: str, target: str, context: Path) -> Iterator[tuple[PurePosixPath, Path]]:
    """Give what one source of a COPY instruction becomes: paths in the image, and of the originals."""
    originals = sorted(context.glob(source))
    if not originals:
        raise DockerfileError(f"{context / source}: no such file, and a Dockerfile copies it")
    for original in originals:
        # A folder's content goes into the target, a file into the target where that is written as a folder.
        into = target.endswith("/") and not original.is_dir()
        yield PurePosixPath(target) / original.name if into else PurePosixPath(target), original.resolve()
