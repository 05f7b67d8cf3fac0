"""What styles draw at random."""

import random


def pick(rng: random.Random, words: str) -> str:
    """One of the words of a text; a word that stands there twice is twice as likely."""
    return rng.choice(words.split())


def tempo(rng: random.Random, slowest: float, fastest: float) -> float:
    """Beats per minute, to a tenth."""
    return round(rng.uniform(slowest, fastest), 1)


def lines(text: str) -> list[str]:
    """The lines of a text."""
    return [line.strip() for line in text.strip().splitlines()]
