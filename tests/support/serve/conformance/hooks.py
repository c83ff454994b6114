"""A check of schemathesis: a request that the schema takes is refused for a reason of the list.

The list has what no JSON schema can say; each reason is known by the words of its message.
"""

from __future__ import annotations

import re
from typing import Any

import schemathesis

REASONS = {
    "a text has more tokens than the context": r"^the prompt has \d+ tokens, expected at most"
    r"|^text \d+ has \d+ tokens, expected at most",
    "a form of the answer cannot be followed": r" cannot be followed: "
    r"|^the JSON schema is not JSON|^the JSON schema is .* expected an object",
    "the form of the answer is too short": r"^the options forbid every token after \d+ tokens",
    "the chat template refuses": r"^the chat template failed",
    "two functions have one name": r"^tools is .* expected functions whose names differ",
    "no tool has the name": r"^tool_choice is .* expected one of: ",
    "arguments are not JSON": r"^the arguments of .* expected an object as JSON",
    "two limits differ": r"^max_completion_tokens is \d+, expected the same number as max_tokens",
    "a strict function needs an end": r"^ignore_eos is true, expected no tools with it",
    "n times the prompts": r"^prompt is .* expected fewer than the server's queue holds",
    "a text has no token": r"^prompt is .* expected a text of at least one token"
    r"|^text \d+ has no tokens",
}
KNOWN = re.compile("|".join(REASONS.values()))


def refused_for_a_reason(ctx: Any, response: Any, case: Any) -> None:
    """Find the reason of a 400 to a body that the schema takes."""
    meta = case.meta
    if response.status_code != 400 or meta is None or not meta.generation.mode.is_positive:
        return
    message = response.json()["error"]["message"]
    assert KNOWN.search(message), f"the schema takes what is refused: {message}"


schemathesis.check(refused_for_a_reason)
