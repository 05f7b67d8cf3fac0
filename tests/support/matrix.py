"""Kinds of audio files, made here, each with what becomes of it.

A row is a container with a codec; its cells are files of it, in several rates, layouts and depths or with
several tags. `tests.write_files` makes the table of docs/files.md from the rows; `tests/unit/music` makes the
files and holds what is decoded against what was encoded.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from music.audio import AudioError
from music.audio.decode import stream
from tests.support import files
from tests.support.files import id3, picture, write, write_pcm

Make = Callable[[Path, np.ndarray, int], Path]

CD = ((44100, 2), (48000, 1), (8000, 1), (96000, 2))
ANY = (*CD, (192000, 2), (11025, 1), (44100, 6))
SURROUND = ((48000, 3), (48000, 4), (48000, 5), (48000, 6), (48000, 7), (48000, 8))


@dataclass(frozen=True)
class Row:
    """A kind of file.

    Attributes
    ----------
    container, codec : str
        As docs/files.md names them.
    make : callable
        Writes sound [shape=(channels, n)] of a rate to a path.
    cells : tuple of (int, int)
        Rates in Hz and channels.
    error : float
        Of a lossless kind: the largest difference of a sample, in parts of full scale. Of a lossy one: 0.
    snr : float
        Of a lossy kind: the least ratio of the sound to the difference, in dB.
    padding : int
        The most samples that the kind adds because it has no place to say how long the sound is.
    delay : int
        The samples of them that are in front.
    refused : str
        The code with which it is refused; empty where it is taken.
    """

    container: str
    codec: str
    make: Make
    cells: tuple[tuple[int, int], ...] = CD
    error: float = 0.0
    snr: float = 0.0
    padding: int = 0
    delay: int = 0
    refused: str = ""

    @property
    def name(self) -> str:
        return f"{self.container}, {self.codec}"


def av(container: str, codec: str, sample_format: str, bit_rate: int | None = None, **options: str) -> Make:
    """By FFmpeg's muxer and encoder."""

    def make(path: Path, audio: np.ndarray, rate: int) -> Path:
        return write(
            path, audio, rate, codec=codec, sample_format=sample_format, container=container,
            bit_rate=bit_rate and bit_rate * len(audio), options=options,
        )  # fmt: skip

    return make


def sf(kind: str, subtype: str, endian: str = "FILE") -> Make:
    """By libsndfile."""

    def make(path: Path, audio: np.ndarray, rate: int) -> Path:
        soundfile.write(path, audio.T, rate, format=kind, subtype=subtype, endian=endian)
        return path

    return make


def pcm(occupied: int, bits: int, **options: object) -> Make:
    """By hand."""

    def make(path: Path, audio: np.ndarray, rate: int) -> Path:
        return write_pcm(path, audio, rate, occupied=occupied, bits=bits, **options)  # type: ignore[arg-type]

    return make


def after(before: bytes | Callable[[Path], bytes], make: Make, behind: bytes = b"") -> Make:
    """The same with something in front of it or behind it."""

    def made(path: Path, audio: np.ndarray, rate: int) -> Path:
        front = before if isinstance(before, bytes) else before(path)
        content = make(path, audio, rate).read_bytes()
        path.write_bytes(front + content + behind)
        return path

    return made


def cover(path: Path) -> bytes:
    """An ID3v2.4 tag with a picture."""
    image = b"\0image/jpeg\0\x03\0" + picture(path.with_suffix(".jpg")).read_bytes()
    size = bytes(len(image) >> shift & 0x7F for shift in (21, 14, 7, 0))
    return id3(b"APIC" + size + b"\0\0" + image)


def tail() -> bytes:
    """An APEv2 tag and an ID3v1 tag, as they stand at the end of a file."""
    item = struct.pack("<II", 5, 0) + b"Title\0title"
    ends = [
        b"APETAGEX" + struct.pack("<IIII", 2000, len(item) + 32, 1, flags) + bytes(8)
        for flags in (0xA0000000, 0x80000000)
    ]
    return ends[0] + item + ends[1] + b"TAG" + b"title".ljust(125, b"\0")


