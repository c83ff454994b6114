"""Contrastive search: likely tokens whose hidden state is unlike those before (arXiv 2202.06417).

The scores are those of transformers 4's ``_contrastive_search``. Each of the ``top_k`` likeliest
tokens is fed in a row of its own, as its hidden state is a part of its score. Knows rows and the
steps of a session; does not know text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from ...errors import GenerationError
from ..config import GenerationConfig
from ..largest import best
from ..leases import LeaseLike, SessionLike
from ..rows import Row

__all__ = ["Contrast", "contrast"]


class _Directions:
    """The hidden states of a sequence, all of length 1."""

    def __init__(self, states: np.ndarray) -> None:
        """states: [positions, hidden]"""
        self._held = _unit(states)
        self._count = len(states)

    def likeness(self, states: np.ndarray) -> np.ndarray:
        """Return the largest cosine of each of the states [k, hidden] with one that is held."""
        cosines: np.ndarray = _unit(states) @ self._held[: self._count].T
        return np.asarray(cosines.max(axis=1))

    def add(self, state: np.ndarray) -> None:
        if self._count == len(self._held):
            grown = np.empty((2 * self._count, len(state)))
            grown[: self._count] = self._held
            self._held = grown
        self._held[self._count] = _unit(state)
        self._count += 1


def _unit(states: np.ndarray) -> np.ndarray:
    """Return states as float64 of length 1; one that is 0 stays 0."""
    wide = states.astype(np.float64)
    lengths = np.sqrt(np.square(wide).sum(axis=-1, keepdims=True))
    return np.asarray(wide / np.where(lengths == 0, 1, lengths))


@dataclass
class _Sequence:
    """A row of the batch, the row of the session that holds its ids, and what comes next."""

    row: Row
    place: int
    logits: np.ndarray
    past: _Directions

    def candidates(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the likeliest ids, the first one first, and their probabilities.

        A token that the options forbid is none of them.
        """
        scores = self.row.scores(self.logits).astype(np.float64)
        ids = best(scores, min(count, int((scores > -np.inf).sum())))
        weights = np.exp(scores - scores.max())
        return ids, weights[ids] / weights.sum()


@dataclass(frozen=True)
class Contrast:
    """The search of the options."""

    alpha: float
    top_k: int

    def steps(
        self, lease: LeaseLike, rows: Sequence[Row], context: int
    ) -> Iterator[tuple[Row, int]]:
        """Yield (row, id) in the order of choice, until every row is done.

        The prompts are computed anew, since a cache holds no hidden states.
        """
        begun = start = perf_counter()
        lease.reset(len(rows))
        running = list[_Sequence]()
        for place, row in enumerate(rows):
            logits, states = lease.prefill_states(row.prompt, place)
            running.append(_Sequence(row, place, logits.copy(), _Directions(states)))
        while running:
            chosen = self._step(lease, running, context, begun)
            mark = perf_counter()
            for row, _ in chosen:
                if start == begun:
                    row.result.prefill_seconds = mark - begun
                else:
                    row.result.decode_seconds += mark - start
            yield from chosen
            start, last = perf_counter(), running[0]
            running = [each for each in running if not each.row.done]
        lease.reorder([last.place])

    def _step(
        self, lease: LeaseLike, running: list[_Sequence], context: int, begun: float
    ) -> list[tuple[Row, int]]:
        """Choose the next id of each sequence."""
        found = [each.candidates(self.top_k) for each in running]
        pairs = list(zip(running, found, strict=True))
        lease.reorder([each.place for each, (ids, _) in pairs for _ in ids])
        logits = lease.decode(np.concatenate([ids for ids, _ in found]).tolist())
        states = lease.hidden_states[-1, :, -1]
        first, chosen = 0, list[tuple[Row, int]]()
        for each, (ids, chances) in pairs:
            unlike = each.past.likeness(states[first : first + len(ids)])
            scores = (1 - self.alpha) * chances - self.alpha * unlike
            choice = int(np.argmax(scores))
            each.place = first + choice
            each.logits = logits[each.place].copy()
            each.past.add(states[each.place])
            first += len(ids)
            row = each.row
            # Each candidate needs a position, also that of the last id.
            full = len(row.prompt) + len(row.result.ids) + 1 >= context
            chosen.append((row, row.choose(int(ids[choice]), full, begun)))
        return chosen


def contrast(
    session: SessionLike, rows: Sequence[Row], config: GenerationConfig
) -> Contrast | None:
    """Return the search that the options ask for, and None where they do not.

    The session gives hidden states. Raises GenerationError for what the search cannot do.
    """
    if not config.contrasts:
        return None
    assert config.penalty_alpha is not None
    if config.top_k > session.vocab_size:
        raise GenerationError(
            f"top_k is {config.top_k} with penalty_alpha, expected at most the vocabulary of"
            f" {session.vocab_size}"
        )
    if full := [row for row in rows if len(row.prompt) >= session.context_length]:
        raise GenerationError(
            f"a prompt has {len(full[0].prompt)} tokens with penalty_alpha, expected fewer than the"
            f" context of {session.context_length}: every candidate needs a position",
            hint="shorten the prompt, or export the model with a longer context if it has one",
        )
    return Contrast(config.penalty_alpha, config.top_k)
