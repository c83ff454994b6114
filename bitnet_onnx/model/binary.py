"""BitLinear of the first BitNet (arXiv 2310.11453): binary weights, a LayerNorm in each linear.

Knows tensors and the number format; knows no network.
"""

from __future__ import annotations

from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from ..network.config import BitNetConfig
from ..weights.ternary import sign_binary, symmetric_int8
from .layers import BitLinear, StraightThrough

__all__ = ["BinaryLinear"]

LAYER_NORM_EPS = 1e-5  # torch's default; the paper gives none


class BinaryLinear(BitLinear):
    """``y = sum over groups of (int8(norm(x_g)) · W_gᵀ) * mean|W_g| * max|norm(x_g)| / 128``.

    W_g in {-1, +1}; norm is a LayerNorm without weights. A group is a part of K, of both weights
    and activations: the part of one device when several share a linear (section 2.2).
    """

    def __init__(
        self, in_features: int, out_features: int, config: BitNetConfig | None = None
    ) -> None:
        super().__init__(in_features, out_features)
        self.groups = 1 if config is None else config.quantization_groups

    def ternary(self) -> tuple[Tensor, Tensor]:
        """Return codes (float32 [N, K]) and one scale for each group."""
        return sign_binary(self.weight, self.groups)

    def forward(self, x: Tensor) -> Tensor:
        x = x.unflatten(-1, (self.groups, -1))
        x = F.layer_norm(x, x.shape[-1:], eps=LAYER_NORM_EPS)
        if self.training:
            return self._forward_straight_through(x)
        quantized, multiplier = symmetric_int8(x)
        parts = range(self.groups)
        return reduce(
            torch.add,
            [self.product(quantized[..., g, :], g) * multiplier[..., g, :] for g in parts],
        )

    def product(self, quantized: Tensor, group: int) -> Tensor:
        """Multiply integers [..., K / groups] by one group's weights, exact before its scale."""
        codes, scale = self.ternary()
        return F.linear(quantized, codes.chunk(self.groups, dim=1)[group]) * scale[group]

    def _forward_straight_through(self, x: Tensor) -> Tensor:
        """Multiply a normalized x [..., groups, K / groups]; gradients pass the quantizers."""
        with torch.no_grad():
            codes, scale = self.ternary()
            weight = codes.unflatten(1, (self.groups, -1)) * scale.unsqueeze(-1)
            quantized, multiplier = symmetric_int8(x)
            rounded = quantized * multiplier
        return F.linear(
            StraightThrough.apply(x, rounded).flatten(-2),
            StraightThrough.apply(self.weight, weight.flatten(1)),
        )
