"""LLaMA: SiLU, no sub-norms.

Falcon3-1.58bit, Falcon-E and Llama3-8B-1.58 have BitLinear, TriLM (arXiv 2407.12327) has ternary
weights with a scale for each part of a matrix and float activations, SmolLM2 has float linears.
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
