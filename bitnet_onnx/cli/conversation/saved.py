"""A chat in a file: its turns with the ids that the model chose, which belong to one model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import GenerationError
from ...files import new_file, read_object, write_text

if TYPE_CHECKING:
    from ...generation.chat import Chat, Turn

__all__ = ["load_chat", "save_chat"]

FORMAT = "bitnet-onnx chat 1"
_FIELDS = ("format", "model", "system", "turns")
_TURN = ("user", "reply", "reply_ids", "said")  # what a person's message makes
_AGAIN = "load a file that /save wrote with this artifact"


def save_chat(path: Path, chat: Chat, model: str) -> None:
    """Write a new file; ``model`` is the artifact's fingerprint."""
    turns = [{name: getattr(turn, name) for name in _TURN} for turn in chat.turns]
    saved = {"format": FORMAT, "model": model, "system": _system(chat), "turns": turns}
    with new_file(path) as file:
        write_text(file, json.dumps(saved, indent=2, ensure_ascii=False) + "\n")


def load_chat(path: Path, chat: Chat, model: str, vocab_size: int) -> None:
    """Replace the turns by those of a file; raise GenerationError and change nothing otherwise."""
    saved = read_object(path, GenerationError)
    if set(saved) != set(_FIELDS) or saved["format"] != FORMAT:
        raise GenerationError(f"{path} is not a saved chat, expected {FORMAT!r}", hint=_AGAIN)
    if saved["model"] != model:
        raise GenerationError(
            f"{path} is a chat with another model, whose ids mean other tokens", hint=_AGAIN
        )
    if saved["system"] != _system(chat):
        raise GenerationError(
            f"{path} was saved with the system prompt {saved['system']!r}, expected "
            f"{_system(chat)!r}",
            hint="start the chat with that prompt as --system, or without one",
        )
    turns = saved["turns"]
    if not isinstance(turns, list):
        raise GenerationError(f"{path}: turns is {turns!r}, expected a list", hint=_AGAIN)
    chat.turns = [_turn(path, turn, vocab_size) for turn in turns]


def _system(chat: Chat) -> str | None:
    first = next(iter(chat.messages), {"role": ""})
    return str(first["content"]) if first["role"] == "system" else None


def _turn(path: Path, turn: Any, vocab_size: int) -> Turn:
    from ...generation.chat import Turn

    good = isinstance(turn, dict) and sorted(turn) == sorted(_TURN)
    good = good and isinstance(turn["user"], str) and isinstance(turn["reply"], str)
    good = good and isinstance(turn["said"], str | None)
    good = good and isinstance(turn["reply_ids"], list)
    good = good and all(type(i) is int and 0 <= i < vocab_size for i in turn["reply_ids"])
    if not good:
        raise GenerationError(
            f"{path} holds a turn that cannot be used, expected user, reply and reply_ids",
            hint=_AGAIN,
        )
    return Turn(**{**turn, "reply_ids": tuple(turn["reply_ids"])})
