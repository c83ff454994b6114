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
import torch.nn.functional as F
from onnx import defs
from onnxscript import ir
from torch import Tensor

from .model import exact, heads, rotate
from .model.exact import attention
from .ternary import absmax_int8, group_sums, unpack

__all__ = ["DOMAIN", "VERSION", "functions", "translations"]

DOMAIN = "bitnet"
VERSION = 1
OPSET = 23  # the first opset with RMSNormalization
INT16_PEAK = 32512  # 127 * 256: both halves of an activation then fit int8
GROUP = 128  # weights along K that share a scale, where a matrix has more than one
FIXED_PEAK = 2.0**30  # four digits of -128 to 127 hold it
DIGITS = 4


@torch.library.custom_op("bitnet::ternary_matmul", mutates_args=())
def ternary_matmul(x: Tensor, packed: Tensor, scale: Tensor) -> Tensor:
    """x float32 [..., K], packed uint8 [N, 64 * ceil(K / 256)], scale [1] -> [..., N].

    With a scale for each group of weights, scale [N, K / 128], the ONNX node is TernaryGroupMatMul
    and the division is in float64: ``float32(total / act_scale)``.
    """
    quantized, act_scale = absmax_int8(x)
    if scale.dim() == 2:
        return (_group_total(quantized, packed, scale) / act_scale.double()).float()
    sums = quantized @ unpack(packed, x.shape[-1]).float().T
    return sums * (scale / act_scale)


def _group_total(quantized: Tensor, packed: Tensor, scale: Tensor) -> Tensor:
    features = quantized.shape[-1]
    assert scale.shape == (packed.shape[0], features / GROUP), (scale.shape, features)
    return group_sums(quantized, unpack(packed, features).float(), scale)


@ternary_matmul.register_fake
def _(x: Tensor, packed: Tensor, scale: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], packed.shape[0])


@torch.library.custom_op("bitnet::ternary_float_matmul", mutates_args=())
def ternary_float_matmul(x: Tensor, packed: Tensor, scale: Tensor) -> Tensor:
    """x float32 [..., K], packed uint8 [N, 64 * ceil(K / 256)], scale [N, K / 128] -> [..., N].

    For models that do not quantize activations. x enters as 31-bit fixed point, ``v / act_scale``
    with ``v = round(x * act_scale)``: within 2**-31 of the token's largest ``|x|``, where a float32
    sum loses up to 2**-24 of its running total in each addition. From there all is integers, and
    float64 in one order: every CPU gives the same bits. A token with a NaN or an infinity becomes
    all NaN.
    """
    wide = x.double()
    peak = wide.abs().amax(dim=-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    act_scale = wide.new_tensor(FIXED_PEAK) / peak
    value = (wide * act_scale).round()
    totals = []
    for _ in range(DIGITS):  # value = sum of 256**d * digit[d], each digit -128 to 127
        above = ((value + 128) / 256).floor()
        totals.append(_group_total((value - 256 * above).float(), packed, scale))
        value = above
    total = totals.pop()
    while totals:
        total = total * 256 + totals.pop()
    return (total / act_scale).float()


@ternary_float_matmul.register_fake
def _(x: Tensor, packed: Tensor, scale: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], packed.shape[0])


@torch.library.custom_op("bitnet::ternary_gated_matmul", mutates_args=())
def ternary_gated_matmul(
    x: Tensor, gate: Tensor, up: Tensor, gate_scale: Tensor, up_scale: Tensor
) -> Tensor:
    """``relu(ternary_matmul(x, gate))² * ternary_matmul(x, up)``: x [..., K] -> [..., N].

    +0 where the first factor is 0, whatever the second: there it need not be computed.
    """
    opened = ternary_matmul(x, gate, gate_scale).relu()
    square = opened * opened
    return torch.where(square == 0, 0.0, square * ternary_matmul(x, up, up_scale))


