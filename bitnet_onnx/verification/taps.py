"""A session that also returns the input of each linear and of a two-step head.

It serves comparisons, not speed. Knows the graph's operators by name; does not know checkpoints.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx_ir as ir

from ..artifact import Artifact
from ..exporter.editing import input_of, made_by
from ..exporter.passes.norms import NORM_LINEAR
from ..exporter.passes.projections import JOINABLE, PARTS
from ..exporter.passes.zeros import FEED_FORWARD
from ..exporter.stock import activations
from ..network.parts import MIXTURE
from ..operators import DOMAIN
from ..runtime.graph import TWO_STEP
from ..runtime.session import Session
from ..runtime.steps import Ids, Steps

__all__ = ["TappedSession"]


class TappedSession(Session):
    """A session that stores in ``inputs``, after ``prefill``, the activations [1, S, K] by linear.

    Linears after the last attention, and a two-step head, under the name of its table, have the
    last position only: no other is computed.
    """

    inputs: dict[str, np.ndarray]
    _steps: TappedSteps

    def __init__(self, artifact: Artifact, threads: int = 0) -> None:
        model, self._taps = tapped(artifact)
        super().__init__(artifact, threads=threads, model=model)
        self._steps = TappedSteps(artifact, self._steps.runtime, list(self._taps))

    def prefill(self, ids: Ids, row: int = 0) -> np.ndarray:
        self._steps.chunks.clear()
        logits = super().prefill(ids, row)
        every = [np.concatenate(parts) for parts in zip(*self._steps.chunks, strict=True)]
        fed = max(map(len, every), default=0)
        values = [value if len(value) == fed else value[-1:] for value in every]
        self.inputs = {
            name: value[None]
            for names, value in zip(self._taps.values(), values, strict=True)
            for name in names
        }
        return logits


class TappedSteps(Steps):
    """Steps that keep the values of the tapped outputs, chunk by chunk."""

    def __init__(self, artifact: Artifact, runtime: Any, taps: list[str]) -> None:
        super().__init__(artifact, runtime, library=False)  # each row alone, as it is compared
        self.taps = taps
        self.chunks: list[list[np.ndarray]] = []

    def run(self, binding: Any) -> None:
        for value in self.taps:
            binding.bind_output(value, "cpu")  # ONNX Runtime allocates it
        super().run(binding)
        outputs = binding.get_outputs()
        taps = outputs[len(outputs) - len(self.taps) :]
        self.chunks.append([value.numpy()[0] for value in taps])


def tapped(artifact: Artifact) -> tuple[bytes, dict[str, list[str]]]:
    """Return the artifact's graph with the input X of each product as one more output.

    The second value maps the name of each such output to the linears that read it.
    """
    model = ir.load(artifact.model_path)
    taps: dict[str, list[str]] = {}
    for x, weight in products(model, artifact.target):
        x.type = ir.TensorType(ir.DataType.FLOAT)
        if x.name not in taps:
            model.graph.outputs.append(x)
        owner, dot, parts = weight.removesuffix(".weight").rpartition(".")
        taps.setdefault(str(x.name), []).extend(
            f"{owner}{dot}{part}" for part in parts.split(PARTS)
        )
    return ir.to_proto(model).SerializeToString(), taps


def products(model: ir.Model, target: str) -> Iterator[tuple[ir.Value, str]]:
    """Yield the input X and the weight's name of every ternary product and two-step head."""
    if target == "stock":
        for weight in model.graph.initializers.values():
            if _is_linear(str(weight.name)) and weight.dtype == ir.DataType.UINT8:
                yield activations(weight), str(weight.name)
        return
    for node in model.graph:
        if node.op_type == FEED_FORWARD:
            yield from ((input_of(node, 0), str(input_of(node, i).name)) for i in (1, 2))
            yield _normed(node), str(input_of(node, 7).name)
        elif node.op_type == NORM_LINEAR:
            yield _normed(node), str(input_of(node, 1).name)
        elif node.domain == DOMAIN and node.op_type in (*JOINABLE, *TWO_STEP):
            x, *others = (value for value in node.inputs if value is not None)
            for name in (str(value.name) for value in others):
                if name.endswith(".weight") and (_is_linear(name) or node.op_type in TWO_STEP):
                    yield x, name
        elif (table := _float32_weight(node)) is not None:
            yield input_of(node, 0), table


def _float32_weight(node: ir.Node) -> str | None:
    """Return the name of the weight of a float32 linear, None for any other node."""
    turned = made_by(input_of(node, 1), "Transpose") if node.op_type == "MatMul" else None
    name = "" if turned is None else str(input_of(turned, 0).name)
    return name if _is_linear(name) else None


def _is_linear(weight: str) -> bool:
    return weight.startswith("model.layers.") and MIXTURE not in weight


def _normed(node: ir.Node) -> ir.Value:
    """Add the node's second output, its normed input; exported graphs leave it out for speed."""
    node.resize_outputs(2)
    node.outputs[1].name = f"{node.outputs[0].name}.normed"
    return node.outputs[1]
