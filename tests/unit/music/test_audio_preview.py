"""The preview of a track, and the peaks of its waveform."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path

import numpy as np
import pytest

from music.analysis import REVISION, analyse
from music.audio.decode import decode
from music.audio.encode import Encoder, encode
from music.audio.loudness import integrated_loudness
from music.audio.preview import MAX_PEAKS, RATE, WAITING, Preview
from music.dsp import bars, fitted
from music.features import CHROMA_HOP
from music.loading import load_embedder
from tests.support import sound
from tests.support.waiting import eventually


def tone(seconds: float, rate: int, channels: int, hertz: float = 440.0) -> np.ndarray:
    wave = 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)
    return np.tile(wave, (channels, 1)).astype(np.float32)


@pytest.mark.parametrize(
    ("seconds", "rate", "channels"), [(1.0, 8000, 1), (1.0, 44100, 2), (3.0, 48000, 6), (2.0, 192000, 2)]
)
def test_every_file_has_a_preview_that_sounds_as_long(
    tmp_path: Path, seconds: float, rate: int, channels: int
) -> None:
    (tmp_path / "x").write_bytes(sound.wav(tone(seconds, rate, channels), rate))
    analysis = analyse(tmp_path / "x", load_embedder("builtin"))
    (tmp_path / "preview").write_bytes(analysis.preview)
    heard = decode(tmp_path / "preview", rate=RATE, channels=2)
    assert len(heard) == min(channels, 2)
    assert heard.shape[1] / RATE == pytest.approx(seconds, abs=0.01)
    assert np.abs(heard).max() == pytest.approx(max(analysis.peaks), rel=0.1)
    document = analysis.document()
    assert 0 < len(document["peaks"]) <= MAX_PEAKS
    assert all(0 <= peak <= 1 for peak in document["peaks"])
    rows = document["chroma"]["values"]
    assert len(rows) == np.ceil(seconds / CHROMA_HOP)
    assert {len(row) for row in rows} == {12}
    assert all(0 <= value <= 1 for row in rows for value in row)
    assert np.argmax(np.sum(rows, axis=0)) == 9  # A


@pytest.mark.parametrize(
    ("gains", "codec"),
    [
        ([0.3], "pcm_s16le"),
        ([0.3, 0.2], "pcm_s16le"),
        ([0.2] * 6, "pcm_s16le"),
        ([0.0, 0.0, 0.0, 0.0, 0.3, 0.3], "pcm_s16le"),
        ([1.05, 1.05], "pcm_f32le"),
        ([2.0, 1.0], "pcm_f32le"),
        ([30.0] * 2, "pcm_f32le"),
        ([0.0, 8.0, 0.0, 0.0, 8.0, 0.0], "pcm_f32le"),
    ],
)
def test_a_preview_is_as_loud_as_is_told_and_not_distorted(
    tmp_path: Path, gains: list[float], codec: str
) -> None:
    wave = np.sin(2 * np.pi * 440 * np.arange(4 * RATE) / RATE)
    audio = np.outer(gains, wave).astype(np.float32)
    (tmp_path / "x").write_bytes(sound.encode(audio, RATE, "wav", codec))
    analysis = analyse(tmp_path / "x", load_embedder("builtin"))
    (tmp_path / "preview").write_bytes(analysis.preview)
    heard = decode(tmp_path / "preview", rate=RATE, channels=2)
    assert integrated_loudness(heard, RATE) == pytest.approx(analysis.preview_loudness, abs=0.4)
    assert analysis.document()["loudness"] == analysis.preview_loudness
    if max(gains) > 1.26:
        middle = heard[np.abs(heard).max(axis=1).argmax(), RATE : 2 * RATE]
        spectrum = np.abs(np.fft.rfft(middle * np.hanning(RATE)))
        assert spectrum[1000:].max() < 0.01 * spectrum.max()  # a clipped sine has a third harmonic
        assert np.abs(heard).max() == pytest.approx(1.0, abs=0.1)


def test_channels_that_cancel_in_their_mix_have_a_silent_preview(tmp_path: Path) -> None:
    wave = np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE)
    gains = [0.3, 0.3, 0.0, 0.0, -0.3 / 0.5**0.5, -0.3 / 0.5**0.5]  # the surrounds against the front
    (tmp_path / "x").write_bytes(
        sound.encode(np.outer(gains, wave).astype(np.float32), RATE, "wav", "pcm_f32le")
    )
    analysis = analyse(tmp_path / "x", load_embedder("builtin"))
    assert analysis.features.loudness is not None
    assert analysis.preview_loudness is None or analysis.preview_loudness < -90.0
    assert json.loads(json.dumps(analysis.document(), allow_nan=False))


def test_peaks_are_where_the_sound_is() -> None:
    audio = np.zeros((2, 10 * RATE), np.float32)
    audio[1, 7 * RATE : 7 * RATE + 480] = -0.75
    _, peaks = pushed(audio)
    loud = [number for number, peak in enumerate(peaks) if peak]
    assert len(peaks) == 1000
    assert loud == [700]
    assert peaks[700] == 0.75


def test_a_long_track_has_no_more_peaks_than_a_page_can_draw() -> None:
    preview = Preview()
    block = np.full((1, 61 * RATE), 0.1, np.float32)
    preview.push(block)
    _, peaks = preview.finish()
    assert MAX_PEAKS / 2 < len(peaks) <= MAX_PEAKS


def test_what_is_beyond_full_scale_has_a_peak_of_one() -> None:
    _, peaks = pushed(np.full((1, RATE), 3.0, np.float32))
    assert set(peaks) == {1.0}


def test_blocks_of_any_length_make_the_same() -> None:
    audio = np.random.default_rng(0).uniform(-1, 1, (2, RATE)).astype(np.float32)
    whole = pushed(audio)
    assert pushed(audio, 7777)[1] == whole[1]
    assert whole == pushed(audio)


def test_what_the_encoder_raises_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(encoder: Encoder, samples: np.ndarray) -> None:
        raise MemoryError

    monkeypatch.setattr(Encoder, "push", fail)
    with pytest.raises(MemoryError):
        pushed(np.zeros((1, RATE), np.float32))


def test_the_encoder_lags_behind_by_a_bounded_number_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, may_go_on = 0, threading.Event()

    def wait(encoder: Encoder, samples: np.ndarray) -> None:
        may_go_on.wait()

    monkeypatch.setattr(Encoder, "push", wait)

    def push() -> None:
        nonlocal begun
        for _ in range(999):
            begun += 1
            preview.push(np.zeros((1, 480), np.float32))

    preview = Preview()
    pushing = threading.Thread(target=push)
    pushing.start()
    eventually(lambda: begun == WAITING + 1)
    pushing.join(0.1)
    assert begun == WAITING + 1
    may_go_on.set()
    pushing.join()
    assert begun == 999


def test_a_preview_that_is_given_up_leaves_no_thread() -> None:
    before = threading.active_count()
    preview = Preview()
    preview.push(np.zeros((1, RATE), np.float32))
    del preview
    eventually(lambda: threading.active_count() <= before)


def test_nothing_has_no_preview() -> None:
    with pytest.raises(ValueError, match="no samples"):
        Preview().finish()


def test_silence_has_a_preview_and_no_harmony(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(encode(np.zeros((1, 44100), np.float32), 44100, "flac"))
    analysis = analyse(tmp_path / "x", load_embedder("builtin"))
    assert analysis.preview
    assert analysis.preview_loudness is None
    assert set(analysis.peaks) == {0.0}
    assert not analysis.chroma.any()


def test_weights_that_are_fitted_again_give_every_track_another_document() -> None:
    digest = hashlib.sha256(fitted.WEIGHTS.read_bytes() + bars.WEIGHTS.read_bytes()).hexdigest()[:16]
    assert (REVISION, digest) == ("3", "83752623c9150e96"), "raise `analysis.REVISION`"


def pushed(audio: np.ndarray, block: int = 1 << 16) -> tuple[bytes, list[float]]:
    preview = Preview()
    for start in range(0, audio.shape[1], block):
        preview.push(audio[:, start : start + block])
    return preview.finish()
