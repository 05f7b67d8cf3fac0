"""What features and embedder measure of the same sound is measured once, and is the same."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from music import features
from music.analysis import analyse
from music.dsp import harmony, spectra
from music.dsp.sound import Sound
from music.mir512.embedder import SAMPLE_RATE, Mir512


def music(seconds: float) -> np.ndarray:
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    beats = 1.0 + np.sign(np.sin(2 * np.pi * 2.0 * t))
    chord = [np.sin(2 * np.pi * hertz * t) for hertz in (220.0, 277.2, 329.6)]
    noise = 0.02 * np.random.default_rng(0).standard_normal((2, len(t)))
    return (0.1 * sum(chord) * beats + noise).astype(np.float32)


@pytest.mark.parametrize("seconds", [0.0, 1.0, 20.0])
def test_what_is_shared_is_what_each_would_measure_alone(seconds: float) -> None:
    audio = music(seconds)
    sound = Sound(audio, SAMPLE_RATE)
    assert features.measure(audio, -14.0, sound) == features.measure(audio, -14.0)
    for shared, alone in zip(
        features.measure_likeness(audio, sound), features.measure_likeness(audio), strict=True
    ):
        np.testing.assert_array_equal(shared, alone)
    np.testing.assert_array_equal(Mir512().embed(audio, sound), Mir512().embed(audio))
    np.testing.assert_array_equal(sound.mel, spectra.mel_spectrogram(sound.samples, SAMPLE_RATE))
    np.testing.assert_array_equal(sound.centroid, spectra.centroid(sound.samples, SAMPLE_RATE))


def test_an_analysis_measures_notes_and_spectra_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: Counter[str] = Counter()

    def counting(module: object, name: str) -> None:
        measure = getattr(module, name)

        def called(*args: object) -> object:
            counted[name] += 1
            return measure(*args)

        monkeypatch.setattr(module, name, called)

    counting(harmony, "pitch_salience")
    counting(spectra, "timbre")
    counting(spectra, "centroid")
    counting(spectra, "mel_spectrogram")
    soundfile.write(tmp_path / "a.wav", music(20.0).T, SAMPLE_RATE)
    analyse(tmp_path / "a.wav", Mir512())
    assert counted == {"pitch_salience": 1, "timbre": 1}
