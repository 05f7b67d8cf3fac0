"""Training the codec, and measuring it.

What makes it learn (each was tried): few numbers in a latent, held near unit deviation, so that 40 bits can
code them; a commitment loss that never pulls harder than the reconstruction; Muon for the directions of the
convolutions. In the last part of the time the codes no longer change, and the decoder learns what they mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from weights.train.checkpoint import rounded
from weights.train.codec import Codec
from weights.train.figures import Figures
from weights.train.graphs import Replay
from weights.train.optimizers import Adam, Muon, clip
from weights.train.quantiser import Quantiser, entropies
from weights.train.recipe import BOOKS, HOP, SAMPLE_RATE
from weights.train.schedule import Budget, cosine, warm
from weights.train.spectra import Balancer, Spectra, log_mel_distance, si_sdr
from weights.train.store import Store

_SHARES = {"time": 0.3, "mel": 3.0, "stft": 1.2}
_LOUDER, _SOFTER = 3.0, -8.0  # dB
_SEEN = 10_000
"""Latents, at least, that k-means places the entries by."""
_SOON, _LATER = 30.0, 100.0
"""Vectors for each entry that codebooks remember: soon after their begin, and at the end."""
_WORSE = 1.5
"""Times the best distance so far: the training has diverged."""
_SKIPPED = 50
"""Steps without a finite gradient, after which there will be none any more."""
_HELD_SECONDS = 5
"""Of each piece that is held out."""


class DivergedError(Exception):
    """The training has gone wrong; the last good checkpoint is kept."""


class CodecTraining:
    """A codec while it learns.

    Parameters
    ----------
    codec, quantiser : Codec, Quantiser
        Changed.
    store : Store
    figures : Figures
        Gets the losses, every few seconds, and the distance on pieces held out, every minute.
    """

    def __init__(self, codec: Codec, quantiser: Quantiser, store: Store, figures: Figures) -> None:
        self.codec, self.quantiser, self.store, self.figures = codec, quantiser, store, figures
        self.device = device = codec.device
        self.steps = 0
        named = codec.parameters
        directions = [value for name, value in named.items() if name.endswith("weight_v")]
        others = [value for name, value in named.items() if not name.endswith("weight_v")]
        self._muon = Muon(directions, turning=True, turns=4)
        self._adam = Adam(others, betas=(0.8, 0.99))
        self._rates = torch.zeros(2, device=device)  # of Muon, of Adam
        self._spectra = Spectra(device)
        self._balancer = Balancer(_SHARES, device)
        self._usual = torch.zeros((), device=device)  # norm of the gradient
        self._pulls = torch.zeros(2, device=device)  # at the latent: of the reconstruction, the commitment
        names = (*_SHARES, "commitment", "deviation", "norm", "skipped")
        self._losses = {name: torch.zeros((), device=device) for name in names}
        self._best = math.inf
        self._save: Callable[[], None] = lambda: None

    def run(self, budget: Budget, fresh: bool, save: Callable[[], None]) -> None:
        """Train for a time.

        Parameters
        ----------
        budget : Budget
        fresh : bool
            Whether the codebooks have still to begin.
        save : callable
            Is called every minute, if the codec is better than before.

        Raises
        ------
        DivergedError
            If it has become much worse: what was saved last is better.
        """
        self._save = save
        recipe = self.codec.recipe
        if fresh:
            self._go(budget, self._unquantised, until=recipe.unquantised)
            self._place(normalise=True)
            for steps in recipe.again:
                self._go(budget, self._quantised, until=recipe.unquantised + steps)
                self._place()
        learn = Replay(self._quantised, self.device, self.store.quiet)
        self._go(budget, learn, share=recipe.decoder_alone)
        del learn
        for name, value in self.codec.parameters.items():
            value.grad = None
            value.requires_grad_(not name.startswith("encoder."))
        self.codec.precision = torch.float32  # silence is to be silent
        self._go(budget, Replay(self._decoder_alone, self.device, self.store.quiet), share=1.0)
        with torch.no_grad():
            for value in self.codec.parameters.values():
                value.requires_grad_(True)
            self.codec.load({name: rounded(value) for name, value in self.codec.tensors().items()})
            self.quantiser.entries.copy_(rounded(self.quantiser.entries))

    def _go(
        self, budget: Budget, step: Callable[[], None], until: int | None = None, share: float = 1.0
    ) -> None:
        """Make steps until there are so many, or so large a share of the time is over."""
        recipe = self.codec.recipe
        while (spent := budget.spent()) < share and (until is None or self.steps < until):
            slope = warm(self.steps, recipe.warm) * cosine(spent, hold=0.15, floor=0.01)
            self._rates[0].fill_(recipe.muon * slope)
            self._rates[1].fill_(recipe.adam * slope)
            soon = 10.0 + (_SOON - 10.0) * warm(self.steps, 700)
            self.quantiser.memory.fill_(soon + (_LATER - soon) * min(1.0, spent) ** 2)
            self.store.refresh()
            step()
            self.steps += 1
            if self.steps % 8 == 0 and self.figures.due("codec"):
                values = {name: float(value) for name, value in self._losses.items()}
                self.figures.log("codec", self.steps, budget, **values, pieces=self.store.count)
                if values["skipped"] > _SKIPPED:
                    raise DivergedError(f"no gradient has been finite for {values['skipped']:.0f} steps")
                if self.figures.due("codec held out", 60.0):
                    self._look(budget)
            elif self.steps % 8 == 0 and self.device.type == "cuda":
                torch.cuda.synchronize()  # do not run ahead of the clock

    def _look(self, budget: Budget) -> None:
        """Measure on pieces held out, and save what is better than before."""
        distance = evaluate(self.codec, self.quantiser, self.store, (BOOKS,))["log_mel_4"]
        self.figures.log("codec", self.steps, budget, held_out=distance)
        if distance > _WORSE * self._best:
            raise DivergedError(f"log-mel held out is {distance:.3f} after {self._best:.3f}")
        if distance < self._best:
            self._best = distance
            self._save()

    # -- Steps

    def _audio(self) -> Tensor:
        recipe = self.codec.recipe
        audio = self.store.draw(recipe.batch, recipe.segment)
        gain = torch.rand(len(audio), 1, device=self.device) * (_LOUDER - _SOFTER) + _SOFTER
        audio = audio * 10 ** (gain / 20)
        return audio / audio.abs().amax(1, keepdim=True).clamp(min=1.0)

    def _unquantised(self) -> None:
        audio = self._audio()
        latents = self.codec.encode(audio)
        self._clear()
        made = self.codec.decode(latents)
        made.backward(self._heard(made, audio))
        self._move()

    def _quantised(self) -> None:
        audio = self._audio()
        latents = self.codec.encode(audio)
        coded, _, commitment = self.quantiser(latents, learn=True)
        inner = coded.detach().requires_grad_()
        self._clear()
        made = self.codec.decode(inner)
        made.backward(self._heard(made, audio))
        # The commitment has a fixed share of what moves the latents, whatever their scale.
        (pull,) = torch.autograd.grad(commitment, latents, retain_graph=True)
        assert inner.grad is not None
        self._pulls.lerp_(torch.stack([inner.grad.norm(), pull.norm()]), 0.05)
        share = self.codec.recipe.commitment * self._pulls[0] / (self._pulls[1] + 1e-12)
        latents.backward(inner.grad + share * pull)
        self._losses["commitment"].copy_(commitment.detach())
        self._losses["deviation"].copy_(latents.detach().std())
        self._move()
        self.codec.scale.mul_(latents.detach().std().clamp(0.3, 3.0) ** -0.02)

    def _decoder_alone(self) -> None:
        audio = self._audio()
        with torch.no_grad():
            coded, _, _ = self.quantiser(self.codec.encode(audio))
        self._clear()
        made = self.codec.decode(coded)
        made.backward(self._heard(made, audio))
        self._move()

    def _heard(self, made: Tensor, audio: Tensor) -> Tensor:
        """The gradient of what was made [n, samples]."""
        output = made.detach().requires_grad_()
        mel, stft = self._spectra(output, audio)
        losses = {"time": (output - audio).abs().mean(), "mel": mel, "stft": stft}
        for name, value in losses.items():
            self._losses[name].copy_(value.detach())
        return self._balancer(losses, output)

    def _clear(self) -> None:
        for value in self.codec.parameters.values():
            value.grad = None

    def _move(self) -> None:
        most = torch.where(self._usual > 0, 3 * self._usual, torch.full_like(self._usual, 1e9))
        norm = clip(self.codec.parameters.values(), most)
        self._losses["skipped"].copy_((self._losses["skipped"] + 1) * ~torch.isfinite(norm))
        norm = torch.where(torch.isfinite(norm), torch.minimum(norm, most), self._usual)
        self._usual.copy_(torch.where(self._usual > 0, self._usual.lerp(norm, 0.02), norm))
        self._losses["norm"].copy_(norm)
        self._adam.step(self._rates[1])
        self._muon.step(self._rates[0])

    # -- Codebooks

    @torch.no_grad()
    def _place(self, normalise: bool = False) -> None:
        recipe = self.codec.recipe
        batches = -(-_SEEN * HOP // (recipe.batch * recipe.segment))
        if self.device.type == "cpu" and recipe.entries < 1024:
            batches = 2
        latents = torch.cat([self.codec.encode(self._audio()) for _ in range(batches)])
        if normalise:
            self.codec.normalise(latents)
            latents = torch.cat([self.codec.encode(self._audio()) for _ in range(batches)])
        self.quantiser.begin(latents)


@torch.no_grad()
def evaluate(
    codec: Codec, quantiser: Quantiser, store: Store, books: tuple[int, ...] = (1, 2, 3, 4)
) -> dict[str, float]:
    """Measure a codec on the middle of each piece that is held out.

    Returns
    -------
    dict of str to float
        ``log_mel_N``: see `log_mel_distance`; ``si_sdr_N``: median over pieces, dB, with N codebooks, and
        unquantised as ``log_mel_latent`` and ``si_sdr_latent``; ``bits_K``: entropy of codebook K.
    """
    length = min(_HELD_SECONDS * SAMPLE_RATE, store.samples) // HOP * HOP
    audio = store.held(length, (store.samples - length) // 2 // HOP * HOP)
    precision, codec.precision = codec.precision, torch.float32
    latents = torch.cat([codec.encode(part) for part in audio.split(16)])
    codes = torch.cat([quantiser(part)[1] for part in latents.split(16)])
    out = {}
    for name in (*books, "latent") if len(books) > 1 else books:
        inner = latents if isinstance(name, str) else quantiser.latents(codes[:, :name])
        made = torch.cat([codec.decode(part) for part in inner.split(16)])
        out[f"log_mel_{name}"] = log_mel_distance(made, audio)
        out[f"si_sdr_{name}"] = float(si_sdr(made, audio).median())
    codec.precision = precision
    for book, bits in enumerate(entropies(codes, codec.recipe.entries)):
        out[f"bits_{book}"] = bits
    return out
