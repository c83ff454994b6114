"""Assisted decoding: a smaller network, or a part of the same one, drafts the ids, one by one.

Knows a session of its own and the options, which act on drafts as on the ids that are chosen; does
not know the session that checks them.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any, cast

import numpy as np

from ...errors import GenerationError
from ..config import GenerationConfig
from ..extras import Extras
from ..leases import LeaseLike, SessionLike
from ..processors.past import Past
from ..sampling import Drawn, Sampler
from .drafts import Drafts, Schedule

__all__ = ["Assistant", "session_of"]

SEED = 2**32  # its draws differ from those of every row of a batch
THRESHOLD = 0.4  # transformers' assistant_confidence_threshold
LONG = 16  # ids: to read more at once is no cost of drafts, but of a prompt


def session_of(assistant: object, session: SessionLike) -> SessionLike:
    """Return the session of an assistant_model; raise GenerationError where it has none."""
    found: Any = getattr(assistant, "session", assistant)
    if not hasattr(found, "claim"):
        raise GenerationError(
            f"assistant_model is {assistant!r}, expected a model that load returned, or its session"
        )
    if found is session:
        raise GenerationError(
            "assistant_model is the model that it shall assist, expected a smaller one",
            hint="without a smaller one, give prompt_lookup_num_tokens",
        )
    return cast(SessionLike, found)


class Assistant:
    """Drafts with a session that it holds from the prompt to the end."""

    def __init__(
        self, session: SessionLike, vocab_size: int, config: GenerationConfig, extras: Extras
    ) -> None:
        """vocab_size: of the network that checks; that of the session may be padded differently."""
        self._session, self._vocab = session, vocab_size
        self._eos = frozenset(config.eos_token_ids)
        given = config.assistant_confidence_threshold
        self._threshold = THRESHOLD if given is None else given
        self._sampler = Sampler(config, SEED, extras, 0)
        self._lease: LeaseLike | None = None
        self._reading = 0.0

    def start(self, past: Past) -> None:
        """Take the session, with what its cache has of the prompt; drafts read the rest."""
        self._sampler.past = past.copy()
        self._lease = lease = self._session.claim()
        if lease.batch_size != 1:
            lease.reset(1)
        wanted = past.ids[: min(len(past) - 1, self._session.context_length)]
        if not self._knows(past):
            wanted = wanted[:0]
        held = _common(np.array(lease.ids(), dtype=np.int64), wanted)
        lease.truncate(held)

    def close(self) -> None:
        """Release the session."""
        if self._lease is not None:
            self._lease.release()

    def propose(self, past: Past, most: int, schedule: Schedule) -> Drafts:
        room = self._session.context_length - len(past) + 1
        count = schedule.most([0] * min(most, room))
        if not count or not self._knows(past):
            return Drafts()
        logits, ids, drawn = self._read(past), list[int](), list[Drawn]()
        reading, self._reading = self._reading, 0.0
        while True:
            try:
                token, chance, source = self._sampler.draft(self._fitted(logits))
            except GenerationError:  # the options may leave no id after drafts that are wrong
                return Drafts(ids, [0] * len(ids), drawn, reading)
            ids.append(token)
            drawn += [source] if source is not None else []
            if len(ids) == count or token in self._eos or chance < self._threshold:
                return Drafts(ids, [0] * len(ids), drawn, reading)
            logits = self._feed(np.array([token]))

    def _knows(self, past: Past) -> bool:
        return bool(past.ids.max(initial=0) < self._session.vocab_size)

    def _read(self, past: Past) -> np.ndarray:
        """Take back the drafts that were refused; return the logits after all ids."""
        assert self._lease is not None, "start comes first"
        own = self._sampler.past
        common = _common(own.ids, past.ids)
        own.truncate(common)
        own.add(past.ids[common:].tolist())
        held = min(common, self._lease.lengths[0], len(past) - 1)
        self._lease.truncate(held)
        if len(past) - held > LONG:
            start = perf_counter()
            self._feed(past.ids[held:-1])
            held, self._reading = len(past) - 1, perf_counter() - start
        return self._feed(past.ids[held:])

    def _feed(self, ids: np.ndarray) -> np.ndarray:
        assert self._lease is not None, "start comes first"
        if len(ids) == 1:
            found: np.ndarray = self._lease.decode(ids.tolist())[0]
            return found
        return self._lease.prefill(ids.tolist()) if len(ids) else np.empty(0)

    def _fitted(self, logits: np.ndarray) -> np.ndarray:
        """Return logits with the vocabulary of the network that checks."""
        missing = self._vocab - len(logits)
        if missing <= 0:
            return logits[: self._vocab]
        return np.concatenate([logits, np.full(missing, -np.inf, np.float32)])


def _common(a: np.ndarray, b: np.ndarray) -> int:
    """Return how many ids two sequences share at the beginning."""
    length = min(len(a), len(b))
    differ = np.flatnonzero(a[:length] != b[:length])
    return int(differ[0]) if len(differ) else length
