"""Searches whose sequences fork: rows of the session become copies of others from step to step.

Knows the steps of a session and what a search decides; does not know how it decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from ..leases import LeaseLike
from ..processors.past import Past
from ..rows import FinishReason, Row

__all__ = ["Ends", "Fork", "Search", "Stopped", "search"]

# (row, new ids) -> why they end; None where they can go on.
Ends = Callable[[Row, list[int]], FinishReason | None]
Stopped = Callable[[list[int]], bool]  # new ids -> whether a stop string ends them


@dataclass(frozen=True)
class Fork:
    """What follows a step: sequence i goes on from the former one ``parents[i]`` with an id."""

    parents: list[int]
    tokens: list[int]

    def pasts(self, former: list[Past]) -> list[Past]:
        """Return the pasts of the sequences, each its own."""
        pasts = [former[parent].copy() for parent in self.parents]
        for past, token in zip(pasts, self.tokens, strict=True):
            past.add([token])
        return pasts


class Search:
    """The search of one prompt for the best answers, which its rows get."""

    width: int
    """Sequences in the session."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows, self.prompt, self.done = rows, rows[0].prompt, False

    def step(self, logits: np.ndarray, ends: Ends) -> Fork:
        """Choose the next ids from logits [width, vocab]; set ``done`` where the search ends."""
        raise NotImplementedError

    def answers(self) -> list[tuple[list[int], FinishReason, float]]:
        """Return ids, reason and score of the answers, the best one first."""
        raise NotImplementedError


def search(
    lease: LeaseLike, searches: list[Search], context: int, stopped: Stopped | None = None
) -> None:
    """Run the searches of all prompts side by side, and fill the results of their rows."""
    begun = first = perf_counter()

    def ends(row: Row, ids: list[int]) -> FinishReason | None:
        # The last id of a full context needs no position.
        full = len(row.prompt) + len(ids) > context
        reason = row.reason(ids, full, begun)
        return "stop_string" if reason != "stop" and stopped and stopped(ids) else reason

    running = sorted(searches, key=lambda s: len(s.prompt), reverse=True)
    lease.reset(len(running))  # prompts of one length share calls
    prompts = [each.prompt for each in running]
    logits = lease.prefill_rows(prompts) if len(prompts) > 1 else lease.prefill(prompts[0])[None]
    copies = [place for place, each in enumerate(running) for _ in range(each.width)]
    lease.reorder(copies)
    logits = logits[copies]
    while True:
        start, parents, tokens = 0, list[int](), list[int]()
        for each in running:
            fork = each.step(logits[start : start + each.width], ends)
            if not each.done:
                parents += [start + parent for parent in fork.parents]
                tokens += fork.tokens
            start += each.width
        if first == begun:
            first = perf_counter()
        running = [each for each in running if not each.done]
        if not running:
            break
        if parents != list(range(lease.batch_size)):
            lease.reorder(parents)
        logits = lease.decode(tokens)
    for each in searches:
        for row, (ids, reason, score) in zip(each.rows, each.answers(), strict=False):
            row.result.ids, row.result.finish_reason, row.result.score = ids, reason, score
            row.result.prefill_seconds = first - begun
            row.result.decode_seconds = perf_counter() - first
