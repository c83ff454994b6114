"""What a scheduler is asked for, and what it answers: requests of ids, events of tokens.

Knows the options of generation; does not know sessions or threads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ...errors import BitNetError, GenerationError
from ...generation.config import GenerationConfig
from ...generation.extras import Extras
from ...generation.rows import GenerationResult
from ...runtime.integers import Ids, integer

__all__ = ["End", "Event", "QueueFull", "Request", "Token", "check_request"]

LOGPROBS = 1000  # the most that are sorted for each token
# Options of ways to generate that need more of a session than one id of a row at each step.
ALONE = ("penalty_alpha", "dola_layers", "assistant_early_exit")


class QueueFull(BitNetError):
    """More requests than a scheduler keeps waiting; a later try may succeed."""


@dataclass(frozen=True)
class Event:
    """Something that happened to a request."""


@dataclass(frozen=True)
class Token(Event):
    """A chosen id, with the text that is now certain: the texts of all tokens are the answer."""

    id: int
    text: str
    """Whole characters, cut at stop strings; maybe none. The last token has what was held back."""
    logprob: float | None = None
    """Of the logits as the network computed them; None unless the request asks for it."""
    top: list[tuple[int, float]] = field(default_factory=list)
    """The likeliest ids with their log-probabilities, the likeliest first."""


@dataclass(frozen=True)
class End(Event):
    """The last event of each request."""

    reason: str
    """"stop" (an eos, a stop string, a criterion), "length" (a limit of tokens, of the context or
    max_time), "cancelled", "timeout" or "error"; ``result.finish_reason`` says more."""
    result: GenerationResult
    error: BitNetError | None = None


@dataclass(frozen=True, kw_only=True)
class Request:
    """One sequence to be continued, by ids."""

    ids: Ids
    config: GenerationConfig
    extras: Extras | None = None
    logprobs: int | None = None
    """How many of the likeliest ids are reported with each token; None reports no probability."""
    on_event: Callable[[Event], None]
    """Sees each event in the scheduler's thread; it must not block."""
    number: int = 0
    """Which answer to the prompt it is: with a seed, it draws what that one of
    ``generate(num_return_sequences=...)`` draws."""
    deadline: float | None = None
    """When the request ends at the latest, by the scheduler's clock."""


def check_request(request: Request) -> None:
    """Raise GenerationError where a request asks for more than one row of a batch can give."""
    config, extras, logprobs = request.config, request.extras, request.logprobs
    if integer("number", request.number) < 0:
        raise GenerationError(f"number is {request.number}, expected 0 or more")
    for name in ("num_beams", "num_return_sequences"):
        if (number := getattr(config, name)) > 1:
            raise GenerationError(
                f"{name} is {number} for a request, expected 1: a request is one sequence",
                hint="submit a request for each answer, or use Model.generate",
            )
    for name in ALONE:
        if value := getattr(config, name, None):
            raise GenerationError(
                f"{name} is {value!r} for a request, expected none: the requests share the steps",
                hint="use Model.generate",
            )
    if config.guides:
        raise GenerationError(
            f"guidance_scale is {config.guidance_scale} for a request, expected 1: guidance needs a"
            " second sequence",
            hint="use Model.generate",
        )
    if extras is not None and extras.negative_prompt_ids is not None:
        raise GenerationError("a request has negative_prompt_ids, expected none", hint="leave it")
    if extras is not None and extras.assistant_model is not None:
        raise GenerationError(
            "a request has an assistant_model, expected none: the requests share the steps",
            hint="use Model.generate",
        )
    if logprobs is not None and not (type(logprobs) is int and 0 <= logprobs <= LOGPROBS):
        raise GenerationError(f"logprobs is {logprobs!r}, expected None or 0 to {LOGPROBS}")
