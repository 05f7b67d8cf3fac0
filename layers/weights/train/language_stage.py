"""Training the language model and its text encoder together, and measuring them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from weights.train.checkpoint import rounded
from weights.train.codes import ALIGNED, Coded
from weights.train.figures import Figures
from weights.train.graphs import Replay
from weights.train.language import Language, spread
from weights.train.optimizers import Adam, Muon, clip
from weights.train.pieces import Piece
from weights.train.quantiser import entropies
from weights.train.recipe import BOOKS
from weights.train.schedule import Budget, cosine, warm
from weights.train.texts import condition

_VARIANTS = 6
"""Texts of each piece."""
_WORDLESS = 0.04
"""Share of windows whose row has no place for a text at all, as when nothing is asked for."""
_DECAY = 0.1  # of Muon's matrices
_TEXT = 0.25
"""Rate of the text encoder's matrices, as a share of the others'."""
_AT_ONCE = 8  # windows that are measured together
_NATS = float(np.log(2.0))


class Texts:
    """Texts of pieces as tokens, whole ones: those that are too long are drawn anew.

    Attributes
    ----------
    ids : Tensor [pieces, variants, most], int64
    lengths : Tensor [pieces, variants], int64
    """

    def __init__(
        self,
        pieces: Sequence[Piece],
        tokenizer: Tokenizer,
        most: int,
        variants: int,
        device: torch.device,
        seed: int,
    ) -> None:
        rng = np.random.default_rng(seed)
        texts = [""] * len(pieces) * variants
        ids = np.zeros((len(texts), most), np.int64)
        lengths = np.zeros(len(texts), np.int64)
        left = list(range(len(texts)))
        while left:
            for row in left:
                texts[row] = condition(pieces[row // variants], rng)
            drawn = zip(left, tokenizer.encode_batch([texts[row] for row in left]), strict=True)
            left = []
            for row, encoding in drawn:
                if len(encoding.ids) > most:
                    left.append(row)
                    continue
                ids[row, : len(encoding.ids)] = encoding.ids
                lengths[row] = len(encoding.ids)
        self.examples = texts[:3]
        self.ids = torch.from_numpy(ids).view(len(pieces), variants, most).to(device)
        self.lengths = torch.from_numpy(lengths).view(len(pieces), variants).to(device)


class LanguageTraining:
    """A language model while it learns.

    Parameters
    ----------
    language : Language
        Changed.
    coded : Coded
    pieces : sequence of Piece
        Of `coded`.
    held_out : int
    tokenizer : Tokenizer
    figures : Figures
    compiled : bool
        Whether the networks are compiled: less memory to move for half a minute at the begin.
    """

    def __init__(
        self,
        language: Language,
        coded: Coded,
        pieces: Sequence[Piece],
        held_out: int,
        tokenizer: Tokenizer,
        figures: Figures,
        compiled: bool = False,
    ) -> None:
        self.language, self.coded, self.figures = language, coded, figures
        self._pieces, self._held_out, self._tokenizer = pieces, held_out, tokenizer
        self.device = device = language.device
        recipe = language.recipe
        self.steps = 0
        self._texts = Texts(pieces, tokenizer, recipe.text_length, _VARIANTS, device, seed=3)
        for example in self._texts.examples:
            figures.say(f"a text: {example!r}")
        hidden, text = language.matrices("decoder"), language.matrices("text_encoder")
        known = {id(matrix) for matrix in (*hidden, *text)}
        self._muon = Muon(hidden, turning=False, decay=_DECAY)
        self._text_muon = Muon(text, turning=False, decay=_DECAY)
        self._adam = Adam(p for p in language.parameters.values() if id(p) not in known)
        self._rates = torch.zeros(2, device=device)
        self._losses = torch.zeros(BOOKS, device=device)
        self._norm = torch.zeros((), device=device)
        self._forward = torch.compile(language.losses, dynamic=False) if compiled else language.losses

    def run(self, budget: Budget, save: Callable[[], None]) -> None:
        """Train for a time; `save` is called every minute."""
        recipe = self.language.recipe
        step = Replay(self._step, self.device)
        while (spent := budget.spent()) < 1.0:
            slope = warm(self.steps, recipe.warm) * cosine(spent, floor=0.01)
            self._rates[0].fill_(recipe.muon * slope)
            self._rates[1].fill_(recipe.adam * slope)
            step()
            self.steps += 1
            if self.steps % 4 == 0 and self.figures.due("language"):
                books = {f"book_{book}": value for book, value in enumerate(self._losses.tolist())}
                loss = float(np.mean(list(books.values())))
                self.figures.log("language", self.steps, budget, loss=loss, **books, norm=float(self._norm))
                if self.figures.due("language held out", 60.0):
                    held = evaluate(
                        self.language,
                        self.coded,
                        self._pieces,
                        min(16, self._held_out),
                        self._tokenizer,
                        ("both",),
                    )
                    self.figures.log("language", self.steps, budget, held_out=float(np.mean(held["both"])))
                    save()
            elif self.steps % 4 == 0 and self.device.type == "cuda":
                torch.cuda.synchronize()  # do not run ahead of the clock
        with torch.no_grad():
            for value in self.language.parameters.values():
                value.grad = None
                value.copy_(rounded(value))

    def _step(self) -> None:
        batch = self._batch()
        for value in self.language.parameters.values():
            value.grad = None
        losses = self._forward(*batch)
        losses.mean().backward()
        self._losses.copy_(losses.detach())
        self._norm.copy_(clip(self.language.parameters.values(), 1.0))
        self._adam.step(self._rates[1])
        self._muon.step(self._rates[0])
        self._text_muon.step(self._rates[0] * _TEXT)

    def _batch(self) -> tuple[Tensor, ...]:
        recipe, device, n = self.language.recipe, self.device, self.language.recipe.batch
        pieces, _, frames = self.coded.codes.shape

        def happens(share: float) -> Tensor:
            return torch.rand(n, device=device) < share

        neither = happens(recipe.neither)
        said = ~(neither | happens(recipe.no_text))
        heard = ~(neither | happens(recipe.no_melody))
        rows = torch.randint(self._held_out, pieces, (n,), device=device)
        starts = torch.randint(frames - recipe.window + 1, (n,), device=device)
        starts = torch.where(heard, starts // ALIGNED * ALIGNED, starts)
        codes, melody = self.coded.windows(rows, starts, recipe.window)
        variant = torch.randint(self._texts.ids.shape[1], (n,), device=device)
        lengths = self._texts.lengths[rows, variant] * ~happens(_WORDLESS)
        inputs, labels = spread(codes, self.language.entries)
        return melody * heard[:, None], self._texts.ids[rows, variant], lengths, said, inputs, labels


@torch.no_grad()
def evaluate(
    language: Language,
    coded: Coded,
    pieces: Sequence[Piece],
    held_out: int,
    tokenizer: Tokenizer,
    conditions: Sequence[str] = ("both", "text", "melody", "none"),
) -> dict[str, list[float]]:
    """Measure a language model on the middle of each piece that is held out.

    Returns
    -------
    dict of str to list of float
        Cross-entropy of each codebook in nats, given text and melody, one of them, or none; ``unigram`` is
        the entropy of the very codes that are predicted.
    """
    device, window = language.device, language.recipe.window
    texts = Texts(pieces[:held_out], tokenizer, language.recipe.text_length, 1, device, seed=11)
    start = (coded.codes.shape[2] - window) // 2 // ALIGNED * ALIGNED
    sums = {name: torch.zeros(BOOKS, device=device) for name in conditions}
    for rows in torch.arange(held_out, device=device).split(_AT_ONCE):
        codes, melody = coded.windows(rows, torch.full_like(rows, start), window)
        inputs, labels = spread(codes, language.entries)
        ids, lengths = texts.ids[rows, 0], texts.lengths[rows, 0]
        for name in conditions:
            said = torch.full((len(rows),), name in ("both", "text"), device=device)
            heard = melody * (name in ("both", "melody"))
            sums[name] += len(rows) * language.losses(heard, ids, lengths, said, inputs, labels)
    out = {name: [round(value, 4) for value in (total / held_out).tolist()] for name, total in sums.items()}
    held = coded.codes[:held_out, :, start : start + window]
    out["unigram"] = [round(bits * _NATS, 4) for bits in entropies(held, language.entries)]
    return out
