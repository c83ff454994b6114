"""TernaryMatMul, a linear of ternary weights, and TernaryNormMatMul, with the norm before it.

Sizes: K input features, N output features, W packed as in ``weights/ternary.py``.
"""

from __future__ import annotations

import onnx_ir as ir
import torch
from onnx_ir import Value
from torch import Tensor

from ..model import exact
from ..weights.ternary import absmax_int8, group_sums, unpack
from . import steps
from .blocks import SIZES, multiply_blocks, multiply_floats
from .domain import FLOAT, UINT8, Attribute, Builder, operator
from .norm import RMSNorm

__all__ = [
    "GROUP",
    "TernaryMatMul",
    "TernaryNormMatMul",
    "group_total",
    "packed_form",
    "ternary_matmul",
    "ternary_norm_matmul",
    "unpacked_form",
]

GROUP = 128  # weights along K that share a scale, where a matrix has more than one


@torch.library.custom_op("bitnet::ternary_matmul", mutates_args=())
def ternary_matmul(x: Tensor, packed: Tensor, scale: Tensor) -> Tensor:
    """Multiply x float32 [..., K] by packed uint8 [N, 64 * ceil(K / 256)], scale [1] -> [..., N].

    With a scale for each group of weights, scale [N, K / 128], the ONNX node is TernaryGroupMatMul
    and the division is in float64: ``float32(total / act_scale)``.
    """
    quantized, act_scale = absmax_int8(x)
    if scale.dim() == 2:
        return (group_total(quantized, packed, scale) / act_scale.double()).float()
    sums = quantized @ unpack(packed, x.shape[-1]).float().T
    return sums * (scale / act_scale)


def group_total(quantized: Tensor, packed: Tensor, scale: Tensor) -> Tensor:
    """Multiply integers [..., K] by packed weights with group scales -> float64 [..., N]."""
    features = quantized.shape[-1]
    assert scale.shape == (packed.shape[0], features / GROUP), (scale.shape, features)
    return group_sums(quantized, unpack(packed, features).float(), scale)


@ternary_matmul.register_fake
def _(x: Tensor, packed: Tensor, scale: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], packed.shape[0])


@operator(
    inputs={"X": FLOAT, "W": UINT8, "scale": FLOAT},
    outputs={"Y": FLOAT},
    torch_op=torch.ops.bitnet.ternary_matmul.default,
    takes=lambda x, packed, scale: len(scale.shape) == 1,
)
def TernaryMatMul(op: Builder, x: Value, w: Value, scale: Value) -> Value:
    quantized = steps.quantize_uint8(op, x)
    codes = op.Transpose(steps.unpack(op, w), perm=[1, 0])
    missing = op.Sub(op.Shape(codes, start=0, end=1), op.Shape(x, start=-1))
    pads = op.Concat([0], missing, axis=0)
    padded = op.Pad(quantized.codes, pads, steps.X_ZERO, [-1])
    sums = op.MatMulInteger(padded, codes, steps.X_ZERO, steps.W_ZERO)
    return steps.rescale(op, op.Cast(sums, to=FLOAT), scale, quantized)


# The stock forms clip at -127, but no activation is below: see blocks.py.
@operator(
    name="TernaryMatMul",
    inputs={"X": FLOAT, "W": UINT8, "ones": FLOAT, "scale": FLOAT},
    outputs={"Y": FLOAT},
    attributes=SIZES,
)
def packed_form(
    op: Builder, x: Value, w: Value, ones: Value, scale: Value, *sizes: Attribute
) -> Value:
    quantized = steps.quantize(op, x, -127.0, 127.0)
    sums = multiply_blocks(op, quantized.codes, w, ones, sizes)
    return steps.rescale(op, sums, scale, quantized)


# ONNX Runtime unpacks W to float32 [N, K] once, at load.
@operator(
    name="TernaryMatMul",
    inputs={"X": FLOAT, "W": UINT8, "scale": FLOAT},
    outputs={"Y": FLOAT},
    attributes={"width": ir.AttributeType.INTS},  # [K]
)
def unpacked_form(op: Builder, x: Value, w: Value, scale: Value, width: Attribute) -> Value:
    quantized = steps.quantize(op, x, -127.0, 127.0)
    codes = op.Slice(steps.unpack(op, w), [0], op.Constant(value_ints=width), [-1])
    weights = op.Sub(op.Cast(codes, to=FLOAT), 1.0)
    sums = multiply_floats(op, quantized.codes, weights)
    return steps.rescale(op, sums, scale, quantized)


def ternary_norm_matmul(
    x: Tensor, packed: Tensor, scale: Tensor, norm: Tensor, epsilon: Tensor
) -> tuple[Tensor, Tensor]:
    """Return ternary_matmul of the rms_norm of x [..., K], and the norm. A pass puts it in."""
    normed = exact.rms_norm(x, norm, epsilon)
    return ternary_matmul(normed, packed, scale), normed


# The library's operator has a second output, which only verify reads. The function has not: ONNX
# Runtime refuses a node that leaves out an output of its function.
@operator(
    inputs={"X": FLOAT, "W": UINT8, "scale": FLOAT, "norm": FLOAT, "epsilon": FLOAT},
    outputs={"Y": FLOAT},
)
def TernaryNormMatMul(
    op: Builder, x: Value, w: Value, scale: Value, norm: Value, epsilon: Value
) -> Value:
    return op.call(TernaryMatMul, op.call(RMSNorm, x, norm, epsilon), w, scale)
