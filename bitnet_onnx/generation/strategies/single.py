"""Greedy decoding and sampling: each row gets one id at a step, until all are done.

Knows rows and the steps of a session; does not know text. With guidance a row has two sequences in
the session, which get the same new ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from ..leases import LeaseLike
from ..rows import Row

__all__ = ["Change", "SessionRow", "reuse", "start", "steps"]

Change = Callable[[LeaseLike, np.ndarray, list[int]], np.ndarray]


@dataclass
class SessionRow:
    """One row of the session, and the rows of the batch that begin as its copies."""

    prompt: list[int]
    rows: list[Row]
    away: bool  # what guidance leads away from

    @property
    def length(self) -> int:
        """The number of its ids; all are cached after a step."""
        return len(self.prompt) + len(self.rows[0].result.ids)


def _sequences(rows: list[Row]) -> list[SessionRow]:
    """Return one sequence for the rows of one prompt, and another one for their guidance."""
    groups: dict[int, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.prompt_number, []).append(row)
    found = [SessionRow(group[0].prompt, group, False) for group in groups.values()]
    guided = [group for group in groups.values() if group[0].away is not None]
    return found + [SessionRow(group[0].away or [], group, True) for group in guided]


def start(lease: LeaseLike, rows: list[Row]) -> list[SessionRow]:
    """Empty the session for rows whose prompts are computed anew; return its sequences."""
    found = _sequences(rows)
    found.sort(key=lambda s: len(s.prompt), reverse=True)  # those of one length share calls
    lease.reset(len(found))
    return found


def reuse(lease: LeaseLike, row: Row) -> list[SessionRow]:
    """Keep the beginning that the session's cache shares with a row's sequences."""
    found = _sequences([row])
    if lease.batch_size != len(found):
        lease.reset(len(found))
        return found
    for index, sequence in enumerate(found):
        common = _common(lease, index, sequence.prompt)
        if not sequence.away:
            row.result.cached_tokens = common
    return found


def _common(lease: LeaseLike, index: int, prompt: list[int]) -> int:
    common = 0
    # The last id must be computed: the cache holds no logits.
    for cached, wanted in zip(lease.ids(index), prompt[:-1], strict=False):
        if cached != wanted:
            break
        common += 1
    if common or lease.batch_size > 1:
        lease.truncate(common, index)
    else:
        lease.reset(1)
    return lease.lengths[index]  # fewer than asked for, where a sink cache has dropped some


def steps(
    lease: LeaseLike, sequences: list[SessionRow], context: int, change: Change | None = None
) -> Iterator[tuple[Row, int]]:
    """Yield (row, id) in the order of choice, until every row is done.

    change(lease, logits, rows) returns the logits of a step with those of some rows changed.
    """
    begun = perf_counter()
    new = [s.prompt[held:] for s, held in zip(sequences, lease.lengths, strict=True)]
    logits = lease.prefill_rows(new) if len(new) > 1 else lease.prefill(new[0])[None]
    if change is not None:
        logits = change(lease, logits, [i for i, s in enumerate(sequences) if not s.away])
    sequences, logits = _copied(lease, sequences, logits)
    rows = [s.rows[0] for s in sequences if not s.away]
    chosen = _chosen(sequences, logits, context, begun)
    seconds = perf_counter() - begun
    for row in rows:
        row.result.prefill_seconds = seconds
    yield from chosen
    while not all(row.done for row in rows):
        start = perf_counter()
        for index, s in enumerate(sequences):
            # Every step feeds every row; a row that is done gets its last id at the same position.
            held = min(s.length, context) - 1
            if s.rows[0].done and lease.lengths[index] > held:
                lease.truncate(held, index)
        logits = lease.decode([s.rows[0].result.ids[-1] for s in sequences])
        if change is not None:
            logits = change(lease, logits, [i for i, s in enumerate(sequences) if not s.away])
        chosen = _chosen(sequences, logits, context, begun)
        seconds = perf_counter() - start
        for row, _ in chosen:
            row.result.decode_seconds += seconds
        yield from chosen


def _copied(
    lease: LeaseLike, sequences: list[SessionRow], logits: np.ndarray
) -> tuple[list[SessionRow], np.ndarray]:
    """Give each row of the batch its own copy of the sequence that it begins with."""
    order = [index for index, s in enumerate(sequences) for _ in s.rows]
    if len(order) > len(sequences):
        lease.reorder(order)
    copies = [SessionRow(s.prompt, [row], s.away) for s in sequences for row in s.rows]
    return copies, logits[order] if len(order) > len(sequences) else logits


def _chosen(
    sequences: list[SessionRow], logits: np.ndarray, context: int, begun: float
) -> list[tuple[Row, int]]:
    away = {id(s.rows[0]): logits[index] for index, s in enumerate(sequences) if s.away}
    running = [(i, s.rows[0]) for i, s in enumerate(sequences) if not s.away and not s.rows[0].done]
    return [
        (row, row.take(logits[i], away.get(id(row)), not row.lasts(context), begun))
        for i, row in running
    ]
