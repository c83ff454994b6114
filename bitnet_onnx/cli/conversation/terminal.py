"""Messages that a person types: with line editing and history, and a paste is one message.

Knows the terminal; does not know chats.
"""

from __future__ import annotations

import select
import sys
from collections.abc import Iterator

from ..common import say
from ..streams import stdin_lines

__all__ = ["is_interactive", "messages"]

SIGN = "> "
PASTED = 0.05  # seconds in which the next line of a paste is there; no person types so fast


def is_interactive() -> bool:
    """Return whether a person types on stdin."""
    return sys.stdin is not None and sys.stdin.isatty()


def messages() -> Iterator[str]:
    """Yield the messages on stdin: those that a person types, or else one a line."""
    if not is_interactive():
        yield from stdin_lines()
        return
    _prepare_editing()
    while True:
        try:
            yield _typed()
        except EOFError:
            say("")
            return
        except UnicodeDecodeError as error:
            say(f"error: the message is not {error.encoding} text, expected it typed again")


def _prepare_editing() -> None:
    """Let ``input`` edit lines and remember them, where Python was built with that."""
    try:
        import readline
    except ModuleNotFoundError:
        return
    if "libedit" not in (readline.__doc__ or ""):
        readline.parse_and_bind("set enable-bracketed-paste on")


def _typed() -> str:
    """Return a line, with the lines that were pasted with it."""
    lines = [_line(SIGN)]
    while _more():
        try:
            lines.append(_line(""))
        except EOFError:
            break
    return "\n".join(lines)


def _line(sign: str) -> str:
    if sys.stdout.isatty():
        return input(sign)
    print(sign, end="", file=sys.stderr, flush=True)  # stdout is for the answers
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\n")


def _more() -> bool:
    if sys.platform == "win32":  # its select takes sockets only
        return False
    return bool(select.select([sys.stdin], [], [], PASTED)[0])
