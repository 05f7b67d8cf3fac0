"""Chained ogg: files that are several streams, one after the other.

A stream begins with pages that are marked so; where such a page follows others, the next link of the chain
begins (RFC 3533, section 4). Internet radio, joined files and some editors make chains, whose links may
differ in codec, rate and channels. FFmpeg reads on in the stream it knows, and ends without a word where it
cannot.

A page tells how far its stream has come when the last packet on it ends. Where the last page tells nothing,
or less than one before it, decoders leave out its sound, or most of the stream: then it is read as if it told
more, and nothing is cut off. FFmpeg leaves out every page of Opus that tells nothing.
"""

from __future__ import annotations

import math
import mmap
import struct
import zlib
from dataclasses import dataclass, field
from typing import BinaryIO

from music.audio import AudioError

MAX_LINKS = 2000
MAX_REPAIRS = 100_000
"""Pages that may tell a wrong position: for each one, what is right is kept in memory."""

_VORBIS, _OPUS, _FLAC = b"\x01vorbis", b"OpusHead", b"\x7fFLAC"  # what first packets begin with
_HEADER_BYTES = 27
_HEAD_BYTES = 64
_BEGINS = 2  # a flag of a page
_FAR = 1 << 40  # samples: further than any stream


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
    patches : dict of int to bytes
        What is to be read in place of what pages tell wrongly, by its place in the file.
    """

    start: int
    end: int
    channels: int
    vorbis: bool
    patches: dict[int, bytes] = field(default_factory=dict)


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
        ``too_complex``: there are more than `MAX_LINKS`, or more wrong pages than `MAX_REPAIRS`.
    """
    found: list[Link] = []
    streams: dict[int, _Stream] = {}
    begun, heading, sounding, repairs = start, True, False, 0
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = start
        while 0 <= at <= len(data) - _HEADER_BYTES:
            lacing = data[at + _HEADER_BYTES : at + _HEADER_BYTES + data[at + 26]]
            body = at + _HEADER_BYTES + len(lacing)
            end = body + sum(lacing)
            position, serial = struct.unpack_from("<qI", data, at + 6)
            if data[at + 5] & _BEGINS:
                if not heading and _intact(data[at:end]):
                    if sounding:
                        found.append(_link(begun, at, streams, data))
                    begun, streams, heading, sounding = at, {}, True, False
                if heading:
                    streams[serial] = _Stream(data[body : min(end, body + _HEAD_BYTES)])
            else:
                heading = False
                ending = sum(size < 255 for size in lacing)
                if ending:  # a page on which no packet ends has no position
                    stream = streams.get(serial)
                    sounding |= position != 0
                    if stream and _intact(data[at:end]):
                        repairs += stream.push(at, end, position, ending)
                        sounding |= stream.sounding
            if len(found) >= MAX_LINKS or len(streams) > MAX_LINKS:
                raise AudioError("too_complex", f"the file has more than {MAX_LINKS} streams")
            if repairs > MAX_REPAIRS:
                raise AudioError("too_complex", f"the file has more than {MAX_REPAIRS:,} damaged pages")
            whole = data[end : end + 4] == b"OggS" or end >= len(data)
            at = end if whole else data.find(b"OggS", at + _HEADER_BYTES)
        if sounding or not found:
            found.append(_link(begun, len(data), streams, data))
    return found


class _Stream:
    """What is known of a stream: its first packet, and on which of its pages the position is wrong."""

    def __init__(self, head: bytes) -> None:
        self.head = head
        self._headers, self._packets = _headers(head), 1
        self._highest = 0
        self._wrong: list[tuple[int, int, int]] = []  # where a page lies, and what it is to tell
        self._last = 0

    @property
    def sounding(self) -> bool:
        """Whether there are more packets than headers."""
        return self._packets > self._headers

    def push(self, start: int, end: int, position: int, packets: int) -> bool:
        """Take the next page on which packets end, and return whether it is to tell another position."""
        self._last = start
        self._packets += packets
        wrong = position < self._highest or (position == 0 and self.sounding)
        if wrong:
            # libsndfile leaves out nothing where a page tells nothing; FFmpeg, where it tells no progress.
            vorbis = self.head.startswith(_VORBIS)
            self._wrong.append((start, end, -1 if vorbis else self._highest))
        self._highest = max(self._highest, position)
        return wrong

    def patches(self, data: mmap.mmap) -> dict[int, bytes]:
        """What is to be read in place of wrong positions, and of their pages' checksums."""
        found = {}
        for start, end, position in self._wrong if self.head.startswith((_VORBIS, _OPUS)) else ():
            position = self._highest + _FAR if start == self._last else position
            page = data[start : start + 6] + struct.pack("<q", position) + data[start + 14 : end]
            found[start + 6], found[start + 22] = page[6:14], _checksum(page)
        return found


def _link(start: int, end: int, streams: dict[int, _Stream], data: mmap.mmap) -> Link:
    """Describe a link by its streams."""
    heads = [stream.head for stream in streams.values()]
    channels = next((count for head in heads if (count := _channels(head))), 0)
    patches = {place: patch for stream in streams.values() for place, patch in stream.patches(data).items()}
    return Link(start, end, channels, len(heads) == 1 and heads[0].startswith(_VORBIS), patches)


def _channels(packet: bytes) -> int:
    """Read the number of channels from the first packet of a stream; 0 if it is of another codec."""
    if packet.startswith(_VORBIS) and len(packet) > 11:
        return packet[11]
    if packet.startswith(_OPUS) and len(packet) > 9:
        return packet[9]
    if packet.startswith(_FLAC) and len(packet) > 29:
        return (packet[29] >> 1 & 7) + 1
    return 0


def _headers(packet: bytes) -> float:
    """How many packets of headers a stream has, by the first one; infinity if that does not tell."""
    if packet.startswith(_VORBIS):
        return 3
    if packet.startswith(_OPUS):
        return 2
    if packet.startswith(_FLAC):
        return 1 + (int.from_bytes(packet[7:9], "big") or math.inf)
    return math.inf


def _intact(page: bytes) -> bool:
    """Whether a page has the checksum that it claims: what is damaged tells neither streams nor positions."""
    return _checksum(page) == page[22:26]


def _checksum(page: bytes) -> bytes:
    """The checksum of a page, as it stands in it (RFC 3533, section 6).

    It is zlib's with the bits of every byte the other way round, from 0 and not inverted.
    """
    turned = (page[:22] + bytes(4) + page[26:]).translate(_TURNED)
    checksum = zlib.crc32(turned, 0xFFFFFFFF) ^ 0xFFFFFFFF
    return checksum.to_bytes(4, "big").translate(_TURNED)


_TURNED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
"""Each byte with its bits the other way round."""
