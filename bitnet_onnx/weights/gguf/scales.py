"""The scales of ternary blocks: one for a tensor, for each expert, or for each group of weights.

Each function refuses what the network cannot hold, naming the tensor. Knows blocks that are decoded
to codes 0 to 2 and their scales; knows no type of GGUF.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .container import TensorInfo

__all__ = ["expert_scales", "group_scales", "one_scale", "plausible"]


def one_scale(info: TensorInfo, codes: Tensor, scales: Tensor) -> Tensor:
    """Return the scale that all blocks share, [1]; a block of zeros may have the scale 0."""
    zero = (codes.view(len(scales), -1) == 1).all(dim=1)
    used = scales[~(zero & (scales == 0))].float()
    low, high = (x.item() for x in used.aminmax()) if len(used) else (0.0, 0.0)
    if low != high and not math.isnan(low):
        whose = "the tensor" if len(info.shape) == 2 else "each expert"
        info.reader.refuse(
            info.name,
            f"has block scales from {low:g} to {high:g}, expected one scale for {whose}",
            hint="convert the original checkpoint: with a scale per block the network differs",
        )
    return plausible(info, torch.tensor([low]))


def expert_scales(info: TensorInfo, codes: Tensor, scales: Tensor) -> Tensor:
    """Return the scale of each expert of a tensor [E, N, K]: [E]."""
    count = info.shape[0]
    pairs = zip(codes.view(count, -1), scales.view(count, -1), strict=True)
    return torch.cat([one_scale(info, *pair) for pair in pairs])


def group_scales(info: TensorInfo, codes: Tensor, scales: Tensor, size: int) -> Tensor:
    """Return scales [N, K / size] of blocks larger or smaller than a group; 0 for zeros."""
    block = codes.numel() // len(scales)
    unit = min(block, size)
    used = (codes.view(-1, unit) != 1).any(dim=1).view(info.shape[0], -1, size // unit)
    scales = scales.repeat_interleave(block // unit).view(used.shape).where(used, 0.0)
    groups = scales.amax(dim=-1)
    good = ((scales == groups.unsqueeze(-1)) & (scales > 0) & scales.isfinite()) | ~used
    if not good.all():
        row, group, part = (int(i) for i in (~good).nonzero()[0])
        info.reader.refuse(
            info.name,
            f"has the block scale {scales[row, group, part].item():g} in row {row}, group "
            f"{group} of {size}, expected one finite number above 0 for the group",
        )
    return groups


def plausible(info: TensorInfo, scale: Tensor) -> Tensor:
    if not 0 < scale.item() < math.inf:
        info.reader.refuse(
            info.name, f"has the scale {scale.item()}, expected a finite number above 0"
        )
    return scale
