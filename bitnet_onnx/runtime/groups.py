"""Whether ONNX Runtime's own products give a position the same bits in calls of several sizes.

They add in an order that may depend on how many rows a call has, and which orders there are depends
on the CPU. So it is tried: an order does not depend on the numbers, and another one changes bits of
thousands of logits. Knows the steps of a network; does not know the session's user.
"""

from __future__ import annotations

import numpy as np

from .steps import Steps

__all__ = ["Groups"]


class Groups:
    """What was tried so far, with the steps of one session."""

    def __init__(self) -> None:
        self._most = 1  # positions of a call that give the bits of single ones
        self._differ = False

    def alike(self, steps: Steps, positions: int) -> bool:
        """Return whether calls of 1 to so many positions give the same logits."""
        positions = min(positions, steps.context_length)
        if positions > self._most and not self._differ:
            self._differ = not _alike(steps, self._most + 1, positions)
            self._most = self._most if self._differ else positions
        return positions <= self._most


def _alike(steps: Steps, least: int, most: int) -> bool:
    ids = np.random.default_rng(0).integers(steps.vocab_size, size=most)
    kept, steps.cache = steps.cache, steps.empty(1)
    try:
        alone = [steps.score(ids[i : i + 1], 0)[0] for i in range(most)]
        for size in range(least, most + 1):
            steps.reset(1)
            if not np.array_equal(steps.score(ids[:size], 0), alone[:size]):
                return False
        return True
    finally:
        steps.leave_logits()
        steps.cache = kept