@ternary_gated_matmul.register_fake
def _(x: Tensor, gate: Tensor, up: Tensor, gate_scale: Tensor, up_scale: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], gate.shape[0])


@torch.library.custom_op("bitnet::ternary_column_matmul", mutates_args=())
def ternary_column_matmul(x: Tensor, columns: Tensor, scale: Tensor) -> Tensor:
    """ternary_matmul of weights stored by column: x [..., K] -> [..., N].

    columns uint8 [K, 64 * ceil(N / 256)]: the transposed matrix, packed; scale [N]. Columns of
    zero activations need not be read.
    """
    quantized, act_scale = absmax_int8(x)
    sums = quantized @ unpack(columns, scale.shape[0]).float()
    return sums * (scale / act_scale)


@ternary_column_matmul.register_fake
def _(x: Tensor, columns: Tensor, scale: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], scale.shape[0])


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


@torch.library.custom_op("bitnet::rms_norm", mutates_args=())
def rms_norm(x: Tensor, weight: Tensor, epsilon: Tensor) -> Tensor:
    """x float32 [..., K], weight [K], epsilon [1] -> [..., K]: see ``model/exact.py``."""
    return exact.rms_norm(x, weight, epsilon)


@rms_norm.register_fake
def _(x: Tensor, weight: Tensor, epsilon: Tensor) -> Tensor:
    return torch.empty_like(x)


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
    total_sequence_length: Tensor,
    cos_cache: Tensor,
    sin_cache: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Attention with rotary positions and a KV cache; inputs as com.microsoft's of this name.

    query [B, S, heads * D], key and value [B, S, kv_heads * D], past [B, kv_heads, P, D],
    seqlens_k int32 [B] (each row's last position that counts), total_sequence_length int32 [],
    cos and sin [positions, D / 2] -> output like query, present key and value [B, kv_heads, L, D]
    with L = max(P, total_sequence_length).

    Row b has ``max(0, seqlens_k[b] + 1 - S)`` past positions; its new ones follow them, in the
    cache too. Scores and the sums over values are float64, of exact products; the scores are
    rounded to float32 before the softmax and the result is rounded after it.
    """
    count, past, width = query.shape[1], *past_key.shape[2:]
    lengths = (seqlens_k.long() + 1 - count).clamp(min=0)
    positions = lengths.unsqueeze(1) + torch.arange(count)  # [B, S]
    cos, sin = (torch.cat([t[positions]] * 2, dim=-1) for t in (cos_cache, sin_cache))
    query, key, value = (heads(part, part.shape[2] // width) for part in (query, key, value))
    total = max(past, int(total_sequence_length))
    index = positions[:, None, :, None].expand_as(value)
    present_key, present_value = (
        F.pad(cache, (0, 0, 0, total - past)).scatter(2, index, part)
        for cache, part in ((past_key, rotate(key, (cos, sin))), (past_value, value))
    )
    seen = torch.arange(total) <= positions[:, None, :, None]
    y = attention(rotate(query, (cos, sin)), present_key, present_value, seen)
    return y.transpose(1, 2).flatten(2), present_key, present_value


@group_query_attention.register_fake
def _(
    query: Tensor, key: Tensor, value: Tensor, past_key: Tensor, past_value: Tensor, *_: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    shape = list(past_key.shape)
    shape[2] += query.shape[1]
    return torch.empty_like(query), past_key.new_empty(shape), past_value.new_empty(shape)


def _schema(name: str, inputs: str, outputs: str) -> defs.OpSchema:
    """An unregistered schema of our domain; ``inputs`` reads ``"X:tensor(float) ..."``."""
    formal = [
        [defs.OpSchema.FormalParameter(*field.split(":")) for field in text.split()]
        for text in (inputs, outputs)
    ]
    return defs.OpSchema(name, DOMAIN, VERSION, inputs=formal[0], outputs=formal[1])


def _op(schema: defs.OpSchema) -> onnxscript.values.Op:
    opset = onnxscript.values.Opset(schema.domain, VERSION)
    return onnxscript.values.Op(opset, schema.name, schema)


_FLOAT = "tensor(float)"
_PACKED = f"X:{_FLOAT} W:tensor(uint8) scale:{_FLOAT}"
_TERNARY = _schema("TernaryMatMul", _PACKED, f"Y:{_FLOAT}")
_TERNARY_GROUP = _schema("TernaryGroupMatMul", _PACKED, f"Y:{_FLOAT}")
_TERNARY_FLOAT = _schema("TernaryFloatMatMul", _PACKED, f"Y:{_FLOAT}")
_BF16 = _schema("Bf16MatMul", f"X:{_FLOAT} W:tensor(bfloat16)", f"Y:{_FLOAT}")
_INT8 = _schema("Int8MatMul", f"X:{_FLOAT} W:tensor(int8) scale:{_FLOAT}", f"Y:{_FLOAT}")
_RMS_NORM = _schema("RMSNorm", f"X:{_FLOAT} weight:{_FLOAT} epsilon:{_FLOAT}", f"Y:{_FLOAT}")
_ATTENTION = _schema(
    "GroupQueryAttention",
    f"query:{_FLOAT} key:{_FLOAT} value:{_FLOAT} past_key:{_FLOAT} past_value:{_FLOAT} "
    "seqlens_k:tensor(int32) total_sequence_length:tensor(int32) "
    f"cos_cache:{_FLOAT} sin_cache:{_FLOAT}",
    f"output:{_FLOAT} present_key:{_FLOAT} present_value:{_FLOAT}",
)


def _ternary_node(x: Any, packed: Any, scale: Any) -> Any:
    return _op(_TERNARY_GROUP if len(scale.shape) == 2 else _TERNARY)(x, packed, scale)


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
        torch.ops.bitnet.rms_norm.default: lambda x, w, e: _op(_RMS_NORM)(x, w, e),
        torch.ops.bitnet.ternary_matmul.default: _ternary_node,
        torch.ops.bitnet.ternary_float_matmul.default: lambda x, w, s: _op(_TERNARY_FLOAT)(x, w, s),
        torch.ops.bitnet.bf16_matmul.default: lambda x, w: _op(_BF16)(x, w),
        torch.ops.bitnet.int8_matmul.default: lambda x, w, s: _op(_INT8)(x, w, s),
        torch.ops.bitnet.last_positions.default: _slice_node,
        torch.ops.bitnet.group_query_attention.default: lambda *x: _op(_ATTENTION)(*x),
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

_RMS_NORM_BODY = """
<domain: "bitnet", opset_import: ["" : 23]>
RMSNorm (X, weight, epsilon) => (Y)
{
  last = Constant <value = int64[1] {-1}> ()
  one = Constant <value = double {1.0}> ()
  wide = Cast <to = 11> (X)
  squares = Mul (wide, wide)
  total = ReduceSum <keepdims = 1> (squares, last)
  k = Shape <start = -1> (X)
  wide_k = Cast <to = 11> (k)
  mean = Div (total, wide_k)
  wide_epsilon = Cast <to = 11> (epsilon)
  above = Add (mean, wide_epsilon)
  rms = Sqrt (above)
  wide_inverse = Div (one, rms)
  inverse = Cast <to = 1> (wide_inverse)
  scaled = Mul (X, inverse)
  Y = Mul (scaled, weight)
}
"""

_GATED_BODY = """
<domain: "bitnet", opset_import: ["" : 23, "bitnet" : 1]>
TernaryGatedMatMul (X, gate, up, gate_scale, up_scale) => (Y)
{
  zero = Constant <value = float {0.0}> ()
  gated = bitnet.TernaryMatMul (X, gate, gate_scale)
  opened = Relu (gated)
  square = Mul (opened, opened)
  upper = bitnet.TernaryMatMul (X, up, up_scale)
  product = Mul (square, upper)
  closed = Equal (square, zero)
  Y = Where (closed, zero, product)
}
"""

_COLUMN_BODY = """
<domain: "bitnet", opset_import: ["" : 23]>
TernaryColumnMatMul (X, W, scale) => (Y)
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
  padded = Reshape (fields, rows_shape)
  n = Shape (scale)
  codes = Slice (padded, nothing, n, last)

  sums = MatMulInteger (quantized, codes, x_zero, w_zero)
  exact = Cast <to = 1> (sums)
  poison_terms = Mul (X, zero)
  poison = ReduceSum <keepdims = 1> (poison_terms, last)
  ratio = Div (scale, act_scale)
  rescale = Add (ratio, poison)
  Y = Mul (exact, rescale)
}
"""

# A Loop, not a reduction: only its order of additions is part of the standard. It also keeps the
# sums of one group in memory, not those of all.
_GROUP_TOTAL = """
  shifts = Constant <value = uint8[1,1,4,1] {0, 2, 4, 6}> ()
  low_bits = Constant <value = uint8 {3}> ()
  w_zero = Constant <value = uint8 {1}> ()
  blocks_shape = Constant <value = int64[4] {0, -1, 1, 64}> ()
  rows_shape = Constant <value = int64[2] {0, -1}> ()
  groups_shape = Constant <value = int64[3] {0, -1, 128}> ()
  columns_shape = Constant <value = int64[2] {-1, 1}> ()
  zero_int = Constant <value = int64[1] {0}> ()
  one_int = Constant <value = int64[1] {1}> ()
  zero_double = Constant <value = double {0.0}> ()
  go_on = Constant <value = bool {1}> ()

  blocks = Reshape (W, blocks_shape)
  moved = BitShift <direction = "RIGHT"> (blocks, shifts)
  fields = BitwiseAnd (moved, low_bits)
  codes = Reshape (fields, rows_shape)
  k = Shape <start = -1> (X)
  kept = Slice (codes, zero_int, k, one_int)
  codes_by_group = Reshape (kept, groups_shape)
  group_codes = Transpose <perm = [1, 2, 0]> (codes_by_group)
  wide_scale = Cast <to = 11> (scale)
  group_scale = Transpose <perm = [1, 0]> (wide_scale)

  x_by_group = Reshape (rows, groups_shape)
  group_x = Transpose <perm = [1, 0, 2]> (x_by_group)

  m = Shape <start = 0, end = 1> (rows)
  n = Shape <start = 0, end = 1> (W)
  total_shape = Concat <axis = 0> (m, n)
  start = Expand (zero_double, total_shape)
  group_count = Shape <start = 1> (scale)
  count = Squeeze (group_count)
  total = Loop <body = step (int64 g, bool on, double[M, N] old) => (bool still, double[M, N] new) {
    still = Identity (on)
    x = Gather (group_x, g)
    w = Gather (group_codes, g)
    factor = Gather (group_scale, g)
    sums = MatMulInteger (x, w, x_zero, w_zero)
    exact = Cast <to = 11> (sums)
    term = Mul (exact, factor)
    new = Add (old, term)
  }> (count, go_on, start)
  lead = Shape <start = 0, end = -1> (X)
  y_shape = Concat <axis = 0> (lead, n)
