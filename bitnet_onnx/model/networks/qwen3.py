"""Qwen3, and Ternary-Bonsai: LLaMA's body with an RMSNorm of each head of q and k before rope.

Source: transformers' ``Qwen3ForCausalLM``, which computes Bonsai with the dequantized weights.
"""

from __future__ import annotations

from torch import Tensor

from ...network.config import BitNetConfig
from ..layers import RMSNorm
from . import llama

__all__ = ["MLP", "Attention"]


class Attention(llama.Attention):
    """``o(attend(norm(q(x)), norm(k(x)), v(x)))``."""

    def __init__(self, config: BitNetConfig) -> None:
        super().__init__(config)
        self.q_norm = RMSNorm(config.head_dim, config.rms_norm_eps)
        self.k_norm = RMSNorm(config.head_dim, config.rms_norm_eps)

    def prepare(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        return each_head(query, self.q_norm), each_head(key, self.k_norm)


def each_head(x: Tensor, norm: RMSNorm) -> Tensor:
    """Normalize each head of x [B, S, heads * D]."""
    return norm(x.unflatten(-1, (-1, norm.weight.shape[0]))).flatten(-2)


class MLP(llama.MLP):
    """LLaMA's feed-forward."""
