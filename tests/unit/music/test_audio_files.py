"""Files that other players play: each is decoded whole, as what it is, or refused with the true reason."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from music.audio import AudioError, isolated, ogg, reader, sniff
from music.audio.decode import MAX_SECONDS, decode, stream
from tests.support import reading
from tests.support.files import (
    RATE,
    headers_again,
    id3,
    movie,
    ogg_page,
    ogg_pages,
    tones,
    tracks,
    vorbis,
    write,
    write_pcm,
    write_wav,
)

Bytes = Callable[[Path], bytes]


@pytest.fixture(autouse=True)
def here(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decode in this process, but for the tests of the other one."""
    if "child" not in request.node.name:
        monkeypatch.setattr(isolated, "blocks", reading.blocks)


def loudest(audio: np.ndarray, rate: int) -> list[int]:
    """The frequency of each channel's loudest partial, in Hz."""
    spectra = np.abs(np.fft.rfft(audio * np.hanning(audio.shape[1]), axis=1))
    return [round(int(peak) * rate / audio.shape[1]) for peak in spectra.argmax(axis=1)]


def level(audio: np.ndarray) -> float:
    return float(np.sqrt(np.mean(audio**2)))


def refused(path: Path) -> AudioError:
    with pytest.raises(AudioError) as caught:
        decode(path, rate=22050, channels=1)
    return caught.value


def placed(folder: Path, *parts: bytes) -> Path:
    path = folder / "placed"
    path.write_bytes(b"".join(parts))
    return path


def opus(folder: Path, audio: np.ndarray) -> bytes:
    return write(
        folder / "o", audio, 48000, codec="libopus", sample_format="flt", container="ogg", bit_rate=96_000
    ).read_bytes()


def ogg_flac(folder: Path, audio: np.ndarray, rate: int) -> bytes:
    return write(folder / "f", audio, rate, codec="flac", sample_format="s16", container="ogg").read_bytes()


# Vorbis whose headers stand in it again


@pytest.mark.parametrize("at", [2, 3, 6])
@pytest.mark.parametrize("channels", [1, 2])
def test_vorbis_that_repeats_its_headers_plays_to_its_end(at: int, channels: int, tmp_path: Path) -> None:
    audio = tones(channels, RATE, 2.0) + 0.05 * np.random.default_rng(0).standard_normal((channels, 2 * RATE))
    content = vorbis(tmp_path / "v", audio, RATE).read_bytes()
    whole = decode(placed(tmp_path, content), rate=RATE, channels=2)
    got = decode(placed(tmp_path, headers_again(content, at)), rate=RATE, channels=2)
    assert got.shape == audio.shape
    assert level(got - whole) < 0.02 * level(whole)


def test_the_child_decodes_vorbis_that_repeats_its_headers(tmp_path: Path) -> None:
    audio = tones(2, RATE, 2.0)
    content = headers_again(vorbis(tmp_path / "v", audio, RATE).read_bytes())
    assert decode(placed(tmp_path, content), rate=RATE, channels=2).shape == audio.shape


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
@pytest.mark.parametrize("seconds", [0.3, 0.9, 1.5])
def test_short_vorbis_neither_gains_nor_loses_samples(rate: int, seconds: float, tmp_path: Path) -> None:
    audio = tones(1, rate, seconds)
    assert decode(vorbis(tmp_path / "v", audio, rate), rate=rate, channels=1).shape == audio.shape


@pytest.mark.parametrize("channels", [3, 4, 5, 6, 7, 8])
def test_vorbis_surround_keeps_its_loudspeakers(channels: int, tmp_path: Path) -> None:
    """FFmpeg and libvorbis number them in different orders; the left one stays left."""
    audio = np.zeros((channels, RATE))
    audio[0] = tones(1, RATE, 1.0)
    left, right = decode(vorbis(tmp_path / "v", audio, RATE), rate=RATE, channels=2)
    assert level(left) > 0.02
    assert level(right) < 0.05 * level(left)


