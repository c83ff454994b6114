"""Choose an id from logits, greedily or by sampling, with transformers' names and order.

Knows the logits of one position and the ids before it; does not know the model, text or the loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..errors import GenerationError
from .config import GenerationConfig
from .constraints.reasons import FORM
from .extras import Extras
from .processors.order import Processors
from .processors.past import Past

__all__ = ["Drawn", "Sampler", "check_highest", "random_numbers"]


class Drawn(NamedTuple):
    """The distribution that an id was drawn from: ids in increasing order, and their chances."""

    ids: np.ndarray
    chances: np.ndarray

    def chance(self, token: int) -> float:
        return float(self.chances_of(np.array([token]))[0])

    def chances_of(self, ids: np.ndarray) -> np.ndarray:
        """Return the chances of ids; 0 for one that cannot be drawn."""
        places = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[places] == ids, self.chances[places], 0.0)


class Sampler:
    """Chooses the ids of one sequence and remembers them for the options that look back.

    Each row of a batch has its own generator, seeded by (seed, row), so that a row draws the same
    numbers in a batch of any size.
    """

    def __init__(
        self,
        config: GenerationConfig,
        row: int = 0,
        extras: Extras | None = None,
        prompt: int | None = None,
    ) -> None:
        """prompt: the number of the row's prompt, where that is not the row's."""
        self.config = config
        self.past = Past()
        self._processors = Processors(config, extras, row if prompt is None else prompt)
        self._random = random_numbers(config, row)

    def observe(self, ids: Sequence[int]) -> None:
        """Take the ids of the prompt."""
        self.past.add(ids)
        self.past.prompt = len(self.past)

    def choose(self, token: int) -> None:
        """Take an id that was chosen."""
        self.past.append(token)

    def sample(self, logits: np.ndarray) -> int:
        """Return the next id, chosen from logits [vocab]."""
        if self.config.samples:
            choice = self.draw(*self.distribution(logits))
        else:
            choice, _ = self._likeliest(logits)
        self.choose(choice)
        return choice

    def draft(self, logits: np.ndarray) -> tuple[int, float, Drawn | None]:
        """Choose the next id as a draft; return it, its probability, and how it was drawn."""
        if self.config.samples:
            ids, chances = self.distribution(logits)
            choice = self.draw(ids, chances.copy())
            drawn = Drawn(ids, chances)
            self.choose(choice)
            return choice, drawn.chance(choice), drawn
        choice, scores = self._likeliest(logits)
        self.choose(choice)
        return choice, float(1 / np.exp(scores - scores[choice], dtype=np.float64).sum()), None

    def accept(self, logits: np.ndarray, draft: int, drawn: Drawn) -> int:
        """Return the draft or another id, so that the ids are distributed as without drafts.

        A draft of probability q, which is p here, is kept with min(1, p / q); the other ids are
        drawn in proportion to max(p - q, 0).
        """
        ids, chances = self.distribution(logits)
        target = Drawn(ids, chances)
        if self._random.random() * drawn.chance(draft) < target.chance(draft):
            choice = draft
        else:
            left = np.maximum(chances - drawn.chances_of(ids), 0)
            choice = self.draw(ids, left if left.sum() > 0 else chances)
        self.choose(choice)
        return choice

    def _likeliest(self, logits: np.ndarray) -> tuple[int, np.ndarray]:
        """Return the id of the highest score, and all scores."""
        scores = self._scored(logits)
        choice = int(np.argmax(scores))
        check_highest(scores[choice], logits, len(self.past))
        return choice, scores

    def scores(self, logits: np.ndarray) -> np.ndarray:
        """Return the scores [vocab] of greedy decoding; -inf is a token that is not chosen."""
        scores = self._scored(logits)
        check_highest(scores.max(), logits, len(self.past))
        return scores

    def _scored(self, logits: np.ndarray) -> np.ndarray:
        scores = self._processors.before(self.past, logits)
        return self._processors.after(self.past, scores) if self._processors.marks else scores

    def draw(self, ids: np.ndarray, probabilities: np.ndarray) -> int:
        """Return one of the ids; the probabilities are lost."""
        cumulative = np.cumsum(probabilities, out=probabilities)
        # Scaled by the last sum, the draw falls inside, however the sums were rounded.
        draw = self._random.random() * cumulative[-1]
        place = int(np.searchsorted(cumulative, draw, side="right"))
        return int(ids[min(place, len(ids) - 1)])

    def distribution(self, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids that can be drawn, in increasing order, and their probabilities (float64).

        The order of the options is that of ``processors/order.py``.
        """
        processors, warpers = self._processors, self._processors.warpers
        scores = processors.before(self.past, logits)
        check_highest(scores.max(), logits, len(self.past))
        assert warpers is not None, "only sampling has a distribution"
        if not processors.marks:
            return warpers.candidates(scores)
        scores = processors.after(self.past, warpers.scores(scores))
        check_highest(scores.max(), logits, len(self.past))
        ids = np.flatnonzero(scores > -np.inf)
        weights = np.exp(scores[ids].astype(np.float64) - scores.max())
        return ids, weights / weights.sum()


def random_numbers(config: GenerationConfig, row: int) -> np.random.Generator:
    """Return the generator of a row."""
    entropy = None if config.seed is None else (config.seed, row)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))


def check_highest(highest: np.floating, logits: np.ndarray, length: int) -> None:
    """Raise GenerationError where no token can be chosen; say whose fault it is.

    length: how many tokens are there.
    """
    # The maximum is NaN when any score is, and infinite when the softmax does not exist.
    if np.isfinite(highest):
        return
    given = logits.max()
    if np.isfinite(given) and highest == -np.inf:
        raise GenerationError(
            f"the options forbid every token after {length} tokens, expected one to be left",
            hint="loosen no_repeat_ngram_size, bad_words_ids, suppress_tokens, the lengths or"
            " structured_outputs; dola_layers leaves few tokens",
            argument=FORM,
        )
    if np.isfinite(given):
        raise GenerationError(
            f"the options and functions make the highest logit {highest}, expected a finite number",
            hint="look at the penalties and biases, and at what logits_processor returns",
        )
    raise GenerationError(
        f"the highest logit is {given}, expected a finite number: the weights or the artifact"
        " are damaged",
        hint="compare the artifact with its checkpoint: bitnet-onnx verify CHECKPOINT ARTIFACT",
    )
