"""Time-frequency analysis against librosa, and against signals whose answer is known."""

import tracemalloc

import librosa
import numpy as np
import pytest

from music.dsp import harmony, rhythm, spectra

RATE = 22050


def noise(seconds: float, seed: int = 0, level: float = 0.1) -> np.ndarray:
    return (level * np.random.default_rng(seed).standard_normal(int(seconds * RATE))).astype(np.float32)


def tone(frequency: float, seconds: float, partials: int = 4) -> np.ndarray:
    t = np.arange(int(seconds * RATE)) / RATE
    return sum(np.sin(2 * np.pi * frequency * k * t) / k**1.5 for k in range(1, partials + 1)).astype(
        np.float32
    )


def key_of(y: np.ndarray) -> tuple[str, str, float] | None:
    return harmony.estimate_key(harmony.pitch_salience(y, RATE), RATE / spectra.HOP)


def curves_of(y: np.ndarray) -> np.ndarray:
    return rhythm.onset_curves(rhythm.mel_bands(y, RATE), harmony.pitch_salience(y, RATE))


def clicks(bpm: float, seconds: float, seed: int = 0) -> np.ndarray:
    """Short bursts of noise, one a beat, the first at 0.1 s."""
    y = np.zeros(int(seconds * RATE), dtype=np.float32)
    burst = np.random.default_rng(seed).standard_normal(1500) * np.exp(-np.arange(1500) / 300.0)
    for start in np.arange(0.1, seconds - 0.1, 60.0 / bpm):
        y[int(start * RATE) :][:1500] += (0.3 * burst).astype(np.float32)[: len(y) - int(start * RATE)]
    return y


def test_the_power_spectrogram_is_that_of_librosa() -> None:
    y = noise(3.3) + tone(440.0, 3.3)
    expected = np.abs(librosa.stft(y, n_fft=2048, hop_length=512, pad_mode="constant")) ** 2
    ours = np.concatenate([power for _, power in spectra.power_blocks(y, 2048, 512)]).T
    assert ours.shape == expected.shape
    np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-6 * expected.max())


@pytest.mark.parametrize(
    ("rate", "n_fft", "n_mels"), [(22050, 2048, 128), (44100, 2048, 80), (32000, 1024, 40)]
)
def test_the_mel_filters_are_those_of_librosa(rate: int, n_fft: int, n_mels: int) -> None:
    expected = librosa.filters.mel(sr=rate, n_fft=n_fft, n_mels=n_mels)
    np.testing.assert_allclose(
        spectra.mel_filterbank(rate, n_fft, n_mels), expected, rtol=1e-4, atol=1e-5 * expected.max()
    )


def test_mel_bands_and_cepstra_are_those_of_librosa() -> None:
    y = noise(2.0) * np.linspace(0.0, 1.0, 2 * RATE, dtype=np.float32) + tone(220.0, 2.0)
    mel = librosa.feature.melspectrogram(y=y, sr=RATE, n_mels=128, pad_mode="constant")
    np.testing.assert_allclose(spectra.mel_spectrogram(y, RATE), mel, rtol=2e-3, atol=1e-6 * mel.max())
    expected = librosa.feature.mfcc(S=librosa.power_to_db(mel), n_mfcc=20)
    np.testing.assert_allclose(spectra.mfcc(spectra.mel_spectrogram(y, RATE)), expected, atol=0.05)


def test_a_spectrum_does_not_depend_on_where_blocks_begin() -> None:
    y = noise(20.0)
    later = spectra.mel_spectrogram(y[100 * 512 :], RATE)
    np.testing.assert_allclose(spectra.mel_spectrogram(y, RATE)[:, 110:300], later[:, 10:200], rtol=1e-4)


@pytest.mark.parametrize("cents", [0, 30, -40])
@pytest.mark.parametrize("midi", [40, 57, 60, 66, 83])
def test_a_note_lights_its_pitch_class_whatever_the_tuning(midi: int, cents: int) -> None:
    frequency = 440.0 * 2.0 ** ((midi - 69 + cents / 100.0) / 12.0)
    chroma = harmony.chroma(tone(frequency, 2.0, partials=2), RATE).mean(axis=1)
    assert int(np.argmax(chroma)) == midi % 12
    assert chroma[midi % 12] > 0.9 * chroma.sum()


