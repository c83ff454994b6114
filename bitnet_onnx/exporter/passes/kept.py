"""After the last attention, only the positions whose logits are kept are computed.

The rest of the last layer is a thirtieth of 2B-4T's linears, and a prompt's logits are those of one
position. Knows which operators compute each position alone; knows no weights.
"""

from __future__ import annotations

import onnx_ir as ir

from ...operators import DOMAIN
from ..editing import input_of, made_by
from ..readers import Readers
from ..trace import KEEP

__all__ = ["keep_positions"]

ATTENTION = "GroupQueryAttention"  # how the names of all that mix positions begin
# Stock operators: element by element, by a weight, and into parts of the features.
ELEMENTS = ("Add", "Sub", "Mul", "Div", "Relu", "Sigmoid", "Tanh", "Gelu", "Cast", "SequenceAt")
PRODUCT = "MatMul"
SPLITS = ("Split", "SplitToSequence")
FEATURES = (-1, 2)  # the last axis of [B, S, K]


def keep_positions(model: ir.Model, readers: Readers) -> None:
    """Move the Slice before the head up to the last attention, through what each position needs.

    Values that other nodes or outputs read, too, stay whole.
    """
    graph = model.graph
    slices = [node for node in graph if _cuts_kept(node)]
    found = [node for node in slices if not node.outputs[0].is_graph_output()]
    activations = _activations(graph)
    if len(found) == 1 and (moved := _tail(graph, found[0], activations)):
        _move(graph, found[0], moved, activations)


def _cuts_kept(node: ir.Node) -> bool:
    start = made_by(input_of(node, 1), "Neg") if node.op_type == "Slice" else None
    return start is not None and input_of(start, 0).name == KEEP


def _activations(graph: ir.Graph) -> set[ir.Value]:
    """Return the values that are not the same in every run: not made of initializers alone."""
    found = {value for value in graph.inputs if not value.is_initializer()}
    for node in graph:
        if not found.isdisjoint(node.inputs):
            found.update(node.outputs)
    return found


def _tail(graph: ir.Graph, last: ir.Node, activations: set[ir.Value]) -> list[ir.Node]:
    """Return the nodes whose results end in ``last`` alone and that compute each position alone."""
    found = {last}
    for node in reversed(graph):
        readers = [reader for value in node.outputs for reader in value.consumers()]
        shown = any(value.is_graph_output() for value in node.outputs)
        if readers and not shown and found.issuperset(readers) and _is_alone(node, activations):
            found.add(node)
    return [node for node in graph if node in found and node is not last]


def _move(graph: ir.Graph, last: ir.Node, moved: list[ir.Node], activations: set[ir.Value]) -> None:
    """Cut out the kept positions of what the moved nodes read instead of what they make."""
    cut: dict[ir.Value, ir.Value] = {}
    for node in moved:
        for index, value in enumerate(node.inputs):
            if value is None or value not in activations or value.producer() in moved:
                continue
            if value not in cut:
                again = ir.node("Slice", [value, *last.inputs[1:]])
                again.outputs[0].name = f"{value.name}.last"
                graph.insert_before(last, [again])
                cut[value] = again.outputs[0]
            node.replace_input_with(index, cut[value])
        for output in node.outputs:
            output.shape = None  # it was that of all positions
    ir.convenience.replace_all_uses_with(last.outputs, [input_of(last, 0)])
    graph.remove([last], safe=True)
    graph.sort()


def _is_alone(node: ir.Node, activations: set[ir.Value]) -> bool:
    """Return whether a node computes a position of its activations from that position."""
    read = [value in activations for value in node.inputs]
    if node.domain == DOMAIN:
        return any(read) and not node.op_type.startswith(ATTENTION)
    if node.op_type == PRODUCT:
        return read == [True, False]
    if node.op_type in SPLITS:
        return node.attributes.get_int("axis", 0) in FEATURES
    return any(read) and node.op_type in ELEMENTS
