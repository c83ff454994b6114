"""Kept beginnings in a folder, so that a server which starts again finds them.

Each file is a prompt cache of ``runtime.cache.saved`` and named by its ids. They hold what clients
wrote, so only the user of the server may read them. Several servers may have one folder: none
removes what another one wrote. Knows files and rows; does not know requests.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from ...errors import GenerationError
from ...runtime.lease import Lease
from .prefixes import Prefixes

__all__ = ["load_prefixes", "save_prefixes"]

NAME = re.compile(r"[0-9a-f]{32}\.cache")
ROW = 0  # an empty one


def load_prefixes(folder: Path, lease: Lease, prefixes: Prefixes) -> frozenset[str]:
    """Keep what the files of a folder hold, the newest of them first to stay; return their names.

    Raises GenerationError for a file that is damaged or of another model.
    """
    files = [path for path in _listed(folder) if NAME.fullmatch(path.name)]
    for path in sorted(files, key=_age):
        try:
            lease.load(path, ROW)
        except GenerationError as error:
            if not path.exists():  # another server has removed it
                continue
            error.hint = "remove the file: what it holds is computed again"
            raise
        prefixes.keep(lease.ids(ROW), _part(lease))
        lease.truncate(0, ROW)
    return frozenset(path.name for path in files)


def save_prefixes(folder: Path, lease: Lease, prefixes: Prefixes, loaded: frozenset[str]) -> None:
    """Write what is kept, the file that was used last as the newest.

    Together the files have as many bytes as the memory may have. loaded: names of files that were
    read; those of texts that are kept no more are removed. Raises BitNetError.
    """
    _listed(folder)
    kept = set[str]()
    for ids, found in prefixes.texts():
        path = folder / f"{hashlib.sha256(ids.tobytes()).hexdigest()[:32]}.cache"
        lease.fill(ids, found.write, ROW)
        lease.save(path, ROW)
        lease.truncate(0, ROW)
        kept.add(path.name)
    for name in loaded - kept:
        with suppress(OSError):
            (folder / name).unlink()


def _part(lease: Lease) -> Callable[[int, int], dict[str, np.ndarray]]:
    return lambda begin, end: lease.part(ROW, begin, end)


def _age(path: Path) -> tuple[int, str]:
    try:
        return path.stat().st_mtime_ns, path.name
    except OSError:  # another server has removed it
        return 0, path.name


def _listed(folder: Path) -> list[Path]:
    """Return the files of a folder, which is made where there is none."""
    try:
        folder.mkdir(0o700, parents=True, exist_ok=True)
        return sorted(folder.iterdir())
    except OSError as error:
        raise GenerationError(
            f"{folder} cannot be used for beginnings of prompts: {error.strerror}",
            hint="choose a folder that can be written",
        ) from error
