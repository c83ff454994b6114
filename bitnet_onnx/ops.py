"""The operator domain ``bitnet`` (version 1), for torch and for ONNX.

Each operator is here three times, side by side: what it computes in torch (the specification),
its ONNX schema, and an ONNX function body of stock operators that gives the same bits, so that a
model file also runs where the custom-op library is not registered. ``export.py`` lets torch
trace the torch side; ``translations`` turns each call into one ONNX node.

Sizes: K input features, N output features, W packed as in ``ternary.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import onnxscript
import torch
from onnx import defs
from onnxscript import ir
from torch import Tensor

from .ternary import absmax_int8, group_sums, spread, unpack

__all__ = ["DOMAIN", "VERSION", "functions", "translations"]

DOMAIN = "bitnet"
VERSION = 1
OPSET = 23  # the first opset with RMSNormalization
INT16_PEAK = 32512  # 127 * 256: both halves of an activation then fit int8


@torch.library.custom_op("bitnet::ternary_matmul", mutates_args=())
def ternary_matmul(x: Tensor, packed: Tensor, scale: Tensor) -> Tensor:
    """x float32 [..., K], packed uint8 [N, 64 * ceil(K / 256)], scale [1] -> [..., N].

    scale [N, K / 128]: one for each group of 128 weights.
    """
    quantized, act_scale = absmax_int8(x)
    codes = unpack(packed, x.shape[-1]).float()
    if scale.ndim == 2:
        return group_sums(quantized, codes, scale) / act_scale
    return (quantized @ codes.T) * (scale / act_scale)


@ternary_matmul.register_fake
def _(x: Tensor, packed: Tensor, scale: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], packed.shape[0])


@torch.library.custom_op("bitnet::ternary_float_matmul", mutates_args=())
def ternary_float_matmul(x: Tensor, packed: Tensor, scale: Tensor) -> Tensor:
    """x float32 [..., K], packed as above, scale [N, K / 128] -> [..., N], summed in float64."""
    weight = spread(unpack(packed, x.shape[-1]).double(), scale.double())
    return (x.double() @ weight.T).float()


@ternary_float_matmul.register_fake
def _(x: Tensor, packed: Tensor, scale: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], packed.shape[0])


@torch.library.custom_op("bitnet::bf16_matmul", mutates_args=())
def bf16_matmul(x: Tensor, table: Tensor) -> Tensor:
    """x float32 [..., K], table bfloat16 [N, K] -> float32 [..., N], summed in float64."""
    return (x.double() @ table.double().T).float()


@bf16_matmul.register_fake
def _(x: Tensor, table: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], table.shape[0])


@torch.library.custom_op("bitnet::int8_matmul", mutates_args=())
def int8_matmul(x: Tensor, table: Tensor, scale: Tensor) -> Tensor:
    """x float32 [..., K] as 16-bit integers, table int8 [N, K], scale [N] -> float32 [..., N]."""
    act_scale = x.new_tensor(INT16_PEAK) / x.abs().amax(dim=-1, keepdim=True).clamp(min=1e-5)
    quantized = (x * act_scale).round().clamp(-INT16_PEAK, INT16_PEAK)
    sums = (quantized.double() @ table.double().T).float()  # below 2**53: exact before float32
    return sums * scale * (1.0 / act_scale)


@int8_matmul.register_fake
def _(x: Tensor, table: Tensor, scale: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], table.shape[0])


@torch.library.custom_op("bitnet::last_positions", mutates_args=())
def last_positions(x: Tensor, count: Tensor) -> Tensor:
    """The last ``count`` (int64 [1]) positions of x [B, S, H]; 0 means all of them."""
    return x[:, -int(count) :].clone()


@last_positions.register_fake
def _(x: Tensor, count: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], torch.library.get_ctx().new_dynamic_size(), x.shape[2])


@torch.library.custom_op("bitnet::group_query_attention", mutates_args=())
def group_query_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    past_key: Tensor,
    past_value: Tensor,
    seqlens_k: Tensor,
    total_length: Tensor,
    cos: Tensor | None,
    sin: Tensor | None,
    num_heads: int,
    kv_num_heads: int,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Traced only: becomes com.microsoft::GroupQueryAttention.

    query [B, S, num_heads * D], key and value [B, S, kv_num_heads * D], past [B, kv, P, D],
    seqlens_k int32 [B] (valid positions - 1), total_length int32 [] (T), cos and sin
    [positions, D / 2], None where query and key are rotated already; scale of the scores, 0 for
    1 / sqrt(D) -> output like query, present key and value [B, kv, T, D].
    """
    raise NotImplementedError("this operator is traced by export.py, not run in torch")


