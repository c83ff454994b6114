"""A line on the terminal that is written anew, as for the tokens of a long prompt that is read."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from ..generation.leases import LeaseLike, SessionLike

__all__ = ["redraw", "watched"]

STEP = 256  # tokens between two lines; a session feeds as many at once


def watched(session: SessionLike) -> SessionLike:
    """Return the session, which reports long prefills where stderr is a terminal."""
    return _Session(session) if sys.stderr.isatty() else session


class _Session:
    def __init__(self, session: SessionLike) -> None:
        self._session = session
        self.vocab_size, self.context_length = session.vocab_size, session.context_length
        self.exact_in_groups, self.layers = session.exact_in_groups, session.layers
        self.cache_implementation = getattr(session, "cache_implementation", None)
        self.exact_for, self.early_exit = session.exact_for, session.early_exit

    def claim(self) -> LeaseLike:
        return _Lease(self._session.claim())


class _Lease:
    def __init__(self, lease: LeaseLike) -> None:
        self._lease = lease

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lease, name)

    def prefill(self, ids: Sequence[int], row: int = 0) -> np.ndarray:
        """Feed the ids step by step: the bits are those of one call."""
        last = max(0, (len(ids) - 1) // STEP * STEP)
        try:
            for start in range(0, last, STEP):
                self._lease.prefill(ids[start : start + STEP], row)
                redraw(f"reading the prompt: {start + STEP} of {len(ids)} tokens")
            return self._lease.prefill(ids[last:], row)
        finally:
            if last:
                redraw("")


def redraw(text: str) -> None:
    """Write the line on the terminal anew."""
    print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)
