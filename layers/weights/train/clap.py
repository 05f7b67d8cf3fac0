"""CLAP (Wu et al. 2023, arXiv:2211.06687): an HTS-AT over mels, a RoBERTa over texts, one space for both.

It computes what `ClapModel` of transformers does. Parameters are kept by their names in a checkpoint. HTS-AT
(Chen et al. 2022, arXiv:2202.00874) is a Swin transformer (Liu et al. 2021, arXiv:2103.14030) over a mel
spectrogram that is folded into a square.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F  # noqa: N812  (as torch itself calls it)
from torch import Tensor

from weights.train.mels import BINS
from weights.train.recipe import ClapRecipe

_PICTURE, _PATCH, _WINDOW = 256, 4, 8
_POSITIONS = 130
_PAD = 1
_MASKED = -100.0
_AUDIO, _TEXT = "audio_model.audio_encoder", "text_model"


class Clap:
    """The two towers.

    Parameters
    ----------
    recipe : ClapRecipe
    device : torch.device

    Attributes
    ----------
    parameters : dict of str to Tensor
        What is learned.
    buffers : dict of str to Tensor
        What is not: the statistics of mels, and integers that every checkpoint has.
    """

    def __init__(self, recipe: ClapRecipe, device: torch.device, seed: int = 7) -> None:
        self.recipe, self.device = recipe, device
        self.parameters: dict[str, Tensor] = {}
        self.buffers: dict[str, Tensor] = {}
        self._random = torch.Generator().manual_seed(seed)
        self._masks: dict[tuple[int, int], Tensor] = {}
        for name in ("logit_scale_a", "logit_scale_t"):
            self.parameters[name] = torch.tensor(math.log(1 / 0.07), device=device).requires_grad_()
        self._add_audio()
        self._add_text()
        for tower, size in (
            ("audio", recipe.width << (len(recipe.depths) - 1)),
            ("text", recipe.text_width),
        ):
            self._linear_parameters(f"{tower}_projection.linear1", recipe.projection, size, 1.4)
            self._linear_parameters(f"{tower}_projection.linear2", recipe.projection, recipe.projection)

    # -- Parameters

    def _add(self, name: str, value: Tensor) -> None:
        self.parameters[name] = value.to(self.device).requires_grad_()

    def _normal(self, shape: tuple[int, ...], deviation: float) -> Tensor:
        return torch.randn(shape, generator=self._random) * deviation

    def _linear_parameters(self, name: str, outputs: int, inputs: int, gain: float = 0.8) -> None:
        self._add(f"{name}.weight", self._normal((outputs, inputs), gain * inputs**-0.5))
        self._add(f"{name}.bias", torch.zeros(outputs))

    def _norm_parameters(self, name: str, size: int) -> None:
        self._add(f"{name}.weight", torch.ones(size))
        self._add(f"{name}.bias", torch.zeros(size))

    def _add_audio(self) -> None:
        recipe, size = self.recipe, self.recipe.width
        deep = 1.2 / math.sqrt(2 * sum(recipe.depths))
        for part, value in (
            ("weight", torch.ones(BINS)),
            ("bias", torch.zeros(BINS)),
            ("running_mean", torch.zeros(BINS)),
            ("running_var", torch.ones(BINS)),
            ("num_batches_tracked", torch.tensor(1)),
        ):
            self.buffers[f"{_AUDIO}.batch_norm.{part}"] = value.to(self.device)
        self._add(f"{_AUDIO}.patch_embed.proj.weight", self._normal((size, 1, _PATCH, _PATCH), 1 / _PATCH))
        self._add(f"{_AUDIO}.patch_embed.proj.bias", torch.zeros(size))
        self._norm_parameters(f"{_AUDIO}.patch_embed.norm", size)
        for stage, (depth, heads) in enumerate(zip(recipe.depths, recipe.heads, strict=True)):
            for number in range(depth):
                block = f"{_AUDIO}.layers.{stage}.blocks.{number}"
                self._norm_parameters(f"{block}.layernorm_before", size)
                for part in ("query", "key", "value"):
                    self._linear_parameters(f"{block}.attention.self.{part}", size, size)
                table = self._normal(((2 * _WINDOW - 1) ** 2, heads), 0.02)
                self._add(f"{block}.attention.self.relative_position_bias_table", table)
                index = relative_positions(_WINDOW).to(self.device)
                self.buffers[f"{block}.attention.self.relative_position_index"] = index
                self._linear_parameters(f"{block}.attention.output.dense", size, size, 0.8 * deep)
                self._norm_parameters(f"{block}.layernorm_after", size)
                self._linear_parameters(f"{block}.intermediate.dense", 4 * size, size)
                self._linear_parameters(f"{block}.output.dense", size, 4 * size, 0.8 * deep)
            if stage + 1 < len(recipe.depths):
                merge = f"{_AUDIO}.layers.{stage}.downsample"
                self._add(f"{merge}.reduction.weight", self._normal((2 * size, 4 * size), (4 * size) ** -0.5))
                self._norm_parameters(f"{merge}.norm", 4 * size)
                size *= 2
        self._norm_parameters(f"{_AUDIO}.norm", size)

    def _add_text(self) -> None:
        recipe, size = self.recipe, self.recipe.text_width
        name = f"{_TEXT}.embeddings"
        self._add(f"{name}.word_embeddings.weight", self._normal((recipe.text_vocabulary, size), 0.1))
        self._add(f"{name}.position_embeddings.weight", self._normal((_POSITIONS, size), 0.02))
        self._add(f"{name}.token_type_embeddings.weight", torch.zeros(1, size))
        self._norm_parameters(f"{name}.LayerNorm", size)
        row = torch.arange(_POSITIONS)[None]
        self.buffers[f"{name}.position_ids"] = row.to(self.device)
        self.buffers[f"{name}.token_type_ids"] = torch.zeros_like(row).to(self.device)
        for layer in range(recipe.text_layers):
            block = f"{_TEXT}.encoder.layer.{layer}"
            for part in ("query", "key", "value"):
                self._linear_parameters(f"{block}.attention.self.{part}", size, size)
            self._linear_parameters(f"{block}.attention.output.dense", size, size)
            self._norm_parameters(f"{block}.attention.output.LayerNorm", size)
            self._linear_parameters(f"{block}.intermediate.dense", 4 * size, size)
            self._linear_parameters(f"{block}.output.dense", size, 4 * size)
            self._norm_parameters(f"{block}.output.LayerNorm", size)
        self._linear_parameters(f"{_TEXT}.pooler.dense", size, size)

    def tensors(self) -> dict[str, Tensor]:
        """All that a checkpoint holds, by name."""
        return self.parameters | self.buffers

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over parameters and buffers by name.

        Raises
        ------
        ValueError
            If one is missing or has another shape.
        """
        with torch.no_grad():
            for name, value in self.tensors().items():
                if name not in tensors or tensors[name].shape != value.shape:
                    raise ValueError(f"CLAP's checkpoint has no {name} of {tuple(value.shape)}")
                value.copy_(tensors[name])

    # -- Layers

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.parameters[f"{name}.weight"], self.parameters.get(f"{name}.bias"))

    def _norm(self, x: Tensor, name: str, epsilon: float = 1e-5) -> Tensor:
        weight = self.parameters[f"{name}.weight"]
        return F.layer_norm(x, weight.shape, weight, self.parameters[f"{name}.bias"], epsilon)

    # -- Audio

    def sound(self, mels: Tensor) -> Tensor:
        """Embed windows of sound: mels [n, frames, BINS] in dB to vectors [n, projection], not normalised."""
        recipe = self.recipe
        statistics = (self.buffers[f"{_AUDIO}.batch_norm.{part}"] for part in ("running_mean", "running_var"))
        mean, variance = statistics
        x = (mels - mean) / (variance + 1e-5).sqrt()
        frames = _PICTURE * _PICTURE // BINS
        if x.shape[1] < frames:
            x = F.interpolate(x[:, None], (frames, BINS), mode="bicubic", align_corners=True)[:, 0]
        # Four pieces of 256 frames are laid under each other, bins upwards.
        x = (
            x.reshape(len(x), frames // _PICTURE, _PICTURE, BINS)
            .transpose(2, 3)
            .reshape(len(x), 1, _PICTURE, _PICTURE)
        )
        patch = f"{_AUDIO}.patch_embed"
        x = F.conv2d(
            x, self.parameters[f"{patch}.proj.weight"], self.parameters[f"{patch}.proj.bias"], _PATCH
        )
        x = self._norm(x.permute(0, 2, 3, 1), f"{patch}.norm")
        for stage, (depth, heads) in enumerate(zip(recipe.depths, recipe.heads, strict=True)):
            for number in range(depth):
                shift = _WINDOW // 2 if number % 2 and x.shape[1] > _WINDOW else 0
                x = self._block(x, f"{_AUDIO}.layers.{stage}.blocks.{number}", heads, shift)
            if stage + 1 < len(recipe.depths):
                x = self._merge(x, f"{_AUDIO}.layers.{stage}.downsample")
        pooled = self._norm(x, f"{_AUDIO}.norm").mean((1, 2))
        return self._project(pooled, "audio_projection")

    def _block(self, x: Tensor, name: str, heads: int, shift: int) -> Tensor:
        """Attend within windows, shifted or not; `x` is [n, side, side, width]."""
        n, side, _, width = x.shape
        count = side // _WINDOW
        normal = self._norm(x, f"{name}.layernorm_before")
        if shift:
            normal = normal.roll((-shift, -shift), (1, 2))
        tokens = normal.view(n, count, _WINDOW, count, _WINDOW, width).transpose(2, 3)
        tokens = tokens.reshape(n * count * count, _WINDOW * _WINDOW, width)
        q, k, v = (
            self._linear(tokens, f"{name}.attention.self.{part}").unflatten(-1, (heads, -1)).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        table = self.parameters[f"{name}.attention.self.relative_position_bias_table"]
        index = self.buffers[f"{name}.attention.self.relative_position_index"]
        bias = F.embedding(index, table).permute(2, 0, 1)
        if shift:
            mask = self._mask(side, shift)
            bias = (bias + mask[:, None]).repeat(n, 1, 1, 1)
        else:
            bias = bias[None]
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        mixed = self._linear(mixed.transpose(1, 2).flatten(2), f"{name}.attention.output.dense")
        mixed = (
            mixed.view(n, count, count, _WINDOW, _WINDOW, width).transpose(2, 3).reshape(n, side, side, width)
        )
        if shift:
            mixed = mixed.roll((shift, shift), (1, 2))
        x = x + mixed
        inner = F.gelu(self._linear(self._norm(x, f"{name}.layernorm_after"), f"{name}.intermediate.dense"))
        return x + self._linear(inner, f"{name}.output.dense")

    def _mask(self, side: int, shift: int) -> Tensor:
        """What keeps tokens apart that only the roll made neighbours [windows, 64, 64]."""
        if (side, shift) not in self._masks:
            cells = torch.arange(side)
            part = (cells >= side - _WINDOW).long() + (cells >= side - shift)
            region = (3 * part[:, None] + part).view(side // _WINDOW, _WINDOW, side // _WINDOW, _WINDOW)
            region = region.transpose(1, 2).reshape(-1, _WINDOW * _WINDOW)
            apart = region[:, :, None] != region[:, None, :]
            self._masks[side, shift] = (apart.float() * _MASKED).to(self.device)
        return self._masks[side, shift]

    def _merge(self, x: Tensor, name: str) -> Tensor:
        """Make one token of each 2 x 2."""
        corners = [x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]]
        return self._linear(self._norm(torch.cat(corners, -1), f"{name}.norm"), f"{name}.reduction")

    # -- Text

    def text(self, ids: Tensor) -> Tensor:
        """Embed texts: tokens [n, tokens], padded with 1, to vectors [n, projection], not normalised."""
        recipe, name = self.recipe, f"{_TEXT}.embeddings"
        there = ids != _PAD
        places = there.long().cumsum(1) * there + _PAD
        x = F.embedding(ids, self.parameters[f"{name}.word_embeddings.weight"])
        x = x + F.embedding(places, self.parameters[f"{name}.position_embeddings.weight"])
        x = self._norm(
            x + self.parameters[f"{name}.token_type_embeddings.weight"][0], f"{name}.LayerNorm", 1e-12
        )
        for layer in range(recipe.text_layers):
            block = f"{_TEXT}.encoder.layer.{layer}"
            q, k, v = (
                self._linear(x, f"{block}.attention.self.{part}")
                .unflatten(-1, (recipe.text_heads, -1))
                .transpose(1, 2)
                for part in ("query", "key", "value")
            )
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=there[:, None, None])
            mixed = self._linear(mixed.transpose(1, 2).flatten(2), f"{block}.attention.output.dense")
            x = self._norm(x + mixed, f"{block}.attention.output.LayerNorm", 1e-12)
            inner = F.gelu(self._linear(x, f"{block}.intermediate.dense"))
            x = self._norm(
                x + self._linear(inner, f"{block}.output.dense"), f"{block}.output.LayerNorm", 1e-12
            )
        return self._project(torch.tanh(self._linear(x[:, 0], f"{_TEXT}.pooler.dense")), "text_projection")

    def _project(self, x: Tensor, name: str) -> Tensor:
        return self._linear(F.relu(self._linear(x, f"{name}.linear1")), f"{name}.linear2")


def relative_positions(window: int) -> Tensor:
    """Which row of the bias table each pair of places in a window has [window², window²]."""
    y, x = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    y, x = y.flatten(), x.flatten()
    return (y[:, None] - y + window - 1) * (2 * window - 1) + x[:, None] - x + window - 1
