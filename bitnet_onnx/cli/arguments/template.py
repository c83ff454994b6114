"""The options of commands that fill a chat template: tools, documents and variables.

Knows JSON files and the words of the command line; does not know templates.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ...errors import GenerationError
from ...files import once

__all__ = ["add_template", "template_options"]

_SEVERAL = ("tools", "documents")


def add_template(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("chat template", "names are those of transformers")
    group.add_argument(
        "--tools", type=Path, metavar="FILE.json", help="JSON schemas of functions to call, a list"
    )
    group.add_argument(
        "--documents", type=Path, metavar="FILE.json", help="a list of objects with title and text"
    )
    group.add_argument(
        "--template-variable",
        action="append",
        default=[],
        metavar="NAME=JSON",
        help="a further variable of the template, as enable_thinking=false; may be repeated",
    )


def template_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options that are given, as keywords of ``Tokenizer.encode_chat``."""
    options = {name: _list(name, getattr(args, name)) for name in _SEVERAL if getattr(args, name)}
    variables = dict(_variable(text) for text in args.template_variable)
    if len(variables) < len(args.template_variable):
        raise GenerationError("--template-variable names a variable twice, expected each once")
    return options | ({"chat_template_kwargs": variables} if variables else {})


def _list(name: str, path: Path) -> list[Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=once)
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise GenerationError(f"--{name} {path} cannot be read as JSON: {reason}") from error
    if not isinstance(found, list) or not all(isinstance(item, dict) and item for item in found):
        raise GenerationError(f"--{name} {path} holds other JSON, expected a list of objects")
    return found


def _variable(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    try:
        if equals and name.isidentifier():
            return name, json.loads(value, object_pairs_hook=once)
    except (ValueError, RecursionError):
        pass
    raise GenerationError(
        f"--template-variable is {text!r}, expected NAME=JSON",
        hint="""a text has quotation marks: --template-variable 'name="text"'""",
    )
