"""Open a published checkpoint of any format: a config, and tensors under canonical names.

Knows how to tell the formats; each has its own file. Knows no ONNX.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import CheckpointError
from .checkpoint.base import Checkpoint
from .checkpoint.folder import FolderCheckpoint
from .checkpoint.hub import fetch, is_hub_id
from .gguf.checkpoint import GgufCheckpoint
from .gguf.parts import is_gguf, part_names

__all__ = ["open_checkpoint"]


def open_checkpoint(
    source: str | Path, *, revision: str | None = None, i2s_layout: str = "x86"
) -> Checkpoint:
    """Open a checkpoint folder, a .gguf file, or a Hugging Face Hub id ``org/name``.

    An existing path takes precedence over an id; only a string can be an id.
    revision: a branch, tag or commit of the id.
    i2s_layout: how I2_S tensors of a GGUF file are read, ``x86`` or ``arm``.
    Raises ConfigError or CheckpointError naming the file and the field or tensor.
    """
    path = Path(source)
    if path.exists():
        if revision is not None:
            raise CheckpointError(
                f"revision is {revision!r}, but {path} is on this disk",
                hint="only a Hugging Face Hub id has revisions",
            )
        return _open(path, i2s_layout)
    if not isinstance(source, str) or not is_hub_id(source):
        raise CheckpointError(
            f"{source} does not exist, expected a folder, a .gguf file or a Hub id org/name",
            hint="give the folder that holds config.json and the .safetensors files",
        )
    fetched = fetch(source, revision)
    checkpoint = _open(fetched.path, i2s_layout)
    checkpoint.hub = (source, fetched.commit)
    return checkpoint


def _open(path: Path, i2s_layout: str) -> Checkpoint:
    """Open a .gguf file, a folder with one and no safetensors, or a folder of safetensors."""
    if path.is_file() and is_gguf(path):
        return GgufCheckpoint(path, i2s_layout=i2s_layout)
    if not path.is_dir():
        raise CheckpointError(
            f"{path} is neither a folder nor a .gguf file",
            hint="give the folder that holds config.json and the .safetensors files",
        )
    found = sorted(file for file in path.iterdir() if is_gguf(file))
    if found and not any(path.glob("*.safetensors")):
        if not {file.name for file in found} <= set(part_names(found[0].name)):
            raise CheckpointError(
                f"{path} holds {len(found)} .gguf files, expected one",
                hint=f"give the path of one of them, such as {found[0]}",
            )
        return GgufCheckpoint(found[0], i2s_layout=i2s_layout)
    return FolderCheckpoint(path)
