"""What a file is by its first bytes, whatever its name and its sender say.

FFmpeg looks for sound anywhere in a file, so that an archive or a document with an mp3 behind it would pass
as one. A file that begins as something else is that something.

We do not use libmagic: it knows thousands of types by rules that change with its version, where we need the
few that are named here, and the same answer everywhere.
"""

from __future__ import annotations

import re
from pathlib import Path

from music.audio import AudioError

_HEAD_BYTES = 64
_OURS = (
    (rb"RIFF....WAVE|RF64....WAVE", "audio/wav"),
    (rb"FORM....AIF[FC]", "audio/aiff"),
    (rb"fLaC", "audio/flac"),
    (rb"OggS", "audio/ogg"),
    (rb"....ftyp", "audio/mp4"),
    (rb"\xff[\xf0\xf1\xf8\xf9]", "audio/aac"),  # the layer of MPEG audio is 0 in ADTS, and never in mp3
    (rb"\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff]", "audio/mpeg"),
)
_FOREIGN = (
    (rb"PK\x03\x04|PK\x05\x06|7z\xbc\xaf|Rar!|\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd", "an archive"),
    (rb"%PDF-|\xd0\xcf\x11\xe0|\{\\rtf", "a document"),
    (rb"\x89PNG|\xff\xd8\xff|GIF8|II\*\0|MM\0\*|RIFF....WEBP", "a picture"),
    (rb"\x1a\x45\xdf\xa3|RIFF....AVI |FLV\x01", "a film"),
    (rb"\x7fELF|MZ|\xcf\xfa\xed\xfe|\xca\xfe\xba\xbe|#!", "a program"),
    (rb"(?i:(?:\xef\xbb\xbf)?\s*<(?:!doctype|html|head|script|svg|\?xml))", "a page"),
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
        The content type of a supported format; None where the first bytes do not tell, as in a file that
        begins with a tag.

    Raises
    ------
    AudioError
        ``not_audio``: the file begins as an archive, a document, a picture, a film, a program or a page.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    for signature, kind in _FOREIGN:
        if re.match(signature, head, re.DOTALL):
            raise AudioError("not_audio", f"the file is {kind}, whatever its name says")
    return next((kind for signature, kind in _OURS if re.match(signature, head, re.DOTALL)), None)
