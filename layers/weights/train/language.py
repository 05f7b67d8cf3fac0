"""MusicGen Melody's transformer and its text encoder (Copet et al. 2023, arXiv:2306.05284).

Parameters are kept by their names in a checkpoint. A sequence is a melody, a text and codes, one after the
other. A text is followed by zeros up to `LanguageRecipe.text_length` tokens, as it is when music is made, so
that the codes of a moment stand at the same distance from its melody whatever is said: where the distance
changed with the text, the network found the melody only roughly, half a second early or late.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F  # noqa: N812  (as torch itself calls it)
from torch import Tensor

from weights.train.chroma import CLASSES
from weights.train.recipe import BOOKS, LanguageRecipe

POSITIONS = 2048
_ROOT = "decoder.model.decoder"
_ENCODER = "text_encoder.encoder"
_BUCKETS, _FARTHEST = 32, 128
"""Of T5's relative positions."""
NO_LABEL = -100
_NOT_HIDDEN = ("shared", "embed", "bias", "lm_heads")


class Language:
    """The networks.

    Parameters
    ----------
    recipe : LanguageRecipe
    entries : int
        Of a codebook.
    device : torch.device

    Attributes
    ----------
    parameters : dict of str to Tensor
    precision : torch.dtype
        Of all products, bfloat16 on a GPU.
    """

    def __init__(self, recipe: LanguageRecipe, entries: int, device: torch.device, seed: int = 0) -> None:
        self.recipe, self.entries, self.device = recipe, entries, device
        self.precision = torch.bfloat16 if device.type == "cuda" else torch.float32
        self.parameters: dict[str, Tensor] = {}
        self._random = torch.Generator().manual_seed(seed)
        self._positions = sinusoids(POSITIONS, recipe.width).to(device)
        width, text = recipe.width, recipe.text_width
        inner = recipe.text_head * recipe.text_heads
        add = self._add
        add("text_encoder.shared.weight", (recipe.text_vocabulary, text), 1.0)
        for layer in range(recipe.text_layers):
            block = f"{_ENCODER}.block.{layer}.layer"
            add(f"{block}.0.SelfAttention.q.weight", (inner, text), (text * recipe.text_head) ** -0.5)
            for part in "kv":
                add(f"{block}.0.SelfAttention.{part}.weight", (inner, text), text**-0.5)
            add(f"{block}.0.SelfAttention.o.weight", (text, inner), inner**-0.5)
            if layer == 0:
                bias = f"{block}.0.SelfAttention.relative_attention_bias.weight"
                add(bias, (_BUCKETS, recipe.text_heads), 0.1)
            add(f"{block}.0.layer_norm.weight", (text,), None)
            add(f"{block}.1.DenseReluDense.wi.weight", (recipe.text_feed, text), text**-0.5)
            add(f"{block}.1.DenseReluDense.wo.weight", (text, recipe.text_feed), recipe.text_feed**-0.5)
            add(f"{block}.1.layer_norm.weight", (text,), None)
        add(f"{_ENCODER}.final_layer_norm.weight", (text,), None)
        add("enc_to_dec_proj.weight", (width, text), 0.5 * text**-0.5)
        add("enc_to_dec_proj.bias", (width,), 0.0)
        add("audio_enc_to_dec_proj.weight", (width, CLASSES), 0.5)
        add("audio_enc_to_dec_proj.bias", (width,), 0.0)
        for book in range(BOOKS):
            add(f"{_ROOT}.embed_tokens.{book}.weight", (entries + 1, width), 0.2)
        deep = 1 / math.sqrt(2 * recipe.layers)
        for layer in range(recipe.layers):
            block = f"{_ROOT}.layers.{layer}"
            for part in "qkv":
                add(f"{block}.self_attn.{part}_proj.weight", (width, width), 0.7 * width**-0.5)
            add(f"{block}.self_attn.out_proj.weight", (width, width), deep * width**-0.5)
            add(f"{block}.fc1.weight", (recipe.feed, width), 0.7 * width**-0.5)
            add(f"{block}.fc2.weight", (width, recipe.feed), deep * recipe.feed**-0.5)
            for norm in ("self_attn_layer_norm", "final_layer_norm"):
                add(f"{block}.{norm}.weight", (width,), None)
                add(f"{block}.{norm}.bias", (width,), 0.0)
        add(f"{_ROOT}.layer_norm.weight", (width,), None)
        add(f"{_ROOT}.layer_norm.bias", (width,), 0.0)
        for book in range(BOOKS):
            add(f"decoder.lm_heads.{book}.weight", (entries, width), 0.5 * width**-0.5)

    def _add(self, name: str, shape: tuple[int, ...], deviation: float | None) -> None:
        if deviation is None:
            value = torch.ones(shape)
        else:
            value = torch.randn(shape, generator=self._random) * deviation
        self.parameters[name] = value.to(self.device).requires_grad_()

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over parameters by name.

        Raises
        ------
        ValueError
            If one is missing or has another shape.
        """
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                if name not in tensors or tensors[name].shape != parameter.shape:
                    raise ValueError(f"the checkpoint has no {name} of {tuple(parameter.shape)}")
                parameter.copy_(tensors[name])

    def matrices(self, prefix: str) -> list[Tensor]:
        """The hidden layers' matrices of one of the networks, ``text_encoder`` or ``decoder``."""
        return [
            value
            for name, value in self.parameters.items()
            if name.startswith(prefix) and value.dim() == 2 and not any(word in name for word in _NOT_HIDDEN)
        ]

    # -- Text

    def _text(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """T5 (Raffel et al. 2020, arXiv:1910.10683): tokens [n, tokens] to states [n, tokens, text width].

        What stands behind a row's length is not attended to.
        """
        recipe, kind = self.recipe, self.precision
        n, tokens = ids.shape
        places = torch.arange(tokens, device=ids.device)
        apart = places[None, :] - places[:, None]
        far = apart.abs()
        exact = _BUCKETS // 4
        scale = exact / math.log(_FARTHEST / exact)
        large = exact + (torch.log(far.float().clamp(min=1) / exact) * scale).long()
        bucket = (apart > 0).long() * 2 * exact
        bucket = bucket + torch.where(far < exact, far, large.clamp(max=2 * exact - 1))
        table = f"{_ENCODER}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        bias = F.embedding(bucket, self.parameters[table]).permute(2, 0, 1)[None]
        # A row without text attends to its padding, and nothing looks at it.
        hidden = (places[None] >= lengths.clamp(min=1)[:, None])[:, None, None]
        bias = bias.masked_fill(hidden, float("-inf"))

        def linear(x: Tensor, name: str) -> Tensor:
            return F.linear(x.to(kind), self.parameters[name].to(kind))

        def norm(x: Tensor, name: str) -> Tensor:
            return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * self.parameters[name]

        def heads(x: Tensor) -> Tensor:
            return x.view(n, tokens, recipe.text_heads, recipe.text_head).transpose(1, 2)

        x = F.embedding(ids, self.parameters["text_encoder.shared.weight"])
        for layer in range(recipe.text_layers):
            block = f"{_ENCODER}.block.{layer}.layer"
            normal = norm(x, f"{block}.0.layer_norm.weight")
            q, k, v = (heads(linear(normal, f"{block}.0.SelfAttention.{part}.weight")) for part in "qkv")
            scores = (q @ k.transpose(-1, -2)).float() + bias
            mixed = (scores.softmax(-1).to(kind) @ v).transpose(1, 2).reshape(n, tokens, -1)
            x = x + linear(mixed, f"{block}.0.SelfAttention.o.weight").float()
            normal = norm(x, f"{block}.1.layer_norm.weight")
            inner = F.relu(linear(normal, f"{block}.1.DenseReluDense.wi.weight"))
            x = x + linear(inner, f"{block}.1.DenseReluDense.wo.weight").float()
        return norm(x, f"{_ENCODER}.final_layer_norm.weight")

    # -- Sequences

    def sequence(self, melody: Tensor, ids: Tensor, lengths: Tensor, said: Tensor, inputs: Tensor) -> Tensor:
        """What the transformer reads [n, PREFIX + tokens + positions, width].

        Parameters
        ----------
        melody : Tensor [n, PREFIX], int64
            Pitch classes, 0 throughout where there is no melody.
        ids, lengths : Tensor [n, tokens], [n], int64
            Texts, each as long as its length says; zeros follow.
        said : Tensor [n], bool
            False: zeros take the text's place, as in the branch of guidance that has no condition.
        inputs : Tensor [n, positions, books], int64
            Codes in the delay pattern.
        """
        p = self.parameters
        hot = (melody[..., None] == torch.arange(CLASSES, device=melody.device)).float()
        heard = F.linear(hot, p["audio_enc_to_dec_proj.weight"], p["audio_enc_to_dec_proj.bias"])
        states = self._text(ids, lengths)
        text = F.linear(states, p["enc_to_dec_proj.weight"], p["enc_to_dec_proj.bias"])
        there = torch.arange(ids.shape[1], device=ids.device)[None] < lengths[:, None]
        text = text * (there & said[:, None])[..., None]
        codes = torch.stack(
            [
                F.embedding(inputs[..., book], p[f"{_ROOT}.embed_tokens.{book}.weight"])
                for book in range(BOOKS)
            ]
        ).sum(0)
        x = torch.cat([heard, text, codes], 1)
        return x + self._positions[: x.shape[1]]

    def states(self, x: Tensor) -> Tensor:
        """The transformer [n, places, width]; each place sees itself and what is before it."""
        p, kind = self.parameters, self.precision
        width = (self.recipe.width,)

        def part(name: str) -> Tensor:
            return p[name].to(kind)

        x = x.to(kind)
        for layer in range(self.recipe.layers):
            block = f"{_ROOT}.layers.{layer}"
            name = f"{block}.self_attn_layer_norm"
            normal = F.layer_norm(x, width, part(f"{name}.weight"), part(f"{name}.bias"))
            stacked = torch.cat([part(f"{block}.self_attn.{one}_proj.weight") for one in "qkv"])
            q, k, v = (
                one.unflatten(-1, (self.recipe.heads, -1)).transpose(1, 2)
                for one in F.linear(normal, stacked).chunk(3, -1)
            )
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
            x = x + F.linear(mixed, part(f"{block}.self_attn.out_proj.weight"))
            name = f"{block}.final_layer_norm"
            normal = F.layer_norm(x, width, part(f"{name}.weight"), part(f"{name}.bias"))
            x = x + F.linear(
                F.gelu(F.linear(normal, part(f"{block}.fc1.weight"))), part(f"{block}.fc2.weight")
            )
        return F.layer_norm(x, width, part(f"{_ROOT}.layer_norm.weight"), part(f"{_ROOT}.layer_norm.bias"))

    def losses(
        self, melody: Tensor, ids: Tensor, lengths: Tensor, said: Tensor, inputs: Tensor, labels: Tensor
    ) -> Tensor:
        """Cross-entropy of each codebook in nats [books]; see `sequence` and `spread`."""
        states = self.states(self.sequence(melody, ids, lengths, said, inputs))[:, -inputs.shape[1] :]
        out = []
        for book in range(BOOKS):
            logits = F.linear(states, self.parameters[f"decoder.lm_heads.{book}.weight"].to(self.precision))
            out.append(
                F.cross_entropy(
                    logits.flatten(0, 1).float(), labels[..., book].flatten(), ignore_index=NO_LABEL
                )
            )
        return torch.stack(out)


def sinusoids(positions: int, width: int) -> Tensor:
    """Positions as the published decoder has them: cosines, then sines [positions, width]."""
    half = width // 2
    rates = torch.exp(torch.arange(half).float() * -(math.log(10000) / (half - 1)))
    angles = torch.arange(positions).float()[:, None] * rates
    return torch.cat([angles.cos(), angles.sin()], 1)


def spread(codes: Tensor, filler: int) -> tuple[Tensor, Tensor]:
    """Codes [n, books, frames] in the delay pattern (`music.musicgen.delay`).

    Returns
    -------
    inputs, labels : Tensor [n, frames + books - 1, books]
        Position s holds of codebook k the frame s - 1 - k, and is followed by the frame s - k; `filler` and
        `NO_LABEL` where there is none.
    """
    n, books, frames = codes.shape
    length = frames + books - 1
    inputs = codes.new_full((n, length, books), filler)
    labels = codes.new_full((n, length, books), NO_LABEL)
    for book in range(books):
        inputs[:, book + 1 : book + 1 + frames, book] = codes[:, book, : length - book - 1]
        labels[:, book : book + frames, book] = codes[:, book]
    return inputs, labels
