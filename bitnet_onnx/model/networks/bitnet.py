"""BitNet b1.58 2B-4T: squared ReLU, and a norm before each of the two output projections.

Sources: arXiv 2504.12285 and transformers' ``BitNetForCausalLM``.
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
        self.attn_sub_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def project(self, y: Tensor) -> Tensor:
        return self.o_proj(self.attn_sub_norm(y))


class MLP(decoder.MLP):
    """``down(norm(relu(gate(x))² * up(x)))``."""

    def __init__(self, config: BitNetConfig) -> None:
        super().__init__(config)
        self.ffn_sub_norm = RMSNorm(config.intermediate_size, config.rms_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        gate = F.relu(self.gate_proj(x))
        return self.down_proj(self.ffn_sub_norm(gate * gate * self.up_proj(x)))
