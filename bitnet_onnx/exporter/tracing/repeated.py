"""A graph with all layers of a network, from a trace of the first layer of each kind.

torch takes a third of a second to trace a layer, and most networks have one kind of them. What is
copied is what torch would trace once more: the nodes from a layer's input to its output.
Knows torch's modules and onnx_ir graphs; knows no operator and no weights.
"""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from types import FunctionType
from typing import Any

import numpy as np
import onnx_ir as ir
from torch import Tensor, nn

__all__ = ["alike", "content", "repeated"]

# The inputs, outputs and weights of a layer, by their names; a network has one state more.
OWN = re.compile(r"(model\.layers|past_key_values|present|hidden_states)\.(\d+)(\..*)?$")


def repeated(network: Any, trace: Callable[[int, Sequence[str]], ir.Model]) -> ir.Model:
    """Return the graph of a network whose layers are ``network.model.layers``.

    ``network.kinds`` has what the network's own code does differently from layer to layer.
    ``trace`` traces the network with as many layers as it has then, and gives these names to what
    it returns beside its own outputs.
    """
    layers, kinds = list(network.model.layers), list(network.kinds)
    same = alike(layers, kinds)
    firsts = sorted(set(same))
    if len(firsts) < len(same):
        network.model.layers = nn.ModuleList(layers[i] for i in firsts)
        network.kinds = [kinds[i] for i in firsts]
        hooks = _show_bounds(network)
        model = trace(len(firsts), [f"bound_{i}" for i in range(len(firsts) + 1)])
        chain = _Chain.of(model.graph, len(firsts))
        if chain is not None:
            chain.unroll([firsts.index(i) for i in same])
            return model
        for hook in hooks:  # a layer reads what another one has made: all are traced
            hook.remove()
        network.model.layers, network.kinds = nn.ModuleList(layers), kinds
    return trace(len(layers), ())


def alike(layers: Iterable[nn.Module], kinds: Iterable[Any]) -> list[int]:
    """Return for each layer the number of the first one that computes the same by its weights."""
    layers = list(layers)
    seen, times = list[Any](), Counter(place for layer in layers for place in _places(layer))
    for layer, kind in zip(layers, kinds, strict=True):
        # A weight that stands in two places has one name, which a copy would have to keep.
        alone = all(times[place] == 1 for place in _places(layer))
        seen.append((content(layer), kind, None if alone else object()))
    return [seen.index(one) for one in seen]


def _places(layer: nn.Module) -> Iterator[int]:
    """Yield what stands for each module and tensor of a layer, once for each of its places."""
    for named in (layer.named_modules, layer.named_parameters, layer.named_buffers):
        for _, value in named(remove_duplicate=False):
            yield id(value)


