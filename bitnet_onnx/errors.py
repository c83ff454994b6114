"""The exceptions of bitnet_onnx: one for each thing a user can get wrong.

Knows no other file. A message is one sentence: what was found, what was expected; the hint says
what to do. Our own mistakes are plain assertion failures, never one of these.
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


class BitNetError(Exception):
    """A mistake that the user can mend; the command line prints it in one line and exits with 2.

    ``hint`` says what to do, where that is known.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class ConfigError(BitNetError):
    """A config.json field, a command-line value or an option that cannot be used."""


class CheckpointError(BitNetError):
    """A checkpoint that is missing, damaged, or not of a kind that we read."""


class ArtifactError(BitNetError):
    """An artifact folder that is missing, damaged, or of an unknown version."""


class LibraryError(BitNetError):
    """The custom-op library is missing, or does not fit this machine or this ONNX Runtime."""


class TokenizerError(BitNetError):
    """A tokenizer or chat template that is missing, damaged, or cannot do what was asked."""


class SessionError(BitNetError):
    """A session that is closed, that somebody else is using, or whose runtime failed."""


class GenerationError(BitNetError):
    """A prompt or a generation option that cannot be served."""
