"""The network as an ONNX graph without weights: traced by torch, then tidied.

``traced.py`` defines what is traced. The network is on the meta device, where tensors have shapes
but no memory. Knows torch and ONNX; knows no checkpoint and no artifact.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor, nn

from .. import __version__
from .. import operators as ops
from ..artifact import OUTPUTS
from ..model import empty
from ..network.config import BitNetConfig
from .options import KV_CACHES, Options
from .traced import TracedBitNet
from .tracing.repeated import repeated

__all__ = ["KEEP", "STATES", "attach_functions", "quiet", "tidy", "trace", "traced"]

STATES = "hidden_states."  # how the names of these outputs begin
INPUTS = ("input_ids", "attention_mask")
KEEP = "logits_to_keep"  # an optional input: the number of last positions, 0 for all
EXPORTERS = ("torch", "onnxscript", "onnx_ir")  # the loggers of torch's exporter
IR_VERSION = 11  # with opset 23; ONNX Runtime 1.26 reads it


def trace(config: BitNetConfig, options: Options) -> ir.Model:
    """Return the finished graph; initializers have the checkpoint's names and hold no data."""
    model = _trace(config, options)
    _share_rotations(model.graph)
    _finish(model)
    return model


def _trace(config: BitNetConfig, options: Options) -> ir.Model:
    """Return torch's graph, with dynamic batch, sequence and past."""
    with torch.device("meta"):
        network = TracedBitNet(config, options).eval()

    def trace_layers(count: int, bounds: Sequence[str]) -> ir.Model:
        example, pairs = _example(config, options, count)
        inputs = [*INPUTS, KEEP, *(f"past_key_values.{pair}" for pair in pairs)]
        outputs = ["logits", *(f"present.{pair}" for pair in pairs), *states_of(count, options)]
        dim = torch.export.Dim.DYNAMIC
        shapes = {
            **{name: {0: dim, 1: dim} for name in INPUTS},
            KEEP: None,
            "past": tuple({0: dim, 2: dim} for _ in pairs),
        }
        return traced(network, example, shapes, inputs, [*outputs, *bounds])

    return repeated(network, trace_layers)


def _example(
    config: BitNetConfig, options: Options, layers: int
) -> tuple[tuple[Tensor, ...], list[str]]:
    """Return inputs of a network with so many layers, and the last parts of its caches' names."""
    batch, new, past = 2, 3, 5  # none is 1, which torch would take for a constant
    rows = (batch, config.num_key_value_heads, past)
    with torch.device("meta"):
        dtype = KV_CACHES[options.kv_cache]
        caches = [empty(rows, config.head_dim, dtype) for _ in range(layers)]
        ids, mask = (torch.zeros(batch, length, dtype=torch.int64) for length in (new, past + new))
        keep = torch.zeros(1, dtype=torch.int64)
    kinds = ("key", "value", "key_scale", "value_scale")[: len(caches[0])]
    pairs = [f"{i}.{kind}" for i in range(layers) for kind in kinds]
    return (ids, mask, keep, *(part for cache in caches for part in cache)), pairs


def states_of(layers: int, options: Options) -> list[str]:
    """Return the names of the hidden states that a graph gives, one more than it has layers."""
    count = layers + 1 if options.outputs == OUTPUTS[1] else 0
    return [f"{STATES}{number}" for number in range(count)]


def traced(
    network: nn.Module,
    example: tuple[Tensor, ...],
    shapes: dict[str, Any],
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> ir.Model:
    """Return torch's graph of a network on the meta device; ``shapes`` are torch's dynamic ones."""
    with quiet():
        program = torch.onnx.export(
            network,
            example,
            dynamo=True,
            opset_version=ops.OPSET,
            dynamic_shapes=shapes,
            custom_translation_table=ops.translations(),
            input_names=list(inputs),
            output_names=list(outputs),
            optimize=False,  # constant folding would read weights that are not there yet
            verbose=False,
        )
    assert program is not None
    return program.model


def _share_rotations(graph: ir.Graph) -> None:
    """Rotate once what several linears read, as q, k and v do: each has traced its own rotation."""
    first: dict[tuple[str, ...], ir.Node] = {}
    for node in [node for node in graph if node.op_type == "Hadamard"]:
        kept = first.setdefault(tuple(str(value and value.name) for value in node.inputs), node)
        if kept is not node:
            ir.convenience.replace_all_uses_with(node.outputs, kept.outputs)
            graph.remove(node, safe=True)


def _finish(model: ir.Model) -> None:
    """Name the dynamic dimensions, make logits_to_keep optional, remove torch's metadata."""
    graph = model.graph
    total = "past_sequence_length + sequence_length"
    dims: dict[str, list[str | None]] = {
        "input_ids": ["batch_size", "sequence_length"],
        "attention_mask": ["batch_size", "total_sequence_length"],
        "logits": ["batch_size", "kept_length", None],
    }
    for value in (*graph.inputs, *graph.outputs):
        assert value.shape is not None
        name = str(value.name)
        if name.startswith(STATES):
            dims[name] = dims["logits"]
        cache = ["batch_size", None, "past_sequence_length" if "past" in name else total, None]
        dims.setdefault(name, cache[: len(value.shape)] if "." in name else [None])
    keep = next(value for value in graph.inputs if value.name == KEEP)
    keep.const_value = ir.tensor(np.zeros(1, dtype=np.int64), name=keep.name)
    graph.register_initializer(keep)  # the default of the input: 0, the logits of all positions
    tidy(model, dims)


def tidy(model: ir.Model, dims: dict[str, list[str | None]]) -> None:
    """Name the dynamic dimensions of inputs and outputs, remove torch's metadata.

    The names are those of optimum, by which transformers.js feeds the inputs.
    """
    graph = model.graph
    for value in (*graph.inputs, *graph.outputs):
        assert value.shape is not None
        sizes = zip(dims[str(value.name)], value.shape, strict=True)
        value.shape = ir.Shape([size if word is None else word for word, size in sizes])
        assert all(isinstance(size, (int, ir.SymbolicDim)) for size in value.shape)
    model.opset_imports[ops.DOMAIN] = ops.VERSION
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "bitnet_onnx", __version__
    model.doc_string = graph.doc_string = None
    model.metadata_props.clear()
    graph.metadata_props.clear()
    for node in graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
        for output in node.outputs:
            output.metadata_props.clear()
            if output not in graph.outputs:
                output.shape = None  # torch's own symbols; ONNX Runtime infers shapes itself
    for value in (*graph.inputs, *graph.initializers.values()):
        value.metadata_props.clear()


def attach_functions(model: ir.Model) -> None:
    """Attach the bodies of the operators that the finished graph uses, and of those they call."""
    unused = ops.bodies()
    pending = [node.op_type for node in model.graph if node.domain == ops.DOMAIN]
    for name in pending:  # the loop extends it
        if name in unused:
            function = unused.pop(name)()
            model.functions[function.identifier()] = function
            pending += [node.op_type for node in function if node.domain == ops.DOMAIN]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence only torch's exporter, whose messages are about its own internals."""
    loggers = [logging.getLogger(name) for name in EXPORTERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
