"""A piece from a seed."""

import random

from weights.compose.piece import Piece
from weights.compose.styles import STYLES

SECONDS = (4.0, 600.0)


def moods(rng, mode, base, tempo, n=2):
    pos = {"calm", "cheerful", "dreamy", "happy", "peaceful", "playful", "romantic", "uplifting", "epic"}
    neg = {
        "dark",
        "melancholic",
        "mysterious",
        "sad",
        "tense",
        "dramatic",
        "dreamy",
        "calm",
        "romantic",
        "epic",
    }
    ok = [m for m in base if m in (pos if mode == "major" else neg)]
    if not ok:
        ok = (
            ["happy"]
            if mode == "major" and tempo > 100
            else ["peaceful"]
            if mode == "major"
            else ["melancholic"]
        )
    rng.shuffle(ok)
    return sorted(ok[:n])


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
    a, tags, base, energy = write(rng, float(seconds))
    mood = moods(rng, a.mode, base, a.tempo)
    tags = list(dict.fromkeys([*tags, "instrumental"]))
    if a.tempo < 80 and "slow" not in tags:
        tags.append("slow")
    elif a.tempo > 140 and "fast" not in tags:
        tags.append("fast")
    return a.finish(seed, tags, mood, energy, a.skip)
