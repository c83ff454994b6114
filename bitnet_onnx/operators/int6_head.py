"""TwoStepInt6MatMul: a head that reads few rows of its bfloat16 table, by a scan of 6 bits, proven.

Sizes: K input features, N rows of the table. codes, levels and scale are the table's
``level_rows`` (``weights/levels.py``).
"""

from __future__ import annotations

import numpy as np
import torch
from onnx_ir import Value
from torch import Tensor

from ..weights.levels import PART, LevelRows
from ..weights.ternary import absmax_int16
from . import steps
from .domain import DOUBLE, FLOAT, Builder, operator
from .head import Bf16MatMul
from .int4_head import TWO_STEP_INPUTS, Int6MatMul, two_steps, two_steps_value
from .two_step import slack_of_norm, slack_of_norm_value

__all__ = ["TwoStepInt6MatMul", "split_slack", "two_step_int6_matmul"]

LARGE = 2.0 ** np.arange(15)  # from where on an integer of a token may be called large


@torch.library.custom_op("bitnet::two_step_int6_matmul", mutates_args=())
def two_step_int6_matmul(
    x: Tensor, table: Tensor, codes: Tensor, levels: Tensor, scale: Tensor, bound: Tensor
) -> Tensor:
    """Compute bf16_matmul of x and table where the result is among the 64 largest of its row.

    bound [N] is ``level_bounds`` (positive), which is proven. The rows are chosen as
    ``two_step_int4_matmul`` chooses them, with another slack. Any other result is
    ``level_matmul``'s, and smaller.
    """
    return two_steps(x, table, LevelRows(codes, levels, scale), bound * split_slack(x))


def split_slack(x: Tensor) -> Tensor:
    """Return the factor of ``level_bounds`` [..., 1]; infinite where the scan might overflow."""
    quantized, act_scale = absmax_int16(x)
    size = quantized.abs()
    part = min(1.0, PART / x.shape[-1] ** 0.5)
    norm = size.square().sum(dim=-1, keepdim=True).sqrt()  # of integers: any order
    for least in LARGE.tolist():
        large = torch.where(size < least, 0.0, size).sum(dim=-1, keepdim=True)
        small = torch.where(size < least, size, 0.0).square().sum(dim=-1, keepdim=True)
        norm = torch.minimum(norm, part * large + small.sqrt())
    return slack_of_norm(norm, act_scale)


@two_step_int6_matmul.register_fake
def _(
    x: Tensor, table: Tensor, codes: Tensor, levels: Tensor, scale: Tensor, bound: Tensor
) -> Tensor:
    return x.new_empty(*x.shape[:-1], table.shape[0])


@operator(
    inputs=TWO_STEP_INPUTS,
    outputs={"Y": FLOAT},
    torch_op=torch.ops.bitnet.two_step_int6_matmul.default,
)
def TwoStepInt6MatMul(
    op: Builder, x: Value, w: Value, codes: Value, levels: Value, scale: Value, bound: Value
) -> Value:
    rough = op.call(Int6MatMul, x, codes, levels, scale)
    exact = op.call(Bf16MatMul, x, w)
    return two_steps_value(op, rough, exact, bound, split_slack_value(op, x))


def split_slack_value(op: Builder, x: Value) -> Value:
    """Compute ``split_slack``; its sums, integers below 2**53, are exact in any order."""
    codes, scale, _ = steps.quantize_int16(op, x)
    size = op.Unsqueeze(op.Abs(op.Cast(codes, to=DOUBLE)), [-2])  # [..., 1, K]
    root = op.Sqrt(op.Cast(op.Shape(x, start=-1), to=DOUBLE))
    part = op.Min(np.float64(1), op.Div(np.float64(PART), root))
    # 2**15 is above all: no element is large.
    below = op.Less(size, np.append(LARGE, 2.0**15).reshape(-1, 1))  # [..., 16, K]
    large = op.ReduceSum(op.Where(below, np.float64(0), size), [-1], keepdims=0)
    small = op.Where(below, size, np.float64(0))
    squares = op.ReduceSum(op.Mul(small, small), [-1], keepdims=0)
    norms = op.Add(op.Mul(part, large), op.Sqrt(squares))  # [..., 16]
    norm = op.ReduceMin(norms, [-1], keepdims=1)
    return slack_of_norm_value(op, norm, scale)
