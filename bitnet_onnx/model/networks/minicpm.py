"""BitCPM4: a MiniCPM4 body. LLaMA's, with each residual branch scaled by the depth.

What it does to the embedding and before the head is in ``causal_lm.py``: ``scale_emb`` and
``dim_model_base`` are 1 and hidden_size elsewhere. Source: the ``modeling_minicpm.py`` that comes
with OpenBMB's models; transformers has no class for it.
"""

from __future__ import annotations

import math

from torch import Tensor

from ...network.config import BitNetConfig
from ..grouped import GroupLinear
from . import llama

__all__ = ["MLP", "Attention"]


def branch_scale(config: BitNetConfig) -> float:
    """What a residual branch is multiplied by."""
    return config.scale_depth / math.sqrt(config.num_hidden_layers)


class Attention(llama.Attention):
    """``o(attend(q(x), k(x), v(x))) * scale_depth / sqrt(layers)``."""

    linear = GroupLinear

    def __init__(self, config: BitNetConfig) -> None:
        super().__init__(config)
        self.scale = branch_scale(config)

    def project(self, y: Tensor) -> Tensor:
        return super().project(y) * self.scale


class MLP(llama.MLP):
    """``down(silu(gate(x)) * up(x)) * scale_depth / sqrt(layers)``."""

    linear = GroupLinear

    def __init__(self, config: BitNetConfig) -> None:
        super().__init__(config)
        self.scale = branch_scale(config)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.scale
