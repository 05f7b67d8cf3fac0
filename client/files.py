"""Files of the user: read, or written whole or not at all."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from client.failure import Exit, Failure, file_failure

AUDIO = {
    *("aac", "aif", "aifc", "aiff", "bwf", "flac", "m4a", "m4b", "m4r", "m4v", "mka", "mkv", "mov", "mp1"),
    *("mp2", "mp3", "mp4", "oga", "ogg", "opus", "rf64", "w64", "wav", "wave", "weba", "webm"),
}
"""Endings of the files of a folder that are uploaded, in lower case: those of the kinds in docs/files.md.

A file that is named is uploaded whatever it is called, since its bytes say what it is.
"""

COPY_BYTES = 1 << 20
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


@contextmanager
def opened(path: Path, most_bytes: Callable[[], int]) -> Iterator[BinaryIO]:
    """Open a file to read it more than once. What can be read only once, such as a pipe, is copied before.

    Parameters
    ----------
    most_bytes : callable
        Answers how many bytes such a copy may have.

    Raises
    ------
    Failure
        It cannot be read, or is larger.
    """
    with ExitStack() as stack:
        try:
            file: BinaryIO = stack.enter_context(path.open("rb"))
            if not path.is_file():
                most = most_bytes()
                # It has no name: whatever ends this process, nothing of it is left.
                copy = stack.enter_context(tempfile.TemporaryFile())
                while piece := file.read(COPY_BYTES):
                    if copy.tell() + len(piece) > most:
                        raise Failure(Exit.REFUSED, f"{path} has more than {most} bytes, the largest upload")
                    copy.write(piece)
                copy.seek(0)
                file = copy
        except OSError as error:
            raise file_failure(path, "read", error) from error
        yield file


def is_source(path: Path) -> bool:
    """Tell whether something can be read as a file: one, or a pipe, or a device.

    Raises
    ------
    Failure
        The name is too long for any file.
    """
    try:
        return path.exists() and not path.is_dir()
    except OSError as error:
        raise file_failure(path, "read", error) from error


def upload_name(path: Path) -> str:
    """Return what the track of a file is called. A pipe that the shell has made has no name of its own.

    Examples
    --------
    >>> upload_name(Path("songs/a.mp3")), upload_name(Path("/dev/fd/63"))
    ('a.mp3', 'stdin')
    """
    if str(path.parent) in {"/dev", "/dev/fd", "/proc/self/fd"}:
        return "stdin"
    return os.fsencode(path.name).decode("utf-8", "replace")


def audio_files(paths: list[Path]) -> tuple[list[Path], int]:
    """List what is to be uploaded: files as they are named, and the audio files of folders, however deep.

    Hidden files, folders behind links, and the pipes and devices of folders, are left out.

    Returns
    -------
    list of Path
        In the order of their names within a folder.
    int
        Files of folders that are left out by their names.

    Raises
    ------
    Failure
        There is no such file or folder, or a folder cannot be read.
    """

    def unreadable(error: OSError) -> None:
        raise file_failure(error.filename, "read", error)

    found: list[Path] = []
    others = 0
    for path in paths:
        if is_source(path) or not path.is_dir():
            if not path.exists():
                raise Failure(Exit.FILE, f"there is no file {path}")
            found.append(path)
            continue
        for folder, folders, names in os.walk(path, onerror=unreadable):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                file = Path(folder, name)
                named = not name.startswith(".") and name.rpartition(".")[2].lower() in AUDIO
                if named and (file.is_file() or not file.exists()):  # a broken link is told
                    found.append(file)
                else:
                    others += 1
    return list(dict.fromkeys(found)), others