def chained(*links: Make) -> Make:
    """A chain of links, of as long a part of the sound each."""

    def make(path: Path, audio: np.ndarray, rate: int) -> Path:
        parts = np.array_split(audio, len(links), axis=1)
        path.write_bytes(
            b"".join(link(path, part, rate).read_bytes() for link, part in zip(links, parts, strict=True))
        )
        return path

    return make


def repeated(path: Path, audio: np.ndarray, rate: int) -> Path:
    """Vorbis whose headers stand in it again."""
    path.write_bytes(files.headers_again(files.vorbis(path, audio, rate).read_bytes()))
    return path


OPUS = av("ogg", "libopus", "flt", 96_000)
MP3 = av("mp3", "libmp3lame", "fltp", 96_000)
FLAC = av("flac", "flac", "s16")
OGG_FLAC = av("ogg", "flac", "s16")
BEXT = b"bext" + struct.pack("<I", 602) + bytes(602) + b"JUNK" + struct.pack("<I", 29) + bytes(30)
MP3_CELLS = ((44100, 2), (44100, 1), (48000, 2), (32000, 2), (22050, 1), (16000, 1))
OPUS_CELLS = ((48000, 1), (48000, 2), (48000, 3), (48000, 6), (48000, 8))
AAC_CELLS = ((44100, 2), (48000, 1), (22050, 2), (8000, 1), (96000, 2), (48000, 6))
PADDED = ((44100, 2), (96000, 2))
LOW = ((44100, 2), (22050, 1), (8000, 1))
LOW_FREQUENCY = {(6, 3), (7, 3), (8, 3)}
"""Channels that are one, by the number of all."""
S8, S16, S24, F32 = 2.0**-7, 2.0**-15, 2.0**-23, 2.0**-24

