"""The processor of a constraint: only tokens that continue an allowed answer are left.

Knows the past of one sequence; does not know grammars.
"""

from __future__ import annotations

import numpy as np

from ...errors import GenerationError
from ..extras import Extras
from ..processors.past import Past, Processor
from .compiled import Constraint, allowed_tokens
from .reasons import refused

__all__ = ["Constrained", "constrained"]


class Constrained(Processor):
    """Forbids every token that no allowed answer has next; eos is allowed behind a complete one.

    It reads the past anew each time, so ids may be taken back, and one processor may serve several
    sequences. After an eos, or after ids that no allowed answer begins with, such as a wrong draft,
    only eos is left.
    """

    def __init__(self, constraint: Constraint) -> None:
        self._constraint = constraint
        self._matcher = constraint.matcher()
        self._read = np.empty(0, dtype=np.int64)  # the ids that the matcher has taken

    def __call__(self, past: Past, scores: np.ndarray) -> np.ndarray:
        ends = self._constraint.eos
        if self._follow(past.new):
            allowed = allowed_tokens(self._matcher, scores.size)
            if self._matcher.is_error():
                raise refused(self._constraint.kind, self._matcher.get_error())
            if not self._matcher.is_accepting():
                allowed[ends] = 0  # an eos that is also a text
        else:
            allowed = np.zeros(scores.size, dtype=np.uint8)
            allowed[ends] = 1
        scores[allowed == 0] = -np.inf
        return scores

    def _follow(self, new: np.ndarray) -> bool:
        """Bring the matcher behind the new ids; return whether an allowed answer has them."""
        shared = min(len(new), len(self._read))
        differ = np.flatnonzero(new[:shared] != self._read[:shared])
        common = int(differ[0]) if differ.size else shared
        if back := len(self._read) - common:
            self._matcher.rollback(back)
        rest = new[common:].tolist()
        taken = self._matcher.validate_tokens(rest) if rest else 0
        if taken:
            self._matcher.consume_tokens(rest[:taken])
        self._read = new[: common + taken].copy()
        return taken == len(rest)


def constrained(extras: Extras) -> Constrained | None:
    outputs = extras.structured_outputs
    if outputs is None:
        return None
    if not isinstance(outputs, Constraint):
        raise GenerationError(
            "structured_outputs is given for ids without text, expected a model with a tokenizer"
        )
    return Constrained(outputs)
