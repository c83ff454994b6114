"""Published checkpoints: a config, and tensors under canonical names, whatever the format.

``open_checkpoint`` finds the format; each format is one file. Nothing here knows ONNX.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import CheckpointError
from .base import Checkpoint, linear_shapes, norm_shapes, table_names
from .folder import FolderCheckpoint
from .hub import fetch, is_hub_id
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


def open_checkpoint(source: str | Path, *, revision: str | None = None) -> Checkpoint:
    """Open a checkpoint folder, or a Hugging Face Hub id ``org/name`` at a revision.

    A path that exists wins; only a string can be an id. Raises ConfigError or CheckpointError
    naming file and tensor.
    """
    path = Path(source)
    if path.exists():
        if revision is not None:
            raise CheckpointError(
                f"revision is {revision!r}, but {path} is on this disk",
                hint="only a Hugging Face Hub id has revisions",
            )
        return _open(path)
    if not isinstance(source, str) or not is_hub_id(source):
        raise CheckpointError(
            f"there is no {source}, expected a folder or a Hugging Face Hub id org/name",
            hint="give the folder that holds config.json and the .safetensors files",
        )
    fetched = fetch(source, revision)
    checkpoint = _open(fetched.path)
    checkpoint.hub = (source, fetched.commit)
    return checkpoint


def _open(path: Path) -> Checkpoint:
    if not path.is_dir():
        raise CheckpointError(
            f"{path} is not a folder",
            hint="give the folder that holds config.json and the .safetensors files",
        )
    return FolderCheckpoint(path)
