"""Audio files, films and pictures for the decoder, written by FFmpeg, libsndfile or by hand."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import soundfile
from av.stream import Disposition

RATE = 44100
LAYOUTS = ("mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1")


def tones(channels: int, rate: int, seconds: float = 0.5) -> np.ndarray:
    """Return one sine per channel, 300 Hz and 110 Hz more each, at a quarter of full scale."""
    t = np.arange(round(seconds * rate)) / rate
    return np.stack([0.25 * np.sin(2 * np.pi * (300 + 110 * c) * t) for c in range(channels)])


def write(
    path: Path,
    audio: np.ndarray,
    rate: int,
    *,
    codec: str,
    sample_format: str,
    container: str | None = None,
    layout: str | None = None,
    bit_rate: int | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Encode float audio with FFmpeg, scaled to what the sample format wants."""
    layout = layout or LAYOUTS[len(audio) - 1]
    kind = sample_format.rstrip("p")
    scale = {"u8": 2.0**7, "s16": 2.0**15, "s32": 2.0**31}.get(kind)
    dtype = {"u8": np.uint8, "s16": np.int16, "s32": np.int32, "flt": np.float32, "dbl": np.float64}
    samples = audio if scale is None else np.rint(audio * scale) + (128 if kind == "u8" else 0)
    samples = samples.astype(dtype[kind])
    with av.open(str(path), "w", format=container, container_options=options or {}) as output:
        track = output.add_stream(codec, rate=rate, layout=layout)
        assert isinstance(track, av.AudioStream)
        track.format = sample_format
        if bit_rate:
            track.bit_rate = bit_rate
        # Packed frames and a conversion, since PyAV cannot fill eight planes.
        convert = av.AudioResampler(sample_format, layout, rate)
        for start in range(0, samples.shape[1], 4096):
            block = np.ascontiguousarray(samples[:, start : start + 4096].T.reshape(1, -1))
            frame = av.AudioFrame.from_ndarray(block, kind, layout)
            frame.sample_rate = rate
            frame.pts = start
            for converted in convert.resample(frame):
                output.mux(track.encode(converted))
        output.mux(track.encode(None))
    return path


def write_wav(
    path: Path,
    samples: np.ndarray,
    rate: int,
    *,
    kind: int = 1,
    claims: int | None = None,
    data: bytes | None = None,
) -> Path:
    """Write a plain RIFF file of samples [shape=(channels, n)]; ``claims`` is a false size of the data."""
    data = samples.T.tobytes() if data is None else data
    width = samples.dtype.itemsize
    frame = width * len(samples)
    size = len(data) if claims is None else claims
    header = struct.pack("<HHIIHH", kind, len(samples), rate, rate * frame, frame, 8 * width)
    head = b"RIFF" + struct.pack("<I", (36 + size) % 2**32) + b"WAVEfmt " + struct.pack("<I", 16) + header
    path.write_bytes(head + b"data" + struct.pack("<I", size % 2**32) + data)
    return path


def picture(path: Path) -> Path:
    with av.open(str(path), "w", format="image2") as output:
        track = output.add_stream("mjpeg", rate=1)
        assert isinstance(track, av.VideoStream)
        track.width, track.height, track.pix_fmt = 64, 64, "yuvj420p"
        frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 90, np.uint8), "rgb24")
        output.mux(track.encode(frame))
        output.mux(track.encode(None))
    return path


def movie(path: Path, audio: np.ndarray | None, container: str = "mp4") -> Path:
    with av.open(str(path), "w", format=container) as output:
        video = output.add_stream("mpeg4", rate=10)
        assert isinstance(video, av.VideoStream)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        sound = output.add_stream("aac", rate=RATE, layout="stereo") if audio is not None else None
        for _ in range(10):
            output.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")))
        output.mux(video.encode(None))
        if sound is not None and audio is not None:
            assert isinstance(sound, av.AudioStream)
            frame = av.AudioFrame.from_ndarray(audio.astype(np.float32), "fltp", "stereo")
            frame.sample_rate = RATE
            frame.pts = 0
            output.mux(sound.encode(frame))
            output.mux(sound.encode(None))
    return path


