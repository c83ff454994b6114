"""Drafts: ids that may come next, to be checked in one call.

Knows what a drafter and a schedule do for the check; does not know how.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ..processors.past import Past
from ..sampling import Drawn

__all__ = ["Drafter", "Drafts", "Outcome", "Schedule"]


class Drafts(NamedTuple):
    """Ids that may come next; ``kind`` says how they were found, since kinds differ in luck."""

    ids: Sequence[int] = ()
    kind: int = 0
    drawn: Sequence[Drawn] = ()
    """How each was drawn; empty where none was."""
    reading: float = 0.0
    """Seconds of what it took to read a prompt before them."""


class Outcome(NamedTuple):
    """What became of drafts of a kind."""

    kind: int
    drafted: int
    accepted: int
    seconds: float
    """Of the call that checked them."""
    drafting: float = 0.0
    """Seconds that it took to find them, but for a prompt that was read."""


class Schedule(Protocol):
    """How many drafts are checked at a time."""

    def most(self, kind: int, available: int) -> int:
        """Return how many drafts of a kind to check, of so many; 0 takes a plain step."""

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
