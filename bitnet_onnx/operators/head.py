"""Products with a table of embeddings, which give the logits: Bf16MatMul and Int8MatMul.

Also ``last_positions``, the positions whose logits are computed: in ONNX one Slice. Sizes: K input
features, N rows of the table.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from onnx_ir import Value
from torch import Tensor

from ..weights.ternary import absmax_int16
from . import steps
from .blocks import SIZES, multiply_blocks, multiply_floats, trim_blocks
from .domain import (
    BFLOAT16,
    DOUBLE,
    FLOAT,
    INT8,
    INT32,
    INT64,
    OPSET,
    UINT8,
    Attribute,
    Builder,
    operator,
)

__all__ = [
    "Bf16MatMul",
    "Int8MatMul",
    "Int8Rows",
    "bf16_form",
    "bf16_matmul",
    "int8_matmul",
    "last_positions",
    "last_positions_node",
    "packed_form",
    "unpacked_form",
]


@torch.library.custom_op("bitnet::bf16_matmul", mutates_args=())
def bf16_matmul(x: Tensor, table: Tensor) -> Tensor:
    """Multiply x float32 [..., K] by a table bfloat16 [N, K] -> float32 [..., N], in float64."""
    return (x.double() @ table.double().T).float()


@bf16_matmul.register_fake
def _(x: Tensor, table: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], table.shape[0])


@operator(
    inputs={"X": FLOAT, "W": BFLOAT16},
    outputs={"Y": FLOAT},
    torch_op=torch.ops.bitnet.bf16_matmul.default,
)
def Bf16MatMul(op: Builder, x: Value, w: Value) -> Value:
    wide_x, wide_w = op.Cast(x, to=DOUBLE), op.Cast(w, to=DOUBLE)
    sums = op.MatMul(wide_x, op.Transpose(wide_w, perm=[1, 0]))
    return op.Cast(sums, to=FLOAT)


# ONNX Runtime makes the float32 table once, at load. Gemm reads it as it is stored.
@operator(name="Bf16MatMul", inputs={"X": FLOAT, "W": BFLOAT16}, outputs={"Y": FLOAT})
def bf16_form(op: Builder, x: Value, w: Value) -> Value:
    table = op.Cast(w, to=FLOAT)
    products = op.Gemm(op.Flatten(x, axis=2), table, transB=1)
    shape = op.Concat(op.Shape(x, start=0, end=2), op.Shape(w, start=0, end=1), axis=0)
    return op.Reshape(products, shape)


@torch.library.custom_op("bitnet::int8_matmul", mutates_args=())
def int8_matmul(x: Tensor, table: Tensor, scale: Tensor) -> Tensor:
    """Multiply x float32 [..., K], as 16-bit integers, by int8 [N, K], scale [N] -> [..., N]."""
    quantized, act_scale = absmax_int16(x)
    sums = (quantized @ table.double().T).float()  # below 2**53: exact until rounded to float32
    return sums * scale * (1.0 / act_scale)


@int8_matmul.register_fake
def _(x: Tensor, table: Tensor, scale: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], table.shape[0])


# A 16-bit activation is 256 * high + low, both from -128 to 127 and offset to unsigned bytes.
@operator(
    inputs={"X": FLOAT, "W": INT8, "scale": FLOAT},
    outputs={"Y": FLOAT},
    torch_op=torch.ops.bitnet.int8_matmul.default,
)
def Int8MatMul(op: Builder, x: Value, w: Value, scale: Value) -> Value:
    quantized = steps.quantize_int16(op, x)
    above = op.Add(quantized.codes, 128.0)
    high = op.Floor(op.Div(above, 256.0))
    low_bytes = op.Sub(above, op.Mul(high, 256.0))
    high_bytes = op.Add(high, 128.0)
    low_bytes, high_bytes = op.Cast(low_bytes, to=UINT8), op.Cast(high_bytes, to=UINT8)

    weights = op.Cast(op.Add(op.Cast(w, to=INT32), np.int32(128)), to=UINT8)
    weights = op.Transpose(weights, perm=[1, 0])
    low_sums = op.MatMulInteger(low_bytes, weights, steps.X_ZERO, steps.X_ZERO)
    high_sums = op.MatMulInteger(high_bytes, weights, steps.X_ZERO, steps.X_ZERO)
    low_sums, high_sums = op.Cast(low_sums, to=INT64), op.Cast(high_sums, to=INT64)
    sums = op.Cast(op.Add(op.Mul(high_sums, 256), low_sums), to=FLOAT)
    return _rescale_rows(op, sums, scale, quantized)


def _rescale_rows(op: Builder, sums: Value, scale: Value, x: steps.Quantized) -> Value:
    """Multiply sums of codes, float32 [..., N], by the scales of the rows; divide by x's scale."""
    inverse = op.Add(op.Div(1.0, x.scale), x.poison)
    return op.Mul(op.Mul(sums, scale), inverse)


