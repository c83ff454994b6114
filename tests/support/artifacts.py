"""Read an artifact folder with onnx alone."""

from __future__ import annotations

from pathlib import Path

import onnx

__all__ = ["initializers"]


def initializers(folder: Path) -> dict[str, onnx.TensorProto]:
    return {tensor.name: tensor for tensor in onnx.load(folder / "model.onnx").graph.initializer}
