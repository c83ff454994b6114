"""Open a published checkpoint of any format: a config, and tensors under canonical names.

Knows how to tell the formats; each has its own file. Knows no ONNX.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from ..artifact import MANIFEST, MODEL
from ..errors import CheckpointError, ConfigError
from .checkpoint.base import Checkpoint
from .checkpoint.folder import FolderCheckpoint
from .checkpoint.hub import fetch, is_hub_id
from .checkpoint.mlx import MlxCheckpoint, is_mlx
from .gguf.checkpoint import GgufCheckpoint
from .gguf.parts import is_gguf, part_names

__all__ = ["open_checkpoint"]


def open_checkpoint(
    source: str | Path,
    *,
    revision: str | None = None,
    i2s_layout: str = "x86",
    ignore_keys: Collection[str] = (),
    allow_degenerate: bool = False,
) -> Checkpoint:
    """Open a checkpoint folder, a .gguf file, or a Hugging Face Hub id ``org/name``.

    An existing path takes precedence over an id; only a string can be an id.
    revision: a branch, tag or commit of the id.
    i2s_layout: how I2_S tensors of a GGUF file are read, ``x86`` or ``arm``.
    ignore_keys: names of keys of config.json or of GGUF metadata that are refused because they can
    change a network; one inside a section is ``section.key``.
    allow_degenerate: take tensors as they are that only damaged files have, such as all zero.
    Raises ConfigError or CheckpointError naming the file and the field or tensor.
    """
    path = Path(source)
    if path.exists():
        if revision is not None:
            raise CheckpointError(
                f"revision is {revision!r}, but {path} is on this disk",
                hint="only a Hugging Face Hub id has revisions",
            )
        return _open(path, i2s_layout, ignore_keys, allow_degenerate)
    if not isinstance(source, str) or not is_hub_id(source):
        raise CheckpointError(
            f"{source} does not exist, expected a folder, a .gguf file or a Hub id org/name",
            hint="give the folder that holds config.json and the .safetensors files",
        )
    fetched = fetch(source, revision)
    checkpoint = _open(fetched.path, i2s_layout, ignore_keys, allow_degenerate)
    checkpoint.hub = (source, fetched.commit)
    return checkpoint


def _open(
    path: Path, i2s_layout: str, ignore_keys: Collection[str], allow_degenerate: bool
) -> Checkpoint:
    if isinstance(ignore_keys, str):
        raise ConfigError(f"ignore_keys is {ignore_keys!r}, expected a list of keys")
    gguf = _gguf(path)
    if gguf is None:
        opened = MlxCheckpoint if is_mlx(path) else FolderCheckpoint
        checkpoint: Checkpoint = opened(path, ignore_keys=ignore_keys)
    else:
        checkpoint = GgufCheckpoint(gguf, i2s_layout=i2s_layout, ignore_keys=ignore_keys)
    if unused := sorted(set(ignore_keys) - set(checkpoint.ignored_keys)):
        raise ConfigError(
            f"ignore_keys names {unused[0]!r}, which {path} does not hold, expected one of its keys"
        )
    checkpoint.allow_degenerate = allow_degenerate
    return checkpoint


def _gguf(path: Path) -> Path | None:
    """Return a .gguf file, also that of a folder with one and no safetensors; None for a folder."""
    if path.is_file() and is_gguf(path):
        return path
    if not path.is_dir():
        raise CheckpointError(
            f"{path} is neither a folder nor a .gguf file",
            hint="give the folder that holds config.json and the .safetensors files",
        )
    found = sorted(file for file in path.iterdir() if is_gguf(file))
    if not found or any(path.glob("*.safetensors")):
        _refuse_artifact(path)
        return None
    if not {file.name for file in found} <= set(part_names(found[0].name)):
        raise CheckpointError(
            f"{path} holds {len(found)} .gguf files, expected one",
            hint=f"give the path of one of them, such as {found[0]}",
        )
    return found[0]


def _refuse_artifact(path: Path) -> None:
    """Refuse a folder that an export made: its config.json names an architecture of other tools."""
    made = (path / MANIFEST).is_file() and (path / MODEL).is_file()
    if made and not any(any(path.glob(f"*.{kind}")) for kind in ("safetensors", "bin")):
        raise CheckpointError(
            f"{path} is an artifact that an export made, expected the checkpoint",
            hint="give the folder or the .gguf file that was exported",
        )
