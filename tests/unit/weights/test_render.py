"""What is rendered sounds as the notes say."""

import json
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from weights.compose import STYLES, Piece, compose, render, shards, soundfont
from weights.compose.__main__ import main
from weights.compose.instruments import INSTRUMENTS
from weights.compose.mix import PEAK
from weights.compose.piece import NOTE_DTYPE

RATE = 16000

# The synthesizer is always here; the soundfont where somebody fetched it.
FONT = soundfont.cached()
needs_soundfont = pytest.mark.skipif(
    not (FONT.exists() and find_spec("tinysoundfont")), reason="no soundfont here, or no tinysoundfont"
)
PLAYERS = [pytest.param(None, id="synthesizer"), pytest.param(FONT, id="soundfont", marks=needs_soundfont)]


def with_notes(notes: Sequence[tuple[float, float, int, int, int]], program: int = 0) -> Piece:
    """A piece of 4 s with some notes alone: seconds of start and duration, channel, pitch, velocity."""
    return replace(
        compose(0, 4.0, "solo piano"),
        notes=np.array(list(notes), NOTE_DTYPE),
        programs={0: (0, program), 9: (128, 0)},
        volumes={0: 1.0, 9: 1.0},
        controls=(),
    )


@pytest.mark.parametrize("player", PLAYERS)
@pytest.mark.parametrize("style", STYLES)
def test_a_recording_is_as_long_as_the_piece_and_never_clips(style: str, player: Path | None) -> None:
    piece = compose(1, 4.5, style)
    audio = render(piece, RATE, 1, player)
    assert audio.shape == (1, 4.5 * RATE)
    assert audio.dtype == np.float32
    assert 0.2 < np.abs(audio).max() <= PEAK
    assert -21.0 < 10.0 * np.log10(np.mean(audio**2)) < -11.0


@pytest.mark.parametrize("player", PLAYERS)
def test_a_piece_sounds_the_same_whatever_was_played_before(player: Path | None) -> None:
    piece = compose(3, 6.0, "rock")
    first = render(piece, RATE, 2, player)
    render(compose(4, 6.0, "string orchestra"), RATE, 2, player)
    assert np.array_equal(render(piece, RATE, 2, player), first)


@pytest.mark.parametrize("player", PLAYERS)
def test_stereo_has_two_different_sides_of_the_same_music(player: Path | None) -> None:
    stereo = render(compose(2, 6.0, "pop"), RATE, 2, player)
    assert stereo.shape == (2, 6 * RATE)
    assert 0.3 < np.corrcoef(stereo)[0, 1] < 0.99


@pytest.mark.parametrize("player", PLAYERS)
@pytest.mark.parametrize("pitch", [38, None])
def test_a_note_is_heard_when_it_begins(pitch: int | None, player: Path | None) -> None:
    beat = float(compose(0, 4.0, "solo piano").beats[2])
    note = (beat, 0.5, 0, 60, 100) if pitch is None else (beat, 0.5, 9, pitch, 100)
    audio = np.abs(render(with_notes([note]), RATE, 1, player)[0])
    heard = np.flatnonzero(audio > 0.05 * audio.max())[0] / RATE
    assert 0.0 <= heard - beat < 0.015


@pytest.mark.parametrize("player", PLAYERS)
@pytest.mark.parametrize(("program", "pitch"), [(0, 69), (73, 76), (33, 40), (48, 57)])
def test_a_note_has_its_pitch(program: int, pitch: int, player: Path | None) -> None:
    audio = render(with_notes([(0.0, 3.5, 0, pitch, 100)], program), RATE, 1, player)[0]
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio))))
    # Harmonic product spectrum (Schroeder, 1968): its peak is the fundamental.
    bins = len(spectrum) // 3
    product = spectrum[:bins] * spectrum[: 2 * bins : 2] * spectrum[: 3 * bins : 3]
    hertz = np.argmax(product) * RATE / len(audio)
    cents = 1200.0 * np.log2(hertz / (440.0 * 2.0 ** ((pitch - 69) / 12.0)))
    assert abs(cents) < 25.0


def test_louder_notes_and_channels_are_louder() -> None:
    quiet_then_loud = with_notes([(0.0, 0.5, 0, 60, 40), (2.0, 0.5, 0, 60, 110)])
    audio = render(quiet_then_loud, RATE)[0]
    assert np.abs(audio[2 * RATE :]).max() > 2.0 * np.abs(audio[: 2 * RATE]).max()
    faded = replace(quiet_then_loud, controls=((1.5, 0, 0.1),))
    audio = render(faded, RATE)[0]
    assert np.abs(audio[2 * RATE :]).max() < np.abs(audio[: 2 * RATE]).max()


