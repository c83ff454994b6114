"""Muon: orthogonalized momentum (Keller Jordan, "Muon: An optimizer for hidden layers", 2024).

Knows matrices of parameters and the processes that train together; does not know the data.
torch.optim.Muon works in bfloat16, which many CPUs must emulate. This one works in float32, stacks
matrices of one shape, and shares the work between processes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from bitnet_onnx.model import BitLinear
from bitnet_onnx.model.experts import ExpertLinear, Router

# The quintic of the Muon post: it moves every singular value to between about 0.7 and 1.2.
A, B, C = 3.4445, -4.7750, 2.0315


def orthogonalize(x: Tensor, steps: int = 5) -> Tensor:
    """Return nearly U·Vᵀ of each matrix of [n, rows, columns], by Newton-Schulz iteration."""
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        square = x @ x.mT
        x = A * x + torch.baddbmm(square, square, square, beta=B, alpha=C) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Muon; ``lr`` is the root mean square of an update's entries, up to the quintic's error."""

    def __init__(self, params: Iterable[Any], lr: float, momentum: float = 0.95) -> None:
        super().__init__(list(params), {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            shapes: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                shapes[parameter.shape].append(parameter)
            for parameters in shapes.values():
                self._step_together(parameters, group["lr"], group["momentum"])

    def _step_together(self, parameters: list[Tensor], lr: float, momentum: float) -> None:
        updates = []
        for parameter in parameters:
            gradient = parameter.grad
            assert gradient is not None
            state = self.state[parameter]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(parameter)
            state["momentum"].lerp_(gradient, 1 - momentum)
            updates.append(gradient.lerp(state["momentum"], momentum))  # Nesterov
        stacked = torch.stack(updates)
        matrices = stacked.flatten(0, -3)  # those of experts are [experts, rows, columns]
        stacked = orthogonalize_shared(matrices).view_as(stacked)
        size = max(matrices.shape[1:]) ** 0.5
        for parameter, update in zip(parameters, stacked, strict=True):
            parameter.add_(update, alpha=-lr * size)


def orthogonalize_shared(stacked: Tensor) -> Tensor:
    """Orthogonalize every n-th matrix in each process; the sum over processes has all of them."""
    rank, world = dist.get_rank(), dist.get_world_size()
    result = torch.zeros_like(stacked)
    result[rank::world] = orthogonalize(stacked[rank::world])
    dist.all_reduce(result)
    return result


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Give every process the mean of all gradients, in one message."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


class Split(NamedTuple):
    """A network's parameters, apart from its table."""

    attention: list[Tensor]
    feed_forward: list[Tensor]
    small: list[Tensor]
    """The weights of norms and routers."""


def split_parameters(model: nn.Module) -> Split:
    """Return masters of ternary linears, those of attention apart, and small weights."""
    found = Split([], [], [p for p in model.parameters() if p.ndim == 1])
    for name, module in model.named_modules():
        if isinstance(module, BitLinear | ExpertLinear):
            (found.attention if "self_attn" in name else found.feed_forward).append(module.weight)
        elif isinstance(module, Router):
            found.small.append(module.layer.weight)
    return found
