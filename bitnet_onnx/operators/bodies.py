"""Each operator of ``ops.py`` as an ONNX function of stock operators that gives the same bits.

In the text form of ONNX, for the sizes see ``ops.py``. Weights and activations are offset to
unsigned bytes: their products never saturate, on any CPU.
"""

from __future__ import annotations

import onnx
from onnxscript import ir

from . import attention_bodies

__all__ = ["CODES", "QUANTIZED", "functions"]

# X as whole numbers `clipped`, from `lowest` to `peak`. The sum over X * 0 is 0, or NaN where X
# holds a NaN or an infinity: `poison` makes the whole row NaN.
QUANTIZED = """
  last = Constant <value = int64[1] {-1}> ()
  zero = Constant <value = float {0.0}> ()
  smallest = Constant <value = float {1e-5}> ()
  magnitude = Abs (X)
  absmax = ReduceMax <keepdims = 1> (magnitude, last)
  clamped = Max (absmax, smallest)
  act_scale = Div (peak, clamped)
  scaled = Mul (X, act_scale)
  rounded = Round (scaled)
  clipped = Clip (rounded, lowest, peak)
  poison_terms = Mul (X, zero)
  poison = ReduceSum <keepdims = 1> (poison_terms, last)
"""

# X as int8, offset to uint8 `quantized`.
_QUANTIZED_INT8 = (
    """
  peak = Constant <value = float {127.0}> ()
  lowest = Constant <value = float {-128.0}> ()
  offset = Constant <value = float {128.0}> ()
  x_zero = Constant <value = uint8 {128}> ()
  w_zero = Constant <value = uint8 {1}> ()
"""
    + QUANTIZED
    + """
  shifted = Add (clipped, offset)
  quantized = Cast <to = 2> (shifted)
"""
)

# Packed W as `codes`, with the padding of its rows.
CODES = """
  shifts = Constant <value = uint8[1,1,4,1] {0, 2, 4, 6}> ()
  low_bits = Constant <value = uint8 {3}> ()
  blocks_shape = Constant <value = int64[4] {0, -1, 1, 64}> ()
  rows_shape = Constant <value = int64[2] {0, -1}> ()
  blocks = Reshape (W, blocks_shape)
  moved = BitShift <direction = "RIGHT"> (blocks, shifts)
  fields = BitwiseAnd (moved, low_bits)
  codes = Reshape (fields, rows_shape)
"""

# Sums of quantized activations, rescaled.
_RESCALED = """
  exact = Cast <to = 1> (sums)
  ratio = Div (scale, act_scale)
  rescale = Add (ratio, poison)
  Y = Mul (exact, rescale)
}
"""

_TERNARY_BODY = (
    """
<domain: "bitnet", opset_import: ["" : 23]>
TernaryMatMul (X, W, scale) => (Y)
{
"""
    + _QUANTIZED_INT8
    + CODES
    + """
  codes_t = Transpose <perm = [1, 0]> (codes)
  padded_k = Shape <start = 0, end = 1> (codes_t)
  k = Shape <start = -1> (X)
  missing = Sub (padded_k, k)
  nothing = Constant <value = int64[1] {0}> ()
  pads = Concat <axis = 0> (nothing, missing)
  padded = Pad (quantized, pads, x_zero, last)
  sums = MatMulInteger (padded, codes_t, x_zero, w_zero)
"""
    + _RESCALED
)

_COLUMN_BODY = (
    """
<domain: "bitnet", opset_import: ["" : 23]>
TernaryColumnMatMul (X, W, scale) => (Y)
{
"""
    + _QUANTIZED_INT8
    + CODES
    + """
  nothing = Constant <value = int64[1] {0}> ()
  n = Shape (scale)
  kept = Slice (codes, nothing, n, last)
  sums = MatMulInteger (quantized, kept, x_zero, w_zero)
"""
    + _RESCALED
)

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

# The second output of the library's operator, for verify alone, is none of the function's: ONNX
# Runtime refuses a node that leaves out an output of its function.
_NORM_BODY = """
<domain: "bitnet", opset_import: ["" : 23, "bitnet" : 1]>
TernaryNormMatMul (X, W, scale, norm, epsilon) => (Y)
{
  normed = bitnet.RMSNorm (X, norm, epsilon)
  Y = bitnet.TernaryMatMul (normed, W, scale)
}
"""

_FEED_FORWARD_BODY = """
<domain: "bitnet", opset_import: ["" : 23, "bitnet" : 1]>
TernaryFeedForward (X, gate, up, gate_scale, up_scale, norm, epsilon, down, down_scale) => (Y)
{
  product = bitnet.TernaryGatedMatMul (X, gate, up, gate_scale, up_scale)
  normed = bitnet.RMSNorm (product, norm, epsilon)
  Y = bitnet.TernaryColumnMatMul (normed, down, down_scale)
}
"""

