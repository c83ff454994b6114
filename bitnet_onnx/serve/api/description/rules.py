"""What fields of a body allow each other, as schemas; and what no schema can say.

Knows how endpoints read their fields; does not know OpenAPI.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...models import Embedding, Generating, Served
from ..fields import TOKEN
from ..kinds import TEXT, list_of

__all__ = ["UNSAID", "prompts", "rules_of"]

Schema = dict[str, Any]
Case = Mapping[str, Schema]

NULL: Schema = {"type": "null"}
LIST: Schema = {"type": "array"}
SOME: Schema = {"type": "array", "minItems": 1}
TEXTS: Schema = {"anyOf": [TEXT.schema, list_of(TEXT, 1).schema]}
ON: Schema = {"const": True}
OFF: Schema = {"enum": [None, False]}
# A form of the answer that is none; calls that the model may choose; those that it must make.
FREE: Schema = {"enum": [None, {"type": "text"}]}
UNFORCED: Schema = {"enum": [None, "none", "auto"]}
FORCED: Schema = {"anyOf": [{"const": "required"}, {"type": "object"}]}
NO_TOOLS: Schema = {"enum": [None, []]}
_LOOSE = {"properties": {"function": {"properties": {"strict": OFF}}}}
LOOSE: Schema = {"anyOf": [NULL, {"type": "array", "items": _LOOSE}]}

STREAM: list[Case] = [{"stream_options": NULL}, {"stream": ON}]
NO_FORM: Case = {"response_format": FREE, "structured_outputs": NULL}
ONE_FORM: list[Case] = [{"response_format": FREE}, {"structured_outputs": NULL}]

TOO_LONG = "a text has more tokens than the context"
FORM = "a regex, a grammar, a schema or a choice cannot be followed"
SHORT = "min_tokens is more than the form of the answer has"
TEMPLATE = "the chat template refuses the messages or their variables"
NAMES = "two functions have one name"
# For each endpoint, what is refused although the schema of its body takes it.
UNSAID: Mapping[str, Sequence[str]] = {
    "/v1/chat/completions": (
        TOO_LONG,
        FORM,
        SHORT,
        TEMPLATE,
        NAMES,
        "tool_choice names no function of tools",
        "the arguments of a call in a message are not an object as JSON",
        "max_tokens differs from max_completion_tokens",
        "ignore_eos is true with a strict function",
    ),
    "/v1/completions": (TOO_LONG, "a text has no token", FORM, SHORT,
                        "n answers to each of the prompts are more than the queue holds"),
    "/v1/embeddings": (TOO_LONG, "a text has no token"),
    "/v1/responses": (TOO_LONG, FORM, TEMPLATE,
                      "the arguments of a call in a message are not an object as JSON"),
    "/tokenize": (TEMPLATE, NAMES,
                  "the arguments of a call in a message are not an object as JSON"),
}  # fmt: skip


def rules_of(path: str, served: Served, others: Sequence[Served]) -> list[Schema]:
    """Return schemas that a body for a model must all have.

    others: all models that the endpoint has.
    """
    cases: list[list[Case]] = []
    if path == "/v1/embeddings":
        cases = [[{"prompt_name": NULL}, {"input": TEXTS}]]
    elif path == "/tokenize":
        cases = _tokenize(served, others)
    elif isinstance(served, Generating) and path == "/v1/chat/completions":
        cases = _chat(served)
    elif isinstance(served, Generating) and path == "/v1/completions":
        cases = _completion(served)
    return [{"anyOf": [_having(case) for case in alternatives]} for alternatives in cases]


def prompts(most: int, longest: int) -> Schema:
    """Return the schema of at most so many prompts; longest: the most ids of one."""
    ids = list_of(TOKEN, 1, longest).schema
    return {"anyOf": [
        TEXT.schema,
        list_of(TEXT, 1, most).schema,
        ids,
        {"type": "array", "items": ids, "minItems": 1, "maxItems": most},
    ]}  # fmt: skip


def _chat(served: Generating) -> list[list[Case]]:
    knows_tools = "tools" in served.chat_variables
    # Where the form of calls is known, strict functions are a form of the answer.
    strict = knows_tools and served.call_form is not None
    loose: Case = {"tool_choice": UNFORCED, "tools": LOOSE if knows_tools else NO_TOOLS}
    none: Case = {"tool_choice": {"const": "none"}}
    formed: list[Case] = [{**form, **call} for form in ONE_FORM for call in (loose, none)]
    if knows_tools:
        formed.append({**NO_FORM, "tool_choice": FORCED, "tools": SOME})
    free: list[Case] = [{**NO_FORM, **loose}, {**NO_FORM, **none}]
    if strict:
        free = [{**NO_FORM, "tool_choice": UNFORCED}]
    # One list of alternatives: a program that makes bodies can follow it, and not its factors.
    return [
        STREAM,
        [{"top_logprobs": NULL}, {"logprobs": ON}],
        [*free, *({**each, "ignore_eos": OFF} for each in formed)],
    ]


def _completion(served: Generating) -> list[list[Case]]:
    return [
        STREAM,
        [{"echo": OFF}, {"stream": OFF}],
        [{"max_tokens": NULL}, {"max_tokens": {"type": "integer", "minimum": 1}}, {"echo": ON}],
        [{"add_special_tokens": NULL}, {"prompt": TEXTS}],
        [NO_FORM, *({**form, "ignore_eos": OFF} for form in ONE_FORM)],
    ]


def _tokenize(served: Served, others: Sequence[Served]) -> list[list[Case]]:
    chat = ("tools", "chat_template_kwargs")
    bare = dict.fromkeys(chat, NULL)
    texts: list[Case] = [
        {"content": TEXT.schema, "prompt": NULL, "messages": NULL, "add_special_tokens": NULL,
         **bare},
        {"prompt": TEXT.schema, "content": NULL, "messages": NULL, "add_special": NULL, **bare},
    ]  # fmt: skip
    if isinstance(served, Embedding):
        return [texts]
    messages: Case = {"messages": LIST, **dict.fromkeys(
        ("content", "prompt", "add_special", "add_special_tokens"), NULL)}  # fmt: skip
    rules: list[list[Case]] = [[*texts, messages]]
    if len(others) > 1 and sum(isinstance(each, Generating) for each in others) == 1:
        rules.append([{"model": {"type": "string"}}, {"messages": LIST}])
    return rules


def _having(case: Case) -> Schema:
    """Return the schema of a body in which fields have values; null is as if left out."""
    return {
        "properties": dict(case),
        "required": [name for name, schema in case.items() if not _takes_null(schema)],
    }


def _takes_null(schema: Schema) -> bool:
    inner = schema.get("anyOf", ())
    return schema == NULL or None in schema.get("enum", ()) or any(map(_takes_null, inner))
