"""How large the networks are, and what they are trained with."""

from __future__ import annotations

from dataclasses import dataclass

SAMPLE_RATE = 32_000
HOP = 640
"""Samples of a frame of codes."""
FRAME_RATE = SAMPLE_RATE // HOP
BOOKS = 4
"""Codebooks of a frame."""
HELD_OUT = 64
"""Pieces, the first that are rendered, which nothing is trained on."""


@dataclass(frozen=True)
class CodecRecipe:
    """Of the codec.

    Attributes
    ----------
    filters : int
        Channels at the full sample rate; they double at each of four steps down.
    latent : int
        Numbers that a frame is coded from.
    entries : int
        Of a codebook.
    batch, segment : int
        Excerpts of a step, samples of an excerpt.
    muon : float
        How far a step of `optimizers.Muon` moves a convolution's direction, as a share of its length.
    adam : float
        Step of all other parameters.
    commitment : float
        Gradient of the commitment loss at the latent, as a share of the reconstruction's.
    unquantised, again : int, (int, int)
        Steps before the codebooks begin, and the steps after which they begin anew.
    decoder_alone : float
        Share of the time after which encoder and codebooks stay as they are.
    """

    filters: int = 16
    latent: int = 16
    entries: int = 1024
    ratios: tuple[int, ...] = (8, 5, 4, 4)
    batch: int = 24
    segment: int = SAMPLE_RATE
    muon: float = 0.02
    adam: float = 2e-3
    warm: int = 20
    commitment: float = 0.15
    unquantised: int = 40
    again: tuple[int, ...] = (40, 150)
    decoder_alone: float = 0.88


@dataclass(frozen=True)
class LanguageRecipe:
    """Of the language model and its text encoder.

    Attributes
    ----------
    batch, window : int
        Windows of a step, frames of a window.
    text_length : int
        Tokens of a text, at most; the places that are kept for them. What is said of a source fits in
        without its last tags.
    no_text, no_melody, neither : float
        Probabilities that a window is learned without the one, the other, or both.
    """

    width: int = 384
    layers: int = 6
    heads: int = 6
    feed: int = 1280
    text_width: int = 128
    text_head: int = 64
    text_feed: int = 256
    text_layers: int = 2
    text_heads: int = 2
    text_vocabulary: int = 1024
    text_length: int = 28
    batch: int = 48
    window: int = 30 * FRAME_RATE
    muon: float = 0.02
    adam: float = 4e-3
    warm: int = 100
    no_text: float = 0.15
    no_melody: float = 0.5
    neither: float = 0.1


@dataclass(frozen=True)
class ClapRecipe:
    """Of CLAP.

    Attributes
    ----------
    pieces : int
        Of a step; two windows of ten seconds and one text of each.
    """

    width: int = 24
    depths: tuple[int, ...] = (2, 2, 2, 2)
    heads: tuple[int, ...] = (1, 2, 4, 8)
    text_width: int = 128
    text_layers: int = 2
    text_heads: int = 4
    text_vocabulary: int = 1024
    text_length: int = 48
    projection: int = 512
    pieces: int = 128
    rate: float = 1e-3
    decay: float = 0.05
    warm: int = 100


@dataclass(frozen=True)
class Recipe:
    """Of all three."""

    codec: CodecRecipe = CodecRecipe()
    language: LanguageRecipe = LanguageRecipe()
    clap: ClapRecipe = ClapRecipe()
    held_out: int = HELD_OUT


POCKET = Recipe()
"""What is published."""

TOY = Recipe(
    CodecRecipe(4, 16, 64, batch=4, segment=12 * HOP, warm=5, unquantised=3, again=(2, 4)),
    LanguageRecipe(64, 2, 1, 256, 48, 24, 64, 2, 2, text_length=64, batch=2, window=160, warm=10),
    ClapRecipe(8, text_width=32, text_heads=2, pieces=3, warm=10),
    held_out=4,
)
"""Learns nothing; shows within a minute on a processor that every stage runs."""
