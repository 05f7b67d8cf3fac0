"""Training CLAP, and measuring it.

Windows of sound are brought near the texts that are true of them, and near the other window of their piece.
A text is often true of several pieces of a batch: all of them are its targets, alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (as torch itself calls it)
from tokenizers import Tokenizer
from torch import Tensor

from weights.train.checkpoint import rounded
from weights.train.clap import Clap
from weights.train.figures import Figures
from weights.train.graphs import Replay
from weights.train.mels import WINDOW, Mels
from weights.train.optimizers import Adam, clip
from weights.train.pieces import Piece
from weights.train.schedule import Budget, cosine, warm
from weights.train.store import Store
from weights.train.texts import CAPTION, caption

_VARIANTS = 6
"""Captions of each piece."""
_TEMPERATURE = 0.08  # of sounds among each other
_LARGEST_SCALE = 4.2  # log
_PAD, _END = 1, 2


class Captions:
    """Captions of pieces as tokens, and what makes them true.

    Attributes
    ----------
    ids : Tensor [pieces, variants, most], int64
    needed : Tensor [pieces, variants, attributes], bool
        What a piece must have for a caption to be true of it.
    own : Tensor [pieces, variants], bool
        Captions that are true of nothing but their piece.
    has : Tensor [pieces, attributes], bool
    """

    def __init__(
        self, pieces: Sequence[Piece], tokenizer: Tokenizer, most: int, device: torch.device
    ) -> None:
        rng = np.random.default_rng(9)
        attributes = sorted(set().union(*(piece.attributes() for piece in pieces)))
        number = {attribute: index for index, attribute in enumerate(attributes)}
        has = np.zeros((len(pieces), len(number)), bool)
        for row, piece in enumerate(pieces):
            has[row, [number[attribute] for attribute in piece.attributes()]] = True
        texts: list[str] = []
        needed = np.zeros((len(pieces) * _VARIANTS, len(number)), bool)
        own = np.zeros(len(pieces) * _VARIANTS, bool)
        for piece in pieces:
            for _ in range(_VARIANTS):
                text, needs = caption(piece, rng)
                if needs is None:
                    own[len(texts)] = True
                else:
                    needed[len(texts), [number[attribute] for attribute in needs]] = True
                texts.append(text)
        self.examples = texts[:3]
        shape = len(pieces), _VARIANTS
        self.ids = padded(tokenizer, texts, most).view(*shape, most).to(device)
        self.needed = torch.from_numpy(needed).view(*shape, -1).to(device)
        self.own = torch.from_numpy(own).view(shape).to(device)
        self.has = torch.from_numpy(has).to(device)


def padded(tokenizer: Tokenizer, texts: Sequence[str], most: int) -> Tensor:
    """Tokens of texts [n, most], int64."""
    ids = torch.full((len(texts), most), _PAD)
    for row, encoding in zip(ids, tokenizer.encode_batch(list(texts)), strict=True):
        tokens = encoding.ids if len(encoding.ids) <= most else [*encoding.ids[: most - 1], _END]
        row[: len(tokens)] = torch.tensor(tokens)
    return ids


class ClapTraining:
    """A CLAP while it learns.

    Parameters
    ----------
    clap : Clap
        Changed.
    store : Store
    tokenizer : Tokenizer
    figures : Figures
    fresh : bool
        Whether the statistics of mels have still to be measured.
    """

    def __init__(self, clap: Clap, store: Store, tokenizer: Tokenizer, figures: Figures, fresh: bool) -> None:
        self.clap, self.store, self.figures = clap, store, figures
        self.device = device = clap.device
        self.steps = 0
        self._held_out, self._count = store.held_out, store.count
        self._captions = Captions(store.pieces[: self._count], tokenizer, clap.recipe.text_length, device)
        for text in self._captions.examples:
            figures.say(f"a caption: {text!r}")
        self._mels = Mels(device)
        self._n = min(clap.recipe.pieces, self._count - self._held_out)
        matrices = [
            p
            for n, p in clap.parameters.items()
            if p.dim() == 2 and "embeddings" not in n and "table" not in n
        ]
        others = [p for p in clap.parameters.values() if not any(p is matrix for matrix in matrices)]
        self._optimizers = [
            Adam(matrices, betas=(0.9, 0.98), decay=clap.recipe.decay),
            Adam(others, betas=(0.9, 0.98)),
        ]
        self._rate = torch.zeros((), device=device)
        self._losses = {name: torch.zeros((), device=device) for name in ("text", "sound", "recall")}
        if fresh:
            self._measure()

    def _measure(self) -> None:
        """Measure once what the batch norm takes off: nothing has to go back through it."""
        bins = torch.cat([self._draw()[1].flatten(0, 1) for _ in range(2)])
        name = "audio_model.audio_encoder.batch_norm"
        self.clap.buffers[f"{name}.running_mean"].copy_(rounded(bins.mean(0)))
        self.clap.buffers[f"{name}.running_var"].copy_(rounded(bins.var(0)))

    def _draw(self) -> tuple[Tensor, Tensor]:
        """Pieces [n], none twice, and two windows of each [2n, frames, bins], the first ones before."""
        rows = (
            torch.rand(self._count - self._held_out, device=self.device).topk(self._n).indices
            + self._held_out
        )
        starts = torch.randint(self.store.samples - WINDOW + 1, (2 * self._n,), device=self.device)
        return rows, self._mels(self.store.cut(torch.cat([rows, rows]), starts, WINDOW), vary=True)

    def run(self, budget: Budget) -> None:
        """Train for a time."""
        recipe = self.clap.recipe
        step = Replay(self._step, self.device)
        while (spent := budget.spent()) < 1.0:
            self._rate.fill_(recipe.rate * warm(self.steps, recipe.warm) * cosine(spent, floor=0.02))
            step()
            self.steps += 1
            if self.steps % 4 == 0 and self.figures.due("clap"):
                values = {name: float(value) for name, value in self._losses.items()}
                self.figures.log("clap", self.steps, budget, **values)
            elif self.steps % 4 == 0 and self.device.type == "cuda":
                torch.cuda.synchronize()
        with torch.no_grad():
            for value in self.clap.parameters.values():
                value.grad = None
                value.copy_(rounded(value))

    def _step(self) -> None:
        rows, mels = self._draw()
        variant = torch.randint(_VARIANTS, (self._n,), device=self.device)
        true = self._true(rows, variant)
        for value in self.clap.parameters.values():
            value.grad = None
        # Without its cache: a graph must cast weights at every replay.
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.device.type == "cuda", cache_enabled=False
        ):
            sound = self.clap.sound(mels)
            text = self.clap.text(self._captions.ids[rows, variant])
        sound, text = F.normalize(sound.float(), dim=-1), F.normalize(text.float(), dim=-1)
        parameters = self.clap.parameters
        cosines = text @ sound.t()
        both = torch.cat([true, true], 1)
        spoken = 0.5 * (
            shared(cosines.t() * parameters["logit_scale_a"].exp(), both.t())
            + shared(cosines * parameters["logit_scale_t"].exp(), both)
        )
        itself = torch.eye(2 * self._n, dtype=torch.bool, device=self.device)
        alike = (sound @ sound.t() / _TEMPERATURE).masked_fill(itself, -1e4)
        other = (torch.arange(2 * self._n, device=self.device) + self._n) % (2 * self._n)
        heard = F.cross_entropy(alike, other)
        (spoken + heard).backward()
        clip(parameters.values(), 1.0)
        for optimizer in self._optimizers:
            optimizer.step(self._rate)
        with torch.no_grad():
            parameters["logit_scale_a"].clamp_(0, _LARGEST_SCALE)
            parameters["logit_scale_t"].clamp_(0, _LARGEST_SCALE)
        self._losses["text"].copy_(spoken.detach())
        self._losses["sound"].copy_(heard.detach())
        self._losses["recall"].copy_((alike.argmax(1) == other).float().mean())

    def _true(self, rows: Tensor, variant: Tensor) -> Tensor:
        """Which of the pieces each text is true of [texts, pieces]."""
        needed = self._captions.needed[rows, variant].float()
        lacks = needed @ (~self._captions.has[rows]).float().t()
        own = torch.eye(self._n, dtype=torch.bool, device=self.device)
        return torch.where(self._captions.own[rows, variant][:, None], own, (lacks < 0.5) | own)


def shared(logits: Tensor, true: Tensor) -> Tensor:
    """Cross-entropy whose targets are all that is true, alike [rows, columns]."""
    target = true.float()
    target = target / target.sum(-1, keepdim=True).clamp(min=1)
    return -(F.log_softmax(logits, -1) * target).sum(-1).mean()


@torch.no_grad()
def evaluate(clap: Clap, store: Store, tokenizer: Tokenizer) -> dict[str, float]:
    """Measure CLAP on the pieces that are held out.

    Returns
    -------
    dict of str to float
        ``recall``: share of pieces of whose two ends each finds the other first among all pieces; for style,
        mood, instrument and energy the share of pieces of which the best of all such tags is true, and
        ``_tags``, their number.
    """
    mels = Mels(clap.device)
    held = store.pieces[: store.held_out]

    def sound(start: int) -> Tensor:
        parts = mels(store.held(WINDOW, start)).split(16)
        return F.normalize(torch.cat([clap.sound(part) for part in parts]), dim=-1)

    first, second = sound(0), sound(store.samples - WINDOW)
    found = (first @ second.t()).argmax(1) == torch.arange(len(held), device=clap.device)
    out = {"recall": float(found.float().mean())}
    mean = F.normalize(first + second, dim=-1)
    kinds = {
        "style": ("{} music", lambda piece: [piece.style]),
        "mood": ("{} music", lambda piece: piece.moods),
        "instrument": ("{}", lambda piece: piece.instruments),
        "energy": ("{} music", lambda piece: [piece.energy]),
    }
    for name, (phrase, of) in kinds.items():
        tags = sorted({tag for piece in store.pieces for tag in of(piece)})
        texts = [CAPTION.format(phrase.format(tag)) for tag in tags]
        said = F.normalize(
            clap.text(padded(tokenizer, texts, clap.recipe.text_length).to(clap.device)), dim=-1
        )
        best = (mean @ said.t()).argmax(1).tolist()
        out[name] = float(
            np.mean([tags[index] in of(piece) for index, piece in zip(best, held, strict=True)])
        )
        out[f"{name}_tags"] = float(len(tags))
    return out
