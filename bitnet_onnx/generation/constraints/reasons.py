"""What llguidance says of a grammar, as one sentence.

Knows the forms of its messages, which hold an excerpt of the grammar and its parser's state.
"""

from __future__ import annotations

import json
import re

from ...errors import GenerationError

__all__ = ["FORM", "refused"]

FORM = "structured_outputs"  # the argument that is at fault
# What each form is called, and what it should be.
_FORMS = {
    "json": ("the JSON schema", "a JSON schema of keywords that llguidance supports"),
    "regex": ("the regular expression", "one in the syntax of Rust's regex, without look-around"),
    "choice": ("the list of choices", "fewer texts, or others"),
    "grammar": ("the grammar", "a Lark grammar in llguidance's dialect"),
}
_REGEX = re.compile(
    r"regex parse error:\n {4}(?P<text>.*)\n {4}(?P<before> *)\^.*\nerror: (?P<why>.*)"
)
_PLACE = re.compile(r"(?:at )?(\d+)\((\d+)\): ")
_EXCERPT = re.compile(r"\n +\d+ \| |\n<state>")
_NOTHING = re.compile(r"NoExtension(Bias)?\b")


def refused(kind: str, message: str) -> GenerationError:
    """Return the error of a form that cannot be followed, with its place where llguidance says it.

    kind: the field of StructuredOutputs.
    """
    name, expected = _FORMS[kind]
    return GenerationError(
        f"{name} cannot be followed: {_reason(kind, message)}, expected {expected}", argument=FORM
    )


def _reason(kind: str, message: str) -> str:
    if _NOTHING.match(message):
        return "it allows no text"
    where = ""
    if place := _PLACE.match(message):
        message = message[place.end() :]
        where = f"line {place[1]}, column {place[2]}: " if kind == "grammar" else ""
    if found := _REGEX.search(message):
        column = len(found["before"]) + 1
        return f"{where}{found['why']} at character {column} of the expression {found['text']!r}"
    if message.startswith("Unimplemented keys: "):
        keys = json.loads(message.removeprefix("Unimplemented keys: "))
        return f"llguidance does not support {', '.join(keys)}"
    said = _EXCERPT.split(message)[0].split("; following special tokens")[0]
    return where + " ".join(said.split()).rstrip(".")
