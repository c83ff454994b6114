"""How many ids of a prompt are computed between two steps, so that running answers do not wait.

Knows measured seconds; does not know sessions.
"""

from __future__ import annotations

__all__ = ["Pace"]

SHARE = 1.75  # steps that a part of a prompt may take: two tokens are 2.75 apart, before noise
FIRST = 8  # positions, before anything was measured
GROWTH = 1.5  # from part to part


class Pace:
    """The size of the parts of prompts, from what the last part and the last steps took."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._part = FIRST, 0.0  # positions and seconds
        self._asked = 0
        self._steps = dict[int, float]()  # seconds by rows
        self._step = 0.0  # seconds of the last one

    def positions(self, running: int) -> int:
        """Return how many positions may be computed before the next step of so many rows."""
        self._asked = self._most
        if not running:
            return self._asked
        size, seconds = self._part
        # A call has a fixed cost, so a larger part takes less than this says, and the next one
        # grows; a smaller one takes more, and the next one shrinks.
        step = self._steps.get(running, self._step)
        wanted = size * SHARE * step / seconds if seconds and step else FIRST
        self._asked = min(max(int(min(wanted, GROWTH * size + 1)), 1), self._most)
        return self._asked

    def stepped(self, rows: int, seconds: float) -> None:
        """Take what a step of so many rows took."""
        self._step = self._steps[rows] = seconds

    def computed(self, positions: int, seconds: float) -> None:
        """Take what a part of a prompt took; the end of a prompt, a shorter one, says little."""
        if positions == self._asked:
            self._part = positions, seconds
