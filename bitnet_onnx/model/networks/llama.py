"""LLaMA with BitLinear: Falcon3-1.58bit, Falcon-E, Llama3-8B-1.58. SiLU, no sub-norms.

Sources: transformers' ``LlamaForCausalLM`` and ``replace_with_bitnet_linear``.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from .. import decoder

__all__ = ["MLP", "Attention"]


class Attention(decoder.Attention):
    """``o(attend(q(x), k(x), v(x)))``."""

    def project(self, y: Tensor) -> Tensor:
        return self.o_proj(y)


class MLP(decoder.MLP):
    """``down(silu(gate(x)) * up(x))``."""

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
