"""The chat template: it turns a list of messages into the text form of the model's training.

Knows Jinja and strings, and keeps a user's text from posing as a control token. Does not know ids
or files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox

from ..errors import TokenizerError

__all__ = ["ChatTemplate", "Message", "guard"]

Message = Mapping[str, Any]


class ChatTemplate:
    """A compiled template; ``names`` are the special tokens it may write, such as bos_token."""

    def __init__(self, source: str, names: Mapping[str, str]) -> None:
        self._template = _compile(source)
        self._names = dict(names)

    def render(self, messages: Sequence[Message], add_generation_prompt: bool) -> str:
        """Return the text of the messages; raise TokenizerError where the template fails."""
        try:
            return self._template.render(
                messages=[dict(message) for message in messages],
                add_generation_prompt=add_generation_prompt,
                tools=None,
                documents=None,
                **self._names,
            )
        except Exception as error:  # a template is foreign code: it can fail in any way
            raise TokenizerError(f"the chat template failed: {error}") from error


def guard(messages: Sequence[Message], special: Iterable[str]) -> tuple[list[Message], str]:
    """Put a mark after the first letter of each special token that the messages contain.

    The mark, a private-use character that the messages lack, is returned too. The template copies
    it, so that the encoder can tell the token from one that the template writes. Raises
    TokenizerError for an empty list, and for a message that is not a mapping.
    """
    if not messages or not all(isinstance(message, Mapping) for message in messages):
        raise TokenizerError(
            "the chat is empty or has a message of another type, expected at least one mapping"
            " with a role and a content"
        )
    written = set().union(*map(set, _strings(messages)))
    mark = next(chr(code) for code in range(0xE000, 0xF900) if chr(code) not in written)
    tokens = sorted(set(special), key=len, reverse=True)
    # The lookahead also finds overlapping tokens.
    any_token = "|".join(map(re.escape, tokens))
    pattern = re.compile(f"(?=(?:{any_token}))(.)" if tokens else "(?!)", re.DOTALL)

    def guarded(value: Any) -> Any:
        if isinstance(value, str):
            return pattern.sub(lambda match: match[0] + mark, value)
        if isinstance(value, Mapping):
            return {key: guarded(item) for key, item in value.items()}
        return [guarded(item) for item in value] if isinstance(value, (list, tuple)) else value

    return guarded(list(messages)), mark


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from (text for item in value.values() for text in _strings(item))
    elif isinstance(value, (list, tuple)):
        yield from (text for item in value for text in _strings(item))


class _Generation(jinja2.ext.Extension):
    """Renders the body of ``{% generation %}``, a tag that marks answers in training data."""

    tags = {"generation"}  # noqa: RUF012 - declared so by Jinja

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _compile(template: str) -> jinja2.Template:
    """Compile a template in the sandbox, with the helpers that transformers gives templates."""
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
    )

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    def tojson(value: Any, indent: int | None = None) -> str:
        # Jinja's own tojson escapes HTML; models are trained on plain JSON.
        return json.dumps(value, ensure_ascii=False, indent=indent)

    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda format: datetime.now().strftime(format)
    try:
        return environment.from_string(template)
    except (jinja2.TemplateError, RecursionError) as error:
        raise TokenizerError(f"the chat template is not valid Jinja: {error}") from error
