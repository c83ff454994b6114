"""BitNet embedding 0.6B: Qwen3's body without a head, with a norm inside each linear.

Sources: microsoft/BitNet's converter, which names the tensors, and transformers' ``Qwen3Model``.
"""

from __future__ import annotations

from torch import Tensor

from ...network.config import BitNetConfig
from ..gated import Gated
from . import qwen3

__all__ = ["MLP", "Attention"]


class Attention(qwen3.Attention):
    """Qwen3's attention."""


class MLP(qwen3.MLP):
    """``down(silu(gate(x)) * up(x))``, with the same bits everywhere."""

    def __init__(self, config: BitNetConfig) -> None:
        super().__init__(config)
        self.gated = Gated("silu")

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(self.gated(self.gate_proj(x), self.up_proj(x)))
