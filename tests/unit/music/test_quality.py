"""The quality gate, on audio made to fail each of its checks, and on audio that must not."""

from __future__ import annotations

import tempfile
from functools import cache

import numpy as np
import pytest
from scipy.signal import butter, resample_poly, sosfilt

from client import sample
from music import features, quality
from music.audio.decode import decode
from music.audio.encode import encode

RATE = 32000


@cache
def music() -> np.ndarray:
    """Half a minute of it, in stereo."""
    return decode(sample.PATH, rate=RATE, channels=2)


def piece(start: float, seconds: float) -> np.ndarray:
    return music()[:, round(start * RATE) : round((start + seconds) * RATE)].copy()


def mono(audio: np.ndarray) -> np.ndarray:
    return resample_poly(audio.mean(axis=0), features.SAMPLE_RATE // 50, RATE // 50).astype(np.float32)


def noise(seconds: float, level: float, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((1, round(seconds * RATE))) * level).astype(
        np.float32
    )


@pytest.mark.parametrize("seconds", [0.05, 1.0, 5.0, 30.0])
def test_music_passes(seconds: float) -> None:
    assert quality.faults(piece(1.0, seconds), RATE) == []
    assert quality.faults(noise(seconds, 0.1), RATE) == []


def test_near_silence() -> None:
    assert "silent" in quality.faults(piece(0.0, 10.0) * 1e-4, RATE)
    assert "silent" in quality.faults(np.zeros((1, RATE), np.float32), RATE)
    mostly = piece(2.0, 10.0)
    mostly[:, 4 * RATE :] *= 1e-5
    assert "silent" in quality.faults(mostly, RATE)
    assert quality.faults(piece(0.0, 10.0) * 0.02, RATE) == []  # quiet is not silent


def test_silence_at_an_end() -> None:
    for quiet in (slice(0, 2 * RATE + 3200), slice(8 * RATE - 3200, None)):
        edged = piece(2.0, 10.0)
        edged[:, quiet] = 0.0
        assert quality.faults(edged, RATE) == ["silent_edge"]
    paused = piece(2.0, 10.0)
    paused[:, 4 * RATE : 7 * RATE] = 0.0  # a pause in the middle is music
    paused[:, : RATE // 2] = 0.0
    assert quality.faults(paused, RATE) == []
    short = piece(2.0, 2.0)
    short[:, -RATE * 6 // 10 :] = 0.0
    assert quality.faults(short, RATE) == ["silent_edge"]


def test_clipping() -> None:
    loud = piece(2.0, 10.0)
    loud /= np.abs(loud).max()
    assert quality.faults(loud, RATE) == []
    assert quality.faults(np.clip(loud, -0.3, 0.3), RATE) == ["clipped"]
    assert "clipped" in quality.faults(loud * 4.0, RATE)
    t = np.arange(RATE) / RATE
    for pitch in (20.0, 40.0, 440.0):  # a sine is flat at its top, and yet not clipped
        sine = 0.4 * np.sin(2 * np.pi * pitch * t)[None].astype(np.float32)
        assert quality.faults(sine, RATE) == []


def test_runaway_loudness() -> None:
    growing = noise(12.0, 0.3) * 10 ** np.linspace(-2.4, 0.0, 12 * RATE, dtype=np.float32)
    assert quality.faults(growing, RATE) == ["runaway"]
    assert "runaway" in quality.faults(np.tanh(noise(3.0, 3.0)), RATE)  # saturated
    crescendo = piece(2.0, 12.0) * 10 ** np.linspace(-1.0, 0.0, 12 * RATE, dtype=np.float32)
    assert quality.faults(crescendo, RATE) == []


def test_a_copy_is_found_however_it_is_disguised() -> None:
    source = quality.Fingerprint(mono(music()))
    copy = piece(7.3, 12.0)
    with tempfile.NamedTemporaryFile() as file:
        file.write(encode(copy, RATE, "mp3", {}))
        file.flush()
        coded = decode(file.name, rate=RATE, channels=2)
    begun = noise(12.0, 0.05)
    begun[:, 6 * RATE :] = copy[:1, 6 * RATE :]
    for disguised in (
        copy,
        copy * 0.1,
        coded,
        copy + noise(12.0, 0.01),
        sosfilt(butter(2, 2000, fs=RATE, output="sos"), copy).astype(np.float32),
        copy[:, : 3 * RATE],
        begun,
    ):
        assert quality.faults(disguised, RATE, source, ["copy"]) == ["copy"]


def test_what_is_only_like_the_source_is_no_copy() -> None:
    source = quality.Fingerprint(mono(music()))
    for other in (
        noise(12.0, 0.1),
        piece(7.3, 12.0)[:, ::-1].copy(),
        resample_poly(piece(7.3, 12.0), 107, 101, axis=1).astype(np.float32),  # a semitone lower
        np.zeros((1, 12 * RATE), np.float32),
        tone(440.0),
    ):
        assert quality.faults(other, RATE, source, ["copy"]) == []
    # One long sound is like any other.
    assert not quality.copied(quality.Fingerprint(mono(tone(440.0))), quality.Fingerprint(mono(tone(440.0))))


def tone(pitch: float) -> np.ndarray:
    return (0.2 * np.sin(2 * np.pi * pitch * np.arange(8 * RATE) / RATE))[None].astype(np.float32)


def test_only_what_is_asked_for_is_looked_for() -> None:
    silence = np.zeros((1, RATE), np.float32)
    assert quality.faults(silence, RATE, None, ["clipped"]) == []
    assert quality.faults(silence, RATE, None, []) == []
