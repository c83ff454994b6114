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
from .domain import FLOAT, INT64, Attribute, Builder, operator

__all__ = ["Hadamard", "hadamard"]

LN2 = 0.6931472


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
    number = op.Cast(size, to=FLOAT)
    stages = op.Cast(op.Round(op.Div(op.Log(number), LN2)), to=INT64)
    whole = op.Reshape(size, [1])
    rows = op.Concat([-1], whole, axis=0)
    pairs = op.Concat([-1], op.Div(whole, 2), [2], axis=0)

    def stage(inner: Builder, _: Value, old: Value) -> Value:
        low, high = inner.Split(inner.Reshape(old, pairs), axis=2, num_outputs=2, _outputs=2)
        both = inner.Concat(inner.Add(low, high), inner.Sub(low, high), axis=1)
        return inner.Reshape(both, rows)

    start = op.Reshape(op.Mul(x, signs), rows)
    total = steps.loop(op, stages, start, "M N", stage, FLOAT)
    return op.Reshape(op.Div(total, op.Sqrt(number)), op.Shape(x), allowzero=1)
