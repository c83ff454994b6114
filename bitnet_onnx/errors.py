"""The exceptions of bitnet_onnx: one for each thing a user can get wrong.

Knows no other file. A message is one sentence that says what was found and what was expected; the
hint says what to do. A mistake of this package itself is an AssertionError.
"""

from __future__ import annotations

__all__ = [
    "ArtifactError",
    "BitNetError",
    "CheckpointError",
    "ConfigError",
    "GenerationError",
    "LibraryError",
    "SessionError",
    "TokenizerError",
]


LONGEST = 1000  # characters of a message


class BitNetError(Exception):
    """A mistake that the user can mend; the command line prints it on one line and exits with 2.

    ``hint`` says what to do, where that is known. ``argument`` is the one of the caller's that is
    at fault, where a message is about one of several. A message may quote a damaged file, so it is
    shown without control characters, and without the middle where it is too long.
    """

    def __init__(self, message: str, hint: str | None = None, argument: str | None = None) -> None:
        super().__init__(_printable(message))
        self.hint = None if hint is None else _printable(hint)
        self.argument = argument


def _printable(text: str) -> str:
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]} [...] {text[-LONGEST // 3 :]}"
    text = " ".join(text.splitlines())
    escaped = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if text.isprintable() else "".join(escaped)


class ConfigError(BitNetError):
    """A config.json field, a command-line value or an option that cannot be used."""


class CheckpointError(BitNetError):
    """A checkpoint that is missing, damaged, or of an unsupported kind."""


class ArtifactError(BitNetError):
    """An artifact folder that is missing, damaged, or of an unknown version."""


class LibraryError(BitNetError):
    """A custom-op library that is missing, or that this machine or ONNX Runtime cannot load."""


class TokenizerError(BitNetError):
    """A tokenizer or chat template that is missing or damaged, or that cannot do what was asked."""


class SessionError(BitNetError):
    """A session that is closed, that is in use elsewhere, or whose runtime failed."""


class GenerationError(BitNetError):
    """A prompt or a generation option that cannot be served."""
