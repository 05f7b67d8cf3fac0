"""Adam and Muon, with rates that are tensors: a captured graph (`graphs`) can then be replayed at any rate.

References
----------
.. [1] Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015.
.. [2] Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


class Adam:
    """Adam [1]_ with decoupled weight decay.

    Parameters
    ----------
    parameters : iterable of Tensor
        On one device.
    betas : (float, float)
    decay : float
        Share of a parameter that a step of rate 1 takes off.
    """

    def __init__(
        self, parameters: Iterable[Tensor], betas: tuple[float, float] = (0.9, 0.95), decay: float = 0.0
    ) -> None:
        self.parameters = list(parameters)
        self._betas, self._decay = betas, decay
        self._first = [torch.zeros_like(parameter) for parameter in self.parameters]
        self._second = [torch.zeros_like(parameter) for parameter in self.parameters]
        self._steps = torch.zeros((), device=self.parameters[0].device)

    @torch.no_grad()
    def step(self, rate: Tensor) -> None:
        """Move every parameter that has a gradient; `rate` is a scalar on their device."""
        kept = [index for index, parameter in enumerate(self.parameters) if parameter.grad is not None]
        if not kept:
            return
        parameters = [self.parameters[index] for index in kept]
        gradients = [parameter.grad for parameter in parameters]
        first, second = [self._first[index] for index in kept], [self._second[index] for index in kept]
        one, two = self._betas
        self._steps += 1
        torch._foreach_lerp_(first, gradients, 1 - one)
        torch._foreach_mul_(second, two)
        torch._foreach_addcmul_(second, gradients, gradients, 1 - two)
        scale = (1 - two**self._steps).sqrt()
        below = torch._foreach_sqrt(second)
        torch._foreach_div_(below, scale)
        torch._foreach_add_(below, 1e-8)
        moves = torch._foreach_div(first, below)
        torch._foreach_mul_(moves, rate / (1 - one**self._steps))
        if self._decay:
            torch._foreach_mul_(parameters, 1 - rate * self._decay)
        torch._foreach_sub_(parameters, moves)


class Muon:
    """Momentum made orthogonal [2]_. Matrices of one shape are orthogonalised together.

    Parameters
    ----------
    parameters : iterable of Tensor
        Matrices, or kernels whose first axis stands for the rows.
    turning : bool
        A step turns each matrix by `rate` of its length, which stays as it is: for the directions of a weight
        norm, whose length has no meaning. Otherwise all singular values of a step are about `rate`, times
        the square root of rows over columns where there are more rows.
    decay : float
        Share of a parameter that a step of rate 1 takes off.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        turning: bool,
        momentum: float = 0.95,
        turns: int = 5,
        decay: float = 0.0,
    ) -> None:
        self._turning, self._momentum, self._turns, self._decay = turning, momentum, turns, decay
        groups: dict[tuple[int, ...], list[tuple[Tensor, Tensor]]] = {}
        for parameter in parameters:
            groups.setdefault(tuple(parameter.shape), []).append((parameter, torch.zeros_like(parameter)))
        self._groups = list(groups.values())

    @torch.no_grad()
    def step(self, rate: Tensor) -> None:
        """Move every matrix that has a gradient; `rate` is a scalar on their device."""
        for group in self._groups:
            moved = [entry for entry in group if entry[0].grad is not None]
            if not moved:
                continue
            parameters, moments = (list(part) for part in zip(*moved, strict=True))
            gradients = [parameter.grad for parameter in parameters]
            torch._foreach_lerp_(moments, gradients, 1 - self._momentum)
            ahead = torch.stack(torch._foreach_lerp(gradients, moments, self._momentum))
            moves = orthogonal(ahead.flatten(2), self._turns)
            if self._turning:
                lengths = torch.stack(torch._foreach_norm(parameters))
                moves = moves * (rate * lengths / (moves.norm(dim=(1, 2)) + 1e-9))[:, None, None]
            else:
                moves = moves * (rate * max(1.0, moves.shape[1] / moves.shape[2]) ** 0.5)
            if self._decay:
                torch._foreach_mul_(parameters, 1 - rate * self._decay)
            torch._foreach_sub_(parameters, list(moves.view_as(ahead).unbind()))
            if self._turning:
                scales = lengths / (torch.stack(torch._foreach_norm(parameters)) + 1e-9)
                torch._foreach_mul_(parameters, list(scales.unbind()))


def orthogonal(matrices: Tensor, turns: int) -> Tensor:
    """Bring the singular values of matrices near 1 by Newton-Schulz iterations [2]_.

    Parameters
    ----------
    matrices : Tensor [n, rows, columns]
    turns : int
        Iterations; five bring all but the smallest into 0.7 to 1.2.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.transpose(1, 2) if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-9)
    if x.shape[1] > 1:
        for _ in range(turns):
            a = x @ x.transpose(1, 2)
            x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.transpose(1, 2) if tall else x


def clip(parameters: Iterable[Tensor], most: Tensor | float) -> Tensor:
    """Shorten all gradients together to `most`; a step whose gradient is not finite becomes none.

    Returns
    -------
    Tensor
        The norm that they had.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.stack(torch._foreach_norm(gradients)).norm()
    good = torch.isfinite(norm)
    factor = torch.where(good, (most / (norm + 1e-12)).clamp(max=1.0), torch.zeros_like(norm))
    for gradient in gradients:
        gradient.nan_to_num_(0.0, 0.0, 0.0)  # zero times NaN is NaN
    torch._foreach_mul_(gradients, factor)
    return norm
