"""Common steps of the bodies of attention, for every type of cache.

Each takes the builder of the body, adds its nodes and returns their results. Sizes: B rows, S new
positions, P past positions, L positions of the present cache, D the width of a head; scores are
[B, kv_heads, heads of each, S, L]. Knows the formulas of ``model/exact.py``; knows no operator of
the domain.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from onnx_ir import Value

from .. import steps
from ..domain import DOUBLE, FLOAT, INT64, Attribute, Builder

__all__ = [
    "Rotated",
    "Softmax",
    "join_heads",
    "multiply_keys",
    "rotate_new",
    "softmax",
    "width_of",
]

MAX_POSITIONS = 1 << 40  # more than a cache holds


class Sizes(NamedTuple):
    """Sizes of the inputs, each int64 [1], but ``rows`` int64 [2]."""

    new: Value
    """S."""
    kv_heads: Value
    past: Value
    """P."""
    width: Value
    """D."""
    rows: Value
    """B and kv_heads."""


class Rotated(NamedTuple):
    """The inputs of attention, rotated, before the cache is read."""

    sizes: Sizes
    query: Value
    """float32 [B, kv_heads, heads of each, S, D], rotated."""
    key: Value
    """float32 [B, kv_heads, S, D], rotated."""
    value: Value
    """float32 [B, kv_heads, S, D]."""
    positions: Value
    """int64 [B, 1, S]: the positions of the new keys and values."""
    places: Value
    """int64 [B, kv_heads, S, as many as a row of the cache has]: the position of each element."""
    room: Value
    """int64 [1]: L."""
    missing: Value
    """int64 [1]: L - P."""
    missing_shape: Value
    """int64 [4]: the shape by which the caches grow, L - P positions."""
    root: Value
    """float32 []: the square root of D."""


def rotate_new(
    op: Builder,
    query: Value,
    key: Value,
    value: Value,
    past_key: Value,
    seqlens_k: Value,
    total_sequence_length: Value,
    cos_cache: Value,
    sin_cache: Value,
) -> Rotated:
    """Rotate query and key by their positions, and find the places of key and value in a cache."""
    sizes = Sizes(
        new=op.Shape(query, start=1, end=2),
        kv_heads=op.Shape(past_key, start=1, end=2),
        past=op.Shape(past_key, start=2, end=3),
        width=width_of(op, cos_cache),
        rows=op.Shape(past_key, start=0, end=2),
    )
    kept = op.Shape(past_key, start=3, end=4)
    filled = op.Add(op.Cast(seqlens_k, to=INT64), 1)
    lengths = op.Max(op.Sub(filled, sizes.new), 0)
    column = op.Unsqueeze(lengths, [-1])
    positions = op.Add(column, op.Range(0, op.Squeeze(sizes.new), 1))

    cos = op.Unsqueeze(op.Gather(cos_cache, positions, axis=0), [1])
    sin = op.Unsqueeze(op.Gather(sin_cache, positions, axis=0), [1])
    heads_shape = op.Concat([0, 0, -1], sizes.width, axis=0)
    query, key, value = (
        op.Transpose(op.Reshape(part, heads_shape), perm=[0, 2, 1, 3])
        for part in (query, key, value)
    )
    halves = [op.Split(part, axis=-1, num_outputs=2, _outputs=2) for part in (query, key)]
    query, key = (_rotate(op, low, high, cos, sin) for low, high in halves)

    room = op.Max(sizes.past, op.Cast(total_sequence_length, to=INT64))
    missing = op.Sub(room, sizes.past)
    missing_shape = op.Concat(sizes.rows, missing, kept, axis=0)
    positions = op.Unsqueeze(positions, [1])
    added_shape = op.Concat(sizes.rows, sizes.new, kept, axis=0)
    places = op.Expand(op.Unsqueeze(positions, [-1]), added_shape)
    grouped = op.Concat([0], sizes.kv_heads, [-1], sizes.new, sizes.width, axis=0)
    query = op.Reshape(query, grouped)
    root = op.Sqrt(op.Cast(op.Squeeze(sizes.width), to=FLOAT))
    return Rotated(sizes, query, key, value, positions, places, room, missing, missing_shape, root)


def width_of(op: Builder, cos_cache: Any) -> Value:
    """Return D, int64 [1], from a table: the rows of a cache may be packed."""
    return op.Mul(op.Shape(cos_cache, start=1, end=2), 2)


def _rotate(op: Builder, low: Value, high: Value, cos: Value, sin: Value) -> Value:
    """Rotate the halves of x as in ``model/rotary.py``."""
    low_cos, high_sin = op.Mul(low, cos), op.Mul(high, sin)
    high_cos, low_sin = op.Mul(high, cos), op.Mul(low, sin)
    return op.Concat(op.Sub(low_cos, high_sin), op.Add(high_cos, low_sin), axis=-1)


def multiply_keys(op: Builder, query: Value, present_key: Value) -> Value:
    """Multiply query float64 by the keys -> float32 scores without scale: rounded float64 sums."""
    keys = op.Cast(op.Unsqueeze(present_key, [2]), to=DOUBLE)
    products = op.MatMul(query, op.Transpose(keys, perm=[0, 1, 2, 4, 3]))
    return op.Cast(products, to=FLOAT)


class Softmax(NamedTuple):
    """A softmax before its division."""

    seen: Value
    """bool [B, 1, 1, S, L]: whether a new position sees one of the cache."""
    weights: Value
    """``exp(score - max)``, float32; 0 where a position is not seen."""
    wide: Value
    """The same, float64."""
    sums: Value
    """float64 [..., 1]."""


def softmax(op: Builder, scores: Value, rotated: Rotated, window: Attribute) -> Softmax:
    """Compute the softmax of scores float32 [..., S, L] over the positions that each row sees."""
    numbers = op.Range(0, op.Squeeze(rotated.room), 1)
    own = op.Unsqueeze(op.Unsqueeze(rotated.positions, [1]), [-1])
    given = op.Constant(value_int=window)
    width = op.Where(op.Greater(given, 0), given, MAX_POSITIONS)
    seen = op.And(op.LessOrEqual(numbers, own), op.Greater(numbers, op.Sub(own, width)))
    scores = op.Where(seen, scores, -np.inf)
    below = op.Sub(scores, op.ReduceMax(scores, [-1], keepdims=1))
    weights = op.Where(seen, steps.exponential(op, below), 0.0)
    wide = op.Cast(weights, to=DOUBLE)
    return Softmax(seen, weights, wide, op.ReduceSum(wide, [-1], keepdims=1))


def join_heads(op: Builder, blended: Value, sums: Value, sizes: Sizes) -> Value:
    """Divide the float64 sums over values by the sums of weights -> [B, S, heads * D]."""
    y = op.Cast(op.Div(blended, sums), to=FLOAT)
    y = op.Reshape(y, op.Concat([0], [-1], sizes.new, sizes.width, axis=0))
    return op.Reshape(op.Transpose(y, perm=[0, 2, 1, 3]), [0, 0, -1])