@pytest.mark.parametrize("change", ["cut out of a broadcast", "without positions", "with other data behind"])
def test_vorbis_with_odd_pages_is_decoded_to_its_end(change: str, tmp_path: Path) -> None:
    content = vorbis(tmp_path / "v", tones(2, RATE, 2.0), RATE).read_bytes()
    pages = []
    for number, page in enumerate(ogg_pages(content)):
        position = int.from_bytes(page[6:14], "little")
        if change == "cut out of a broadcast" and position:
            position += 1_000_000
        elif change == "without positions":
            position = 0
        pages.append(ogg_page(page[:6] + position.to_bytes(8, "little") + page[14:], number))
    behind = b"TAG" + bytes(125) + bytes(5000) if change == "with other data behind" else b""
    got = decode(placed(tmp_path, *pages, behind), rate=RATE, channels=2)
    assert 0 <= got.shape[1] - 2 * RATE < 1024


@pytest.mark.parametrize("seconds", [0.6, 3.0])
@pytest.mark.parametrize("told", [-1, 0, "less than before"])
@pytest.mark.parametrize("wrong", ["the last page", "the last two pages", "every page", "all but the last"])
@pytest.mark.parametrize("codec", ["vorbis", "opus", "flac"])
def test_ogg_whose_pages_tell_no_position_is_decoded_to_its_end(
    codec: str, wrong: str, told: int | str, seconds: float, tmp_path: Path
) -> None:
    rate = 48000
    audio = tones(2, rate, seconds)
    content = {
        "vorbis": lambda: vorbis(tmp_path / "v", audio, rate).read_bytes(),
        "opus": lambda: opus(tmp_path, audio),
        "flac": lambda: ogg_flac(tmp_path, audio, rate),
    }[codec]()
    pages = ogg_pages(content)
    sounding = [at for at, page in enumerate(pages) if page[6:14] != bytes(8)]
    chosen = {"the last page": sounding[-1:], "the last two pages": sounding[-2:], "every page": sounding}
    position = 1 if told == "less than before" else int(told)
    for at in chosen.get(wrong, sounding[:-1]):
        if told == "less than before" and at == sounding[0]:
            continue
        page = pages[at]
        pages[at] = ogg_page(page[:6] + position.to_bytes(8, "little", signed=True) + page[14:], at)
    alone = decode(placed(tmp_path, *pages), rate=rate, channels=2).shape[1]
    assert 0 <= alone - audio.shape[1] < 1024  # what follows the end in its last packet may stay
    # In a chain, too, and a link of one page is no link of headers alone.
    assert decode(placed(tmp_path, *pages, *pages), rate=rate, channels=2).shape[1] == 2 * alone


