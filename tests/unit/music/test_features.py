"""What users read of a track: tempo, key, loudness, tags."""

import json
from dataclasses import replace

import numpy as np
import pytest

from music.dsp import harmony
from music.features import SAMPLE_RATE, Features, measure, measure_likeness, tags
from tests.support import truth
from tests.support.sound import dither, drone, metronome, noise, room_tone, song, tone


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
    assert features == Features(10.0, 0.0, None, None, None, 0.0, 0.0, [], 0.0, 0.0, bars_confidence=0.0)
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


def test_music_in_opposite_phase_is_heard_as_it_is_in_phase() -> None:
    y = song(110.0, 9, "minor", 16.0)
    assert measure(np.stack([y, -y]), -14.0) == measure(np.stack([y, y]), -14.0) == measure(y, -14.0)


def test_a_melody_on_the_side_alone_gives_the_key() -> None:
    melody = song(100.0, 3, "major", 16.0, drums=0.0)
    drums = song(100.0, 3, "major", 16.0) - melody
    features = measure(np.stack([drums + melody, drums - melody]), -14.0)
    assert (features.key, features.mode) == ("D#", "major")
    assert features.tempo == pytest.approx(100.0, rel=0.01)


def test_five_seconds_of_music_in_two_minutes_of_silence_have_their_tempo_and_key() -> None:
    y = np.zeros(120 * SAMPLE_RATE, np.float32)
    y[50 * SAMPLE_RATE : 55 * SAMPLE_RATE] = song(120.0, 9, "minor", 5.0)
    features = measure(y, -20.0)
    assert features.tempo == pytest.approx(120.0, rel=0.01)
    assert (features.key, features.mode) == ("A", "minor")
    assert all(49.5 < beat < 55.5 for beat in features.beats)
    assert features.onset_rate > 0.0


@pytest.mark.parametrize("bpm", [40.0, 52.0, 90.0, 120.0])
def test_a_metronome_in_silence_has_its_tempo(bpm: float) -> None:
    features = measure(metronome(bpm, 30.0), -30.0)
    assert features.tempo == pytest.approx(bpm, rel=0.01)
    assert len(features.beats) == pytest.approx(30.0 * bpm / 60.0, abs=2)


@pytest.mark.parametrize("bars", [1, 2, 3])
@pytest.mark.parametrize("bpm", [85.0, 100.0, 125.0, 140.0])
def test_a_short_loop_has_its_tempo_or_none(bpm: float, bars: int) -> None:
    features = measure(song(bpm, 9, "minor", bars * 240.0 / bpm), -14.0)
    assert not features.tempo or truth.same_tempo(features.tempo, bpm, octaves=True)
    assert bool(features.tempo) == bool(features.beats) == bool(features.tempo_confidence)


def test_too_short_a_clip_is_not_said_to_be_without_a_beat() -> None:
    features = measure(song(125.0, 9, "minor", 1.0), -14.0)
    assert (features.tempo, features.tempo_confidence, features.beats) == (0.0, 0.0, [])
    assert not {"beatless", "slow", "mid-tempo", "fast"} & set(tags(features))


@pytest.mark.parametrize("partials", [1, 2, 8])
@pytest.mark.parametrize("hertz", [55.0, 100.0, 261.6, 440.0, 880.0])
def test_a_single_tone_has_no_key(hertz: float, partials: int) -> None:
    features = measure(tone(hertz, 6.0, partials), -20.0)
    assert (features.key, features.mode, features.key_confidence) == (None, None, 0.0)
    assert not {"major", "minor"} & set(tags(features))


