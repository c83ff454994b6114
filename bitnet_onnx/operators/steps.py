"""Common steps of several bodies: quantizing, unpacking, exponentials, loops.

Each takes the builder of the body, adds its nodes and returns their results. Sizes: K input
features, N output features, W packed as in ``weights/ternary.py``. Knows the number format; knows
no operator of the domain.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import onnx_ir as ir
from onnx_ir import Value

from ..weights.ternary import EPSILON, INT16_PEAK
from .domain import BOOL, DOUBLE, FLOAT, INT64, UINT8, Builder

__all__ = [
    "W_ZERO",
    "X_ZERO",
    "Quantized",
    "absmax",
    "butterflies",
    "exponential",
    "loop",
    "poison",
    "quantize",
    "quantize_int16",
    "quantize_uint8",
    "rescale",
    "sigmoid",
    "silu",
    "sum_in_order",
    "unpack",
]

# Weights and activations are offset to unsigned bytes: their products never saturate, on any CPU.
X_ZERO, W_ZERO = np.uint8(128), np.uint8(1)
SHIFTS = np.array([0, 2, 4, 6], np.uint8).reshape(1, 1, 4, 1)
LN2 = 0.6931472
# 1/7!, ..., 1/1!, 1/0!, as in the kernel's polynomial.
TERMS = (1.9841270e-4, 1.3888889e-3, 8.33333377e-3, 4.1666667e-2, 1.6666667e-1, 0.5, 1.0, 1.0)


class Quantized(NamedTuple):
    """Activations [..., K] quantized by absmax: ``codes * (1 / scale)`` approximates them."""

    codes: Value
    """Integers, float32 or uint8 [..., K]."""
    scale: Value
    """float32 [..., 1]."""
    poison: Value
    """float32 [..., 1]: 0, or NaN where the row is not finite; adding it makes all results NaN."""


def quantize(op: Builder, x: Value, lowest: float, peak: float) -> Quantized:
    """Round x [..., K] to integers: ``clip(round(x * scale), lowest, peak)``."""
    rounded, scale = absmax(op, x, peak, EPSILON)
    codes = op.Clip(rounded, lowest, peak)
    return Quantized(codes, scale, poison(op, x))


def absmax(op: Builder, x: Value, peak: float, smallest: float) -> tuple[Value, Value]:
    """Return ``round(x * scale)`` [..., K], ``scale = peak / max(max|x|, smallest)`` [..., 1].

    For a float64 x, peak and smallest are NumPy's float64.
    """
    largest = op.ReduceMax(op.Abs(x), [-1], keepdims=1)
    scale = op.Div(peak, op.Max(largest, smallest))
    return op.Round(op.Mul(x, scale)), scale


def poison(op: Builder, x: Value) -> Value:
    """Return the sum over x * 0 [..., 1]: 0, or NaN where x holds a NaN or an infinity."""
    return op.ReduceSum(op.Mul(x, 0.0), [-1], keepdims=1)


def quantize_uint8(op: Builder, x: Value) -> Quantized:
    """Round x to int8, offset by X_ZERO to uint8."""
    quantized = quantize(op, x, -128.0, 127.0)
    return quantized._replace(codes=op.Cast(op.Add(quantized.codes, 128.0), to=UINT8))


def quantize_int16(op: Builder, x: Value) -> Quantized:
    """Round x to integers whose high and low bytes both fit int8."""
    return quantize(op, x, float(-INT16_PEAK), float(INT16_PEAK))


def rescale(op: Builder, sums: Value, scale: Value, x: Quantized) -> Value:
    """Multiply sums of codes, float32 [..., N], by the weights' scale over the activations'."""
    return op.Mul(sums, op.Add(op.Div(scale, x.scale), x.poison))


def unpack(op: Builder, w: Value) -> Value:
    """Unpack W to codes uint8 [N, K], with the padding of its rows."""
    blocks = op.Reshape(w, [0, -1, 1, 64])
    moved = op.BitShift(blocks, SHIFTS, direction="RIGHT")
    return op.Reshape(op.BitwiseAnd(moved, np.uint8(3)), [0, -1])


def exponential(op: Builder, x: Value) -> Value:
    """Compute ``model/exact.py``'s exponential, with the kernel's polynomial."""
    x = op.Max(x, -87.0)
    n = op.Round(op.Mul(x, 1.44269504))
    high, low = op.Mul(n, 0.693359375), op.Mul(n, -2.12194440e-4)
    r = op.Sub(op.Sub(x, high), low)
    total, *terms = TERMS
    for term in terms:
        total = op.Add(op.Mul(total, r), term)
    return op.Mul(total, op.Pow(2.0, n))


def sigmoid(op: Builder, x: Value) -> Value:
    """Compute ``model/exact.py``'s sigmoid."""
    e = exponential(op, op.Neg(op.Abs(x)))
    return op.Div(op.Where(op.Less(x, 0.0), e, 1.0), op.Add(e, 1.0))


def silu(op: Builder, x: Value) -> Value:
    """Compute ``model/exact.py``'s silu."""
    return op.Mul(x, sigmoid(op, x))


def sum_in_order(
    op: Builder,
    count: Value,
    start: Value,
    dims: str,
    term: Callable[[Builder, Value], Value],
) -> Value:
    """Compute ``start + term(0) + ... + term(count - 1)`` in float64, the first term first.

    It is a Loop, not a reduction: the standard defines the order of additions only of a Loop, which
    also keeps one term in memory, not all. ``dims`` names the dimensions of start, as in "M N".
    """

    def add(inner: Builder, number: Value, old: Value) -> Value:
        return inner.Add(old, term(inner, number))

    return loop(op, count, start, dims, add, DOUBLE)


def loop(
    op: Builder,
    count: Value,
    start: Value,
    dims: str,
    step: Callable[[Builder, Value, Value], Value],
    dtype: ir.DataType,
) -> Value:
    """Replace start by ``step(builder, number, start)`` for the numbers 0 to count - 1."""
    inner = Builder(op)
    number = Value(name="number", type=ir.TensorType(INT64), shape=ir.Shape([]))
    on = Value(name="on", type=ir.TensorType(BOOL), shape=ir.Shape([]))
    total = ir.TensorType(dtype), ir.Shape(dims.split())
    old = Value(name="old", type=total[0], shape=total[1])
    still = inner.Identity(on)
    new = step(inner, number, old)
    still.type, still.shape = on.type, on.shape
    new.type, new.shape = total
    body = ir.Graph([number, on, old], [still, new], nodes=inner.nodes, name="step")
    return op.Loop(count, True, start, body=body)


def butterflies(op: Builder, x: Value, block: Value) -> Value:
    """Compute ``weights/hadamard.py``'s ``turned``: x [..., K], block int64 [], a power of two."""
    number = op.Cast(block, to=FLOAT)
    stages = op.Cast(op.Round(op.Div(op.Log(number), LN2)), to=INT64)
    whole = op.Reshape(block, [1])
    rows = op.Concat([-1], whole, axis=0)
    pairs = op.Concat([-1], op.Div(whole, 2), [2], axis=0)

    def stage(inner: Builder, _: Value, old: Value) -> Value:
        low, high = inner.Split(inner.Reshape(old, pairs), axis=2, num_outputs=2, _outputs=2)
        both = inner.Concat(inner.Add(low, high), inner.Sub(low, high), axis=1)
        return inner.Reshape(both, rows)

    total = loop(op, stages, op.Reshape(x, rows), "M N", stage, FLOAT)
    return op.Reshape(total, op.Shape(x), allowzero=1)