def write_pcm(
    path: Path,
    audio: np.ndarray,
    rate: int,
    *,
    occupied: int,
    bits: int,
    big_endian: bool = False,
    floating: bool = False,
    mask: int | None = None,
    riff: bytes = b"RIFF",
    before: bytes = b"",
    claims_bits: int | None = None,
) -> Path:
    """A wav file whose samples use the upper ``bits`` of the ``occupied`` bits that each has.

    Parameters
    ----------
    audio : np.ndarray [shape=(channels, n)]
    mask : int, optional
        The loudspeakers, in an extensible header; None writes a plain one, which knows no valid bits.
    riff : bytes
        ``b"RIFX"`` is big-endian whatever ``big_endian`` says.
    before : bytes
        Chunks in front of the format chunk.
    claims_bits : int, optional
        The sample's bits as the header has them, where they are not ``occupied``.
    """
    order = ">" if big_endian or riff == b"RIFX" else "<"
    if floating:
        data = audio.T.astype(f"{order}f{occupied // 8}").tobytes()
    else:
        whole = np.rint(audio.T * 2.0 ** (bits - 1)).clip(-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1)
        samples = whole.astype(np.int64) << (occupied - bits)
        samples += 128 if occupied == 8 else 0
        wide = samples.astype(f"{order}i8").reshape(-1, 1).view(np.uint8)
        data = wide[:, : occupied // 8].tobytes() if order == "<" else wide[:, 8 - occupied // 8 :].tobytes()
    kind, channels, frame = 3 if floating else 1, len(audio), len(audio) * occupied // 8
    header = struct.pack(
        order + "HHIIHH",
        kind if mask is None else 0xFFFE,
        channels,
        rate,
        rate * frame,
        frame,
        claims_bits or occupied,
    )
    if mask is not None:
        guid = struct.pack(order + "IHH", kind, 0, 0x10) + b"\x80\0\0\xaa\0\x38\x9b\x71"
        header += struct.pack(order + "HHI", 22, bits, mask) + guid
    chunks = before + b"fmt " + struct.pack(order + "I", len(header)) + header
    chunks += b"data" + struct.pack(order + "I", len(data)) + data
    path.write_bytes(riff + struct.pack(order + "I", 4 + len(chunks)) + b"WAVE" + chunks)
    return path


def id3(frames: bytes = b"", *, footer: bool = False) -> bytes:
    """An ID3v2.4 tag of a title and other frames."""
    title = b"\x03A title"
    frames = b"TIT2" + struct.pack(">I", len(title)) + b"\0\0" + title + frames
    size = bytes(len(frames) >> shift & 0x7F for shift in (21, 14, 7, 0))
    tag = b"ID3\x04\0" + (b"\x10" if footer else b"\0") + size
    return tag + frames + (b"3DI" + tag[3:] if footer else b"")


_VORBIS_ORDER = {
    3: [0, 2, 1],
    5: [0, 2, 1, 3, 4],
    6: [0, 2, 1, 4, 5, 3],
    7: [0, 2, 1, 5, 6, 4, 3],
    8: [0, 2, 1, 6, 7, 4, 5, 3],
}


def vorbis(path: Path, audio: np.ndarray, rate: int) -> Path:
    """Vorbis by libvorbis, of channels in the order of wav files; `LAYOUTS` names them."""
    ordered = audio[_VORBIS_ORDER.get(len(audio), list(range(len(audio))))]
    with soundfile.SoundFile(path, "w", rate, len(audio), "VORBIS", format="OGG") as file:
        # In pieces: libsndfile's encoder overflows its stack with long ones.
        for start in range(0, audio.shape[1], 65536):
            file.write(ordered.T[start : start + 65536])
    return path


def ogg_pages(content: bytes) -> list[bytes]:
    """The pages of an ogg file."""
    pages, at = [], 0
    while at < len(content):
        count = content[at + 26]
        end = at + 27 + count + sum(content[at + 27 : at + 27 + count])
        pages.append(content[at:end])
        at = end
    return pages


def ogg_page(page: bytes, number: int) -> bytes:
    """A page with another number, and the checksum that belongs to it."""
    page = page[:18] + struct.pack("<I", number) + bytes(4) + page[26:]
    checksum = 0
    for byte in page:
        checksum ^= byte << 24
        for _ in range(8):
            checksum = (checksum << 1 & 0xFFFFFFFF) ^ (0x04C11DB7 if checksum >> 31 else 0)
    return page[:22] + struct.pack("<I", checksum) + page[26:]


def headers_again(content: bytes, at: int = 2) -> bytes:
    """A Vorbis file whose three header packets stand once more, on a page before the one numbered ``at``."""
    pages = ogg_pages(content)
    first, rest = pages[0], pages[1]
    count = rest[26]
    body, lacing = rest[27 + count :], rest[27 : 27 + count]
    packet = first[28:]
    head = first[:5] + b"\0" + bytes(8) + first[14:26]
    again = head + bytes([count + 1, len(packet)]) + lacing + packet + body
    whole = [*pages[:at], again, *pages[at:]]
    return b"".join(ogg_page(page, number) for number, page in enumerate(whole))


def tracks(
    path: Path,
    sounds: Sequence[np.ndarray],
    rate: int,
    *,
    container: str,
    codecs: Sequence[str],
    bit_rates: Sequence[int | None],
    default: int | None = None,
) -> Path:
    """One file of several sound tracks, all of them the default one unless one is named."""
    with av.open(str(path), "w", format=container) as output:
        streams: list[av.AudioStream] = []
        for codec, sound, bit_rate in zip(codecs, sounds, bit_rates, strict=True):
            layout = LAYOUTS[len(sound) - 1]
            track = output.add_stream(codec, rate=rate, layout=layout)
            assert isinstance(track, av.AudioStream)
            track.bit_rate = bit_rate or 64_000
            if default is not None:
                track.disposition = Disposition.default if len(streams) == default else Disposition(0)
            streams.append(track)
        for track, sound in zip(streams, sounds, strict=True):
            convert = av.AudioResampler(track.codec_context.format.name, track.layout.name, rate)
            packed = np.ascontiguousarray(sound.T.reshape(1, -1).astype(np.float32))
            frame = av.AudioFrame.from_ndarray(packed, "flt", track.layout.name)
            frame.sample_rate, frame.pts = rate, 0
            for converted in [*convert.resample(frame), *convert.resample(None)]:
                output.mux(track.encode(converted))
            output.mux(track.encode(None))
    return path
