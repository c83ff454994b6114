"""Folders with a chat template, and a second reader of chat.json, after its page alone."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from bitnet_onnx.exporter.chat.file import write_chat
from tests.support.text.fakes import SPECIAL, backend_json

__all__ = ["chat_folder", "chat_json", "proven_folders", "read_ids", "refused"]


def chat_folder(path: Path, template: str | None, tokenizer: str = "", **config: Any) -> Path:
    """Write the files of a small byte-level tokenizer, and ``chat.json``."""
    path.mkdir(parents=True, exist_ok=True)
    config = {"bos_token": SPECIAL[0], "eos_token": SPECIAL[2], **config}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **config}
    (path / "tokenizer.json").write_text(tokenizer or backend_json(post_processor=True))
    (path / "tokenizer_config.json").write_text(json.dumps(config))
    (path / "generation_config.json").write_text('{"eos_token_id": [1, 2]}')
    if template is not None:
        (path / "chat_template.jinja").write_text(template, "utf-8", newline="")
    write_chat(path)
    return path


def proven_folders(
    templates: Mapping[str, str], factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Return the folder of each template, by its name; all workers share them, and change none.

    To prove a template takes a second.
    """
    base = factory.getbasetemp()
    place = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "chats"
    found = {}
    for name, text in templates.items():
        found[name] = place / hashlib.sha256(text.encode()).hexdigest()[:16]
        if not found[name].is_dir():
            made = chat_folder(place / f"{found[name].name}-{os.getpid()}", text)
            with suppress(OSError):  # another worker was quicker
                made.rename(found[name])
    return found


def chat_json(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "chat.json").read_text("utf-8"))
    return found


def refused(chat: dict[str, Any], messages: list[dict[str, str]]) -> bool:
    """Say whether a reader refuses one of the messages."""
    for message in messages:
        role, text = chat[message["role"]], message["content"]
        if role is None or any(word in text for word in role["refused"]):
            return True
        if not role["blank"] and not text.strip():
            return True
    return False


def read_ids(
    chat: dict[str, Any], messages: list[dict[str, str]], encode: Callable[[str], list[int]]
) -> list[int]:
    """Return the ids that the file says; ``encode`` takes special tokens for text."""
    pieces: list[str | int] = []
    before = chat["user"]["before"]
    for message in messages:
        role = chat[message["role"]]
        pieces += map(_part, before if message["role"] == "user" else role["before"])
        text = message["content"]
        if (cut := role["cut"]) and cut["after"] in text:
            text = text.split(cut["after"])[-1]
            text = text.lstrip(cut["strip_left"]).rstrip(cut["strip_right"])
        text = text.lstrip(role["strip_left"]).rstrip(role["strip_right"])
        tokens: dict[str, int] = role.get("tokens") or {}
        words = re.split(f"({'|'.join(map(re.escape, tokens))})", text) if tokens else [text]
        pieces += (tokens.get(word, word) for word in words)
        before = role.get("after", [])
    ids, text = list[int](), ""
    for piece in (*pieces, *map(_part, chat["prompt"])):
        if isinstance(piece, str):
            text += piece
        else:
            ids += [*encode(text), piece]
            text = ""
    return ids + encode(text)


def _part(part: dict[str, Any]) -> str | int:
    if "id" in part:
        return int(part["id"])
    return datetime.now().strftime(part["date"]) if "date" in part else str(part["text"])
