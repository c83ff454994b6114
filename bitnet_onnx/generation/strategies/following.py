"""Lookup in the text itself: where its last ids occurred before, it may go on as it did there.

A text that repeats another one with changes, such as an edit of code, is followed past them: after
an id that differs, the source is tried behind it, and near the place before others; what replaced
an id there replaces it again. Knows ids; does not know the session.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from ..processors.past import Past
from .drafts import Drafts, Schedule
from .edits import Edits

__all__ = ["HOPES", "Following"]

NEAR = 6  # ids around the place where the source was left
RECENT = 64  # occurrences of the last id that are compared
LONGEST = 32  # ids that are compared
AHEAD = 15  # ids that are foreseen where fewer are asked for: what became of them is learned
# Kinds of drafts: by how many ids before them are the same in the source (up to 1, 2, 3, 4 to 7,
# 8 to 15, 16 to 31, more), and some others.
SAME = range(1, 8)
DOUBTFUL = 10  # and the same numbers: the source went on in several ways
BESIDE, BEHIND, REPLACED = 20, 21, 22
# How many of each kind came, in edits of code and quotations that were simulated.
HOPES = {
    **dict(zip(SAME, (0.33, 0.6, 0.77, 0.85, 0.86, 0.96, 0.99), strict=True)),
    **dict(zip((DOUBTFUL + n for n in SAME), (0.11, 0.22, 0.3, 0.3, 0.4, 0.5, 0.6), strict=True)),
    BESIDE: 0.44,  # one id is the same, near the place where the source was left
    BEHIND: 0.14,  # the id after one that differs
    REPLACED: 0.41,  # what replaced an id before
}


class _Source(NamedTuple):
    """A place in the text where it may go on, and how many ids before it are the last ones."""

    place: int
    same: int
    kind: int

    @property
    def is_near(self) -> bool:
        return self.kind in (BESIDE, BEHIND)


class _Step(NamedTuple):
    """An id that may come, and the place in the source after it."""

    id: int
    kind: int
    place: int


class Following:
    """Drafts what came after the last ids elsewhere."""

    def __init__(self, eos: Collection[int]) -> None:
        self._eos = frozenset(eos)
        self._edits, self._told = Edits(), 0
        self._source: _Source | None = None  # of the last drafts, and their steps
        self._steps: list[_Step] = []
        self._place: int | None = None  # where the text is in its source
        self._missed = 0  # ids since it was left

    def start(self, past: Past) -> None:
        self._told = len(past)

    def close(self) -> None:
        """Do nothing."""

    def propose(self, past: Past, most: int, schedule: Schedule) -> Drafts:
        ids = past.ids
        self._follow(ids)
        sources = self._sources(ids) if most > 0 else []
        if not sources:
            return Drafts()
        # The first of the likeliest: those near the place where the source was left go first.
        self._source = source = max(sources, key=lambda each: HOPES[each.kind])
        self._steps = steps = self._steps_from(ids, source, max(most, AHEAD))
        kinds = [step.kind for step in steps]
        found, count = [step.id for step in steps], schedule.most(kinds[:most])
        return Drafts(found[:count], kinds, further=found[count:])

    def _follow(self, ids: np.ndarray) -> None:
        """Take the ids that were chosen since the last drafts."""
        new, self._told = ids[self._told :].tolist(), len(ids)
        source, steps = self._source, self._steps
        self._source, self._steps = None, []
        if not new:
            return
        if source is None or not steps:
            self._pass(len(new))
            return
        came = next((i for i, s in enumerate(steps) if new[i : i + 1] != [s.id]), len(steps))
        place = steps[came - 1].place if came else source.place
        if came in (len(new), len(steps)):
            self._place, self._missed = place, 0
        elif came == 0 and source.kind == BEHIND:
            self._place, self._missed = place + 1, self._missed + 1
        elif source.same + came >= 2 or source.is_near or self._place is None:
            self._place, self._missed = place + 1, 1
            self._edits.leave(place, len(ids) - len(new) + came)
        else:
            self._pass(len(new))
        self._edits.look(ids)

    def _pass(self, count: int) -> None:
        """Go on beside the source, of which nothing is known."""
        if self._place is not None:
            self._place, self._missed = self._place + count, self._missed + count

    def _sources(self, ids: np.ndarray) -> list[_Source]:
        found = list[_Source]()
        ends = np.flatnonzero(ids[:-1] == ids[-1])[-RECENT:] + 1
        if (place := self._place) is not None and place < len(ids):
            near = ends[np.abs(ends - place) <= NEAR].tolist()
            if near:
                best = max(near, key=lambda end: (_same(ids, end), -abs(end - place)))
                same = _same(ids, best)
                found.append(_Source(best, same, BESIDE if same == 1 else _kind(same)))
            if self._missed < 2:
                kind = BEHIND if self._missed else _kind(2)
                found.append(_Source(place, 0, kind))
        if len(ends):
            longest, same = _longest(ids, ends)
            several = len(set(ids[longest].tolist())) > 1
            found.append(_Source(int(longest[-1]), same, several * DOUBTFUL + _kind(same)))
        return found

    def _steps_from(self, ids: np.ndarray, source: _Source, count: int) -> list[_Step]:
        """Return what comes in a source, edited as the text has edited it before."""
        steps, place, same, kind = list[_Step](), source.place, source.same, source.kind
        doubt = DOUBTFUL if DOUBTFUL < kind < BESIDE else 0
        while len(steps) < count:
            if place >= len(ids):  # the text repeats itself: what is drafted is the source
                steps.append(_Step(steps[place - len(ids)].id, kind, place + 1))
                place, same = place + 1, same + 1
            elif (edit := self._edits.at(ids, place)) is not None:
                place, same = place + len(edit.old), 2
                kinds = [REPLACED] + [_kind(2)] * (len(edit.new) - 1)
                steps += [_Step(*each, place) for each in zip(edit.new, kinds, strict=True)]
            else:
                for token in self._edits.until(ids[place : place + count - len(steps)]):
                    steps.append(_Step(token, kind, place + 1))
                    place, same = place + 1, same + 1
                    kind = doubt + _kind(same)
            kind = doubt + _kind(same)
        ends = (i for i, step in enumerate(steps) if step.id in self._eos)
        # The check chooses the id after the drafts anyway.
        return steps[: min(next(ends, count), count)]


def _kind(same: int) -> int:
    """Return the kind of a draft before which so many ids are the same."""
    return same if same < 4 else min(same.bit_length() + 1, SAME[-1])


def _same(ids: np.ndarray, end: int) -> int:
    """Return how many ids before a place are the last ones."""
    count = min(end, LONGEST)
    differ = np.flatnonzero(ids[end - count : end][::-1] != ids[len(ids) - count :][::-1])
    return int(differ[0]) if len(differ) else count


def _longest(ids: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, int]:
    """Return those of places before which most ids are the last ones, and how many those are."""
    size, longer = 0, ends
    while len(longer) and size < LONGEST:
        ends, size = longer, size + 1
        longer = longer[longer > size]
        longer = longer[ids[longer - 1 - size] == ids[-1 - size]]
    return ends, size
