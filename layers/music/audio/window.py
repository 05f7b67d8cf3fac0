"""A part of a file as a file of its own."""

from __future__ import annotations

import io
from bisect import bisect_left
from collections.abc import Mapping
from itertools import islice
from typing import BinaryIO


class Window(io.RawIOBase):
    """Bytes ``start`` to ``end`` of a file, some of them read as others.

    Parameters
    ----------
    file : binary file
        It must not be read or moved by anybody else meanwhile.
    start, end : int
        In bytes.
    patches : mapping of int to bytes
        What to read in place of what is there, by its place in ``file``. They do not overlap.
    """

    def __init__(
        self, file: BinaryIO, start: int, end: int, patches: Mapping[int, bytes] | None = None
    ) -> None:
        super().__init__()
        self._file, self._start, self._end = file, start, end
        self._patches = sorted((patches or {}).items())
        self._at = start

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill a buffer as far as there are bytes, and return how many it got."""
        view = memoryview(buffer).cast("B")[: max(0, self._end - self._at)]
        self._file.seek(self._at)
        count = self._file.readinto(view)  # type: ignore[attr-defined]
        # One that begins before may reach into what was read.
        first = max(bisect_left(self._patches, (self._at, b"")) - 1, 0)
        for place, patch in islice(self._patches, first, None):
            if place >= self._at + count:
                break
            for offset, byte in enumerate(patch, place - self._at):
                if 0 <= offset < count:
                    view[offset] = byte
        self._at += count
        return int(count)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a place of the window, and return it."""
        base = {io.SEEK_SET: self._start, io.SEEK_CUR: self._at, io.SEEK_END: self._end}[whence]
        if base + offset < self._start:
            raise OSError("a place before the beginning")
        self._at = base + offset
        return self._at - self._start

    def tell(self) -> int:
        """Return the place in the window."""
        return self._at - self._start

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True
