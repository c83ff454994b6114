"""Small steps on a graph that several passes take.

Knows onnx_ir graphs whose initializers hold no data yet; knows no operator.
"""

from __future__ import annotations

import onnx_ir as ir

__all__ = ["input_of", "made_by", "placeholder", "replace", "reshape", "shape_of"]


def input_of(node: ir.Node, index: int) -> ir.Value:
    """An input that is there."""
    value = node.inputs[index]
    assert value is not None
    return value


def made_by(value: ir.Value, op_type: str, domain: str = "") -> ir.Node | None:
    """The node that makes a value, where it is of this type."""
    node = value.producer()
    return node if node is not None and (node.op_type, node.domain) == (op_type, domain) else None


def shape_of(weight: ir.Value) -> list[int]:
    """The shape of an initializer."""
    assert weight.const_value is not None
    return [int(size) for size in weight.const_value.shape.numpy()]


def placeholder(name: str, sizes: list[int], dtype: ir.DataType) -> ir.Value:
    """An initializer without data, as torch's are on the meta device."""
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
    """Let the outputs of ``new`` stand in for those of the old nodes, one each; remove these."""
    for node, output in zip(old, new.outputs, strict=True):
        output.name = node.outputs[0].name
        ir.convenience.replace_all_uses_with(node.outputs, [output])
    graph.remove(old, safe=True)
