"""What a file is by its first bytes, whatever its name and its sender say.

FFmpeg looks for sound anywhere in a file, so that an archive or a document with an mp3 behind it would pass
as one. A file that begins as something else is that something. An ID3v2 tag may stand before anything; what
counts is what follows it.

We do not use libmagic: it knows thousands of types by rules that change with its version, where we need the
few that are named here, and the same answer everywhere.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO

from music.audio import AudioError

_HEAD_BYTES = 64
_MAX_TAGS = 100
_PADDING_BYTES = 1 << 16  # the most zeros between a tag and what it stands before

_OURS = (
    (rb"RIFF....WAVE|RF64....WAVE|RIFX....WAVE", "audio/wav"),
    (rb"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0", "audio/x-w64"),
    (rb"FORM....AIF[FC]", "audio/aiff"),
    (rb"fLaC", "audio/flac"),
    (rb"OggS", "audio/ogg"),
    (rb"....ftyp", "audio/mp4"),
    (rb"\x1a\x45\xdf\xa3.{0,40}webm", "audio/webm"),
    (rb"\x1a\x45\xdf\xa3", "audio/x-matroska"),
    (rb"\xff[\xf0\xf1\xf8\xf9]", "audio/aac"),  # the layer of MPEG audio is 0 in ADTS, and never in mp3
    (rb"\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff]", "audio/mpeg"),
)
_FOREIGN = (
    (rb"PK\x03\x04|PK\x05\x06|7z\xbc\xaf|Rar!|\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd", "an archive"),
    (rb"%PDF-|\xd0\xcf\x11\xe0|\{\\rtf", "a document"),
    (rb"\x89PNG|\xff\xd8\xff|GIF8|II\*\0|MM\0\*|RIFF....WEBP", "a picture"),
    (rb"RIFF....AVI |FLV\x01", "a film"),
    (rb"MThd|RIFF....RMID", "MIDI, which has notes and no sound"),
    (rb"\x7fELF|MZ|\xcf\xfa\xed\xfe|\xca\xfe\xba\xbe|#!(?!AMR)", "a program"),
    (rb"(?i:(?:\xef\xbb\xbf)?\s*<(?:!doctype|html|head|script|svg|\?xml))", "a page"),
)
_UNSUPPORTED = (
    (rb"#!AMR", "AMR"),
    (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "Windows Media (ASF)"),
    (rb"\x0b\x77", "AC-3"),
    (rb"\x7f\xfe\x80\x01|\xfe\x7f\x01\x80|\x1f\xff\xe8\0|\xff\x1f\0\xe8", "DTS"),
    (rb"caff", "CAF"),
    (rb"\.snd|dns\.", "AU"),
    (rb"MAC ", "Monkey's Audio"),
    (rb"wvpk", "WavPack"),
    (rb"TTA[12]", "TTA"),
    (rb"MPCK|MP\+", "Musepack"),
    (rb"DSD |FRM8", "DSD"),
    (rb"ADIF", "AAC of the ADIF kind"),
    (rb"\.ra\xfd|\.RMF", "RealAudio"),
)


def content_type(path: Path) -> str | None:
    """Tell a file's content type by its first bytes.

    Parameters
    ----------
    path : Path
        A local file.

    Returns
    -------
    str or None
        The content type of a supported format; None where the first bytes do not tell.

    Raises
    ------
    AudioError
        See `begin`.
    """
    with path.open("rb") as file:
        return begin(file)[1]


def begin(file: BinaryIO) -> tuple[int, str | None]:
    """Find where the sound's own container begins, and what it is.

    Parameters
    ----------
    file : binary file
        It is read from its beginning.

    Returns
    -------
    start : int
        In bytes. Not 0 where a tag stands before a container that has no such tags of its own.
    content_type : str or None
        See `content_type`.

    Raises
    ------
    AudioError
        ``not_audio``: the file begins as an archive, a document, a picture, a film, notes, a program or a
        page. ``undecodable``: it begins as a kind of audio file that is not supported.
    """
    file.seek(0)
    start, head = 0, file.read(_HEAD_BYTES)
    for _ in range(_MAX_TAGS):
        if not (size := _tag_bytes(head)):
            break
        start += size
        file.seek(start)
        head = file.read(_HEAD_BYTES)
    if start and head.startswith(b"\0"):
        head += file.read(_PADDING_BYTES)
        padding = len(head) - len(head.lstrip(b"\0"))
        padding -= 3 if head[padding + 1 : padding + 5] == b"ftyp" else 0  # of its size
        start, head = start + padding, head[padding : padding + _HEAD_BYTES]
    for signature, kind in _FOREIGN:
        if re.match(signature, head, re.DOTALL):
            raise AudioError("not_audio", f"the file is {kind}, whatever its name says")
    for signature, kind in _UNSUPPORTED:
        if re.match(signature, head, re.DOTALL):
            raise AudioError("undecodable", f"the file is {kind}, which is not supported")
    found = next((kind for signature, kind in _OURS if re.match(signature, head, re.DOTALL)), None)
    # The tags of mp3 and raw AAC are FFmpeg's to read: it looks for the next frame where their sizes lie.
    return (0 if found in (None, "audio/mpeg", "audio/aac") else start), found


def _tag_bytes(head: bytes) -> int:
    """Return the size of the ID3v2 tag that begins here, in bytes; 0 if none does."""
    if not re.match(rb"ID3[\x02-\x04][^\xff].[\0-\x7f]{4}", head, re.DOTALL):
        return 0
    size = sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    return 10 + size + (10 if head[5] & 0x10 else 0)  # a footer
