"""Audio in and out of the suite, by PyAV alone: the backend's decoder and encoder do not judge themselves."""

from __future__ import annotations

import io
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np

from client import sample


@dataclass(frozen=True)
class Decoded:
    """What a player would get: samples [shape=(channels, n), float32], rate in Hz, tags of the file."""

    audio: np.ndarray
    rate: int
    codec: str
    tags: dict[str, str]

    @property
    def seconds(self) -> float:
        """Return the duration in seconds."""
        return self.audio.shape[1] / self.rate


def decode(content: bytes) -> Decoded:
    """Decode a whole file."""
    with av.open(io.BytesIO(content), "r") as container:
        stream = container.streams.audio[0]
        layout, rate = stream.codec_context.layout, stream.codec_context.sample_rate
        resampler = av.AudioResampler("fltp", layout, rate)
        frames = [out for frame in container.decode(stream) for out in resampler.resample(frame)]
        frames += resampler.resample(None)
        # Ogg keeps its tags on the stream, the others on the container.
        tags = {name.lower(): value for name, value in (container.metadata | stream.metadata).items()}
        audio = np.concatenate([frame.to_ndarray() for frame in frames], axis=1)
        return Decoded(audio, rate, stream.codec_context.name, tags)


def encode(audio: np.ndarray, rate: int, container: str, codec: str) -> bytes:
    """Encode float samples [shape=(channels, n)] as one of FFmpeg's container and codec names."""
    file = io.BytesIO()
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[audio.shape[0]]
    with av.open(file, "w", format=container) as target:
        stream: Any = target.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio, np.float32), "fltp", layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        context = stream.codec_context
        context.open()
        size = context.frame_size or 4096
        resampler = av.AudioResampler(context.format, layout, context.sample_rate, frame_size=size)
        for piece in (*resampler.resample(frame), *resampler.resample(None)):
            target.mux(stream.encode(piece))
        target.mux(stream.encode(None))
    return file.getvalue()


def wav(audio: np.ndarray, rate: int) -> bytes:
    """Encode float samples [shape=(channels, n)] as 16-bit wav."""
    return encode(audio, rate, "wav", "pcm_s16le")


def track() -> bytes:
    """Return the sample track, an mp3 file of 32 s in D minor at 100 BPM."""
    return sample.PATH.read_bytes()


def noise(seconds: float, rate: int = 22050, seed: int = 1) -> np.ndarray:
    """Make white noise at -20 dBFS, mono."""
    samples = np.random.default_rng(seed).standard_normal((1, round(seconds * rate)))
    return (0.1 * samples).astype(np.float32)


def drone(seconds: float, rate: int = 22050) -> np.ndarray:
    """Make a slowly swelling chord of sines, mono and without any beat."""
    t = np.arange(round(seconds * rate)) / rate
    chord = sum(np.sin(2 * np.pi * hertz * t) for hertz in (110.0, 164.81, 220.0, 277.18))
    return (0.1 * chord * (0.6 + 0.4 * np.sin(2 * np.pi * 0.05 * t))).astype(np.float32)[None]


def chords(seconds: float, channels: int = 2, rate: int = 32000) -> np.ndarray:
    """Make decaying chords with some noise: enough like music for encoders to be at home."""
    rng = np.random.default_rng(3)
    t = np.arange(round(seconds * rate)) / rate
    decay = np.exp(-3 * (t % 0.5))
    notes = [sum(np.sin(2 * np.pi * f * t + c) for f in (220, 277.2, 329.6, 1760)) for c in range(channels)]
    audio = 0.1 * decay * np.stack(notes) + 0.005 * rng.standard_normal((channels, len(t)))
    return audio.astype(np.float32)
