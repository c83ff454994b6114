"""All processors of the options and of the caller, in the order of transformers.

Knows each processor's file; does not know the loop. ``guidance_scale``, which is before all of
them, needs the logits of a second sequence: see ``guidance.py``.
"""

from __future__ import annotations

import numpy as np

from ..config import GenerationConfig
from ..constraints.follow import constrained
from ..extras import Extras
from .lengths import begin_suppress, exponential_decay, forced_bos, forced_eos, least_length
from .own import own, prefix_allowed
from .past import Past, Processor
from .penalties import encoder_repetition, occurrence, repetition
from .plain import normalized, remove_invalid, suppress
from .sequences import bad_words, encoder_no_repeat, no_repeat, sequence_bias
from .warpers import Warpers
from .watermark import watermark

__all__ = ["Processors"]


class Processors:
    """The processors of one sequence; they keep nothing of it, so its ``Past`` may go back.

    Where no option acts, scores are returned as they are, without a copy.
    """

    def __init__(
        self,
        config: GenerationConfig,
        extras: Extras | None = None,
        prompt: int = 0,
        diversity: Processor | None = None,
    ) -> None:
        """prompt: the number of the sequence's prompt, which prefix_allowed_tokens_fn gets.

        diversity: what leads a group of beams away from others.
        """
        extras = extras or Extras()
        before: list[Processor | None] = [
            sequence_bias(config),
            diversity,
            encoder_repetition(config),
            repetition(config),
            occurrence(config),  # presence_penalty and frequency_penalty, which transformers lacks
            no_repeat(config),
            encoder_no_repeat(config),
            bad_words(config),
            least_length(config),  # min_length and min_new_tokens
            prefix_allowed(extras, prompt),
            forced_bos(config),
            forced_eos(config),
            remove_invalid(config),
            exponential_decay(config),
            suppress(config),
            begin_suppress(config),
            *own(extras),
            constrained(extras),  # the last one that may change what is allowed
        ]
        after: list[Processor | None] = [watermark(config), normalized(config)]
        self._before = [processor for processor in before if processor is not None]
        self._after = [processor for processor in after if processor is not None]
        self.warpers = Warpers(config, _least_kept(config)) if config.samples else None
        self.marks = watermark(config) is not None

    def before(self, past: Past, scores: np.ndarray) -> np.ndarray:
        """Return scores [vocab] before the options of sampling."""
        return _applied(self._before, past, scores)

    def after(self, past: Past, scores: np.ndarray) -> np.ndarray:
        """Return scores [vocab] with what comes after the options of sampling."""
        return _applied(self._after, past, scores)

    def __call__(self, past: Past, scores: np.ndarray) -> np.ndarray:
        """Return float32 scores [vocab] as transformers' whole list of processors does.

        In a search of beams, these are log-probabilities; -inf is a token that is not drawn.
        """
        scores = self.before(past, scores)
        if self.warpers is not None:
            scores = self.warpers.scores(scores)
        return self.after(past, scores)


def _applied(processors: list[Processor], past: Past, scores: np.ndarray) -> np.ndarray:
    if processors:
        scores = scores.copy()
    for processor in processors:
        scores = processor(past, scores)
    return scores


def _least_kept(config: GenerationConfig) -> int:
    """Return min_tokens_to_keep: beams need a token that is no eos."""
    return 1 if config.num_beams == 1 else max(len(config.eos_token_ids), 1) + 1