def test_wrong_positions_without_end_are_too_complex(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = ogg_pages(opus(tmp_path, tones(1, 48000, 4.0)))
    wrong = [ogg_page(page[:6] + b"\xff" * 8 + page[14:], at) for at, page in enumerate(pages[2:], 2)]
    path = placed(tmp_path, *pages[:2], *wrong)
    monkeypatch.setattr(ogg, "MAX_REPAIRS", 2)
    with path.open("rb") as file, pytest.raises(AudioError, match="damaged pages") as caught:
        ogg.links(file, 0)
    assert caught.value.code == "too_complex"


# Chains


def test_a_chain_of_stereo_and_mono_is_decoded_to_its_end(tmp_path: Path) -> None:
    stereo = vorbis(tmp_path / "1", tones(2, RATE, 1.0), RATE).read_bytes()
    mono = vorbis(tmp_path / "2", tones(1, RATE, 1.0), RATE).read_bytes()
    for order, second in (((stereo, mono), [300, 300]), ((mono, stereo), [300, 410])):
        got = decode(placed(tmp_path, *order), rate=RATE, channels=2)
        assert got.shape == (2, 2 * RATE)
        assert loudest(got[:, RATE:], RATE) == second
        assert abs(level(got[:, RATE:]) / level(got[:, :RATE]) - 1) < 0.1


def test_a_chain_of_three_rates_is_decoded_to_its_end(tmp_path: Path) -> None:
    parts = [vorbis(tmp_path / f"{r}", tones(2, r, 1.0), r).read_bytes() for r in (44100, 22050, 48000)]
    got = decode(placed(tmp_path, *parts), rate=32000, channels=2)
    assert abs(got.shape[1] - 96000) <= 3
    for second in range(3):
        assert loudest(got[:, 32000 * second :][:, :32000], 32000) == [300, 410]


def test_a_chain_of_opus_leaves_out_every_links_delay(tmp_path: Path) -> None:
    audio = tones(2, 48000, 1.0)
    one, mono = opus(tmp_path, audio), opus(tmp_path, audio[:1])
    got = decode(placed(tmp_path, one, mono, one), rate=48000, channels=2)
    assert got.shape == (2, 3 * 48000)
    for second in range(3):
        piece = got[:1, 48000 * second :][:, 2000:46000]
        assert level(piece - audio[:1, 2000:46000]) < 0.1 * level(piece)


def test_a_chain_of_codecs_is_decoded_to_its_end(tmp_path: Path) -> None:
    parts = [
        opus(tmp_path, tones(2, 48000, 1.0)),
        vorbis(tmp_path / "v", tones(1, RATE, 1.0), RATE).read_bytes(),
        ogg_flac(tmp_path, tones(2, 96000, 1.0), 96000),
    ]
    got = decode(placed(tmp_path, *parts), rate=48000, channels=2)
    assert abs(got.shape[1] - 144000) <= 3


def test_a_chain_with_surround_has_its_channels(tmp_path: Path) -> None:
    parts = [vorbis(tmp_path / f"{c}", tones(c, RATE, 1.0), RATE).read_bytes() for c in (1, 6, 2)]
    blocks = list(stream(placed(tmp_path, *parts), rate=RATE, channels=8))
    assert {len(block) for block in blocks} == {6}
    assert sum(block.shape[1] for block in blocks) == 3 * RATE


def test_a_chain_whose_links_share_a_serial_is_decoded_to_its_end(tmp_path: Path) -> None:
    link = ogg_flac(tmp_path, tones(2, RATE, 1.0), RATE)
    assert decode(placed(tmp_path, link, link, link), rate=RATE, channels=2).shape == (2, 3 * RATE)


def test_a_link_that_cannot_be_decoded_is_not_left_out_in_silence(tmp_path: Path) -> None:
    good = vorbis(tmp_path / "v", tones(2, RATE, 1.0), RATE).read_bytes()
    pages = [page.replace(b"\x01vorbis", b"Speex  ", 1) for page in ogg_pages(good)]
    foreign = b"".join(ogg_page(page, number) for number, page in enumerate(pages))
    error = refused(placed(tmp_path, good, foreign))
    assert error.code == "undecodable"
    assert "part 2 of 2" in error.detail


def test_a_link_of_headers_alone_is_none(tmp_path: Path) -> None:
    good = vorbis(tmp_path / "v", tones(2, RATE, 1.0), RATE).read_bytes()
    headers = b"".join(ogg_pages(good)[:2])
    assert decode(placed(tmp_path, good, headers), rate=RATE, channels=2).shape == (2, RATE)
    assert decode(placed(tmp_path, headers, good), rate=RATE, channels=2).shape == (2, RATE)


def test_a_damaged_page_does_not_part_a_stream(tmp_path: Path) -> None:
    content = bytearray(ogg_flac(tmp_path, tones(2, RATE, 2.0), RATE))
    pages = ogg_pages(bytes(content))
    content[sum(map(len, pages[:3])) + 5] |= 2  # it says that it begins a stream; its checksum does not
    path = placed(tmp_path, bytes(content))
    with path.open("rb") as file:
        assert len(ogg.links(file, 0)) == 1
    assert decode(path, rate=RATE, channels=2).shape[1] > RATE


def test_a_chain_goes_on_after_damage(tmp_path: Path) -> None:
    link = ogg_flac(tmp_path, 0.1 * np.random.default_rng(0).standard_normal((2, RATE)), RATE)
    path = placed(tmp_path, link[:-500], b"\xff" * 100, link)
    with path.open("rb") as file:
        assert len(ogg.links(file, 0)) == 2
    assert decode(path, rate=RATE, channels=2).shape[1] > 1.6 * RATE


def test_streams_side_by_side_are_no_chain(tmp_path: Path) -> None:
    path = tracks(
        tmp_path / "x", [tones(1, RATE, 1.0), tones(2, RATE, 1.0)], RATE, container="ogg",
        codecs=["flac", "flac"], bit_rates=[None, None],
    )  # fmt: skip
    with path.open("rb") as file:
        assert len(ogg.links(file, 0)) == 1
    assert decode(path, rate=RATE, channels=2).shape[1] == RATE


@pytest.mark.parametrize(
    ("rate", "channels", "fits"),
    [(48_000, 8, True), (192_000, 2, True), (192_000, 8, False), (655_350, 2, False)],
)
def test_more_samples_than_fifteen_minutes_of_eight_channels_are_too_complex(
    rate: int, channels: int, fits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reader.MAX_WORK >= MAX_SECONDS * 48_000 * 8
    seconds = 0.6
    monkeypatch.setattr(reader, "MAX_WORK", reader.MAX_WORK * seconds / MAX_SECONDS)
    path = tmp_path / "x.flac"
    soundfile.write(path, np.zeros((round(seconds * rate), channels), np.float32), rate, "PCM_16")
    if fits:
        assert decode(path, rate=22050, channels=1).shape[1] == round(seconds * 22050)
    else:
        assert refused(path).code == "too_complex"


def test_a_chain_without_end_is_too_complex(tmp_path: Path) -> None:
    first, *_, last = ogg_pages(ogg_flac(tmp_path, tones(1, RATE), RATE))
    path = placed(tmp_path, (first + last) * (ogg.MAX_LINKS + 1))
    assert refused(path).code == "too_complex"


# Tags in front


@pytest.mark.parametrize("tag", [id3(), id3(footer=True), id3() + id3(), id3() + bytes(1000)])
@pytest.mark.parametrize("kind", ["wav", "rf64", "rifx", "aiff", "flac", "ogg", "mp4", "matroska"])
def test_a_tag_in_front_changes_nothing(kind: str, tag: bytes, tmp_path: Path) -> None:
    audio = tones(2, RATE)
    if kind == "rifx":
        path = write_pcm(tmp_path / "x", audio, RATE, occupied=16, bits=16, riff=b"RIFX")
    else:
        container, options = ("wav", {"rf64": "always"}) if kind == "rf64" else (kind, None)
        codec = {"wav": "pcm_s16le", "aiff": "pcm_s16be", "mp4": "alac"}.get(container, "flac")
        path = write(
            tmp_path / "x", audio, RATE, codec=codec, sample_format="s16p" if codec == "alac" else "s16",
            container=container, options=options,
        )  # fmt: skip
    known = sniff.content_type(path)
    path = placed(tmp_path, tag, path.read_bytes())
    assert sniff.content_type(path) == known
    got = decode(path, rate=RATE, channels=2)
    assert got.shape == audio.shape
    assert np.abs(got - audio).max() <= 2**-15


@pytest.mark.parametrize("tag", [id3(), id3() + id3()])
@pytest.mark.parametrize("kind", ["mp3", "adts"])
def test_a_tag_before_mp3_or_aac_changes_nothing(kind: str, tag: bytes, tmp_path: Path) -> None:
    codec = "aac" if kind == "adts" else "libmp3lame"
    plain = write(
        tmp_path / "x", tones(2, RATE, 1.0), RATE, codec=codec, sample_format="fltp", container=kind,
        bit_rate=128_000,
    )  # fmt: skip
    tagged = placed(tmp_path, tag, plain.read_bytes())
    assert sniff.content_type(tagged) == ("audio/aac" if kind == "adts" else "audio/mpeg")
    assert np.array_equal(decode(tagged, rate=RATE, channels=2), decode(plain, rate=RATE, channels=2))


@pytest.mark.parametrize("foreign", [b"PK\x03\x04", b"%PDF-1.4", b"\x7fELF"])
def test_a_tag_does_not_hide_what_a_file_is(foreign: bytes, tmp_path: Path) -> None:
    assert refused(placed(tmp_path, id3(), foreign, bytes(1000))).code == "not_audio"


# Samples as they are stored


WIDTHS = [
    (8, 8),
    (16, 16),
    (16, 12),
    (16, 8),
    (24, 24),
    (24, 20),
    (24, 16),
    (32, 32),
    (32, 24),
    (32, 20),
    (32, 16),
]


@pytest.mark.parametrize("riff", [b"RIFF", b"RIFX"])
@pytest.mark.parametrize("mask", [None, 3])
@pytest.mark.parametrize(("occupied", "bits"), WIDTHS)
def test_samples_that_use_fewer_bits_than_they_occupy_are_no_noise(
    occupied: int, bits: int, mask: int | None, riff: bytes, tmp_path: Path
) -> None:
    audio = tones(2, RATE)
    for claims in {occupied, bits}:
        path = write_pcm(
            tmp_path / "x",
            audio,
            RATE,
            occupied=occupied,
            bits=bits,
            mask=mask,
            riff=riff,
            claims_bits=claims,
        )
        got = decode(path, rate=RATE, channels=2)
        assert got.shape == audio.shape
        assert np.abs(got - audio).max() <= 2.0 ** (1 - min(bits, 24))


@pytest.mark.parametrize("occupied", [32, 64])
@pytest.mark.parametrize("riff", [b"RIFF", b"RIFX"])
@pytest.mark.parametrize("mask", [None, 3])
def test_floats_of_either_byte_order_are_no_noise(
    occupied: int, riff: bytes, mask: int | None, tmp_path: Path
) -> None:
    audio = tones(2, RATE)
    path = write_pcm(
        tmp_path / "x", audio, RATE, occupied=occupied, bits=occupied, floating=True, riff=riff, mask=mask
    )
    assert np.abs(decode(path, rate=RATE, channels=2) - audio).max() < 1e-6


SUBTYPES = ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")
WRITTEN = [
    (kind, endian, subtype)
    for kind, endian in (
        ("WAV", "BIG"),
        ("AIFF", "LITTLE"),
        ("AIFF", "BIG"),
        ("W64", "FILE"),
        ("WAVEX", "FILE"),
    )
    for subtype in SUBTYPES
    if soundfile.check_format(kind, subtype, endian)
]


@pytest.mark.parametrize(("kind", "endian", "subtype"), WRITTEN)
def test_what_libsndfile_writes_is_what_we_read(kind: str, endian: str, subtype: str, tmp_path: Path) -> None:
    audio = tones(2, RATE)
    soundfile.write(tmp_path / "x", audio.T, RATE, format=kind, subtype=subtype, endian=endian)
    got = decode(tmp_path / "x", rate=RATE, channels=2)
    wanted, _ = soundfile.read(tmp_path / "x")
    assert got.shape == audio.shape
    assert np.abs(got - wanted.T).max() <= 2**-15


def test_the_child_decodes_big_endian_wav(tmp_path: Path) -> None:
    audio = tones(2, RATE)
    path = write_pcm(tmp_path / "x", audio, RATE, occupied=24, bits=24, riff=b"RIFX")
    assert np.abs(decode(path, rate=RATE, channels=2) - audio).max() < 2**-22


@pytest.mark.parametrize("identifier", [b"\1\0\0\0\0\0\x10\0", b"\0\1\0\0\0\0\x10\0"])
def test_a_big_endian_file_may_name_its_codec_in_another_order(identifier: bytes, tmp_path: Path) -> None:
    """As SoX does it, and as it stands in little-endian files."""
    audio = tones(2, RATE)
    path = write_pcm(tmp_path / "x", audio, RATE, occupied=24, bits=24, mask=3, riff=b"RIFX")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"\0\0\0\1\0\0\0\x10", identifier, 1))
    assert path.read_bytes() != content
    assert np.abs(decode(path, rate=RATE, channels=2) - audio).max() < 2**-22


