"""Beam search and beam sampling: several sequences of a prompt, of which the likeliest go on.

The arithmetic is that of transformers 5: float32, with -1e9 for what cannot be chosen. Knows one
prompt and the scores of its sequences; does not know the session.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from ...errors import GenerationError
from ..config import GenerationConfig
from ..extras import Extras
from ..largest import best
from ..processors.order import Processors
from ..processors.past import Past
from ..rows import FinishReason, Row
from ..sampling import check_highest, random_numbers
from .forks import Ends, Fork, Search

__all__ = ["NEVER", "BeamSearch", "candidate_count", "continued", "drawn",
           "log_probabilities", "penalized"]  # fmt: skip

NEVER = np.float32(-1e9)  # the score of what cannot be chosen, in transformers


@dataclass(frozen=True)
class _Answer:
    ids: list[int] = field(default_factory=list)
    reason: FinishReason = "length"
    ended: bool = False


class BeamSearch(Search):
    """The search of one prompt: ``num_beams`` running sequences and as many that ended."""

    def __init__(self, rows: list[Row], config: GenerationConfig, extras: Extras) -> None:
        super().__init__(rows)
        self.width = beams = config.num_beams
        self._config = config
        self._processors = Processors(config, extras, rows[0].prompt_number)
        self._random = random_numbers(config, rows[0].prompt_number)
        self._pasts = [Past(self.prompt) for _ in range(beams)]
        # The sequences are equal at first: only one of them may go on.
        self._scores = np.array([0] + [NEVER] * (beams - 1), np.float32)
        self._answers = [_Answer()] * beams
        self._answer_scores = np.full(beams, NEVER)

    def step(self, logits: np.ndarray, ends: Ends) -> Fork:
        """Choose the next ids from logits [width, vocab]."""
        scores = continued(self._processors, self._pasts, logits, self._scores)
        count = candidate_count(self._config, scores)
        scores = scores.ravel()
        places = self._candidates(scores, count)
        scores, vocab = scores[places], logits.shape[1]
        beams, tokens = (places // vocab).tolist(), (places % vocab).tolist()
        sequences = [
            [*self._pasts[beam].new.tolist(), token]
            for beam, token in zip(beams, tokens, strict=True)
        ]
        reasons = [ends(self.rows[0], ids) for ids in sequences]
        ended = np.array([reason is not None for reason in reasons])
        going = scores + ended.astype(np.float32) * NEVER
        chosen = best(going, self.width)
        self._scores = going[chosen]
        self._keep(scores, [_Answer(i, r or "length", r is not None)
                            for i, r in zip(sequences, reasons, strict=True)])  # fmt: skip
        self.done = bool(ended.all()) or not self._can_improve(len(sequences[0]))
        fork = Fork([beams[c] for c in chosen], [tokens[c] for c in chosen])
        self._pasts = fork.pasts(self._pasts)
        return fork

    def answers(self) -> list[tuple[list[int], FinishReason, float]]:
        """Return ids, reason and score of the best sequences, the best one first."""
        pairs = zip(self._answers, self._answer_scores.tolist(), strict=True)
        return [(answer.ids, answer.reason, score) for answer, score in pairs]

    def _candidates(self, scores: np.ndarray, count: int) -> np.ndarray:
        """Return the places of ``count`` candidates, the best one first."""
        if not self._config.samples:
            return best(scores, count)
        places = drawn(scores, count, self._random)
        return places[np.argsort(-scores[places], kind="stable")]

    def _keep(self, scores: np.ndarray, candidates: list[_Answer]) -> None:
        """Keep the best of the answers so far and of the candidates that end.

        A candidate beyond the first ``width`` is there only so that enough sequences go on.
        """
        length = len(candidates[0].ids)
        ended = [c.ended and place < self.width for place, c in enumerate(candidates)]
        new = penalized(scores, length, self._config.length_penalty)
        new += np.logical_not(ended).astype(np.float32) * NEVER
        merged = np.concatenate([self._answer_scores, new])
        found = [*self._answers, *map(_with_end, candidates, ended)]
        places = best(merged, self.width)
        self._answers = [found[place] for place in places]
        self._answer_scores = merged[places]

    def _can_improve(self, length: int) -> bool:
        """Return whether a running sequence may still become an answer, as early_stopping says."""
        config = self._config
        ended = np.array([answer.ended for answer in self._answers])
        if ended.all() and config.early_stopping is True:
            return False
        if config.early_stopping == "never" and config.length_penalty > 0:
            length = self.rows[0].limit
        hoped = penalized(self._scores[:1], length, config.length_penalty)
        worst = np.where(ended, self._answer_scores.min(), NEVER)
        return bool((hoped > worst).any())


def _with_end(candidate: _Answer, ended: bool) -> _Answer:
    return replace(candidate, ended=ended)


def continued(
    processors: Processors, pasts: list[Past], logits: np.ndarray, totals: np.ndarray
) -> np.ndarray:
    """Return the scores [sequences, vocab] of all sequences that are one id longer."""
    scores = log_probabilities(logits)
    for place, past in enumerate(pasts):
        scores[place] = processors(past, scores[place])
    scores += totals[:, None]
    check_highest(scores.max(), logits, len(pasts[0]))
    return scores


def candidate_count(config: GenerationConfig, scores: np.ndarray) -> int:
    """Return of how many candidates at least as many go on as there are sequences.

    scores: [sequences, vocab].
    """
    count = max(2, 1 + len(config.eos_token_ids)) * len(scores)
    if count > scores.size:
        raise GenerationError(
            f"the search needs {count} candidates of {scores.size}, expected fewer tokens in"
            " eos_token_id"
        )
    return count


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    """Return the log softmax of each row: float32, computed in float64."""
    scores = np.empty(logits.shape, np.float32)
    for place, row in enumerate(logits):  # one row in float64 at a time
        wide = row.astype(np.float64)
        wide -= wide.max()
        scores[place] = wide - np.log(np.exp(wide).sum())
    return scores


def drawn(scores: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """Draw places without replacement, in proportion to the exponentials of scores.

    The first of exponential clocks to ring, each at the speed of its probability, is a draw; the
    next ones are draws from the others. Where too few can be drawn, the best others follow.
    """
    weights = np.exp(scores.astype(np.float64) - scores.max())
    places = np.flatnonzero(weights.astype(np.float32) > 0)
    speeds = weights[places] / random.exponential(size=len(places))
    found = places[best(speeds, min(count, len(places)))]
    if len(found) == count:
        return np.asarray(found)
    others = np.delete(np.arange(len(scores)), found)
    return np.concatenate([found, others[best(scores[others], count - len(found))]])


def penalized(scores: np.ndarray, length: int, penalty: float) -> np.ndarray:
    """Return scores divided by length ** penalty."""
    with np.errstate(all="ignore"):  # a huge penalty makes an infinite divisor, or 0
        return np.asarray(scores / np.float32(np.float64(length) ** penalty))
