"""CLAP's spectrograms against librosa's, whose filter bank and definition they have."""

from __future__ import annotations

import librosa
import numpy as np
import pytest

from music.clap import mel


def theirs(sound: np.ndarray) -> np.ndarray:
    power = librosa.feature.melspectrogram(
        y=sound.astype(np.float64), sr=48_000, n_fft=1024, hop_length=480, n_mels=64, fmin=50, fmax=14_000,
        power=2.0, pad_mode="reflect",
    )  # fmt: skip
    return 10 * np.log10(np.maximum(power.T, 1e-10))


@pytest.mark.parametrize("kind", ["noise", "tone", "clicks", "offset"])
def test_it_equals_librosas(kind: str) -> None:
    t = np.arange(mel.WINDOW) / mel.SAMPLE_RATE
    sound = {
        "noise": np.random.default_rng(1).standard_normal(mel.WINDOW) * 0.1,
        "tone": np.sin(2 * np.pi * 60 * t) + 1e-3 * np.sin(2 * np.pi * 13_900 * t),
        "clicks": np.where(np.arange(mel.WINDOW) % 24_000 == 100, 1.0, 0.0),
        "offset": np.full(mel.WINDOW, 0.5),
    }[kind].astype(np.float32)
    found = mel.log_mel(sound)
    assert found.shape == (mel.FRAMES, mel.BINS)
    assert found.dtype == np.float32
    # Spectra are rounded to float32 on the way: what is 120 dB below the loudest bin is rounding.
    expected = theirs(sound)
    loud = expected > expected.max(axis=1, keepdims=True) - 100
    assert np.abs(found - expected)[loud].max() < 2e-3


def test_silence_is_the_floor() -> None:
    assert (mel.log_mel(np.zeros(mel.WINDOW, np.float32)) == -100).all()


def test_a_window_has_one_length() -> None:
    for length in (479_999, 480_001):
        with pytest.raises(ValueError, match="480000"):
            mel.log_mel(np.zeros(length, np.float32))
