"""NumPy buffers as inputs and outputs of ONNX Runtime, without a copy, and its errors as ours."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import SessionError
from .open import first_line

__all__ = ["bind", "bind_at", "run_bound"]


def run_bound(runtime: Any, binding: Any) -> None:
    """Call ONNX Runtime once; raise SessionError where it fails."""
    try:
        runtime.run_with_iobinding(binding)
    except Exception as error:  # ONNX Runtime raises its own types, not exported by name
        raise SessionError(f"ONNX Runtime failed in a step: {first_line(error)}") from error


def bind(to: Any, name: str, array: np.ndarray) -> None:
    """Bind a buffer without a copy; it must be contiguous and stay alive."""
    _call(to, name, array.dtype.type, array.shape, array.ctypes.data)


def bind_at(binding: Any, name: str, shape: tuple[int, ...], address: int) -> None:
    """Bind an input of int64 at an address."""
    _call(binding.bind_input, name, np.int64, shape, address)


def _call(to: Any, name: str, dtype: Any, shape: tuple[int, ...], address: int) -> None:
    try:
        to(name, "cpu", 0, dtype, shape, address)
    except Exception as error:  # as above
        raise SessionError(f"ONNX Runtime refused to bind {name}: {first_line(error)}") from error
