"""What is said of pieces: descriptions as the generator makes them, prompts as people write them, captions.

All of it is true, none of it is complete: each text leaves out what it draws.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from weights.train.pieces import Piece

Random = np.random.Generator

CAPTION = "This is a sound of {}"
"""The prompt that tags are put in (`music/clap/tags.toml`)."""


def some(rng: Random, words: Sequence[str], most: int) -> list[str]:
    """Draw up to `most` of the words, in any order."""
    count = int(rng.integers(0, min(most, len(words)) + 1))
    return [words[int(index)] for index in rng.permutation(len(words))[:count]]


def description(piece: Piece, rng: Random) -> str:
    """Say what the generator would say of a source (`music.musicgen.generator.describe`), or part of it."""
    # What is measured comes first, as in `music.features.tags`; then what CLAP hears.
    words = [word for word, share in ((piece.pace, 0.5), (piece.mode, 0.5)) if rng.random() < share]
    words += [word for word in piece.heard if rng.random() < 0.6]
    if rng.random() < 0.8:
        words.append(piece.style)
    words += some(rng, piece.moods, 2) + some(rng, piece.instruments, 4) + some(rng, piece.tags, 2)
    if rng.random() < 0.5:
        words.append(piece.energy)
    if rng.random() < 0.3:
        rng.shuffle(words)
    parts = ["keywords: " + ", ".join(words)] if words else []
    if rng.random() < 0.75:
        # A measured tempo is not always exact.
        off = 0.01 * rng.standard_normal() if rng.random() < 0.3 else 0.0
        parts.append(f"bpm: {piece.tempo * (1 + off):.0f}")
    if rng.random() < 0.75:
        parts.append(f"key: {piece.key} {piece.mode}")
    return ". ".join(parts)


def prompt(piece: Piece, rng: Random) -> str:
    """Ask for the piece as a person would."""
    moods, instruments = some(rng, piece.moods, 2), some(rng, piece.instruments, 3)
    adjectives = moods + ([piece.pace] if rng.random() < 0.25 else [])
    style = piece.style if rng.random() < 0.92 else ""
    noun = str(rng.choice(["piece", "track", "music", "song", "tune", ""]))
    text = " ".join(word for word in [*adjectives, style, noun] if word) or piece.style
    if noun in ("piece", "track", "song", "tune") and rng.random() < 0.8:
        text = ("an " if text[0] in "aeiou" else "a ") + text
    if instruments:
        text += " with " + listed(instruments)
    if rng.random() < 0.25:
        text += f" in {piece.key} {piece.mode}"
    if rng.random() < 0.3:
        text += f" at {piece.tempo:.0f} BPM"
    if rng.random() < 0.3:
        text = text[0].upper() + text[1:]
    return text + ("." if rng.random() < 0.3 else "")


def listed(words: Sequence[str]) -> str:
    """Join words as in a sentence.

    Examples
    --------
    >>> listed(["piano"]), listed(["piano", "flute", "harp"])
    ('piano', 'piano, flute and harp')
    """
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def condition(piece: Piece, rng: Random) -> str:
    """Draw a text for the language model: a description, a prompt, or both as a user's prompt has them."""
    kind = rng.random()
    if kind < 0.6:
        return description(piece, rng)
    asked = prompt(piece, rng)
    if kind < 0.85:
        return asked
    return ". ".join(part for part in (asked.rstrip("."), description(piece, rng)) if part)


def caption(piece: Piece, rng: Random) -> tuple[str, frozenset[str] | None]:
    """Draw a text for CLAP.

    Returns
    -------
    text : str
    needed : frozenset of str or None
        The attributes that a piece must have for the text to be true of it. None: nothing but the piece that
        it was written for is known to fit.
    """
    kind = rng.random()
    music = CAPTION.format("{} music")
    if kind < 0.26:
        return music.format(piece.style), frozenset([piece.style])
    if kind < 0.42 and piece.moods:
        mood = str(rng.choice(piece.moods))
        return music.format(mood), frozenset([mood])
    if kind < 0.62 and piece.instruments:
        instrument = str(rng.choice(piece.instruments))
        return CAPTION.format(instrument), frozenset([instrument])
    if kind < 0.68:
        return music.format(piece.energy), frozenset([piece.energy])
    if kind < 0.72:
        return f"{piece.pace} music", frozenset([piece.pace])
    if kind < 0.9:
        moods, instruments = some(rng, piece.moods, 2), some(rng, piece.instruments, 3)
        words = [*moods, *([piece.style] if rng.random() < 0.8 else []), *instruments] or [piece.style]
        if rng.random() < 0.5:
            return ", ".join(words), frozenset(words)
        text = " ".join(
            [*words[: len(words) - len(instruments)], str(rng.choice(["music", "piece", "track"]))]
        )
        return text + (" with " + listed(instruments) if instruments else ""), frozenset(words)
    return prompt(piece, rng), None
