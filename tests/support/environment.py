"""Environments of child processes."""

from __future__ import annotations

import os

__all__ = ["of_another_cpu"]


def of_another_cpu(**changes: str) -> dict[str, str]:
    """Return the environment of a child process that emulates another CPU.

    OPENBLAS_CORETYPE may select NumPy's kernels for this CPU, with instructions that the emulated
    CPU lacks, so variables of OpenBLAS are left out.
    """
    kept = {name: text for name, text in os.environ.items() if not name.startswith("OPENBLAS_")}
    return kept | changes
