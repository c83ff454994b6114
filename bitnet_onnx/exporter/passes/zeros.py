"""Rows and columns of the feed-forward that meet a zero are not read: relu² closes gates.

Knows 2B-4T's feed-forward as nodes, and the layout of its weights; reads no weights.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx_ir as ir
import torch

from ...operators import DOMAIN, VERSION
from ...weights.ternary import pack, packed_width, unpack
from ..editing import input_of, made_by, replace, reshape, shape_of
from ..readers import Reader, Readers

__all__ = ["FEED_FORWARD", "skip_zeros"]

FEED_FORWARD = "TernaryFeedForward"


class _FeedForward(NamedTuple):
    """The nodes of 2B-4T's ``down(norm(relu(gate)² * up))``."""

    gate: ir.Node
    relu: ir.Node
    square: ir.Node
    up: ir.Node
    product: ir.Node
    norm: ir.Node
    down: ir.Node


def skip_zeros(model: ir.Model, readers: Readers) -> None:
    """Replace a feed-forward whose gates can be zero by TernaryFeedForward.

    The row of up behind a closed gate is skipped, and the column of down for an activation that is
    quantized to 0. So down is stored by column, with a scale for each row.
    """
    norms = [node for node in model.graph if node.op_type == "RMSNorm"]
    for found in [_feed_forward(norm) for norm in norms]:
        if found is not None:
            _fuse(model.graph, found, readers)


def _feed_forward(norm: ir.Node) -> _FeedForward | None:
    """Return the nodes around ``norm`` if it is the norm before down, else None."""
    product = made_by(input_of(norm, 0), "Mul")
    if product is None:
        return None
    square = made_by(input_of(product, 0), "Mul")
    up = made_by(input_of(product, 1), "TernaryMatMul", DOMAIN)
    if square is None or up is None or square.inputs[0] is not square.inputs[1]:
        return None
    relu = made_by(input_of(square, 0), "Relu")
    gate = None if relu is None else made_by(input_of(relu, 0), "TernaryMatMul", DOMAIN)
    down = [node for node in norm.outputs[0].consumers() if node.op_type == "TernaryMatMul"]
    if relu is None or gate is None or gate.inputs[0] is not up.inputs[0] or len(down) != 1:
        return None
    return _FeedForward(gate, relu, square, up, product, norm, down[0])


def _fuse(graph: ir.Graph, found: _FeedForward, readers: Readers) -> None:
    gate, up, norm, down = found.gate, found.up, found.norm, found.down
    inputs = [input_of(gate, 0), *(input_of(node, i) for i in (1, 2) for node in (gate, up))]
    inputs += [input_of(node, i) for node in (norm, down) for i in (1, 2)]
    whole = ir.node(FEED_FORWARD, inputs, domain=DOMAIN, version=VERSION)
    graph.insert_before(down, [whole])
    replace(graph, [down], whole)
    graph.remove([norm, found.product, found.square, found.relu, gate, up], safe=True)
    weight, scale = inputs[-2:]
    rows, features = shape_of(weight)[0], shape_of(inputs[5])[0]
    reshape(weight, [features, packed_width(rows)])
    reshape(scale, [rows])
    name, scale_name = str(weight.name), str(scale.name)
    readers[name] = _by_column(readers[name], features)
    readers[scale_name] = _by_row(readers[scale_name], rows)


def _by_column(read: Reader, features: int) -> Reader:
    """Turn a reader of packed rows [N, K] into one of packed columns [K, N]."""

    def columns() -> np.ndarray:
        codes = unpack(torch.from_numpy(np.asarray(read())), features)
        return pack(codes.T.contiguous()).numpy()

    return columns


def _by_row(read: Reader, rows: int) -> Reader:
    return lambda: np.repeat(np.asarray(read()), rows)
