"""The form in which a checkpoint's template writes calls of functions, as a grammar of answers.

Knows templates and llguidance's dialect of Lark; does not know requests. A form that cannot be
learned, such as one of XML, is None.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import TokenizerError
from ..generation.constraints.schemas import Unsupported, inside, strict
from ..text.tokenizer import Tokenizer
from ..text.tool_calls import FORMS

__all__ = ["CallForm", "calls_of", "learned"]

FIRST, SECOND = "zqfirst", "zqsecond"  # names of functions that no template writes by itself
# A small model repeats blanks until its limit where any number of them is allowed.
BLANKS = {"whitespace_pattern": r" ?|\n[ \t]{0,16}"}


@dataclass(frozen=True)
class CallForm:
    """A call is ``begin``, blanks, JSON, blanks, ``end``; listed: the JSON is a list of them."""

    begin: str
    before: str
    key: str
    """What the arguments are called in the JSON."""
    listed: bool
    after: str
    end: str
    between: str
    special: Mapping[str, int]
    """The ids of begin and end, where they are control tokens: no text makes those."""

    def grammar(
        self, functions: Mapping[str, Mapping[str, Any]], forced: bool, single: bool
    ) -> str:
        """Return the grammar of answers with calls of functions whose arguments fit.

        forced: there is at least one call, and no text. single: there is at most one call.
        """
        schema = json.dumps({"x-guidance": BLANKS, **self._schema(functions, single)})
        begin = f"{self._mark(self.begin)} {_quoted(self.before)}"
        tail = f"json {_quoted(self.after)} {self._mark(self.end) if self.end else ''}"
        more = "" if single or self.listed else f"({_quoted(self.between)} {begin} {tail})*"
        if forced:
            start = f"{begin} {tail} {more}"
            others = ""
        elif self.begin in self.special:
            start = f"TEXT? ({begin} {tail} {more})?"
            others = "TEXT: /(?s:.+)/\n"
        else:
            mark = re.escape(self.begin).replace("/", r"\/")
            start = f"TEXT? | until {tail} {more}"
            others = (
                f"until[suffix={json.dumps(self.begin + self.before)}]: /(?s:.*)/\n"
                f"TEXT: /(?s:.+)/ & ~/(?s:.*){mark}(?s:.*)/\n"
            )
        return f"start: {start}\njson: %json {schema}\n{others}"

    def _schema(self, functions: Mapping[str, Mapping[str, Any]], single: bool) -> dict[str, Any]:
        followed = {}
        for name, parameters in functions.items():
            try:
                followed[name] = strict(parameters)
            except Unsupported as error:
                raise TokenizerError(
                    f"the parameters of the function {name!r} cannot be followed: {error}"
                ) from None
        found, definitions = calls_of(followed, self.key)
        if self.listed:
            found = {"type": "array", "items": found, "minItems": 1}
            found |= {"maxItems": 1} if single else {}
        return {**found, **definitions}

    def _mark(self, mark: str) -> str:
        return f"<[{self.special[mark]}]>" if mark in self.special else _quoted(mark)


def calls_of(
    functions: Mapping[str, Mapping[str, Any]], key: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the schema of one call of any function, and the definitions that it refers to.

    functions: the schemas of their arguments, by name. key: what the arguments are called.
    """
    calls, definitions = [], dict[str, Any]()
    for name, parameters in functions.items():
        place = f"#/$defs/{name}"
        own = _moved(parameters, place)
        if own != parameters:
            # Two functions may have definitions of one name, and each can refer to itself.
            definitions[name], own = own, {"$ref": place}
        calls.append(
            {
                "type": "object",
                "properties": {"name": {"const": name}, key: own},
                "required": ["name", key],
                "additionalProperties": False,
            }
        )
    return {"anyOf": calls}, {"$defs": definitions} if definitions else {}


def _moved(schema: Any, place: str) -> Any:
    """Return a schema that stands at a place of another one: its references lead there."""
    found = inside(schema, lambda each: _moved(each, place))
    if isinstance(found, dict) and str(found.get("$ref", "")).startswith("#"):
        found["$ref"] = place + found["$ref"][1:]
    return found


def learned(tokenizer: Tokenizer) -> CallForm | None:
    """Return the form in which a template writes two calls of an assistant."""
    try:
        text = tokenizer.render_chat(_CHAT, False, tools=[_TOOL])
    except TokenizerError:
        return None
    special = {
        mark: tokenizer.vocabulary[mark]
        for form in FORMS
        for mark in form
        if mark is not None and tokenizer.vocabulary.get(mark) in tokenizer.special_ids
    }
    return _form_in(text, special)


def _form_in(text: str, special: Mapping[str, int]) -> CallForm | None:
    name = text.find(FIRST)
    places = [(text.rfind(begin, 0, max(name, 0)), begin, end or "") for begin, end in FORMS]
    place, begin, end = max(places)
    if name < 0 or place < 0:
        return None
    begun = place + len(begin)
    start = begun + len(text[begun:]) - len(text[begun:].lstrip())
    try:
        found, stop = json.JSONDecoder().raw_decode(text, start)
    except ValueError:
        return None
    listed = isinstance(found, list)
    call = found[0] if listed else found
    key = next((k for k in ("arguments", "parameters") if isinstance(call, dict) and k in call), "")
    if not key or set(call) != {"name", key} or call["name"] != FIRST or call[key] != {"a": "b"}:
        return None
    closed = text.find(end, stop)
    if listed and (closed < 0 or text[stop:closed].strip()):  # the answer's end closes it
        closed, end = stop, ""
    after = text[stop:closed]
    following = closed + len(end)
    second = text.find(begin, following)
    between = text[following:second] if second >= 0 and not listed else ""
    if closed < 0 or after.strip() or between.strip():
        return None
    return CallForm(begin, text[begun:start], key, listed, after, end, between, special)


def _quoted(text: str) -> str:
    return json.dumps(text) if text else ""


def _call(name: str) -> dict[str, Any]:
    return {
        "type": "function",
        "id": "call00001",
        "function": {"name": name, "arguments": {"a": "b"}},
    }


_TOOL = {
    "type": "function",
    "function": {
        "name": "other",
        "description": "c",
        "parameters": {"type": "object", "properties": {"a": {"type": "string"}}},
    },
}
_CHAT: list[dict[str, Any]] = [
    {"role": "user", "content": "a"},
    {"role": "assistant", "content": "", "tool_calls": [_call(FIRST), _call(SECOND)]},
]