def percussion(bpm: float, snare: float, seed: int) -> np.ndarray:
    """20 s of a drum kit [shape=(n,)]: kicks that fall to 50 Hz, snares with some tone, hi-hats."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(60.0 / bpm * SAMPLE_RATE)) / SAMPLE_RATE
    beats = []
    for beat in range(int(20.0 * bpm / 60.0)):
        kick = np.sin(2 * np.pi * (50.0 * t + 2.0 * (1.0 - np.exp(-40.0 * t)))) * np.exp(-12.0 * t)
        strike = rng.standard_normal(len(t)) * np.exp(-20.0 * t)
        strike += 0.5 * np.sin(2 * np.pi * snare * t) * np.exp(-25.0 * t)
        hat = rng.standard_normal(len(t)) * np.exp(-80.0 * t)
        beats.append((0.24 * strike if beat % 2 else 0.4 * kick) + 0.15 * hat)
    return np.concatenate(beats).astype(np.float32)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("bpm", "snare"), [(90.0, 180.0), (120.0, 190.0), (174.0, 230.0)])
def test_drums_have_no_key(bpm: float, snare: float, seed: int) -> None:
    features = measure(percussion(bpm, snare, seed), -20.0)
    assert (features.key, features.mode, features.key_confidence) == (None, None, 0.0)


@pytest.mark.parametrize("seed", range(6))
def test_a_click_has_no_key(seed: int) -> None:
    click = np.zeros(20 * SAMPLE_RATE, dtype=np.float32)
    strike = np.random.default_rng(seed).standard_normal(441) * np.exp(-np.arange(441) / 88.0)
    click[5 * SAMPLE_RATE :][:441] = 0.5 * strike
    assert measure(click, -30.0).key is None
    assert measure(metronome(90.0 + 10.0 * seed, 20.0), -30.0).key is None


def test_short_notes_over_drums_have_their_key() -> None:
    t = np.arange(SAMPLE_RATE // 4) / SAMPLE_RATE
    steps = (0, 4, 7, 12, 5, 9, 12, 17, 7, 11, 14, 19, 4, 7, 12, 16)
    plucks = [
        np.sin(2 * np.pi * 261.6 * 2.0 ** (steps[k % 16] / 12) * t) * np.exp(-25.0 * t) for k in range(80)
    ]
    music = 0.3 * np.concatenate(plucks)
    assert measure(music, -20.0).key == "C"
    drums = percussion(120.0, 190.0, 1)[: len(music)]
    assert measure(music[: len(drums)] + 0.5 * drums, -20.0).key == "C"


def test_a_bare_fifth_has_no_key() -> None:
    features = measure(tone(220.0, 6.0, 1) + tone(330.0, 6.0, 1), -20.0)
    assert features.key is None


def test_the_surer_the_tempo_and_key_the_higher_their_confidence() -> None:
    clear = measure(song(120.0, 0, "major"), -14.0)
    hidden = measure(song(120.0, 0, "major") + 0.6 * noise(24.0)[0], -14.0)
    assert 0.9 < clear.tempo_confidence <= 1.0  # type: ignore[operator]
    assert 0.6 < clear.key_confidence <= 1.0  # type: ignore[operator]
    assert hidden.tempo_confidence <= clear.tempo_confidence  # type: ignore[operator]
    assert hidden.key_confidence < clear.key_confidence  # type: ignore[operator]


@pytest.mark.parametrize("sound", [noise(20.0)[0], room_tone(20.0)], ids=["noise", "room tone"])
@pytest.mark.parametrize("gain", [1.0, 0.003])
def test_noise_and_room_tone_are_no_silence_and_have_neither_tempo_nor_key(
    sound: np.ndarray, gain: float
) -> None:
    features = measure(gain * sound, -30.0)
    assert (features.tempo, features.key, features.beats) == (0.0, None, [])
    assert features.spectral_centroid > 0.0
    assert "silent" not in tags(features)


def test_dither_is_silence() -> None:
    features = measure(dither(5.0), -np.inf)
    assert features == Features(5.0, 0.0, None, None, None, 0.0, 0.0, [], 0.0, 0.0, bars_confidence=0.0)
    assert tags(features) == ["silent"]


@pytest.mark.parametrize("gain", [1e-3, 30.0])
def test_the_level_of_music_changes_nothing_but_its_loudness(gain: float) -> None:
    y = song(92.0, 7, "minor", 12.0)
    assert measure(gain * y, -14.0) == measure(y, -14.0)


def test_an_offset_of_either_channel_is_not_heard() -> None:
    y = np.stack([song(92.0, 7, "minor", 12.0), song(92.0, 7, "minor", 12.0, drums=0.0)])
    moved = measure(y + np.array([[0.3], [-0.1]], np.float32), -14.0)
    same = measure(y, -14.0)
    assert replace(moved, spectral_centroid=0.0) == replace(same, spectral_centroid=0.0)
    assert moved.spectral_centroid == pytest.approx(same.spectral_centroid, rel=0.001)


def test_records_from_before_confidence_was_measured_still_load() -> None:
    old = {
        "duration": 5.0, "tempo": 120.0, "key": "C", "mode": "major", "loudness": -14.0,
        "spectral_centroid": 1000.0, "onset_rate": 2.0, "beats": [0.5, 1.0],
    }  # fmt: skip
    features = Features.from_dict(old)
    assert (features.tempo_confidence, features.key_confidence, features.fold) == (None, None, "mean")
    assert tags(features)[:2] == ["mid-tempo", "major"]


@pytest.mark.parametrize("style", ["pop", "house", "rock", "waltz", "techno", "synthwave"])
def test_composed_music_is_measured_as_it_was_written(style: str) -> None:
    """Two pieces of each, played by the built-in synthesizer."""
    for seed in (1, 2):
        piece, audio = truth.rendered(seed, style, 15.0, SAMPLE_RATE)
        features = measure(audio, -14.0)
        assert truth.same_tempo(features.tempo, piece.tempo, octaves=True)
        assert truth.key_score((features.key, features.mode), (piece.key, piece.mode)) >= 0.5


def test_form_is_high_where_phrases_return_and_low_where_none_does() -> None:
    again = song(120.0, 2, "minor", 24.0)
    assert measure_likeness(again)[2] > 0.8
    rng = np.random.default_rng(5)
    never = np.concatenate(
        [song(120.0, int(tonic), "minor", 2.0)[: round(1.5 * 22050)] for tonic in rng.permutation(12)]
    )
    assert measure_likeness(never)[2] < measure_likeness(again)[2] - 0.1
    assert measure_likeness(drone(12.0))[2] == 0.0
