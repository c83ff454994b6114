"""Products with a table of 4 or 6 bits a weight: Int4MatMul, Int6MatMul and TwoStepInt4MatMul.

Sizes: K input features, N rows of the table. codes, levels and scale are the table's
``level_rows`` (``weights/levels.py``).
"""

from __future__ import annotations

import numpy as np
import torch
from onnx_ir import Value
from torch import Tensor

from ..weights.levels import LevelRows, integer_rows
from ..weights.ternary import absmax_int16
from . import steps
from .domain import BFLOAT16, DOUBLE, FLOAT, INT8, UINT8, Builder, operator
from .head import Bf16MatMul, bf16_matmul
from .two_step import KEPT, scan_slack, slack_value

__all__ = [
    "FIRST",
    "TWO_STEP_INPUTS",
    "Int4MatMul",
    "Int6MatMul",
    "TwoStepInt4MatMul",
    "level_matmul",
    "two_step_int4_matmul",
    "two_steps",
    "two_steps_value",
]

TWO_STEP_INPUTS = {
    "X": FLOAT,
    "W": BFLOAT16,
    "codes": UINT8,
    "levels": INT8,
    "scale": FLOAT,
    "bound": FLOAT,
}
FIRST = 128  # results of the scan, the largest, whose exact values say how large the 64th is


@torch.library.custom_op("bitnet::level_matmul", mutates_args=())
def level_matmul(x: Tensor, codes: Tensor, levels: Tensor, scale: Tensor) -> Tensor:
    """Multiply x float32 [..., K], as 16-bit integers, by a table [N, K] -> float32 [..., N]."""
    quantized, act_scale = absmax_int16(x)
    integers = integer_rows(LevelRows(codes, levels, scale), x.shape[-1]).double()
    sums = (quantized @ integers.T).float()  # below 2**45: exact until rounded to float32
    return sums * scale * (1.0 / act_scale)


@level_matmul.register_fake
def _(x: Tensor, codes: Tensor, levels: Tensor, scale: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], codes.shape[0])


@torch.library.custom_op("bitnet::two_step_int4_matmul", mutates_args=())
def two_step_int4_matmul(
    x: Tensor, table: Tensor, codes: Tensor, levels: Tensor, scale: Tensor, bound: Tensor
) -> Tensor:
    """Compute bf16_matmul of x and table where the result is among the 64 largest of its row.

    bound [N] is ``row_deviations`` (positive): it is statistical, and so is the promise. Exact
    values of the 128 largest results of the scan, ties included, say how large the 64th largest is
    at least. A result whose upper bound reaches that, or which is one of the 128, is computed from
    the table's row. Any other is ``level_matmul``'s, and smaller.
    """
    return two_steps(x, table, LevelRows(codes, levels, scale), bound * scan_slack(x))


def two_steps(x: Tensor, table: Tensor, copy: LevelRows, room: Tensor) -> Tensor:
    """Scan the copy, and compute what may be among the 64 largest; room [..., N]: the bounds."""
    rough, exact = level_matmul(x, *copy), bf16_matmul(x, table)
    reach = rough.topk(min(FIRST, len(table))).values[..., -1:]
    first = torch.where(rough >= reach, exact, -torch.inf)
    least = first.topk(min(KEPT, len(table))).values[..., -1:]
    unasked = (rough < reach) & (rough + room < least)
    return torch.where(unasked | rough.isnan(), rough, exact)


@two_step_int4_matmul.register_fake
def _(
    x: Tensor, table: Tensor, codes: Tensor, levels: Tensor, scale: Tensor, bound: Tensor
) -> Tensor:
    return x.new_empty(*x.shape[:-1], table.shape[0])


def _takes(bits: int, codes: Value, levels: Value) -> bool:
    assert codes.shape is not None
    assert levels.shape is not None
    return bool(codes.shape[1] == 4 * bits * levels.shape[1])


@operator(
    inputs={"X": FLOAT, "W": UINT8, "levels": INT8, "scale": FLOAT},
    outputs={"Y": FLOAT},
    torch_op=torch.ops.bitnet.level_matmul.default,
    takes=lambda x, codes, levels, scale: _takes(4, codes, levels),
)
def Int4MatMul(op: Builder, x: Value, w: Value, levels: Value, scale: Value) -> Value:
    return _multiply(op, x, _codes(op, w, 4), levels, scale, 4)


