"""Music of which everything is known, and how near to the truth an analysis of it comes.

Pieces are composed from seeds; the styles take turns, so that every one counts the same.
"""

import os
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np

from weights.compose import STYLES, Piece, compose, render
from weights.compose.piece import KEYS

TEMPO_TOLERANCE = 0.04  # as in the evaluations of Gouyon et al. (2006) and MIREX
BEAT_TOLERANCE = 0.07  # seconds, as in Dixon (2007) and MIREX
SETTLING = 5.0  # seconds at the beginning, in which no beats are counted (Davies et al., 2009)


def pieces(count: int, seconds: float, first_seed: int = 0) -> Iterator[Piece]:
    """Compose `count` pieces, the styles in turn."""
    styles = list(STYLES)
    for number in range(count):
        yield compose(first_seed + number, seconds, styles[number % len(styles)])


@cache
def rendered(
    seed: int, style: str, seconds: float, rate: int, soundfont: Path | None = None
) -> tuple[Piece, np.ndarray]:
    """A piece and its audio [shape=(n,), dtype=float32, read-only], mono, rendered once in a process."""
    piece = compose(seed, seconds, style)
    audio = render(piece, rate, 1, soundfont)[0]
    audio.flags.writeable = False
    return piece, audio


def kept(piece: Piece, rate: int, soundfont: Path | None = None) -> np.ndarray:
    """The audio of a piece [shape=(n,), dtype=float32], mono, rendered once and kept in the cache.

    The cache is in ``$XDG_CACHE_HOME`` or ``~/.cache``, in half precision: its noise lies 70 dB below.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    player = soundfont.stem if soundfont else "synth"
    name = f"{piece.seed}-{piece.style.replace(' ', '-')}-{piece.seconds:g}-{rate}-{player}.npy"
    path = home / "music-generation-backend" / "truth" / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            np.save(file, render(piece, rate, 1, soundfont)[0].astype(np.float16))
        Path(file.name).replace(path)
    audio: np.ndarray = np.load(path).astype(np.float32)
    return audio


def same_tempo(found: float, true: float, octaves: bool = False) -> bool:
    """Is a tempo in beats per minute right within 4 %, or (`octaves`) is its half or its double?"""
    factors = (0.5, 1.0, 2.0) if octaves else (1.0,)
    return any(abs(found - factor * true) <= TEMPO_TOLERANCE * factor * true for factor in factors)


def key_score(found: tuple[str | None, str | None], true: tuple[str, str]) -> float:
    """Score a key: 1 if right, 0.5 for the relative key and for a fifth up or down, otherwise 0."""
    (tonic, mode), (true_tonic, true_mode) = found, true
    if tonic is None or mode is None:
        return 0.0
    steps = (KEYS.index(tonic) - KEYS.index(true_tonic)) % 12
    if mode == true_mode:
        return {0: 1.0, 5: 0.5, 7: 0.5}.get(steps, 0.0)
    return 0.5 if steps == (9 if true_mode == "major" else 3) else 0.0


def f_measure(found: np.ndarray, true: np.ndarray) -> float:
    """Score events in seconds, found against true, both ascending: the harmonic mean of precision and recall.

    An event is found if one lies within `BEAT_TOLERANCE` of it that no other has taken (Dixon, 2007).
    """
    found, true = (np.asarray(times)[np.asarray(times) >= SETTLING] for times in (found, true))
    if not len(found) or not len(true):
        return float(len(found) == len(true))
    hits = 0
    waiting = list(found)
    for time in true:
        while waiting and waiting[0] < time - BEAT_TOLERANCE:
            waiting.pop(0)
        if waiting and waiting[0] <= time + BEAT_TOLERANCE:
            waiting.pop(0)
            hits += 1
    return 2.0 * hits / (len(found) + len(true))


def bars_right(found: np.ndarray, meter: str | None, piece: Piece) -> bool:
    """Are the bars that were found, in seconds, those of a piece: its meter, and an F-measure of 0.85?"""
    return meter == piece.meter and f_measure(found, piece.downbeats) >= 0.85
