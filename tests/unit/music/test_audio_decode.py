"""Every accepted format, made here by FFmpeg's or libsndfile's encoders, and files that must be refused."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import wave
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from music.audio import AudioError
from music.audio.decode import decode, resample, streams
from tests.support.files import RATE, movie, picture, tones, write, write_wav


def snr(wanted: np.ndarray, got: np.ndarray, skip: int = 2000) -> float:
    """Signal-to-noise ratio in dB, edges left out."""
    n = min(wanted.shape[1], got.shape[1]) - skip
    noise = np.mean((wanted[:, skip:n] - got[:, skip:n]) ** 2)
    return float(10 * np.log10(np.mean(wanted[:, skip:n] ** 2) / max(noise, 1e-30)))


def aligned(wanted: np.ndarray, got: np.ndarray) -> bool:
    """Whether no shift by a few samples or a frame makes the two more alike."""
    best = snr(wanted, got)
    return all(snr(wanted, np.roll(got, shift, axis=1)) < best for shift in (-1024, -2, 2, 1024))


def refused(path: Path, **options: float) -> str:
    """The code with which a file is refused."""
    with pytest.raises(AudioError) as caught:
        decode(path, rate=22050, channels=1, **options)
    assert caught.value.detail
    return caught.value.code


LOSSLESS = {
    "wav-u8": ("wav", "pcm_u8", "u8", 2**-7),
    "wav-s16": ("wav", "pcm_s16le", "s16", 2**-15),
    "wav-s24": ("wav", "pcm_s24le", "s32", 2**-23),
    "wav-s32": ("wav", "pcm_s32le", "s32", 2**-24),
    "wav-f32": ("wav", "pcm_f32le", "flt", 2**-24),
    "wav-f64": ("wav", "pcm_f64le", "dbl", 2**-24),
    "aiff-s8": ("aiff", "pcm_s8", "u8", 2**-7),
    "aiff-s16": ("aiff", "pcm_s16be", "s16", 2**-15),
    "aiff-s24": ("aiff", "pcm_s24be", "s32", 2**-23),
    "aiff-s32": ("aiff", "pcm_s32be", "s32", 2**-24),
    "aiff-f32": ("aiff", "pcm_f32be", "flt", 2**-24),
    "aiff-f64": ("aiff", "pcm_f64be", "dbl", 2**-24),
    "aifc-sowt": ("aiff", "pcm_s16le", "s16", 2**-15),
    "flac-s16": ("flac", "flac", "s16", 2**-15),
    "flac-s24": ("flac", "flac", "s32", 2**-23),
    "ogg-flac": ("ogg", "flac", "s16", 2**-15),
    "m4a-alac": ("ipod", "alac", "s16p", 2**-15),
    "m4a-alac24": ("ipod", "alac", "s32p", 2**-23),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_formats_are_sample_exact(name: str, tmp_path: Path) -> None:
    container, codec, sample_format, step = LOSSLESS[name]
    audio = tones(2, RATE)
    path = write(tmp_path / "x", audio, RATE, codec=codec, sample_format=sample_format, container=container)
    got = decode(path, rate=RATE, channels=2)
    assert got.dtype == np.float32
    assert got.shape == audio.shape
    assert np.abs(got - audio).max() <= step


@pytest.mark.parametrize(
    ("kind", "dtype"), [(1, "<i2"), (1, "<i4"), (1, "<i8"), (3, "<f4"), (3, "<f8"), (6, "u1"), (7, "u1")]
)
def test_wav_of_every_width_without_channel_mask(kind: int, dtype: str, tmp_path: Path) -> None:
    audio = tones(2, RATE)
    if kind == 1:
        samples = np.rint(audio * float(2 ** (8 * np.dtype(dtype).itemsize - 1))).astype(dtype)
    elif kind == 3:
        samples = audio.astype(dtype)
    else:
        coder = soundfile.SoundFile(tmp_path / "y", "w", RATE, 2, {6: "ALAW", 7: "ULAW"}[kind], format="RAW")
        with coder:
            coder.write(audio.T)
        samples = np.frombuffer((tmp_path / "y").read_bytes(), "u1").reshape(-1, 2).T
    got = decode(write_wav(tmp_path / "x", samples, RATE, kind=kind), rate=RATE, channels=2)
    assert got.shape == audio.shape
    assert np.abs(got - audio).max() <= (2**-15 if kind in (1, 3) else 0.01)


def test_rf64(tmp_path: Path) -> None:
    audio = tones(2, RATE)
    path = write(
        tmp_path / "x", audio, RATE, codec="pcm_s16le", sample_format="s16", container="wav",
        options={"rf64": "always"},
    )  # fmt: skip
    assert path.read_bytes()[:4] == b"RF64"
    assert decode(path, rate=RATE, channels=2).shape == audio.shape


LOSSY = {
    "mp3": ("mp3", "libmp3lame", "fltp", 192_000),
    "opus": ("ogg", "libopus", "flt", 160_000),
    "m4a-aac": ("ipod", "aac", "fltp", 192_000),
    "adts-aac": ("adts", "aac", "fltp", 192_000),
}


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_formats_keep_time_and_sound(name: str, tmp_path: Path) -> None:
    container, codec, sample_format, bit_rate = LOSSY[name]
    rate = 48000
    audio = tones(2, rate, 2.0)
    path = write(
        tmp_path / "x", audio, rate, codec=codec, sample_format=sample_format, container=container,
        bit_rate=bit_rate,
    )  # fmt: skip
    got = decode(path, rate=rate, channels=2)
    if name == "adts-aac":  # a raw stream has no place to tell its encoder's delay
        assert 0 <= got.shape[1] - audio.shape[1] <= 2048
        got = got[:, 1024:]
    elif name == "m4a-aac":  # the last frame may be filled up with silence
        assert 0 <= got.shape[1] - audio.shape[1] < 1024
    else:
        assert abs(got.shape[1] - audio.shape[1]) <= 48
    assert snr(audio, got) > 25
    assert aligned(audio, got)


def test_ogg_vorbis(tmp_path: Path) -> None:
    audio = tones(2, RATE, 2.0)
    soundfile.write(tmp_path / "x", audio.T, RATE, format="OGG", subtype="VORBIS")
    got = decode(tmp_path / "x", rate=RATE, channels=2)
    reference, _ = soundfile.read(tmp_path / "x", always_2d=True)
    assert got.shape == audio.shape
    assert np.abs(got - reference.T).max() < 1e-5


@pytest.mark.parametrize("name", ["mp3", "opus"])
def test_lossy_decoders_agree_with_libsndfile(name: str, tmp_path: Path) -> None:
    container, codec, sample_format, bit_rate = LOSSY[name]
    noise = np.random.default_rng(1).standard_normal((2, 96000)) * 0.1
    path = write(
        tmp_path / "x", noise, 48000, codec=codec, sample_format=sample_format, container=container,
        bit_rate=bit_rate,
    )  # fmt: skip
    reference, _ = soundfile.read(path, always_2d=True)
    got = decode(path, rate=48000, channels=2)
    n = min(len(reference), got.shape[1])
    assert abs(len(reference) - got.shape[1]) <= 1152
    assert np.abs(got[:, : n - 2000] - reference.T[:, : n - 2000]).max() < 1e-3


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 32000, 48000, 88200, 96000, 176400, 192000])
def test_every_sample_rate(rate: int, tmp_path: Path) -> None:
    audio = tones(1, rate, 1.0)
    path = write(tmp_path / "x", audio, rate, codec="flac", sample_format="s16", container="flac")
    got = decode(path, rate=32000, channels=1)
    assert abs(got.shape[1] - 32000) <= 1
    assert snr(tones(1, 32000, 1.0), got) > 60


@pytest.mark.parametrize(("low", "high"), [(1000, 1001), (700, 768000)])
def test_odd_sample_rates(low: int, high: int, tmp_path: Path) -> None:
    samples = np.zeros((1, high), dtype="<i2")
    got = decode(write_wav(tmp_path / "x", samples, high), rate=22050, channels=1)
    assert abs(got.shape[1] - 22050) <= 1
    if low < 1000:
        assert refused(write_wav(tmp_path / "y", samples[:, :low], low)) == "unsupported_rate"


@pytest.mark.parametrize("channels", range(1, 9))
@pytest.mark.parametrize(
    ("container", "codec", "sample_format"),
    [
        ("wav", "pcm_s24le", "s32"),
        ("flac", "flac", "s16"),
        ("aiff", "pcm_s16be", "s16"),
        ("mov", "pcm_s16le", "s16"),
        ("ogg", "libopus", "flt"),
        ("ipod", "aac", "fltp"),
    ],
)
def test_one_to_eight_channels(
    channels: int, container: str, codec: str, sample_format: str, tmp_path: Path
) -> None:
    rate = 48000
    audio = tones(channels, rate)
    path = write(tmp_path / "x", audio, rate, codec=codec, sample_format=sample_format, container=container)
    blocks: list[list[np.ndarray]] = [[], [], []]
    for which, block in streams(path, [(rate, 8), (rate, 1), (rate, 2)]):
        assert block.shape[1] <= 1 << 16
        blocks[which].append(block)
    own, mono, stereo = (np.concatenate(of_one, axis=1) for of_one in blocks)
    assert len(own) == channels
    assert 0 <= own.shape[1] - audio.shape[1] < 1024
    assert np.abs(mono - own.mean(axis=0)).max() < 1e-6
    assert len(stereo) == min(channels, 2)
    if codec not in ("libopus", "aac"):
        assert np.abs(own - audio).max() <= 2**-15
    else:
        assert np.abs(own).mean(axis=1).min() > (0.1 if channels < 6 else 0.0)  # LFE carries no such tone


def test_surround_is_mixed_by_position(tmp_path: Path) -> None:
    """Left stays left, the centre is in both, low frequencies are left out, full scale is not exceeded."""
    names = ("FL", "FR", "FC", "LFE", "BL", "BR")
    heard = {}
    for position, name in enumerate(names):
        audio = np.zeros((6, 4800))
        audio[position] = 0.5
        path = write(tmp_path / name, audio, 48000, codec="pcm_s16le", sample_format="s16", container="wav")
        heard[name] = decode(path, rate=48000, channels=2).mean(axis=1)
    side = 0.5**0.5
    scale = 0.5 / (1 + 2 * side)
    assert np.allclose(heard["FL"], [scale, 0], atol=1e-4)
    assert np.allclose(heard["FR"], [0, scale], atol=1e-4)
    assert np.allclose(heard["FC"], [side * scale] * 2, atol=1e-4)
    assert np.allclose(heard["LFE"], 0)
    assert np.allclose(heard["BL"], [side * scale, 0], atol=1e-4)
    assert np.allclose(heard["BR"], [0, side * scale], atol=1e-4)


def test_surround_without_a_channel_mask(tmp_path: Path) -> None:
    samples = np.zeros((6, 4800), dtype="<i2")
    samples[4] = (
        10000  # by habit: front left, front right, centre, low frequency, left surround, right surround
    )
    left, right = decode(write_wav(tmp_path / "x", samples, 48000), rate=48000, channels=2).mean(axis=1)
    assert left > 0.05
    assert right == 0


def test_chained_ogg_with_another_rate(tmp_path: Path) -> None:
    one = write(tmp_path / "1", tones(2, 44100), 44100, codec="flac", sample_format="s16", container="ogg")
    two = write(tmp_path / "2", tones(2, 22050), 22050, codec="flac", sample_format="s16", container="ogg")
    both = tmp_path / "both"
    both.write_bytes(one.read_bytes() + two.read_bytes())
    got = decode(both, rate=22050, channels=2)
    assert abs(got.shape[1] - 22050) < 220


def test_cover_art_and_latin1_tags_are_ignored(tmp_path: Path) -> None:
    """An ID3 tag with a picture and text in no valid encoding, before an mp3."""
    audio = tones(2, RATE, 1.0)
    mp3 = write(
        tmp_path / "x", audio, RATE, codec="libmp3lame", sample_format="fltp", container="mp3",
        bit_rate=192_000,
    ).read_bytes()  # fmt: skip
    jpeg = picture(tmp_path / "cover.jpg").read_bytes()

    def frame(name: bytes, body: bytes) -> bytes:
        return name + struct.pack(">I", len(body)) + b"\0\0" + body

    frames = frame(b"APIC", b"\0image/jpeg\0\x03\0" + jpeg) + frame(b"TIT2", b"\x03M\xfcnchen \xff\xfe")
    size = len(frames)
    syncsafe = bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0))
    path = tmp_path / "tagged"
    path.write_bytes(b"ID3\x03\0\0" + syncsafe + frames + mp3[mp3.index(b"\xff\xfb") :])
    got = decode(path, rate=RATE, channels=2)
    assert abs(got.shape[1] - audio.shape[1]) <= 48


def test_the_sound_of_a_video(tmp_path: Path) -> None:
    audio = tones(2, RATE, 1.0)
    got = decode(movie(tmp_path / "x", audio), rate=RATE, channels=2)
    assert 0 <= got.shape[1] - audio.shape[1] < 1024
    assert aligned(audio, got)
    assert refused(movie(tmp_path / "y", None)) == "no_audio"


def test_nonsense_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    good = write(tmp_path / "g", tones(2, RATE), RATE, codec="flac", sample_format="s16", container="flac")
    files: dict[str, tuple[bytes, str]] = {
        "nothing": (b"", "empty_audio"),
        "one byte": (b"R", "undecodable"),
        "text": (b"hello, this is not music\n" * 1000, "undecodable"),
        "zeros": (bytes(100_000), "undecodable"),
        "noise": (np.random.default_rng(0).bytes(100_000), "undecodable"),
        "picture": (picture(tmp_path / "p.jpg").read_bytes(), "not_audio"),
        "html": (b"<!DOCTYPE html><html><body>404</body></html>", "not_audio"),
        "flac head": (good.read_bytes()[:60], "undecodable"),
    }
    for name, (content, code) in files.items():
        (tmp_path / name).write_bytes(content)
        assert refused(tmp_path / name) == code, name
    write_wav(tmp_path / "no samples", np.zeros((2, 0), dtype="<i2"), RATE)
    assert refused(tmp_path / "no samples") == "empty_audio"
    assert capfd.readouterr() == ("", "")


def test_a_missing_file_is_not_the_users_fault(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        decode(tmp_path / "missing", rate=22050, channels=1)


def test_references_to_other_files_are_not_followed(tmp_path: Path) -> None:
    """Playlists and concatenation scripts would let an upload read other files, or the network."""
    secret = write_wav(tmp_path / "secret.wav", np.full((1, 22050), 9999, dtype="<i2"), 22050)
    scripts = {
        "concat": f"ffconcat version 1.0\nfile '{secret}'\n",
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n",
        "sdp": "v=0\nm=audio 5004 RTP/AVP 0\nc=IN IP4 127.0.0.1\n",
    }
    for name, text in scripts.items():
        (tmp_path / name).write_text(text)
        assert refused(tmp_path / name) == "undecodable"


@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_samples_that_are_no_sound_are_refused(dtype: str, value: float, tmp_path: Path) -> None:
    samples = tones(2, RATE).astype(dtype)
    samples[1, 10_000] = value
    path = write_wav(tmp_path / "x", samples, RATE, kind=3)
    assert refused(path) == "invalid_samples"


def test_floats_over_full_scale_are_kept(tmp_path: Path) -> None:
    samples = 8 * tones(1, RATE).astype("<f4")
    assert np.array_equal(
        decode(write_wav(tmp_path / "x", samples, RATE, kind=3), rate=RATE, channels=1), samples
    )


def test_too_many_channels(tmp_path: Path) -> None:
    assert refused(write_wav(tmp_path / "x", np.zeros((9, 1000), "<i2"), RATE)) == "too_many_channels"
    assert refused(write_wav(tmp_path / "y", np.zeros((64, 1000), "<i2"), RATE)) == "too_many_channels"


def test_the_limit_counts_samples_not_headers(tmp_path: Path) -> None:
    second = np.zeros((1, 22050), dtype="<i2")
    boastful = write_wav(tmp_path / "boastful", second, 22050, claims=0x7FFFFF00)
    assert decode(boastful, rate=22050, channels=1, max_seconds=2.0).shape == (1, 22050)
    assert decode(boastful, rate=22050, channels=1, max_seconds=1.0).shape == (1, 22050)
    long = write_wav(tmp_path / "long", np.zeros((1, 30000), dtype="<i2"), 22050)
    assert refused(long, max_seconds=1.0) == "too_long"
    endless = write_wav(
        tmp_path / "endless", np.zeros((1, 0), "<i2"), 8000, claims=-1, data=bytes(16 * 2 * 8000)
    )
    assert refused(endless, max_seconds=15.0) == "too_long"


def test_a_small_file_of_an_hour_is_refused_in_bounded_memory(tmp_path: Path) -> None:
    """An hour of silence in flac: small to send, 635 MB decoded."""
    path = tmp_path / "x"
    with av.open(str(path), "w", format="flac") as output:
        track = output.add_stream("flac", rate=44100, layout="stereo")
        assert isinstance(track, av.AudioStream)
        track.format = "s16"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 2 * 65535), np.int16), "s16", "stereo")
        frame.sample_rate = 44100
        for _ in range(60 * 60 * 44100 // 65535):
            frame.pts = None
            output.mux(track.encode(frame))
        output.mux(track.encode(None))
    assert path.stat().st_size < 2_000_000
    script = (
        "import sys; from music.audio import AudioError; from music.audio.decode import stream\n"
        "from tests.support import memory; before = memory.peak()\n"
        "try:\n    for block in stream(sys.argv[1], rate=32000, channels=2): pass\n"
        "except AudioError as error: print(error.code)\n"
        "print(memory.peak() - before)"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(path)], env={"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    code, resident = run.stdout.split()
    assert code == "too_long"
    assert int(resident) < 40_000_000
    assert run.stderr == ""


def _truncated(data: bytes) -> bytes:
    return data[: len(data) * 6 // 10]


def _damaged(data: bytes) -> bytes:
    broken = bytearray(data)
    middle = len(data) // 2
    broken[middle : middle + 300] = bytes(300)
    return bytes(broken)


@pytest.mark.parametrize("damage", [_truncated, _damaged])
@pytest.mark.parametrize("name", ["wav-s16", "flac-s16", "aiff-s16", "mp3", "opus", "adts-aac"])
def test_damaged_files_keep_what_decodes(
    name: str, damage: Callable[[bytes], bytes], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    container, codec, sample_format, rate_or_step = {**LOSSLESS, **LOSSY}[name]
    bit_rate = int(rate_or_step) if name in LOSSY else None
    noise = np.random.default_rng(0).standard_normal((2, 96000)) * 0.1
    path = write(
        tmp_path / "x", noise, 48000, codec=codec, sample_format=sample_format, container=container,
        bit_rate=bit_rate,
    )  # fmt: skip
    path.write_bytes(damage(path.read_bytes()))
    got = decode(path, rate=48000, channels=2)
    assert got.shape[1] > 0.45 * 96000
    assert capfd.readouterr() == ("", "")


def test_a_truncated_m4a_has_lost_its_index(tmp_path: Path) -> None:
    path = write(
        tmp_path / "x", tones(2, RATE, 2.0), RATE, codec="aac", sample_format="fltp", container="ipod"
    )
    path.write_bytes(_truncated(path.read_bytes()))
    assert refused(path) == "undecodable"


def test_a_file_name_is_never_a_protocol(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "concat:a|b.wav"), "wb") as file:
        file.setparams((1, 2, 22050, 0, "NONE", "none"))
        file.writeframes(bytes(2 * 22050))
    assert decode(tmp_path / "concat:a|b.wav", rate=22050, channels=1).shape == (1, 22050)


@pytest.mark.parametrize(("rate", "to"), [(44100, 22050), (32000, 48000), (48000, 22050), (22050, 32000)])
def test_resampling_is_transparent(rate: int, to: int) -> None:
    got = resample(tones(2, rate, 1.0), rate, to)
    assert got.dtype == np.float32
    assert got.shape == (2, to)
    assert snr(tones(2, to, 1.0), got) > 90


def test_resampling_rejects_aliases_and_takes_mono() -> None:
    t = np.arange(48000) / 48000
    above = np.sin(2 * np.pi * 13000 * t).astype(np.float32)
    got = resample(above, 48000, 22050)
    assert got.shape == (22050,)
    assert 20 * np.log10(np.abs(got[1000:-1000]).max()) < -90
    assert resample(above, 48000, 48000) is above
