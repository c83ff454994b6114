"""Every option of generation: its name, default and meaning, and which values it takes.

Names, defaults and meanings are those of transformers. Knows values; does not know files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import GenerationError
from ..runtime.cache.kinds import cache_kind
from .beam_options import early_stopping, force_words, refuse_beside_beams
from .checks import (
    as_tuple,
    decay,
    flag,
    ids_of,
    integer,
    number,
    one_of,
    sequence_bias,
    sequences,
    token_id,
    wrong,
)
from .layer_options import dola_layers, refuse_beside_layers
from .watermarking import WatermarkingConfig, watermarking

__all__ = ["ASSISTED", "BEAMS", "LOOKBEHIND", "LOOKUP", "SAMPLING", "Options"]

# The options that act only with do_sample.
SAMPLING = (
    "temperature", "top_h", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff",
    "seed",
)  # fmt: skip
# The options that act only with num_beams.
BEAMS = ("length_penalty", "early_stopping", "num_beam_groups", "diversity_penalty")
# They act only on drafts: of prompt lookup; of an assistant_model or early exit; of a model alone.
LOOKUP = ("max_matching_ngram_size",)
ASSISTED = ("num_assistant_tokens", "assistant_confidence_threshold")
LOOKBEHIND = ("assistant_lookbehind", "target_lookbehind")
SCHEDULES = ("constant", "heuristic", "heuristic_transient")


@dataclass(frozen=True)
class Options:
    """The fields of GenerationConfig, checked: a wrong value is refused by its option's name."""

    max_new_tokens: int | None = None
    """The largest number of new tokens; None: as many as ``max_length`` leaves, or 256."""
    do_sample: bool = False
    """True samples; False takes the most likely token (greedy)."""
    temperature: float = 1.0
    """What logits are divided by: below 1 the likely tokens become likelier. 0 is greedy."""
    top_k: int = 50
    """0 turns it off."""
    top_p: float = 1.0
    """1 turns it off."""
    min_p: float = 0.0
    """0 turns it off."""
    repetition_penalty: float = 1.0
    """1 turns it off; unlike the options above, it acts without ``do_sample`` too."""
    num_beams: int = 1
    """How many sequences a search of beams keeps for a prompt; 1 is no search."""
    eos_token_id: int | Sequence[int] | None = None
    """Tokens that end an answer; None takes the tokenizer's, if there is a tokenizer. Of an empty
    list, and of the keyword ``eos_token_id=None`` in one call, no token ends it."""
    stop_strings: str | Sequence[str] | None = ()
    """Texts that end an answer without being part of it."""
    seed: int | None = None
    """The same seed gives the same answer; None draws a new one. transformers lacks this option."""
    max_length: int | None = None
    """The largest number of tokens with the prompt; ``max_new_tokens`` takes precedence."""
    min_length: int = 0
    """No eos before there are this many tokens with the prompt."""
    min_new_tokens: int | None = None
    """No eos before there are this many new tokens; takes precedence over ``min_length``."""
    no_repeat_ngram_size: int = 0
    """No sequence of this many tokens occurs twice, the prompt included; 0 turns it off."""
    bad_words_ids: Sequence[Sequence[int]] | None = None
    """Sequences of tokens that are never completed."""
    suppress_tokens: Sequence[int] | None = None
    """Tokens that are never chosen."""
    begin_suppress_tokens: Sequence[int] | None = None
    """Tokens that do not begin an answer."""
    forced_eos_token_id: int | Sequence[int] | None = None
    """The token that is forced as the last one that the limit of length allows."""
    typical_p: float = 1.0
    """1 turns it off; acts when sampling, after ``min_p``."""
    epsilon_cutoff: float = 0.0
    """0 turns it off; acts when sampling, after ``typical_p``."""
    eta_cutoff: float = 0.0
    """0 turns it off; acts when sampling, after ``epsilon_cutoff``."""
    top_h: float | None = None
    """The share of the entropy of the 100 likeliest tokens that is kept; acts when sampling,
    before ``top_k``."""
    sequence_bias: Sequence[Any] | Mapping[tuple[int, ...], float] | None = None
    """Pairs [ids, bias]: the bias is added to the last id where the ids before it stand."""
    encoder_repetition_penalty: float = 1.0
    """Above 1, tokens of the prompt are likelier; 1 turns it off."""
    encoder_no_repeat_ngram_size: int = 0
    """No sequence of this many tokens of the prompt is completed; 0 turns it off."""
    presence_penalty: float = 0.0
    """What is subtracted from the logit of each new token that occurred. It acts after
    ``repetition_penalty``; transformers lacks it, and the meaning is OpenAI's."""
    frequency_penalty: float = 0.0
    """The same, times how often the new token occurred."""
    forced_bos_token_id: int | None = None
    """The token that is forced after a prompt of one token."""
    remove_invalid_values: bool = False
    """NaN becomes 0, and infinities the largest and the least number."""
    exponential_decay_length_penalty: Sequence[float] | None = None
    """[start, factor]: from ``start`` new tokens on, eos becomes likelier from step to step."""
    renormalize_logits: bool = False
    """Scores become log-probabilities at the end; it changes beams, and no choice of one token."""
    guidance_scale: float | None = None
    """How far the answer is led away from that to ``negative_prompt``; 1 turns it off."""
    num_return_sequences: int = 1
    """How many answers there are for each prompt: drawn ones, or the best of a search of beams."""
    length_penalty: float = 1.0
    """Beams: the sum of an answer's log-probabilities is divided by its length to this power."""
    early_stopping: bool | str = False
    """Beams: True ends a search once ``num_beams`` answers ended; False, when no better one is
    likely; "never", when no better one is possible."""
    num_beam_groups: int = 1
    """Beams: how many groups search, each led away from the ones before it."""
    diversity_penalty: float = 0.0
    """Groups: what a token loses for each beam of the groups before that chose it in the step."""
    force_words_ids: Sequence[Any] | None = None
    """Beams: sequences of tokens that an answer holds; or lists of sequences, one of which it
    holds."""
    penalty_alpha: float | None = None
    """Contrastive search: of the ``top_k`` likeliest tokens, take the one with the largest (1 -
    alpha) * probability - alpha * likeness to what was before. It acts without ``do_sample`` and
    beams; 0 turns it off."""
    dola_layers: str | Sequence[int] | None = None
    """DoLa: tokens are chosen by how much likelier they are than an early layer finds them, which
    is one of these: "low", "high" or numbers, of which 0 is the embedding."""
    pad_token_id: int | None = None
    """Groups: what a group that has ended goes on with, as later groups see it; None is the first
    of ``eos_token_id``."""
    max_time: float | None = None
    """Seconds after which no further token is begun."""
    watermarking_config: WatermarkingConfig | Mapping[str, Any] | None = None
    """A watermark, which ``WatermarkDetector`` finds."""
    prompt_lookup_num_tokens: int | None = None
    """Look up at most this many drafts where the last ids occurred before, and check them in one
    call. It changes the speed only: every id is the one without drafts. 0 turns it off; None is 10
    in a chat, and else off."""
    max_matching_ngram_size: int | None = None
    """Look up the first place of this many last ids at most, as transformers does, whose default
    is 2; None follows a text past its changes."""
    num_assistant_tokens_schedule: str | None = None
    """How many drafts are checked at a time. None: as many as pay, from what was accepted and from
    the measured cost of a call. "constant": as many as there are. "heuristic": 2 more after all
    were accepted, and else 1 fewer, from call to call; "heuristic_transient": the same in each
    call."""
    num_assistant_tokens: int | None = None
    """The most drafts of ``assistant_model`` or ``assistant_early_exit`` at a time; None is 20."""
    assistant_confidence_threshold: float | None = None
    """No draft follows one that gets a lower probability from what drafts it; None is 0.4."""
    assistant_early_exit: int | None = None
    """How many of the network's first layers draft, in the place of an ``assistant_model``."""
    assistant_lookbehind: int | None = None
    """Where ``assistant_model`` has another tokenizer: how many of its last tokens are encoded
    again with the text after them; None is 10."""
    target_lookbehind: int | None = None
    """The same of the model's own last tokens, with the text of drafts after them; None is 10."""
    cache_implementation: str | None = None
    """The kind of the session's cache, which ``load`` obeys: "dynamic", "static", "offloaded",
    "offloaded_static", "sliding_window" or "sink". A session with another one refuses it."""

    def __post_init__(self) -> None:
        for name, check in CHECKS.items():
            # NumPy's numbers become Python's, so that the options can be written as JSON.
            object.__setattr__(self, name, check(name, getattr(self, name)))
        if self.num_beams > 1 or self.num_beam_groups > 1 or self.force_words_ids is not None:
            refuse_beside_beams(self)
        elif self.num_return_sequences > 1 and not self.do_sample:
            raise GenerationError(
                f"num_return_sequences is {self.num_return_sequences}, but greedy decoding has one"
                " answer, expected do_sample=True or num_beams with it",
                hint="add do_sample=True, or num_beams",
            )
        if self.penalty_alpha or self.dola_layers is not None:
            refuse_beside_layers(self)
        suppressed = {*(self.suppress_tokens or ())}
        for name in ("forced_bos_token_id", "forced_eos_token_id"):
            forced = as_tuple(getattr(self, name))
            if forced and suppressed.issuperset(forced):
                raise GenerationError(
                    f"{name} is {forced}, which suppress_tokens holds, expected another token"
                )


