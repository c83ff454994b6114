"""Drafts: ids that may come next, to be checked in one call.

Knows what a drafter and a schedule do for the check; does not know how.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ..processors.past import Past
from ..sampling import Drawn

__all__ = ["Drafter", "Drafts", "Outcome", "Schedule", "compared"]


class Drafts(NamedTuple):
    """Ids that may come next; ``kinds`` say how each was found, since kinds differ in luck."""

    ids: Sequence[int] = ()
    kinds: Sequence[int] = ()
    """Of ``ids`` and ``further``."""
    drawn: Sequence[Drawn] = ()
    """How each was drawn; empty where none was."""
    reading: float = 0.0
    """Seconds of what it took to read a prompt before them."""
    further: Sequence[int] = ()
    """Ids that may follow but are not checked: the text shows whether they were right."""


class Outcome(NamedTuple):
    """What became of drafts, and of the ids that may have followed them."""

    kinds: Sequence[int]
    """Of all of them, in order."""
    drafted: int
    """How many of the first were checked."""
    right: int
    """How many of the first came."""
    missed: bool
    """Whether another id came in place of the one after those."""
    seconds: float
    """Of the call that checked them."""
    drafting: float = 0.0
    """Seconds that it took to find them, but for a prompt that was read."""

    @property
    def accepted(self) -> int:
        """How many checked ones came."""
        return min(self.right, self.drafted)


class Schedule(Protocol):
    """How many drafts are checked at a time."""

    def most(self, kinds: Sequence[int]) -> int:
        """Return how many drafts of these kinds to check; 0 takes a plain step."""

    def learn(self, outcome: Outcome) -> None:
        """Take what became of them; a plain step has drafted none."""


class Drafter(Protocol):
    """Finds drafts."""

    def start(self, past: Past) -> None:
        """Take the prompt."""

    def propose(self, past: Past, most: int, schedule: Schedule) -> Drafts:
        """Return at most so many drafts, and as many as the schedule asks for."""

    def close(self) -> None:
        """Give back what was used; nothing is drafted any more."""


def compared(
    drafts: Drafts, chosen: Sequence[int], seconds: float, drafting: float = 0.0
) -> Outcome:
    """Return what became of drafts when these ids were chosen."""
    expected = [*drafts.ids, *drafts.further]
    pairs = zip(expected, chosen, strict=False)
    right = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(expected), len(chosen)))
    missed = right < min(len(expected), len(chosen))
    return Outcome(drafts.kinds, len(drafts.ids), right, missed, seconds, drafting)
