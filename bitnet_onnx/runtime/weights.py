"""The weights of a graph as they lie in their files: one mapping a file, in huge pages if possible.

A step reads all weights. In pages of 4 KB that takes a walk through the page tables for each six
rows: a fifth of a step's time. Linux reads a file into pages of 2 MB where its mapping asks for
them and its file system can (ext4 since 6.16, XFS and btrfs before). ONNX Runtime would map each
tensor by itself, never in whole pages of 2 MB, and read some before anybody can ask.
Knows the operating system; does not know ONNX Runtime. What is not understood is left to it.
"""

from __future__ import annotations

import math
import mmap
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from .graph import Table, tables

__all__ = ["mapped_weights"]

# NumPy's types of ONNX's; of bfloat16, which NumPy lacks, the bits.
STORED = {1: np.float32, 2: np.uint8, 3: np.int8, 6: np.int32, 7: np.int64, 16: np.uint16}


def mapped_weights(model: bytes, folder: Path) -> Iterator[tuple[Table, np.ndarray]]:
    """Yield the weights of a serialized graph that are in files of the folder, not copied."""
    if not sys.platform.startswith("linux"):
        return
    mappings = dict[str, mmap.mmap | None]()
    with suppress(IndexError, KeyError, ValueError):  # damaged: ONNX Runtime says how
        for table in tables(model):
            if table.place is None:
                continue
            if table.place.file not in mappings:
                mappings[table.place.file] = _mapping(folder, table.place.file)
            array = _array(table, mappings[table.place.file])
            if array is not None:
                yield table, array


def _mapping(folder: Path, name: str) -> mmap.mmap | None:
    """Map a file of the folder, and ask for huge pages; None where that is impossible."""
    path = folder / name
    with suppress(OSError, ValueError), path.open("rb") as file:  # ValueError: an empty file
        if path.resolve().parent != folder.resolve():
            return None
        mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        with suppress(OSError, AttributeError):  # a kernel without them
            mapping.madvise(mmap.MADV_HUGEPAGE)
        return mapping
    return None


def _array(table: Table, mapping: mmap.mmap | None) -> np.ndarray | None:
    """Return a table as it lies in a mapping; None where not all of it does."""
    dtype, count = STORED.get(table.kind), math.prod(table.shape)
    if mapping is None or table.place is None or dtype is None or count == 0:
        return None
    offset, size = table.place.offset, count * np.dtype(dtype).itemsize
    if table.place.size != size or not 0 <= offset <= len(mapping) - size:
        return None
    return np.frombuffer(mapping, dtype, count, offset).reshape(table.shape)
