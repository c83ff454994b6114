"""Maple 20B-A1B: Qwen3's attention in two kinds of layers, and k of E experts with a limit.

Three of four layers slide: a position sees a window, and a part of each head has rotary positions.
The others see all positions and have no positions of their own. Sources: the ``modeling_maple.py``
that comes with deepgrove/maple-preview, llama.cpp's and vLLM's; transformers has no class for it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...network.config import BitNetConfig
from ...network.maple import maple_of
from . import granitemoe, qwen3

__all__ = ["Attention", "DecoderLayer"]


class Attention(qwen3.Attention):
    """``o(attend(norm(q(x)), norm(k(x)), v(x)))``, in a window with rotary positions or neither."""

    def __init__(self, config: BitNetConfig, sliding: bool) -> None:
        super().__init__(config)
        maple = maple_of(config.mixture)
        assert maple is not None
        self.turns, self.head_dim = sliding, config.head_dim
        self.rotary_width = maple.rotary_width(config.head_dim)
        self.attend.window = maple.window if sliding else 0

    def prepare(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        query, key = super().prepare(query, key)
        return (self.halved(query), self.halved(key)) if self.turns else (query, key)

    def halved(self, x: Tensor) -> Tensor:
        """Put what rotates into both halves of each head of x [B, S, heads * D].

        Attention rotates i with i + D / 2, Maple i with i + R / 2 for the first R elements. The
        order of elements is the same in queries and keys, so it changes no score.
        """
        if self.rotary_width == self.head_dim:
            return x
        turned, kept = self.rotary_width // 2, (self.head_dim - self.rotary_width) // 2
        parts = x.unflatten(-1, (-1, self.head_dim)).split([turned, turned, kept, kept], dim=-1)
        return torch.cat([parts[0], parts[2], parts[1], parts[3]], dim=-1).flatten(-2)


class DecoderLayer(granitemoe.DecoderLayer):
    """Attention of the layer's kind, then experts, each with a norm before it."""

    def add_attention(self, network: Any, config: BitNetConfig, number: int) -> None:
        maple = maple_of(config.mixture)
        assert maple is not None
        self.self_attn = Attention(config, maple.sliding[number])
