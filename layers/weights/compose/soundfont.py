"""Playing a piece with a General MIDI soundfont, through TinySoundFont (MIT).

The soundfont is FluidR3Mono (MIT), from Debian's package `fluidr3mono-gm-soundfont`. It is not in this
repository: `fetch` gets it once and keeps it in the cache. `$SOUNDFONT` names another place.
"""

import importlib
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from weights import debian
from weights.compose.piece import DRUM_CHANNEL, Piece

PACKAGE = "fluidr3mono-gm-soundfont"
FILE = "usr/share/fluidr3mono-gm-soundfont/FluidR3Mono_GM.sf3"

MAX_VOICES = 96
GAIN_DB = -6.0
STEP = 32  # samples between the places where a note can start or end: 1 ms at 32 kHz

# Where channels sit in stereo, 0 left to 1 right. The first ones of a style carry its harmony and bass.
PAN = (0.5, 0.46, 0.6, 0.4, 0.68, 0.32, 0.56, 0.44, 0.5, 0.5, 0.36, 0.64, 0.42, 0.58, 0.3, 0.7)


class SoundfontError(Exception):
    """A soundfont is not here, or is none; the message names it and says what to do."""


def cached() -> Path:
    """Where `fetch` keeps the soundfont."""
    return debian.cache() / "soundfont" / PACKAGE / FILE


def fetch() -> Path:
    """Make sure that there is a soundfont.

    Returns
    -------
    Path
        What ``$SOUNDFONT`` names, or else FluidR3Mono in the cache, fetched with apt if it is not there.

    Raises
    ------
    SoundfontError
        If ``$SOUNDFONT`` names no file, or apt cannot fetch the package.
    """
    if chosen := os.environ.get("SOUNDFONT"):
        return check(Path(chosen))
    try:
        return check(debian.unpacked(PACKAGE, debian.cache() / "soundfont") / FILE)
    except debian.PackageError as error:
        raise SoundfontError(f"{error}, or name a soundfont in $SOUNDFONT") from error


def check(path: Path) -> Path:
    """Refuse what is no soundfont.

    Raises
    ------
    SoundfontError
        If there is no such file, or it does not begin as soundfonts do.
    """
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError as error:
        raise SoundfontError(f"soundfont {path}: {error.strerror}") from error
    if head[:4] != b"RIFF" or head[8:] != b"sfbk":
        raise SoundfontError(f"soundfont {path}: not a soundfont (RIFF sfbk)")
    return path


def _tinysoundfont() -> Any:
    try:
        return importlib.import_module("tinysoundfont._tinysoundfont")
    except ImportError as error:
        # Its declared dependency, PyAudio, is for live playing only and wants a compiler.
        raise SoundfontError("no tinysoundfont here: pip install --no-deps tinysoundfont==0.3.7") from error


@lru_cache(maxsize=1)
def load(path: Path) -> Any:
    """The soundfont, loaded once in a process: that takes longer than to play a piece."""
    check(path)
    return _tinysoundfont().SoundFont(str(path))


def _player(path: Path, rate: int, channels: int) -> Any:
    """A player that nothing was played on yet: what rings on from a piece would be heard in the next."""
    font = load(path)
    modes = _tinysoundfont().OutputMode
    player = _tinysoundfont().SoundFont(font)
    player.set_output(modes.Mono if channels == 1 else modes.StereoInterleaved, rate, GAIN_DB)
    player.set_max_voices(MAX_VOICES)
    return player


def play(piece: Piece, path: Path, rate: int, channels: int) -> np.ndarray:
    """Play a piece, dry.

    Returns
    -------
    np.ndarray [shape=(channels, n), dtype=float32]

    Raises
    ------
    SoundfontError
        See `check`.
    """
    player = _player(path, rate, channels)
    for channel, (bank, program) in piece.programs.items():
        drums = channel == DRUM_CHANNEL
        player.channel_set_bank(channel, 0 if drums else bank)
        player.channel_set_preset_number(channel, program, drums)
        player.channel_set_pan(channel, 0.5 if channels == 1 else PAN[channel])
        player.channel_set_volume(channel, piece.volumes[channel])

    n = round(piece.seconds * rate)
    out = np.zeros((n, channels), np.float32)
    samples = memoryview(out.data).cast("B")
    done = 0
    for step, kind, channel, pitch, value in _events(piece, rate):
        at = step * STEP
        if at >= n:
            break
        if at > done:
            player.render(samples[4 * channels * done : 4 * channels * at], False)
            done = at
        if kind == NOTE_ON:
            player.channel_note_on(channel, pitch, value)
        elif kind == NOTE_OFF:
            player.channel_note_off(channel, pitch)
        else:
            player.channel_set_volume(channel, value)
    if done < n:
        player.render(samples[4 * channels * done :], False)
    return np.ascontiguousarray(out.T)


# In this order at one instant, so that a note which is struck again ends first.
NOTE_OFF, VOLUME, NOTE_ON = range(3)


def _events(piece: Piece, rate: int) -> list[tuple[int, int, int, int, float]]:
    """(step, kind, channel, pitch, velocity or volume) in the order of playing."""
    steps = rate / STEP
    events: list[tuple[int, int, int, int, float]] = []
    for start, duration, channel, pitch, velocity in piece.notes.tolist():
        on = round(start * steps)
        events.append((on, NOTE_ON, channel, pitch, velocity / 127.0))
        events.append((max(int((start + duration) * steps), on + 1), NOTE_OFF, channel, pitch, 0.0))
    for time, channel, factor in piece.controls:
        events.append((int(time * steps), VOLUME, channel, 0, piece.volumes[channel] * factor))
    return sorted(events)
