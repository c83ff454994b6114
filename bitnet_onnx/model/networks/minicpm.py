"""BitCPM4: a MiniCPM4 body, which is LLaMA's with each residual branch scaled by the depth.

``causal_lm.py`` applies ``scale_emb`` to the embedding and ``dim_model_base`` before the head;
other networks have neither. Source: the ``modeling_minicpm.py`` that comes with OpenBMB's models;
transformers has no class for them.
"""

from __future__ import annotations

import math

from torch import Tensor

from ...network.config import BitNetConfig
from . import llama

__all__ = ["MLP", "Attention"]


def branch_scale(config: BitNetConfig) -> float:
    """Return the factor of a residual branch."""
    return config.scale_depth / math.sqrt(config.num_hidden_layers)


class Attention(llama.Attention):
    """``o(attend(q(x), k(x), v(x))) * scale_depth / sqrt(layers)``."""

    def __init__(self, config: BitNetConfig) -> None:
        super().__init__(config)
        self.scale = branch_scale(config)

    def project(self, y: Tensor) -> Tensor:
        return super().project(y) * self.scale


class MLP(llama.MLP):
    """``down(silu(gate(x)) * up(x)) * scale_depth / sqrt(layers)``."""

    def __init__(self, config: BitNetConfig) -> None:
        super().__init__(config)
        self.scale = branch_scale(config)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.scale
