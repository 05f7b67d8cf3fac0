"""Loudness against pyloudnorm, FFmpeg's meter and the standards' figures; true peak against a long filter."""

from __future__ import annotations

import av
import numpy as np
import pyloudnorm
import pytest
from scipy import signal

from music.audio.loudness import Loudness, integrated_loudness, peak_envelope, true_peak


def sine(frequency: float, level: float, seconds: float, rate: int, channels: int = 2) -> np.ndarray:
    """A sine whose peaks are at ``level`` dBFS."""
    t = np.arange(round(seconds * rate)) / rate
    tone = 10 ** (level / 20) * np.sin(2 * np.pi * frequency * t)
    return np.tile(tone, (channels, 1)).astype(np.float32)


def swelling_noise(seconds: float, rate: int, channels: int, seed: int = 0) -> np.ndarray:
    """Coloured noise that comes and goes, so that the gates matter."""
    rng = np.random.default_rng(seed)
    noise = signal.lfilter([1.0], [1.0, -0.9], rng.standard_normal((channels, round(seconds * rate))))
    swell = 10 ** (-1.5 * (1 + np.sin(2 * np.pi * np.arange(noise.shape[1]) / rate / 5)))
    return (0.1 * noise * swell).astype(np.float32)


@pytest.mark.parametrize("rate", [8000, 22050, 32000, 44100, 48000, 96000])
@pytest.mark.parametrize("channels", [1, 2])
def test_agrees_with_pyloudnorm(rate: int, channels: int) -> None:
    audio = swelling_noise(12.0, rate, channels)
    meter = pyloudnorm.Meter(rate, filter_class="DeMan")
    assert integrated_loudness(audio, rate) == pytest.approx(
        meter.integrated_loudness(audio.T.astype(np.float64)), abs=0.05
    )


def test_agrees_with_ffmpeg() -> None:
    audio = swelling_noise(20.0, 48000, 2)
    graph = av.filter.Graph()
    source = graph.add_abuffer(sample_rate=48000, format="fltp", layout="stereo", time_base=None)
    meter = graph.add("ebur128", "metadata=1")
    sink = graph.add("abuffersink")
    source.link_to(meter)
    meter.link_to(sink)
    graph.configure()
    frame = av.AudioFrame.from_ndarray(audio, "fltp", "stereo")
    frame.sample_rate = 48000
    graph.push(frame)
    graph.push(None)
    told = ""
    while True:
        try:
            told = graph.pull().metadata.get("lavfi.r128.I", told)
        except (av.error.EOFError, av.error.BlockingIOError):
            break
    assert integrated_loudness(audio, 48000) == pytest.approx(float(told), abs=0.1)


def test_reference_tones() -> None:
    """BS.1770: a 997 Hz sine at 0 dBFS in one channel is -3.01 LUFS. EBU Tech 3341, cases 1 to 3."""
    assert integrated_loudness(sine(997, 0.0, 5, 48000, 1), 48000) == pytest.approx(-3.01, abs=0.02)
    assert integrated_loudness(sine(1000, -23.0, 20, 48000), 48000) == pytest.approx(-23.0, abs=0.1)
    assert integrated_loudness(sine(1000, -33.0, 20, 48000), 48000) == pytest.approx(-33.0, abs=0.1)
    quiet, loud = sine(1000, -36.0, 10, 48000), sine(1000, -23.0, 60, 48000)
    assert integrated_loudness(np.hstack([quiet, loud, quiet]), 48000) == pytest.approx(-23.0, abs=0.1)


def test_surround_weights() -> None:
    """EBU Tech 3341, case 6: front -28, centre -24, surrounds -30 dBFS make -23 LUFS, LFE nothing."""
    levels = (-28.0, -28.0, -24.0, 0.0, -30.0, -30.0)
    audio = np.vstack([sine(1000, level, 20, 48000, 1) for level in levels])
    assert integrated_loudness(audio, 48000) == pytest.approx(-23.0, abs=0.1)


