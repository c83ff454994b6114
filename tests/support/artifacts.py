"""Artifact folders: read with onnx alone, or copied with another generation_config.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx

from bitnet_onnx.files import sha256

__all__ = ["configured", "initializers"]


def initializers(folder: Path) -> dict[str, onnx.TensorProto]:
    return {tensor.name: tensor for tensor in onnx.load(folder / "model.onnx").graph.initializer}


def configured(artifact: Path, folder: Path, values: dict[str, Any]) -> Path:
    """Link an artifact's files into a new folder, with another generation_config.json."""
    folder.mkdir()
    for path in artifact.iterdir():
        (folder / path.name).symlink_to(path)
    manifest = json.loads((artifact / "manifest.json").read_text("utf-8"))
    config = folder / "generation_config.json"
    config.unlink(missing_ok=True)
    config.write_text(json.dumps(values))
    manifest["files"][config.name] = {"size": config.stat().st_size, "sha256": sha256(config)}
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder
