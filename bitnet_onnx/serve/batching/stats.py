"""What a scheduler counts, as a page of metrics shows it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

__all__ = ["Stats"]


@dataclass
class Stats:
    """Sums since the scheduler was made, and what it is busy with now."""

    requests: Counter[str] = field(default_factory=Counter)
    """Ended requests by reason."""
    prompt_tokens: int = 0
    """Tokens of the prompts that were begun."""
    cached_tokens: int = 0
    """Those of them that were not computed, since another request had computed them."""
    new_tokens: int = 0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    drafted_tokens: int = 0
    """Drafts that were checked."""
    accepted_tokens: int = 0
    """Of them, those that were kept."""
    steps: int = 0
    row_steps: int = 0
    """The rows of all steps: divided by ``steps``, how full the batch was."""
    running: int = 0
    """Rows in use, with the one whose prompt is computed."""
    queued: int = 0
    prefix_bytes: int = 0
    """What kept beginnings take."""

    def stepped(self, rows: int, seconds: float) -> None:
        """Count a step of so many rows."""
        self.decode_seconds += seconds
        self.steps += 1
        self.row_steps += rows

    def checked(self, drafted: int, accepted: int) -> None:
        """Count the drafts of a row that a step has checked."""
        self.drafted_tokens += drafted
        self.accepted_tokens += accepted
