"""Each operator of ``ops.py`` as an ONNX function of stock operators that gives the same bits.

In the text form of ONNX, for the sizes see ``ops.py``. Weights and activations are offset to
unsigned bytes: their products never saturate, on any CPU.
"""

from __future__ import annotations

import onnx
from onnxscript import ir

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

# As the kernel does it: float64 sums of exact products, scores rounded to float32, the same
# polynomial. Sums in another order can round apart, about once in 1e8 scores: see kernels/kernel.h.
# Positions that are not seen count as 0 times their value, so a NaN among the values of a later
# position of the same call, or of one no longer counted, makes the result NaN here alone.
_ATTENTION_BODY = """
<domain: "bitnet", opset_import: ["" : 23]>
%(name)s (query, key, value, past_key, past_value, seqlens_k, total_sequence_length,
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
  wide_zeros = ConstantOfShape <value = float[1] {0.0}> (missing_shape)
  zeros = %(stored)s (wide_zeros)
  key_room = Concat <axis = 2> (past_key, zeros)
  value_room = Concat <axis = 2> (past_value, zeros)
  positions_3 = Unsqueeze (positions, axis_1)
  positions_4 = Unsqueeze (positions_3, last_axis)
  new_shape = Shape (v)
  places = Expand (positions_4, new_shape)
  k_stored = %(stored)s (k_rotated)
  v_stored = %(stored)s (v)
  present_key = ScatterElements <axis = 2> (key_room, places, k_stored)
  present_value = ScatterElements <axis = 2> (value_room, places, v_stored)

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


_ATTENTION_QKV_BODY = """
<domain: "bitnet", opset_import: ["" : 23, "bitnet" : 1]>
%(name)sQKV (qkv, past_key, past_value, seqlens_k, total_sequence_length, cos_cache, sin_cache)
  => (output, present_key, present_value)
{
  whole = Shape <start = 2> (qkv)
  kv_heads = Shape <start = 1, end = 2> (past_key)
  d = Shape <start = 3> (past_key)
  kv_width = Mul (kv_heads, d)
  less_key = Sub (whole, kv_width)
  width = Sub (less_key, kv_width)
  widths = Concat <axis = 0> (width, kv_width, kv_width)
  query, key, value = Split <axis = -1> (qkv, widths)
  output, present_key, present_value = bitnet.%(name)s (
    query, key, value, past_key, past_value, seqlens_k, total_sequence_length, cos_cache, sin_cache)
}
"""


# By name: how float32 becomes what the cache holds.
_STORED = {"GroupQueryAttention": "Identity", "GroupQueryAttentionF16": "Cast <to = 10>"}


def functions() -> list[ir.Function]:
    """One function of stock operators for each operator of the domain."""
    bodies = (
        _TERNARY_BODY,
        _BF16_BODY,
        _INT8_BODY,
        _TERNARY_GROUP_BODY,
        _TERNARY_FLOAT_BODY,
        _TWO_STEP_BODY,
        *(_ATTENTION_BODY % {"name": name, "stored": cast} for name, cast in _STORED.items()),
        *(_ATTENTION_QKV_BODY % {"name": name} for name in _STORED),
        _RMS_NORM_BODY,
        _ADD_RMS_NORM_BODY,
        _GATED_BODY,
        _COLUMN_BODY,
    )
    return [ir.serde.deserialize_function(onnx.parser.parse_function(body)) for body in bodies]