def test_copies_of_music_in_no_one_tuning_have_the_same_notes() -> None:
    """Half the sounds lie a quarter tone beside the others: a twentieth of a cent could tip the tuning."""
    notes = []
    for tip in (-0.0005, 0.0005):
        y = np.zeros(4 * RATE, dtype=np.float32)
        for pitch, level in zip((45, 52, 57, 64, 69, 76), (0.1, 0.0985) * 3, strict=True):
            beside = 0.5 + tip if level < 0.1 else 0.0
            y += level * tone(440.0 * 2.0 ** ((pitch + beside - 69.0) / 12.0), 4.0, partials=1)
        notes.append(harmony.pitch_salience(y, RATE).mean(axis=1))
    assert np.corrcoef(notes)[0, 1] > 0.995


def chord(midis: tuple[int, ...], seconds: float) -> np.ndarray:
    fade = np.minimum(1.0, np.arange(int(seconds * RATE))[::-1] / 1000.0)
    return (sum(tone(440.0 * 2 ** ((m - 69) / 12), seconds) for m in midis) * 0.1 * fade).astype(np.float32)


@pytest.mark.parametrize("tonic", range(12))
@pytest.mark.parametrize("mode", ["major", "minor"])
def test_a_cadence_has_its_key(tonic: int, mode: str) -> None:
    third = 4 if mode == "major" else 3
    one = (0, third, 7)
    four = (5, 5 + third, 12)
    five = (7, 11, 14)
    y = np.concatenate([chord(tuple(48 + tonic + n for n in notes), 0.7) for notes in (one, four, five, one)])
    key = key_of(y)
    assert key is not None
    assert key[:2] == (harmony.PITCH_CLASSES[tonic], mode)


def test_noise_and_silence_have_no_key() -> None:
    assert key_of(np.zeros(RATE * 5, np.float32)) is None
    for seed in range(3):
        assert key_of(noise(20.0, seed)) is None


@pytest.mark.parametrize("bpm", [62, 75, 90, 100, 113.5, 120, 128, 140, 150])
def test_a_click_track_has_its_tempo_and_its_beats(bpm: float) -> None:
    y = clicks(bpm, 20.0)
    frame_rate = RATE / rhythm.HOP
    curves = curves_of(y)
    tempo, confidence = rhythm.estimate_tempo(curves, frame_rate)
    assert tempo == pytest.approx(bpm, rel=0.01)
    assert confidence > 0.8
    beats = rhythm.track_beats(curves, frame_rate, tempo)
    expected = np.arange(0.1, 19.9, 60.0 / bpm)
    assert len(beats) >= len(expected) - 2
    assert max(np.abs(expected - beat).min() for beat in beats) < 0.025


@pytest.mark.parametrize("bpm", [50, 180, 200])
def test_a_tempo_far_from_the_usual_is_right_up_to_the_octave(bpm: float) -> None:
    tempo, _ = rhythm.estimate_tempo(curves_of(clicks(bpm, 20.0)), RATE / rhythm.HOP)
    octaves = np.log2(tempo / bpm)
    assert octaves == pytest.approx(round(octaves), abs=0.015)


@pytest.mark.parametrize("bpm", [70.0, 96.0, 120.0])
@pytest.mark.parametrize("others", [(3,), (6,), (8,), (9,), (3, 9), (4, 8), (6, 9), (2, 6, 8), (3, 6, 9)])
def test_a_beat_is_where_something_begins(bpm: float, others: tuple[int, ...]) -> None:
    period = 60.0 / bpm
    starts = [place / 12 * period for place in (0, *others)]
    y = sum(np.roll(clicks(bpm, 12.0), round(start * RATE)) for start in starts)
    beats = rhythm.track_beats(curves_of(np.asarray(y)), RATE / rhythm.HOP, bpm)
    late = (beats[:, None] - 0.1 - np.array(starts)) / period
    assert len(beats) >= 12.0 / period - 3
    assert (np.abs(late - np.round(late)).min(axis=1) * period).max() < 0.05


def test_beats_follow_a_tempo_that_drifts() -> None:
    times = np.cumsum(np.linspace(0.5, 0.55, 60))
    y = np.zeros(int((times[-1] + 0.5) * RATE), dtype=np.float32)
    for time in times:
        y[int(time * RATE) :][:400] += noise(400 / RATE, seed=1)[: len(y) - int(time * RATE)]
    curves = curves_of(y)
    tempo, _ = rhythm.estimate_tempo(curves, RATE / rhythm.HOP)
    beats = rhythm.track_beats(curves, RATE / rhythm.HOP, tempo)
    found = sum(np.abs(beats - time).min() < 0.04 for time in times)
    assert found >= 56