ROWS = (
    Row("wav", "8-bit PCM", av("wav", "pcm_u8", "u8"), CD, S8),
    Row("wav", "16-bit PCM", av("wav", "pcm_s16le", "s16"), (*ANY, *SURROUND), S16),
    Row("wav", "24-bit PCM", av("wav", "pcm_s24le", "s32"), (*ANY, *SURROUND), S24),
    Row("wav", "32-bit PCM", av("wav", "pcm_s32le", "s32"), ANY, F32),
    Row("wav", "32-bit float", av("wav", "pcm_f32le", "flt"), ANY, F32),
    Row("wav", "64-bit float", av("wav", "pcm_f64le", "dbl"), CD, F32),
    Row("wav", "24-bit PCM in 32", pcm(32, 24, mask=3), PADDED, S24),
    Row("wav", "20-bit PCM in 24", pcm(24, 20, mask=3), PADDED, 2.0**-19),
    Row("wav", "A-law", av("wav", "pcm_alaw", "s16"), LOW, snr=30.0),
    Row("wav", "µ-law", av("wav", "pcm_mulaw", "s16"), LOW, snr=30.0),
    Row("wav", "Microsoft ADPCM", av("wav", "adpcm_ms", "s16"), LOW, snr=30.0, padding=2048),
    Row("wav", "IMA ADPCM", av("wav", "adpcm_ima_wav", "s16p"), LOW, snr=30.0, padding=2048),
    Row("wav with ID3v2 in front", "16-bit PCM", after(id3(), pcm(16, 16)), CD, S16),
    Row("wav with bext and JUNK", "24-bit PCM in 32", pcm(32, 24, mask=3, before=BEXT), PADDED, S24),
    Row("wav with other data behind", "16-bit PCM", after(b"", pcm(16, 16), bytes(5000)), CD, S16),
    Row("wav (RF64)", "16-bit PCM", av("wav", "pcm_s16le", "s16", rf64="always"), CD, S16),
    Row("wav (RF64)", "32-bit float", sf("RF64", "FLOAT"), CD, F32),
    Row("wav (RIFX, big-endian)", "16-bit PCM", pcm(16, 16, riff=b"RIFX"), (*CD, (48000, 6)), S16),
    Row("wav (RIFX, big-endian)", "24-bit PCM", pcm(24, 24, riff=b"RIFX"), CD, S24),
    Row("wav (RIFX, big-endian)", "32-bit float", pcm(32, 32, riff=b"RIFX", floating=True), CD, F32),
    Row("wav (Wave64)", "16-bit PCM", av("w64", "pcm_s16le", "s16"), CD, S16),
    Row("wav (Wave64)", "24-bit PCM", sf("W64", "PCM_24"), CD, S24),
    Row("aiff", "8-bit PCM", av("aiff", "pcm_s8", "u8"), CD, S8),
    Row("aiff", "16-bit PCM", av("aiff", "pcm_s16be", "s16"), ANY, S16),
    Row("aiff", "24-bit PCM", av("aiff", "pcm_s24be", "s32"), CD, S24),
    Row("aiff", "32-bit PCM", sf("AIFF", "PCM_32"), CD, F32),
    Row("aiff with ID3v2 in front", "16-bit PCM", after(id3(), av("aiff", "pcm_s16be", "s16")), CD, S16),
    Row("aiff (AIFF-C)", "16-bit PCM, little-endian (sowt)", sf("AIFF", "PCM_16", "LITTLE"), CD, S16),
    Row("aiff (AIFF-C)", "24-bit PCM, little-endian", sf("AIFF", "PCM_24", "LITTLE"), CD, S24),
    Row("aiff (AIFF-C)", "32-bit float (fl32)", av("aiff", "pcm_f32be", "flt"), CD, F32),
    Row("aiff (AIFF-C)", "64-bit float (fl64)", av("aiff", "pcm_f64be", "dbl"), CD, F32),
    Row("aiff (AIFF-C)", "IMA ADPCM (ima4)", av("aiff", "adpcm_ima_qt", "s16p"), LOW, snr=25.0, padding=64),
    Row("flac", "FLAC, 16-bit", FLAC, (*ANY, *SURROUND), S16),
    Row("flac", "FLAC, 24-bit", av("flac", "flac", "s32"), ANY, S24),
    Row("flac with ID3v2 in front", "FLAC, 16-bit", after(id3(), FLAC), CD, S16),
    Row("ogg", "FLAC, 16-bit", OGG_FLAC, CD, S16),
    Row("ogg", "Vorbis", files.vorbis, ((44100, 2), (48000, 1), (22050, 2), (8000, 1), (48000, 6)), snr=15.0),
    Row("ogg", "Vorbis whose headers are repeated", repeated, LOW, snr=15.0),
    Row("ogg", "Opus", OPUS, OPUS_CELLS, snr=15.0),
    Row("ogg, chained", "Vorbis", chained(files.vorbis, files.vorbis), LOW, snr=10.0),
    Row("ogg, chained", "Opus", chained(OPUS, OPUS, OPUS), ((48000, 1), (48000, 2)), snr=10.0),
    Row("ogg, chained", "Vorbis, then FLAC", chained(files.vorbis, OGG_FLAC), LOW, snr=10.0),
    Row("ogg, chained", "Opus, then Vorbis", chained(OPUS, files.vorbis), ((48000, 2),), snr=10.0),
    Row("mp3", "MP3", MP3, MP3_CELLS, snr=20.0),
    Row("mp3 with ID3v2 and a picture", "MP3", after(cover, MP3), ((44100, 2),), snr=20.0),
    Row("mp3 with two ID3v2 tags", "MP3", after(id3() + id3(), MP3), ((44100, 2),), snr=20.0),
    Row("mp3 with APEv2 and ID3v1 behind", "MP3", after(b"", MP3, tail()), ((44100, 2),), snr=20.0),
    Row(
        "mp2",
        "MP2",
        av("mp2", "mp2", "s16", 96_000),
        ((44100, 2), (48000, 1)),
        snr=20.0,
        padding=2304,
        delay=481,
    ),
    Row("m4a", "AAC", av("ipod", "aac", "fltp", 96_000), AAC_CELLS, snr=20.0),
    Row("m4a", "ALAC, 16-bit", av("ipod", "alac", "s16p"), (*CD, (48000, 6)), S16),
    Row("m4a", "ALAC, 24-bit", av("ipod", "alac", "s32p"), CD, S24),
    Row("mov", "24-bit PCM", av("mov", "pcm_s24le", "s32"), CD, S24),
    Row("mov", "32-bit float", av("mov", "pcm_f32le", "flt"), CD, F32),
    Row(
        "aac (ADTS)",
        "AAC",
        av("adts", "aac", "fltp", 96_000),
        AAC_CELLS[:4],
        snr=20.0,
        padding=2048,
        delay=1024,
    ),
    Row("webm", "Opus", av("webm", "libopus", "flt", 96_000), OPUS_CELLS[:2], snr=15.0),
    Row("mka", "FLAC, 16-bit", av("matroska", "flac", "s16"), CD, S16),
    Row("mka", "24-bit PCM", av("matroska", "pcm_s24le", "s32"), CD, S24),
    Row("mka", "AAC", av("matroska", "aac", "fltp", 96_000), AAC_CELLS[:3], snr=20.0, padding=1024),
    Row("mka", "MP3", av("matroska", "libmp3lame", "fltp", 96_000), MP3_CELLS[:3], snr=20.0, padding=1152),
    Row(
        "wav", "Windows Media Audio", av("wav", "wmav2", "fltp", 96_000), ((44100, 2),), refused="undecodable"
    ),
    Row("wav", "AC-3", av("wav", "ac3", "fltp", 96_000), ((48000, 2),), refused="undecodable"),
    Row("wav", "G.722", av("wav", "g722", "s16"), ((16000, 1),), refused="undecodable"),
    Row("wav", "GSM 6.10", sf("WAV", "GSM610"), ((8000, 1),), refused="undecodable"),
    Row("mov", "AC-3", av("mov", "ac3", "fltp", 96_000), ((48000, 2),), refused="undecodable"),
    Row("mka", "E-AC-3", av("matroska", "eac3", "fltp", 96_000), ((48000, 2),), refused="undecodable"),
    Row("mov", "AMR", av("mov", "libopencore_amrnb", "s16", 12_200), ((8000, 1),), refused="undecodable"),
    Row("mka", "WavPack", av("matroska", "wavpack", "s16p"), ((44100, 2),), refused="undecodable"),
    Row("caf", "16-bit PCM", sf("CAF", "PCM_16"), ((44100, 2),), refused="undecodable"),
    Row("au", "16-bit PCM", sf("AU", "PCM_16"), ((44100, 2),), refused="undecodable"),
    Row("wav", "more than 8 channels", pcm(16, 16), ((44100, 9),), refused="too_many_channels"),
)


