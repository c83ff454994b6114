"""Files and folders, written so that nothing half-made stays behind; JSON objects and hashes.

A file is written under a temporary name beside its target, fsynced, then renamed. Knows no content.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import time
from types import ModuleType
from typing import Any

from .errors import BitNetError, ConfigError

try:
    import fcntl as _fcntl
except ModuleNotFoundError:  # Windows
    fcntl: ModuleType | None = None
else:
    fcntl = _fcntl

__all__ = ["forget", "half_pair", "new_file", "new_folder", "once", "read_object", "sha256",
           "whole", "write_text"]  # fmt: skip

CHUNK = 1 << 20  # bytes hashed at a time
PARTIAL = re.compile(r"\..+\.[0-9a-f]{8}\.partial")  # temporary names
SETTLED = 10.0  # seconds: a writer locks its temporary file well within them
HALF = re.compile("[\ud800-\udfff]")


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder that becomes ``path`` when the block ends without error.

    Raises ConfigError when ``path`` exists (an empty folder is fine) or cannot be made, and
    BitNetError when reading or writing fails, as on a full disk. The temporary folder is always
    removed.
    """
    with _temporary(Path(path), "folder") as temporary:
        yield temporary
        for file in sorted(temporary.rglob("*")):
            _sync(file)


@contextmanager
def new_file(path: Path, replaces: bool = False) -> Iterator[Path]:
    """Yield a temporary name that becomes ``path`` when the block ends without error.

    Raises ConfigError when ``path`` exists or cannot be made, and BitNetError when reading or
    writing fails, as on a full disk. The temporary file is always removed. replaces: a file that
    exists is replaced.
    """
    with _temporary(Path(path), "file", replaces) as temporary:
        yield temporary


@contextmanager
def _temporary(path: Path, kind: str, replaces: bool = False) -> Iterator[Path]:
    """Yield an empty folder or file, which becomes ``path`` when the block ends without error."""
    made: list[Path] = []  # folders above it, removed again where the block fails
    try:
        replaced = replaces and path.is_file() and not path.is_symlink()
        if not replaced and (obstacle := _obstacle(path, kind)):
            raise ConfigError(
                f"the output {kind} {path} {obstacle}, expected a new name",
                hint="choose another one; nothing was written",
            )
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
        made = [p for p in (path.parent, *path.parent.parents) if not p.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path.parent)
        temporary.mkdir() if kind == "folder" else temporary.touch()
    except (OSError, ValueError) as error:  # ValueError: a null character
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"the output {kind} {path} cannot be made: {reason}") from error
    lock = _locked(temporary)
    try:
        yield temporary
        _sync(temporary)
        if path.is_dir() and os.name == "nt":
            path.rmdir()  # only POSIX renames over an empty folder
        temporary.replace(path)
        made = []
        _sync(path.parent)
    except OSError as error:
        raise _explained(error, path, temporary) from error
    finally:
        if lock is not None:
            os.close(lock)
        _remove(temporary)
        with suppress(OSError):  # another writer may use a folder by now
            for folder in made:
                folder.rmdir()


def _obstacle(path: Path, kind: str) -> str | None:
    """Return what is at ``path`` that a new file or folder cannot replace."""
    if path.name in ("", ".."):
        return "is the current folder, one above it or a root"
    if path.is_symlink():
        return "exists and is a link"
    if not path.exists():
        return None
    if not path.is_dir():
        return "exists and is a file"
    if any(path.iterdir()):
        return "exists and is not empty"
    if os.path.ismount(path):
        return "is a mount point"
    return "exists and is a folder" if kind == "file" else None


def _explained(error: OSError, path: Path, temporary: Path) -> BitNetError:
    """Return an error of the block in a sentence: of writing ``path``, or of reading another."""
    named = error.filename if isinstance(error.filename, str) else None
    if named is not None and not Path(named).is_relative_to(temporary) and named != str(path):
        return BitNetError(
            f"{named} cannot be used: {error.strerror}", hint="nothing was left behind"
        )
    reason = error.strerror or str(error)
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    if error.errno is None and shutil.disk_usage(path.parent).free < CHUNK:
        full, reason = True, os.strerror(errno.ENOSPC)  # NumPy says only that it wrote too little
    what = "free some disk space or choose another place; " if full else ""
    task = "writing" if full or named is not None else "making"  # reading fails without a name, too
    return BitNetError(f"{task} {path} failed: {reason}", hint=f"{what}nothing was left behind")


def _remove_abandoned(parent: Path) -> None:
    """Remove what killed writers left in a folder: old partial names that no process locks."""
    for path in parent.glob(".*.partial"):
        if PARTIAL.fullmatch(path.name) and time() - path.lstat().st_mtime > SETTLED:
            lock = _locked(path)
            if lock is not None:
                _remove(path)
                os.close(lock)


def _locked(path: Path) -> int | None:
    """Lock a path until the returned descriptor is closed; return None where that is impossible."""
    if fcntl is None:
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # another process holds the lock, or the file system has none
        os.close(descriptor)
        return None
    return descriptor


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write one UTF-8 file with Unix line ends."""
    path.write_bytes(text.encode("utf-8"))


def read_object(path: Path, error: type[BitNetError], hint: str | None = None) -> dict[str, Any]:
    """Return the JSON object in a file; raise ``error`` naming the file where there is none.

    hint: what to do when the file does not exist.
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


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of these members; raise ValueError for a name that stands there twice.

    It is the ``object_pairs_hook`` of json, which else keeps the last of the two in silence.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice[:40]!r} is given more than once")
    return found


def whole(text: str) -> int:
    """Return an integer of JSON; raise ValueError for more digits than Python reads.

    It is the ``parse_int`` of json, which else speaks of Python's settings.
    """
    try:
        return int(text)
    except ValueError:
        digits, most = len(text.lstrip("-")), sys.get_int_max_str_digits()
        raise ValueError(f"an integer has {digits} digits, expected at most {most}") from None


def half_pair(text: str) -> str | None:
    """Return the escape of the first half of a surrogate pair, which UTF-8 cannot write.

    JSON can, such as ``\\ud800``. None where the text is Unicode.
    """
    found = None if text.isascii() else HALF.search(text)
    return None if found is None else f"\\u{ord(found[0]):04x}"


def forget(path: Path) -> None:
    """Let the system drop from memory what stands on the disk; the next reader reads it there.

    What was written stands in small pages; a reader can ask for huge ones (runtime/weights.py).
    """
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError), path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # Windows has no descriptor of a folder
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