"""

_TERNARY_GROUP_BODY = (
    """
<domain: "bitnet", opset_import: ["" : 23]>
TernaryGroupMatMul (X, W, scale) => (Y)
{
  last = Constant <value = int64[1] {-1}> ()
  zero = Constant <value = float {0.0}> ()
  smallest = Constant <value = float {1e-5}> ()
  peak = Constant <value = float {127.0}> ()
  lowest = Constant <value = float {-128.0}> ()
  offset = Constant <value = float {128.0}> ()
  x_zero = Constant <value = uint8 {128}> ()

  magnitude = Abs (X)
  absmax = ReduceMax <keepdims = 1> (magnitude, last)
  clamped = Max (absmax, smallest)
  act_scale = Div (peak, clamped)
  scaled = Mul (X, act_scale)
  rounded = Round (scaled)
  clipped = Clip (rounded, lowest, peak)
  shifted = Add (clipped, offset)
  quantized = Cast <to = 2> (shifted)
  width = Shape <start = -1> (X)
  flat_shape = Concat <axis = 0> (last, width)
  rows = Reshape (quantized, flat_shape)
"""
    + _GROUP_TOTAL
    + """
  totals = Reshape (total, y_shape)
  wide_act_scale = Cast <to = 11> (act_scale)
  exact_y = Div (totals, wide_act_scale)
  poison_terms = Mul (X, zero)
  poison = ReduceSum <keepdims = 1> (poison_terms, last)
  wide_poison = Cast <to = 11> (poison)
  exact_or_nan = Add (exact_y, wide_poison)
  Y = Cast <to = 1> (exact_or_nan)
}
"""
)

# The four digits of X stand below each other as rows: m of each.
_TERNARY_FLOAT_BODY = (
    """
