"""The functions and types that transformers gives chat templates, each within its bounds.

Knows what templates call; does not know Jinja's syntax.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import jinja2
from jinja2.exceptions import SecurityError
from jinja2.utils import Namespace

from .template_limits import budget, made

__all__ = ["GLOBALS", "concat", "tojson"]


def concat(pieces: Iterable[str]) -> str:
    """Return the pieces as one text, which is never whole in memory where it is too long."""
    texts, length = [], 0
    for piece in pieces:
        texts.append(piece)
        length += len(piece)
        budget().text(length)
    return made("".join(texts))


class _Dict:
    """``dict`` without the attributes of a type."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args, **kwargs)


class _Namespace(Namespace):
    """``namespace``, which takes no names that begin with an underscore, as in transformers."""

    def __init__(*args: Any, **kwargs: Any) -> None:  # namespace(self=...) is allowed
        self, given = args[0], dict(*args[1:], **kwargs)
        for name in given:
            _check_name(name)
        Namespace.__init__(self, given)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace takes no name that begins with an underscore: {name!r}")


def _raise_exception(message: Any) -> None:
    raise jinja2.TemplateError(str(message))


def _strftime_now(format: str) -> str:
    if len(format) > 200:  # a width inside the format makes up to 256 characters of each
        raise SecurityError("it formats the date in more than 200 characters")
    return datetime.now().strftime(format)


def tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Return JSON without escapes for HTML, with the arguments that transformers allows."""
    if (len(indent) if isinstance(indent, str) else indent or 0) > 100:
        raise SecurityError(f"it indents JSON by {indent}, expected at most 100")
    encoder = json.JSONEncoder(
        ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
    return concat(encoder.iterencode(value))


GLOBALS = {
    "raise_exception": _raise_exception,
    "strftime_now": _strftime_now,
    "dict": _Dict(),
    "namespace": _Namespace,
}