def sound(rate: int, channels: int, seconds: float = 1.0) -> np.ndarray:
    """A tone for each channel, swelling, and a little noise [shape=(channels, n)]: a shift of it shows."""
    tones = files.tones(channels, rate, seconds)
    swell = 0.65 - 0.35 * np.cos(np.linspace(0, 9 * np.pi, tones.shape[1]))
    return tones * swell + 0.005 * np.random.default_rng(0).standard_normal(tones.shape)


def fault(row: Row, path: Path, rate: int, channels: int) -> str | None:
    """Make a cell's file, decode it, and say what is wrong with it.

    Parameters
    ----------
    path : Path
        Where the file is made.

    Returns
    -------
    str or None
        None where its length and its samples, or the code of its refusal, are as they should be.
    """
    audio = sound(rate, channels)
    return difference(row, row.make(path, audio, rate), audio, rate)


def difference(row: Row, path: Path, audio: np.ndarray, rate: int) -> str | None:
    """Decode a file that is there, and say how it differs from what was encoded."""
    n = audio.shape[1]
    try:
        got = np.concatenate(list(stream(path, rate=rate, channels=8)), axis=1)
    except AudioError as error:
        return None if error.code == row.refused else f"refused: {error}"
    if row.refused:
        return "it is taken"
    if len(got) != len(audio):
        return f"{len(got)} channels"
    longer = got.shape[1] - n
    slack = 0 if row.error else 0.02 * rate
    if not -slack <= longer <= max(slack, row.padding):
        return f"{longer} samples longer"
    got = got[:, row.delay : row.delay + n]
    audio = audio[:, : got.shape[1]]
    if row.error:
        worst = float(np.abs(got - audio).max())
        return None if worst <= row.error * 1.001 else f"samples differ by {worst:.2g}"
    # Frames at the edges are incomplete. Encoders keep little of a low frequency channel.
    kept = [channel for channel in range(len(audio)) if (len(audio), channel) not in LOW_FREQUENCY]
    inner = slice(n // 10, n - n // 10)
    wanted, found = audio[kept, inner], got[kept, inner]
    ratio = 10 * np.log10(np.mean(wanted**2) / max(float(np.mean((wanted - found) ** 2)), 1e-30))
    return None if ratio >= row.snr else f"{ratio:.1f} dB above the difference"
