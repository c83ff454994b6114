"""TernaryFeedForward, 2B-4T's whole feed-forward network, and the two parts of its body.

Sizes: K input features, N inner features, M output features. Gate and up are packed as in
``weights/ternary.py``.
"""

from __future__ import annotations

import torch
from onnx_ir import Value
from torch import Tensor

from ..model import exact
from ..weights.ternary import absmax_int8, unpack
from . import steps
from .domain import FLOAT, UINT8, Builder, operator
from .norm import RMSNorm
from .ternary import TernaryMatMul, ternary_matmul

__all__ = [
    "TernaryColumnMatMul",
    "TernaryFeedForward",
    "TernaryGatedMatMul",
    "ternary_feed_forward",
]


def ternary_feed_forward(
    x: Tensor,
    gate: Tensor,
    up: Tensor,
    gate_scale: Tensor,
    up_scale: Tensor,
    norm: Tensor,
    epsilon: Tensor,
    columns: Tensor,
    scale: Tensor,
) -> tuple[Tensor, Tensor]:
    """Compute ``down(rms_norm(relu(gate(x))² * up(x)))`` [..., M], and the input of down [..., N].

    x [..., K]; gate and up packed [N, 64 * ceil(K / 256)]; norm [N], epsilon [1]; columns uint8
    [N, 64 * ceil(M / 256)]: the transposed matrix of down, packed; scale [M]. The product is +0
    where its first factor is 0, for any second factor. So the row of up behind a closed gate need
    not be read, nor the column of down for an input quantized to 0. A pass puts it in.
    """
    opened = ternary_matmul(x, gate, gate_scale).relu()
    square = opened * opened
    product = torch.where(square == 0, 0.0, square * ternary_matmul(x, up, up_scale))
    normed = exact.rms_norm(product, norm, epsilon)
    quantized, act_scale = absmax_int8(normed)
    sums = quantized @ unpack(columns, scale.shape[0]).float()
    return sums * (scale / act_scale), normed


# Its second output is not the function's: see TernaryNormMatMul.
@operator(
    inputs={
        "X": FLOAT,
        "gate": UINT8,
        "up": UINT8,
        "gate_scale": FLOAT,
        "up_scale": FLOAT,
        "norm": FLOAT,
        "epsilon": FLOAT,
        "down": UINT8,
        "down_scale": FLOAT,
    },
    outputs={"Y": FLOAT},
)
def TernaryFeedForward(
    op: Builder,
    x: Value,
    gate: Value,
    up: Value,
    gate_scale: Value,
    up_scale: Value,
    norm: Value,
    epsilon: Value,
    down: Value,
    down_scale: Value,
) -> Value:
    product = op.call(TernaryGatedMatMul, x, gate, up, gate_scale, up_scale)
    normed = op.call(RMSNorm, product, norm, epsilon)
    return op.call(TernaryColumnMatMul, normed, down, down_scale)


@operator(
    inputs={"X": FLOAT, "gate": UINT8, "up": UINT8, "gate_scale": FLOAT, "up_scale": FLOAT},
    outputs={"Y": FLOAT},
)
def TernaryGatedMatMul(
    op: Builder, x: Value, gate: Value, up: Value, gate_scale: Value, up_scale: Value
) -> Value:
    """Compute ``relu(gate(x))² * up(x)``, a part of TernaryFeedForward; no graph calls it."""
    opened = op.Relu(op.call(TernaryMatMul, x, gate, gate_scale))
    square = op.Mul(opened, opened)
    product = op.Mul(square, op.call(TernaryMatMul, x, up, up_scale))
    return op.Where(op.Equal(square, 0.0), 0.0, product)


@operator(inputs={"X": FLOAT, "W": UINT8, "scale": FLOAT}, outputs={"Y": FLOAT})
def TernaryColumnMatMul(op: Builder, x: Value, w: Value, scale: Value) -> Value:
    """Multiply x [..., N] by the columns of W [N, M], scale [M]; also a part."""
    quantized = steps.quantize_uint8(op, x)
    kept = op.Slice(steps.unpack(op, w), [0], op.Shape(scale), [-1])
    sums = op.MatMulInteger(quantized.codes, kept, steps.X_ZERO, steps.W_ZERO)
    return steps.rescale(op, op.Cast(sums, to=FLOAT), scale, quantized)
