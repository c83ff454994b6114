"""A graph cut after its first layers: the final norm and the head read what the last one wrote.

The weights stay in the files beside the graph. Knows artifacts, and the names of tensors in their
graphs; knows no session.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

from ..artifact import OUTPUTS, Artifact
from ..errors import ArtifactError, GenerationError
from .integers import integer
from .wire import field, fields, pieces

__all__ = ["first_layers"]

# Numbers of fields: of ModelProto, GraphProto, NodeProto, AttributeProto.
GRAPH, NODE, INITIALIZER, GRAPH_INPUT, GRAPH_OUTPUT, VALUE_INFO = 7, 1, 5, 11, 12, 13
INPUT, OUTPUT, OP_TYPE, ATTRIBUTE = 1, 2, 4, 5
SUBGRAPH = 6
NAMES = {INITIALIZER: 8, GRAPH_INPUT: 1, GRAPH_OUTPUT: 1, VALUE_INFO: 1}  # fields of their names
FIRST_NORM, FINAL_NORM = "model.layers.{}.input_layernorm.weight", "model.norm.weight"
PRESENT, HIDDEN, KEEP = "present.", "hidden_states.", "logits_to_keep"
SUM = "AddRMSNorm"  # its second output is the sum, which the residual branch goes on with


class Node(NamedTuple):
    """A node of the graph; one that comes out differently has another content."""

    op_type: str
    inputs: tuple[str, ...]
    """Those of the nodes of a loop follow: they may be of the graph around it."""
    outputs: tuple[str, ...]
    content: bytes

    @classmethod
    def of(cls, content: bytes) -> Node:
        found: dict[int, list[str]] = {INPUT: [], OUTPUT: [], OP_TYPE: []}
        inner = list[str]()
        for number, value in fields(content):
            if number in found and isinstance(value, bytes):
                found[number].append(value.decode())
            elif number == ATTRIBUTE and isinstance(value, bytes):
                inner += _read_inside(value)
        inputs = (*found[INPUT], *inner)
        return cls("".join(found[OP_TYPE]), inputs, tuple(found[OUTPUT]), content)

    def reading(self, name: str) -> Node:
        """Return the node with another first input."""
        made, first = b"", True
        for number, _, place in pieces(self.content):
            replaced = first and number == INPUT
            made += field(INPUT, name.encode()) if replaced else self.content[place]
            first = first and not replaced
        return self._replace(inputs=(name, *self.inputs[1:]), content=made)


def first_layers(artifact: Artifact, model: bytes | None, layers: int) -> tuple[Artifact, bytes]:
    """Return the artifact as if it had so few layers, and its graph of them.

    model: the graph, where it is not the artifact's own. Raises GenerationError for a number that
    the network does not have, and ArtifactError where the graph does not show its layers.
    """
    every = artifact.num_hidden_layers
    if not 1 <= integer("assistant_early_exit", layers) < every:
        raise GenerationError(
            f"assistant_early_exit is {layers}, expected fewer than the {every} layers of the"
            " network, and at least 1"
        )
    graph = _cut_model(model or artifact.model_path.read_bytes(), layers)
    changes: dict[str, Any] = {"num_hidden_layers": layers, "outputs": OUTPUTS[0]}
    return replace(artifact, manifest=artifact.manifest | changes, **changes), graph


def _cut_model(model: bytes, layers: int) -> bytes:
    parts, graph = b"", b""
    for number, value, place in pieces(model):
        if number == GRAPH and isinstance(value, bytes):
            graph += value
        else:
            parts += model[place]
    return parts + field(GRAPH, _cut(graph, layers))


def _cut(graph: bytes, layers: int) -> bytes:
    parts = [(n, v, graph[place]) for n, v, place in pieces(graph)]
    nodes = [Node.of(v) for n, v, _ in parts if n == NODE and isinstance(v, bytes)]
    nodes = _rerouted(nodes, layers)
    outputs = {_name(n, v) for n, v, _ in parts if n == GRAPH_OUTPUT and isinstance(v, bytes)}
    wanted = {name for name in outputs if not _is_left_out(name, layers)}
    kept, names = _needed(nodes, wanted)
    made = [field(NODE, node.content) for node in kept]
    for number, value, raw in parts:
        if number in NAMES and isinstance(value, bytes):
            name = _name(number, value)
            made += [raw] if name in (wanted if number == GRAPH_OUTPUT else names) else []
        elif number != NODE:
            made.append(raw)
    return b"".join(made)


def _rerouted(nodes: list[Node], layers: int) -> list[Node]:
    """Return the nodes, where the final norm reads what layer number ``layers`` reads."""
    begin, end = _reader(nodes, FIRST_NORM.format(layers)), _reader(nodes, FINAL_NORM)
    hidden = begin.outputs[1] if begin.op_type == SUM else begin.inputs[0]
    if end.op_type == SUM:
        raise _not_shown("the sum before the final norm is part of it")
    # Only some positions have logits: they are cut out before the norm, or in the last layer.
    keep = {name for n in nodes if (n.op_type, *n.inputs) == ("Neg", KEEP) for name in n.outputs}
    slices = [n for n in nodes[: nodes.index(end)] if n.op_type == "Slice" and n.inputs[1] in keep]
    last = slices[-1] if slices else end
    read = {id(last): last.reading(hidden)}
    if slices:
        read[id(end)] = end.reading(last.outputs[0])
    return [read.get(id(node), node) for node in nodes]


def _read_inside(attribute: bytes) -> list[str]:
    """Return the names that an attribute's graph reads and gives, if it is one."""
    names = list[str]()
    for graph in (v for n, v in fields(attribute) if n == SUBGRAPH and isinstance(v, bytes)):
        for number, value in fields(graph):
            if number == NODE and isinstance(value, bytes):
                names += Node.of(value).inputs
            elif number == GRAPH_OUTPUT and isinstance(value, bytes):
                names.append(_name(number, value))
    return names


def _reader(nodes: Iterable[Node], name: str) -> Node:
    found = next((node for node in nodes if name in node.inputs), None)
    if found is None:
        raise _not_shown(f"no node reads {name}")
    return found


def _needed(nodes: list[Node], wanted: set[str]) -> tuple[list[Node], set[str]]:
    """Return the nodes that make what is wanted, in order, and the names of all they use."""
    makers = {name: node for node in nodes for name in node.outputs}
    names, left, kept = set[str](), list(wanted), set[int]()
    while left:
        name = left.pop()
        if name not in names:
            names.add(name)
            if (node := makers.get(name)) is not None:
                kept.add(id(node))
                left += node.inputs
    return [node for node in nodes if id(node) in kept], names


def _is_left_out(name: str, layers: int) -> bool:
    """Return whether an output is a hidden state, or of the cache of a layer that is cut off."""
    later = name.startswith(PRESENT) and int(name.split(".")[1]) >= layers
    return later or name.startswith(HIDDEN)


def _name(number: int, value: bytes) -> str:
    found = next((v for n, v in fields(value) if n == NAMES[number]), b"")
    return found.decode() if isinstance(found, bytes) else ""


def _not_shown(why: str) -> ArtifactError:
    return ArtifactError(
        f"the graph cannot be cut after a layer, since {why}, expected a graph of export",
        hint="export the checkpoint again, or use a smaller assistant_model",
    )
