"""Environments of child processes."""

from __future__ import annotations

import os

__all__ = ["of_another_cpu"]


def of_another_cpu(**changes: str) -> dict[str, str]:
    """The environment of a child that emulates another CPU.

    OpenBLAS, which is inside NumPy, would otherwise run the kernels that OPENBLAS_CORETYPE names
    for this CPU, with instructions that the emulated one lacks.
    """
    kept = {name: text for name, text in os.environ.items() if not name.startswith("OPENBLAS_")}
    return kept | changes
