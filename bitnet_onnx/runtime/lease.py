"""A lease: the steps of a session for one user, who may be overtaken by another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from .cache.moves import copy_row, part_of, settle, widened
from .cache.saved import load_row, save_row
from .integers import Ids
from .steps import Steps
from .users import User

__all__ = ["Lease"]

T = TypeVar("T")


class Caller(Protocol):
    """Runs a step of a session for a user, and refuses one who was overtaken."""

    def __call__(self, user: User | None, step: Callable[[Steps], T]) -> T: ...


class Lease(User):
    """The steps of a session for one user, such as a stream; any thread may call them.

    Once another user has taken the session over, each of them raises SessionError. Its
    batch_size, lengths, ids, reset, prefill, prefill_rows, decode, truncate, reorder, save,
    load, hidden_states and early_logits are those of the Session; ``score`` computes all its ids in
    one call. ``score_rows`` and ``append`` to ``copy`` are for who has texts of several users in
    the rows: each row comes, goes and moves alone.
    """

    def __init__(self, call: Caller) -> None:
        super().__init__()
        self._call = call

    @property
    def batch_size(self) -> int:
        return self._call(self, lambda steps: steps.cache.rows)

    @property
    def lengths(self) -> tuple[int, ...]:
        return self._call(self, lambda steps: steps.cache.fed)

    def ids(self, row: int = 0) -> list[int]:
        return self._call(self, lambda steps: steps.cache.ids(row))

    def reset(self, batch_size: int = 1) -> None:
        self._call(self, lambda steps: steps.reset(batch_size))

    def prefill(self, ids: Ids, row: int = 0) -> np.ndarray:
        return self._call(self, lambda steps: steps.prefill(ids, row))

    def prefill_rows(self, prompts: Sequence[Ids], first: int | None = None) -> np.ndarray:
        """Append ids to every row, or to neighbours from ``first`` on."""
        return self._call(self, lambda steps: steps.prefill_rows(prompts, first))

    def score(self, ids: Ids, row: int = 0) -> np.ndarray:
        return self._call(self, lambda steps: steps.score(chunk=steps.checked(ids, row), row=row))

    def score_rows(self, prompts: Sequence[Ids], first: int = 0) -> np.ndarray:
        """Append ids to neighbours in one call; return the logits [rows, S, V] after each.

        Each of the rows has room for as many as the longest list; logits after a shorter one mean
        nothing.
        """
        return self._call(
            self,
            lambda steps: steps.score_rows(
                [steps.checked(ids, first + row) for row, ids in enumerate(prompts)], first
            ),
        )

    def prefill_states(self, ids: Ids, row: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Append ids to a row; return the logits [V] after the last id, and the head's input [S, H]
        after each."""
        return self._call(self, lambda steps: steps.prefill_states(ids, row))

    @property
    def hidden_states(self) -> np.ndarray:
        return self._call(self, lambda steps: steps.states.of_step())

    def early_logits(self, layers: Sequence[int]) -> np.ndarray:
        return self._call(self, lambda steps: steps.states.early_logits(layers))

    def decode(self, ids: Ids, rows: range | None = None) -> np.ndarray:
        """Append one id to every row, or to each of some neighbours."""
        return self._call(self, lambda steps: steps.decode(ids, rows))

    def append(self, ids: Ids, row: int) -> None:
        """Append ids to a row, as ``prefill`` does, but compute no logits."""
        self._call(self, lambda steps: steps.append(ids, row))

    def part(self, row: int, begin: int, end: int) -> dict[str, np.ndarray]:
        """Return a copy of some positions of a row, by the names of the cache's buffers."""
        return self._call(self, lambda steps: part_of(steps.cache, row, begin, end))

    def fill(self, ids: Ids, write: Callable[[Mapping[str, np.ndarray]], None], row: int) -> None:
        """Replace a row by ids and what ``write`` puts into its buffers [kv heads, S, ...]."""
        held = np.array(ids, dtype=np.int64)
        self._call(self, lambda steps: steps.cache.fill(held, write, row))

    def copy(self, source: int, target: int, length: int) -> None:
        """Replace a row by the first positions of another one."""
        self._call(self, lambda steps: copy_row(steps.cache, source, target, length))

    def save(self, path: Path, row: int) -> None:
        self._call(self, lambda steps: save_row(steps.cache, path, row))

    def load(self, path: Path, row: int) -> None:
        self._call(self, lambda steps: load_row(steps.cache, path, row))

    def widen(self, ahead: int) -> bool:
        """Grow a layer of the cache where the longest row has less room than this.

        Return whether there was one.
        """
        return self._call(self, lambda steps: widened(steps.cache, ahead))

    def settle(self, positions: int) -> None:
        """Make room for so many positions of every row, so that no step waits for memory."""
        self._call(self, lambda steps: settle(steps.cache, positions))

    def truncate(self, length: int, row: int = 0) -> None:
        self._call(self, lambda steps: steps.cache.truncate(length, row))

    def reorder(self, order: Ids) -> None:
        self._call(self, lambda steps: steps.cache.reorder(order))

    def release(self) -> None:
        """End the lease: the session, as it is, belongs to the thread that claimed it."""
        # A flag, and not a change of the session: another user may take it over just now.
        self.released = True
