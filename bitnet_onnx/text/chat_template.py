"""The chat templates of a folder: they turn messages into the text form of the model's training.

Knows which template transformers would choose and what it gives a template; does not know ids.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2.meta

from ..errors import TokenizerError
from ..files import read_object
from .backend import read_text
from .chat_input import VARIABLES, ChatInput
from .template_limits import limited
from .template_sandbox import Environment

__all__ = ["ChatTemplate", "ChatTemplates", "read_templates"]

FILE, FOLDER, OLD_FILE = "chat_template.jinja", "additional_chat_templates", "chat_template.json"
DEFAULT, TOOL_USE = "default", "tool_use"
# Characters of a template: the longest published ones have some 30,000; compiling takes a second.
LONGEST = 1 << 17


class ChatTemplate:
    """A compiled template; ``names`` are the special tokens it may write, such as bos_token."""

    def __init__(self, source: str, names: Mapping[str, str]) -> None:
        if len(source) > LONGEST:
            raise TokenizerError(
                f"the chat template has {len(source)} characters, expected at most {LONGEST}"
            )
        environment = Environment()
        try:
            with limited():
                self._template = environment.from_string(source)
                found = jinja2.meta.find_undeclared_variables(environment.parse(source))
        except Exception as error:  # the compilers of Jinja and Python fail in many ways
            raise TokenizerError(
                f"the chat template is not valid Jinja: {_sentence(error)}"
            ) from error
        self.variables = frozenset(found)
        """What it reads and does not make itself; not what every template has, such as range."""
        self._names = dict(names)

    def render(self, chat: ChatInput, add_generation_prompt: bool) -> str:
        """Return the text of the chat.

        Raises TokenizerError where the template fails, costs too much, or does not use what the
        caller gives it.
        """
        self._check(chat)
        try:
            with limited():
                return self._template.render(
                    **{**self._names, **chat.variables},
                    messages=chat.messages,
                    tools=chat.tools,
                    documents=chat.documents,
                    add_generation_prompt=add_generation_prompt,
                )
        except Exception as error:  # a template is foreign code: it can fail in any way
            raise TokenizerError(f"the chat template failed: {_sentence(error)}") from error

    def _check(self, chat: ChatInput) -> None:
        given = {name: name for name in ("tools", "documents") if getattr(chat, name)}
        for name, argument in {**dict.fromkeys(chat.variables, VARIABLES), **given}.items():
            if name not in self.variables:
                raise TokenizerError(
                    f"the chat template does not use {name}, expected a template that does",
                    hint=f"leave {name} out; the model was not trained with it in its template",
                    argument=argument,
                )


class ChatTemplates:
    """The templates of a folder by name; of a single one the name is "default"."""

    def __init__(self, sources: Mapping[str, str], names: Mapping[str, str]) -> None:
        self._templates = {name: ChatTemplate(text, names) for name, text in sources.items()}

    @property
    def variables(self) -> frozenset[str]:
        """What any of them reads and does not make itself."""
        return frozenset().union(*(each.variables for each in self._templates.values()))

    def render(self, chat: ChatInput, add_generation_prompt: bool = True) -> str:
        """Return the text of the chat by the template that transformers would take.

        That is "tool_use" where there are tools and it exists, and "default" else.
        """
        name = TOOL_USE if chat.tools is not None and TOOL_USE in self._templates else DEFAULT
        if name not in self._templates:
            raise TokenizerError(
                f"the chat templates are called {', '.join(sorted(self._templates))}, expected one"
                f' that is called "{DEFAULT}"'
            )
        return self._templates[name].render(chat, add_generation_prompt)


def read_templates(folder: Path, config: Mapping[str, Any]) -> dict[str, str] | None:
    """Return the templates of a folder by name, None where it has none.

    Files win over tokenizer_config.json, as in transformers. chat_template.json, which older
    processors wrote, is read where there is no other template.
    """
    paths = {path.stem: path for path in sorted((folder / FOLDER).glob("*.jinja"))}
    if (folder / FILE).exists():
        paths[DEFAULT] = folder / FILE
    if paths:
        return {name: read_text(path) for name, path in paths.items()}
    field, name = config.get("chat_template"), "tokenizer_config.json"
    if field is None and (folder / OLD_FILE).exists():
        field = read_object(folder / OLD_FILE, TokenizerError).get("chat_template")
        name = OLD_FILE
    return _by_name(field, name)


def _by_name(field: Any, file: str) -> dict[str, str] | None:
    """Return the templates of a JSON field: a text, an object of texts, or a list of entries."""
    if field is None:
        return None
    named: Any = field
    if isinstance(field, str):
        named = {DEFAULT: field}
    elif isinstance(field, list) and all(isinstance(entry, Mapping) for entry in field):
        named = {entry.get("name"): entry.get("template") for entry in field}
    texts = named.items() if isinstance(named, Mapping) else [(None, None)]
    if not named or not all(isinstance(text, str) for pair in texts for text in pair):
        raise TokenizerError(
            f"chat_template in {file} is of an unknown form, expected a string, an object of named"
            ' strings, or a list of {"name", "template"}'
        )
    return dict(named)


def _sentence(error: Exception) -> str:
    """Return an error's text on one line; a template can write anything into it."""
    text = re.sub(r"\s+", " ", str(error)) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:297]}..."