def content(root: nn.Module) -> list[Any]:
    """Return the modules in a module with all that they hold, to compare by ``==`` or ``repr``.

    Where one of them is held, its name stands for it.
    """
    names = {module: name for name, module in root.named_modules()}

    def told(value: Any) -> Any:
        if isinstance(value, Tensor):
            held = None if value.is_meta else repr(value.tolist())
            return value.shape, value.stride(), value.dtype, held
        if isinstance(value, np.ndarray):
            return value.shape, value.dtype, repr(value.tolist())
        if isinstance(value, bool | int | float | complex):  # 1 is not True, -0.0 not 0.0
            return type(value), repr(value)
        if isinstance(value, nn.Module):
            return names[value] if value in names else content(value)
        if isinstance(value, partial):
            return told([value.func, value.args, value.keywords])
        if isinstance(value, dict):
            return {key: told(part) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return [told(part) for part in value]
        if isinstance(value, FunctionType):  # one that is made anew by the same code
            cells = [told(cell.cell_contents) for cell in value.__closure__ or ()]
            return value.__code__, cells, told(value.__defaults__), told(value.__kwdefaults__)
        return value

    return [(type(module), told(_held(module))) for module in names]


def _held(module: nn.Module) -> dict[str, Any]:
    """Return the attributes of a module; hooks without their keys, numbers that torch counts up."""
    return {
        name: list(value.values()) if name.endswith("_hooks") else value
        for name, value in vars(module).items()
    }


def _show_bounds(network: Any) -> list[Any]:
    """Let a network return, after its outputs, the inputs of its layers and the last one's output.

    Return the hooks.
    """
    bounds = list[Tensor]()

    def entered(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        bounds.append(inputs[0])

    def left(_: nn.Module, __: Any, output: Any) -> None:
        bounds.append(output[0] if isinstance(output, tuple) else output)

    def shown(_: nn.Module, __: Any, outputs: tuple[Any, ...]) -> tuple[Any, ...]:
        found = (*outputs, *bounds)
        bounds.clear()
        return found

    layers = network.model.layers
    return [
        *(layer.register_forward_pre_hook(entered) for layer in layers),
        layers[-1].register_forward_hook(left),
        network.register_forward_hook(shown),
    ]


@dataclass
class _Chain:
    """A graph as the nodes before its layers, those of each layer, and those after."""

    graph: ir.Graph
    bounds: list[ir.Value]
    """The input of each layer, and the output of the last one."""
    parts: list[list[ir.Node]]

    @classmethod
    def of(cls, graph: ir.Graph, count: int) -> _Chain | None:
        """Take the bounds off the outputs of a graph; return None where layers are not a chain."""
        bounds = [graph.outputs.pop() for _ in range(count + 1)][::-1]
        nodes = list(graph)
        place = {node: number for number, node in enumerate(nodes)}
        ends = [place[node] + 1 for bound in bounds if (node := bound.producer()) is not None]
        if len(ends) < len(bounds) or ends != sorted(set(ends)):
            return None
        parts = [nodes[a:b] for a, b in zip([0, *ends], [*ends, len(nodes)], strict=True)]
        home = {node: i for i, part in enumerate(parts) for node in part}
        for i, part in enumerate(parts[1:], 1):  # torch states some constants where they come first
            shared = [n for n in part if n.op_type == "Constant" and _read_elsewhere(n, home, i)]
            parts[0] += shared
            parts[i] = [node for node in part if node not in shared]
        chain = cls(graph, bounds, parts)
        return chain if chain._is_one() else None

    def _is_one(self) -> bool:
        """Return whether a layer reads only its input, what is its own, and what no layer makes."""
        made = {value: i for i, part in enumerate(self.parts) for n in part for value in n.outputs}
        for i, part in enumerate(self.parts):
            if any(a.type == ir.AttributeType.GRAPH for n in part for a in n.attributes.values()):
                return False
            read = {value for node in part for value in node.inputs if value is not None}
            read -= set(self.bounds[i - 1 : i])  # of part 0, which no layer precedes, none
            if any(made.get(v, 0) not in (0, i) or _number(v) not in (None, i - 1) for v in read):
                return False
        last = len(self.parts) - 1
        for value in self.graph.outputs:
            number = _number(value)
            if made.get(value, 0) not in ((0, last) if number is None else (number + 1,)):
                return False
        return True

    def unroll(self, kinds: Sequence[int]) -> None:
        """Give the graph a layer for each of ``kinds``, which are numbers of its present layers."""
        graph, x = self.graph, self.bounds[0]
        before, *layers, after = self.parts
        given = [v for v in (*graph.inputs, *graph.initializers.values()) if _number(v) is not None]
        graph.remove(list(graph))
        graph.extend(before)
        copies = list[dict[ir.Value, ir.Value]]()
        for i, kind in enumerate(kinds):
            here = {value: _copied(value, i) for value in given if _number(value) == kind}
            here[self.bounds[kind]] = x
            for node in layers[kind]:
                copy_of = _copied_node(node, here, i)
                here |= zip(node.outputs, copy_of.outputs, strict=True)
                graph.append(copy_of)
            x = here[self.bounds[kind + 1]]
            copies.append(here)
        for node in after:
            for number, value in enumerate(node.inputs):
                if value is self.bounds[-1]:
                    node.replace_input_with(number, x)
        graph.extend(after)
        inputs, outputs, initializers = (
            _in_layers(values, kinds, copies)
            for values in (graph.inputs, graph.outputs, graph.initializers.values())
        )
        for values, new in ((graph.inputs, inputs), (graph.outputs, outputs)):
            values.clear()
            values.extend(new)
        graph.initializers.clear()
        for value in initializers:
            graph.register_initializer(value)


def _read_elsewhere(node: ir.Node, home: dict[ir.Node, int], part: int) -> bool:
    return any(home[user] != part for value in node.outputs for user in value.consumers())


def _number(value: ir.Value) -> int | None:
    """Return the number of the layer that a value is an input, output or weight of."""
    match = OWN.match(str(value.name))
    return int(match[2]) if match else None


def _named(name: str | None, layer: int) -> str:
    """Return what a value or node is called in another layer."""
    match = OWN.match(str(name))
    return f"{match[1]}.{layer}{match[3] or ''}" if match else f"layers.{layer}.{name}"


def _copied(value: ir.Value, layer: int) -> ir.Value:
    tensor: Any = copy.copy(value.const_value)
    name = _named(value.name, layer)
    if tensor is not None:
        tensor.name = name
    return ir.Value(name=name, shape=value.shape, type=value.type, const_value=tensor)


def _copied_node(node: ir.Node, here: dict[ir.Value, ir.Value], layer: int) -> ir.Node:
    return ir.Node(
        node.domain,
        node.op_type,
        [value and here.get(value, value) for value in node.inputs],
        node.attributes,
        overload=node.overload,
        outputs=[_copied(value, layer) for value in node.outputs],
        version=node.version,
        name=_named(node.name, layer),
    )


def _in_layers(
    values: Iterable[ir.Value], kinds: Sequence[int], copies: Sequence[dict[ir.Value, ir.Value]]
) -> list[ir.Value]:
    """Return the values of a graph in torch's order; a layer has those of its kind."""
    found, count = list[ir.Value](), max(kinds) + 1
    for own, run in groupby(values, lambda value: (m := OWN.match(str(value.name))) and m[1]):
        group = list(run)
        if own is not None:
            for kind, here in zip(kinds, copies, strict=True):
                found += [here[value] for value in group if _number(value) == kind]
            group = [value for value in group if _number(value) == count]  # the last state
            for value in group:
                value.name = _named(value.name, len(kinds))
        found += group
    return found
