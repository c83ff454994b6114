"""How many ids of a prompt are computed between two steps, so that running answers do not wait.

Knows measured seconds; does not know sessions.
"""

from __future__ import annotations

from ..runtime.calls import OVERHEAD

__all__ = ["Pace"]

SHARE = 2.0  # steps that a part of a prompt may take: with its own step, two tokens are 3 apart
LEAST = 8  # positions, so that a prompt comes to its end


class Pace:
    """The size of the parts of prompts, corrected by what each part and each step takes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._size: float | None = None
        self._step = 0.0

    def positions(self, running: int) -> int:
        """Return how many positions may be computed before the next step of so many rows."""
        if not running:
            return self._most
        if self._size is None:  # nothing is measured: a call costs as OVERHEAD says
            self._size = SHARE * (OVERHEAD + running) - OVERHEAD
        self._size = min(max(self._size, LEAST), self._most)
        return int(self._size)

    def stepped(self, seconds: float) -> None:
        """Take what a step took."""
        self._step = seconds

    def computed(self, positions: int, seconds: float) -> None:
        """Take what a part of a prompt took; only parts of the full size say something."""
        if self._size is not None and positions == int(self._size) and seconds and self._step:
            self._size *= min(max(SHARE * self._step / seconds, 0.5), 1.5)
