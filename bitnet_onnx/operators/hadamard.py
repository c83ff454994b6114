"""Hadamard: activations in the rotated basis of a weight, as ``weights/hadamard.py`` has it.

It has no kernel: the library and the target ``stock`` both run its body, whose sums and differences
have one order.
"""

from __future__ import annotations

import onnx_ir as ir
import torch
from onnx_ir import Value
from torch import Tensor

from ..weights.hadamard import rotate
from . import steps
from .domain import FLOAT, Attribute, Builder, operator

__all__ = ["Hadamard", "hadamard"]


@torch.library.custom_op("bitnet::hadamard", mutates_args=())
def hadamard(x: Tensor, signs: Tensor, block_size: int) -> Tensor:
    """Rotate x float32 [..., K]; signs [K], block_size a power of two that divides K."""
    return rotate(x, signs, block_size)


@hadamard.register_fake
def _(x: Tensor, signs: Tensor, block_size: int) -> Tensor:
    return torch.empty_like(x)


@operator(
    inputs={"X": FLOAT, "signs": FLOAT},
    outputs={"Y": FLOAT},
    attributes={"block_size": ir.AttributeType.INT},
    torch_op=torch.ops.bitnet.hadamard.default,
)
def Hadamard(op: Builder, x: Value, signs: Value, block_size: Attribute) -> Value:
    size = op.Constant(value_int=block_size)
    turned = steps.butterflies(op, op.Mul(x, signs), size)
    return op.Div(turned, op.Sqrt(op.Cast(size, to=FLOAT)))
