"""EnCodec (Défossez et al. 2022, arXiv:2210.13438) as MusicGen's 32 kHz codec has it: encoder and decoder.

Parameters are kept by their names in a checkpoint (without ``audio_encoder.``), weight norm unfolded. Signals
are [n, channels, time].
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  (as torch itself calls it)
from torch import Tensor, nn

from weights.train.recipe import CodecRecipe

_FIRST = "decoder.layers.0.conv"


class Codec:
    """The two networks, without the quantiser between them.

    Parameters
    ----------
    recipe : CodecRecipe
    device : torch.device

    Attributes
    ----------
    parameters : dict of str to Tensor
    scale : Tensor
        What the encoder's last layer is multiplied by, a scalar, which `tensors` folds into it. So the gains
        of that layer stay near one: a step of Adam is as large, whatever it is added to.
    precision : torch.dtype
        Of the convolutions between the first and the last, bfloat16 on a GPU.
    """

    def __init__(self, recipe: CodecRecipe, device: torch.device) -> None:
        self.recipe, self.device = recipe, device
        self.precision = torch.bfloat16 if device.type == "cuda" else torch.float32
        self.scale = torch.ones((), device=device)
        self.parameters: dict[str, Tensor] = {}
        self._lstms: dict[str, nn.LSTM] = {}
        size, at = recipe.filters, 1
        self._add("encoder.layers.0", 1, size, 7, gain=4.0)
        for ratio in reversed(recipe.ratios):
            self._add_residual(f"encoder.layers.{at}", size)
            self._add(f"encoder.layers.{at + 2}", size, 2 * size, 2 * ratio, gain=1.3)
            size, at = 2 * size, at + 3
        self._add_lstm(f"encoder.layers.{at}", size)
        self._add(f"encoder.layers.{at + 2}", size, recipe.latent, 7)
        self._bottom = f"encoder.layers.{at + 2}.conv"
        self._add("decoder.layers.0", recipe.latent, size, 7)
        self._add_lstm("decoder.layers.1", size)
        at = 3
        for ratio in recipe.ratios:
            gain = 1.3 * math.sqrt(ratio / 2)
            self._add(f"decoder.layers.{at}", size, size // 2, 2 * ratio, gain, transposed=True)
            self._add_residual(f"decoder.layers.{at + 1}", size // 2)
            size, at = size // 2, at + 3
        self._add(f"decoder.layers.{at}", size, 1, 7, gain=0.15)
        self._last = f"decoder.layers.{at}"

    # -- Parameters

    def _add(
        self, name: str, inputs: int, outputs: int, width: int, gain: float = 1.0, transposed: bool = False
    ) -> None:
        """A convolution whose output is `gain` times as large as its input."""
        shape = (inputs, outputs, width) if transposed else (outputs, inputs, width)
        direction = torch.randn(shape) * (inputs * width) ** -0.5
        for part, value in (
            ("bias", torch.zeros(outputs)),
            ("weight_g", torch.full((shape[0], 1, 1), gain)),
            ("weight_v", direction),
        ):
            self.parameters[f"{name}.conv.{part}"] = value.to(self.device).requires_grad_()

    def _add_residual(self, name: str, size: int) -> None:
        self._add(f"{name}.block.1", size, size // 2, 3, gain=1.3)
        self._add(f"{name}.block.3", size // 2, size, 1, gain=0.7)

    def _add_lstm(self, name: str, size: int) -> None:
        self._lstms[name] = nn.LSTM(size, size, 2).to(self.device)
        for key, value in self._lstms[name].named_parameters():
            self.parameters[f"{name}.lstm.{key}"] = value

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
                    raise ValueError(f"the codec's checkpoint has no {name} of {tuple(parameter.shape)}")
                parameter.copy_(tensors[name])
            gains, bias = (self.parameters[f"{self._bottom}.{part}"] for part in ("weight_g", "bias"))
            self.scale.copy_(gains.mean())
            gains.div_(self.scale)
            bias.div_(self.scale)

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds of it, by name."""
        folded = {
            f"{self._bottom}.{part}": self.parameters[f"{self._bottom}.{part}"].detach() * self.scale
            for part in ("weight_g", "bias")
        }
        return self.parameters | folded

    # -- Layers

    def _kernel(self, name: str) -> Tensor:
        """The kernel that weight norm stands for (Salimans and Kingma 2016, arXiv:1602.07868)."""
        return torch._weight_norm(self.parameters[f"{name}.weight_v"], self.parameters[f"{name}.weight_g"], 0)

    def _conv(self, x: Tensor, name: str, stride: int = 1, precision: torch.dtype | None = None) -> Tensor:
        precision = precision or self.precision
        kernel, bias = self._kernel(f"{name}.conv"), self.parameters[f"{name}.conv.bias"]
        around = kernel.shape[-1] - stride
        right = around // 2
        if around:
            x = Mirror.apply(x, around - right, right)
        return F.conv1d(x.to(precision), kernel.to(precision), bias.to(precision), stride)

    def _transposed(self, x: Tensor, name: str, stride: int) -> Tensor:
        kernel, bias = self._kernel(f"{name}.conv"), self.parameters[f"{name}.conv.bias"]
        around = kernel.shape[-1] - stride
        right = around // 2
        left = around - right
        kind = self.precision
        return F.conv_transpose1d(
            x.to(kind), kernel.to(kind), bias.to(kind), stride, left, output_padding=left - right
        )

    def _residual(self, x: Tensor, name: str) -> Tensor:
        inner = self._conv(F.elu(x), f"{name}.block.1")
        return x + self._conv(F.elu(inner), f"{name}.block.3")

    def _lstm(self, x: Tensor, name: str) -> Tensor:
        rows = x.float().permute(2, 0, 1).contiguous()
        return (self._lstms[name](rows)[0] + rows).permute(1, 2, 0)

    # -- Networks

    def encode(self, audio: Tensor) -> Tensor:
        """[n, samples] to latents [n, latent, frames], float32."""
        x = self._conv(audio[:, None], "encoder.layers.0", precision=torch.float32).to(self.precision)
        at = 1
        for ratio in reversed(self.recipe.ratios):
            x = self._residual(x, f"encoder.layers.{at}")
            x = self._conv(F.elu(x), f"encoder.layers.{at + 2}", ratio)
            at += 3
        x = self._lstm(x, f"encoder.layers.{at}")
        x = self._conv(F.elu(x).contiguous(), f"encoder.layers.{at + 2}", precision=torch.float32)
        return x * self.scale

    def decode(self, latents: Tensor) -> Tensor:
        """[n, latent, frames] to audio [n, samples], float32."""
        x = self._conv(latents, "decoder.layers.0", precision=torch.float32)
        x = self._lstm(x, "decoder.layers.1").to(self.precision).contiguous()
        at = 3
        for ratio in self.recipe.ratios:
            x = self._transposed(F.elu(x), f"decoder.layers.{at}", ratio)
            x = self._residual(x, f"decoder.layers.{at + 1}")
            at += 3
        return self._conv(F.elu(x).float(), self._last, precision=torch.float32)[:, 0]

    # -- Scale of the latents

    @torch.no_grad()
    def normalise(self, latents: Tensor) -> None:
        """Give latents like these a mean of zero and a deviation of one; the decoder makes what it made.

        Parameters
        ----------
        latents : Tensor [n, latent, frames]
        """
        mean = latents.mean((0, 2))
        factor = (latents - mean[:, None]).square().mean().add(1e-9).rsqrt()
        shift = torch.einsum("oik,i->o", self._kernel(_FIRST), mean)
        self.parameters[f"{_FIRST}.bias"].add_(shift)
        self.parameters[f"{_FIRST}.weight_g"].div_(factor)
        self.parameters[f"{self._bottom}.bias"].sub_(mean / self.scale)
        self.scale.mul_(factor)


class Mirror(torch.autograd.Function):
    """Padding by reflection along the last axis, whose gradient needs no atomic additions."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, left: int, right: int) -> Tensor:
        ctx.sides = left, right
        length = x.shape[-1]
        parts = [x[..., 1 : 1 + left].flip(-1)] if left else []
        parts.append(x)
        if right:
            parts.append(x[..., length - 1 - right : length - 1].flip(-1))
        return torch.cat(parts, dim=-1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        left, right = ctx.sides
        length = gradient.shape[-1] - left - right
        out = gradient[..., left : left + length].clone()
        if left:
            out[..., 1 : 1 + left] += gradient[..., :left].flip(-1)
        if right:
            out[..., length - 1 - right : length - 1] += gradient[..., left + length :].flip(-1)
        return out, None, None
