"""A piece from a seed."""

import random
from collections.abc import Sequence

from weights.compose.performance import perform
from weights.compose.piece import Piece
from weights.compose.styles import STYLES

SECONDS = (4.0, 600.0)

# Moods that music of a mode may have.
MOODS = {
    "major": {"calm", "cheerful", "dreamy", "epic", "happy", "peaceful", "playful", "romantic", "uplifting"},
    "minor": {
        "calm",
        "dark",
        "dramatic",
        "dreamy",
        "epic",
        "melancholic",
        "mysterious",
        "romantic",
        "sad",
        "tense",
    },
}


def compose(seed: int, seconds: float, style: str | None = None) -> Piece:
    """Compose a piece.

    Parameters
    ----------
    seed : int
        The same seed, length and style give the same piece.
    seconds : float
        Length, 4 to 600.
    style : str, optional
        One of `STYLES`; drawn from the seed if not given.

    Raises
    ------
    ValueError
        If the length is out of range or nobody composes in that style.
    """
    if not SECONDS[0] <= seconds <= SECONDS[1]:
        raise ValueError(f"seconds must be {SECONDS[0]:g} to {SECONDS[1]:g}, not {seconds}")
    if style is None:
        weights = [weight for _, weight in STYLES.values()]
        style = random.Random(f"compose {seed}").choices(list(STYLES), weights)[0]
    elif style not in STYLES:
        raise ValueError(f"{style} is not one of the styles: {', '.join(STYLES)}")
    rng = random.Random(f"compose {seed} {style}")
    write, _ = STYLES[style]
    score = write(rng, float(seconds))
    a = score.arrangement
    mood = _mood(rng, a.mode, score.moods.split(", "), a.tempo)
    tags = [*score.tags.split(", "), "instrumental"]
    if a.tempo < 80:
        tags.append("slow")
    elif a.tempo > 140:
        tags.append("fast")
    return perform(score, seed, mood, tuple(dict.fromkeys(tags)))


def _mood(rng: random.Random, mode: str, moods: Sequence[str], tempo: float) -> tuple[str, ...]:
    """At most two of some moods, that go with the mode."""
    fitting = [mood for mood in moods if mood in MOODS[mode]]
    if not fitting:
        fitting = ["melancholic" if mode == "minor" else "happy" if tempo > 100 else "peaceful"]
    rng.shuffle(fitting)
    return tuple(sorted(fitting[:2]))
