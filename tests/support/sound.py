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


def song(bpm: float, tonic: int, mode: str, seconds: float = 24.0, drums: float = 0.15) -> np.ndarray:
    """A piece with drums on every beat and a cadence of one chord per bar [shape=(n,)], at 22,050 Hz."""
    rate, beat = 22050, 60.0 / bpm
    rng = np.random.default_rng(0)
    y = np.zeros(int(seconds * rate))
    third = 4 if mode == "major" else 3
    chords = [(0, third, 7), (5, 5 + third, 12), (7, 11, 14), (0, third, 7)]
    for index, start in enumerate(np.arange(0.05, seconds - beat, beat)):
        length = int(min(beat, seconds - start) * rate)
        t = np.arange(length) / rate
        sound = sum(
            np.sin(2 * np.pi * k * 130.8 * 2 ** ((tonic + note) / 12) * t) / k**1.5
            for note in chords[index // 4 % 4]
            for k in (1, 2, 3)
        )
        drum = rng.standard_normal(length) * np.exp(-t * 60.0)
        at = int(start * rate)
        y[at : at + length] += 0.06 * sound * np.exp(-t * 2.0) + drums * drum
    return y.astype(np.float32)


def metronome(bpm: float, seconds: float, rate: int = 22050) -> np.ndarray:
    """Short clicks on digital silence [shape=(n,)], the first at 0.3 s."""
    click = np.random.default_rng(7).standard_normal(round(0.02 * rate))
    click *= np.exp(-np.arange(len(click)) / (0.004 * rate))
    y = np.zeros(round(seconds * rate) + len(click))
    for start in np.arange(0.3, seconds, 60.0 / bpm):
        y[round(start * rate) :][: len(click)] += 0.3 * click
    return y[: -len(click)].astype(np.float32)


def tone(hertz: float, seconds: float, partials: int = 1, rate: int = 22050) -> np.ndarray:
    """A steady tone [shape=(n,)] whose partials fall off as those of a sawtooth."""
    t = np.arange(round(seconds * rate)) / rate
    waves = [np.sin(2 * np.pi * hertz * k * t) / k for k in range(1, partials + 1)]
    return (0.1 * np.sum(waves, axis=0)).astype(np.float32)


def room_tone(seconds: float, rate: int = 22050) -> np.ndarray:
    """What a microphone in an empty room hears [shape=(n,)]: low noise, and the hum of the mains."""
    n = round(seconds * rate)
    spectrum = np.fft.rfft(np.random.default_rng(2).standard_normal(n))
    low = np.fft.irfft(spectrum / np.maximum(np.fft.rfftfreq(n, 1.0 / rate), 20.0), n)
    hum = tone(50.0, seconds, 8, rate)
    return (0.1 * low / low.std() + 0.3 * hum).astype(np.float32)


def dither(seconds: float, rate: int = 22050) -> np.ndarray:
    """The triangular dither of a silent 16-bit file [shape=(n,)]: -1, 0 or 1 of its steps."""
    rng = np.random.default_rng(3)
    n = round(seconds * rate)
    steps = np.round(rng.uniform(-0.5, 0.5, n) + rng.uniform(-0.5, 0.5, n))
    return (steps / 32768.0).astype(np.float32)
