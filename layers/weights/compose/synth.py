"""Playing a piece without a soundfont: one-cycle wavetables and struck noise, from numpy alone.

It sounds like an old games console. It is exact in pitch and time, and fast enough for tests.
"""

from functools import lru_cache

import numpy as np

from weights.compose.piece import DRUM_CHANNEL, Piece
from weights.compose.soundfont import PAN

TABLE = 4096
RELEASE = 0.05  # seconds
PARTIALS = 24

# For each of General MIDI's families of eight programs: how partials fall off (their amplitude is k to this power),
# whether there are odd ones only, the seconds of the attack, and the seconds in which a held note decays to 1/e.
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

# Drums by their General MIDI pitch: a tone that glides from one frequency in Hz to another, its seconds of decay, its
# share; the seconds of the noise's decay, and how many times it is differenced (more is brighter).
KICK = (150.0, 48.0, 0.12, 1.0, 0.01, 0)
SNARE = (220.0, 180.0, 0.06, 0.5, 0.11, 1)
HAT = (0.0, 0.0, 0.01, 0.0, 0.03, 2)
CYMBAL = (0.0, 0.0, 0.01, 0.0, 0.5, 2)
STICK = (900.0, 800.0, 0.02, 0.6, 0.02, 1)
DRUMS = {35: KICK, 36: KICK, 37: STICK, 38: SNARE, 39: (0.0, 0.0, 0.01, 0.0, 0.09, 1), 42: HAT, 44: HAT}
DRUMS |= {
    46: (0.0, 0.0, 0.01, 0.0, 0.18, 2),
    49: CYMBAL,
    51: CYMBAL,
    53: STICK,
    54: HAT,
    56: STICK,
    63: STICK,
    70: HAT,
}
DRUMS |= {
    pitch: (hertz, 0.7 * hertz, 0.2, 1.0, 0.02, 0)
    for pitch, hertz in zip(range(41, 51), range(80, 180, 10))
    if pitch in (41, 43, 45, 47, 48, 50)
}


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
    start, end, decay, share, noise_decay, brightness = DRUMS[pitch]
    n = int(5.0 * max(decay, noise_decay) * rate)
    seconds = np.arange(n) / rate
    hertz = end + (start - end) * np.exp(-seconds / 0.03)
    tone = np.sin(2.0 * np.pi * np.cumsum(hertz) / rate) * np.exp(-seconds / decay)
    noise = np.diff(np.random.default_rng(pitch).standard_normal(n + brightness), brightness)
    noise *= np.exp(-seconds / noise_decay) / 2.0**brightness
    return (2.0 * (share * tone + (1.0 - share) * noise)).astype(np.float32)


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
    parts = {channel: np.zeros(n, np.float32) for channel in piece.programs}
    for start, seconds, channel, pitch, velocity in piece.notes.tolist():
        if channel == DRUM_CHANNEL:
            sound = _drum(pitch, rate)
        else:
            sound = _note(piece.programs[channel][1], pitch, seconds, rate)
        at = round(start * rate)
        sound = sound[: n - at]
        parts[channel][at : at + len(sound)] += sound * np.float32((velocity / 127.0) ** 2)
    for channel, part in parts.items():
        part *= _volume(piece, channel, n, rate)
        if channels == 1:
            out[0] += part
        else:
            out[0] += part * np.float32(np.sqrt(1.0 - PAN[channel]))
            out[1] += part * np.float32(np.sqrt(PAN[channel]))
    return out


def _volume(piece: Piece, channel: int, n: int, rate: int) -> np.ndarray | np.float32:
    """The channel's volume at each sample; each control holds until the next."""
    controls = sorted((time, factor) for time, number, factor in piece.controls if number == channel)
    if not controls:
        return np.float32(piece.volumes[channel])
    edges = [0, *(min(n, int(time * rate)) for time, _ in controls), n]
    factors = np.array([1.0, *(factor for _, factor in controls)], np.float32) * np.float32(
        piece.volumes[channel]
    )
    return np.repeat(factors, np.diff(edges))
