"""What a composed piece is: its notes, and the truth about it."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

KEYS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")

# start and duration in seconds; channel 0 to 15, of which 9 has the drums; MIDI pitch and velocity.
NOTE_DTYPE = np.dtype(
    [("start", "f4"), ("duration", "f4"), ("channel", "i2"), ("pitch", "i2"), ("velocity", "i2")]
)
DRUM_CHANNEL = 9

# Beats in a bar. A beat of 6/8 is a dotted quarter.
BEATS_PER_BAR = {"4/4": 4, "3/4": 3, "6/8": 2}


@dataclass(frozen=True)
class Piece:
    """A piece of music, and what is true of it.

    Parameters
    ----------
    seed : int
        What it was composed from.
    seconds : float
        Its length. Notes that still sound then are cut.
    notes : np.ndarray [shape=(n,), dtype=NOTE_DTYPE]
        Sorted by start. They lie within some milliseconds of the metrical grid, as a player's do.
    programs : dict of int to (int, int)
        Bank and program of each channel, after General MIDI; the drums' bank is 128.
    volumes : dict of int to float
        Loudness of each channel, 0 to 1, linear in amplitude.
    controls : tuple of (float, int, float)
        Changes of a channel's volume: seconds, channel, factor of its volume, 0 to 1.
    tempo : float
        Beats per minute, constant.
    first_beat : float
        Seconds of the first beat at or after 0.
    first_beat_in_bar : int
        Which beat of its bar that is; 0 is the downbeat.
    meter : str
        ``4/4``, ``3/4`` or ``6/8``.
    key : str
        Tonic, one of `KEYS`.
    mode : str
        ``major`` or ``minor``: of a church mode, that of its third.
    style, energy : str
    mood, instruments, tags : tuple of str
        In words; instruments are those that play.
    """

    seed: int
    seconds: float
    notes: np.ndarray
    programs: dict[int, tuple[int, int]]
    volumes: dict[int, float]
    controls: tuple[tuple[float, int, float], ...]
    tempo: float
    first_beat: float
    first_beat_in_bar: int
    meter: str
    key: str
    mode: str
    style: str
    instruments: tuple[str, ...]
    mood: tuple[str, ...]
    energy: str
    tags: tuple[str, ...]

    @property
    def beats(self) -> np.ndarray:
        """Seconds of every beat [shape=(b,), dtype=float64]."""
        period = 60.0 / self.tempo
        count = math.ceil((self.seconds - self.first_beat) / period - 1e-6)
        return self.first_beat + period * np.arange(count)

    @property
    def downbeats(self) -> np.ndarray:
        """Seconds of the first beat of every bar [shape=(d,), dtype=float64]."""
        per_bar = BEATS_PER_BAR[self.meter]
        return self.beats[-self.first_beat_in_bar % per_bar :: per_bar]

    @property
    def bars(self) -> np.ndarray:
        """Start and end in seconds of every whole bar [shape=(d - 1, 2), dtype=float64]."""
        downbeats = self.downbeats
        return np.stack([downbeats[:-1], downbeats[1:]], axis=1)

    def truth(self) -> dict[str, Any]:
        """All but the notes, ready for JSON; times in seconds."""
        return {
            "seed": self.seed,
            "seconds": self.seconds,
            "tempo": self.tempo,
            "key": self.key,
            "mode": self.mode,
            "meter": self.meter,
            "beats": [round(float(time), 4) for time in self.beats],
            "downbeats": [round(float(time), 4) for time in self.downbeats],
            "style": self.style,
            "instruments": list(self.instruments),
            "mood": list(self.mood),
            "energy": self.energy,
            "tags": list(self.tags),
        }
