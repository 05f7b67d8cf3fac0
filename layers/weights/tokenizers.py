"""Tokenizers of the published kinds, made from a small text about music and from what else is to be said.

The text is `tokenizers.txt`. Training is counting: the same texts and size give the same file. A small text
yields fewer tokens than the published vocabularies have, so the rest of the ids is filled with tokens that no
sentence contains.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from math import log
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

TEXT = Path(__file__).with_suffix(".txt")
_LONGEST = 12  # characters of a part of a word
_WHOLE = 50  # how much more a word counts that is one token than a part that occurs as often
_SENTINELS = 100  # T5's <extra_id_N>


def unigram(size: int, words: Mapping[str, int] | None = None) -> Tokenizer:
    """T5's kind of tokenizer: SentencePiece unigram pieces, ``</s>`` at the end.

    Pieces are the given words, and the substrings of words that cover most of the text; their scores are the
    logarithms of their shares.

    Parameters
    ----------
    size : int
        Number of ids; the last hundred are the sentinels ``<extra_id_99>`` to ``<extra_id_0>``.
    words : mapping of str to int, optional
        Words that become one token each, as far as there is room, and how often they occur.
    """
    parts: Counter[str] = Counter()
    for word in TEXT.read_text("utf-8").split():
        marked = "▁" + word
        for start in range(len(marked)):
            for end in range(start + 1, min(len(marked), start + _LONGEST) + 1):
                parts[marked[start:end]] += 1
    whole = {"▁" + word: count for word, count in (words or {}).items()}
    # Printable ASCII is always there, so that nothing plain is unknown.
    single = sorted({*map(chr, range(33, 127)), *(part for part in parts if len(part) == 1)})
    frequent = sorted(whole, key=lambda word: (-whole[word], word))
    longer = sorted(
        (part for part in parts if len(part) > 1), key=lambda part: (-parts[part] * len(part), part)
    )
    room = size - _SENTINELS - 3
    pieces = list(dict.fromkeys([*single, *frequent, *longer]))[:room]
    total = parts.total() + _WHOLE * sum(whole.values())
    shares = {piece: _WHOLE * whole[piece] if piece in whole else max(parts[piece], 0.5) for piece in pieces}
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    vocabulary += [(piece, log(share / total)) for piece, share in shares.items()]
    vocabulary += [(f"unused{number:05}", -100.0) for number in range(room - len(pieces))]
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


def byte_level_bpe(size: int, lines: Sequence[str] = ()) -> Tokenizer:
    """RoBERTa's kind of tokenizer: byte-level BPE, ``<s>`` before and ``</s>`` after, ``<mask>`` the last id.

    Parameters
    ----------
    size : int
        Number of ids.
    lines : sequence of str
        What it learns from besides the text.
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
    # With and without a leading space, as words stand inside and at the start of a prompt.
    lines = [*TEXT.read_text("utf-8").splitlines(), *lines]
    learner.train_from_iterator([*lines, *(" " + line for line in lines)], trainer)
    learned: dict[str, Any] = json.loads(learner.to_str())["model"]
    vocabulary: dict[str, int] = learned["vocab"]
    for number in range(size - 1 - len(vocabulary)):
        vocabulary[f"unused{number:05}"] = len(vocabulary)
    vocabulary["<mask>"] = size - 1

    merges = [(first, second) for first, second in learned["merges"]]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False
    )
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    return tokenizer
