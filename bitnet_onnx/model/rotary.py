"""Rotary positions (arXiv 2104.09864): angles by position, and the rotation.

Knows no network. Sources: transformers' ``modeling_rope_utils.py`` and ``LlamaRotaryEmbedding``;
"linear" and "llama3" are the ``rope_type`` of a config.json.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..config import BitNetConfig, RopeScaling

__all__ = ["rotary_tables", "rotate"]


def rotary_tables(config: BitNetConfig, position_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Positions [B, S] -> cos and sin [B, S, D]; both halves of D hold the same angles."""
    pairs = torch.arange(0, config.head_dim, 2, device=position_ids.device).float()
    frequencies = 1.0 / config.rope_theta ** (pairs / config.head_dim)
    if config.rope_scaling is not None:
        frequencies = scaled(frequencies, config.rope_scaling)
    angles = position_ids.unsqueeze(-1).float() * frequencies
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def scaled(frequencies: Tensor, scaling: RopeScaling) -> Tensor:
    """``linear``: all divided by the factor. ``llama3``: only the slow ones.

    A frequency that turns ``t`` times within the original context is kept where t is above
    high_freq_factor, divided where it is below low_freq_factor, and a mixture in between.
    """
    slowed = frequencies / scaling.factor
    if scaling.rope_type == "linear":
        return slowed
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    turns = scaling.original_max_position_embeddings / (2 * math.pi / frequencies)
    kept = ((turns - low) / (high - low)).clamp(0, 1)
    return (1 - kept) * slowed + kept * frequencies


def rotate(x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate the halves (not interleaved pairs) of x [B, heads, S, D] by its position."""
    cos, sin = rope[0].unsqueeze(1), rope[1].unsqueeze(1)
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin
