"""stdin, stdout and stderr: whatever they are, a failure is one sentence.

Results go to stdout: a failure to write them ends the command. Talk goes to stderr: a failure there
is not worth ending for. Knows no command.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import BitNetError, GenerationError

__all__ = ["OutputError", "discard_stdout", "guarded", "lines_of", "read_stdin", "stdin_lines",
           "text_of"]  # fmt: skip

BOM = "\ufeff"  # some editors begin a UTF-8 file with it; it is not part of the text


class OutputError(BitNetError):
    """A result that cannot be written to stdout."""


class _Stdout:
    """stdout, whose failures are OutputErrors; a broken pipe stays one."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        if self._stream is None:
            raise OutputError("stdout is closed, expected a place for the results")
        with self._explained():
            return int(self._stream.write(text))

    def flush(self) -> None:
        if self._stream is not None:
            with self._explained():
                self._stream.flush()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except UnicodeEncodeError as error:
            raise OutputError(
                f"stdout takes {error.encoding}, which has no {error.object[error.start]!a}",
                hint="set the environment variable PYTHONIOENCODING=utf-8",
            ) from error
        except (OSError, ValueError) as error:  # ValueError: closed by somebody in the program
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise OutputError(f"stdout cannot be written: {reason}") from error


class _Stderr:
    """stderr, or nothing where it is closed or fails."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError, AttributeError):  # AttributeError: it is None
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError, AttributeError):
            self._stream.flush()

    def isatty(self) -> bool:
        return self._stream is not None and bool(self._stream.isatty())


@contextmanager
def guarded() -> Iterator[None]:
    """Replace stdout and stderr by ones whose failures are handled, and flush them at the end."""
    for descriptor in (0, 1, 2):  # a file that is opened must not become a closed stream
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    before = sys.stdout, sys.stderr
    stdout: Any = sys.stdout
    if str(getattr(stdout, "encoding", "")).lower().replace("-", "") == "utf8":
        with suppress(AttributeError):  # a path that is not UTF-8 is printed as its own bytes
            stdout.reconfigure(errors="surrogateescape")
    sys.stdout, sys.stderr = _Stdout(sys.stdout), _Stderr(sys.stderr)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def discard_stdout() -> None:
    """Let the interpreter's last flush of a stdout that failed go nowhere, and not fail again."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def read_stdin() -> str:
    """Return the text of stdin, without a byte-order mark and with Unix line ends."""
    return "".join(line + end for line, end in _stdin())


def stdin_lines() -> Iterator[str]:
    """Yield the lines of stdin as they come, without their ends."""
    for line, _ in _stdin():
        yield line


def lines_of(path: Path) -> list[str]:
    """Return the lines of a prompts file that are not blank; only CR, LF and CRLF end a line."""
    return [line for line in re.split(r"\r\n?|\n", text_of(path)) if line.strip()]


def text_of(path: Path) -> str:
    """Return the text of a UTF-8 file, without a byte-order mark."""
    try:
        return path.read_bytes().decode("utf-8").removeprefix(BOM)
    except OSError as error:
        raise GenerationError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise _not_text(str(path), error, "convert the file to UTF-8") from error


def _stdin() -> Iterator[tuple[str, str]]:
    """Yield the lines of stdin, each with its end."""
    if sys.stdin is None:
        raise GenerationError("stdin is closed, expected a prompt", hint="give it as an argument")
    raw = getattr(sys.stdin, "buffer", None)
    first, number = True, 0
    try:
        for line in sys.stdin if raw is None else raw:
            number += 1
            text = line if raw is None else _decoded(line, number)
            text = text.removeprefix(BOM) if first else text
            first = False
            for part, end in re.findall(r"([^\r\n]*)(\r\n?|\n|$)", text):
                if part or end:
                    yield part, "\n" if end else ""
    except OSError as error:
        raise GenerationError(f"stdin cannot be read: {error.strerror}") from error


def _decoded(line: Any, number: int) -> str:
    try:
        return str(line, sys.stdin.encoding)
    except UnicodeDecodeError as error:
        hint = "convert it to UTF-8, or name its encoding, as in PYTHONIOENCODING=latin-1"
        raise _not_text(f"line {number} of stdin", error, hint) from error


def _not_text(where: str, error: UnicodeDecodeError, hint: str) -> GenerationError:
    return GenerationError(
        f"{where} holds the byte 0x{error.object[error.start]:02x} at offset {error.start}, "
        f"expected {error.encoding} text",
        hint=hint,
    )
