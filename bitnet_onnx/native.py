"""The compiled custom-op library: where it is, and which kernels it offers on this machine.

Knows the library's few exported functions, through ctypes; knows no model.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

from .errors import LibraryError

__all__ = [
    "Counters",
    "Skipped",
    "active_kernel",
    "kernels",
    "library_path",
    "read_memory",
    "version",
]

_NAMES = {"win32": "bitnet_onnx_ops.dll", "darwin": "libbitnet_onnx_ops.dylib"}
SKIPPED = "bitnet_onnx_counters_skipped_"
FILE_NAME = _NAMES.get(sys.platform, "libbitnet_onnx_ops.so")


def library_path() -> Path:
    """Return the path of the package's library, or of the one that BITNET_ONNX_LIBRARY names.

    Raises LibraryError where the file does not exist.
    """
    given = os.environ.get("BITNET_ONNX_LIBRARY")
    path = Path(given) if given else Path(__file__).parent / "lib" / FILE_NAME
    if not path.is_file():
        raise LibraryError(
            f"the custom-op library {path} does not exist",
            hint="install a bitnet-onnx wheel, or build it in a checkout with: make demo",
        )
    return path.resolve()


def kernels() -> list[str]:
    """Return the names of the kernels that this CPU can run, best first."""
    return str(_library().bitnet_onnx_kernels().decode()).split(",")


def active_kernel() -> str:
    """Return the kernel in use: the best one, or the one that BITNET_ONNX_KERNEL forces.

    Raises LibraryError where this CPU cannot run the forced one.
    """
    name = _library().bitnet_onnx_active_kernel()
    if name is None:
        forced = os.environ.get("BITNET_ONNX_KERNEL")
        raise LibraryError(
            f"BITNET_ONNX_KERNEL is {forced!r}, expected one that this CPU can run: "
            f"{', '.join(kernels())}",
            hint="unset BITNET_ONNX_KERNEL to use the best one",
        )
    return str(name.decode())


def version() -> str:
    """Return the library's version; that of this package when the two belong together."""
    return str(_library().bitnet_onnx_version().decode())


def read_memory(address: int, size: int) -> int:
    """Read ``size`` bytes as fast as one thread can, without the GIL, to measure bandwidth."""
    return int(_library().bitnet_onnx_read(address, size))


class Skipped(NamedTuple):
    """Bytes of weights that did not have to be read."""

    rows: int
    """Rows of up_proj, each behind a closed gate."""
    columns: int
    """Columns of down_proj, each for an activation of 0."""
    head: int
    """Rows of a two-step head's table whose logit is not among the 64 largest."""
    experts: int
    """Experts that no token of a call goes to."""

    def since(self, before: Skipped) -> Skipped:
        return Skipped(*(now - then for now, then in zip(self, before, strict=True)))


class Counters:
    """What the operators did in the sessions opened with it, which may outlive it."""

    def __init__(self) -> None:
        self._library = _library()
        self._id = int(self._library.bitnet_onnx_counters_new())
        if not self._id:
            raise MemoryError("the custom-op library has no memory for counters")

    def __del__(self) -> None:
        if getattr(self, "_id", 0):
            self._library.bitnet_onnx_counters_free(self._id)

    @property
    def session_entry(self) -> tuple[str, str]:
        """The entry of a session's options that makes it count here, set before the library."""
        return "bitnet_onnx.counters", str(self._id)

    def skipped(self) -> Skipped:
        """Return the bytes that were skipped so far."""
        counted = (getattr(self._library, f"{SKIPPED}{name}")(self._id) for name in Skipped._fields)
        return Skipped(*map(int, counted))

    def seconds(self, operator: str) -> float:
        """Return the seconds spent in all nodes of an operator; 0 for an unknown operator."""
        nanoseconds = self._library.bitnet_onnx_counters_nanoseconds(self._id, operator.encode())
        return int(nanoseconds) / 1e9


@cache
def _library() -> ctypes.CDLL:
    path = library_path()
    try:
        library = ctypes.CDLL(str(path))
        for name in ("kernels", "active_kernel", "version"):
            getattr(library, f"bitnet_onnx_{name}").restype = ctypes.c_char_p
        library.bitnet_onnx_read.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        library.bitnet_onnx_read.restype = ctypes.c_uint64
        library.bitnet_onnx_counters_new.restype = ctypes.c_uint64
        library.bitnet_onnx_counters_free.argtypes = [ctypes.c_uint64]
        library.bitnet_onnx_counters_free.restype = None
        library.bitnet_onnx_counters_nanoseconds.argtypes = [ctypes.c_uint64, ctypes.c_char_p]
        library.bitnet_onnx_counters_nanoseconds.restype = ctypes.c_uint64
        for name in Skipped._fields:
            getattr(library, f"{SKIPPED}{name}").argtypes = [ctypes.c_uint64]
            getattr(library, f"{SKIPPED}{name}").restype = ctypes.c_uint64
    except (OSError, AttributeError) as error:
        raise LibraryError(
            f"{path} is not a bitnet_onnx custom-op library for this machine: {error}",
            hint="install the bitnet-onnx wheel of this platform",
        ) from error
    return library
