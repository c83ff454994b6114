"""RMSNorm, and AddRMSNorm, which first adds a residual."""

from __future__ import annotations

import numpy as np
import torch
from onnx_ir import Value
from torch import Tensor

from ..model import exact
from .domain import DOUBLE, FLOAT, Builder, operator

__all__ = ["AddRMSNorm", "RMSNorm", "add_rms_norm", "rms_norm"]


@torch.library.custom_op("bitnet::rms_norm", mutates_args=())
def rms_norm(x: Tensor, weight: Tensor, epsilon: Tensor) -> Tensor:
    """Normalize x float32 [..., K]; weight [K], epsilon [1]. See ``model/exact.py``."""
    return exact.rms_norm(x, weight, epsilon)


@rms_norm.register_fake
def _(x: Tensor, weight: Tensor, epsilon: Tensor) -> Tensor:
    return torch.empty_like(x)


@operator(
    inputs={"X": FLOAT, "weight": FLOAT, "epsilon": FLOAT},
    outputs={"Y": FLOAT},
    torch_op=torch.ops.bitnet.rms_norm.default,
)
def RMSNorm(op: Builder, x: Value, weight: Value, epsilon: Value) -> Value:
    wide = op.Cast(x, to=DOUBLE)
    total = op.ReduceSum(op.Mul(wide, wide), [-1], keepdims=1)
    features = op.Cast(op.Shape(x, start=-1), to=DOUBLE)
    mean = op.Div(total, features)
    rms = op.Sqrt(op.Add(mean, op.Cast(epsilon, to=DOUBLE)))
    inverse = op.Cast(op.Div(np.float64(1), rms), to=FLOAT)
    return op.Mul(op.Mul(x, inverse), weight)


def add_rms_norm(
    x: Tensor, residual: Tensor, weight: Tensor, epsilon: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the rms_norm of ``x + residual``, both [..., K], and the sum. A pass puts it in."""
    total = x + residual
    return exact.rms_norm(total, weight, epsilon), total


@operator(
    inputs={"X": FLOAT, "residual": FLOAT, "weight": FLOAT, "epsilon": FLOAT},
    outputs={"Y": FLOAT, "sum": FLOAT},
)
def AddRMSNorm(
    op: Builder, x: Value, residual: Value, weight: Value, epsilon: Value
) -> tuple[Value, Value]:
    total = op.Add(x, residual)
    return op.call(RMSNorm, total, weight, epsilon), total
