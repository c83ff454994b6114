"""The operators of ``ops.py`` once more, of stock operators alone: bodies for ``stock.py``.

Each comes with its weights ``packed``, for MatMulNBits, or ``unpacked``, for MatMul. The sums are
float32 of whole numbers either way, exact in any order up to 2**24: ternary ones to K = 132,000.
X is [B, S, K]. Attributes are sizes that the pass fills in.

MatMulNBits (accuracy_level 4) quantizes its activations again, in blocks of 128 with a scale of
max|block| / 127 each. Here the activations are whole numbers already, and the last of each block
is a sentinel:

      lane:        0 ... 126                     127
      activation:  127 features, -127 to 127     127      so max|block| is 127 and the scale is 1
      weight:      their codes                   0        so the sum is that of the 127 features

The quantizer cannot give -128: float32(127 / m) * m is below 127.5. Runtimes that do not quantize
here (onnxruntime-web without a GPU) compute the same sums. A weight is stored as its code plus the
default zero point: 2 of 2 bits (so 1, 2, 3 for -1, 0, +1), 128 of 8.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx
import onnx_ir as ir

from .bodies import CODES, QUANTIZED, functions

__all__ = ["FEATURES", "LANES", "bodies"]

LANES, FEATURES = 128, 127  # of a block

_TO_BLOCKS = """
  sentinel = Constant <value = float {127.0}> ()
  one_lane = Constant <value = int64[2] {0, 1}> ()
  missing = Constant <value_ints: ints = @missing> ()
  blocks_shape = Constant <value = int64[4] {0, 0, -1, 127}> ()
  tokens_shape = Constant <value = int64[3] {0, 0, -1}> ()
  filled = Pad (quantized, missing, sentinel, last)
  blocks = Reshape (filled, blocks_shape)
  guarded = Pad (blocks, one_lane, sentinel, last)
  lanes = Reshape (guarded, tokens_shape)
  sums = com.microsoft.MatMulNBits <K: int = @K, N: int = @N, bits: int = @bits,
                                    block_size: int = 128, accuracy_level: int = 4> (lanes, W, ones)
"""

# From the layout of ternary.py to float32 [K, N]: ONNX Runtime does it once, at load.
_UNPACK = (
    CODES
    + """
  one_code = Constant <value = float {1.0}> ()
  first = Constant <value = int64[1] {0}> ()
  width = Constant <value_ints: ints = @width> ()
  kept = Slice (codes, first, width, last)
  floats = Cast <to = 1> (kept)
  weights = Sub (floats, one_code)
  weights_t = Transpose <perm = [1, 0]> (weights)
  sums = MatMul (quantized, weights_t)
"""
)

_AS_FLOATS = """
  weights = Cast <to = 1> (W)
  weights_t = Transpose <perm = [1, 0]> (weights)
  sums = MatMul (quantized, weights_t)
"""

_TERNARY = (
    """
<domain: "bitnet", opset_import: ["" : 23, "com.microsoft" : 1]>
TernaryMatMul %(head)s => (Y)
{
  peak = Constant <value = float {127.0}> ()
  lowest = Constant <value = float {-127.0}> ()
"""
    + QUANTIZED
    + """
  quantized = Identity (clipped)
  %(product)s
  ratio = Div (scale, act_scale)
  rescale = Add (ratio, poison)
  Y = Mul (sums, rescale)
}
"""
)

# 16-bit activations are two digits of base 255, -127 to 127 each: 127 * 255 + 127 is 32512. They
# are fed as two batches, so that the table is read once.
_INT8 = (
    """
<domain: "bitnet", opset_import: ["" : 23, "com.microsoft" : 1]>
Int8MatMul %(head)s => (Y)
{
  peak = Constant <value = float {32512.0}> ()
  lowest = Constant <value = float {-32512.0}> ()
  one = Constant <value = float {1.0}> ()
  base = Constant <value = float {255.0}> ()
  wide_base = Constant <value = double {255.0}> ()
"""
    + QUANTIZED
    + """
  digits = Div (clipped, base)
  high = Round (digits)
  high_part = Mul (high, base)
  low = Sub (clipped, high_part)
  quantized = Concat <axis = 0> (high, low)
  %(product)s
  wide = Cast <to = 11> (sums)
  high_sums, low_sums = Split <axis = 0, num_outputs = 2> (wide)
  high_scaled = Mul (high_sums, wide_base)
  total = Add (high_scaled, low_sums)
  rounded_total = Cast <to = 1> (total)
  inverse = Div (one, act_scale)
  inverse_or_nan = Add (inverse, poison)
  by_row = Mul (rounded_total, scale)
  Y = Mul (by_row, inverse_or_nan)
}
"""
)

# ONNX Runtime makes the float32 table once, at load. Gemm reads it as it lies.
_BF16 = """
<domain: "bitnet", opset_import: ["" : 23]>
Bf16MatMul (X, W) => (Y)
{
  table = Cast <to = 1> (W)
  rows = Flatten <axis = 2> (X)
  products = Gemm <transB = 1> (rows, table)
  lead = Shape <start = 0, end = 2> (X)
  vocabulary = Shape <start = 0, end = 1> (W)
  shape = Concat <axis = 0> (lead, vocabulary)
  Y = Reshape (products, shape)
}
"""

# Rows of an int8 table in blocks: the 127 features of each, less the zero point.
_ROWS = """
<domain: "bitnet", opset_import: ["" : 23]>
Int8Rows <missing> (rows) => (Y)
{
  offset = Constant <value = float {128.0}> ()
  tokens_shape = Constant <value = int64[3] {0, 0, -1}> ()
  last = Constant <value = int64[1] {-1}> ()
  one_lane = Constant <value = int64[2] {0, -1}> ()
  missing = Constant <value_ints: ints = @missing> ()
  floats = Cast <to = 1> (rows)
  centred = Sub (floats, offset)
  features = Pad (centred, one_lane, , last)
  joined = Reshape (features, tokens_shape)
  Y = Pad (joined, missing, , last)
}
"""

_IN_BLOCKS = {"head": "<K, N, bits, missing> (X, W, ones, scale)", "product": _TO_BLOCKS}


def bodies(packed: Collection[str]) -> list[ir.Function]:
    """What to put in place of our operators, of which ``packed`` are so named.

    Attention's and the norm's are the bodies that they have anyway.
    """
    unpacked = {
        "TernaryMatMul": {"head": "<width> (X, W, scale)", "product": _UNPACK},
        "Int8MatMul": {"head": "(X, W, scale)", "product": _AS_FLOATS},
    }
    forms = {name: _IN_BLOCKS if name in packed else form for name, form in unpacked.items()}
    texts = (_TERNARY % forms["TernaryMatMul"], _INT8 % forms["Int8MatMul"], _BF16, _ROWS)
    made = [ir.serde.deserialize_function(onnx.parser.parse_function(text)) for text in texts]
    kept = ("GroupQueryAttention", "GroupQueryAttentionF16", "RMSNorm")
    return [*made, *(f for f in functions() if f.name in kept)]
