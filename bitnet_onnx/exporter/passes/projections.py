"""Linears that read the same activations become one: q, k and v.

The activations are then quantized once, and the small linears share the cost of giving work to
threads. Knows the names and layouts of linears; reads no weights.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ...operators import DOMAIN, VERSION
from ..editing import input_of, placeholder, replace, shape_of
from ..readers import Readers

__all__ = ["PARTS", "fuse_projections"]

# Gate and up gain nothing measurable, and splitting their result costs a copy of it: 14 MB read and
# 14 MB written in a prefill step of 256 positions at the 2B-4T shape.
FEWEST = 3
JOINABLE = ("TernaryMatMul", "TernaryGroupMatMul", "TernaryFloatMatMul")
PARTS = "+"  # between the names of joined linears: "...self_attn.q_proj+k_proj+v_proj"


def fuse_projections(model: ir.Model, readers: Readers) -> None:
    """Join three or more linears that read the same activations into one with all their rows.

    Its weight is the weights of the parts in turn. So is its scale, with one number for every row,
    or one for every group along K of a row.
    """
    by_input: dict[str, list[ir.Node]] = {}
    for node in model.graph:
        if node.domain == DOMAIN and node.op_type in JOINABLE:
            by_input.setdefault(str(input_of(node, 0).name), []).append(node)
    for nodes in by_input.values():
        if len(nodes) >= FEWEST:
            _fuse(model.graph, nodes, readers)


def _fuse(graph: ir.Graph, nodes: list[ir.Node], readers: Readers) -> None:
    weights = [input_of(node, 1) for node in nodes]
    linears = [str(weight.name).removesuffix(".weight") for weight in weights]
    owner = linears[0].rpartition(".")[0]
    name = f"{owner}.{PARTS.join(linear.removeprefix(f'{owner}.') for linear in linears)}"
    rows = [shape_of(weight)[0] for weight in weights]
    width, scale_width = shape_of(weights[0])[1:], shape_of(input_of(nodes[0], 2))[1:]
    weight = placeholder(f"{name}.weight", [sum(rows), *width], ir.DataType.UINT8)
    scale = placeholder(f"{name}.weight_scale", [sum(rows), *scale_width], ir.DataType.FLOAT)
    sizes = ir.Value(name=f"{name}.rows", const_value=ir.tensor(np.array(rows, dtype=np.int64)))
    for value in (weight, scale, sizes):
        graph.register_initializer(value)
    inputs = [input_of(nodes[0], 0), weight, scale]
    product = ir.node(nodes[0].op_type, inputs, domain=DOMAIN, version=VERSION)
    product.outputs[0].name = f"{name}.product"
    split = ir.node("Split", [product.outputs[0], sizes], {"axis": -1}, num_outputs=len(nodes))
    graph.insert_before(nodes[0], [product, split])
    unused = [str(input_of(node, index).name) for node in nodes for index in (1, 2)]
    replace(graph, nodes, split)
    for initializer in unused:
        del graph.initializers[initializer]
    _join(readers, name, linears, rows)


def _join(readers: Readers, linear: str, parts: list[str], rows: list[int]) -> None:
    codes = [readers.pop(f"{part}.weight") for part in parts]
    scales = [readers.pop(f"{part}.weight_scale") for part in parts]

    def row_scales() -> np.ndarray:
        pairs = zip([np.asarray(read()) for read in scales], rows, strict=True)
        return np.concatenate([np.broadcast_to(x, (count, *x.shape[1:])) for x, count in pairs])

    readers[f"{linear}.weight"] = lambda: np.concatenate([np.asarray(read()) for read in codes])
    readers[f"{linear}.weight_scale"] = row_scales
