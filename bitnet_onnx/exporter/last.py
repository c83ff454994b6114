"""The graph once more, with the logits of the last position alone.

For clients that cannot feed ``logits_to_keep`` and need no other position. Both graphs read the
same weights. Knows ONNX files; knows no client.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from ..artifact import LAST, MODEL
from .trace import KEEP, STATES

__all__ = ["save_last"]


def save_last(folder: Path) -> None:
    """Write ``folder/model_last.onnx`` from the model.onnx beside it."""
    model = onnx.load(folder / MODEL, load_external_data=False)
    inputs, initializers = model.graph.input, model.graph.initializer
    inputs.remove(next(value for value in inputs if value.name == KEEP))
    default = next(tensor for tensor in initializers if tensor.name == KEEP)
    default.CopyFrom(numpy_helper.from_array(np.ones(1, np.int64), KEEP))
    outputs = [value for value in model.graph.output if not value.name.startswith(STATES)]
    model.graph.ClearField("output")
    model.graph.output.extend(outputs)
    logits = next(value for value in model.graph.output if value.name == "logits")
    kept = logits.type.tensor_type.shape.dim[1]
    # A size, not a name: onnxruntime-genai then makes room for the logits of one position.
    kept.Clear()
    kept.dim_value = 1
    onnx.save(model, folder / LAST)
