"""Beam search with forced words: sequences that are further with the words are kept beside others.

The search is that of transformers 4 (``transformers-community/constrained-beam-search``). Knows one
prompt and the scores of its sequences; does not know the session.
"""

from __future__ import annotations

import numpy as np

from ..config import GenerationConfig
from ..extras import Extras
from ..processors.order import Processors
from ..processors.past import Past, inside
from ..rows import FinishReason, Row
from .beams import NEVER, candidate_count, continued
from .forced_words import Progress, words_of
from .forks import Ends, Fork, Search
from .hypotheses import Chosen, Hypotheses, chosen_of

__all__ = ["ConstrainedSearch"]


class ConstrainedSearch(Search):
    """The search of one prompt for answers that hold all words of force_words_ids."""

    def __init__(self, rows: list[Row], config: GenerationConfig, extras: Extras) -> None:
        super().__init__(rows)
        self.width, self._config = config.num_beams, config
        self._words = words_of(config.force_words_ids or ())
        self._tokens = [
            token for word in self._words for choice in word.choices for token in choice
        ]
        self._longest = max(word.longest for word in self._words)
        self._processors = Processors(config, extras, rows[0].prompt_number)
        self._pasts = [Past(self.prompt) for _ in range(self.width)]
        # The sequences are equal at first: only one of them may go on.
        self._scores = np.array([0] + [NEVER] * (self.width - 1), np.float32)
        self._found = Hypotheses(config, self.width, rows[0].limit)

    def step(self, logits: np.ndarray, ends: Ends) -> Fork:
        """Choose the next ids from logits [width, vocab]."""
        eos = self._config.eos_token_ids
        inside("force_words_ids", self._tokens, logits.shape[1])

        def ended(beam: int, total: float) -> None:
            if self._holds_all(self._pasts[beam]):
                # transformers writes the first eos, whichever was chosen.
                self._found.add(total, [*self._pasts[beam].new.tolist(), eos[0]], "stop")

        scores = continued(self._processors, self._pasts, logits, self._scores)
        likely = chosen_of(scores, candidate_count(self._config, scores), eos, ended)
        chosen = self._with_advancing(scores, likely)
        self._found.settle(float(scores.max()), len(self._pasts[0].new) + 1)
        self._scores = chosen.scores
        fork = Fork(chosen.beams, chosen.tokens)
        self._pasts = fork.pasts(self._pasts)
        reasons = [ends(self.rows[0], past.new.tolist()) for past in self._pasts]
        self.done = self._found.done or all(reasons)
        if self.done and not self._found.done:
            self._finish(reasons)
        return fork

    def _with_advancing(self, scores: np.ndarray, likely: Chosen) -> Chosen:
        """Return the best of the likeliest sequences and of those that go on with the words.

        They are taken by turns from those that are furthest, from the next ones, and so on.
        """
        ids = [past.ids.tolist() for past in self._pasts]
        longer = [
            [*ids[beam], token] for beam, token in zip(likely.beams, likely.tokens, strict=True)
        ]
        states = [Progress.of(self._words, sequence) for sequence in longer]
        totals, beams, tokens = likely.scores.tolist(), list(likely.beams), list(likely.tokens)
        for beam, before in enumerate(ids):
            state = Progress.of(self._words, before)
            for token in [] if state.done else state.advancing():
                further = state.with_token(token)
                if [*before, token] not in longer:
                    longer.append([*before, token])
                    states.append(further)
                    beams.append(beam)
                    tokens.append(token)
                    totals.append(scores[beam, token])
        if len(beams) == self.width:
            return likely
        order = self._by_turns(np.array(totals, np.float32), states)
        return Chosen(
            np.array(totals, np.float32)[order],
            [beams[place] for place in order],
            [tokens[place] for place in order],
        )

    def _by_turns(self, totals: np.ndarray, states: list[Progress]) -> list[int]:
        ranks = np.array([state.rank(self._longest) for state in states])
        order = np.argsort(-((ranks * 100).astype(np.float32) + totals), kind="stable")
        turns = list[int]()
        for place, index in enumerate(order):
            same = place > 0 and ranks[index] == ranks[order[place - 1]]
            turns.append(turns[-1] + 1 if same else 0)
        return list(map(int, order[np.argsort(turns, kind="stable")][: self.width]))

    def _holds_all(self, past: Past) -> bool:
        return Progress.of(self._words, past.ids.tolist()).done

    def _finish(self, reasons: list[FinishReason | None]) -> None:
        """Let the sequences that run be answers, too; those without all words where need be."""
        whole = [self._holds_all(past) for past in self._pasts]
        places = [place for place, holds in enumerate(whole) if holds]
        if len(places) < len(self.rows):
            places += [place for place, holds in enumerate(whole) if not holds]
        for place in places:
            ids, reason = self._pasts[place].new.tolist(), reasons[place] or "length"
            self._found.add(float(self._scores[place]), ids, reason)

    def answers(self) -> list[tuple[list[int], FinishReason, float]]:
        """Return ids, reason and score of the best sequences, the best one first."""
        return Hypotheses.answers([self._found])
