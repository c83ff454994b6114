"""Rotary positions (arXiv 2104.09864): angles by position, and the rotation.

Knows no network. Sources: transformers' ``modeling_rope_utils.py`` and ``LlamaRotaryEmbedding``;
``linear``, ``llama3``, ``yarn`` and ``longrope`` are the ``rope_type`` of a config.json.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..network.config import BitNetConfig
from ..network.maple import maple_of
from ..network.rope import RopeScaling

__all__ = ["rotary_tables", "rotate"]


def rotary_tables(config: BitNetConfig, position_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Compute cos and sin [B, S, D] of positions [B, S]; both halves of D hold the same angles."""
    maple, width = maple_of(config.mixture), config.head_dim
    if maple is not None:
        width = maple.rotary_width(width)
    pairs = torch.arange(0, width, 2, device=position_ids.device).float()
    frequencies = 1.0 / config.rope_theta ** (pairs / width)
    scaling = config.rope_scaling
    if scaling is None:
        factor = 1.0
    else:
        frequencies = SCALED[scaling.rope_type](frequencies, scaling, config)
        factor = scaling.attention_factor
    if width < config.head_dim:  # the others stand still
        frequencies = F.pad(frequencies, (0, (config.head_dim - width) // 2))
    angles = position_ids.unsqueeze(-1).float() * frequencies
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos() * factor, angles.sin() * factor


def linear(frequencies: Tensor, scaling: RopeScaling, config: BitNetConfig) -> Tensor:
    """Divide all frequencies by the factor."""
    return frequencies / scaling.factor


def llama3(frequencies: Tensor, scaling: RopeScaling, config: BitNetConfig) -> Tensor:
    """Divide the slow frequencies by the factor.

    A frequency that turns t times within the original context is kept where t is above
    high_freq_factor, divided where t is below low_freq_factor, and interpolated in between.
    """
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    turns = scaling.original_max_position_embeddings / (2 * math.pi / frequencies)
    kept = ((turns - low) / (high - low)).clamp(0, 1)
    return (1 - kept) * (frequencies / scaling.factor) + kept * frequencies


def yarn(frequencies: Tensor, scaling: RopeScaling, config: BitNetConfig) -> Tensor:
    """Divide the slow frequencies by the factor, along a ramp over their index (arXiv 2309.00071).

    Frequency i turns n times within the original context where
    ``i = D / 2 * log(original / (2 pi n)) / log(theta)``. Frequencies below the i of beta_fast,
    rounded down, are kept; those above the i of beta_slow, rounded up, are divided.
    """

    def index(turns: float) -> float:
        length = scaling.original_max_position_embeddings / (2 * math.pi * turns)
        return config.head_dim / 2 * math.log(length) / math.log(config.rope_theta)

    first = max(math.floor(index(scaling.beta_fast)), 0)
    last = min(math.ceil(index(scaling.beta_slow)), config.head_dim - 1)
    steps = torch.arange(len(frequencies), device=frequencies.device).float()
    divided = ((steps - first) / ((last - first) or 0.001)).clamp(0, 1)
    return divided * (frequencies / scaling.factor) + (1 - divided) * frequencies


def longrope(frequencies: Tensor, scaling: RopeScaling, config: BitNetConfig) -> Tensor:
    """Divide each frequency by its own factor for the original context."""
    return frequencies / torch.tensor(scaling.short_factor, device=frequencies.device)


SCALED = {"linear": linear, "llama3": llama3, "yarn": yarn, "longrope": longrope}


def rotate(x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate the halves (not interleaved pairs) of x [B, heads, S, D] by its position."""
    cos, sin = rope[0].unsqueeze(1), rope[1].unsqueeze(1)
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin
