"""Downloads: the audio of a generation, written whole or not at all, and over no file that is to stay."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from client.api import Api
from client.failure import Exit, Failure, file_failure
from client.files import check_folder, whole
from client.output import Bars, size


@dataclass(frozen=True)
class Destination:
    """Where a download goes.

    Attributes
    ----------
    given : str or None
        A file, a folder, or ``-`` for standard output, as the user wrote it: a slash at its end says that it
        is a folder, which is made where there is none. None is the current folder. In a folder the file gets
        the name that the deployment gives it.
    replace : bool
        Whether a file that is there may be replaced.
    source : Path or None
        The file that the music is made from. It is never replaced.
    """

    given: str | None = None
    replace: bool = False
    source: Path | None = None

    @property
    def is_standard_output(self) -> bool:
        """Whether it is written to standard output."""
        return self.given == "-"

    @property
    def is_folder(self) -> bool:
        """Whether the deployment names the file."""
        if self.given is None:
            return True
        return os.path.basename(self.given) in {"", ".", ".."} or Path(self.given).is_dir()  # noqa: PTH119

    @property
    def ending(self) -> str:
        """What a file's name ends in after its last dot, in lower case. Devices and pipes have no format."""
        if self.given is None or self.is_standard_output or self.is_folder:
            return ""
        path = Path(self.given)
        return "" if path.exists() and not path.is_file() else path.suffix[1:].lower()

    def check(self) -> None:
        """Check, before anything is asked, that the file can be written, and whether it may be.

        Raises
        ------
        Failure
        """
        if self.given == "":
            raise Failure(Exit.USAGE, "-o takes a file or a folder, and it is given an empty name")
        if self.is_standard_output:
            return
        path = Path(self.given or ".")
        try:
            if not self.is_folder:
                self._check_file(path)
                target = Path(os.path.realpath(path)) if path.is_symlink() else path
                check_folder(target.parent, path)
            elif path.exists() and not path.is_dir():
                raise Failure(Exit.FILE, f"{path} is no folder")
            else:
                check_folder(path if path.exists() else path.parent, path)
        except OSError as error:  # such as a name that is too long
            raise file_failure(path, "written", error) from error

    def path(self, name: str) -> Path:
        """Return the file to write, which the deployment calls `name`. A folder that is to be made is made.

        Raises
        ------
        Failure
            A file is there that is not to be replaced.
        """
        path = Path(self.given or ".")
        try:
            if self.is_folder:
                path.mkdir(exist_ok=True)
                path /= name
            self._check_file(path)
        except OSError as error:
            raise file_failure(path, "written", error) from error
        return path

    def _check_file(self, path: Path) -> None:
        """Check that no file stands at a path that is to stay. A device or a pipe is no such file."""
        if self.source and path.exists() and path.samefile(self.source):
            raise Failure(Exit.USAGE, f"{path} is the source itself, which is never replaced")
        if path.is_file() and not self.replace:
            raise Failure(Exit.FILE, f"{path} is there already: --force replaces it")


def download(api: Api, link: str, destination: Destination, bars: Bars) -> Path:
    """Download a file, whole or not at all, and return where it is; ``-`` for standard output."""
    bar = bars.add("download", None)
    with api.file(link) as file:
        bar.resize(file.size)
        if destination.is_standard_output:
            path = Path("-")
            try:
                for piece in file.pieces:
                    sys.stdout.buffer.write(piece)
                    bar.advance(len(piece))
                sys.stdout.buffer.flush()
            except BrokenPipeError:
                raise
            except OSError as error:
                raise file_failure("standard output", "written", error) from error
        else:
            path = destination.path(file.name)
            try:
                with whole(path) as part, part.open("wb") as target:
                    for piece in file.pieces:
                        target.write(piece)
                        bar.advance(len(piece))
            except OSError as error:
                raise file_failure(path, "written", error) from error
    bar.end(size(file.size))
    return path
