"""The prompts that are being computed, in neighbouring rows behind those that run.

Knows their rows; does not know which requests run, or how many positions may be computed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...runtime.calls import OVERHEAD
from .active import Active
from .prefixes import shared
from .rows import Rows

__all__ = ["Filling"]

# Ids that prompts of one call have in common at most: more are computed once, for both. A call
# costs as much as so many positions.
ALIKE = OVERHEAD


class Filling:
    """One prompt, which may be computed part by part, or several, which are computed in a call."""

    def __init__(self, rows: Rows) -> None:
        self._rows, self._place = rows, 0
        self._prompts: list[Active] = []

    def __len__(self) -> int:
        return len(self._prompts)

    def __iter__(self) -> Iterator[Active]:
        """Return the requests as they are now, in the order of their rows."""
        return iter([*self._prompts])

    @property
    def _held(self) -> tuple[int, ...]:
        return self._rows.lease.lengths[self._place : self._place + len(self)]

    @property
    def left(self) -> int:
        """The number of positions that are to be computed."""
        return sum(len(each.row.prompt) for each in self._prompts) - sum(self._held)

    def is_alike(self, active: Active) -> bool:
        """Return whether a prompt begins as another one does."""
        new = np.array(active.row.prompt)
        return any(shared(new, np.array(each.row.prompt)) > ALIKE for each in self._prompts)

    def add(self, active: Active, first: int) -> int:
        """Give a request the row behind the others, and the row ``first`` to the first; return it.

        The rows are empty.
        """
        if not self._prompts:
            self._place = first
        self._prompts.append(active)
        return self._place + len(self) - 1

    def parts(self, most: int) -> list[list[int]]:
        """Return the next ids of each prompt, at most so many."""
        prompts = zip(self._prompts, self._held, strict=True)
        return [each.row.prompt[held : held + most] for each, held in prompts]

    def append(self, parts: list[list[int]], wanted: bool) -> np.ndarray | None:
        """Compute parts of the prompts; return the logits [prompts, vocab] after them if wanted."""
        if wanted:
            return self._rows.lease.prefill_rows(parts, self._place)
        (part,) = parts
        self._rows.lease.append(part, self._place)
        return None

    def move_to(self, first: int) -> None:
        """Move the rows to those from ``first`` on, which are before them."""
        for place in range(len(self)):
            self._rows.move(self._place + place, first + place)
        self._place = first

    def remove(self, active: Active) -> None:
        """Free the row of a request; the last one takes its place."""
        place = self._prompts.index(active)
        self._rows.empty(active.ids, self._place + place)
        last = self._prompts.pop()
        self._rows.move(self._place + len(self), self._place + place)
        if last is not active:
            self._prompts[place] = last

    def clear(self) -> list[Active]:
        """Forget the requests, in the order of their rows, and return them."""
        found, self._prompts = self._prompts, []
        return found
