"""Delivered files: the same bytes every time, the asked duration, the sound, the tags."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import wave
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from music.audio.decode import decode, resample
from music.audio.encode import CONTENT_TYPES, Encoder, encode
from music.audio.loudness import true_peak
from tests.support.sound import chords

RATE = 32000
TAGS = {"title": "Müsic", "artist": "mosaic", "copyright": "CC-BY-NC-4.0", "comment": "seed 7"}


def save(folder: Path, data: bytes) -> Path:
    path = folder / "file"
    path.write_bytes(data)
    return path


def test_the_same_audio_gives_the_same_bytes() -> None:
    """In another process too, where hashes, serials and clocks differ."""
    script = (
        "import hashlib, json, sys\n"
        "from music.audio.encode import encode\n"
        "from tests.support.sound import chords\n"
        "for format in sys.argv[2:]:\n"
        "    made = encode(chords(1.3), 32000, format, json.loads(sys.argv[1]))\n"
        "    print(format, hashlib.sha256(made).hexdigest())"
    )
    root = Path(__file__).parents[3]
    first, second = (
        subprocess.run(
            [sys.executable, "-c", script, json.dumps(TAGS), *CONTENT_TYPES],
            env={"PYTHONPATH": f"{root}:{root / 'layers'}", "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        for seed in ("1", "2")
    )
    assert first == second
    assert [line.partition(" ")[0] for line in first] == list(CONTENT_TYPES)


@pytest.mark.parametrize("format", CONTENT_TYPES)
def test_other_audio_gives_other_bytes(format: str) -> None:
    assert encode(chords(1.3), RATE, format, TAGS) != encode(chords(1.3) * 0.9, RATE, format, TAGS)


@pytest.mark.parametrize("format", CONTENT_TYPES)
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("n", [RATE, RATE + 1, 3 * RATE + 777, 64 * 1152, 64 * 1152 + 9])
def test_duration_and_channels(format: str, channels: int, n: int, tmp_path: Path) -> None:
    audio = chords(4.0, channels)[:, :n]
    path = save(tmp_path, encode(audio, RATE, format))
    ours = decode(path, rate=RATE, channels=2)
    theirs = soundfile.info(str(path))
    allowed = 0 if format in ("wav", "flac") else 48
    assert len(ours) == theirs.channels == channels
    assert abs(ours.shape[1] - n) <= allowed
    assert abs(theirs.duration - n / RATE) <= (allowed + 1) / RATE


def test_wav_and_flac_hold_the_rounded_samples(tmp_path: Path) -> None:
    audio = chords(1.0)
    audio[:, 100] = [1.5, -1.5]
    wanted = np.clip(np.rint(audio * 32768.0), -32768, 32767)
    data = encode(audio, RATE, "wav")
    with wave.open(io.BytesIO(data)) as file:
        assert file.getparams()[:4] == (2, 2, RATE, RATE)
        samples = np.frombuffer(file.readframes(RATE), "<i2").reshape(-1, 2).T
    assert np.array_equal(samples, wanted)
    flac, rate = soundfile.read(io.BytesIO(encode(audio, RATE, "flac")), dtype="int16")
    assert rate == RATE
    assert np.array_equal(flac.T, wanted)


@pytest.mark.parametrize(("format", "least"), [("mp3", 30), ("ogg", 20)])
def test_lossy_files_sound_the_same_at_the_same_time(format: str, least: float, tmp_path: Path) -> None:
    audio = chords(3.0)
    got = decode(save(tmp_path, encode(audio, RATE, format)), rate=RATE, channels=2)[:, : audio.shape[1]]

    def snr(shift: int) -> float:
        noise = np.roll(got, shift, axis=1)[:, 3000:-3000] - audio[:, 3000:-3000]
        return float(10 * np.log10(np.mean(audio**2) / np.mean(noise**2)))

    assert snr(0) > least
    assert snr(0) > max(snr(-1), snr(1))


@pytest.mark.parametrize("format", ["mp3", "ogg"])
def test_lossy_files_raise_the_true_peak_little(format: str, tmp_path: Path) -> None:
    audio = chords(3.0)
    audio *= np.float32(10 ** ((-1.0 - true_peak(audio)) / 20))
    got = decode(save(tmp_path, encode(audio, RATE, format)), rate=RATE, channels=2)
    assert true_peak(got) < 0.0


@pytest.mark.parametrize(("format", "rate"), [("mp3", 16000), ("mp3", 32000), ("mp3", 48000), ("ogg", 48000)])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("bit_rate", [None, 64_000])
def test_lossy_files_are_as_loud(
    format: str, rate: int, channels: int, bit_rate: int | None, tmp_path: Path
) -> None:
    audio = resample(chords(3.0)[:channels], RATE, rate)
    encoder = Encoder(rate, channels, format, bit_rate=bit_rate)
    encoder.push(audio)
    got = decode(save(tmp_path, encoder.finish()), rate=rate, channels=2)[:, : audio.shape[1]]
    assert 20 * np.log10(got.std() / audio.std()) == pytest.approx(0.0, abs=0.1)


@pytest.mark.parametrize("format", CONTENT_TYPES)
def test_tags(format: str, tmp_path: Path) -> None:
    with av.open(str(save(tmp_path, encode(chords(1.0), RATE, format, TAGS)))) as file:
        found = {**file.metadata, **file.streams[0].metadata}
    assert TAGS.items() <= {name.lower(): value for name, value in found.items()}.items()


def test_mp3_has_a_header_that_tells_delay_and_padding() -> None:
    data = encode(chords(1.0), RATE, "mp3")
    assert data[:3] == b"ID3" or data[:2] == b"\xff\xfb"
    assert b"Info" in data[:400]
    assert b"LAME" in data[:400] or b"Lav" in data[:400]


@pytest.mark.parametrize("rate", [16000, 22050, 24000, 44100, 48000])
@pytest.mark.parametrize("format", CONTENT_TYPES)
def test_other_rates(format: str, rate: int, tmp_path: Path) -> None:
    audio = chords(1.0, rate=rate)
    got = decode(save(tmp_path, encode(audio, rate, format)), rate=rate, channels=2)
    assert abs(got.shape[1] - rate) <= 0.02 * rate


@pytest.mark.parametrize("format", ["wav", "flac"])
def test_24_bits_hold_what_16_do_not(format: str) -> None:
    rng = np.random.default_rng(0)
    audio = (0.5 * rng.uniform(-1.0, 1.0, (2, 5000))).astype(np.float32)
    audio[:, 0] = (1.5, -1.5)
    content = encode(audio, 48000, format, bit_depth=24)
    assert content == encode(audio, 48000, format, bit_depth=24)
    with soundfile.SoundFile(io.BytesIO(content)) as file:
        assert (file.subtype, file.samplerate) == ("PCM_24", 48000)
        found = file.read(dtype="float64").T
    assert np.abs(found - np.clip(audio, -1.0, 1.0 - 2.0**-23)).max() <= 2.0**-24 + 1e-9


@pytest.mark.parametrize("format", ["mp3", "ogg"])
def test_a_lossy_format_has_no_bit_depth(format: str) -> None:
    with pytest.raises(KeyError):
        encode(np.zeros((1, 100), np.float32), 48000, format, bit_depth=24)


@pytest.mark.parametrize("format", CONTENT_TYPES)
@pytest.mark.parametrize(
    ("rate", "had"), [(8000, 8000), (12_345, 16_000), (37_800, 44_100), (88_200, 48_000), (192_000, 48_000)]
)
def test_every_rate_has_a_file_in_every_format(tmp_path: Path, format: str, rate: int, had: int) -> None:
    tone = 0.3 * np.sin(2.0 * np.pi * 440.0 * np.arange(rate) / rate)
    data = encode(tone.astype(np.float32)[None], rate, format)
    path = save(tmp_path, data)
    with av.open(str(path)) as container:
        assert container.streams.audio[0].rate == {"mp3": had, "ogg": 48_000}.get(format, rate)
    heard = decode(path, rate=48_000, channels=1)[0]
    assert len(heard) / 48_000 == pytest.approx(1.0, abs=0.02)
    middle = heard[12_000:36_000]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert np.argmax(spectrum) * 48_000 / len(middle) == pytest.approx(440.0, abs=4.0)
    assert float(np.abs(middle).max()) == pytest.approx(0.3, rel=0.1)
