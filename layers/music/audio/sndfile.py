"""libsndfile's decoders, through soundfile: for Vorbis, and for what FFmpeg refuses and other players play.

It runs where `music.audio.ffmpeg` runs. soundfile imports numpy, so it is imported only when it is needed.
"""

from __future__ import annotations

from collections.abc import Iterator

from av import AudioFrame

from music.audio import AudioError
from music.audio.ffmpeg import BLOCK, LAYOUTS, check
from music.audio.window import Window

_PCM = {"PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"}
_SUBTYPES = {
    "WAV": _PCM | {"IMA_ADPCM", "MS_ADPCM"},
    "WAVEX": _PCM,
    "RF64": _PCM,
    "W64": _PCM,
    "AIFF": _PCM | {"IMA_ADPCM"},
    "FLAC": _PCM,
    "OGG": {"VORBIS"},
}
"""What it may decode, by its own names: of its formats and codecs only those that we take."""

# Loudspeakers where they are others than those of `LAYOUTS`, or in another order.
_QUAD = ("FL", "FR", "BL", "BR")
_POSITIONS: dict[str, dict[int, tuple[str, ...]]] = {
    "FLAC": {4: _QUAD},
    "OGG": {
        3: ("FL", "FC", "FR"),
        4: _QUAD,
        5: ("FL", "FC", "FR", "BL", "BR"),
        6: ("FL", "FC", "FR", "BL", "BR", "LFE"),
        7: ("FL", "FC", "FR", "SL", "SR", "BC", "LFE"),
        8: ("FL", "FC", "FR", "SL", "SR", "BL", "BR", "LFE"),
    },
}


def read(
    file: Window, channels: int = 0, positions: tuple[str, ...] = ()
) -> Iterator[tuple[AudioFrame, tuple[str, ...]]]:
    """Decode a file.

    Parameters
    ----------
    file : Window
    channels : int
        What its header says, where libsndfile may find it wrong and guess: then the file is refused.
    positions : tuple of str
        What its header says of the loudspeaker of each channel.

    Yields
    ------
    frame : AudioFrame
        Packed float of at most `BLOCK` samples.
    positions : tuple of str
        The loudspeaker of each channel; empty where only the usual order of that many channels tells.

    Raises
    ------
    AudioError
        ``undecodable``, ``too_many_channels`` or ``unsupported_rate``.
    """
    import soundfile

    file.seek(0)
    try:
        with soundfile.SoundFile(file) as sound:
            if sound.subtype not in _SUBTYPES.get(sound.format, ()):
                raise AudioError("undecodable", f"{sound.format} with {sound.subtype} is not supported")
            if channels and channels != sound.channels:
                raise AudioError("undecodable", "the file's header is damaged")
            check(sound.channels, sound.samplerate)
            positions = positions or _POSITIONS.get(sound.format, {}).get(sound.channels, ())
            samples = bytearray(4 * BLOCK * sound.channels)
            while count := sound.buffer_read_into(samples, dtype="float32"):
                frame = AudioFrame("flt", LAYOUTS[sound.channels - 1], count, align=False)
                frame.sample_rate = sound.samplerate
                plane = frame.planes[0]
                plane.update(bytes(samples[: 4 * count * sound.channels]).ljust(plane.buffer_size, b"\0"))
                yield frame, positions
    except soundfile.LibsndfileError as error:
        raise AudioError("undecodable", "the file is damaged") from error