def test_silence_and_very_short_pieces() -> None:
    assert integrated_loudness(np.zeros((2, 48000), np.float32), 48000) == -np.inf
    assert integrated_loudness(np.zeros((2, 0), np.float32), 48000) == -np.inf
    assert integrated_loudness(sine(1000, -80.0, 5, 48000), 48000) == -np.inf
    assert Loudness(48000).integrated() == -np.inf
    short = integrated_loudness(sine(997, -20.0, 0.2, 48000), 48000)
    assert short == pytest.approx(-20.0, abs=0.5)


def test_blocks_of_any_length_give_the_same_loudness() -> None:
    audio = swelling_noise(20.0, 32000, 2)
    rng = np.random.default_rng(1)
    cuts = np.sort(rng.integers(0, audio.shape[1], 50))
    blocks = np.split(audio, cuts, axis=1)
    whole = integrated_loudness(audio, 32000)
    meter = Loudness(32000)
    for block in blocks:
        meter.push(block)
    assert meter.integrated() == whole


def test_loudness_can_be_read_on_the_way() -> None:
    audio = swelling_noise(15.0, 32000, 1)
    meter = Loudness(32000)
    for start in range(0, audio.shape[1], 32000):
        meter.push(audio[:, start : start + 32000])
        assert meter.integrated() == integrated_loudness(audio[:, : start + 32000], 32000)


@pytest.mark.parametrize("frequency", [997.0, 6000.0, 11025.0, 14000.0])
def test_true_peak_of_sines(frequency: float) -> None:
    """Between the samples of a sine at a quarter of the rate, 45 degrees off, 3 dB more are hidden."""
    t = np.arange(44100) / 44100
    audio = (0.5 * np.sin(2 * np.pi * frequency * t + np.pi / 4) * np.hanning(44100)).astype(np.float32)[None]
    assert true_peak(audio) == pytest.approx(20 * np.log10(0.5), abs=0.15)


def test_true_peak_agrees_with_sixteenfold_oversampling() -> None:
    audio = swelling_noise(5.0, 32000, 2)
    reference = 20 * np.log10(np.abs(signal.resample_poly(audio.astype(np.float64), 16, 1, axis=1)).max())
    assert true_peak(audio) == pytest.approx(reference, abs=0.1)


@pytest.mark.parametrize("n", [0, 1, 11, 32, 32767, 32768, 32769, 100_000])
def test_the_peak_envelope_covers_every_sample(n: int) -> None:
    audio = np.random.default_rng(n).standard_normal((2, n)).astype(np.float32)
    envelope = peak_envelope(audio)
    assert envelope.shape == (n,)
    assert np.all(envelope >= np.abs(audio).max(axis=0, initial=0.0))
    if n:
        assert 20 * np.log10(envelope.max()) == pytest.approx(true_peak(audio))


def test_true_peak_of_silence() -> None:
    assert true_peak(np.zeros((2, 1000), np.float32)) == -np.inf
    assert true_peak(np.zeros((2, 0), np.float32)) == -np.inf


def test_chunk_borders_hide_no_peak() -> None:
    """The same wave around every border of a chunk."""
    wave = signal.resample_poly(np.hanning(64), 1, 2)
    levels = []
    for start in range(32768 - 40, 32768 + 8):
        audio = np.zeros((1, 70000), np.float32)
        audio[0, start : start + len(wave)] = wave
        levels.append(true_peak(audio))
    assert np.ptp(levels) < 1e-3


@pytest.mark.parametrize("seconds", [10, 60])
def test_each_sample_is_transformed_once_in_pieces_of_seconds(
    seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loudness costs a fixed amount of work and memory for each second of audio."""
    audio = np.ones((2, seconds * 32000), np.float32)
    pieces: list[int] = []
    transform = np.fft.rfft

    def counted(piece: np.ndarray, size: int) -> np.ndarray:
        pieces.append(len(piece) * size)
        return transform(piece, size)

    monkeypatch.setattr(np.fft, "rfft", counted)
    integrated_loudness(audio, 32000)
    longest = 10 * 2 * 32000
    assert max(pieces) <= longest
    # The filter's response to each piece is computed with it, and the last piece is filled up.
    assert sum(pieces) <= 1.5 * audio.size + longest