def test_chunks_before_the_format_do_not_hide_padded_samples(tmp_path: Path) -> None:
    audio = tones(2, RATE)
    junk = b"JUNK" + struct.pack("<I", 27) + bytes(28) + b"bext" + struct.pack("<I", 602) + bytes(602)
    path = write_pcm(tmp_path / "x", audio, RATE, occupied=32, bits=24, mask=3, before=junk)
    assert np.abs(decode(path, rate=RATE, channels=2) - audio).max() < 2**-22


def test_big_endian_surround_keeps_its_loudspeakers(tmp_path: Path) -> None:
    """Front right and front left of a file that has the low frequency channel in the middle."""
    audio = np.zeros((4, RATE))
    audio[3] = 0.5
    heard = {}
    for mask, name in ((0b1_0111, "BL"), (0b10_0111, "BR")):
        path = write_pcm(tmp_path / "x", audio, RATE, occupied=16, bits=16, mask=mask, riff=b"RIFX")
        heard[name] = decode(path, rate=RATE, channels=2).mean(axis=1)
    assert heard["BL"][0] > 0.1
    assert heard["BL"][1] == 0
    assert heard["BR"][1] > 0.1
    assert heard["BR"][0] == 0


# Several sound tracks


CONTAINERS = [("ipod", "aac", 128_000), ("matroska", "aac", 128_000), ("mov", "pcm_s16le", None)]


