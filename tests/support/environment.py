"""Environments of child processes, and what they say where no network answers."""

from __future__ import annotations

import os
import re

__all__ = ["no_network", "of_another_cpu"]

OFFLINE = re.compile(
    r"No matching distribution|Connection|Temporary failure|timed out"
    r"|ENOTFOUND|ECONNREFUSED|EAI_AGAIN|ETIMEDOUT|network",
    re.IGNORECASE,
)


def of_another_cpu(**changes: str) -> dict[str, str]:
    """Return the environment of a child process that emulates another CPU.

    OPENBLAS_CORETYPE may select NumPy's kernels for this CPU, with instructions that the emulated
    CPU lacks, so variables of OpenBLAS are left out.
    """
    kept = {name: text for name, text in os.environ.items() if not name.startswith("OPENBLAS_")}
    return kept | changes


def no_network(said: str) -> bool:
    """Whether pip or npm, which failed with these words, found no package index."""
    return bool(OFFLINE.search(said))
