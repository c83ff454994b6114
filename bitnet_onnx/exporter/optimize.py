"""Passes over the exported graph, before its weights are attached.

Each replaces operators by fewer or faster ones with the same bits, and is here because a
measurement pays for it. Knows ONNX graphs and the operators of ``ops.py``.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..operators import DOMAIN, VERSION
from ..weights.ternary import packed_width

__all__ = [
    "FEED_FORWARD",
    "LINEARS",
    "NORM_LINEAR",
    "PARTS",
    "PASSES",
    "fuse_norms",
    "fuse_projections",
    "input_of",
    "join_attention",
    "placeholder",
    "reshape",
    "shape_of",
    "skip_zeros",
]

# fuse_projections, join_attention, skip_zeros, fuse_norms
PASSES = ("projections", "attention", "zeros", "norms")
FEED_FORWARD, NORM_LINEAR = "TernaryFeedForward", "TernaryNormMatMul"
LINEARS = {(DOMAIN, f"Ternary{kind}MatMul") for kind in ("", "Group", "Float")}
LINEARS |= {(DOMAIN, FEED_FORWARD), (DOMAIN, NORM_LINEAR)}
# q, k and v. Gate and up alone gain nothing measurable, and splitting their result costs a copy of
# it: 28 MB in a prefill step of 256 positions at the 2B-4T shape.
FEWEST = 3
JOINABLE = ("TernaryMatMul", "TernaryGroupMatMul", "TernaryFloatMatMul")
PARTS = "+"  # between the names of the linears that became one: ".../q_proj+k_proj+v_proj"


def fuse_projections(model: ir.Model) -> dict[str, list[str]]:
    """Three or more linears that read the same activations become one with all their rows.

    The activations are then quantized once, and the small ones among the linears share the cost
    of handing out work to threads. The weight is the parts' weights in turn; so is the scale, with
    a number (or one for each group along K) for every row. Returns each new linear with its parts.
    """
    by_input: dict[str, list[ir.Node]] = {}
    for node in model.graph:
        if node.domain == DOMAIN and node.op_type in JOINABLE:
            by_input.setdefault(str(input_of(node, 0).name), []).append(node)
    return dict(_fuse(model.graph, nodes) for nodes in by_input.values() if len(nodes) >= FEWEST)


def _fuse(graph: ir.Graph, nodes: list[ir.Node]) -> tuple[str, list[str]]:
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
    _replace(graph, nodes, split)
    for initializer in unused:
        del graph.initializers[initializer]
    return name, linears


def join_attention(model: ir.Model) -> None:
    """Attention takes the product of the joined projections whole: nothing splits it.

    Where something is done to queries and keys before, as Qwen3 does, they stay apart.
    """
    for node in [node for node in model.graph if node.op_type.startswith("GroupQueryAttention")]:
        split = _made_by(input_of(node, 0), "Split")
        if split is None or node.inputs[:3] != split.outputs:
            continue
        joined = (split.inputs[0], *node.inputs[3:])
        for index, value in enumerate(joined):
            node.replace_input_with(index, value)
        node.resize_inputs(len(joined))
        node.op_type += "QKV"
        sizes = str(input_of(split, 1).name)
        model.graph.remove(split, safe=True)
        del model.graph.initializers[sizes]


def skip_zeros(model: ir.Model) -> list[str]:
    """Rows and columns of the FFN that meet a zero are not read: down(norm(relu(gate)² * up)).

    TernaryFeedForward takes the place of all of it, with the weight of down stored by column: where
    the gate is closed the row of up is skipped, where an activation is quantized to 0 the column
    of down. Returns the linears that are stored by column now.
    """
    norms = [node for node in model.graph if node.op_type == "RMSNorm"]
    found = [(norm, _ffn(norm)) for norm in norms]
    return [_skip_zeros(model.graph, norm, *nodes) for norm, nodes in found if nodes is not None]


def _ffn(norm: ir.Node) -> tuple[ir.Node, ...] | None:
    """Product, square, relu, gate, up and down where ``norm`` is 2B-4T's ffn_sub_norm."""
    product = _made_by(input_of(norm, 0), "Mul")
    if product is None:
        return None
    square = _made_by(input_of(product, 0), "Mul")
    up = _made_by(input_of(product, 1), "TernaryMatMul", DOMAIN)
    if square is None or up is None or square.inputs[0] is not square.inputs[1]:
        return None
    relu = _made_by(input_of(square, 0), "Relu")
    gate = None if relu is None else _made_by(input_of(relu, 0), "TernaryMatMul", DOMAIN)
    down = [node for node in norm.outputs[0].consumers() if node.op_type == "TernaryMatMul"]
    if relu is None or gate is None or gate.inputs[0] is not up.inputs[0] or len(down) != 1:
        return None
    return product, square, relu, gate, up, down[0]


