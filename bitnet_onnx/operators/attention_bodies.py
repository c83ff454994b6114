"""Attention as stock operators, for each type of cache: part of ``bodies.py``, and like it."""

from __future__ import annotations

__all__ = ["texts"]

# What attention does before it looks at its cache, whatever that holds: new keys and queries
# rotated, the places of new positions, the heads grouped by the KV head that they read.
_ROTATED = """
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
  positions_3 = Unsqueeze (positions, axis_1)
  positions_4 = Unsqueeze (positions_3, last_axis)
  new_shape = Shape (v)
  places = Expand (positions_4, new_shape)

  grouped_shape = Concat <axis = 0> (zero_1, kv_heads, last_axis, new, width)
  grouped = Reshape (q_rotated, grouped_shape)
  width_scalar = Squeeze (width)
  width_value = Cast <to = 1> (width_scalar)
  root = Sqrt (width_value)
"""

# `scaled` scores [B, kv_heads, heads of each, S, L] -> their exponentials `e_seen`, float32, 0
# where a position is not seen, and `sums` of them, float64: the same polynomial as the kernel's.
_SOFTMAX = """
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
"""

# `blended`, float64 sums over values times exponentials -> output.
_OUTPUT = """
  mean = Div (blended, sums)
  y = Cast <to = 1> (mean)
  y_shape = Concat <axis = 0> (zero_1, last_axis, new, width)
  y_heads = Reshape (y, y_shape)
  y_tokens = Transpose <perm = [0, 2, 1, 3]> (y_heads)
  output = Reshape (y_tokens, flat)
}
"""

# As the kernel does it: float64 sums of exact products, scores rounded to float32, the same
# polynomial. Sums in another order can round apart, about once in 1e8 scores: see kernels/kernel.h.
# Positions that are not seen count as 0 times their value, so a NaN among the values of a later
# position of the same call, or of one no longer counted, makes the result NaN here alone.
_BODY = (
    """
<domain: "bitnet", opset_import: ["" : 23]>
%(name)s (query, key, value, past_key, past_value, seqlens_k, total_sequence_length,
          cos_cache, sin_cache) => (output, present_key, present_value)
{
"""
    + _ROTATED
    + """
  wide_zeros = ConstantOfShape <value = float[1] {0.0}> (missing_shape)
  zeros = %(stored)s (wide_zeros)
  key_room = Concat <axis = 2> (past_key, zeros)
  value_room = Concat <axis = 2> (past_value, zeros)
  k_stored = %(stored)s (k_rotated)
  v_stored = %(stored)s (v)
  present_key = ScatterElements <axis = 2> (key_room, places, k_stored)
  present_value = ScatterElements <axis = 2> (value_room, places, v_stored)

  q_wide = Cast <to = 11> (grouped)
  keys = Unsqueeze (present_key, axis_2)
  keys_wide = Cast <to = 11> (keys)
  keys_t = Transpose <perm = [0, 1, 2, 4, 3]> (keys_wide)
  products = MatMul (q_wide, keys_t)
  rounded = Cast <to = 1> (products)
  scaled = Div (rounded, root)
"""
    + _SOFTMAX
    + """
  values = Unsqueeze (present_value, axis_2)
  values_wide = Cast <to = 11> (values)
  blended = MatMul (weights, values_wide)
"""
    + _OUTPUT
)


def _absmax(x: str, to: str, peak: str, least: str) -> str:
    """x, by absmax over its last axis -> whole numbers to_codes, and to_step [..., 1], what 1 is
    worth; zeros and NaN where x is not finite. The sum over x * 0 is 0, or NaN there."""
    return f"""
  {to}_size = Abs ({x})
  {to}_most = ReduceMax <keepdims = 1> ({to}_size, last_axis)
  {to}_clamped = Max ({to}_most, {least})
  {to}_scale = Div ({peak}, {to}_clamped)
  {to}_scaled = Mul ({x}, {to}_scale)
  {to}_rounded = Round ({to}_scaled)
  {to}_terms = Mul ({x}, nothing)
  {to}_poison = ReduceSum <keepdims = 1> ({to}_terms, last_axis)
  {to}_bad = IsNaN ({to}_poison)
  {to}_codes = Where ({to}_bad, nothing, {to}_rounded)
  {to}_inverse = Div (one_value, {to}_scale)
  {to}_step = Add ({to}_inverse, {to}_poison)
"""


