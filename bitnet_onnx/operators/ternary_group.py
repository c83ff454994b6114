"""TernaryGroupMatMul and TernaryFloatMatMul: a scale for each 128 weights along K.

The first quantizes its activations to int8, the second takes float ones. Sizes: K input features,
N output features, W packed as in ``weights/ternary.py``, scale [N, K / 128].
"""

from __future__ import annotations

import numpy as np
import torch
from onnx_ir import Value
from torch import Tensor

from . import steps
from .domain import DOUBLE, FLOAT, UINT8, Builder, operator
from .ternary import GROUP, group_total

__all__ = ["TernaryFloatMatMul", "TernaryGroupMatMul", "ternary_float_matmul"]

FIXED_PEAK = 2.0**30  # four digits of -128 to 127 hold it
DIGITS = 4


# In torch: ternary_matmul of ternary.py, with a scale of two dimensions.
@operator(
    inputs={"X": FLOAT, "W": UINT8, "scale": FLOAT},
    outputs={"Y": FLOAT},
    torch_op=torch.ops.bitnet.ternary_matmul.default,
    takes=lambda x, packed, scale: len(scale.shape) == 2,
)
def TernaryGroupMatMul(op: Builder, x: Value, w: Value, scale: Value) -> Value:
    quantized = steps.quantize_uint8(op, x)
    rows = op.Reshape(quantized.codes, _flat_shape(op, x))
    totals = op.Reshape(*_sum_groups(op, x, rows, w, scale))
    y = op.Div(totals, op.Cast(quantized.scale, to=DOUBLE))
    return op.Cast(op.Add(y, op.Cast(quantized.poison, to=DOUBLE)), to=FLOAT)


def _flat_shape(op: Builder, x: Value) -> Value:
    """Return the shape [-1, K]."""
    return op.Concat([-1], op.Shape(x, start=-1), axis=0)


def _sum_groups(op: Builder, x: Value, rows: Value, w: Value, scale: Value) -> tuple[Value, Value]:
    """Multiply rows uint8 [M, K] by W, group by group -> float64 [M, N], and the shape of Y."""
    by_group = [0, -1, GROUP]
    codes = steps.unpack(op, w)
    kept = op.Slice(codes, [0], op.Shape(x, start=-1), [1])
    group_codes = op.Transpose(op.Reshape(kept, by_group), perm=[1, 2, 0])
    group_scale = op.Transpose(op.Cast(scale, to=DOUBLE), perm=[1, 0])
    group_x = op.Transpose(op.Reshape(rows, by_group), perm=[1, 0, 2])
    m, n = op.Shape(rows, start=0, end=1), op.Shape(w, start=0, end=1)

    def term(inner: Builder, group: Value) -> Value:
        x_group = inner.Gather(group_x, group)
        w_group = inner.Gather(group_codes, group)
        factor = inner.Gather(group_scale, group)
        sums = inner.MatMulInteger(x_group, w_group, steps.X_ZERO, steps.W_ZERO)
        return inner.Mul(inner.Cast(sums, to=DOUBLE), factor)

    start = op.Expand(np.float64(0), op.Concat(m, n, axis=0))
    count = op.Squeeze(op.Shape(scale, start=1))
    total = steps.sum_in_order(op, count, start, "M N", term)
    return total, op.Concat(op.Shape(x, start=0, end=-1), n, axis=0)


@torch.library.custom_op("bitnet::ternary_float_matmul", mutates_args=())
def ternary_float_matmul(x: Tensor, packed: Tensor, scale: Tensor) -> Tensor:
    """Multiply x float32 [..., K] by packed uint8 [N, 64 * ceil(K / 256)] -> [..., N].

    scale [N, K / 128]. For models that do not quantize activations. x becomes 31-bit fixed point,
    ``v / act_scale`` with ``v = round(x * act_scale)``: its error is at most 2**-31 of the token's
    largest ``|x|``, where a float32 sum loses up to 2**-24 of its running total in each addition.
    The rest is integers, and float64 in one order, so every CPU gives the same bits. A token with a
    NaN or an infinity gives all NaN.
    """
    wide = x.double()
    peak = wide.abs().amax(dim=-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    act_scale = wide.new_tensor(FIXED_PEAK) / peak
    value = (wide * act_scale).round()
    totals = []
    for _ in range(DIGITS):  # value = sum of 256**d * digit[d], each digit from -128 to 127
        above = ((value + 128) / 256).floor()
        totals.append(group_total((value - 256 * above).float(), packed, scale))
        value = above
    total = totals.pop()
    while totals:
        total = total * 256 + totals.pop()
    return (total / act_scale).float()


@ternary_float_matmul.register_fake
def _(x: Tensor, packed: Tensor, scale: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], packed.shape[0])


# The four digits of X are stacked as rows, M of each.
@operator(
    inputs={"X": FLOAT, "W": UINT8, "scale": FLOAT},
    outputs={"Y": FLOAT},
    torch_op=torch.ops.bitnet.ternary_float_matmul.default,
)
def TernaryFloatMatMul(op: Builder, x: Value, w: Value, scale: Value) -> Value:
    wide = op.Cast(x, to=DOUBLE)
    smallest = np.float64(np.finfo(np.float32).tiny)
    value, act_scale = steps.absmax(op, wide, np.float64(FIXED_PEAK), smallest)
    digits = _digits(op, op.Reshape(value, _flat_shape(op, x)))
    rows = op.Cast(op.Concat(*digits, axis=0), to=UINT8)

    total, y_shape = _sum_groups(op, x, rows, w, scale)
    *others, sums = op.Split(total, axis=0, num_outputs=DIGITS, _outputs=DIGITS)
    for digit in reversed(others):
        sums = op.Add(op.Mul(sums, np.float64(256)), digit)
    y = op.Div(op.Reshape(sums, y_shape), act_scale)
    return op.Cast(op.Add(y, op.Cast(steps.poison(op, x), to=DOUBLE)), to=FLOAT)


def _digits(op: Builder, value: Value) -> list[Value]:
    """Split integers into digits of base 256, from -128 to 127, offset by 128; the lowest first."""
    offset, base = np.float64(128), np.float64(256)
    digits = []
    for _ in range(DIGITS - 1):
        up = op.Add(value, offset)
        value = op.Floor(op.Div(up, base))
        digits.append(op.Sub(up, op.Mul(value, base)))
    return [*digits, op.Add(value, offset)]
