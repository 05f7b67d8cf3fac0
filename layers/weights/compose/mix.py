"""From what the instruments play to a recording: a room, a loudness, no clipping."""

import random
from functools import lru_cache
from pathlib import Path

import numpy as np

from weights.compose import soundfont as fonts
from weights.compose import synth
from weights.compose.piece import Piece

RATES = (8000, 192_000)
PEAK = 0.95
KNEE = 0.6  # amplitudes above are bent towards the peak
FADE_OUT = 0.01  # seconds
# RMS level in dBFS, between these bounds.
LEVELS = {
    "quiet and relaxing": (-20.0, -15.0),
    "moderately energetic": (-19.0, -13.0),
    "loud and energetic": (-17.0, -12.0),
}


def render(piece: Piece, rate: int = 32000, channels: int = 1, soundfont: Path | None = None) -> np.ndarray:
    """Render a piece to audio.

    Parameters
    ----------
    piece : Piece
    rate : int
        Samples per second, 8,000 to 192,000.
    channels : int
        1 or 2.
    soundfont : Path, optional
        What plays it. Without one the built-in synthesizer does, which needs nothing but numpy.

    Returns
    -------
    np.ndarray [shape=(channels, n), dtype=float32]
        The same for the same piece, rate, channels and soundfont; at most `PEAK`.

    Raises
    ------
    ValueError
        If rate or channels are out of range.
    SoundfontError
        If the soundfont is not there or is none.
    """
    if not RATES[0] <= rate <= RATES[1]:
        raise ValueError(f"rate must be {RATES[0]} to {RATES[1]}, not {rate}")
    if channels not in (1, 2):
        raise ValueError(f"channels must be 1 or 2, not {channels}")
    if soundfont is None:
        audio = synth.play(piece, rate, channels)
    else:
        audio = fonts.play(piece, soundfont, rate, channels)
    audio -= audio.mean(axis=1, keepdims=True)
    rng = random.Random(f"render {piece.seed}")
    wet = rng.uniform(0.0, 0.25) if rng.random() < 0.85 else 0.0
    if {"ambient", "orchestral"} & set(piece.tags):
        wet = max(wet, 0.12)
    room = (rng.choice((0.25, 0.35, 0.5, 0.7)), rng.choice((2, 5, 8)), rng.randrange(4))
    if wet > 0.02:
        audio = _in_room(audio, _impulse_response(*room, channels, rate), wet)
    return _master(audio, rng.uniform(*LEVELS[piece.energy]), rate)


@lru_cache(maxsize=64)
def _impulse_response(seconds: float, smoothing: int, seed: int, channels: int, rate: int) -> np.ndarray:
    """A room [shape=(channels, n)] of energy 1: early reflections, then noise that decays by 60 dB."""
    rng = np.random.default_rng(seed)
    n = int(rate * seconds)
    decay = np.exp(-6.9 * np.arange(n) / n)
    response = rng.standard_normal((channels, n)) * decay
    # Walls take the treble: the more smoothing, the darker.
    kernel = np.hanning(smoothing + 4)[1:-1]
    response = np.stack([np.convolve(channel, kernel)[:n] for channel in response])
    response[:, : int(0.012 * rate)] *= 0.15
    for delay in (0.011, 0.017, 0.023, 0.031, 0.041):
        at = int(delay * rate)
        response[:, at] += 2.5 * rng.choice((-1.0, 1.0), channels) * decay[at]
    return (response / np.sqrt(np.square(response).sum(axis=1, keepdims=True))).astype(np.float32)


def _in_room(audio: np.ndarray, response: np.ndarray, wet: float) -> np.ndarray:
    n = audio.shape[1]
    size = 1 << (n + response.shape[1] - 1).bit_length()
    spectrum = np.fft.rfft(audio, size) * np.fft.rfft(response, size)
    echo = np.fft.irfft(spectrum, size)[:, :n]
    return (audio * (1.0 - 0.5 * wet) + echo * (1.3 * wet)).astype(np.float32)


def _master(audio: np.ndarray, level: float, rate: int) -> np.ndarray:
    """Bring audio to an RMS level in dBFS; bend its peaks; fade the last samples out."""
    rms = np.sqrt(np.mean(np.square(audio, dtype=np.float64)))
    if rms == 0.0:
        raise ValueError("a piece without sound")
    audio = audio * np.float32(10.0 ** (level / 20.0) / rms)
    excess = np.maximum(np.abs(audio) - KNEE, 0.0)
    bent = np.sign(audio) * (KNEE + (PEAK - KNEE) * np.tanh(excess / (PEAK - KNEE)))
    audio = np.where(excess > 0.0, bent, audio)
    fade = round(FADE_OUT * rate)
    audio[:, -fade:] *= np.linspace(1.0, 0.0, fade, dtype=np.float32)
    return np.clip(audio, -PEAK, PEAK).astype(np.float32)
