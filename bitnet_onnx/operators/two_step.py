"""TwoStepMatMul: a head that reads few rows of its bfloat16 table; an int8 scan finds these rows.

Sizes: K input features, N rows of the table.
"""

from __future__ import annotations

import numpy as np
import torch
from onnx_ir import Value
from torch import Tensor

from ..weights.ternary import INT16_PEAK, absmax_int16
from . import steps
from .domain import BFLOAT16, DOUBLE, FLOAT, INT8, Builder, operator
from .head import Bf16MatMul, Int8MatMul, bf16_matmul, int8_matmul

__all__ = [
    "KEPT",
    "TwoStepMatMul",
    "scan_slack",
    "slack_of_norm",
    "slack_of_norm_value",
    "slack_value",
    "two_step_matmul",
]

KEPT = 64  # largest results of a two-step head that are exact; transformers' top_k is 50
LARGE = 2.0**48  # 1 / act_scale from which on the scan might overflow


@torch.library.custom_op("bitnet::two_step_matmul", mutates_args=())
def two_step_matmul(x: Tensor, table: Tensor, scan: Tensor, scale: Tensor, bound: Tensor) -> Tensor:
    """Compute bf16_matmul of x and table where the result is among the 64 largest of its row.

    scan int8 [N, K] and scale [N] are the table's ``int8_rows``, bound [N] its ``row_bounds``
    (positive). A result whose upper bound reaches the 64th largest of the lower bounds, ties
    included, is computed from the table's row. Any other is ``int8_matmul``'s, and smaller.
    """
    rough, slack = int8_matmul(x, scan, scale), scan_slack(x)
    lowest, highest = rough - bound * slack, rough + bound * slack
    least = lowest.topk(min(KEPT, len(bound))).values[..., -1:]
    return torch.where((highest < least) | rough.isnan(), rough, bf16_matmul(x, table))


def scan_slack(x: Tensor) -> Tensor:
    """Return the factor of ``row_bounds`` [..., 1]; infinite where the scan might overflow."""
    quantized, act_scale = absmax_int16(x)
    norm = quantized.square().sum(dim=-1, keepdim=True).sqrt()  # of integers: any order
    return slack_of_norm(norm, act_scale)


def slack_of_norm(norm: Tensor, act_scale: Tensor) -> Tensor:
    """Return the slack of a norm of the integers of x, float64 [..., 1], as float32."""
    inverse = 1.0 / act_scale
    slack = (norm.clamp(min=INT16_PEAK) * inverse.double()).float()
    return torch.where(inverse < LARGE, slack, torch.inf)


@two_step_matmul.register_fake
def _(x: Tensor, table: Tensor, scan: Tensor, scale: Tensor, bound: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], table.shape[0])


@operator(
    inputs={"X": FLOAT, "W": BFLOAT16, "scan": INT8, "scale": FLOAT, "bound": FLOAT},
    outputs={"Y": FLOAT},
    torch_op=torch.ops.bitnet.two_step_matmul.default,
)
def TwoStepMatMul(
    op: Builder, x: Value, w: Value, scan: Value, scale: Value, bound: Value
) -> Value:
    slack = slack_value(op, x)
    rough = op.call(Int8MatMul, x, scan, scale)
    room = op.Mul(bound, slack)
    lowest, highest = op.Sub(rough, room), op.Add(rough, room)
    count = op.Min([KEPT], op.Shape(bound))
    largest, _ = op.TopK(lowest, count, axis=-1, _outputs=2)
    least = op.ReduceMin(largest, [-1], keepdims=1)
    unasked = op.Or(op.Less(highest, least), op.IsNaN(rough))
    return op.Where(unasked, rough, op.call(Bf16MatMul, x, w))


def slack_value(op: Builder, x: Value) -> Value:
    """Compute ``scan_slack``; its sum of squares, integers below 2**53, is exact in any order."""
    codes, scale, _ = steps.quantize_int16(op, x)
    wide = op.Cast(codes, to=DOUBLE)
    norm = op.Sqrt(op.ReduceSum(op.Mul(wide, wide), [-1], keepdims=1))
    return slack_of_norm_value(op, norm, scale)


def slack_of_norm_value(op: Builder, norm: Value, scale: Value) -> Value:
    """Compute ``slack_of_norm``."""
    at_least = op.Max(norm, op.Cast(float(INT16_PEAK), to=DOUBLE))
    inverse = op.Div(1.0, scale)
    slack = op.Cast(op.Mul(at_least, op.Cast(inverse, to=DOUBLE)), to=FLOAT)
    return op.Where(op.Less(inverse, LARGE), slack, np.float32(np.inf))
