"""Prompt lookup as transformers does it: the first place where the last ids occurred before.

Knows ids; does not know the session. ``following.py`` finds better drafts.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from ..processors.past import Past
from .drafts import Drafts, Schedule

__all__ = ["PromptLookup"]


class PromptLookup:
    """Looks up the last ``ngram`` ids, and fewer where they occurred nowhere else."""

    def __init__(self, ngram: int, eos: Collection[int]) -> None:
        self._ngram, self._eos = ngram, frozenset(eos)

    def start(self, past: Past) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

    def propose(self, past: Past, most: int, schedule: Schedule) -> Drafts:
        """The kind of the drafts tells how many ids were found: 1, 2 or 3, 4 to 7, and so on."""
        start, size = _after(past.ids, self._ngram)
        found = self._until_eos(past.ids[start : start + max(most, 0)].tolist())
        kinds = [size.bit_length()] * len(found)
        return Drafts(found[: schedule.most(kinds)] if found else (), kinds)

    def _until_eos(self, ids: list[int]) -> list[int]:
        """Leave out eos: the check chooses the id after the drafts anyway."""
        return next((ids[:i] for i, token in enumerate(ids) if token in self._eos), ids)


def _after(ids: np.ndarray, most: int) -> tuple[int, int]:
    """Return the place after the first other occurrence of the last ids, and how many they are.

    They are as many as occurred, and at most so many; the place is the end where none did.
    """
    ends, size = np.flatnonzero(ids[:-1] == ids[-1]), 0
    longer = ends
    while len(longer) and size < most:
        ends, size = longer, size + 1
        longer = longer[longer >= size]
        longer = longer[ids[longer - size] == ids[-1 - size]]
    return (int(ends[0]) + 1, size) if size else (len(ids), 0)