@group_query_attention.register_fake
def _(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    past_key: Tensor,
    past_value: Tensor,
    *_: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    shape = list(past_key.shape)
    shape[2] += query.shape[1]
    return torch.empty_like(query), past_key.new_empty(shape), past_value.new_empty(shape)


def _schema(
    domain: str, name: str, inputs: str, outputs: str, attributes: dict[str, Any] | None = None
) -> defs.OpSchema:
    """An unregistered schema; ``inputs`` reads ``"X:tensor(float) cos?:tensor(float)"``.

    A question mark after the name says that the input may be missing.
    """
    options = defs.OpSchema.FormalParameterOption
    formal = [
        [
            defs.OpSchema.FormalParameter(
                name.removesuffix("?"),
                kind,
                param_option=options.Optional if name.endswith("?") else options.Single,
            )
            for name, kind in (field.split(":") for field in text.split())
        ]
        for text in (inputs, outputs)
    ]
    kinds = {int: defs.OpSchema.AttrType.INT, float: defs.OpSchema.AttrType.FLOAT}
    declared = [
        defs.OpSchema.Attribute(key, kinds[type(value)])
        for key, value in (attributes or {}).items()
    ]
    return defs.OpSchema(
        name, domain, VERSION, inputs=formal[0], outputs=formal[1], attributes=declared
    )


def _op(schema: defs.OpSchema) -> onnxscript.values.Op:
    opset = onnxscript.values.Opset(schema.domain, VERSION)
    return onnxscript.values.Op(opset, schema.name, schema)


_FLOAT = "tensor(float)"
_TERNARY = _schema(
    DOMAIN, "TernaryMatMul", f"X:{_FLOAT} W:tensor(uint8) scale:{_FLOAT}", f"Y:{_FLOAT}"
)
_GROUP, _FLOAT_GROUP = (
    _schema(DOMAIN, name, f"X:{_FLOAT} W:tensor(uint8) scale:{_FLOAT}", f"Y:{_FLOAT}")
    for name in ("TernaryGroupMatMul", "TernaryFloatMatMul")
)
_BF16 = _schema(DOMAIN, "Bf16MatMul", f"X:{_FLOAT} W:tensor(bfloat16)", f"Y:{_FLOAT}")
_INT8 = _schema(DOMAIN, "Int8MatMul", f"X:{_FLOAT} W:tensor(int8) scale:{_FLOAT}", f"Y:{_FLOAT}")
_GQA_ATTRIBUTES = {"num_heads": 0, "kv_num_heads": 0, "do_rotary": 1, "scale": 0.0}
_GQA = _schema(
    "com.microsoft",
    "GroupQueryAttention",
    f"query:{_FLOAT} key:{_FLOAT} value:{_FLOAT} past_key:{_FLOAT} past_value:{_FLOAT} "
    f"seqlens_k:tensor(int32) total_sequence_length:tensor(int32) "
    f"cos_cache?:{_FLOAT} sin_cache?:{_FLOAT}",
    f"output:{_FLOAT} present_key:{_FLOAT} present_value:{_FLOAT}",
    _GQA_ATTRIBUTES,
)


def _attention_node(*inputs: Any) -> Any:
    # torch hands numbers over by position too.
    *tensors, cos, sin, num_heads, kv_num_heads, scale = inputs
    attributes: dict[str, Any] = {"num_heads": num_heads, "kv_num_heads": kv_num_heads}
    if scale:
        attributes["scale"] = scale
    rope = () if cos is None else (cos, sin)
    return _op(_GQA)(*tensors, *rope, **attributes, do_rotary=len(rope) // 2)


def _slice_node(x: Any, count: Any) -> Any:
    op = onnxscript.values.Opset("", OPSET)
    return op.Slice(
        x,
        op.Neg(count),
        op.Constant(value_ints=[torch.iinfo(torch.int64).max]),
        op.Constant(value_ints=[1]),
    )


def translations() -> dict[Any, Callable[..., Any]]:
    """torch operator -> a function that builds its ONNX node, for ``torch.onnx.export``."""
    return {
        torch.ops.bitnet.ternary_matmul.default: lambda x, w, s: _op(
            _TERNARY if len(s.shape) == 1 else _GROUP
        )(x, w, s),
        torch.ops.bitnet.ternary_float_matmul.default: lambda x, w, s: _op(_FLOAT_GROUP)(x, w, s),
        torch.ops.bitnet.bf16_matmul.default: lambda x, w: _op(_BF16)(x, w),
        torch.ops.bitnet.int8_matmul.default: lambda x, w, s: _op(_INT8)(x, w, s),
        torch.ops.bitnet.last_positions.default: _slice_node,
        torch.ops.bitnet.group_query_attention.default: _attention_node,
    }


# The sum over X * 0 is 0, or NaN where X holds a NaN or an infinity: it makes the whole row NaN.
# Weights and activations are offset to unsigned: u8 * u8 never saturates, on any CPU.
_TERNARY_BODY = """
<domain: "bitnet", opset_import: ["" : 23]>
TernaryMatMul (X, W, scale) => (Y)
{
  last = Constant <value = int64[1] {-1}> ()
  zero = Constant <value = float {0.0}> ()
  smallest = Constant <value = float {1e-5}> ()
  peak = Constant <value = float {127.0}> ()
  lowest = Constant <value = float {-128.0}> ()
  offset = Constant <value = float {128.0}> ()
  x_zero = Constant <value = uint8 {128}> ()
  w_zero = Constant <value = uint8 {1}> ()
  shifts = Constant <value = uint8[1,1,4,1] {0, 2, 4, 6}> ()
  low_bits = Constant <value = uint8 {3}> ()
  blocks_shape = Constant <value = int64[4] {0, -1, 1, 64}> ()
  rows_shape = Constant <value = int64[2] {0, -1}> ()
  nothing = Constant <value = int64[1] {0}> ()

  magnitude = Abs (X)
  absmax = ReduceMax <keepdims = 1> (magnitude, last)
  clamped = Max (absmax, smallest)
  act_scale = Div (peak, clamped)
  scaled = Mul (X, act_scale)
  rounded = Round (scaled)
  clipped = Clip (rounded, lowest, peak)
  shifted = Add (clipped, offset)
  quantized = Cast <to = 2> (shifted)

  blocks = Reshape (W, blocks_shape)
  moved = BitShift <direction = "RIGHT"> (blocks, shifts)
  fields = BitwiseAnd (moved, low_bits)
  codes = Reshape (fields, rows_shape)
  codes_t = Transpose <perm = [1, 0]> (codes)

  padded_k = Shape <start = 0, end = 1> (codes_t)
  k = Shape <start = -1> (X)
  missing = Sub (padded_k, k)
  pads = Concat <axis = 0> (nothing, missing)
  padded = Pad (quantized, pads, x_zero, last)

  sums = MatMulInteger (padded, codes_t, x_zero, w_zero)
  exact = Cast <to = 1> (sums)
  poison_terms = Mul (X, zero)
  poison = ReduceSum <keepdims = 1> (poison_terms, last)
  ratio = Div (scale, act_scale)
  rescale = Add (ratio, poison)
  Y = Mul (exact, rescale)
}
"""

# W as float64 [K, N]: codes times the scale of their group.
_DEQUANTIZED = """
  last = Constant <value = int64[1] {-1}> ()
  shifts = Constant <value = uint8[1,1,4,1] {0, 2, 4, 6}> ()
  low_bits = Constant <value = uint8 {3}> ()
  one_code = Constant <value = double {1.0}> ()
  blocks_shape = Constant <value = int64[4] {0, -1, 1, 64}> ()
  rows_shape = Constant <value = int64[2] {0, -1}> ()
  groups_shape = Constant <value = int64[3] {0, -1, 128}> ()
  nothing = Constant <value = int64[1] {0}> ()

  blocks = Reshape (W, blocks_shape)
  moved = BitShift <direction = "RIGHT"> (blocks, shifts)
  fields = BitwiseAnd (moved, low_bits)
  padded_codes = Reshape (fields, rows_shape)
  k = Shape <start = -1> (X)
  codes = Slice (padded_codes, nothing, k, last)
  codes_double = Cast <to = 11> (codes)
  signed = Sub (codes_double, one_code)
  groups = Reshape (signed, groups_shape)
  scale_double = Cast <to = 11> (scale)
  scale_column = Unsqueeze (scale_double, last)
  scaled_groups = Mul (groups, scale_column)
  rows = Reshape (scaled_groups, rows_shape)
  w_t = Transpose <perm = [1, 0]> (rows)
"""

_FLOAT_GROUP_BODY = f"""
<domain: "bitnet", opset_import: ["" : 23]>
TernaryFloatMatMul (X, W, scale) => (Y)
{{
{_DEQUANTIZED}
  x = Cast <to = 11> (X)
  sums = MatMul (x, w_t)
  Y = Cast <to = 1> (sums)
}}
"""

_GROUP_BODY = f"""
<domain: "bitnet", opset_import: ["" : 23]>
TernaryGroupMatMul (X, W, scale) => (Y)
{{
{_DEQUANTIZED}
  smallest = Constant <value = float {{1e-5}}> ()
  peak = Constant <value = float {{127.0}}> ()
  lowest = Constant <value = float {{-128.0}}> ()
  magnitude = Abs (X)
  absmax = ReduceMax <keepdims = 1> (magnitude, last)
  clamped = Max (absmax, smallest)
  act_scale = Div (peak, clamped)
  scaled = Mul (X, act_scale)
  rounded = Round (scaled)
  clipped = Clip (rounded, lowest, peak)
  quantized = Cast <to = 11> (clipped)
  sums = MatMul (quantized, w_t)
  single = Cast <to = 1> (sums)
  Y = Div (single, act_scale)
}}
"""

_BF16_BODY = """
<domain: "bitnet", opset_import: ["" : 23]>
Bf16MatMul (X, W) => (Y)
{
  x = Cast <to = 11> (X)
  w = Cast <to = 11> (W)
  w_t = Transpose <perm = [1, 0]> (w)
  sums = MatMul (x, w_t)
  Y = Cast <to = 1> (sums)
}
"""

_INT8_BODY = """
<domain: "bitnet", opset_import: ["" : 23]>
Int8MatMul (X, W, scale) => (Y)
{
  last = Constant <value = int64[1] {-1}> ()
  zero = Constant <value = float {0.0}> ()
  one = Constant <value = float {1.0}> ()
  smallest = Constant <value = float {1e-5}> ()
  peak = Constant <value = float {32512.0}> ()
  lowest = Constant <value = float {-32512.0}> ()
  offset = Constant <value = float {128.0}> ()
  base = Constant <value = float {256.0}> ()
  zero_point = Constant <value = uint8 {128}> ()
  w_offset = Constant <value = int32 {128}> ()
  base_int = Constant <value = int64 {256}> ()

  magnitude = Abs (X)
  absmax = ReduceMax <keepdims = 1> (magnitude, last)
  clamped = Max (absmax, smallest)
  act_scale = Div (peak, clamped)
  scaled = Mul (X, act_scale)
  rounded = Round (scaled)
  clipped = Clip (rounded, lowest, peak)
  above = Add (clipped, offset)
  ratio = Div (above, base)
  high = Floor (ratio)
  high_part = Mul (high, base)
  low_u8 = Sub (above, high_part)
  high_u8 = Add (high, offset)
  low_bytes = Cast <to = 2> (low_u8)
  high_bytes = Cast <to = 2> (high_u8)

  w = Cast <to = 6> (W)
  w_up = Add (w, w_offset)
  w_u8 = Cast <to = 2> (w_up)
  w_t = Transpose <perm = [1, 0]> (w_u8)

  low_sums = MatMulInteger (low_bytes, w_t, zero_point, zero_point)
  high_sums = MatMulInteger (high_bytes, w_t, zero_point, zero_point)
  low_long = Cast <to = 7> (low_sums)
  high_long = Cast <to = 7> (high_sums)
  high_scaled = Mul (high_long, base_int)
  sums = Add (high_scaled, low_long)
  rounded_sums = Cast <to = 1> (sums)
  poison_terms = Mul (X, zero)
  poison = ReduceSum <keepdims = 1> (poison_terms, last)
  inverse = Div (one, act_scale)
  inverse_or_nan = Add (inverse, poison)
  by_row = Mul (rounded_sums, scale)
  Y = Mul (by_row, inverse_or_nan)
}
"""


def functions() -> list[ir.Function]:
    """One function of stock operators for each operator of the domain."""
    bodies = (_TERNARY_BODY, _GROUP_BODY, _FLOAT_GROUP_BODY, _BF16_BODY, _INT8_BODY)
    return [ir.serde.deserialize_function(onnx.parser.parse_function(body)) for body in bodies]
