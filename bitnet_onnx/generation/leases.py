"""What the loop needs of a session.

Knows the names of its steps; ``runtime.session.Session`` has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from ..runtime.hidden import Layers

__all__ = ["LeaseLike", "SessionLike"]


class LeaseLike(Protocol):
    """The steps of a session that the loop has claimed."""

    @property
    def batch_size(self) -> int: ...

    @property
    def lengths(self) -> Sequence[int]:
        """The number of cached positions of each row."""

    def ids(self, row: int = 0) -> Sequence[int]:
        """Return the ids of a row that the cache holds."""

    def reset(self, batch_size: int = 1) -> None: ...

    def prefill(self, ids: Sequence[int], row: int = 0) -> np.ndarray:
        """Append ids to the row and return the logits [vocab] after the last id."""

    def prefill_rows(self, prompts: Sequence[Sequence[int]]) -> np.ndarray:
        """Append ids to every row and return the logits [batch, vocab] after the last ones."""

    def decode(self, ids: Sequence[int]) -> np.ndarray:
        """Append one id to every row; return logits [batch, vocab], valid until the next call."""

    def score(self, ids: Sequence[int], row: int = 0) -> np.ndarray:
        """Append ids to the row in one call and return the logits [ids, vocab] after each."""

    def prefill_states(self, ids: Sequence[int], row: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Append ids to the row; return the logits [vocab] after the last, and the head's input
        [ids, hidden] after each."""

    @property
    def hidden_states(self) -> np.ndarray:
        """The hidden states [layers + 1, batch, positions, hidden] of the last step."""

    def early_logits(self, layers: Sequence[int]) -> np.ndarray:
        """Return the head's logits [layers, batch, vocab] of the last step's last positions."""

    def truncate(self, length: int, row: int = 0) -> None:
        """Keep the first ``length`` positions of the row."""

    def reorder(self, order: Sequence[int]) -> None:
        """Replace the rows: row i becomes a copy of the former row ``order[i]``."""

    def release(self) -> None:
        """End the lease."""


class SessionLike(Protocol):
    """The part of a session that the loop needs; ``runtime.session.Session`` has it."""

    vocab_size: int
    context_length: int
    """Positions that a row can hold."""

    layers: Layers | None
    """The layers whose hidden states its steps give; None where they give none."""

    @property
    def exact_in_groups(self) -> bool:
        """Whether logits are the same bits for any number of positions in a call."""

    def exact_for(self, positions: int) -> bool:
        """Whether logits are the same bits for up to so many positions in a call."""

    def claim(self) -> LeaseLike:
        """Take the session over as it is."""

    def early_exit(self, layers: int) -> SessionLike:
        """Return a session of the network's first layers, with a cache of its own."""
