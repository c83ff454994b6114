"""A mixture of experts as one operator, chosen by how its weights are stored.

Knows the operators of experts and the shapes of their weights; knows no checkpoint's weights.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ... import operators as ops
from ...model import Experts
from ...weights.ternary import packed_width
from ..options import FLOAT_LINEARS

__all__ = ["TracedExperts"]


class Stored(nn.Module):
    """A weight, with its scale where it has one, under the names of a checkpoint."""

    weight: Tensor
    weight_scale: Tensor

    def __init__(self, weight: Tensor, scale: tuple[int, ...] | None = None) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        if scale is not None:
            self.register_buffer("weight_scale", torch.empty(scale))


class TracedExperts(nn.Module):
    """``model/experts.py``'s Experts as one node; ``linears`` is ``ternary`` or a float type."""

    router: Any
    input_linear: Any
    output_linear: Any

    def __init__(self, source: Experts, linears: str) -> None:
        super().__init__()
        self.linears = linears
        # What is not given is 0 in the node, too.
        self.given = (source.k, source.limit) if source.limit else (source.k,)
        self.router = nn.Module()
        self.router.layer = Stored(torch.empty(source.router.layer.weight.shape))
        self.input_linear = stored(source.input_linear, linears)
        self.output_linear = stored(source.output_linear, linears)

    def forward(self, x: Tensor) -> Tensor:
        gate_up, down = self.input_linear, self.output_linear
        router = self.router.layer.weight
        if self.linears in ("float32", "bf16"):
            mix = ops.bf16_experts if self.linears == "bf16" else ops.float_experts
            return mix(x, router, gate_up.weight, down.weight, *self.given)
        mix = ops.int8_experts if self.linears == "int8" else ops.ternary_experts
        scales = gate_up.weight_scale, down.weight_scale
        return mix(x, router, gate_up.weight, scales[0], down.weight, scales[1], *self.given)


def stored(linear: Any, linears: str) -> Stored:
    """Return the weights of a linear of every expert as their operator reads them."""
    count, rows, features = linear.weight.shape
    if linears == "ternary":
        packed = torch.empty(count, rows, packed_width(features), dtype=torch.uint8)
        return Stored(packed, (count, linear.parts) if linear.parts > 1 else (count,))
    weight = torch.empty(linear.weight.shape, dtype=FLOAT_LINEARS[linears])
    return Stored(weight, (count, rows) if linears == "int8" else None)
