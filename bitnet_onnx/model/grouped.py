"""BitLinear with a scale for each group of weights along K, as Ternary-Bonsai and BitCPM4 have.

Knows tensors and the number format; knows no network.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..network.config import BitNetConfig
from ..weights.ternary import absmax_int8, group_absmean, group_sums, spread
from .layers import BitLinear, StraightThrough

__all__ = ["GroupLinear"]


class GroupLinear(BitLinear):
    """``y = x · Wᵀ``, where a group of W is its scale times codes in {-1, 0, +1}.

    x stays float, or is quantized to int8 per token: then the groups' exact sums times their scales
    are added in float64 and divided by act_scale. ``weight`` is a master or, after ``set_ternary``,
    codes with their ``weight_scale`` [N, K / group_size].
    """

    def __init__(
        self, in_features: int, out_features: int, config: BitNetConfig | None = None
    ) -> None:
        assert config is not None
        assert config.group_size is not None
        super().__init__(in_features, out_features)
        self.group_size, self.float_activations = config.group_size, config.float_activations

    def set_ternary(self, codes: Tensor, scale: Tensor) -> None:
        """Store int8 codes [N, K] and their scales [N, K / group_size]."""
        del self.weight
        self.register_buffer("weight", codes.to(torch.int8))
        self.weight_scale = scale.float()

    def ternary(self) -> tuple[Tensor, Tensor]:
        """Return codes (float32 [N, K]) and scales [N, K / group_size]; quantize a master."""
        if self.weight_scale is not None:
            return self.weight.float(), self.weight_scale
        return group_absmean(self.weight, self.group_size)

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.weight_scale is None:
            return self._forward_straight_through(x)
        codes, scale = self.ternary()
        if self.float_activations:
            return F.linear(x, spread(codes, scale))
        quantized, act_scale = absmax_int8(x)
        return (group_sums(quantized, codes, scale) / act_scale.double()).float()

    def _forward_straight_through(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            weight = spread(*self.ternary())
            quantized, act_scale = absmax_int8(x)
            rounded = x if self.float_activations else quantized / act_scale
        return F.linear(
            StraightThrough.apply(x, rounded), StraightThrough.apply(self.weight, weight)
        )