@needs_soundfont
def test_the_soundfont_has_every_instrument() -> None:
    font = soundfont.load(FONT)
    missing = [name for name, chosen in INSTRUMENTS.items() if font.get_preset_index(*chosen[:2]) < 0]
    assert not missing


def test_what_is_no_soundfont_is_refused_by_name(tmp_path: Path) -> None:
    piece = compose(0, 4.0)
    with pytest.raises(soundfont.SoundfontError, match=r"nowhere\.sf3: No such file"):
        render(piece, RATE, 1, tmp_path / "nowhere.sf3")
    (tmp_path / "song.sf2").write_bytes(b"RIFF\0\0\0\0WAVEfmt ")
    with pytest.raises(soundfont.SoundfontError, match=r"song\.sf2: not a soundfont"):
        render(piece, RATE, 1, tmp_path / "song.sf2")


def test_a_soundfont_that_cannot_be_fetched_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SOUNDFONT", str(tmp_path / "mine.sf2"))
    with pytest.raises(soundfont.SoundfontError, match=r"mine\.sf2: No such file"):
        soundfont.fetch()
    monkeypatch.delenv("SOUNDFONT")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(soundfont.SoundfontError, match=r"fluidr3mono-gm-soundfont: no apt-get here"):
        soundfont.fetch()
    assert tmp_path / "cache/music-generation-backend" in soundfont.cached().parents


@pytest.mark.parametrize(
    ("rate", "channels", "word"), [(4000, 1, "rate"), (400_000, 1, "rate"), (RATE, 3, "channels")]
)
def test_a_rate_or_layout_out_of_range_is_refused(rate: int, channels: int, word: str) -> None:
    with pytest.raises(ValueError, match=f"^{word} must be"):
        render(compose(0, 4.0), rate, channels)


def test_shards_hold_what_the_pieces_sound_like_and_what_is_true_of_them(tmp_path: Path) -> None:
    arguments = ["--out", str(tmp_path), "--seconds", "4", "--rate", "8000", "--seed", "3", "--synth"]
    assert main([*arguments, "--pieces", "19", "--workers", "2"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"shard-0000{number}.{kind}" for number in (0, 1) for kind in ("jsonl", "npy")
    ]
    seeds = []
    for number, count in ((0, 16), (1, 3)):
        audio = np.load(tmp_path / f"shard-0000{number}.npy")
        truths = [
            json.loads(line) for line in (tmp_path / f"shard-0000{number}.jsonl").read_text().splitlines()
        ]
        assert audio.shape == (count, 32000)
        assert audio.dtype == np.int16
        assert len(truths) == count
        seeds += [truth["seed"] for truth in truths]
    assert seeds == list(range(30_000_000, 30_000_019))
    piece = compose(30_000_018, 4.0)
    assert truths[2] == piece.truth()
    assert np.array_equal(audio[2], np.rint(32767.0 * render(piece, 8000)[0]))


def test_a_run_that_was_cut_off_goes_on_where_it_ended(tmp_path: Path) -> None:
    run = shards.Run(tmp_path, pieces=18, seconds=4.0, rate=8000, seed=0, soundfont=None)
    assert shards.write(run, workers=1, budget=0.0) == (0, 0)
    shards.write_shard(run, 1)
    (tmp_path / "shard-00000.jsonl").write_text("cut off")
    kept = (tmp_path / "shard-00001.npy").stat()
    assert shards.write(run, workers=1, budget=60.0) == (2, 0)
    assert (tmp_path / "shard-00001.npy").stat().st_ino == kept.st_ino
    assert len((tmp_path / "shard-00000.jsonl").read_text().splitlines()) == 16


def test_the_command_refuses_what_it_cannot_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong, words in (
        (["--pieces", "0"], "--pieces must be 1 to 10000000"),
        (["--pieces", "1", "--workers", "0"], "--workers must be at least 1"),
        (["--pieces", "1", "--soundfont", str(tmp_path / "no.sf2")], "no.sf2: No such file"),
        (["--pieces", "1", "--seconds", "2", "--synth"], "--seconds must be 4 to 600"),
        (["--pieces", "1", "--rate", "10", "--synth"], "--rate must be 8000 to 192000"),
    ):
        with pytest.raises(SystemExit):
            main(["--out", str(tmp_path / "out"), *wrong])
        assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
