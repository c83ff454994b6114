"""PowerMoE and Granite 3 MoE: Granite's attention, and k of E experts for each token.

Source: transformers' ``GraniteMoeForCausalLM``.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ...network.config import BitNetConfig
from .. import decoder
from ..experts import Experts
from .granite import Attention, scaled

__all__ = ["Attention", "DecoderLayer"]


class DecoderLayer(decoder.DecoderLayer):
    """``x + experts(norm(x)) * residual_multiplier`` after attention."""

    def add_feed_forward(self, network: Any, config: BitNetConfig) -> None:
        self.block_sparse_moe = Experts(config)
        self.scale = config.residual_multiplier

    def feed_forward(self, x: Tensor) -> Tensor:
        return scaled(self.block_sparse_moe(x), self.scale)
