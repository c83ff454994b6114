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


class BitNetError(Exception):
    """A mistake that the user can mend; the command line prints it on one line and exits with 2.

    ``hint`` says what to do, where that is known.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


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