# Sums of whole numbers, which float64 holds exactly. A Loop over the spans of 64 positions, for
# only its order of additions is part of the standard.
_INT8_BODY = (
    """
<domain: "bitnet", opset_import: ["" : 23]>
GroupQueryAttentionInt8 (query, key, value, past_key, past_value, seqlens_k,
                         total_sequence_length, cos_cache, sin_cache, past_key_scale,
                         past_value_scale)
                     => (output, present_key, present_value, present_key_scale, present_value_scale)
{
"""
    + _ROTATED
    + """
  peak_8 = Constant <value = float {127.0}> ()
  peak_16 = Constant <value = float {32512.0}> ()
  smallest = Constant <value = float {1e-5}> ()
  smallest_share = Constant <value = float {1e-30}> ()
  span = Constant <value = int64[1] {64}> ()
  span_less_1 = Constant <value = int64[1] {63}> ()
  axes_2_3 = Constant <value = int64[2] {2, 3}> ()
  zero_double = Constant <value = double {0.0}> ()
  go_on = Constant <value = bool {1}> ()
"""
    + _absmax("k_rotated", "k", "peak_8", "smallest")
    + _absmax("v", "v", "peak_8", "smallest")
    + """
  zeros = ConstantOfShape <value = int8[1] {0}> (missing_shape)
  key_room = Concat <axis = 2> (past_key, zeros)
  value_room = Concat <axis = 2> (past_value, zeros)
  k_stored = Cast <to = 3> (k_codes)
  v_stored = Cast <to = 3> (v_codes)
  present_key = ScatterElements <axis = 2> (key_room, places, k_stored)
  present_value = ScatterElements <axis = 2> (value_room, places, v_stored)
  missing_rows = Concat <axis = 0> (kept, missing)
  zero_scales = ConstantOfShape <value = float[1] {0.0}> (missing_rows)
  key_scale_room = Concat <axis = 2> (past_key_scale, zero_scales)
  value_scale_room = Concat <axis = 2> (past_value_scale, zero_scales)
  k_scale_new = Squeeze (k_step, last_axis)
  v_scale_new = Squeeze (v_step, last_axis)
  rows_shape = Shape (k_scale_new)
  row_places = Expand (positions_3, rows_shape)
  present_key_scale = ScatterElements <axis = 2> (key_scale_room, row_places, k_scale_new)
  present_value_scale = ScatterElements <axis = 2> (value_scale_room, row_places, v_scale_new)
"""
    + _absmax("grouped", "q", "peak_16", "smallest")
    + """
  q_wide = Cast <to = 11> (q_codes)
  keys = Unsqueeze (present_key, axis_2)
  keys_wide = Cast <to = 11> (keys)
  keys_t = Transpose <perm = [0, 1, 2, 4, 3]> (keys_wide)
  products = MatMul (q_wide, keys_t)
  rounded = Cast <to = 1> (products)
  key_scales = Unsqueeze (present_key_scale, axes_2_3)
  by_key = Mul (rounded, key_scales)
  factor = Div (q_step, root)
  scaled = Mul (by_key, factor)
"""
    + _SOFTMAX
    + """
  value_scales = Unsqueeze (present_value_scale, axes_2_3)
  any_share = Mul (e_seen, value_scales)
  share = Where (seen, any_share, nothing)
  room_more = Add (room, span_less_1)
  span_count = Div (room_more, span)
  whole = Mul (span_count, span)
  past_end = Sub (whole, room)
  pads = Concat <axis = 0> (zero_1, past_end)
  share_whole = Pad (share, pads, nothing, last_axis)
  shares_shape = Constant <value = int64[6] {0, 0, 0, 0, -1, 64}> ()
  shares = Reshape (share_whole, shares_shape)
"""
    + _absmax("shares", "p", "peak_16", "smallest_share")
    + """
  p_wide = Cast <to = 11> (p_codes)
  p_step_wide = Cast <to = 11> (p_step)
  values_wide = Cast <to = 11> (present_value)
  values_whole = Pad (values_wide, pads, zero_double, axis_2)
  values_shape = Concat <axis = 0> (zero_1, zero_1, last_axis, span, width)
  values = Reshape (values_whole, values_shape)
  blended_shape = Shape (q_wide)
  start = Expand (zero_double, blended_shape)
  trips = Squeeze (span_count)
  blended = Loop <body = step (int64 j, bool on, double[B, G, H, S, D] old)
                      => (bool still, double[B, G, H, S, D] more) {
    still = Identity (on)
    p_j = Gather <axis = 4> (p_wide, j)
    v_j = Gather <axis = 2> (values, j)
    v_j_all = Unsqueeze (v_j, axis_2)
    sum_j = MatMul (p_j, v_j_all)
    step_j = Gather <axis = 4> (p_step_wide, j)
    term_j = Mul (sum_j, step_j)
    more = Add (old, term_j)
  }> (trips, go_on, start)
"""
    + _OUTPUT
)

_QKV_BODY = """
<domain: "bitnet", opset_import: ["" : 23, "bitnet" : 1]>
%(name)sQKV (qkv, past_key, past_value, seqlens_k, total_sequence_length, cos_cache, sin_cache
             %(past)s) => (output, present_key, present_value%(present)s)
{
  whole = Shape <start = 2> (qkv)
  kv_heads = Shape <start = 1, end = 2> (past_key)
  d = Shape <start = 3> (past_key)
  kv_width = Mul (kv_heads, d)
  less_key = Sub (whole, kv_width)
  width = Sub (less_key, kv_width)
  widths = Concat <axis = 0> (width, kv_width, kv_width)
  query, key, value = Split <axis = -1> (qkv, widths)
  output, present_key, present_value%(present)s = bitnet.%(name)s (
    query, key, value, past_key, past_value, seqlens_k, total_sequence_length, cos_cache, sin_cache
    %(past)s)
}
"""

_SCALES = {
    "past": ", past_key_scale, past_value_scale",
    "present": ", present_key_scale, present_value_scale",
}
_NO_SCALES = {"past": "", "present": ""}
# By name: how float32 becomes what the cache holds.
_STORED = {"GroupQueryAttention": "Identity", "GroupQueryAttentionF16": "Cast <to = 10>"}


def texts() -> list[str]:
    """A function for each operator of attention."""
    return [
        *(_BODY % {"name": name, "stored": cast} for name, cast in _STORED.items()),
        _INT8_BODY,
        *(_QKV_BODY % {"name": name, **_NO_SCALES} for name in _STORED),
        _QKV_BODY % {"name": "GroupQueryAttentionInt8", **_SCALES},
    ]
