"""Passes over the exported graph, before its weights are attached.

Each replaces operators by fewer or faster ones with the same bits, and is here because a
measurement pays for it. Knows ONNX graphs and the operators of ``ops.py``.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from .ops import DOMAIN, VERSION

__all__ = ["LINEARS", "PARTS", "fuse_projections"]

LINEARS = {(DOMAIN, f"Ternary{kind}MatMul") for kind in ("", "Group", "Float")}
# q, k and v. Gate and up alone gain nothing measurable, and splitting their result costs a copy of
# it: 28 MB in a prefill step of 256 positions at the 2B-4T shape.
FEWEST = 3
PARTS = "+"  # between the names of the linears that became one: ".../q_proj+k_proj+v_proj"


def fuse_projections(model: ir.Model) -> dict[str, list[str]]:
    """Three or more linears that read the same activations become one with all their rows.

    The activations are then quantized once, and the small ones among the linears share the cost
    of handing out work to threads. The weight is the parts' weights in turn; so is the scale, with
    a number (or one for each group along K) for every row. Returns each new linear with its parts.
    """
    by_input: dict[str, list[ir.Node]] = {}
    for node in model.graph:
        if (node.domain, node.op_type) in LINEARS:
            by_input.setdefault(str(_input(node, 0).name), []).append(node)
    return dict(_fuse(model.graph, nodes) for nodes in by_input.values() if len(nodes) >= FEWEST)


def _fuse(graph: ir.Graph, nodes: list[ir.Node]) -> tuple[str, list[str]]:
    weights = [_input(node, 1) for node in nodes]
    linears = [str(weight.name).removesuffix(".weight") for weight in weights]
    owner = linears[0].rpartition(".")[0]
    name = f"{owner}.{PARTS.join(linear.removeprefix(f'{owner}.') for linear in linears)}"
    rows = [_shape(weight)[0] for weight in weights]
    width, scale_width = _shape(weights[0])[1:], _shape(_input(nodes[0], 2))[1:]
    weight = _placeholder(f"{name}.weight", [sum(rows), *width], ir.DataType.UINT8)
    scale = _placeholder(f"{name}.weight_scale", [sum(rows), *scale_width], ir.DataType.FLOAT)
    sizes = ir.Value(name=f"{name}.rows", const_value=ir.tensor(np.array(rows, dtype=np.int64)))
    for value in (weight, scale, sizes):
        graph.register_initializer(value)
    inputs = [_input(nodes[0], 0), weight, scale]
    product = ir.node(nodes[0].op_type, inputs, domain=DOMAIN, version=VERSION)
    product.outputs[0].name = f"{name}.product"
    split = ir.node("Split", [product.outputs[0], sizes], {"axis": -1}, num_outputs=len(nodes))
    graph.insert_before(nodes[0], [product, split])
    for node, output in zip(nodes, split.outputs, strict=True):
        output.name = node.outputs[0].name
        ir.convenience.replace_all_uses_with(node.outputs, [output])
        unused = [str(_input(node, index).name) for index in (1, 2)]
        graph.remove(node, safe=True)
        for initializer in unused:
            del graph.initializers[initializer]
    return name, linears


def _input(node: ir.Node, index: int) -> ir.Value:
    value = node.inputs[index]
    assert value is not None
    return value


def _shape(value: ir.Value) -> list[int]:
    assert value.const_value is not None
    return [int(size) for size in value.const_value.shape.numpy()]


def _placeholder(name: str, sizes: list[int], dtype: ir.DataType) -> ir.Value:
    """An initializer whose weight is attached later, as torch's are."""
    shape = ir.Shape(sizes)
    tensor = ir.LazyTensor(_unread, dtype=dtype, shape=shape, name=name)
    return ir.Value(name=name, shape=shape, type=ir.TensorType(dtype), const_value=tensor)


def _unread() -> ir.TensorProtocol:
    raise AssertionError("a weight that was not attached")
