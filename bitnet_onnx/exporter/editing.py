"""Small edits of a graph that several passes need.

Knows onnx_ir graphs whose initializers hold no data yet; knows no operator.
"""

from __future__ import annotations

import onnx_ir as ir

__all__ = ["input_of", "made_by", "placeholder", "replace", "reshape", "shape_of"]


def input_of(node: ir.Node, index: int) -> ir.Value:
    """Return an input of a node, which must be present."""
    value = node.inputs[index]
    assert value is not None
    return value


def made_by(value: ir.Value, op_type: str, domain: str = "") -> ir.Node | None:
    """Return the node that makes a value, None where its type is another."""
    node = value.producer()
    return node if node is not None and (node.op_type, node.domain) == (op_type, domain) else None


def shape_of(weight: ir.Value) -> list[int]:
    """Return the shape of an initializer."""
    assert weight.const_value is not None
    return [int(size) for size in weight.const_value.shape.numpy()]


def placeholder(name: str, sizes: list[int], dtype: ir.DataType) -> ir.Value:
    """Make an initializer without data, like torch's on the meta device."""
    value = ir.Value(name=name, type=ir.TensorType(dtype))
    reshape(value, sizes)
    return value


def reshape(weight: ir.Value, sizes: list[int]) -> None:
    """Give an initializer without data another shape."""
    dtype = weight.dtype
    assert dtype is not None
    weight.shape = ir.Shape(sizes)
    weight.const_value = ir.LazyTensor(_unread, dtype=dtype, shape=weight.shape, name=weight.name)


def _unread() -> ir.TensorProtocol:
    raise AssertionError("a weight without a reader")


def replace(graph: ir.Graph, old: list[ir.Node], new: ir.Node) -> None:
    """Replace old nodes, of one output each, by the outputs of ``new`` in the same order."""
    for node, output in zip(old, new.outputs, strict=True):
        output.name = node.outputs[0].name
        ir.convenience.replace_all_uses_with(node.outputs, [output])
    graph.remove(old, safe=True)