# In the stock forms a 16-bit activation is two digits of base 255, each from -127 to 127: 127 * 255
# + 127 is 32512. The two are fed as two batches, so that the table is read once.
def _digits(op: Builder, codes: Value) -> Value:
    """Split codes [B, S, K] into digits [2 B, S, K], the high digits first."""
    high = op.Round(op.Div(codes, 255.0))
    return op.Concat(high, op.Sub(codes, op.Mul(high, 255.0)), axis=0)


def _join_digits(op: Builder, sums: Value) -> Value:
    """Join sums of the digits [2 B, S, N] into sums of the codes, float32 [B, S, N]."""
    high, low = op.Split(op.Cast(sums, to=DOUBLE), axis=0, num_outputs=2, _outputs=2)
    return op.Cast(op.Add(op.Mul(high, np.float64(255)), low), to=FLOAT)


@operator(
    name="Int8MatMul",
    inputs={"X": FLOAT, "W": UINT8, "ones": FLOAT, "scale": FLOAT},
    outputs={"Y": FLOAT},
    attributes=SIZES,
)
def packed_form(
    op: Builder, x: Value, w: Value, ones: Value, scale: Value, *sizes: Attribute
) -> Value:
    quantized = steps.quantize_int16(op, x)
    sums = multiply_blocks(op, _digits(op, quantized.codes), w, ones, sizes)
    return _rescale_rows(op, _join_digits(op, sums), scale, quantized)


@operator(
    name="Int8MatMul",
    inputs={"X": FLOAT, "W": INT8, "scale": FLOAT},
    outputs={"Y": FLOAT},
)
def unpacked_form(op: Builder, x: Value, w: Value, scale: Value) -> Value:
    quantized = steps.quantize_int16(op, x)
    digits = _digits(op, quantized.codes)
    sums = multiply_floats(op, digits, op.Cast(w, to=FLOAT))
    return _rescale_rows(op, _join_digits(op, sums), scale, quantized)


# Only in the target stock, where an embedding reads the packed table of the head.
@operator(
    inputs={"rows": UINT8},
    outputs={"Y": FLOAT},
    attributes={"missing": ir.AttributeType.INTS},
)
def Int8Rows(op: Builder, rows: Value, missing: Attribute) -> Value:
    return trim_blocks(op, rows, missing)


@torch.library.custom_op("bitnet::last_positions", mutates_args=())
def last_positions(x: Tensor, count: Tensor) -> Tensor:
    """Return the last ``count`` (int64 [1]) positions of x [B, S, H]; 0 means all positions."""
    return x[:, -int(count) :].clone()


@last_positions.register_fake
def _(x: Tensor, count: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], torch.library.get_ctx().new_dynamic_size(), x.shape[2])


def last_positions_node(x: Any, count: Any) -> Any:
    """Add the Slice to the graph that ``torch.onnx.export`` is tracing."""
    from onnxscript import values  # takes 0.2 seconds, and only tracing needs it

    op = values.Opset("", OPSET)
    end, axis = torch.iinfo(torch.int64).max, 1
    return op.Slice(x, op.Neg(count), op.Constant(value_ints=[end]), op.Constant(value_ints=[axis]))
