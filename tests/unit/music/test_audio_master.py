"""Mastering: exact length, loudness within 1 LU, true peaks under the ceiling, no clicks, silence."""

from __future__ import annotations

import numpy as np
import pyloudnorm
import pytest
from scipy import signal

from music.audio.loudness import integrated_loudness
from music.audio.master import Mastered, master, master_loop

RATE = 32000


def music(seconds: float = 6.0, channels: int = 2, crest: float = 1.0, seed: int = 0) -> np.ndarray:
    """Noise bed and a decaying hit every half second, ``crest`` times as high as the bed is loud."""
    rng = np.random.default_rng(seed)
    n = round(seconds * RATE)
    bed = signal.lfilter([1.0], [1.0, -0.95], rng.standard_normal((channels, n)))
    hits = np.exp(-60.0 * (np.arange(n) / RATE % 0.5)) * np.sin(2 * np.pi * 180 * np.arange(n) / RATE)
    return (0.02 * bed + 0.1 * crest * hits).astype(np.float32)


def peak16(audio: np.ndarray) -> float:
    """True peak by another filter and finer steps than ours."""
    return float(20 * np.log10(np.abs(signal.resample_poly(audio.astype(np.float64), 16, 1, axis=1)).max()))


def check(result: Mastered, target: float, duration: float) -> None:
    meter = pyloudnorm.Meter(RATE)
    assert result.audio.dtype == np.float32
    assert result.audio.shape[1] == round(duration * RATE)
    assert meter.integrated_loudness(result.audio.T.astype(np.float64)) == pytest.approx(target, abs=0.5)
    assert result.loudness == pytest.approx(target, abs=0.5)
    assert peak16(result.audio) <= -1.0
    assert result.true_peak <= -1.0
    assert result.on_target


@pytest.mark.parametrize("target", [-40.0, -30.0, -23.0, -18.0, -14.0])
@pytest.mark.parametrize("crest", [0.5, 2.0, 8.0])
@pytest.mark.parametrize("level", [0.01, 1.0, 4.0])
def test_targets_are_met_under_the_ceiling(target: float, crest: float, level: float) -> None:
    check(master(level * music(crest=crest), RATE, duration=5.5, target_loudness=target), target, 5.5)


def test_a_plain_gain_where_no_limiter_is_needed() -> None:
    audio = music()
    result = master(audio, RATE, duration=6.0, target_loudness=-30.0)
    middle = slice(RATE, 4 * RATE)
    ratio = result.audio[:, middle] / audio[:, middle]
    assert not result.limited
    assert np.ptp(ratio[np.abs(audio[:, middle]) > 1e-3]) < 1e-5


def test_the_limiter_only_touches_peaks() -> None:
    audio = music(crest=8.0)
    result = master(audio, RATE, duration=6.0, target_loudness=-16.0)
    assert result.limited
    quiet = slice(round(2.3 * RATE), round(2.45 * RATE))  # 0.3 s after a hit
    ratio = result.audio[0, quiet] / audio[0, quiet]
    ratio = ratio[np.abs(audio[0, quiet]) > 1e-3]
    assert np.ptp(20 * np.log10(ratio)) < 0.01
    left, right = result.audio[:, RATE : 2 * RATE], audio[:, RATE : 2 * RATE]
    assert np.allclose(left[0] * right[1], left[1] * right[0], atol=1e-5)  # one gain for both channels


def test_the_limiter_is_gentle_with_a_steady_tone() -> None:
    """A 60 Hz tone pushed 3 dB over the ceiling comes out nearly without overtones."""
    t = np.arange(6 * RATE) / RATE
    tone = (0.9 * np.sin(2 * np.pi * 60 * t)).astype(np.float32)[None]
    loudness = integrated_loudness(tone, RATE)
    result = master(tone, RATE, duration=6.0, target_loudness=loudness + 3.0)
    spectrum = np.abs(np.fft.rfft(result.audio[0, RATE : 5 * RATE] * np.blackman(4 * RATE)))
    overtones = np.sqrt(np.sum(spectrum[400:] ** 2) / np.sum(spectrum**2))
    assert overtones < 0.01