@operator(
    inputs={"X": FLOAT, "W": UINT8, "levels": INT8, "scale": FLOAT},
    outputs={"Y": FLOAT},
    torch_op=torch.ops.bitnet.level_matmul.default,
    takes=lambda x, codes, levels, scale: _takes(6, codes, levels),
)
def Int6MatMul(op: Builder, x: Value, w: Value, levels: Value, scale: Value) -> Value:
    return _multiply(op, x, _codes(op, w, 6), levels, scale, 6)


def _codes(op: Builder, w: Value, bits: int) -> Value:
    """Unpack W to codes uint8 [N, blocks, 256]."""
    blocks = op.Reshape(w, [0, -1, 32 * bits])
    pairs = blocks if bits == 4 else op.Slice(blocks, [0], [128], [2])
    pairs = op.Reshape(pairs, [0, 0, 2, 1, 64])
    shifts = np.array([0, 4], np.uint8).reshape(2, 1)
    moved = op.BitShift(pairs, shifts, direction="RIGHT")
    codes = op.Reshape(op.BitwiseAnd(moved, np.uint8(15)), [0, 0, 256])
    if bits == 4:
        return codes
    upper = op.Reshape(op.Slice(blocks, [128], [192], [2]), [0, 0, 1, 64])
    shifts = np.array([0, 2, 4, 6], np.uint8).reshape(4, 1)
    fields = op.BitShift(upper, shifts, direction="RIGHT")
    upper = op.Reshape(op.BitwiseAnd(fields, np.uint8(3)), [0, 0, 256])
    return op.BitwiseOr(codes, op.BitShift(upper, np.uint8(4), direction="LEFT"))


def _multiply(op: Builder, x: Value, codes: Value, levels: Value, scale: Value, bits: int) -> Value:
    """Compute ``level_matmul``; its sums, integers below 2**53, are exact in any order."""
    quantized = steps.quantize_int16(op, x)
    centred = op.Sub(op.Cast(codes, to=DOUBLE), np.float64(1 << (bits - 1)))
    groups = op.Reshape(centred, [0, 0, 8, 8, 4])
    wide = op.Reshape(op.Cast(levels, to=DOUBLE), [0, -1, 1, 8, 1])
    integers = op.Reshape(op.Mul(groups, wide), op.Concat(op.Shape(scale), [-1], axis=0))
    features = op.Shape(x, start=-1)
    kept = op.Slice(integers, [0], features, [1])
    sums = op.MatMul(op.Cast(quantized.codes, to=DOUBLE), op.Transpose(kept, perm=[1, 0]))
    inverse = op.Add(op.Div(1.0, quantized.scale), quantized.poison)
    return op.Mul(op.Mul(op.Cast(sums, to=FLOAT), scale), inverse)


@operator(
    inputs=TWO_STEP_INPUTS,
    outputs={"Y": FLOAT},
    torch_op=torch.ops.bitnet.two_step_int4_matmul.default,
)
def TwoStepInt4MatMul(
    op: Builder, x: Value, w: Value, codes: Value, levels: Value, scale: Value, bound: Value
) -> Value:
    rough = op.call(Int4MatMul, x, codes, levels, scale)
    exact = op.call(Bf16MatMul, x, w)
    return two_steps_value(op, rough, exact, bound, slack_value(op, x))


def two_steps_value(op: Builder, rough: Value, exact: Value, bound: Value, slack: Value) -> Value:
    """Compute ``two_steps``."""
    reach = _least(op, rough, bound, FIRST)
    below = op.Less(rough, reach)
    least = _least(op, op.Where(below, np.float32(-np.inf), exact), bound, KEPT)
    highest = op.Add(rough, op.Mul(bound, slack))
    unasked = op.And(below, op.Less(highest, least))
    return op.Where(op.Or(unasked, op.IsNaN(rough)), rough, exact)


def _least(op: Builder, values: Value, rows: Value, count: int) -> Value:
    """Return the ``count``-th largest of values [..., N], or the last; rows has N elements."""
    largest, _ = op.TopK(values, op.Min([count], op.Shape(rows)), axis=-1, _outputs=2)
    return op.ReduceMin(largest, [-1], keepdims=1)
