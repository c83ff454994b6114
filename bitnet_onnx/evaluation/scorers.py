"""What predicts the tokens of a text: an artifact's session, or another network with its face.

Knows sessions and tokenizers; does not know files of questions or measures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Protocol

import numpy as np

from ..generation.model import Model
from ..runtime.session import Session
from ..runtime.steps import CHUNK
from ..text.tokenizer import Tokenizer

__all__ = ["ModelScorer", "Scorer", "SessionScorer", "chunks"]


class Scorer(Protocol):
    """A network that predicts ids; ``logits`` yields chunks of the same sizes for all scorers."""

    tokenizer: Tokenizer
    vocab_size: int
    context_length: int
    options: dict[str, str]
    """How the network is stored, as a table shows it."""

    def logits(self, ids: Sequence[int], first: int) -> Iterator[np.ndarray]:
        """Yield the logits that predict ids[first:], in chunks [S, V]; first is 1 or more."""


def chunks(first: int, count: int) -> Iterator[slice]:
    """Yield the places that predict the ids from ``first`` on, chunk by chunk."""
    for start in range(first - 1, count - 1, CHUNK):
        yield slice(start, min(start + CHUNK, count - 1))


class SessionScorer:
    """A session, which computes once what neighbouring texts have in common at their beginning."""

    def __init__(self, session: Session, tokenizer: Tokenizer) -> None:
        self._session, self.tokenizer = session, tokenizer
        self.vocab_size, self.context_length = session.vocab_size, session.context_length
        artifact = session.artifact
        self.options = {
            "head": artifact.head,
            "linears": artifact.linears,
            "kv cache": artifact.kv_cache,
        }

    def logits(self, ids: Sequence[int], first: int) -> Iterator[np.ndarray]:
        session = self._session
        if session.batch_size != 1:
            session.reset()
        pairs = zip(session.ids(), ids[: first - 1], strict=False)
        kept = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        session.truncate(kept)
        if kept < first - 1:
            session.prefill(ids[kept : first - 1])
        yield from session.score(ids[first - 1 : -1])


class ModelScorer(SessionScorer):
    """The session of a model that also answers."""

    def __init__(self, model: Model) -> None:
        super().__init__(model.session, model.tokenizer)
        self.model = model
