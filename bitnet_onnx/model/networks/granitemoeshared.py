"""GraniteMoeShared: Granite 3 MoE with one feed-forward network that all tokens go through.

Source: transformers' ``GraniteMoeSharedForCausalLM``.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from ...network.config import BitNetConfig
from ..linears import linear
from . import granitemoe
from .granite import scaled
from .granitemoe import Attention

__all__ = ["Attention", "DecoderLayer"]


class DecoderLayer(granitemoe.DecoderLayer):
    """``x + (experts(norm(x)) + shared(norm(x))) * residual_multiplier`` after attention."""

    def add_feed_forward(self, network: Any, config: BitNetConfig) -> None:
        super().add_feed_forward(network, config)
        assert config.mixture is not None
        inner = config.mixture.shared_intermediate_size
        self.shared_mlp = SharedMLP(config, inner) if inner else None

    def feed_forward(self, x: Tensor) -> Tensor:
        if self.shared_mlp is None:
            return super().feed_forward(x)
        return scaled(self.block_sparse_moe(x) + self.shared_mlp(x), self.scale)


class SharedMLP(nn.Module):
    """``down(silu(gate(x)) * up(x))``; gate and up are the halves of the rows of one linear."""

    def __init__(self, config: BitNetConfig, inner: int) -> None:
        super().__init__()
        self.input_linear = linear(config, config.hidden_size, 2 * inner)
        self.output_linear = linear(config, inner, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.input_linear(x).chunk(2, dim=-1)
        return self.output_linear(F.silu(gate) * up)
