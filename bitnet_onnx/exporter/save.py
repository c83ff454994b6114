"""Save the graph and its weights: model.onnx and model.onnx_data.

Each weight is read only when it is written. Knows readers and file names; knows no operator.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir import external_data
from tqdm import tqdm

from ..artifact import MODEL, WEIGHTS
from .readers import Reader, Readers
from .trace import KEEP

__all__ = ["save"]

EXTERNAL_BYTES = 1024  # smaller initializers stay inside model.onnx


def save(model: ir.Model, readers: Readers, folder: Path, part: int | None, progress: bool) -> None:
    """Write ``folder/model.onnx`` and its data.

    part: the most bytes of one data file; more go to model.onnx_data_1 and so on. None: one file.
    """
    initializers = model.graph.initializers
    assert set(readers) <= set(initializers), "a weight that the graph does not use"
    for name, value in initializers.items():
        # An initializer without a reader is a small constant of the graph itself.
        if value.const_value is not None and name != KEEP and name in readers:
            value.const_value = _lazy(readers[name], value.const_value, name)
    total = sum(1 for value in initializers.values() if value.const_value is not None)
    with tqdm(
        total=total, desc="weights", unit="tensor", disable=not progress, file=sys.stderr
    ) as bar:
        stored = external_data.unload_from_model(
            model,
            folder,
            WEIGHTS,
            size_threshold_bytes=EXTERNAL_BYTES,
            max_shard_size_bytes=part,
            callback=lambda *_: bar.update(),
        )
        # Those that stay inside are read here: onnx_ir would wrap what a reader raises.
        for name, value in initializers.items():
            if isinstance(value.const_value, ir.LazyTensor):
                value.const_value = value.const_value.raw()
                value.const_value.name = name
        proto = ir.to_proto(stored)
    if part is not None:
        _rename_parts(proto, folder)
    onnx.save(proto, folder / MODEL)


def _lazy(read: Reader, placeholder: ir.TensorProtocol, name: str) -> ir.LazyTensor:
    return ir.LazyTensor(
        partial(_evaluate, read, placeholder),
        dtype=placeholder.dtype,
        shape=ir.Shape(placeholder.shape.numpy()),
        name=name,
    )


def _evaluate(read: Reader, like: ir.TensorProtocol) -> ir.TensorProtocol:
    stored = read()
    tensor = ir.tensor(stored) if isinstance(stored, np.ndarray) else stored
    assert (tensor.shape, tensor.dtype) == (like.shape, like.dtype), like.name
    return tensor


def _rename_parts(proto: onnx.ModelProto, folder: Path) -> None:
    """Rename onnx_ir's model-00001-of-00002.onnx_data and so on as transformers.js expects."""
    names = {}
    for number, path in enumerate(sorted(folder.glob("model*.onnx_data"))):
        names[path.name] = WEIGHTS if number == 0 else f"{WEIGHTS}_{number}"
        path.rename(folder / names[path.name])
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = names[entry.value]
