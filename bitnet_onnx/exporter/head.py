"""The head alone, as a graph of its own: from a hidden state to logits, as transformers' lm_head.

DoLa reads the hidden states of early layers with it. It reads the same weights as model.onnx. Knows
ONNX files; knows no strategy.
"""

from __future__ import annotations

from pathlib import Path

import onnx

from ..artifact import HEAD, MODEL
from ..network.config import BitNetConfig
from .trace import STATES

__all__ = ["save_head"]


def save_head(folder: Path, config: BitNetConfig) -> None:
    """Write ``folder/model_head.onnx`` from the model.onnx beside it, which gives hidden states.

    Its logits are those before ``logits_scaling``, as those that transformers' DoLa compares.
    """
    model = onnx.load(folder / MODEL, load_external_data=False)
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    start = f"{STATES}{config.num_hidden_layers}"
    end = "logits" if config.logits_scaling == 1 else makers["logits"].input[0]
    needed, names = set[str](), [end]
    for name in names:  # the loop extends it
        if name != start and name not in needed:
            needed.add(name)
            names += makers[name].input if name in makers else ()
    nodes = [node for node in graph.node if needed.intersection(node.output)]
    weights = [tensor for tensor in graph.initializer if tensor.name in needed]
    state = next(value for value in graph.output if value.name == start)
    logits = next(value for value in graph.output if value.name == "logits")
    for node in nodes:
        node.output[:] = ["logits" if name == end else name for name in node.output]
    for field, values in (
        ("node", nodes), ("initializer", weights), ("input", [state]), ("output", [logits]),
        ("value_info", []),
    ):  # fmt: skip
        kept = [type(value).FromString(value.SerializeToString()) for value in values]
        graph.ClearField(field)
        getattr(graph, field).extend(kept)
    onnx.save(model, folder / HEAD)
