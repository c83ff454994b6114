"""The activations of rotated linears, turned into the basis of their weights.

``weights/hadamard.py`` has the formulas. Knows tensors, modules and the config; knows no network.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn

from ..network.config import BitNetConfig
from ..network.parts import parts_of
from ..weights.hadamard import rotate, sign_tensor

__all__ = ["Rotation", "rotate_inputs", "rotations_of"]


class Rotation(nn.Module):
    """``H(signs * x)``: a sign for each feature, then a Walsh-Hadamard matrix for each block."""

    signs: Tensor

    def __init__(self, signs: Tensor, block_size: int) -> None:
        super().__init__()
        self.register_buffer("signs", signs, persistent=False)
        self.block_size = block_size

    def forward(self, x: Tensor) -> Tensor:
        return rotate(x, self.signs, self.block_size)


def rotations_of(config: BitNetConfig) -> nn.ModuleDict:
    """Return the rotation of each width of the rotated linears, by the width as a text."""
    hadamard, linears = config.hadamard, parts_of(config).linears.values()
    if hadamard is None:
        return nn.ModuleDict()
    widths = {n.features for n in linears if f"{n.name}.weight" in hadamard.weights}
    return nn.ModuleDict(
        {
            str(width): Rotation(sign_tensor(hadamard, width), hadamard.block_size)
            for width in sorted(widths)
        }
    )


def rotate_inputs(model: Any, config: BitNetConfig) -> None:
    """Make each rotated linear of a BitNetModel turn its input first, by ``model.rotations``.

    It is a hook, so the linears of all kinds need not know of it.
    """
    for linear in parts_of(config).linears.values():
        if config.hadamard is not None and f"{linear.name}.weight" in config.hadamard.weights:
            module = model.get_submodule(linear.name.removeprefix("model."))
            module.register_forward_pre_hook(
                partial(_turned, model.rotations, str(linear.features))
            )


def _turned(
    rotations: nn.ModuleDict, width: str, _: nn.Module, inputs: tuple[Tensor]
) -> tuple[Tensor]:
    return (rotations[width](inputs[0]),)
