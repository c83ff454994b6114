"""Diverse beam search: groups of beams, each led away from the tokens of the groups before it.

The search is that of transformers 4 (``transformers-community/group-beam-search``). Knows one
prompt and the scores of its sequences; does not know the session.
"""

from __future__ import annotations

import numpy as np

from ..config import GenerationConfig
from ..extras import Extras
from ..processors.diversity import Diversity
from ..processors.order import Processors
from ..processors.past import Past, inside
from ..rows import FinishReason, Row
from .beams import NEVER, candidate_count, continued
from .forks import Ends, Fork, Search
from .hypotheses import Hypotheses, chosen_of

__all__ = ["GroupSearch"]


class GroupSearch(Search):
    """The search of one prompt: ``num_beam_groups`` searches that see each other's choices."""

    def __init__(self, rows: list[Row], config: GenerationConfig, extras: Extras) -> None:
        super().__init__(rows)
        self.width, groups = config.num_beams, config.num_beam_groups
        self._size, self._config = self.width // groups, config
        self._diversity = Diversity(config.diversity_penalty)
        self._processors = Processors(config, extras, rows[0].prompt_number, self._diversity)
        self._pasts = [Past(self.prompt) for _ in range(self.width)]
        self._scores = np.full(self.width, NEVER)
        self._scores[:: self._size] = 0  # the sequences of a group are equal at first
        self._groups = [Hypotheses(config, self._size, rows[0].limit) for _ in range(groups)]

    def step(self, logits: np.ndarray, ends: Ends) -> Fork:
        """Choose the next ids from logits [width, vocab]."""
        if self._config.pad_token_id is not None:
            inside("pad_token_id", [self._config.pad_token_id], logits.shape[1])
        self._diversity.forget()
        parents, tokens = list[int](), list[int]()
        for number, group in enumerate(self._groups):
            first = number * self._size
            mine = slice(first, first + self._size)
            if group.done:
                # transformers goes on with padding, and later groups avoid it.
                beams, new = [0] * self._size, [self._padding()] * self._size
                self._scores[mine] = 0
            else:
                beams, new = self._chosen(group, logits[mine], mine)
            self._diversity.avoid(new)
            parents += [first + beam for beam in beams]
            tokens += new
        fork = Fork(parents, tokens)
        self._pasts = fork.pasts(self._pasts)
        reasons = [ends(self.rows[0], past.new.tolist()) for past in self._pasts]
        self.done = all(group.done for group in self._groups) or all(reasons)
        if self.done:
            self._finish(reasons)
        return fork

    def _chosen(
        self, group: Hypotheses, logits: np.ndarray, mine: slice
    ) -> tuple[list[int], list[int]]:
        """Choose for one group; return whose continuations go on, and the new ids."""
        pasts, eos = self._pasts[mine], self._config.eos_token_ids

        def ended(beam: int, total: float) -> None:
            # transformers writes the first eos, whichever was chosen.
            group.add(total, [*pasts[beam].new.tolist(), eos[0]], "stop")

        scores = continued(self._processors, pasts, logits, self._scores[mine])
        count = candidate_count(self._config, scores)
        chosen = chosen_of(scores, count, eos, ended)
        group.settle(float(scores.max()), len(pasts[0].new) + 1)
        self._scores[mine] = chosen.scores
        return chosen.beams, chosen.tokens

    def _padding(self) -> int:
        given = self._config.pad_token_id
        return self._config.eos_token_ids[0] if given is None else given

    def _finish(self, reasons: list[FinishReason | None]) -> None:
        """Let the sequences that run be answers, too."""
        for place, (past, reason) in enumerate(zip(self._pasts, reasons, strict=True)):
            group = self._groups[place // self._size]
            if not group.done:
                group.add(float(self._scores[place]), past.new.tolist(), reason or "length")

    def answers(self) -> list[tuple[list[int], FinishReason, float]]:
        """Return ids, reason and score of the best sequences, the best one first."""
        return Hypotheses.answers(self._groups)
