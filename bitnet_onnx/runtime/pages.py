"""Weights in huge pages, where the kernel has them.

A step reads all weights. In pages of 4 KB that takes a walk through the page tables for each six
rows: a fifth of a step's time. Linux reads a file into huge pages where its mapping asks for them
and its file system can (ext4 since 6.16, XFS and btrfs before), if the file is not in memory yet.
Knows the operating system; does not know ONNX Runtime. Nothing here changes a number, so where
something fails, nothing is said.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["ask_for_huge_pages"]

MADV_HUGEPAGE = 14
MAPS = Path("/proc/self/maps")


def ask_for_huge_pages(folder: Path) -> None:
    """Let files of a folder that are mapped be read into huge pages."""
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, AttributeError, ValueError):
        madvise = ctypes.CDLL(None).madvise
        madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        for start, end in _mapped(os.fsencode(folder.resolve()) + b"/"):
            madvise(start, end - start, MADV_HUGEPAGE)


def _mapped(prefix: bytes) -> Iterator[tuple[int, int]]:
    """Yield the addresses of this process's mappings of files whose path begins so."""
    for line in MAPS.read_bytes().splitlines():
        addresses, *_, path = line.split(maxsplit=5)
        if path.startswith(prefix):
            start, end = addresses.split(b"-")
            yield int(start, 16), int(end, 16)
