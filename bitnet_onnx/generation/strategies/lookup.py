"""Prompt lookup: what came after the last ids when they occurred before may come again.

Knows ids; does not know the session. The drafts are those of transformers.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from ..processors.past import Past
from .drafts import Drafts, Schedule

__all__ = ["PromptLookup"]


class PromptLookup:
    """Looks up the last ``ngram`` ids, and fewer where they occurred nowhere else.

    The kind of its drafts is the number of ids that were found.
    """

    def __init__(self, ngram: int, eos: Collection[int]) -> None:
        self._ngram, self._eos = ngram, frozenset(eos)

    def start(self, past: Past) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

    def propose(self, past: Past, most: int, schedule: Schedule) -> Drafts:
        ids = past.ids
        for size in range(min(self._ngram, len(ids) - 1), 0, -1):
            if (start := _after(ids, size)) is not None:
                found = self._until_eos(ids[start : start + max(most, 0)].tolist())
                return Drafts(found[: schedule.most(size, len(found))] if found else (), size)
        return Drafts()

    def _until_eos(self, ids: list[int]) -> list[int]:
        """Leave out eos: the check chooses the id after the drafts anyway."""
        return next((ids[:i] for i, token in enumerate(ids) if token in self._eos), ids)


def _after(ids: np.ndarray, size: int) -> int | None:
    """Return the place after the first other occurrence of the last ``size`` ids."""
    places = np.flatnonzero(ids[size - 1 : -1] == ids[-1])  # of the last id of each window
    for back in range(1, size):
        places = places[ids[places + size - 1 - back] == ids[-1 - back]]
    return int(places[0]) + size if len(places) else None
