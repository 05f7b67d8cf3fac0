"""Chained ogg: files that are several streams, one after the other.

A stream begins with pages that are marked so; where such a page follows others, the next link of the chain
begins (RFC 3533, section 4). Internet radio, joined files and some editors make chains, whose links may
differ in codec, rate and channels. FFmpeg reads on in the stream it knows, and ends without a word where it
cannot.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import BinaryIO

from music.audio import AudioError

MAX_LINKS = 2000

_HEADER_BYTES = 27
_HEAD_BYTES = 64
_BEGINS = 2  # a flag of a page
_POLYNOMIAL = 0x04C11DB7


@dataclass(frozen=True)
class Link:
    """A stream, or several that are multiplexed.

    Attributes
    ----------
    start, end : int
        Where it lies in the file, in bytes.
    channels : int
        Of its first sound track; 0 where that is of no codec that we know.
    vorbis : bool
        Whether it is Vorbis and nothing else.
    """

    start: int
    end: int
    channels: int
    vorbis: bool


def links(file: BinaryIO, start: int) -> list[Link]:
    """Find the links of an ogg file by the headers of its pages.

    Parameters
    ----------
    file : binary file
        One of the file system.
    start : int
        Of the first page, in bytes.

    Returns
    -------
    list of Link
        In their order, without those that have headers alone. At least one.

    Raises
    ------
    AudioError
        ``too_complex``: there are more than `MAX_LINKS`.
    """
    found: list[Link] = []
    heads: list[bytes] = []
    begun, heading, sounding = start, True, False
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = start
        while 0 <= at <= len(data) - _HEADER_BYTES:
            lacing = data[at + _HEADER_BYTES : at + _HEADER_BYTES + data[at + 26]]
            body = at + _HEADER_BYTES + len(lacing)
            end = body + sum(lacing)
            if data[at + 5] & _BEGINS:
                if not heading and _intact(data[at:end]):
                    if sounding:
                        found.append(_link(begun, at, heads))
                    begun, heads, heading, sounding = at, [], True, False
                if heading:
                    heads.append(data[body : min(end, body + _HEAD_BYTES)])
            else:
                heading = False
                # A page on which no packet ends has a position of -1.
                sounding |= int.from_bytes(data[at + 6 : at + 14], "little", signed=True) > 0
            if len(found) >= MAX_LINKS or len(heads) > MAX_LINKS:
                raise AudioError("too_complex", f"the file has more than {MAX_LINKS} streams")
            whole = data[end : end + 4] == b"OggS" or end >= len(data)
            at = end if whole else data.find(b"OggS", at + _HEADER_BYTES)
        if sounding or not found:
            found.append(_link(begun, len(data), heads))
    return found


def _link(start: int, end: int, heads: list[bytes]) -> Link:
    """Describe a link by the first packets of its streams."""
    channels = next((count for head in heads if (count := _channels(head))), 0)
    return Link(start, end, channels, len(heads) == 1 and heads[0].startswith(b"\x01vorbis"))


def _channels(packet: bytes) -> int:
    """Read the number of channels from the first packet of a stream; 0 if it is of another codec."""
    if packet.startswith(b"\x01vorbis") and len(packet) > 11:
        return packet[11]
    if packet.startswith(b"OpusHead") and len(packet) > 9:
        return packet[9]
    if packet.startswith(b"\x7fFLAC") and len(packet) > 29:
        return (packet[29] >> 1 & 7) + 1
    return 0


def _intact(page: bytes) -> bool:
    """Whether a page has the checksum that it claims: damage must not part what belongs together."""
    checksum = 0
    for byte in page[:22] + bytes(4) + page[26:]:
        checksum = (checksum << 8 & 0xFFFFFFFF) ^ _TABLE[checksum >> 24 ^ byte]
    return checksum == int.from_bytes(page[22:26], "little")


def _table() -> list[int]:
    """The checksum of every byte, most significant bit first."""
    table = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1 & 0xFFFFFFFF) ^ (_POLYNOMIAL if value >> 31 else 0)
        table.append(value)
    return table


_TABLE = _table()
