"""Puts the chat templates of a checkpoint's subfolder where a flat folder can hold them.

Knows the files of chat templates; does not know Jinja.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ...errors import CheckpointError

__all__ = ["TEMPLATES", "with_templates"]

FOLDER = "additional_chat_templates"
TEMPLATES = f"{FOLDER}/*.jinja"
FILE, CONFIG = "chat_template.jinja", "tokenizer_config.json"


def with_templates(folder: Path, texts: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the text files with all templates of the folder.

    An artifact has no folders inside. Where a checkpoint holds named templates, all of them, the
    default too, become the list in tokenizer_config.json, as transformers reads it.
    """
    found, paths = dict(texts), sorted(folder.glob(TEMPLATES))
    if not paths or CONFIG not in found:
        return found
    named = {path.stem: path.read_bytes() for path in paths}
    if FILE in found:
        named["default"] = found.pop(FILE)
    try:
        config = json.loads(found[CONFIG])
        config["chat_template"] = [
            {"name": name, "template": text.decode()} for name, text in named.items()
        ]
    except (ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{CONFIG} or a chat template of {folder} cannot be read, expected JSON and UTF-8:"
            f" {error}",
            hint="download the checkpoint again",
        ) from error
    found[CONFIG] = json.dumps(config, ensure_ascii=False, indent=2).encode()
    return found
