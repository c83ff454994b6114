"""Artifact folders: read with onnx alone, or copied with another generation_config.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx

from bitnet_onnx.files import sha256

__all__ = ["configured", "initializers", "with_json"]


def initializers(folder: Path) -> dict[str, onnx.TensorProto]:
    return {tensor.name: tensor for tensor in onnx.load(folder / "model.onnx").graph.initializer}


def configured(artifact: Path, folder: Path, values: dict[str, Any]) -> Path:
    """Link an artifact's files into a new folder, with another generation_config.json."""
    return with_json(artifact, folder, "generation_config.json", values)


def with_json(artifact: Path, folder: Path, name: str, values: dict[str, Any]) -> Path:
    """Link an artifact's files into a new folder, with other values in one of them."""
    folder.mkdir()
    for path in artifact.iterdir():
        (folder / path.name).symlink_to(path)
    manifest = json.loads((artifact / "manifest.json").read_text("utf-8"))
    changed = folder / name
    changed.unlink(missing_ok=True)
    changed.write_text(json.dumps(values))
    manifest["files"][name] = {"size": changed.stat().st_size, "sha256": sha256(changed)}
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder
