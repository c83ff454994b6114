"""Which new ids of several rows are computed in one call of the graph.

A call takes rows side by side in the cache, and as many positions of each. It reads all weights, so
short prompts share calls. Knows lengths; does not know ids or ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

__all__ = ["Call", "calls_for", "filled_by", "part_of_call"]

# A call costs as much as this many more positions of one, at the shape of BitNet b1.58 2B-4T.
OVERHEAD = 16


class Call(NamedTuple):
    """Ids ``begin`` to ``last`` of the rows ``first`` to ``end``, exclusive.

    Ids are numbered from the ends of the prompts: 0 is the last one, and the call computes those
    with ``last <= number < begin``. A row that has fewer is padded after them, but not in its last
    call, where ``last`` is 0.
    """

    first: int
    end: int
    begin: int
    last: int

    @property
    def width(self) -> int:
        """Positions of each row."""
        return self.begin - self.last


def calls_for(counts: Sequence[int], rooms: Sequence[int], most: int, shared: bool) -> list[Call]:
    """Plan the calls for so many new ids of each row, in order.

    rooms: the positions that each row has left. most: the most positions of a call. shared: rows
    may share calls, since their numbers do not depend on how many positions a call has.
    """
    plans = [[call for row, count in enumerate(counts) for call in _alone(row, count, most)]]
    if shared and len(counts) > 1:
        plans.append(list(_shared(counts, rooms, most)))
    return min(plans, key=_cost)


def _cost(calls: Sequence[Call]) -> int:
    return sum(OVERHEAD + (call.end - call.first) * call.width for call in calls)


def _alone(row: int, count: int, most: int) -> Iterator[Call]:
    for begin in range(count, 0, -most):
        yield Call(row, row + 1, begin, max(begin - most, 0))


def _shared(counts: Sequence[int], rooms: Sequence[int], most: int) -> Iterator[Call]:
    """Longer prompts begin earlier, so that all of them end in the same calls.

    A prompt that fills half of a call gains nothing from company.
    """
    short = [count if 2 * count <= most else 0 for count in counts]
    for row, count in enumerate(counts):
        if not short[row]:
            yield from _alone(row, count, most)
    for begin, last in reversed(_levels(short, rooms)):
        unfinished = [row for row, count in enumerate(short) if count > last]
        for _, run in groupby(enumerate(unfinished), lambda pair: pair[1] - pair[0]):
            rows = [row for _, row in run]  # side by side
            width = most // (begin - last)
            for first in range(rows[0], rows[-1] + 1, width):
                yield Call(first, min(first + width, rows[-1] + 1), begin, last)


def _levels(short: Sequence[int], rooms: Sequence[int]) -> list[tuple[int, int]]:
    """Return ``begin`` and ``last`` of the calls that together compute all ids, the last first."""
    lengths = sorted({*short} - {0})
    levels: list[tuple[int, int]] = []
    last = 0
    while lengths:
        begin = lengths.pop(0)
        unfinished = [row for row, count in enumerate(short) if count > last]
        while last and lengths:  # a longer call instead of another one, where padding costs less
            padded = sum(short[row] <= begin for row in unfinished)
            fits = lengths[0] - last <= min(rooms[row] for row in unfinished)
            if not fits or (lengths[0] - begin) * padded > OVERHEAD:
                break
            begin = lengths.pop(0)
        levels.append((begin, last))
        last = begin
    return levels


def part_of_call(call: Call, new: np.ndarray) -> np.ndarray:
    """Return the ids of a call for a row; others after them are computed, and never counted."""
    part = new[max(len(new) - call.begin, 0) : len(new) - call.last]
    return np.pad(part, (0, call.width - len(part)))


def filled_by(call: Call, lengths: Sequence[int], counts: Sequence[int]) -> list[int]:
    """Return the positions of a call's rows after it, with those that are not counted."""
    return [
        lengths[row] + max(counts[row] - call.begin, 0) + call.width
        for row in range(call.first, call.end)
    ]