<domain: "bitnet", opset_import: ["" : 23]>
TernaryFloatMatMul (X, W, scale) => (Y)
{
  last = Constant <value = int64[1] {-1}> ()
  zero = Constant <value = float {0.0}> ()
  smallest = Constant <value = double {1.1754943508222875e-38}> ()
  peak = Constant <value = double {1073741824.0}> ()
  offset = Constant <value = double {128.0}> ()
  base = Constant <value = double {256.0}> ()
  x_zero = Constant <value = uint8 {128}> ()

  wide = Cast <to = 11> (X)
  magnitude = Abs (wide)
  absmax = ReduceMax <keepdims = 1> (magnitude, last)
  clamped = Max (absmax, smallest)
  act_scale = Div (peak, clamped)
  scaled = Mul (wide, act_scale)
  value0 = Round (scaled)
  width = Shape <start = -1> (X)
  flat_shape = Concat <axis = 0> (last, width)
  flat0 = Reshape (value0, flat_shape)
  up0 = Add (flat0, offset)
  ratio0 = Div (up0, base)
  above0 = Floor (ratio0)
  part0 = Mul (above0, base)
  digit0 = Sub (up0, part0)
  up1 = Add (above0, offset)
  ratio1 = Div (up1, base)
  above1 = Floor (ratio1)
  part1 = Mul (above1, base)
  digit1 = Sub (up1, part1)
  up2 = Add (above1, offset)
  ratio2 = Div (up2, base)
  above2 = Floor (ratio2)
  part2 = Mul (above2, base)
  digit2 = Sub (up2, part2)
  digit3 = Add (above2, offset)
  digits = Concat <axis = 0> (digit0, digit1, digit2, digit3)
  rows = Cast <to = 2> (digits)
"""
    + _GROUP_TOTAL
    + """
  total0, total1, total2, total3 = Split <axis = 0, num_outputs = 4> (total)
  times3 = Mul (total3, base)
  sum2 = Add (times3, total2)
  times2 = Mul (sum2, base)
  sum1 = Add (times2, total1)
  times1 = Mul (sum1, base)
  sum0 = Add (times1, total0)
  totals = Reshape (sum0, y_shape)
  exact_y = Div (totals, act_scale)
  poison_terms = Mul (X, zero)
  poison = ReduceSum <keepdims = 1> (poison_terms, last)
  wide_poison = Cast <to = 11> (poison)
  exact_or_nan = Add (exact_y, wide_poison)
  Y = Cast <to = 1> (exact_or_nan)
}
"""
)

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


# As the kernel does it: float64 sums of exact products, scores rounded to float32, the same
# polynomial. Sums in another order can round apart, about once in 1e8 scores: see kernels/kernel.h.
# Positions that are not seen count as 0 times their value, so a NaN among the values of a later
# position of the same call, or of one no longer counted, makes the result NaN here alone.
_ATTENTION_BODY = """
<domain: "bitnet", opset_import: ["" : 23]>
GroupQueryAttention (query, key, value, past_key, past_value, seqlens_k, total_sequence_length,
                     cos_cache, sin_cache) => (output, present_key, present_value)
{
  zero = Constant <value = int64 {0}> ()
  one = Constant <value = int64 {1}> ()
  axis_1 = Constant <value = int64[1] {1}> ()
  axis_2 = Constant <value = int64[1] {2}> ()
  last_axis = Constant <value = int64[1] {-1}> ()
  zero_1 = Constant <value = int64[1] {0}> ()
  flat = Constant <value = int64[3] {0, 0, -1}> ()
  one_value = Constant <value = float {1.0}> ()
  nothing = Constant <value = float {0.0}> ()
  unseen = Constant <value = float {-inf}> ()
  least = Constant <value = float {-87.0}> ()
  log2_e = Constant <value = float {1.44269504}> ()
  ln2_high = Constant <value = float {0.693359375}> ()
  ln2_low = Constant <value = float {-2.12194440e-4}> ()
  two = Constant <value = float {2.0}> ()
  term_7 = Constant <value = float {1.9841270e-4}> ()
  term_6 = Constant <value = float {1.3888889e-3}> ()
  term_5 = Constant <value = float {8.33333377e-3}> ()
  term_4 = Constant <value = float {4.1666667e-2}> ()
  term_3 = Constant <value = float {1.6666667e-1}> ()
  term_2 = Constant <value = float {0.5}> ()

  new = Shape <start = 1, end = 2> (query)
  kv_heads = Shape <start = 1, end = 2> (past_key)
  past = Shape <start = 2, end = 3> (past_key)
  width = Shape <start = 3, end = 4> (past_key)
  kept = Shape <start = 0, end = 2> (past_key)
  last = Cast <to = 7> (seqlens_k)
  filled = Add (last, one)
  before = Sub (filled, new)
  lengths = Max (before, zero)
  lengths_column = Unsqueeze (lengths, last_axis)
  new_scalar = Squeeze (new)
  steps = Range (zero, new_scalar, one)
  positions = Add (lengths_column, steps)

  cos_rows = Gather <axis = 0> (cos_cache, positions)
  cos = Unsqueeze (cos_rows, axis_1)
  sin_rows = Gather <axis = 0> (sin_cache, positions)
  sin = Unsqueeze (sin_rows, axis_1)
  heads_shape = Concat <axis = 0> (flat, width)
  query_heads = Reshape (query, heads_shape)
  q = Transpose <perm = [0, 2, 1, 3]> (query_heads)
  key_heads = Reshape (key, heads_shape)
  k = Transpose <perm = [0, 2, 1, 3]> (key_heads)
  value_heads = Reshape (value, heads_shape)
  v = Transpose <perm = [0, 2, 1, 3]> (value_heads)
  q_1, q_2 = Split <axis = -1, num_outputs = 2> (q)
  k_1, k_2 = Split <axis = -1, num_outputs = 2> (k)
  q_1_cos = Mul (q_1, cos)
  q_2_sin = Mul (q_2, sin)
  q_2_cos = Mul (q_2, cos)
  q_1_sin = Mul (q_1, sin)
  q_low = Sub (q_1_cos, q_2_sin)
  q_high = Add (q_2_cos, q_1_sin)
  q_rotated = Concat <axis = -1> (q_low, q_high)
  k_1_cos = Mul (k_1, cos)
  k_2_sin = Mul (k_2, sin)
  k_2_cos = Mul (k_2, cos)
  k_1_sin = Mul (k_1, sin)
  k_low = Sub (k_1_cos, k_2_sin)
  k_high = Add (k_2_cos, k_1_sin)
  k_rotated = Concat <axis = -1> (k_low, k_high)

  total = Cast <to = 7> (total_sequence_length)
  room = Max (past, total)
  missing = Sub (room, past)
  missing_shape = Concat <axis = 0> (kept, missing, width)
  zeros = ConstantOfShape <value = float[1] {0.0}> (missing_shape)
  key_room = Concat <axis = 2> (past_key, zeros)
  value_room = Concat <axis = 2> (past_value, zeros)
  positions_3 = Unsqueeze (positions, axis_1)
  positions_4 = Unsqueeze (positions_3, last_axis)
  new_shape = Shape (v)
  places = Expand (positions_4, new_shape)
  present_key = ScatterElements <axis = 2> (key_room, places, k_rotated)
  present_value = ScatterElements <axis = 2> (value_room, places, v)

  grouped_shape = Concat <axis = 0> (zero_1, kv_heads, last_axis, new, width)
  grouped = Reshape (q_rotated, grouped_shape)
  q_wide = Cast <to = 11> (grouped)
  keys = Unsqueeze (present_key, axis_2)
  keys_wide = Cast <to = 11> (keys)
  keys_t = Transpose <perm = [0, 1, 2, 4, 3]> (keys_wide)
  products = MatMul (q_wide, keys_t)
  rounded = Cast <to = 1> (products)
  width_scalar = Squeeze (width)
  width_value = Cast <to = 1> (width_scalar)
  root = Sqrt (width_value)
  scaled = Div (rounded, root)

  room_scalar = Squeeze (room)
  numbers = Range (zero, room_scalar, one)
  positions_row = Unsqueeze (positions_3, axis_1)
  positions_column = Unsqueeze (positions_row, last_axis)
  seen = LessOrEqual (numbers, positions_column)
  scores = Where (seen, scaled, unseen)
  peak = ReduceMax <keepdims = 1> (scores, last_axis)
  below = Sub (scores, peak)
  x = Max (below, least)
  x_log2 = Mul (x, log2_e)
  n = Round (x_log2)
  n_high = Mul (n, ln2_high)
  n_low = Mul (n, ln2_low)
  x_less = Sub (x, n_high)
  r = Sub (x_less, n_low)
  e_7 = Mul (term_7, r)
  e_6 = Add (e_7, term_6)
  e_6_r = Mul (e_6, r)
  e_5 = Add (e_6_r, term_5)
  e_5_r = Mul (e_5, r)
  e_4 = Add (e_5_r, term_4)
  e_4_r = Mul (e_4, r)
  e_3 = Add (e_4_r, term_3)
  e_3_r = Mul (e_3, r)
  e_2 = Add (e_3_r, term_2)
  e_2_r = Mul (e_2, r)
  e_1 = Add (e_2_r, one_value)
  e_1_r = Mul (e_1, r)
  e_0 = Add (e_1_r, one_value)
  power = Pow (two, n)
  e = Mul (e_0, power)
  e_seen = Where (seen, e, nothing)
  weights = Cast <to = 11> (e_seen)
  sums = ReduceSum <keepdims = 1> (weights, last_axis)
  values = Unsqueeze (present_value, axis_2)
  values_wide = Cast <to = 11> (values)
  blended = MatMul (weights, values_wide)
  mean = Div (blended, sums)
  y = Cast <to = 1> (mean)
  y_shape = Concat <axis = 0> (zero_1, last_axis, new, width)
  y_heads = Reshape (y, y_shape)
  y_tokens = Transpose <perm = [0, 2, 1, 3]> (y_heads)
  output = Reshape (y_tokens, flat)
}
"""


def functions() -> list[ir.Function]:
    """One function of stock operators for each operator of the domain."""
    bodies = (
        _TERNARY_BODY,
        _BF16_BODY,
        _INT8_BODY,
        _TERNARY_GROUP_BODY,
        _TERNARY_FLOAT_BODY,
        _ATTENTION_BODY,
        _RMS_NORM_BODY,
        _GATED_BODY,
        _COLUMN_BODY,
    )
    return [ir.serde.deserialize_function(onnx.parser.parse_function(body)) for body in bodies]