def _skip_zeros(
    graph: ir.Graph,
    norm: ir.Node,
    product: ir.Node,
    square: ir.Node,
    relu: ir.Node,
    gate: ir.Node,
    up: ir.Node,
    down: ir.Node,
) -> str:
    inputs = [input_of(gate, 0), *(input_of(node, i) for i in (1, 2) for node in (gate, up))]
    inputs += [input_of(node, i) for node in (norm, down) for i in (1, 2)]
    whole = ir.node(FEED_FORWARD, inputs, domain=DOMAIN, version=VERSION)
    graph.insert_before(down, [whole])
    _replace(graph, [down], whole)
    graph.remove([norm, product, square, relu, gate, up], safe=True)
    weight, scale = inputs[-2:]
    rows, features = shape_of(weight)[0], shape_of(inputs[5])[0]
    reshape(weight, [features, packed_width(rows)])
    reshape(scale, [rows])
    return str(weight.name).removesuffix(".weight")


def fuse_norms(model: ir.Model) -> None:
    """AddRMSNorm takes the place of a residual sum and of the norm that reads it.

    The sum stays a result: it is what the next residual branch is added to. A norm of anything
    else that one linear alone reads becomes a part of it.
    """
    for norm in [node for node in model.graph if node.op_type == "RMSNorm"]:
        add = _made_by(input_of(norm, 0), "Add")
        if add is not None:
            inputs = [*add.inputs, *norm.inputs[1:]]
            both = ir.node("AddRMSNorm", inputs, domain=DOMAIN, version=VERSION, num_outputs=2)
            model.graph.insert_before(add, [both])
            _replace(model.graph, [norm, add], both)
            continue
        readers = norm.outputs[0].consumers()
        if len(readers) == 1 and readers[0].op_type == "TernaryMatMul":
            linear = readers[0]
            inputs = [norm.inputs[0], *linear.inputs[1:], *norm.inputs[1:]]
            both = ir.node(NORM_LINEAR, inputs, domain=DOMAIN, version=VERSION)
            model.graph.insert_before(linear, [both])
            _replace(model.graph, [linear], both)
            model.graph.remove(norm, safe=True)


def _replace(graph: ir.Graph, old: list[ir.Node], new: ir.Node) -> None:
    """The outputs of ``new`` stand in for that of each old node, which is removed."""
    for node, output in zip(old, new.outputs, strict=True):
        output.name = node.outputs[0].name
        ir.convenience.replace_all_uses_with(node.outputs, [output])
    graph.remove(old, safe=True)


def input_of(node: ir.Node, index: int) -> ir.Value:
    value = node.inputs[index]
    assert value is not None
    return value


def _made_by(value: ir.Value, op_type: str, domain: str = "") -> ir.Node | None:
    node = value.producer()
    return node if node is not None and (node.op_type, node.domain) == (op_type, domain) else None


def shape_of(value: ir.Value) -> list[int]:
    assert value.const_value is not None
    return [int(size) for size in value.const_value.shape.numpy()]


def placeholder(name: str, sizes: list[int], dtype: ir.DataType) -> ir.Value:
    """An initializer whose weight is attached later, as torch's are."""
    value = ir.Value(name=name, type=ir.TensorType(dtype))
    reshape(value, sizes)
    return value


def reshape(value: ir.Value, sizes: list[int]) -> None:
    dtype = value.dtype
    assert dtype is not None
    value.shape = ir.Shape(sizes)
    value.const_value = ir.LazyTensor(_unread, dtype=dtype, shape=value.shape, name=value.name)


def _unread() -> ir.TensorProtocol:
    raise AssertionError("a weight that was not attached")