# A Loop, not a reduction: only its order of additions is part of the standard. It also keeps the
# sums of one group in memory, not those of all.
_GROUP_TOTAL = (
    CODES
    + """
  groups_shape = Constant <value = int64[3] {0, -1, 128}> ()
  zero_int = Constant <value = int64[1] {0}> ()
  one_int = Constant <value = int64[1] {1}> ()
  zero_double = Constant <value = double {0.0}> ()
  go_on = Constant <value = bool {1}> ()

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
)

_TERNARY_GROUP_BODY = (
    """
<domain: "bitnet", opset_import: ["" : 23]>
TernaryGroupMatMul (X, W, scale) => (Y)
{
"""
    + _QUANTIZED_INT8
    + """
  width = Shape <start = -1> (X)
  flat_shape = Concat <axis = 0> (last, width)
  rows = Reshape (quantized, flat_shape)
"""
    + _GROUP_TOTAL
    + """
  totals = Reshape (total, y_shape)
  wide_act_scale = Cast <to = 11> (act_scale)
  exact_y = Div (totals, wide_act_scale)
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
  w_zero = Constant <value = uint8 {1}> ()

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

# X as whole numbers of 16 bits, `clipped`.
_QUANTIZED_INT16 = (
    """
  peak = Constant <value = float {32512.0}> ()
  lowest = Constant <value = float {-32512.0}> ()
"""
    + QUANTIZED
)

_INT8_BODY = (
    """
<domain: "bitnet", opset_import: ["" : 23]>
Int8MatMul (X, W, scale) => (Y)
{
"""
    + _QUANTIZED_INT16
    + """
  one = Constant <value = float {1.0}> ()
  offset = Constant <value = float {128.0}> ()
  base = Constant <value = float {256.0}> ()
  zero_point = Constant <value = uint8 {128}> ()
  w_offset = Constant <value = int32 {128}> ()
  base_int = Constant <value = int64 {256}> ()

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
  inverse = Div (one, act_scale)
  inverse_or_nan = Add (inverse, poison)
  by_row = Mul (rounded_sums, scale)
  Y = Mul (by_row, inverse_or_nan)
}
"""
)

# The sum of squares is one of whole numbers below 2**53: exact in any order.
_TWO_STEP_BODY = (
    """
<domain: "bitnet", opset_import: ["" : 23, "bitnet" : 1]>
TwoStepMatMul (X, W, scan, scale, bound) => (Y)
{
"""
    + _QUANTIZED_INT16
    + """
  one = Constant <value = float {1.0}> ()
  large = Constant <value = float {281474976710656.0}> ()
  infinity = Constant <value = float {inf}> ()
  kept = Constant <value = int64[1] {64}> ()

  wide = Cast <to = 11> (clipped)
  squares = Mul (wide, wide)
  total = ReduceSum <keepdims = 1> (squares, last)
  norm = Sqrt (total)
  wide_peak = Cast <to = 11> (peak)
  at_least = Max (norm, wide_peak)
  inverse = Div (one, act_scale)
  wide_inverse = Cast <to = 11> (inverse)
  wide_slack = Mul (at_least, wide_inverse)
  finite_slack = Cast <to = 1> (wide_slack)
  safe = Less (inverse, large)
  slack = Where (safe, finite_slack, infinity)

  rough = bitnet.Int8MatMul (X, scan, scale)
  room = Mul (bound, slack)
  low = Sub (rough, room)
  high = Add (rough, room)
  n = Shape (bound)
  count = Min (kept, n)
  largest, index = TopK <axis = -1> (low, count)
  least = ReduceMin <keepdims = 1> (largest, last)
  below = Less (high, least)
  bad = IsNaN (rough)
  unasked = Or (below, bad)
  exact = bitnet.Bf16MatMul (X, W)
  Y = Where (unasked, rough, exact)
}
"""
)

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

_ADD_RMS_NORM_BODY = """
<domain: "bitnet", opset_import: ["" : 23, "bitnet" : 1]>
AddRMSNorm (X, residual, weight, epsilon) => (Y, sum)
{
  sum = Add (X, residual)
  Y = bitnet.RMSNorm (sum, weight, epsilon)
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
        _TWO_STEP_BODY,
        *attention_bodies.texts(),
        _RMS_NORM_BODY,
        _ADD_RMS_NORM_BODY,
        _GATED_BODY,
        _COLUMN_BODY,
        _FEED_FORWARD_BODY,
        _NORM_BODY,
    )
    return [ir.serde.deserialize_function(onnx.parser.parse_function(body)) for body in bodies]
