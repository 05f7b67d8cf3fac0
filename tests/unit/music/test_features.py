"""What users read of a track: tempo, key, loudness, tags."""

import json
from dataclasses import replace

import numpy as np
import pytest

from music.dsp import harmony
from music.features import SAMPLE_RATE, Features, measure, tags


def song(bpm: float, tonic: int, mode: str, seconds: float = 24.0) -> np.ndarray:
    """A piece with drums on every beat and a cadence of one chord per bar."""
    rng = np.random.default_rng(0)
    beat = 60.0 / bpm
    y = np.zeros(int(seconds * SAMPLE_RATE))
    third = 4 if mode == "major" else 3
    chords = [(0, third, 7), (5, 5 + third, 12), (7, 11, 14), (0, third, 7)]
    for index, start in enumerate(np.arange(0.05, seconds - beat, beat)):
        length = int(min(beat, seconds - start) * SAMPLE_RATE)
        t = np.arange(length) / SAMPLE_RATE
        notes = chords[index // 4 % 4]
        sound = sum(
            np.sin(2 * np.pi * k * 130.8 * 2 ** ((tonic + note) / 12) * t) / k**1.5
            for note in notes
            for k in (1, 2, 3)
        )
        drum = rng.standard_normal(length) * np.exp(-t * 60.0)
        at = int(start * SAMPLE_RATE)
        y[at : at + length] += 0.06 * sound * np.exp(-t * 2.0) + 0.15 * drum
    return y.astype(np.float32)


@pytest.mark.parametrize(
    ("bpm", "tonic", "mode"),
    [(70.0, 0, "minor"), (92.5, 9, "minor"), (120.0, 2, "major"), (138.0, 7, "major")],
)
def test_a_song_has_its_tempo_key_and_beats(bpm: float, tonic: int, mode: str) -> None:
    features = measure(song(bpm, tonic, mode), -14.0)
    assert features.tempo == pytest.approx(bpm, rel=0.01)
    assert (features.key, features.mode) == (harmony.PITCH_CLASSES[tonic], mode)
    assert features.duration == 24.0
    assert features.loudness == -14.0
    assert features.onset_rate == pytest.approx(bpm / 60.0, rel=0.15)
    assert 200.0 < features.spectral_centroid < 6000.0
    expected = np.arange(0.05, 24.0 - 60.0 / bpm, 60.0 / bpm)
    off = [np.abs(expected - beat).min() for beat in features.beats]
    assert len(features.beats) >= len(expected) - 2
    assert max(off) < 0.03


def test_features_survive_the_record() -> None:
    features = measure(song(100.0, 4, "minor", 8.0), -20.5)
    assert Features.from_dict(json.loads(json.dumps(features.to_dict()))) == features


def test_silence_has_nothing_to_measure() -> None:
    features = measure(np.zeros(10 * SAMPLE_RATE, dtype=np.float32), -np.inf)
    assert features == Features(10.0, 0.0, None, None, None, 0.0, 0.0, [])
    assert tags(features) == ["silent"]


@pytest.mark.parametrize("n", [0, 1, 512, SAMPLE_RATE // 2])
def test_short_audio_has_features_without_a_tempo(n: int) -> None:
    features = measure(song(120.0, 0, "major", 2.0)[:n], -14.0)
    assert features.tempo == 0.0
    assert features.beats == []
    json.dumps(features.to_dict(), allow_nan=False)


def test_noise_has_neither_beat_nor_key() -> None:
    noise = np.random.default_rng(1).standard_normal(30 * SAMPLE_RATE).astype(np.float32) * 0.1
    features = measure(noise, -20.0)
    assert (features.tempo, features.beats) == (0.0, [])
    assert (features.key, features.mode) == (None, None)
    assert tags(features)[0] == "beatless"
    assert not {"major", "minor"} & set(tags(features))


def test_ambient_music_has_a_key_but_no_beat() -> None:
    t = np.arange(40 * SAMPLE_RATE) / SAMPLE_RATE
    pad = sum(
        np.sin(2 * np.pi * 220.0 * 2 ** (note / 12) * t + index)
        * (1 + np.sin(2 * np.pi * t / (7.3 + 3.1 * index)))
        for index, note in enumerate((0, 3, 7, 12))
    )
    features = measure((0.05 * pad).astype(np.float32), -18.0)
    assert (features.tempo, features.beats) == (0.0, [])
    assert (features.key, features.mode) == ("A", "minor")
    assert "beatless" in tags(features)
    assert "sparse" in tags(features)


def test_a_softer_copy_measures_the_same() -> None:
    y = song(110.0, 5, "major", 16.0)
    loud, soft = measure(y, -14.0), measure(y * 0.25, -26.0)
    assert soft.tempo == loud.tempo
    assert soft.key == loud.key
    assert soft.onset_rate == loud.onset_rate


def test_fifteen_minutes_are_measured_in_seconds() -> None:
    y = np.tile(song(125.0, 0, "minor", 30.72), 30)[: 900 * SAMPLE_RATE]
    features = measure(y, -14.0)
    assert features.duration == 900.0
    assert features.tempo == pytest.approx(125.0, rel=0.01)
    assert len(features.beats) == pytest.approx(900.0 * 125.0 / 60.0, rel=0.03)


BASE = Features(180.0, 110.0, "C", "major", -16.0, 1800.0, 3.0, [0.0, 0.5])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, ["mid-tempo", "major"]),
        ({"tempo": 150.0, "onset_rate": 6.0}, ["fast", "major", "busy"]),
        ({"tempo": 70.0, "mode": "minor", "spectral_centroid": 600.0}, ["slow", "minor", "dark"]),
        ({"tempo": 0.0, "beats": [], "onset_rate": 0.2, "loudness": -35.0}, None),
        ({"loudness": -8.0, "spectral_centroid": 3200.0}, ["mid-tempo", "major", "bright", "loud"]),
    ],
)
def test_tags_say_it_in_words(change: dict[str, object], expected: list[str] | None) -> None:
    words = tags(replace(BASE, **change))  # type: ignore[arg-type]
    assert words == (expected or ["beatless", "major", "sparse", "quiet"])
    assert len(words) == len(set(words))