Check = Callable[[str, Any], Any]


def _stop_strings(name: str, value: Any) -> tuple[str, ...]:
    strings = as_tuple(value) or ()
    for string in strings:
        if not isinstance(string, str) or not string:
            raise wrong(name, string, "texts that are not empty")
    return tuple(strings)


def _least(least: int) -> Check:
    return lambda name, value: integer(name, value, least)


def _number(expected: str, good: Callable[[float], bool]) -> Check:
    return lambda name, value: number(name, value, expected, good)


def _optional(check: Check) -> Check:
    return lambda name, value: None if value is None else check(name, value)


_SHARE = _number("a number above 0 and at most 1", lambda p: 0 < p <= 1)
_CUTOFF = _number("a number of at least 0 and below 1", lambda p: 0 <= p < 1)
_POSITIVE = _number("a number above 0", lambda number: number > 0)
_FINITE = _number("a finite number", lambda _: True)
CHECKS: dict[str, Check] = {
    "early_stopping": early_stopping,
    "force_words_ids": force_words,
    "num_beam_groups": _least(1),
    "pad_token_id": _optional(token_id),
    "penalty_alpha": _optional(_number("a number of at least 0", lambda number: number >= 0)),
    "dola_layers": dola_layers,
    "diversity_penalty": _number("a number of at least 0", lambda number: number >= 0),
    "length_penalty": _FINITE,
    "eos_token_id": ids_of,
    "suppress_tokens": ids_of,
    "begin_suppress_tokens": ids_of,
    "forced_eos_token_id": ids_of,
    "forced_bos_token_id": _optional(token_id),
    "stop_strings": _stop_strings,
    "bad_words_ids": sequences,
    "sequence_bias": sequence_bias,
    "exponential_decay_length_penalty": decay,
    "watermarking_config": lambda _, value: watermarking(value),
    "do_sample": flag,
    "remove_invalid_values": flag,
    "renormalize_logits": flag,
    "top_k": _least(0),
    "min_length": _least(0),
    "no_repeat_ngram_size": _least(0),
    "encoder_no_repeat_ngram_size": _least(0),
    "num_beams": _least(1),
    "num_return_sequences": _least(1),
    "max_new_tokens": _optional(_least(1)),
    "max_length": _optional(_least(1)),
    "min_new_tokens": _optional(_least(0)),
    "seed": _optional(_least(0)),
    "prompt_lookup_num_tokens": _optional(_least(0)),
    "max_matching_ngram_size": _optional(_least(1)),
    "num_assistant_tokens": _optional(_least(1)),
    "assistant_confidence_threshold": _optional(
        _number("a number from 0 to 1", lambda p: 0 <= p <= 1)
    ),
    "num_assistant_tokens_schedule": _optional(one_of(*SCHEDULES)),
    "cache_implementation": _optional(cache_kind),
    "assistant_early_exit": _optional(_least(1)),
    "assistant_lookbehind": _optional(_least(1)),
    "target_lookbehind": _optional(_least(1)),
    "temperature": _number("a number of at least 0", lambda number: number >= 0),
    "repetition_penalty": _POSITIVE,
    "encoder_repetition_penalty": _POSITIVE,
    "presence_penalty": _FINITE,
    "frequency_penalty": _FINITE,
    "guidance_scale": _optional(_FINITE),
    "max_time": _optional(_POSITIVE),
    "top_p": _SHARE,
    "top_h": _optional(_SHARE),
    "min_p": _number("a number from 0 to 1", lambda p: 0 <= p <= 1),
    "typical_p": _SHARE,
    "epsilon_cutoff": _CUTOFF,
    "eta_cutoff": _CUTOFF,
}
