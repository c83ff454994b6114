"""The fields of a request as options of generation.

Knows fields and GenerationConfig; does not know HTTP or messages.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import GenerationError
from ...generation.config import GenerationConfig
from ...generation.extras import Extras
from ..models import Generating
from .errors import ApiError, error_of
from .kinds import FLAG, OBJECT, TEXT
from .reading import refuse

__all__ = ["Form", "form_of", "longest", "options_of", "room_for"]

# The fields that are options by the same name.
SAME = ("presence_penalty", "frequency_penalty", "repetition_penalty")
SAMPLES = ("top_p", "top_k", "min_p")  # they ask for sampling where the model's own way is greedy
DESCRIBED = {"name": TEXT, "description": TEXT, "schema": OBJECT, "strict": FLAG}  # a json_schema
SEEDS = 1 << 64
ID = re.compile("0|[1-9][0-9]{0,9}")
GREEDY = 1e-5  # of a temperature below it, as in vLLM: logits divided by it are infinite


def longest(served: Generating) -> int:
    """Return the most tokens of a prompt that leaves room for an answer."""
    return served.context - (1 if served.limits.context else 0)


def room_for(served: Generating, ids: list[int], param: str) -> int:
    """Return the most new tokens after a prompt; refuse a prompt that leaves none.

    param: the field that has the prompt.
    """
    if len(ids) > longest(served):
        raise ApiError(
            400,
            f"the prompt has {len(ids)} tokens, expected at most {served.context} with the answer",
            param=param,
            code="context_length_exceeded",
        )
    whole = served.context == served.artifact.context_length
    return served.context - len(ids) + (1 if whole else 0)  # the last token needs no position


def options_of(
    values: Mapping[str, Any], base: GenerationConfig, served: Generating, most: int
) -> GenerationConfig:
    """Return the options of a request; those it does not name are the model's own.

    most: the largest number of new tokens.
    """
    changes = {name: values[name] for name in SAME if name in values}
    changes |= _sampling(values, base)
    changes["max_new_tokens"] = most
    if "stop" in values:
        stop = values["stop"]
        changes["stop_strings"] = (stop,) if isinstance(stop, str) else tuple(stop)
    if "min_tokens" in values:
        changes["min_new_tokens"] = values["min_tokens"]
    if "logit_bias" in values:
        changes["sequence_bias"] = _bias(values["logit_bias"], base, served)
    if more := values.get("stop_token_ids"):
        _check_ids("stop_token_ids", more, served)
        ends = base.eos_token_ids if base.eos_token_id is not None else _own_ends(served)
        changes["eos_token_id"] = (*ends, *more)
    if values.get("ignore_eos"):
        changes["eos_token_id"] = tuple(values.get("stop_token_ids", ())) or None
    try:
        return base.changed(**changes)
    except GenerationError as error:
        raise error_of(error) from None


def _own_ends(served: Generating) -> tuple[int, ...]:
    return served.tokenizer.eos_token_ids


def _sampling(values: Mapping[str, Any], base: GenerationConfig) -> dict[str, Any]:
    """Return the options of sampling; a temperature of 0 leaves none of them."""
    if values.get("temperature", 1) < GREEDY:
        return {"do_sample": False}
    asked = any(name in values for name in ("temperature", *SAMPLES))
    if not asked and not base.samples:
        return {}
    found = {name: values[name] for name in ("temperature", *SAMPLES) if name in values}
    if "top_k" in found:
        found["top_k"] = max(found["top_k"], 0)
    if "seed" in values:
        found["seed"] = values["seed"] % SEEDS
    return {"do_sample": True, **found}


def _bias(given: Mapping[str, float], base: GenerationConfig, served: Generating) -> Any:
    pairs = {}
    for name, bias in given.items():
        # With zeros before it, one id could be given twice.
        if not ID.fullmatch(name):
            refuse("logit_bias", name, "token ids, written as texts of digits")
        pairs[int(name)] = bias
    _check_ids("logit_bias", list(pairs), served)
    found = [*(base.sequence_bias or ()), *(((token,), bias) for token, bias in pairs.items())]
    return found or None


def _check_ids(name: str, ids: list[int], served: Generating) -> None:
    for token in ids:
        if token >= served.artifact.vocab_size:
            refuse(name, token, f"token ids below {served.artifact.vocab_size}")


@dataclass(frozen=True)
class Form:
    """The form that an answer must have, and the field that has it.

    parts: schemas inside it, by the name of their function.
    """

    extras: Extras
    param: str | None = None
    parts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def form_of(
    values: Mapping[str, Any],
    forced: Mapping[str, Any] | None = None,
    parts: Mapping[str, Mapping[str, Any]] | None = None,
    param: str = "response_format",
) -> Form:
    """Return the form that the answer must have.

    forced: that of a forced tool call. parts: the schemas of its arguments, by function. param: the
    field of the request that is response_format.
    """
    given = values.get("response_format")
    asked = _format({"type": "text"} if given is None else given, param)
    own = values.get("structured_outputs")
    # Arguments are forced by their function's parameters, also where the model may choose.
    calls = "tools" if values.get("tool_choice") in (None, "auto") else "tool_choice"
    forms = {param: asked, "structured_outputs": own, calls: forced}
    asking = [name for name, form in forms.items() if form is not None]
    if len(asking) > 1:
        raise ApiError(
            400,
            f"{' and '.join(asking)} are given, expected one form of the answer",
            param=asking[1],
            code="invalid_value",
        )
    if not asking:
        return Form(Extras())
    if values.get("ignore_eos"):
        refuse("ignore_eos", True, f"no {asking[0]} with it: an end is a part of that form")
    source = "tools" if forced is not None else asking[0]
    try:
        return Form(Extras(structured_outputs=forms[asking[0]]), source, parts or {})
    except GenerationError as error:
        raise error_of(error, source) from None


def _format(given: Mapping[str, Any], param: str) -> dict[str, Any] | None:
    """Return a response_format as structured outputs; None for text."""
    kind = given.get("type")
    known = {"type", "json_schema"} if kind == "json_schema" else {"type"}
    if kind not in ("text", "json_object", "json_schema"):
        refuse(param, given, "a type of text, json_object or json_schema")
    for name in given:
        if name not in known:
            refuse(param, name, f"only: {', '.join(sorted(known))}")
    if kind == "text":
        return None
    if kind == "json_object":
        return {"json": {"type": "object"}}
    described = given.get("json_schema")
    if not isinstance(described, dict) or not isinstance(described.get("schema"), dict):
        refuse(param, given, 'a json_schema {"name": ..., "schema": {...}}')
    for name, value in described.items():
        if name not in DESCRIBED:
            refuse(param, name, f"only: {', '.join(DESCRIBED)}")
        if value is not None and not DESCRIBED[name].takes(value):
            refuse(param, {name: value}, f"{DESCRIBED[name].words} as {name}")
    return {"json": json.dumps(described["schema"])}
