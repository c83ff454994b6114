"""Linears that read the same activations become one: q, k and v.

The activations are then quantized once, and the small linears share the cost of giving work to
threads. Knows the names and layouts of linears; reads no weights.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ...operators import DOMAIN, VERSION
from ..editing import input_of, placeholder, replace, shape_of
from ..readers import Reader, Readers

__all__ = ["PARTS", "fuse_projections"]

# Gate and up gain nothing measurable, and splitting their result costs a copy of it: 14 MB read and
# 14 MB written in a prefill step of 256 positions at the 2B-4T shape.
FEWEST = 3
JOINABLE = (
    "TernaryMatMul",
    "TernaryGroupMatMul",
    "TernaryFloatMatMul",
    "Bf16MatMul",
    "Int8MatMul",
)
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
    parts = [str(input_of(node, 1).name) for node in nodes]
    linears = [name.removesuffix(".weight") for name in parts]
    owner = linears[0].rpartition(".")[0]
    name = f"{owner}.{PARTS.join(linear.removeprefix(f'{owner}.') for linear in linears)}"
    rows = [shape_of(input_of(node, 1))[0] for node in nodes]
    inputs, unused = [input_of(nodes[0], 0)], []
    for index in range(1, len(nodes[0].inputs)):  # the weight, and its scale where it has one
        whole = input_of(nodes[0], index)
        kind = str(whole.name).removeprefix(linears[0])
        assert whole.dtype is not None
        joined = placeholder(f"{name}{kind}", [sum(rows), *shape_of(whole)[1:]], whole.dtype)
        graph.register_initializer(joined)
        inputs.append(joined)
        unused += [f"{linear}{kind}" for linear in linears]
        readers[f"{name}{kind}"] = _joined(readers, [f"{n}{kind}" for n in linears], rows)
    sizes = ir.Value(name=f"{name}.rows", const_value=ir.tensor(np.array(rows, dtype=np.int64)))
    graph.register_initializer(sizes)
    product = ir.node(nodes[0].op_type, inputs, domain=DOMAIN, version=VERSION)
    product.outputs[0].name = f"{name}.product"
    split = ir.node("Split", [product.outputs[0], sizes], {"axis": -1}, num_outputs=len(nodes))
    graph.insert_before(nodes[0], [product, split])
    replace(graph, nodes, split)
    for initializer in unused:
        del graph.initializers[initializer]


def _joined(readers: Readers, parts: list[str], rows: list[int]) -> Reader:
    """Return a reader of the parts in turn; one number for a tensor becomes one for each row."""
    reads = [readers.pop(part) for part in parts]

    def read_all() -> np.ndarray:
        pairs = zip([np.asarray(read()) for read in reads], rows, strict=True)
        return np.concatenate([np.broadcast_to(x, (count, *x.shape[1:])) for x, count in pairs])

    return read_all
