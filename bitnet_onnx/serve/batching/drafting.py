"""Drafts of requests that share steps: what each may say next, and how many of them a step checks.

Every row of a call has the same number of positions, so drafts pay where few requests run, and
where most of them repeat a text. Knows rows, the steps of a session and what they took; does not
know which requests begin or end.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from math import inf
from typing import NamedTuple

import numpy as np

from ...generation.strategies.drafts import Drafts, compared
from ...generation.strategies.following import HOPES
from ...generation.strategies.schedules import Constant, Economy, Luck
from ...runtime.lease import Lease
from .active import Active

__all__ = ["Checked", "Drafting", "keep"]

POSITIONS = 32  # the most of a call: its logits take half a megabyte for each
SHARE = 1.75  # plain steps that a step of several requests may take
ALL = Constant()


class _Step(NamedTuple):
    """A call of all running rows: their drafts, and the logits [S, vocab] after what was fed."""

    drafts: Sequence[Drafts]
    logits: Sequence[np.ndarray]


class Checked(NamedTuple):
    """What a step chose for a row: the ids, and the drafts that they were compared with."""

    drafts: Drafts
    ids: Sequence[int]


class Drafting:
    """Decides from what was chosen, and from what calls of so many rows took."""

    def __init__(self, context: int) -> None:
        self._context = context
        self._luck: Luck = {}
        self._economies = dict[int, Economy]()  # by rows

    def step(self, lease: Lease, running: Sequence[Active], together: bool, drafts: bool) -> _Step:
        """Append the last id of each row, and its drafts if there may be some.

        together: all rows in one call, else a call for each.
        """
        ids = [active.row.result.ids[-1] for active in running]
        if not together:
            one_by_one = [lease.decode([id_], range(i, i + 1)) for i, id_ in enumerate(ids)]
            return _plain([logits[0] for logits in one_by_one])
        found = self.propose(running) if drafts else []
        if any(each.ids for each in found):
            with suppress(MemoryError):  # a plain step needs less
                new = [[token, *each.ids] for token, each in zip(ids, found, strict=True)]
                return _Step(found, list(lease.score_rows(new)))
        return _plain(lease.decode(ids, range(len(ids))))

    def propose(self, running: Sequence[Active]) -> list[Drafts]:
        """Return the drafts of each row; the longest ones decide how wide the call is.

        A step of several requests takes ``SHARE`` plain ones at most.
        """
        rows = len(running)
        room = min(self._context - len(active.row.past) for active in running)
        most = min(room, POSITIONS // rows - 1)
        if most < 1 or not any(active.lookup for active in running):
            return [Drafts()] * rows
        found = [self._drafts(active, most) for active in running]
        kinds = [each.kinds[: len(each.ids)] for each in found]
        count = self._economy(rows).most_of(kinds, SHARE if rows > 1 else inf)
        return [
            each._replace(ids=each.ids[:count], further=[*each.ids[count:], *each.further])
            for each in found
        ]

    def _drafts(self, active: Active, most: int) -> Drafts:
        if active.lookup is None:
            return Drafts()
        # The id after the drafts is the last one that the limit allows.
        return active.lookup.propose(
            active.row.past, min(most, active.drafts, active.row.left - 1), ALL
        )

    def begin(self) -> None:
        """Take another request, whose text may repeat more or less than those before."""
        self._economy(1).begin()

    def learn(self, rows: Sequence[Checked], seconds: float) -> None:
        """Take what a call chose for each of its rows, and how long it took."""
        outcomes = [compared(each.drafts, each.ids, seconds) for each in rows]
        self._economy(len(rows)).learn_of(outcomes)

    def _economy(self, rows: int) -> Economy:
        return self._economies.setdefault(rows, Economy(HOPES, self._luck))


def _plain(logits: Sequence[np.ndarray] | np.ndarray) -> _Step:
    """Return a step without drafts from the logits [vocab] of each row."""
    return _Step([Drafts()] * len(logits), [row[None] for row in logits])


def keep(lease: Lease, row: int, active: Active, drafts: Drafts, accepted: int) -> None:
    """Take back the drafts that were refused, and count them."""
    lease.truncate(lease.lengths[row] - len(drafts.ids) + accepted, row)
    active.row.result.drafted_tokens += len(drafts.ids)
    active.row.result.accepted_tokens += accepted
