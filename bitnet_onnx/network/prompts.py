"""The prompts of config_sentence_transformers.json: texts that are put before a text.

Knows the fields of sentence-transformers; does not know tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ArtifactError, BitNetError, GenerationError
from ..files import read_object

__all__ = ["FILE", "Prompts"]

FILE = "config_sentence_transformers.json"


class Prompts:
    """The prompts by name; ``default`` is the name of the one that is used where none is asked."""

    def __init__(self, texts: Mapping[str, str], default: str | None = None) -> None:
        self.texts = dict(texts)
        self.default = default

    @classmethod
    def of_folder(cls, folder: Path, error: type[BitNetError] = ArtifactError) -> Prompts:
        """Read the file of a folder; raise ``error`` naming the file and the field."""
        path = folder / FILE
        if not path.is_file():
            return cls({})
        fields = read_object(path, error)
        texts: Any = fields.get("prompts") or {}
        good = isinstance(texts, dict) and all(isinstance(text, str) for text in texts.values())
        if not good:
            raise error(f"{path}: prompts is {texts!r:.80}, expected texts by name")
        default = fields.get("default_prompt_name")
        if default is not None and (not isinstance(default, str) or default not in texts):
            raise error(
                f"{path}: default_prompt_name is {default!r}, expected the name of a prompt: "
                f"{', '.join(texts) or 'there is none'}"
            )
        return cls(texts, default)

    def before(self, name: str | None) -> str:
        """Return what comes before a text; raise GenerationError for an unknown name."""
        if name is None:
            name = self.default
        if name is None:
            return ""
        if not isinstance(name, str) or name not in self.texts:
            named = f"one of: {', '.join(map(repr, self.texts))}" if self.texts else "none"
            raise GenerationError(f"prompt_name is {name!r}, expected {named}")
        return self.texts[name]
