"""Audio files, films and pictures for the decoder, written by FFmpeg or by hand."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np

RATE = 44100
LAYOUTS = ("mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1")


def tones(channels: int, rate: int, seconds: float = 0.5) -> np.ndarray:
    """One sine per channel, 300 Hz and 110 Hz more each, at a quarter of full scale."""
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
    """Encode with FFmpeg; float audio is scaled to what the sample format wants."""
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
    """A plain RIFF file of samples [shape=(channels, n)]; ``claims`` is a false size of the data."""
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
