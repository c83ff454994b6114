"""Assisted decoding across tokenizers: only text passes between the two networks.

The assistant reads the text of the sequence, and the text that it drafts is encoded with the
tokenizer of the network that checks. Whatever it drafts, each id is chosen from the network's own
logits, as with prompt lookup. Knows two tokenizers and an assistant; does not know the session that
checks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import numpy as np

from ...errors import TokenizerError
from ...text.tokenizer import Tokenizer
from ..config import GenerationConfig
from ..extras import Extras
from ..leases import SessionLike
from ..processors.past import Past
from .assistant import Assistant
from .drafts import Drafts, Schedule

__all__ = ["Foreign", "UniversalAssistant"]

LOOKBEHIND = 10  # transformers' assistant_lookbehind and target_lookbehind
INCOMPLETE = "\ufffd"  # stands for bytes that are no character, or not yet
HELD = 3  # ids that may hold the beginning of a character
REST = 6  # at most 2**6 rounds pass without an attempt after attempts that gave no draft


@dataclass(frozen=True)
class Foreign:
    """An assistant_model with another tokenizer; ``own`` is that of the model it assists."""

    model: Any
    tokenizer: Tokenizer
    own: Tokenizer

    @property
    def session(self) -> Any:
        return self.model.session


class UniversalAssistant:
    """Drafts with a network that has other ids.

    ``_told`` ids of the sequence are in ``_past`` as ids of the assistant. The last ids are not,
    while their bytes are no whole character.
    """

    def __init__(
        self, foreign: Foreign, session: SessionLike, vocab_size: int, config: GenerationConfig
    ) -> None:
        """session: the assistant's. vocab_size: of the network that checks."""
        self._theirs, self._own, self._vocab = foreign.tokenizer, foreign.own, vocab_size
        self._lookbehind = config.assistant_lookbehind or LOOKBEHIND
        self._own_lookbehind = config.target_lookbehind or LOOKBEHIND
        plain = GenerationConfig(
            eos_token_id=self._theirs.eos_token_ids,
            assistant_confidence_threshold=config.assistant_confidence_threshold,
        )
        self._assistant = Assistant(session, session.vocab_size, plain, Extras())
        self._past, self._told = Past(), 0
        self._failed = self._rests = 0

    def start(self, past: Past) -> None:
        """Read the text of the prompt."""
        self._listen(past.ids, first=True)
        self._assistant.start(self._past)

    def close(self) -> None:
        self._assistant.close()

    def propose(self, past: Past, most: int, schedule: Schedule) -> Drafts:
        if self._rests:
            self._rests -= 1
            return Drafts()
        self._listen(past.ids)
        if not len(self._past):
            return Drafts()
        drafted = self._assistant.propose(self._past, most, schedule)
        said = drafted.ids
        drafts = self._translated(past.ids, said)[:most] if said else []
        if said:
            self._failed = 0 if drafts else min(self._failed + 1, REST)
            self._rests = 2**self._failed - 1
        return Drafts(drafts, [0] * len(drafts), reading=drafted.reading)

    def _listen(self, ids: np.ndarray, first: bool = False) -> None:
        """Give the assistant the text of ids that it does not know yet."""
        before = self._window(self._own, ids[: self._told], self._own_lookbehind)
        for end in range(len(ids), max(len(ids) - HELD, self._told) - 1, -1):
            text = _text(self._own, before, ids[self._told : end].tolist())
            if not text.endswith(INCOMPLETE):
                break
        else:  # they are no beginning of a character
            end = len(ids)
            text = _text(self._own, before, ids[self._told :].tolist())
        self._told = end
        try:
            self._append(text, first)
        except TokenizerError:  # the assistant has no tokens for it
            self._past = Past()

    def _append(self, text: str, first: bool) -> None:
        """Append text to what the assistant has read; its last ids can change."""
        window = self._window(self._theirs, self._past.ids, self._lookbehind)
        known = self._theirs.decode_raw(window)
        ids = self._theirs.encode(known + text, add_special_tokens=first)
        # Where the window begins inside a word, its first ids can be others than in the text.
        run = SequenceMatcher(None, window, ids, autojunk=False).find_longest_match()
        self._past.truncate(len(self._past) - len(window) + run.a + run.size)
        self._past.add(ids[run.b + run.size :])

    def _translated(self, ids: np.ndarray, said: Sequence[int]) -> list[int]:
        """Return the ids that the text of drafts gives the sequence, none where they do not fit."""
        special = {*self._theirs.special_ids, *self._theirs.eos_token_ids}
        end = next((i for i, token in enumerate(said) if token in special), len(said))
        before = self._window(self._theirs, self._past.ids, self._lookbehind)
        text = _text(self._theirs, before, list(said[:end])).rstrip(INCOMPLETE)
        window = self._window(self._own, ids[: self._told], self._own_lookbehind)
        known, waiting = self._own.decode_raw(window), ids[self._told :].tolist()
        try:
            found = self._own.encode(known + text, add_special_tokens=False)
        except TokenizerError:
            return []
        ends = (i for i in range(len(found)) if self._own.decode_raw(found[:i]) == known)
        begin = next(ends, len(found))
        if found[begin : begin + len(waiting)] != waiting:
            return []
        drafts = found[begin + len(waiting) :]
        outside = (i for i, token in enumerate(drafts) if token >= self._vocab)
        return drafts[: next(outside, len(drafts))]

    @staticmethod
    def _window(tokenizer: Tokenizer, ids: np.ndarray, count: int) -> list[int]:
        """Return the last ids that have text: those after the last special token."""
        found: list[int] = ids[-count:].tolist()
        places = (i for i, token in enumerate(reversed(found)) if token in tokenizer.special_ids)
        return found[len(found) - next(places, len(found)) :]


def _text(tokenizer: Tokenizer, before: list[int], ids: list[int]) -> str:
    """Return the text of ids after other ids: some decoders strip a blank at the start."""
    head, both = tokenizer.decode_raw(before), tokenizer.decode_raw(before + ids)
    return both.removeprefix(head) if both.startswith(head) else tokenizer.decode_raw(ids)
