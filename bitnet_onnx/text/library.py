"""The tokenizers package, called so that a damaged file ends in a TokenizerError.

Knows the package and no folder. It is written in Rust: some damages make it panic, which Python
sees as an exception that is not an Exception, and some make it ask for gigabytes, which ends
the process. Those are found before.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import tokenizers

from ..errors import BitNetError, TokenizerError

__all__ = ["in_a_sentence", "load"]

MOST_IDS = 1 << 24


def load(content: str, name: str) -> tokenizers.Tokenizer:
    """Return the tokenizer in the text of a tokenizer.json, which an error names."""
    with in_a_sentence(f"{name} is not a readable tokenizer"):
        json.loads(content, object_hook=_checked)
        return tokenizers.Tokenizer.from_str(content)


@contextmanager
def in_a_sentence(what: str) -> Iterator[None]:
    """Turn whatever the package raises into a TokenizerError that begins with ``what``."""
    try:
        yield
    except (BitNetError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # a panic of Rust, too
        raise TokenizerError(f"{what}: {error}") from error


def _checked(part: dict[str, Any]) -> dict[str, Any]:
    """Return a JSON object; refuse one that makes the package ask for gigabytes."""
    if part.get("type") == "Precompiled":
        _check_map(part.get("precompiled_charsmap"))
    vocab = part.get("vocab")
    _check_ids([part.get("id"), *(vocab.values() if isinstance(vocab, dict) else ())])
    return part


def _check_ids(ids: Iterable[Any]) -> None:
    """Refuse ids far beyond any vocabulary: the package makes a table as long as the largest."""
    largest = max((number for number in ids if type(number) is int), default=0)
    if largest >= MOST_IDS:
        raise ValueError(f"it holds the id {largest}, expected ids below {MOST_IDS}")


def _check_map(text: Any) -> None:
    """Refuse a map of characters whose first part is longer than the whole: its size is a u32."""
    content = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    size = int.from_bytes(content[:4], "little")
    if size > len(content) - 4:
        raise TokenizerError(
            f"precompiled_charsmap states {size} bytes and has {max(0, len(content) - 4)}",
            hint="copy or download tokenizer.json again",
        )
