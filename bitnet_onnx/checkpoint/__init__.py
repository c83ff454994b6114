"""Published checkpoints: a config, and tensors under canonical names, whatever the format.

``open_checkpoint`` finds the format; each format is one file. Nothing here knows ONNX.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import CheckpointError
from .base import Checkpoint, linear_shapes, norm_shapes, table_names
from .folder import FolderCheckpoint
from .gguf import GgufCheckpoint
from .gguf_write import write_gguf
from .write import tensors_of, write_checkpoint

__all__ = [
    "Checkpoint",
    "GgufCheckpoint",
    "linear_shapes",
    "norm_shapes",
    "open_checkpoint",
    "table_names",
    "tensors_of",
    "write_checkpoint",
    "write_gguf",
]


def open_checkpoint(source: str | Path, *, i2s_layout: str = "x86") -> Checkpoint:
    """Open a checkpoint folder, or a .gguf file, or a folder that holds one and no safetensors.

    i2s_layout: how I2_S tensors of a GGUF file are read, ``x86`` or ``arm``.
    Raises ConfigError or CheckpointError naming file and tensor.
    """
    path = Path(source)
    if path.is_file() and path.suffix == ".gguf":
        return GgufCheckpoint(path, i2s_layout=i2s_layout)
    if not path.is_dir():
        raise CheckpointError(
            f"{path} is not a folder or a .gguf file",
            hint="give the folder that holds config.json and the .safetensors files",
        )
    found = sorted(path.glob("*.gguf"))
    if found and not any(path.glob("*.safetensors")):
        if len(found) > 1:
            raise CheckpointError(
                f"{path} holds {len(found)} .gguf files, expected one",
                hint=f"give one of them, as {found[0]}",
            )
        return GgufCheckpoint(found[0], i2s_layout=i2s_layout)
    return FolderCheckpoint(path)
