"""The layers of all networks: RMSNorm, BitLinear and FloatLinear.

Knows tensors and the number format; knows no network.
Sources: arXiv 2402.17764, arXiv 2504.12285, transformers' ``integrations/bitnet.py``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..network.config import BitNetConfig
from ..weights.ternary import absmax_int8, absmean_ternary
from .exact import product, rms_norm

__all__ = ["BitLinear", "FloatLinear", "OffsetNorm", "RMSNorm", "StraightThrough"]


class RMSNorm(nn.Module):
    """``x / sqrt(mean(x²) + eps) * weight`` over the last axis: see ``exact.py``."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return F.rms_norm(x, self.weight.shape, self.weight, self.eps)
        return rms_norm(x, self.weight, x.new_tensor([self.eps]))


class OffsetNorm(RMSNorm):
    """RMSNorm that multiplies by ``1 + weight``, as Gemma's do."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__(size, eps)
        nn.init.zeros_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        weight = 1.0 + self.weight
        if self.training:
            return F.rms_norm(x, weight.shape, weight, self.eps)
        return rms_norm(x, weight, x.new_tensor([self.eps]))


class BitLinear(nn.Module):
    """``y = (int8(x) · Wᵀ) * weight_scale / act_scale + b``, W in {-1, 0, +1}: W1.58A8.

    ``weight`` [N, K] is either the float master, quantized in each call, or, after ``set_ternary``,
    the int8 codes with their ``weight_scale`` [1]. ``rms_norm`` is None unless the config has
    ``use_rms_norm``; b is float and may be None.
    """

    weight: Tensor
    weight_scale: Tensor | None
    rms_norm: RMSNorm | None
    bias: Tensor | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        config: BitNetConfig | None = None,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.weight = nn.Parameter(torch.empty(out_features, in_features).normal_(0, 0.02))
        self.register_buffer("weight_scale", None)
        eps = None if config is None else config.linear_norm_eps
        self.rms_norm = None if eps is None else RMSNorm(in_features, eps)
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None

    def set_ternary(self, codes: Tensor, scale: Tensor) -> None:
        """Store int8 codes [N, K] and their multiplier [1] instead of a master weight."""
        del self.weight
        self.register_buffer("weight", codes.to(torch.int8))
        self.weight_scale = scale.float().reshape(1)

    def ternary(self) -> tuple[Tensor, Tensor]:
        """Return codes (float32 [N, K]) and scale (float32 [1]); quantize a master."""
        if self.weight_scale is not None:
            return self.weight.float(), self.weight_scale
        return absmean_ternary(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        if self.rms_norm is not None:
            x = self.rms_norm(x)
        if self.training and self.weight_scale is None:
            return self._forward_straight_through(x)
        codes, weight_scale = self.ternary()
        quantized, act_scale = absmax_int8(x)
        # The sums are integers of at most 128 * K <= 2**24: exact in float32, in any order.
        sums = F.linear(quantized, codes)
        y = sums * (weight_scale / act_scale)
        return y if self.bias is None else y + self.bias

    def _forward_straight_through(self, x: Tensor) -> Tensor:
        """Compute the same up to rounding; gradients pass both quantizers unchanged."""
        with torch.no_grad():
            codes, weight_scale = absmean_ternary(self.weight)
            quantized, act_scale = absmax_int8(x)
            weight, rounded = codes.mul_(weight_scale), quantized.div_(act_scale)
        return F.linear(
            StraightThrough.apply(x, rounded),
            StraightThrough.apply(self.weight, weight),
            self.bias,
        )


class FloatLinear(nn.Module):
    """``y = x · Wᵀ + b``: neither weights nor activations are quantized, b may be None.

    The sum of exact products is float64 and rounded to float32 once, then b is added. So bfloat16
    weights give the same bits in every kernel; see Bf16MatMul in ``operators/head.py``.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, in_features: int, out_features: int, bias: bool = False) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.weight = nn.Parameter(torch.empty(out_features, in_features).normal_(0, 0.02))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return F.linear(x, self.weight, self.bias)
        y = product(x, self.weight)
        return y if self.bias is None else y + self.bias


class StraightThrough(torch.autograd.Function):
    """``rounded`` forward, the gradient of ``x`` backward (arXiv 1308.3432)."""

    @staticmethod
    def forward(ctx: object, x: Tensor, rounded: Tensor) -> Tensor:
        return rounded.view_as(rounded)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None
