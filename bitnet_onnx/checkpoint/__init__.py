"""Published checkpoints: a config, and tensors under canonical names, whatever the format.

``open_checkpoint`` finds the format; each format is one file. Nothing here knows ONNX.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import CheckpointError
from .base import Checkpoint, linear_shapes, norm_shapes, table_names
from .folder import FolderCheckpoint
from .write import save_packed, tensors_of, write_checkpoint

__all__ = [
    "Checkpoint",
    "linear_shapes",
    "norm_shapes",
    "open_checkpoint",
    "save_packed",
    "table_names",
    "tensors_of",
    "write_checkpoint",
]


def open_checkpoint(source: str | Path) -> Checkpoint:
    """Open a checkpoint folder. Raises ConfigError or CheckpointError naming file and tensor."""
    path = Path(source)
    if not path.is_dir():
        raise CheckpointError(
            f"{path} is not a folder",
            hint="give the folder that holds config.json and the .safetensors files",
        )
    return FolderCheckpoint(path)
