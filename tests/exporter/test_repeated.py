"""The graph with repeated layers is the one that torch traces from all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from inspect import unwrap
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

from bitnet_onnx.artifact import OUTPUTS
from bitnet_onnx.exporter import embedding
from bitnet_onnx.exporter import trace as trace_module
from bitnet_onnx.exporter.embedding import trace_embedding
from bitnet_onnx.exporter.options import PASSES, Options
from bitnet_onnx.exporter.trace import trace, traced
from bitnet_onnx.exporter.tracing import repeated as repeated_module
from bitnet_onnx.exporter.tracing.repeated import alike, repeated
from bitnet_onnx.network.config import BitNetConfig
from bitnet_onnx.network.hadamard import Hadamard
from bitnet_onnx.network.pooling import Pooling
from tests.support import checkpoints, maple
from tests.support.embedding import networks

BITNET = checkpoints.config_fields(layers=3)
SLIDES, SEES_ALL = "sliding_attention", "full_attention"
LAYERS = [SLIDES, SEES_ALL, SLIDES]
MAPLE = maple.CONFIG | {"num_hidden_layers": 3, "layer_types": LAYERS}
GEMMA = networks.GEMMA3 | {
    "model_type": "gemma3_text",
    "architectures": ["Gemma3TextModel"],
    "num_hidden_layers": 3,
    "layer_types": LAYERS,
    "quantization_config": networks.ONLINE,
}


def rotated(config: BitNetConfig) -> BitNetConfig:
    """Let one linear of each layer read a rotated input."""
    names = [f"model.layers.{i}.mlp.up_proj.weight" for i in range(config.num_hidden_layers)]
    return replace(config, hadamard=Hadamard(32, frozenset(names)))


def described(model: ir.Model) -> list[Any]:
    """Return all that a graph is, but for inner names, torch's symbols, and where constants are."""
    graph, made = model.graph, dict[ir.Value, Any]()
    nodes = list[Any]()
    for node in graph:
        given = [(name, str(value)) for name, value in node.attributes.items()]
        if node.op_type == "Constant":
            made[node.outputs[0]] = given
            continue
        made |= {value: (len(nodes), number) for number, value in enumerate(node.outputs)}
        read = [value and made.get(value, value.name) for value in node.inputs]
        kept = [value.name for value in node.outputs if value.is_graph_output()]
        nodes.append((node.domain, node.op_type, node.overload, read, given, kept))
    inputs, outputs, weights = (
        [(value.name, value.type, str(value.shape)) for value in part]
        for part in (graph.inputs, graph.outputs, graph.initializers.values())
    )
    tensors = [
        value.const_value and value.const_value.name for value in graph.initializers.values()
    ]
    return [nodes, inputs, outputs, weights, tensors]


CASES: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {
    "states": (BITNET, {"outputs": OUTPUTS[1], "kv_cache": "int8"}, 1),
    "two kinds": (MAPLE, {"outputs": OUTPUTS[1], "linears": "bf16"}, 2),
    "rotated": (BITNET, {}, 1),
    "embedding": (GEMMA, {}, 2),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_what_torch_makes_of_all_layers(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fields, chosen, kinds = CASES[case]
    config = BitNetConfig.from_dict(fields)
    if case == "rotated":
        config = rotated(config)
    given = {"head": "bf16", "kv_cache": "float32", "context_length": None} | chosen
    options = Options(target="native", passes=PASSES, **given).for_network(config)

    def graph() -> ir.Model:
        if case == "embedding":
            return trace_embedding(config, options, Pooling("mean"))
        return trace(config, options)

    counts, wrapped = list[int](), repeated_module._show_bounds

    def counted(network: Any) -> list[Any]:
        counts.append(len(network.model.layers))
        return wrapped(network)

    for module in (trace_module, embedding):  # not from the copies of tests/conftest.py
        monkeypatch.setattr(module, "traced", unwrap(traced))
    monkeypatch.setattr(repeated_module, "_show_bounds", counted)
    found = graph()
    monkeypatch.setattr(repeated_module, "alike", lambda layers, _: list(range(len(layers))))
    assert described(found) == described(graph())
    assert counts == [kinds]
    names = [value.name for node in found.graph for value in node.outputs]
    assert len(set(names)) == len(names)


class Toy(nn.Module):
    """Layers that, but for those of kind 0, read what is computed after the first one's input."""

    def __init__(self, kinds: Sequence[int]) -> None:
        super().__init__()
        self.model: Any = nn.Module()
        self.model.layers = nn.ModuleList(nn.Linear(4, 4) for _ in kinds)
        self.kinds = list(kinds)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        x = x * 2
        shared = x.sum()
        for layer, kind in zip(self.model.layers, self.kinds, strict=True):
            x = layer(x) + kind * shared if kind else layer(x)
        return (x * 3,)


def test_layers_that_read_more_than_their_input_are_all_traced() -> None:
    with torch.device("meta"):
        network, example = Toy([1, 2, 1]), torch.zeros(2, 4)
    traces = list[int]()

    def trace_layers(count: int, bounds: Sequence[str]) -> ir.Model:
        traces.append(count)
        return traced(network, (example,), {"x": {0: torch.export.Dim.DYNAMIC}}, ["x"],
                      ["y", *bounds])  # fmt: skip

    graph = repeated(network, trace_layers).graph
    assert traces == [2, 3]
    assert [value.name for value in graph.outputs] == ["y"]
    weights = [name for name in graph.initializers if name.endswith("weight")]
    assert weights == [f"model.layers.{i}.weight" for i in range(3)]


SHARES: dict[str, Callable[[Any], None]] = {
    "weight": lambda layers: setattr(layers[1], "weight", layers[0].weight),
    "bias": lambda layers: setattr(layers[3], "bias", layers[1].bias),
    "layer": lambda layers: layers.__setitem__(2, layers[0]),
}


@pytest.mark.parametrize("shared", SHARES)
def test_layers_that_share_weights_are_what_torch_makes_of_them(
    shared: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def graph() -> ir.Model:
        with torch.device("meta"):
            network, example = Toy([0] * 4), torch.zeros(2, 4)
        SHARES[shared](network.model.layers)
        shapes = {"x": {0: torch.export.Dim.DYNAMIC}}
        return repeated(
            network, lambda _, bounds: traced(network, (example,), shapes, ["x"], ["y", *bounds])
        )

    found = graph()
    monkeypatch.setattr(repeated_module, "alike", lambda layers, _: list(range(len(layers))))
    assert described(found) == described(graph())


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: setattr(layer, "width", 3),
        lambda layer: setattr(layer, "norm", nn.LayerNorm(4, device="meta")),
        lambda layer: setattr(layer.inner, "bias", None),
        lambda layer: layer.inner.register_buffer("eps", torch.tensor([1e-5])),
        lambda layer: layer.inner.double(),
        lambda layer: layer.inner.register_forward_pre_hook(lambda *_: None),
        lambda layer: setattr(layer.inner, "__class__", nn.Module),
        lambda layer: setattr(layer, "choices", (1, 0.0)),
        lambda layer: setattr(layer, "choices", (True, -0.0)),
        lambda layer: setattr(layer, "choices", (True, 0.0, np.zeros(2))),
        lambda layer: setattr(layer, "tables", {"a": [torch.tensor([1.0, 3.0])]}),
        lambda layer: setattr(layer.outer, "weight", layer.inner.weight),
        lambda layer: layer.update({"outer": layer.inner}),
    ],
    ids=[
        "attribute", "module", "no bias", "value", "type", "hook", "class", "1 for True", "sign",
        "array", "tensor", "weight twice", "module twice",
    ],
)  # fmt: skip
def test_layers_that_differ_in_anything_are_of_two_kinds(change: Callable[[Any], None]) -> None:
    names = ("inner", "outer")
    layers: list[Any] = [nn.ModuleDict({n: nn.Linear(4, 4) for n in names}) for _ in range(3)]
    for layer in layers:
        layer.to("meta")
        layer.choices, layer.tables = (True, 0.0), {"a": [torch.tensor([1.0, math.nan])]}
        layer.inner.register_buffer("eps", torch.tensor([1e-6]))
    assert alike(layers, "aaa") == [0, 0, 0]
    assert alike(layers, "aba") == [0, 1, 0]
    change(layers[1])
    assert alike(layers, "aaa") == [0, 1, 0]


def test_what_is_made_anew_for_each_layer_is_compared_by_its_content() -> None:
    def hook(factor: Tensor) -> Callable[..., Tensor]:
        return lambda _, inputs: inputs[0] * factor

    def hooked(factor: float) -> nn.Module:
        layer: Any = nn.ModuleDict({"inner": nn.Linear(4, 4, device="meta")})
        layer.register_forward_pre_hook(hook(torch.tensor(factor)))
        layer.register_forward_pre_hook(partial(hook(torch.ones(())), kept=layer.inner))
        layer.held = [layer, layer.inner, nn.ReLU()]
        return layer

    assert alike([hooked(1), hooked(2), hooked(1)], "aaa") == [0, 1, 0]