@pytest.mark.parametrize(("container", "codec", "rate_of_second"), CONTAINERS)
@pytest.mark.parametrize("default", [None, 0, 1])
def test_the_default_track_is_heard_not_the_one_with_the_most_bits(
    container: str, codec: str, rate_of_second: int | None, default: int | None, tmp_path: Path
) -> None:
    both = tones(2, RATE, 1.0)
    path = tracks(
        tmp_path / "x", [both[:1], both[1:]], RATE, container=container, codecs=[codec, codec],
        bit_rates=[32_000, rate_of_second], default=default,
    )  # fmt: skip
    got = decode(path, rate=RATE, channels=1)[:, :RATE]
    assert loudest(got, RATE) == [410 if default == 1 else 300]


@pytest.mark.parametrize("container", ["matroska", "mov"])
def test_a_track_that_cannot_be_decoded_does_not_fail_the_file(container: str, tmp_path: Path) -> None:
    both = tones(2, RATE, 1.0)
    path = tracks(
        tmp_path / "x", [both[:1], both[1:]], RATE, container=container, codecs=["ac3", "aac"],
        bit_rates=[192_000, 64_000], default=0,
    )  # fmt: skip
    assert loudest(decode(path, rate=RATE, channels=1)[:, :RATE], RATE) == [410]


