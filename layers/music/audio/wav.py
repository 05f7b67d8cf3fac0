"""The header of a wav file, where FFmpeg takes it for another.

FFmpeg reads samples that use fewer bytes than they occupy, like 24 valid bits in 32, as if they occupied no
more. Whatever a header says of valid bits, a sample occupies its share of a frame, and its bits are the upper
ones [1]_: so a header that says just this means the same, and everybody reads it right.

References
----------
.. [1] Microsoft, Multiple channel audio data and WAVE files, 2007.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import BinaryIO

_MAX_CHUNKS = 1000
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE

_W64 = b"riff\x2e\x91\xcf\x11"
# Loudspeakers by the bits of the channel mask.
_SPEAKERS = (
    "FL", "FR", "FC", "LFE", "BL", "BR", "FLC", "FRC", "BC", "SL", "SR", "TC", "TFL", "TFC", "TFR", "TBL",
    "TBC", "TBR",
)  # fmt: skip


@dataclass(frozen=True)
class Header:
    """What the format chunk says.

    Attributes
    ----------
    big_endian : bool
        Whether it is a RIFX file.
    channels : int
        0 where it does not say.
    positions : tuple of str
        The loudspeaker of each channel; empty where the header names none.
    patches : dict of int to bytes
        What to read in place of what is there, by its place in the file.
    """

    big_endian: bool = False
    channels: int = 0
    positions: tuple[str, ...] = ()
    patches: dict[int, bytes] = field(default_factory=dict)


def header(file: BinaryIO, start: int) -> Header:
    """Read the header of a wav, RF64, RIFX or Wave64 file.

    Parameters
    ----------
    file : binary file
    start : int
        Where the wav file begins in it, in bytes.

    Returns
    -------
    Header
        One that says nothing where there is no format chunk.
    """
    file.seek(start)
    magic = file.read(12)
    order, wide = ">" if magic.startswith(b"RIFX") else "<", magic.startswith(_W64[:8])
    at = start + (40 if wide else 12)
    for _ in range(_MAX_CHUNKS):
        file.seek(at)
        head = file.read(24 if wide else 8)
        if len(head) < (24 if wide else 8):
            break
        if head.startswith(b"fmt "):
            return _format(file.read(28), at + len(head), order)
        (size,) = struct.unpack_from("<Q" if wide else order + "I", head, 16 if wide else 4)
        at += max(size + -size % 8, 24) if wide else 8 + size + size % 2
    return Header(order == ">")


def _format(chunk: bytes, at: int, order: str) -> Header:
    """Read the format chunk, whose content begins at a place."""
    if len(chunk) < 16:
        return Header(order == ">")
    kind, channels, _, _, frame, bits = struct.unpack_from(order + "HHIIHH", chunk)
    patches: dict[int, bytes] = {}
    positions: tuple[str, ...] = ()
    extended = kind == _EXTENSIBLE and len(chunk) == 28
    if extended:
        (mask,) = struct.unpack_from(order + "I", chunk, 20)
        # Writers of RIFX files differ in the byte order of the codec's identifier: SoX mixes both.
        kind = max(chunk[24:28]) if chunk[24:28].count(0) == 3 else 0
        speakers = tuple(name for bit, name in enumerate(_SPEAKERS) if mask >> bit & 1)
        positions = speakers if len(speakers) == channels else ()
    if kind in (_PCM, _FLOAT) and channels and frame % channels == 0 and bits >= 8:
        occupied = 8 * frame // channels
        if occupied in (8, 16, 24, 32, 64) and bits <= occupied:
            truth = struct.pack(order + "H", occupied)
            patches[at + 14] = truth
            if extended:
                patches |= {at + 18: truth, at + 24: struct.pack(order + "IHH", kind, 0, 0x10)}
    return Header(order == ">", channels, positions, patches)
