"""1bitLLM's bitnet_b1_58-large and -3B: SiLU, and a norm before each of the output projections.

Source: the published models' own code, which reproduces arXiv 2402.17764 and names the tensors.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ...network.config import BitNetConfig
from .. import decoder
from ..layers import RMSNorm

__all__ = ["MLP", "Attention"]


class Attention(decoder.Attention):
    """``o(norm(attend(q(x), k(x), v(x))))``."""

    def __init__(self, config: BitNetConfig) -> None:
        super().__init__(config)
        self.inner_attn_ln = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def project(self, y: Tensor) -> Tensor:
        return self.o_proj(self.inner_attn_ln(y))


class MLP(decoder.MLP):
    """``down(norm(silu(gate(x)) * up(x)))``."""

    def __init__(self, config: BitNetConfig) -> None:
        super().__init__(config)
        self.ffn_layernorm = RMSNorm(config.intermediate_size, config.rms_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(self.ffn_layernorm(F.silu(self.gate_proj(x)) * self.up_proj(x)))
