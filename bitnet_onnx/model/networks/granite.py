"""Granite 3: LLaMA's body with a factor on the scores and on each residual branch.

``causal_lm.py`` multiplies the embedding and divides the logits. Source: transformers'
``GraniteForCausalLM``.
"""

from __future__ import annotations

import math

from torch import Tensor

from ...network.config import BitNetConfig
from . import llama

__all__ = ["MLP", "Attention"]


class Attention(llama.Attention):
    """``o(attend(q(x), k(x), v(x))) * residual_multiplier``.

    Attention divides scores by sqrt(head_dim); queries take what makes that attention_multiplier.
    """

    def __init__(self, config: BitNetConfig) -> None:
        super().__init__(config)
        self.query_scale = config.attention_multiplier * math.sqrt(config.head_dim)
        self.scale = config.residual_multiplier

    def prepare(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        return scaled(query, self.query_scale), key

    def project(self, y: Tensor) -> Tensor:
        return scaled(super().project(y), self.scale)


class MLP(llama.MLP):
    """``down(silu(gate(x)) * up(x)) * residual_multiplier``."""

    def __init__(self, config: BitNetConfig) -> None:
        super().__init__(config)
        self.scale = config.residual_multiplier

    def forward(self, x: Tensor) -> Tensor:
        return scaled(super().forward(x), self.scale)


def scaled(x: Tensor, factor: float) -> Tensor:
    """Return ``x * factor``."""
    return x if factor == 1 else x * factor
