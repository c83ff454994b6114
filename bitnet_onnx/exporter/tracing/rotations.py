"""The rotations of a network with a rotated basis, as operators for ``traced.py``.

Knows torch, the operators and the config; knows no checkpoint's weights.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ... import operators as ops
from ...model import Rotation, rotate_inputs
from ...network.config import BitNetConfig

__all__ = ["fuse_rotations"]


class FusedRotation(nn.Module):
    """Rotation as one operator."""

    signs: Tensor

    def __init__(self, source: Rotation) -> None:
        super().__init__()
        self.block_size = source.block_size
        self.register_buffer("signs", torch.empty(source.signs.shape))

    def forward(self, x: Tensor) -> Tensor:
        return ops.hadamard(x, self.signs, self.block_size)


def fuse_rotations(model: Any, config: BitNetConfig) -> None:
    """Replace the rotations of a BitNetModel, and turn the inputs of its new linears by them."""
    for width, rotation in list(model.rotations.items()):
        model.rotations[width] = FusedRotation(rotation)
    rotate_inputs(model, config)