def test_the_ceiling_wins_over_a_target_out_of_reach() -> None:
    result = master(music(crest=30.0), RATE, duration=6.0, target_loudness=-5.0)
    assert result.limited
    assert not result.on_target
    assert result.loudness < -6.0
    assert peak16(result.audio) <= -1.0


@pytest.mark.parametrize("seconds", [1.0, 1.00003, 2.5, 7.77])
def test_length_is_exact(seconds: float) -> None:
    result = master(music(8.0), RATE, duration=seconds, target_loudness=-20.0)
    assert result.audio.shape == (2, round(seconds * RATE))


def test_a_little_missing_is_silence_and_much_is_an_error() -> None:
    audio = music(5.95)
    result = master(audio, RATE, duration=6.0, target_loudness=-20.0)
    assert result.audio.shape[1] == 6 * RATE
    assert not result.audio[:, audio.shape[1] :].any()
    with pytest.raises(ValueError, match="samples"):
        master(music(5.8), RATE, duration=6.0, target_loudness=-20.0)


def test_it_begins_and_ends_at_zero() -> None:
    audio = np.full((2, 3 * RATE), 0.3, np.float32)
    audio[:, ::2] *= -1
    result = master(audio, RATE, duration=3.0, target_loudness=None).audio
    assert result[0, 0] == 0.0
    assert np.abs(result[:, -3:]).max() < 1e-4
    assert np.abs(result[:, round(0.02 * RATE)]).min() > 0.2
    assert np.abs(result[:, -round(0.31 * RATE)]).min() > 0.2


@pytest.mark.parametrize("target", [None, -np.inf, -20.0])
def test_silence_stays_silence(target: float | None) -> None:
    result = master(np.zeros((2, RATE), np.float32), RATE, duration=1.0, target_loudness=target)
    assert not result.audio.any()
    assert result.loudness == result.true_peak == -np.inf
    assert not result.limited
    assert not result.on_target


@pytest.mark.parametrize("target", [None, -np.inf])
def test_without_a_target_only_the_ceiling_counts(target: float | None) -> None:
    quiet = master(0.1 * music(), RATE, duration=6.0, target_loudness=target)
    assert quiet.loudness == pytest.approx(integrated_loudness(0.1 * music(), RATE), abs=0.3)
    loud = master(20 * music(), RATE, duration=6.0, target_loudness=target)
    assert peak16(loud.audio) <= -1.0
    assert not loud.on_target


def test_the_candidate_itself_is_not_changed() -> None:
    audio = music()
    before = audio.copy()
    master(audio, RATE, duration=5.0, target_loudness=-14.0)
    assert np.array_equal(audio, before)


def test_broken_candidates_are_an_error() -> None:
    audio = music()
    audio[0, 1000] = np.nan
    with pytest.raises(ValueError, match="finite"):
        master(audio, RATE, duration=5.0, target_loudness=-20.0)


def test_it_is_deterministic() -> None:
    first, second = (master(music(crest=6.0), RATE, duration=5.0, target_loudness=-14.0) for _ in range(2))
    assert np.array_equal(first.audio, second.audio)


def test_a_loop_keeps_its_length_and_is_mastered_round_and_round() -> None:
    rng = np.random.default_rng(0)
    seconds = np.arange(4 * RATE) / RATE
    loop = (0.1 * np.sin(2 * np.pi * 220.0 * seconds) + 0.01 * rng.standard_normal(len(seconds)))[None]
    loop[0, :200] += 0.9  # a beat at the seam, which the limiter must see coming
    one = master_loop(loop.astype(np.float32), RATE, target_loudness=-14.0)
    assert one.audio.shape == loop.shape
    assert one.limited
    assert peak16(np.tile(one.audio, (1, 2))) <= -1.0
    turned = master_loop(np.roll(loop, RATE, axis=1).astype(np.float32), RATE, target_loudness=-14.0)
    assert np.abs(np.roll(one.audio, RATE, axis=1) - turned.audio).max() < 0.05 * np.abs(one.audio).max()
