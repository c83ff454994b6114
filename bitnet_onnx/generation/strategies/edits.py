"""Edits: what a text writes in place of ids of the source that it follows.

A variable that was renamed once is renamed again. Knows ids; does not know how drafts are checked.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["Edit", "Edits"]

LONGEST = 4  # ids that are replaced, and that replace them
BACK = 2  # ids that agree where a text has come back to its source


class Edit(NamedTuple):
    """Ids of the source, and those that came in their place."""

    old: list[int]
    new: list[int]


class Edits:
    """The last replacement of each id, or of ids that begin with it."""

    def __init__(self) -> None:
        self._known: dict[int, Edit] = {}
        self._left: tuple[int, int] | None = None

    def leave(self, place: int, end: int) -> None:
        """Take that a text left its source at a place, when it had ``end`` ids."""
        self._left = place, end

    def look(self, ids: np.ndarray) -> None:
        """Learn the edit at whose end a text is, if it has come back to its source."""
        if self._left is None:
            return
        place, begin = self._left
        for end in range(begin + 1, min(begin + LONGEST, len(ids) - BACK) + 1):
            said = ids[end : end + BACK].tolist()
            for source in range(place + 1, min(place + LONGEST + 1, begin - BACK)):
                if ids[source : source + BACK].tolist() == said:
                    self._known[int(ids[place])] = Edit(
                        ids[place:source].tolist(), ids[begin:end].tolist()
                    )
                    self._left = None
                    return
        if len(ids) - begin > LONGEST + BACK:
            self._left = None

    def at(self, ids: np.ndarray, place: int) -> Edit | None:
        """Return the edit that was made where the source was as it is at a place."""
        found = self._known.get(int(ids[place]))
        if found is None or ids[place : place + len(found.old)].tolist() != found.old:
            return None
        return found

    def until(self, ids: np.ndarray) -> list[int]:
        """Return the first ids, up to another one at which there may be an edit; at least one."""
        found: list[int] = ids.tolist()
        if not self._known:
            return found
        places = (i for i, token in enumerate(found) if i and token in self._known)
        return found[: next(places, len(found))]