def test_onsets_are_found_where_notes_begin() -> None:
    starts = np.array([0.5, 0.9, 1.0, 1.7, 2.6, 2.75, 3.4])
    y = np.zeros(4 * RATE, dtype=np.float32)
    for index, start in enumerate(starts):
        length = int(0.35 * RATE)
        note = tone(220.0 * 2 ** (index * 5 % 12 / 12), 0.35) * np.exp(-np.arange(length) / 3000.0)
        y[int(start * RATE) :][:length] += 0.3 * note.astype(np.float32)
    envelope = rhythm.superflux(rhythm.mel_bands(y, RATE))
    onsets = rhythm.pick_onsets(envelope, RATE / rhythm.HOP) * rhythm.HOP / RATE
    assert len(onsets) == len(starts)
    np.testing.assert_allclose(onsets, starts, atol=0.035)


def test_a_softer_copy_has_the_same_onsets() -> None:
    y = clicks(100.0, 8.0) + noise(8.0, level=0.01)
    np.testing.assert_allclose(
        rhythm.superflux(rhythm.mel_bands(y * 0.5, RATE)),
        rhythm.superflux(rhythm.mel_bands(y, RATE)),
        atol=1e-4,
    )


def test_the_centroid_is_that_of_librosa() -> None:
    y = noise(2.0)
    expected = librosa.feature.spectral_centroid(y=y, sr=RATE, pad_mode="constant")[0]
    np.testing.assert_allclose(spectra.centroid(y, RATE), expected, rtol=1e-3)


@pytest.mark.parametrize("n", [0, 1, 100, 255, 512, 5000])
def test_any_length_gives_finite_frames(n: int) -> None:
    y = noise(1.0)[:n]
    frames = 1 + n // spectra.HOP
    for result in (
        spectra.mel_spectrogram(y, RATE),
        spectra.mfcc(spectra.mel_spectrogram(y, RATE)),
        harmony.chroma(y, RATE),
    ):
        assert result.shape[1] == frames
        assert np.isfinite(result).all()
    curves = curves_of(y)
    assert np.isfinite(curves).all()
    assert rhythm.estimate_tempo(curves, RATE / rhythm.HOP) == (0.0, 0.0)
    assert len(rhythm.pick_onsets(curves[0], RATE / rhythm.HOP)) <= 4


def test_silence_has_neither_pulse_nor_onsets() -> None:
    curves = curves_of(np.zeros(RATE * 10, np.float32))
    assert not curves.any()
    assert rhythm.estimate_tempo(curves, 86.0) == (0.0, 0.0)
    assert not len(rhythm.track_beats(curves, 86.0, 120.0))
    assert not len(rhythm.pick_onsets(curves[0], 86.0))


def test_memory_grows_with_what_is_kept_not_with_the_spectra() -> None:
    y = noise(120.0)
    tracemalloc.start()
    harmony.chroma(y, RATE)
    spectra.mel_spectrogram(y, RATE)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50e6  # the spectra alone would be 85 MB at this length


def test_music_around_a_time_votes_for_its_own_tempo() -> None:
    """Some seconds from where the tempo changes."""
    y = np.concatenate([clicks(90.0, 40.0), clicks(132.0, 40.0)])
    votes = rhythm.tempo_votes(curves_of(y), RATE / rhythm.HOP, np.arange(0.0, 80.0))
    slow, fast = (int(np.abs(rhythm.tempos() - bpm).argmin()) for bpm in (90.0, 132.0))
    assert votes.shape == (80, len(rhythm.tempos()))
    assert (votes[:33, slow] > votes[:33, fast]).all()
    assert (votes[47:, slow] < votes[47:, fast]).all()


def test_a_piece_shorter_than_what_votes_are_of_votes_as_a_whole() -> None:
    votes = rhythm.tempo_votes(curves_of(clicks(120.0, 4.0)), RATE / rhythm.HOP, np.array([0.0, 2.0, 4.0]))
    assert np.isfinite(votes).all()
    assert np.allclose(votes[0], votes[1])
