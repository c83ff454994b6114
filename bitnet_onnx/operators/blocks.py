"""Products of integer activations and weights on stock operators, for the export target ``stock``.

The weights are *packed*, for MatMulNBits, or *unpacked*, for MatMul. In both cases the sums are
float32 of integers, exact in any order up to 2**24: ternary sums up to K = 132,000. X is [B, S, K].

MatMulNBits (accuracy_level 4) quantizes its activations again, in blocks of 128 with a scale of
max|block| / 127 each. Here the activations are already integers, and the last of each block is a
sentinel:

      lane:        0 ... 126                     127
      activation:  127 features, -127 to 127     127      so max|block| is 127 and the scale is 1
      weight:      their codes                   0        so the sum is that of the 127 features

The quantizer cannot give -128: float32(127 / m) * m is below 127.5. Runtimes that do not quantize
here (onnxruntime-web without a GPU) compute the same sums. A weight is stored as its code plus the
default zero point: 2 for 2 bits (so 1, 2, 3 for -1, 0, +1), 128 for 8 bits.

Knows this layout and how a product is built; knows no operator of the domain.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir import Value

from .domain import CONTRIB, FLOAT, Attribute, Builder

__all__ = ["FEATURES", "LANES", "SIZES", "multiply_blocks", "multiply_floats", "trim_blocks"]

LANES, FEATURES = 128, 127  # of a block
SENTINEL = 127.0
# The attributes of a packed form, which the export fills in: the K lanes, N rows and bits of W, and
# [0, features missing in the last block].
SIZES = {
    "K": ir.AttributeType.INT,
    "N": ir.AttributeType.INT,
    "bits": ir.AttributeType.INT,
    "missing": ir.AttributeType.INTS,
}


def multiply_blocks(
    op: Builder, codes: Value, w: Value, ones: Value, sizes: tuple[Attribute, ...]
) -> Value:
    """Multiply codes float32 [B, S, K] by W uint8 [N, blocks, 128 * bits / 8] -> [B, S, N].

    ones [N, blocks]: the scales of W's blocks. sizes: the attributes, in the order of ``SIZES``.
    """
    lanes, rows, bits, missing = sizes
    filled = op.Pad(codes, op.Constant(value_ints=missing), SENTINEL, [-1])
    blocks = op.Reshape(filled, [0, 0, -1, FEATURES])
    guarded = op.Pad(blocks, [0, 1], SENTINEL, [-1])
    return op.MatMulNBits(
        op.Reshape(guarded, [0, 0, -1]),
        w,
        ones,
        K=lanes,
        N=rows,
        bits=bits,
        block_size=LANES,
        accuracy_level=4,
        _domain=CONTRIB,
    )


def multiply_floats(op: Builder, codes: Value, weights: Value) -> Value:
    """Multiply codes float32 [B, S, K] by weights float32 [N, K] -> [B, S, N]."""
    return op.MatMul(codes, op.Transpose(weights, perm=[1, 0]))


def trim_blocks(op: Builder, rows: Value, missing: Attribute) -> Value:
    """Turn rows of an 8-bit W, uint8 [B, S, blocks, 128], into weights float32 [B, S, K].

    missing: [0, minus the features missing in the last block].
    """
    centred = op.Sub(op.Cast(rows, to=FLOAT), 128.0)
    features = op.Pad(centred, [0, -1], None, [-1])
    joined = op.Reshape(features, [0, 0, -1])
    return op.Pad(joined, op.Constant(value_ints=missing), None, [-1])