def test_a_file_of_tracks_that_cannot_be_decoded_says_which_codec(tmp_path: Path) -> None:
    both = tones(2, RATE, 1.0)
    path = tracks(
        tmp_path / "x", [both[:1], both[1:]], RATE, container="matroska", codecs=["ac3", "eac3"],
        bit_rates=[192_000, 192_000],
    )  # fmt: skip
    error = refused(path)
    assert error.code == "undecodable"
    assert "AC-3" in error.detail


# Codecs that we do not take, whatever holds them


@pytest.mark.parametrize(
    ("container", "codec", "sample_format"),
    [
        ("wav", "wmav1", "fltp"), ("wav", "wmav2", "fltp"), ("wav", "ac3", "fltp"), ("wav", "g722", "s16"),
        ("matroska", "ac3", "fltp"), ("matroska", "eac3", "fltp"),
        ("mov", "ac3", "fltp"), ("mov", "eac3", "fltp"), ("mov", "libopencore_amrnb", "s16"),
        ("matroska", "tta", "s16"), ("matroska", "wavpack", "s16p"), ("wav", "adpcm_g726", "s16"),
    ],
)  # fmt: skip
def test_a_codec_that_is_not_listed_is_refused_by_its_name(
    container: str, codec: str, sample_format: str, tmp_path: Path
) -> None:
    rate = 8000 if codec in ("libopencore_amrnb", "adpcm_g726") else 16000 if codec == "g722" else RATE
    bit_rate = {8000: 12_200, RATE: 192_000}.get(rate)
    path = write(
        tmp_path / "x", tones(1, rate, 1.0), rate, codec=codec, sample_format=sample_format,
        container=container, bit_rate=bit_rate,
    )  # fmt: skip
    error = refused(path)
    assert error.code == "undecodable"
    assert "not supported" in error.detail


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [("WAV", "GSM610"), ("WAV", "G721_32"), ("AIFF", "GSM610"), ("AIFF", "DWVW_16"), ("WAV", "NMS_ADPCM_32")],
)
def test_a_codec_that_libsndfile_alone_knows_is_refused(kind: str, subtype: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x", tones(1, 8000, 1.0).T, 8000, format=kind, subtype=subtype)
    assert refused(tmp_path / "x").code == "undecodable"


@pytest.mark.parametrize(
    ("head", "code", "word"),
    [
        (b"#!AMR\n", "undecodable", "AMR"),
        (b"#!AMR-WB\n", "undecodable", "AMR"),
        (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "undecodable", "Windows Media"),
        (b"caff\0\1\0\0", "undecodable", "CAF"),
        (b"wvpk", "undecodable", "WavPack"),
        (b"MAC \x96\x0f", "undecodable", "Monkey"),
        (b"\x0b\x77", "undecodable", "AC-3"),
        (b"\x7f\xfe\x80\x01", "undecodable", "DTS"),
        (b".snd\0\0\0\x18", "undecodable", "AU"),
        (b"MThd\0\0\0\x06", "not_audio", "MIDI"),
        (b"#!/bin/sh\n", "not_audio", "program"),
        (b"RIFF\0\0\0\0AVI LIST", "not_audio", "film"),
    ],
)
def test_a_refusal_says_what_the_file_is(head: bytes, code: str, word: str, tmp_path: Path) -> None:
    error = refused(placed(tmp_path, head, bytes(1000)))
    assert error.code == code
    assert word in error.detail


# Matroska and webm


@pytest.mark.parametrize(
    ("container", "codec", "sample_format", "kind"),
    [
        ("webm", "libopus", "flt", "audio/webm"),
        ("matroska", "libopus", "flt", "audio/x-matroska"),
        ("matroska", "flac", "s16", "audio/x-matroska"),
        ("matroska", "aac", "fltp", "audio/x-matroska"),
        ("matroska", "libmp3lame", "fltp", "audio/x-matroska"),
        ("matroska", "pcm_s24le", "s32", "audio/x-matroska"),
        ("matroska", "alac", "s16p", "audio/x-matroska"),
    ],
)
def test_what_a_browser_records_is_no_film(
    container: str, codec: str, sample_format: str, kind: str, tmp_path: Path
) -> None:
    audio = tones(2, 48000, 1.0)
    path = write(
        tmp_path / "x", audio, 48000, codec=codec, sample_format=sample_format, container=container,
        bit_rate=128_000,
    )  # fmt: skip
    assert sniff.content_type(path) == kind
    got = decode(path, rate=48000, channels=2)
    assert 0 <= got.shape[1] - 48000 <= 1024 + 480
    assert loudest(got[:, :48000], 48000) == [300, 410]


def test_vorbis_in_matroska_is_heard(tmp_path: Path) -> None:
    """Packets of libvorbis, moved to another container."""
    audio = tones(2, RATE, 1.0)
    with (
        av.open(str(vorbis(tmp_path / "v", audio, RATE))) as source,
        av.open(str(tmp_path / "x"), "w", format="webm") as output,
    ):
        track = output.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.size:
                packet.stream = track
                output.mux(packet)
    got = decode(tmp_path / "x", rate=RATE, channels=2)
    assert abs(got.shape[1] - RATE) < 0.02 * RATE
    assert loudest(got, RATE) == [300, 410]


@pytest.mark.parametrize("container", ["matroska", "mp4"])
def test_a_film_without_sound_has_no_audio(container: str, tmp_path: Path) -> None:
    assert refused(movie(tmp_path / "x", None, container)).code == "no_audio"


# Joined files, and a few samples


@pytest.mark.parametrize("second", [(2, RATE), (1, RATE), (2, 32000)])
@pytest.mark.parametrize("kind", ["mp3", "adts"])
def test_joined_files_are_decoded_to_their_end(kind: str, second: tuple[int, int], tmp_path: Path) -> None:
    def made(channels: int, rate: int) -> bytes:
        codec = "aac" if kind == "adts" else "libmp3lame"
        return write(
            tmp_path / "x", tones(channels, rate, 1.0), rate, codec=codec, sample_format="fltp",
            container=kind, bit_rate=128_000,
        ).read_bytes()  # fmt: skip

    got = decode(placed(tmp_path, made(2, RATE), made(*second)), rate=RATE, channels=2)
    assert 2.0 <= got.shape[1] / RATE < 2.2
    assert loudest(got[:, -RATE:-4000], RATE)[0] == 300


@pytest.mark.parametrize("samples", [1, 3, 10])
@pytest.mark.parametrize(
    ("container", "codec", "sample_format"),
    [
        ("wav", "pcm_s16le", "s16"), ("aiff", "pcm_s16be", "s16"), ("flac", "flac", "s16"),
        ("ogg", "libopus", "flt"), ("ipod", "aac", "fltp"), ("mp3", "libmp3lame", "fltp"),
        ("ipod", "alac", "s16p"),
    ],
)  # fmt: skip
def test_a_few_samples_are_too_short_and_not_nothing(
    container: str, codec: str, sample_format: str, samples: int, tmp_path: Path
) -> None:
    path = write(
        tmp_path / "x", np.full((1, samples), 0.1), 48000, codec=codec, sample_format=sample_format,
        container=container,
    )  # fmt: skip
    with pytest.raises(AudioError) as caught:
        decode(path, rate=1000, channels=1)
    assert caught.value.code == "too_short"


def test_no_samples_are_nothing(tmp_path: Path) -> None:
    assert refused(write_wav(tmp_path / "x", np.zeros((1, 0), "<i2"), RATE)).code == "empty_audio"
