"""What the tokenizers of the trained checkpoints have to know: the words and captions about the pieces.

Every word of a text is one token of T5's, tempi included, so that the small text encoder need not spell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from tokenizers import Tokenizer

from weights import tokenizers
from weights.train.pieces import Piece
from weights.train.published import tag_phrases
from weights.train.texts import CAPTION, caption

_LONGEST = 15  # characters of a word that is one token
_CAPITALISED = 60  # of the most frequent words, as they stand at the beginning of a prompt
_CAPTIONED = 2000  # pieces
_KEYS = ("C", "C#", "Db", "D", "D#", "Eb", "E", "F", "F#", "Gb", "G", "G#", "Ab", "A", "A#", "Bb", "B")
_TEMPI = range(40, 221)
_GRAMMAR = """
keywords bpm key major minor mid-tempo busy sparse bright dark loud quiet beatless slow fast
moderate a an piece track music song tune with in at and BPM tempo This is sound of the
"""


def words(pieces: Iterable[Piece]) -> dict[str, int]:
    """Count the words that texts about the pieces are made of."""
    counts: Counter[str] = Counter()
    for phrases in tag_phrases().values():
        for word in " ".join(phrases).split():
            counts[word] += 20
    for piece in pieces:
        said = [piece.style, *piece.moods, *piece.instruments, *piece.tags, piece.energy]
        counts.update(" ".join(said).split())
    counts.update(dict.fromkeys(_GRAMMAR.split(), 1000))
    known = {word.capitalize(): max(1, count // 50) for word, count in counts.most_common(_CAPITALISED)}
    known |= {str(tempo): 100 for tempo in _TEMPI} | dict.fromkeys(_KEYS, 300) | counts
    return {word: count for word, count in known.items() if len(word) <= _LONGEST}


def captions(pieces: Sequence[Piece]) -> list[str]:
    """Write captions about the pieces, and what CLAP is asked about tags."""
    rng = np.random.default_rng(0)
    asked = [CAPTION.format(phrase) for phrases in tag_phrases().values() for phrase in phrases]
    return asked * 20 + [caption(piece, rng)[0] for piece in pieces[:_CAPTIONED] for _ in range(2)]


def t5(size: int, pieces: Iterable[Piece]) -> Tokenizer:
    """Make the language model's tokenizer, of `size` ids."""
    return tokenizers.unigram(size, words(pieces))


def roberta(size: int, pieces: Sequence[Piece]) -> Tokenizer:
    """Make CLAP's tokenizer, of `size` ids."""
    return tokenizers.byte_level_bpe(size, captions(pieces))
