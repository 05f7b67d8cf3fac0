"""What Debian's flac, lame, opusenc, oggenc, sox and ffmpeg write is what we read."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from music.audio import isolated
from tests.support import debian, matrix, reading
from tests.support.files import picture, write_pcm
from tests.support.matrix import CD, F32, LOW, S8, S16, S24, Make, Row

PACKAGES = {
    "flac": "flac",
    "lame": "lame",
    "opusenc": "opus-tools",
    "oggenc": "vorbis-tools",
    "sox": "sox",
    "ffmpeg": "ffmpeg",
}


@pytest.fixture(scope="session", autouse=True)
def tools() -> None:
    """The encoders; root gets the ones that are missing from Debian."""
    if missing := debian.missing(PACKAGES):
        pytest.skip(f"only root on Debian can get {', '.join(missing)}")


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decode in this process."""
    monkeypatch.setattr(isolated, "blocks", reading.blocks)


def by(command: str, bits: int = 24) -> Make:
    """A command from ``IN``, a wav file, to ``OUT``; ``PICTURE`` is one."""

    def make(path: Path, audio: np.ndarray, rate: int) -> Path:
        mask = (1 << len(audio)) - 1 if len(audio) > 2 else None
        source = write_pcm(path.with_name("in.wav"), audio, rate, occupied=bits, bits=bits, mask=mask)
        image = picture(path.with_name("cover.jpg")) if "PICTURE" in command else path
        words = {"IN": str(source), "OUT": str(path), "PICTURE": str(image)}
        path.unlink(missing_ok=True)
        run = subprocess.run(
            [words.get(word, word) for word in command.split()], capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stderr[-1000:]
        return path

    return make


def ffmpeg(options: str, container: str) -> Make:
    return by(f"ffmpeg -v error -y -i IN {options} -strict -2 -f {container} OUT")


def sox(options: str, kind: str) -> Make:
    return by(f"sox -V1 -D IN {options} -t {kind} OUT")


MANY = (*CD, (44100, 3), (48000, 6), (192000, 2), (22050, 1))
SIX = (*LOW, (32000, 2), (48000, 2), (48000, 6))
TWO = ((44100, 2), (48000, 1))
MPEG = (*TWO, (32000, 2), (22050, 2), (16000, 1), (8000, 1))

ROWS = (
    Row("flac", "-0", by("flac -s -0 -o OUT IN"), MANY, S24),
    Row("flac", "-8, 16 bit", by("flac -s -8 -o OUT IN", 16), MANY, S16),
    Row("flac", "tags", by("flac -s -T TITLE=Grüße -T ARTIST=x -P 65536 -o OUT IN"), CD, S24),
    Row("flac", "no seek table, no padding", by("flac -s --no-seektable --no-padding -o OUT IN"), TWO, S24),
    Row("flac", "blocks of 16", by("flac -s --lax -b 16 -o OUT IN", 16), TWO, S16),
    Row("flac", "in ogg", by("flac -s --ogg -o OUT IN"), CD, S24),
    Row("lame", "128 kbit/s", by("lame --quiet -b 128 --resample 44.1 IN OUT"), TWO[:1], snr=20.0),
    Row("lame", "variable bit rate", by("lame --quiet -V 2 IN OUT"), MPEG, snr=20.0),
    Row("lame", "average bit rate", by("lame --quiet --abr 96 IN OUT"), MPEG, snr=20.0),
    Row("lame", "320 kbit/s, no joint stereo", by("lame --quiet -b 320 -m s IN OUT"), TWO[:1], snr=20.0),
    Row("lame", "ID3v1 alone", by("lame --quiet --id3v1-only --tt x IN OUT"), TWO, snr=20.0),
    Row("lame", "ID3v2.4 with UTF-16", by("lame --quiet --id3v2-utf16 --tt Grüße IN OUT"), TWO, snr=20.0),
    Row("lame", "a picture", by("lame --quiet --ti PICTURE IN OUT"), TWO, snr=20.0),
    Row("lame", "no Xing header", by("lame --quiet -t IN OUT"), TWO, snr=20.0, padding=2600, delay=1105),
    Row("opusenc", "defaults", by("opusenc --quiet IN OUT"), SIX, snr=14.0),
    Row("opusenc", "constant bit rate", by("opusenc --quiet --hard-cbr --bitrate 128 IN OUT"), TWO, snr=14.0),
    Row(
        "opusenc",
        "frames of 2.5 ms",
        by("opusenc --quiet --framesize 2.5 --bitrate 160 IN OUT"),
        TWO,
        snr=14.0,
    ),
    Row(
        "opusenc", "frames of 60 ms", by("opusenc --quiet --framesize 60 --bitrate 96 IN OUT"), TWO, snr=14.0
    ),
    Row("opusenc", "a picture", by("opusenc --quiet --picture PICTURE IN OUT"), TWO, snr=14.0),
    Row("opusenc", "short pages", by("opusenc --quiet --max-delay 0 IN OUT"), TWO, snr=14.0),
    Row("oggenc", "quality 6", by("oggenc -Q -q 6 -o OUT IN", 16), (*LOW, (48000, 2), (96000, 2)), snr=14.0),
    Row("oggenc", "quality 10", by("oggenc -Q -q 10 -o OUT IN", 16), LOW, snr=20.0),
    Row("oggenc", "managed bit rate", by("oggenc -Q --managed -b 128 -o OUT IN", 16), TWO[:1], snr=14.0),
    Row("oggenc", "comments", by("oggenc -Q -t Grüße -a x -c x=y -o OUT IN", 16), TWO, snr=14.0),
    Row("sox", "wav, 8 bit", sox("-b 8 -e unsigned-integer", "wav"), CD, S8),
    Row("sox", "wav, 16 bit", sox("-b 16", "wav"), MANY, S16),
    Row("sox", "wav, 24 bit", sox("-b 24", "wav"), MANY, S24),
    Row("sox", "wav, 32 bit", sox("-b 32", "wav"), CD, S24),
    Row("sox", "wav, float", sox("-b 32 -e floating-point", "wav"), CD, S24),
    Row("sox", "wav, double", sox("-b 64 -e floating-point", "wav"), TWO, S24),
    Row("sox", "wav, A-law", sox("-e a-law", "wav"), LOW, snr=30.0),
    Row("sox", "wav, µ-law", sox("-e mu-law", "wav"), LOW, snr=30.0),
    Row("sox", "wav, Microsoft ADPCM", sox("-e ms-adpcm", "wav"), LOW, snr=20.0, padding=2048),
    Row("sox", "wav, IMA ADPCM", sox("-e ima-adpcm", "wav"), LOW, snr=20.0, padding=2048),
    Row("sox", "RIFX, 16 bit", sox("-B -b 16", "wav"), MANY, S16),
    Row("sox", "RIFX, 24 bit", sox("-B -b 24", "wav"), CD, S24),
    Row("sox", "RIFX, float", sox("-B -b 32 -e floating-point", "wav"), TWO, S24),
    Row("sox", "aiff, 8 bit", sox("-b 8", "aiff"), TWO, S8),
    Row("sox", "aiff, 16 bit", sox("-b 16", "aiff"), MANY, S16),
    Row("sox", "aiff, 24 bit", sox("-b 24", "aiff"), CD, S24),
    Row("sox", "aifc, 16 bit", sox("-b 16", "aifc"), CD, S16),
    Row("sox", "Wave64", sox("-b 24", "w64"), CD, S24),
    Row("sox", "flac", sox("-b 24", "flac"), CD, S24),
    Row("sox", "ogg", sox("-C 6", "ogg"), LOW, snr=14.0),
    Row("ffmpeg", "m4a, AAC", ffmpeg("-c aac -b:a 160k", "ipod"), SIX[:5], snr=20.0),
    Row(
        "ffmpeg",
        "m4a, AAC, index first",
        ffmpeg("-c aac -b:a 160k -movflags +faststart", "ipod"),
        TWO,
        snr=20.0,
    ),
    Row(
        "ffmpeg",
        "m4a in fragments",
        ffmpeg("-c aac -b:a 160k -movflags frag_keyframe+empty_moov", "mp4"),
        TWO,
        snr=20.0,
        padding=2048,
        delay=1024,
    ),
    Row("ffmpeg", "m4a, ALAC", ffmpeg("-c alac", "ipod"), CD, S24),
    Row("ffmpeg", "mp4, FLAC", ffmpeg("-c flac", "mp4"), TWO, S24),
    Row("ffmpeg", "mp4, Opus", ffmpeg("-c libopus -b:a 128k -ar 48000", "mp4"), TWO, snr=14.0),
    Row("ffmpeg", "mp4, MP3", ffmpeg("-c libmp3lame -b:a 192k", "mp4"), TWO, snr=20.0, padding=1152),
    Row("ffmpeg", "mov, PCM", ffmpeg("-c pcm_s24be", "mov"), CD, S24),
    Row("ffmpeg", "webm, Opus", ffmpeg("-c libopus -b:a 128k -ar 48000", "webm"), TWO, snr=14.0),
    Row("ffmpeg", "webm, Vorbis", ffmpeg("-c libvorbis -q:a 6", "webm"), LOW, snr=14.0, padding=1024),
    Row("ffmpeg", "mka, FLAC", ffmpeg("-c flac", "matroska"), CD, S24),
    Row("ffmpeg", "mka, PCM", ffmpeg("-c pcm_s24le", "matroska"), CD, S24),
    Row(
        "ffmpeg", "mka, AAC", ffmpeg("-c aac -b:a 160k", "matroska"), TWO, snr=20.0, padding=2048, delay=1024
    ),
    Row("ffmpeg", "ogg, Vorbis", ffmpeg("-c libvorbis -q:a 6", "ogg"), LOW, snr=14.0),
    Row("ffmpeg", "ogg, Opus", ffmpeg("-c libopus -b:a 128k -ar 48000", "ogg"), TWO, snr=14.0),
    Row("ffmpeg", "ogg, FLAC", ffmpeg("-c flac", "ogg"), CD, S24),
    Row(
        "ffmpeg",
        "mp3, ID3v2.3",
        ffmpeg("-b:a 192k -id3v2_version 3 -metadata title=Grüße", "mp3"),
        TWO,
        snr=20.0,
    ),
    Row("ffmpeg", "wav, RF64", ffmpeg("-c pcm_s24le -rf64 always", "wav"), CD, S24),
    Row("ffmpeg", "wav, double", ffmpeg("-c pcm_f64le", "wav"), TWO, F32),
    Row("ffmpeg", "mp2", ffmpeg("-c libtwolame -b:a 192k", "mp2"), TWO, snr=20.0, padding=2304, delay=481),
    Row("ffmpeg", "Speex in ogg", ffmpeg("-c libspeex -ar 16000", "ogg"), TWO[1:], refused="undecodable"),
    Row("ffmpeg", "DTS in mka", ffmpeg("-c dca -b:a 768k", "matroska"), TWO[:1], refused="undecodable"),
    Row("ffmpeg", "TrueHD in mka", ffmpeg("-c truehd", "matroska"), TWO[:1], refused="undecodable"),
    Row("ffmpeg", "TTA", ffmpeg("-c tta", "tta"), TWO[:1], refused="undecodable"),
    Row("ffmpeg", "WavPack", ffmpeg("-c wavpack", "wv"), TWO[:1], refused="undecodable"),
    Row("ffmpeg", "Windows Media", ffmpeg("-c wmav2 -b:a 128k", "asf"), TWO[:1], refused="undecodable"),
    Row("ffmpeg", "AC-3", ffmpeg("-c ac3 -b:a 192k", "ac3"), TWO, refused="undecodable"),
    Row("ffmpeg", "DTS", ffmpeg("-c dca -b:a 768k", "dts"), TWO[:1], refused="undecodable"),
    Row("ffmpeg", "CAF", ffmpeg("-c pcm_s24be", "caf"), TWO[:1], refused="undecodable"),
    Row("ffmpeg", "GSM in wav", ffmpeg("-c libgsm_ms -ar 8000", "wav"), ((8000, 1),), refused="undecodable"),
    Row("ffmpeg", "MLP", ffmpeg("-c mlp", "mlp"), TWO[:1], refused="undecodable"),
    Row("sox", "AU", sox("-b 16", "au"), TWO[:1], refused="undecodable"),
    Row("sox", "8SVX", sox("-b 8 -c 1", "8svx"), TWO[1:], refused="undecodable"),
    Row("sox", "VOC", sox("-b 16", "voc"), TWO[:1], refused="undecodable"),
)


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_a_file_sounds_as_it_was_encoded(row: Row, tmp_path: Path) -> None:
    faults = {cell: matrix.fault(row, tmp_path / "out", *cell) for cell in row.cells}
    assert {cell: fault for cell, fault in faults.items() if fault} == {}


def test_there_are_200_files() -> None:
    assert sum(len(row.cells) for row in ROWS) >= 200
