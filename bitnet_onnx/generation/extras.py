"""What one call has beside its options: the caller's own functions, and a prompt to avoid.

Knows callables and ids; does not know the loop or text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ..errors import GenerationError
from ..runtime.integers import Ids
from .config import GenerationConfig, idle_option
from .constraints.compiled import Constraint
from .constraints.outputs import StructuredOutputs, structured_outputs
from .idle import unmet

__all__ = ["Extras", "of_call"]

LogitsProcessor = Callable[[list[int], np.ndarray], np.ndarray]
StoppingCriterion = Callable[[list[int], None], bool]


@dataclass(frozen=True)
class Extras:
    """The arguments of transformers' ``generate`` that are not options, with its names.

    A function, or each of several, gets the ids of one sequence as a list, the prompt's included.
    """

    logits_processor: LogitsProcessor | Sequence[LogitsProcessor] = ()
    """``processor(ids, scores)`` returns float32 scores [vocab]; it may change its argument. It
    acts after the processors of the options and before temperature, top_k and the like."""
    stopping_criteria: StoppingCriterion | Sequence[StoppingCriterion] = ()
    """``criterion(ids, None)`` is true where the sequence ends."""
    prefix_allowed_tokens_fn: Callable[[int, list[int]], Sequence[int]] | None = None
    """``allowed(prompt_number, ids)`` returns the tokens that may come next."""
    negative_prompt_ids: Ids | Sequence[Ids] | None = None
    """What guidance_scale leads away from: one prompt for all, or one for each prompt; None is the
    last token of the prompt."""
    assistant_model: Any = None
    """A smaller model, which ``load`` returned, or the Session of one with the same tokenizer. Its
    drafts are checked in one call of the model: the same greedy ids, and sampled ids of the same
    distribution. One stream at a time can use it."""
    structured_outputs: StructuredOutputs | Mapping[str, Any] | Constraint | None = None
    """The form of the answer: a mapping with one of json, regex, choice and grammar."""

    def __post_init__(self) -> None:
        if not isinstance(self.structured_outputs, Constraint):
            found = structured_outputs(self.structured_outputs)
            object.__setattr__(self, "structured_outputs", found)
        for name in ("logits_processor", "stopping_criteria"):
            object.__setattr__(self, name, _functions(name, getattr(self, name)))
        if (allowed := self.prefix_allowed_tokens_fn) is not None and not callable(allowed):
            raise GenerationError(
                f"prefix_allowed_tokens_fn is {allowed!r}, expected a function (prompt, ids)"
            )

    @property
    def processors(self) -> tuple[LogitsProcessor, ...]:
        """The functions of logits_processor."""
        return tuple(self.logits_processor)  # type: ignore[arg-type]

    @property
    def criteria(self) -> tuple[StoppingCriterion, ...]:
        """The functions of stopping_criteria."""
        return tuple(self.stopping_criteria)  # type: ignore[arg-type]

    def negative_prompts(self, config: GenerationConfig, count: int) -> list[Any] | None:
        """Return one negative prompt for each of ``count`` prompts; None where there is none."""
        given: Any = self.negative_prompt_ids
        if given is None:
            return None
        if not config.guides:
            raise GenerationError(
                "a negative prompt is given without guidance_scale, expected a number other than 1",
                hint="add guidance_scale=1.5",
            )
        many = isinstance(given, Sequence) and any(hasattr(ids, "__len__") for ids in given)
        rows = given if many or getattr(given, "ndim", 1) == 2 else [given] * count
        if len(rows) != count:
            raise GenerationError(
                f"negative_prompt_ids holds {len(rows)} prompts, expected one for each of {count}"
            )
        return list(rows)


def of_call(
    config: GenerationConfig, changes: Mapping[str, Any], encode: Callable[[Any], list[int]]
) -> tuple[GenerationConfig, Extras]:
    """Return the options and the extras of a call from its keywords.

    encode turns ``negative_prompt``, a text or what else a prompt can be, into ids; it may be one
    for all prompts or a list of one for each.
    """
    names = {field.name for field in fields(Extras)}
    own = {name: value for name, value in changes.items() if name in names and value is not None}
    if (text := changes.get("negative_prompt")) is not None:
        if "negative_prompt_ids" in own:
            raise GenerationError(
                "negative_prompt and negative_prompt_ids are given, expected one of them"
            )
        own["negative_prompt_ids"] = _encoded(text, encode)
    others = {n: value for n, value in changes.items() if n not in {*names, "negative_prompt"}}
    changed, extras = config.changed(**others), Extras(**own)
    if found := unmet(changed, others, extras.assistant_model is not None):
        raise idle_option(*found, others)
    return changed, extras


def _encoded(prompt: Any, encode: Callable[[Any], list[int]]) -> Any:
    if _has_text(prompt):
        return encode(prompt)
    if isinstance(prompt, Sequence) and any(map(_has_text, prompt)):
        return [encode(entry) for entry in prompt]
    return prompt


def _has_text(prompt: Any) -> bool:
    """Return whether a prompt is a text, or messages."""
    many = isinstance(prompt, Sequence) and not isinstance(prompt, str) and len(prompt)
    return isinstance(prompt, str) or bool(many and isinstance(prompt[0], Mapping))


def _functions(name: str, value: Any) -> tuple[Any, ...]:
    found = (value,) if callable(value) else value
    if not isinstance(found, Sequence) or not all(map(callable, found)):
        raise GenerationError(f"{name} is {value!r}, expected a function (ids, scores) or several")
    # transformers calls a function that is given twice once.
    return tuple(each for i, each in enumerate(found) if each not in found[:i])
