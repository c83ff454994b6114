"""BitNet embedding 270M: Gemma 3's text body without a head, with a norm inside each linear.

``embedding.py`` puts norms around attention and feed-forward, multiplies the embedding, and turns
each layer by the positions of its kind. Sources: microsoft/BitNet's converter, which names the
tensors, and transformers' ``Gemma3TextModel``.
"""

from __future__ import annotations

import math

from torch import Tensor

from ...network.config import BitNetConfig
from ..gated import Gated
from ..layers import OffsetNorm
from . import llama
from .granite import scaled
from .qwen3 import each_head

__all__ = ["MLP", "Attention"]


class Attention(llama.Attention):
    """``o(attend(norm(q(x)), norm(k(x)), v(x)))``.

    Attention divides scores by sqrt(head_dim); queries take what makes that the square root of
    query_pre_attn_scalar.
    """

    def __init__(self, config: BitNetConfig) -> None:
        super().__init__(config)
        assert config.gemma is not None
        self.q_norm = OffsetNorm(config.head_dim, config.rms_norm_eps)
        self.k_norm = OffsetNorm(config.head_dim, config.rms_norm_eps)
        self.query_scale = math.sqrt(config.head_dim / config.gemma.query_pre_attn_scalar)

    def prepare(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        query = scaled(each_head(query, self.q_norm), self.query_scale)
        return query, each_head(key, self.k_norm)


class MLP(llama.MLP):
    """``down(gelu(gate(x)) * up(x))``."""

    def __init__(self, config: BitNetConfig) -> None:
        super().__init__(config)
        self.gated = Gated("gelu")

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(self.gated(self.gate_proj(x), self.up_proj(x)))
