"""Files of the user: read, or written whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from client.failure import Exit, Failure

AUDIO = {
    *("aac", "aif", "aifc", "aiff", "bwf", "flac", "m4a", "m4b", "m4r", "m4v", "mka", "mkv", "mov", "mp1"),
    *("mp2", "mp3", "mp4", "oga", "ogg", "opus", "rf64", "w64", "wav", "wave", "weba", "webm"),
}
"""Endings of the files of a folder that are uploaded, in lower case: those of the kinds in docs/files.md.

A file that is named is uploaded whatever it is called, since its bytes say what it is.
"""

MOST_BYTES_OF_NAME = 255
"""What file systems take of a name, in UTF-8."""
MOST_OF_ENDING = 16
"""An ending of more characters is part of the name, and is cut with it."""


def file_name(given: str) -> str:
    """Return the name of a file as somebody else calls it, fit for a folder of the user; empty where none is.

    It leads to no other folder, is not hidden, does nothing to a terminal, and is not too long.

    Examples
    --------
    >>> file_name("../../.Frühling – 春の歌.wav"), file_name("a/b" + chr(27) + "[1m.mp3"), file_name("..")
    ('Frühling – 春の歌.wav', 'b_[1m.mp3', '')
    """
    name = given.replace("\\", "/").rpartition("/")[2]
    name = "".join(character if character.isprintable() else "_" for character in name).strip(". ")
    stem, dot, ending = name.rpartition(".")
    if len(ending) > MOST_OF_ENDING:
        stem, dot, ending = name, "", ""
    left = MOST_BYTES_OF_NAME - len(f"{dot}{ending}".encode())
    return stem.encode()[:left].decode("utf-8", "ignore") + dot + ending


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a file beside `path` to write to, which takes its place at the end: there is never half a file.

    Whatever goes wrong, such as a disk that is full, the file beside is gone and `path` is as it was. What is
    no file, such as a pipe, is written to itself.
    """
    if path.exists() and not path.is_file():
        yield path
        return
    path = path.resolve()  # a link stays one
    part = path.with_name(f".{uuid.uuid4().hex}{path.suffix[:MOST_OF_ENDING]}")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def check_folder(folder: Path, path: Path) -> None:
    """Check, before anything is made, that files can be written to a folder.

    Parameters
    ----------
    folder : Path
        It.
    path : Path
        What is to be written, to name it where that is not possible.

    Raises
    ------
    Failure
    """
    if not folder.is_dir():
        raise Failure(Exit.FILE, f"{path} cannot be written: there is no folder {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise Failure(Exit.FILE, f"{path} cannot be written: nothing may be written to {folder}")


def audio_files(paths: list[Path]) -> tuple[list[Path], int]:
    """List what is to be uploaded: files as they are named, and the audio files of folders, however deep.

    Hidden files, and folders behind links, are left out.

    Returns
    -------
    list of Path
        In the order of their names within a folder.
    int
        Files of folders that are left out by their names.

    Raises
    ------
    Failure
        There is no such file or folder.
    """
    found: list[Path] = []
    others = 0
    for path in paths:
        if not path.is_dir():
            if not path.exists():
                raise Failure(Exit.FILE, f"there is no file {path}")
            found.append(path)
            continue
        for folder, folders, names in os.walk(path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                if not name.startswith(".") and name.rpartition(".")[2].lower() in AUDIO:
                    found.append(Path(folder, name))
                else:
                    others += 1
    return list(dict.fromkeys(found)), others
