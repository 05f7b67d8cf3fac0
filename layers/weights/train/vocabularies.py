"""The tokenizers of the trained checkpoints: the published kinds, for the words that the texts are made of.

`weights.tokenizers` makes those of random checkpoints from a page of text. Here every word of a text is one
token of T5's, numbers of tempo included, so that the small text encoder need not spell.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from math import log
from typing import Any

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from weights.train.pieces import Piece
from weights.train.published import base_text, tag_phrases
from weights.train.texts import CAPTION, caption

_LONGEST = 15  # characters of a word's one token
_SENTINELS = 100  # T5's <extra_id_N>
_KEYS = ("C", "C#", "Db", "D", "D#", "Eb", "E", "F", "F#", "Gb", "G", "G#", "Ab", "A", "A#", "Bb", "B")
_TEMPI = range(40, 221)
_GRAMMAR = [
    "keywords",
    "bpm",
    "key",
    "major",
    "minor",
    "mid-tempo",
    "busy",
    "sparse",
    "bright",
    "dark",
    "loud",
    "quiet",
    "beatless",
    "slow",
    "fast",
    "moderate",
    "a",
    "an",
    "piece",
    "track",
    "music",
    "song",
    "tune",
    "with",
    "in",
    "at",
    "and",
    "BPM",
    "tempo",
    "This",
    "is",
    "sound",
    "of",
    "the",
]


def words(pieces: Iterable[Piece]) -> Counter[str]:
    """Count the words that texts about the pieces are made of."""
    counts: Counter[str] = Counter()
    for phrases in tag_phrases().values():
        for word in " ".join(phrases).split():
            counts[word] += 20
    for piece in pieces:
        said = [piece.style, *piece.moods, *piece.instruments, *piece.tags, piece.energy]
        counts.update(" ".join(said).split())
    counts.update(dict.fromkeys(_GRAMMAR, 1000))
    return counts


def unigram(size: int, pieces: Iterable[Piece]) -> Tokenizer:
    """T5's kind of tokenizer: SentencePiece unigram pieces, ``</s>`` at the end.

    Parameters
    ----------
    size : int
        Number of ids; the last hundred are the sentinels ``<extra_id_99>`` to ``<extra_id_0>``.
    pieces : iterable of Piece
        Whose words become tokens.
    """
    parts: Counter[str] = Counter()
    for word in base_text().split():
        marked = "▁" + word
        for start in range(len(marked)):
            for end in range(start + 1, min(len(marked), start + 12) + 1):
                parts[marked[start:end]] += 1
    known = words(pieces)
    whole: dict[str, int] = {}
    for word, count in known.most_common(60):
        whole["▁" + word.capitalize()] = max(1, count // 50)
    whole |= {f"▁{tempo}": 100 for tempo in _TEMPI} | {f"▁{key}": 300 for key in _KEYS}
    whole |= {"▁" + word: count for word, count in known.items()}
    whole = {word: count for word, count in whole.items() if len(word) <= _LONGEST + 1}
    # Printable ASCII is always there, so that nothing plain is unknown.
    single = sorted({"▁", *map(chr, range(33, 127)), *(part for part in parts if len(part) == 1)})
    longer = sorted(
        (part for part in parts if len(part) > 1), key=lambda part: (-parts[part] * len(part), part)
    )
    frequent = sorted(whole, key=lambda word: (-whole[word], word))
    room = size - _SENTINELS - 3
    chosen = list(dict.fromkeys([*single, *frequent, *longer]))[:room]
    total = parts.total() + 50 * sum(whole.values())

    def weight(part: str) -> float:
        if part in whole:
            return 50.0 * whole[part]
        return float(parts[part] if len(part) > 1 else min(parts[part], 5))

    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    vocabulary += [(part, log(max(weight(part), 0.5) / total)) for part in chosen]
    vocabulary += [(f"unused{number:05}", -100.0) for number in range(room - len(chosen))]
    sentinels = [f"<extra_id_{number}>" for number in reversed(range(_SENTINELS))]
    vocabulary += [(sentinel, 0.0) for sentinel in sentinels]

    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=2, byte_fallback=False))
    marks = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), marks])
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>", *sentinels])
    return tokenizer


def byte_level_bpe(size: int, pieces: Sequence[Piece]) -> Tokenizer:
    """RoBERTa's kind of tokenizer: byte-level BPE, ``<s>`` before and ``</s>`` after, ``<mask>`` the last id.

    Parameters
    ----------
    size : int
        Number of ids.
    pieces : sequence of Piece
        About which captions are written to learn from.
    """
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size - 1,
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    rng = np.random.default_rng(0)
    lines = base_text().splitlines()
    lines += [CAPTION.format(phrase) for phrases in tag_phrases().values() for phrase in phrases] * 20
    lines += [caption(piece, rng)[0] for piece in pieces[:2000] for _ in range(2)]
    # With and without a leading space, as words stand inside and at the start of a prompt.
    learner.train_from_iterator([*lines, *(" " + line for line in lines)], trainer)
    learned: dict[str, Any] = json.loads(learner.to_str())["model"]
    vocabulary: dict[str, int] = learned["vocab"]
    for number in range(size - 1 - len(vocabulary)):
        vocabulary[f"unused{number:05}"] = len(vocabulary)
    vocabulary["<mask>"] = size - 1

    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=[(first, second) for first, second in learned["merges"]])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False
    )
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    return tokenizer
