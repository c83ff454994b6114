"""How files and folders are written so that nothing half-made is ever left behind, and read.

Write under a temporary name beside the target, fsync, rename. Knows nothing of what is written.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import BitNetError, ConfigError

__all__ = ["new_file", "new_folder", "read_object", "sha256", "write_text"]

CHUNK = 1 << 20  # bytes hashed at a time


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder that becomes ``path`` when the block ends without error.

    Raises ConfigError when ``path`` exists (an empty folder is fine) or cannot be written, and
    BitNetError when the disk is full; in each case the temporary folder is removed.
    """
    path = Path(path)
    if path.is_dir() and not any(path.iterdir()):
        path.rmdir()
    if path.exists() or path.is_symlink():
        raise ConfigError(
            f"the output folder {path} exists and is not empty",
            hint="remove it or choose another one; nothing was written",
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
        temporary.mkdir()
    except OSError as error:
        raise ConfigError(f"the output folder {path} cannot be made: {error.strerror}") from error
    try:
        yield temporary
        for file in sorted(temporary.rglob("*")):
            _sync(file)
        _sync(temporary)
        temporary.rename(path)
        _sync(path.parent)
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno is None and shutil.disk_usage(path.parent).free < CHUNK:
            reason = os.strerror(errno.ENOSPC)  # NumPy reports only that it wrote too little
        raise BitNetError(
            f"writing {path} failed: {reason}",
            hint="free some disk space or choose another folder; nothing was left behind",
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield a temporary name that becomes ``path`` when the block ends without error.

    Raises ConfigError when ``path`` exists or cannot be written, and BitNetError when the disk is
    full; in each case the temporary file is removed.
    """
    if path.exists() or path.is_symlink():
        raise ConfigError(
            f"the output file {path} exists",
            hint="remove it or choose another one; nothing was written",
        )
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
    except OSError as error:
        raise ConfigError(f"the output file {path} cannot be made: {error.strerror}") from error
    try:
        yield temporary
        _sync(temporary)
        temporary.rename(path)
        _sync(path.parent)
    except OSError as error:
        raise BitNetError(
            f"writing {path} failed: {error.strerror or error}",
            hint="free some disk space or choose another place; nothing was left behind",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write one UTF-8 file with Unix line ends."""
    path.write_bytes(text.encode("utf-8"))


def read_object(path: Path, error: type[BitNetError], hint: str | None = None) -> dict[str, Any]:
    """The JSON object in a file; raises ``error`` naming the file, whatever is wrong with it.

    hint: what to do where the file does not exist.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise error(f"{path} does not exist", hint=hint) from None
    except (OSError, ValueError, RecursionError) as reason:
        raise error(f"{path} cannot be read as JSON: {reason}") from reason
    if not isinstance(value, dict):
        raise error(f"{path} holds a JSON {type(value).__name__}, expected an object")
    return value


def sha256(path: Path) -> str:
    """The hash of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
