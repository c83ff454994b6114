"""A cache in files, for contexts beyond the memory: the system keeps what it has room for.

Each buffer is mapped from a temporary file without a name, which ends with the buffer, also where
the process is killed. Its room on the disk is taken before it is mapped: a page that found none
would end the process. Knows files; does not know rows.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from pathlib import Path
from typing import IO

import numpy as np

from ...errors import GenerationError
from .growing import Cache
from .layout import CacheLayout

__all__ = ["OffloadedCache"]

PART = 1 << 20  # bytes of zeros that are written at a time


class OffloadedCache(Cache):
    """The dynamic cache, whose buffers lie in files of ``folder``; None is that of tempfile."""

    def __init__(self, layout: CacheLayout, folder: Path | None, rows: int = 1) -> None:
        super().__init__(layout, rows)
        self._folder = folder

    def _room(self, name: str, rows: int, capacity: int) -> np.ndarray:
        shape, kind = self.layout.shape(name, rows, capacity), self.layout.dtype_of(name)
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        if size == 0:
            return super()._room(name, rows, capacity)
        try:
            with tempfile.TemporaryFile(dir=self._folder, prefix="bitnet-onnx-") as file:
                _take_room(file, size)
                mapped = mmap.mmap(file.fileno(), size)  # it keeps the file
        except (OSError, ValueError) as error:  # ValueError: a null character
            reason = error.strerror if isinstance(error, OSError) else None
            place = self._folder or tempfile.gettempdir()
            raise GenerationError(
                f"the offloaded cache needs a file of {size} bytes in {place}, which cannot be "
                f"made: {reason or error}",
                hint="choose a folder on another disk: cache_dir, or --cache-dir",
            ) from error
        return np.frombuffer(mapped, kind).reshape(shape)


def _take_room(file: IO[bytes], size: int) -> None:
    """Give a file so many bytes on the disk; raise OSError where it has no room."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    zeros = bytes(min(PART, size))
    for start in range(0, size, PART):
        file.write(zeros[: size - start])
    file.flush()
