"""Downloads: the audio of a generation, written whole or not at all."""

from __future__ import annotations

import sys
from pathlib import Path

from client.api import Api
from client.failure import file_failure
from client.files import whole
from client.output import Bars, size


def download(api: Api, link: str, out: Path | None, bars: Bars) -> Path:
    """Download a file, whole or not at all, and return where it is.

    Parameters
    ----------
    out : Path, optional
        A file, a folder, or ``-`` for standard output; by default the current folder. In a folder the file
        gets the name that the deployment gives it.
    """
    bar = bars.add("download", None)
    with api.file(link) as file:
        bar.resize(file.size)
        if str(out) == "-":
            path = Path("-")
            for piece in file.pieces:
                sys.stdout.buffer.write(piece)
                bar.advance(len(piece))
            sys.stdout.buffer.flush()
        else:
            path = Path(file.name) if out is None else out / file.name if out.is_dir() else out
            try:
                with whole(path) as part, part.open("wb") as target:
                    for piece in file.pieces:
                        target.write(piece)
                        bar.advance(len(piece))
            except OSError as error:
                raise file_failure(path, "written", error) from error
    bar.end(size(file.size))
    return path
