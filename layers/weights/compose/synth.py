"""Playing a piece without a soundfont: one-cycle wavetables and struck noise, from numpy alone.

It sounds like an old games console. It is exact in pitch and time, and fast enough for tests.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from weights.compose.instruments import DRUMS
from weights.compose.piece import DRUM_CHANNEL, Piece
from weights.compose.soundfont import PAN

TABLE = 4096
RELEASE = 0.05  # seconds
PARTIALS = 24

# For each of General MIDI's families of eight programs: how partials fall off (the k-th has the amplitude
# k to this power), whether there are odd ones only, seconds of the attack, seconds in which a held note
# decays to 1/e.
FAMILIES = (
    (-1.6, False, 0.003, 0.9),  # pianos
    (-2.2, False, 0.002, 0.5),  # chromatic percussion
    (-1.2, True, 0.010, 30.0),  # organs
    (-1.3, False, 0.003, 0.6),  # guitars
    (-1.4, False, 0.005, 0.8),  # basses
    (-1.2, False, 0.050, 30.0),  # solo strings
    (-1.4, False, 0.080, 30.0),  # ensembles
    (-1.0, False, 0.030, 30.0),  # brass
    (-1.1, True, 0.025, 30.0),  # reeds
    (-2.0, True, 0.030, 30.0),  # pipes
    (-0.9, False, 0.005, 30.0),  # synthesizer leads
    (-1.5, False, 0.120, 30.0),  # synthesizer pads
    (-1.4, False, 0.060, 3.0),  # synthesizer effects
    (-1.0, False, 0.003, 0.4),  # plucked instruments of many lands
    (-1.6, False, 0.002, 0.3),  # tuned percussion
    (-1.5, False, 0.010, 1.0),  # sound effects
)


class Drum(NamedTuple):
    """A tone that glides from one frequency to another, and noise.

    Both decay to 1/e in their seconds. `tone` is the tone's share of the amplitude; the more often the noise
    is differenced, the brighter it is.
    """

    from_hertz: float
    to_hertz: float
    decay: float
    tone: float
    noise_decay: float
    differences: int


def _drum_kit() -> dict[int, Drum]:
    hat = Drum(0.0, 0.0, 0.01, 0.0, 0.03, 2)
    cymbal = hat._replace(noise_decay=0.5)
    block = Drum(900.0, 800.0, 0.02, 0.6, 0.02, 1)
    kinds = {
        "bass drum": Drum(120.0, 40.0, 0.2, 1.0, 0.01, 0),
        "kick": Drum(150.0, 48.0, 0.12, 1.0, 0.01, 0),
        "stick": block,
        "snare": Drum(220.0, 180.0, 0.06, 0.5, 0.11, 1),
        "clap": Drum(0.0, 0.0, 0.01, 0.0, 0.09, 1),
        "hat": hat,
        "pedal": hat,
        "open": hat._replace(noise_decay=0.18),
        "crash": cymbal,
        "ride": cymbal,
        "tambourine": hat,
        "cowbell": block,
        "conga": Drum(330.0, 300.0, 0.1, 0.9, 0.02, 1),
        "shaker": hat,
    }
    for number in range(1, 7):
        kinds[f"tom {number}"] = Drum(200.0 - 20.0 * number, 140.0 - 14.0 * number, 0.2, 1.0, 0.02, 0)
    return {DRUMS[name]: drum for name, drum in kinds.items()}


DRUM_KIT = _drum_kit()


@lru_cache(maxsize=1024)
def _cycle(family: int, pitch: int, rate: int) -> np.ndarray:
    """One period of a timbre [shape=(TABLE,)], with no partial above half the rate."""
    slope, odd, _, _ = FAMILIES[family]
    numbers = np.arange(1, PARTIALS + 1, 2 if odd else 1)
    numbers = numbers[numbers * _hertz(pitch) < 0.45 * rate]
    spectrum = np.zeros(TABLE // 2 + 1, np.complex128)
    # Phases that spread the peaks of the partials (Schroeder, 1970).
    spectrum[numbers] = numbers**slope * np.exp(-1j * np.pi * numbers * (numbers - 1) / PARTIALS)
    wave = np.fft.irfft(spectrum)
    return (wave / np.sqrt(np.mean(wave**2))).astype(np.float32)


@lru_cache(maxsize=256)
def _drum(pitch: int, rate: int) -> np.ndarray:
    """A stroke on a drum [shape=(n,)]."""
    drum = DRUM_KIT[pitch]
    seconds = np.arange(int(5.0 * max(drum.decay, drum.noise_decay) * rate)) / rate
    hertz = drum.to_hertz + (drum.from_hertz - drum.to_hertz) * np.exp(-seconds / 0.03)
    tone = np.sin(2.0 * np.pi * np.cumsum(hertz) / rate) * np.exp(-seconds / drum.decay)
    noise = np.random.default_rng(pitch).standard_normal(len(seconds) + drum.differences)
    noise = np.diff(noise, drum.differences) / 2.0**drum.differences * np.exp(-seconds / drum.noise_decay)
    return (2.0 * (drum.tone * tone + (1.0 - drum.tone) * noise)).astype(np.float32)


def _hertz(pitch: int) -> float:
    return 440.0 * 2.0 ** ((pitch - 69) / 12.0)


def _note(program: int, pitch: int, seconds: float, rate: int) -> np.ndarray:
    """A held note [shape=(n,)], its release included."""
    family = program // 8
    _, _, attack, decay = FAMILIES[family]
    n = round((seconds + RELEASE) * rate)
    phase = np.arange(n) * (_hertz(pitch) * TABLE / rate)
    time = np.arange(n) / rate
    envelope = np.minimum(time / attack, 1.0) * np.exp(-time / decay)
    envelope *= np.clip((seconds + RELEASE - time) / RELEASE, 0.0, 1.0)
    return _cycle(family, pitch, rate)[phase.astype(np.int64) % TABLE] * envelope.astype(np.float32)


def play(piece: Piece, rate: int, channels: int) -> np.ndarray:
    """Play a piece, dry.

    Returns
    -------
    np.ndarray [shape=(channels, n), dtype=float32]
    """
    n = round(piece.seconds * rate)
    out = np.zeros((channels, n), np.float32)
    for number, (_, program) in piece.programs.items():
        part = np.zeros(n, np.float32)
        for start, seconds, _, pitch, velocity in piece.notes[piece.notes["channel"] == number].tolist():
            at = round(start * rate)
            sound = _drum(pitch, rate) if number == DRUM_CHANNEL else _note(program, pitch, seconds, rate)
            sound = sound[: n - at]
            part[at : at + len(sound)] += sound * np.float32((velocity / 127.0) ** 2)
        part *= _volume(piece, number, n, rate)
        if channels == 1:
            out[0] += part
        else:
            out += np.sqrt([[1.0 - PAN[number]], [PAN[number]]]).astype(np.float32) * part
    return out


def _volume(piece: Piece, channel: int, n: int, rate: int) -> np.ndarray:
    """The channel's volume at each sample [shape=(n,)]; each control holds until the next."""
    controls = sorted((time, factor) for time, number, factor in piece.controls if number == channel)
    edges = [0, *(min(n, int(time * rate)) for time, _ in controls), n]
    factors = np.array([1.0, *(factor for _, factor in controls)], np.float32)
    return np.repeat(piece.volumes[channel] * factors, np.diff(edges))
