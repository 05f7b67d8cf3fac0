"""Channels together: offset, silence, and what stands for all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from music.analysis import analyse
from music.dsp.channels import SILENCE, Levels, centred, folded, is_silent, levelled
from music.features import Features
from music.interfaces import Candidate, Parameters, Request
from music.loading import load
from music.mir512.embedder import Mir512
from music.mosaic.generator import Mosaic
from music.production import generate
from tests.support.sound import dither, metronome, noise, room_tone, song

RATE = 22050


def test_the_mean_is_kept_to_the_bit_as_long_as_it_is_heard() -> None:
    left, right = noise(2.0, seed=1)[0], noise(2.0, seed=2)[0]
    for pair in ((left, right), (left, left), (left, 0.0 * left), (left, -0.25 * left)):
        stereo = np.stack(pair).astype(np.float32)
        assert Levels(stereo).fold == "mean"
        assert folded(stereo).tobytes() == stereo.mean(axis=0).tobytes()


def test_where_channels_cancel_their_side_is_taken() -> None:
    wave = noise(2.0)[0]
    for other in (-wave, -0.5 * wave):
        stereo = np.stack([wave, other]).astype(np.float32)
        assert Levels(stereo).fold == "side"
        np.testing.assert_allclose(folded(stereo), 0.5 * (stereo[0] - stereo[1]), atol=1e-7)


def test_an_offset_of_one_channel_does_not_decide_what_stands_for_both() -> None:
    wave = noise(2.0)[0]
    assert Levels(np.stack([wave + 0.5, -wave + 0.5])).fold == "side"


def test_blocks_have_the_levels_of_the_whole() -> None:
    audio = np.stack([noise(3.0, seed=1)[0], noise(3.0, seed=2)[0] + 0.2])
    parts = np.array_split(audio, 7, axis=1)
    assert Levels(*parts).fold == Levels(audio).fold
    for gain in (1.0, 1e-4):
        assert Levels(*(gain * part for part in parts)).silent == is_silent(gain * audio) == (gain < 1.0)


def test_silence_is_what_has_no_peak_over_80_db_below_full_scale() -> None:
    wave = metronome(60.0, 3.0)[None]
    wave = wave / np.abs(wave).max()
    assert is_silent(wave * np.float32(0.9 * SILENCE))
    assert not is_silent(wave * np.float32(1.1 * SILENCE))
    assert is_silent(dither(3.0)[None])
    assert is_silent(np.zeros((2, 0), np.float32))
    assert is_silent(np.full((1, 100), 0.3, np.float32))  # an offset is no sound


def test_small_offsets_stay_where_every_bit_counts() -> None:
    wave = noise(2.0)
    wave -= wave.mean()
    assert centred(wave + np.float32(0.0005), 0.01).tobytes() == (wave + np.float32(0.0005)).tobytes()
    np.testing.assert_allclose(centred(wave + np.float32(0.1), 0.01), wave, atol=1e-6)


def test_what_is_measured_has_one_level_and_no_offset() -> None:
    audio, gain = levelled(0.01 * noise(2.0)[0] + 0.3)
    assert audio.shape == (1, 2 * RATE)
    assert gain == pytest.approx(100.0, rel=0.02)
    assert float(np.sqrt(np.mean(audio**2))) == pytest.approx(0.1, rel=1e-3)
    assert abs(float(audio.mean())) < 1e-4
    assert levelled(np.zeros(10, np.float32))[1] == 0.0


def stereo_file(path: Path, audio: np.ndarray) -> Path:
    soundfile.write(path, audio.T, RATE, format="WAV", subtype="FLOAT")
    return path


def test_a_track_in_opposite_phase_has_the_vector_of_the_same_in_phase() -> None:
    y = song(110.0, 9, "minor", 12.0)
    vectors = [Mir512().embed(audio) for audio in (y, np.stack([y, y]), np.stack([y, -y]))]
    assert min(vectors[0] @ vectors[1], vectors[0] @ vectors[2]) > 0.9999
    assert abs(vectors[2][-1]) < 1e-6  # it is not on the axis of silence


def test_a_melody_on_the_side_alone_is_in_the_vector() -> None:
    melody = song(100.0, 3, "major", 12.0, drums=0.0)
    drums = song(100.0, 3, "major", 12.0) - melody
    spread = Mir512().embed(np.stack([drums + melody, drums - melody]))
    assert spread @ Mir512().embed(drums + melody) > spread @ Mir512().embed(drums) + 0.2


def made(source: np.ndarray, **wanted: float) -> Candidate:
    features = Features(12.0, 110.0, "A", "minor", -14.0, 1500.0, 2.0, list(np.arange(0.05, 12.0, 60 / 110)))
    request = Request(source, features, Parameters(**({"seed": 1, "duration": 6.0} | wanted)))  # type: ignore[arg-type]
    return next(Mosaic().candidates(request, lambda done: None))


@pytest.fixture(scope="module")
def source() -> np.ndarray:
    """Twelve seconds at 32 kHz."""
    y = song(110.0, 9, "minor", 12.0)
    n = 12 * 32000
    return np.interp(np.arange(n) * RATE / 32000, np.arange(len(y)), y).astype(np.float32)


def test_new_music_from_a_track_in_opposite_phase_is_cut_as_in_phase(source: np.ndarray) -> None:
    same, opposite = made(np.stack([source, source])), made(np.stack([source, -source]))
    assert same.details["runs"] == opposite.details["runs"]
    np.testing.assert_allclose(
        opposite.audio[0], -opposite.audio[1], atol=1e-3
    )  # the stretch rounds each channel
    np.testing.assert_allclose(opposite.audio[0], same.audio[0], atol=1e-5)


def test_an_offset_does_not_reach_new_music(source: np.ndarray) -> None:
    plain = made(np.stack([source, source]))
    moved = made(np.stack([source + np.float32(0.3), source - np.float32(0.2)]))
    assert np.abs(moved.audio.mean(axis=1)).max() < 0.005
    assert moved.details["runs"] == plain.details["runs"]


def test_the_softest_music_is_cut_as_loud_music_is(source: np.ndarray) -> None:
    loud, soft = made(source[None]), made(source[None] * np.float32(2.0**-11))
    assert soft.details["runs"] == loud.details["runs"]
    np.testing.assert_allclose(soft.audio * 2.0**11, loud.audio, atol=1e-4)


def test_music_at_minus_75_lufs_is_music_and_is_generated_from_as_music(tmp_path: Path) -> None:
    y = song(120.0, 9, "minor", 12.0)
    path = stereo_file(tmp_path / "x", (y * np.float32(3e-3))[None])
    profile = load("builtin")
    analysis = analyse(path, profile.embedder)
    assert analysis.features.loudness == pytest.approx(-75.0, abs=3.0)
    assert analysis.features.tempo == pytest.approx(120.0, rel=0.01)
    assert (analysis.features.key, analysis.features.mode) == ("A", "minor")
    assert "quiet" in analysis.tags
    assert analysis.vector @ Mir512().embed(y) > 0.999
    parameters = Parameters(seed=1, duration=4.0)
    report = generate(path, profile, parameters, analysis.vector, analysis.features, lambda done: None).report
    assert report["details"]["silent"] is False
    assert report["loudness"]["on_target"]
    assert report["similarity"]["embedding"] > 0.5


def test_dither_is_silence_to_measures_tags_vector_and_generator(tmp_path: Path) -> None:
    path = stereo_file(tmp_path / "x", np.stack([dither(4.0), dither(4.0)]))
    profile = load("builtin")
    analysis = analyse(path, profile.embedder)
    assert (analysis.features.loudness, analysis.tags) == (None, ["silent"])
    assert analysis.vector[-1] == 1.0
    parameters = Parameters(seed=1, duration=2.0)
    report = generate(path, profile, parameters, analysis.vector, analysis.features, lambda done: None).report
    assert report["details"]["silent"] is True


def test_room_tone_is_no_silence(tmp_path: Path) -> None:
    path = stereo_file(tmp_path / "x", (0.001 * room_tone(6.0))[None])
    analysis = analyse(path, load("builtin").embedder)
    assert analysis.features.loudness is not None
    assert "silent" not in analysis.tags
    assert abs(analysis.vector[-1]) < 1e-6


def test_an_offset_moves_neither_loudness_nor_tags_nor_vector(tmp_path: Path) -> None:
    y = np.stack([song(92.0, 7, "minor", 8.0), song(92.0, 7, "minor", 8.0, drums=0.05)])
    plain = analyse(stereo_file(tmp_path / "x", y), load("builtin").embedder)
    moved = analyse(
        stereo_file(tmp_path / "y", y + np.array([[0.3], [-0.2]], np.float32)), load("builtin").embedder
    )
    assert moved.tags == plain.tags
    assert moved.vector @ plain.vector > 0.9999
    assert moved.features.loudness == pytest.approx(plain.features.loudness, abs=0.1)
    assert moved.features.spectral_centroid == pytest.approx(plain.features.spectral_centroid, rel=0.02)
