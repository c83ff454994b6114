"""An argument parser whose mistakes are ConfigErrors, that takes nothing twice and no short forms.

A positional argument, such as the prompt, may stand anywhere among the options.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from ..errors import ConfigError

__all__ = ["Parser"]


def _once(parser: argparse.ArgumentParser, namespace: argparse.Namespace, name: str) -> None:
    """Refuse an option that was given before; the last one would win."""
    given: frozenset[str] = getattr(namespace, "given", frozenset())
    if name in given:
        parser.error(f"{name} is given more than once, expected it once")
    namespace.given = given | {name}


class _Store(argparse.Action):
    """Keep the value of an option that is given once."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        if self.option_strings:
            _once(parser, namespace, self.option_strings[-1])
        setattr(namespace, self.dest, values)


class _Switch(argparse.BooleanOptionalAction):
    """``--name`` and ``--no-name``, of which one is given once."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        _once(parser, namespace, "/".join(self.option_strings))
        super().__call__(parser, namespace, values, option_string)


class Parser(argparse.ArgumentParser):
    """One command's parser, or that of all commands."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options | {"allow_abbrev": False})
        self.register("action", None, _Store)
        self.register("action", "store", _Store)
        self.register("action", "switch", _Switch)
        self._intermixed = False

    def error(self, message: str) -> NoReturn:
        raise ConfigError(message, hint=f"see: {self.prog} --help")

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        # The other way to call it is from inside parse_known_intermixed_args.
        if self._intermixed or self._subparsers is not None:
            return super().parse_known_args(args, namespace)
        self._intermixed = True
        try:
            found, unknown = self.parse_known_intermixed_args(args, namespace)
        finally:
            self._intermixed = False
        if unknown:  # reported here, where the command is known whose help to name
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown
