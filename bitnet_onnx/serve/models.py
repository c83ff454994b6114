"""The models that a server answers with, by name.

Knows artifacts, schedulers and tokenizers; does not know HTTP.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..artifact import EMBEDDING, MANIFEST, Artifact
from ..embedding.model import EmbeddingModel
from ..embedding.together import Together
from ..errors import ArtifactError, BitNetError, ConfigError
from ..generation.config import GenerationConfig
from ..generation.largest import best
from ..generation.model import Model, load
from ..generation.text import of_chat
from ..runtime.session import Session
from ..text.pieces import Pieces
from ..text.tokenizer import Tokenizer
from .batching.requests import Request, check_request
from .batching.scheduler import Scheduler
from .call_form import CallForm, learned

__all__ = ["Embedding", "Generating", "Limits", "Served", "closed", "named_folders", "opened"]


@dataclass(frozen=True)
class Limits:
    """What one request, and all of them together, may take."""

    rows: int = 8
    """Answers that are made at a time, of each model."""
    queue: int = 64
    """Requests that wait, of each model."""
    context: int | None = None
    """Tokens of a prompt and its answer; None: the artifact's context."""
    prefix_cache: int = 1 << 28
    """Bytes of the memory for prompts' beginnings."""
    prefix_folder: Path | None = None
    """Where those are kept while the server does not run."""
    seconds: float = 600.0
    """Of a request, from its arrival to its end."""
    body: int = 8 << 20
    """Bytes of a request's body."""
    threads: int = 0


@dataclass(frozen=True)
class Top:
    """The log-probability of a token, and the likeliest ones with theirs."""

    logprob: float
    top: list[tuple[int, float]]


class Served:
    """A model under its name."""

    def __init__(
        self, name: str, artifact: Artifact, limits: Limits, tokenizer: Tokenizer, context: int
    ) -> None:
        self.name, self.artifact, self.limits = name, artifact, limits
        self.tokenizer, self.context = tokenizer, context
        self.pieces = Pieces(tokenizer)
        self.users = 0
        """Requests that have it; the lock is its state's."""
        self.created = int((artifact.folder / MANIFEST).stat().st_mtime)

    def cancel(self) -> None:
        """End the answers that are being made, as far as they are made in steps."""

    def close(self, drain: bool = True, timeout: float | None = None) -> None:
        """Free what the model has, after its running answers where ``drain``."""


class Generating(Served):
    """A model that generates, with its scheduler."""

    def __init__(self, name: str, artifact: Artifact, limits: Limits) -> None:
        model = load(artifact, threads=limits.threads)
        assert isinstance(model, Model)
        try:
            context = _checked_context(name, model, limits)
            super().__init__(name, artifact, limits, model.tokenizer, context)
            folder = limits.prefix_folder
            self.scheduler = Scheduler(
                model,
                rows=limits.rows,
                queue=limits.queue,
                prefix_bytes=limits.prefix_cache,
                prefix_folder=None if folder is None else folder / artifact.fingerprint[:16],
            )
        except BaseException:
            model.close()
            raise
        self.model = model
        self._encoding, self._scoring = threading.Lock(), threading.Lock()
        self.turn = asyncio.Lock()
        """Of ``score``: who waits for it holds no thread."""
        self._scorer: Session | None = None

    @property
    def config(self) -> GenerationConfig:
        """The options of a request that names none, for texts."""
        return self.model.generation_config

    @property
    def chat_config(self) -> GenerationConfig:
        """The same for chats."""
        return of_chat(self.config, self.tokenizer)

    def encode(self, prompt: Any, **chat: Any) -> list[int]:
        """Return the ids of a text, of messages or of ids, as ``Model.generate`` feeds them."""
        with self._encoding:  # the chat template and the guarded tokenizer are one for all threads
            return self.model.encode(prompt, **chat)

    @cached_property
    def chat_variables(self) -> frozenset[str]:
        """What the chat template reads, such as messages; none without one."""
        templates = self.tokenizer.templates
        return frozenset() if templates is None else templates.variables

    @cached_property
    def call_form(self) -> CallForm | None:
        """How the model writes calls of functions, as its template shows."""
        return learned(self.tokenizer)

    def score(self, ids: Sequence[int], top: int) -> list[Top]:
        """Return the log-probabilities of all ids but the first, in a session of its own.

        Raises ArtifactError where the folder no longer holds the model that was opened.
        """
        with self._scoring:
            if self._scorer is None:
                self._scorer = self._second_session()
            self._scorer.reset()
            scored: list[Top] = []
            for logits in self._scorer.score(ids[:-1]) if len(ids) > 1 else ():
                for row in logits:
                    scored.append(_top(row, ids[len(scored) + 1], top))
            self._scorer.reset()
            return scored

    def _second_session(self) -> Session:
        """Open the artifact again: its folder may hold another model by now."""
        now = Artifact.open(self.artifact.folder)
        if now.fingerprint != self.artifact.fingerprint:
            raise ArtifactError(
                f"{self.artifact.folder} was replaced, expected the model that was opened"
            )
        return Session(now, threads=self.limits.threads)

    def cancel(self) -> None:
        """End all answers of the scheduler."""
        self.scheduler.cancel()

    def close(self, drain: bool = True, timeout: float | None = None) -> None:
        """End the scheduler, after the running answers where ``drain``, and free the sessions.

        Raises BitNetError where beginnings of prompts cannot be written.
        """
        try:
            self.scheduler.close(drain, timeout)
        finally:
            with self._scoring:
                if self._scorer is not None:
                    self._scorer.close()
            self.model.close()


class Embedding(Served):
    """A model that embeds texts."""

    def __init__(self, name: str, artifact: Artifact, limits: Limits) -> None:
        model = load(artifact, threads=limits.threads)
        assert isinstance(model, EmbeddingModel)
        super().__init__(name, artifact, limits, model.tokenizer, artifact.context_length)
        self.model = model
        # Rows are computed while as many wait, to be computed together then.
        self.turn = asyncio.Semaphore(2 * limits.rows)
        """Of ``embed``, which uses all threads: who waits for it holds none."""
        self._together = Together(model)

    def embed(self, texts: list[Any], prompt: str | None, dimensions: int | None) -> np.ndarray:
        """Return the vectors of texts, as ``EmbeddingModel.embed``; threads share its calls."""
        return self._together.embed(texts, prompt, dimensions)

    def close(self, drain: bool = True, timeout: float | None = None) -> None:
        """Free ONNX Runtime's session after the running call."""
        self._together.close()


def named_folders(given: Sequence[str]) -> dict[str, Path]:
    """Return the folders by name: ``NAME=FOLDER``, or a folder, whose own name it is."""
    found: dict[str, Path] = {}
    for text in given:
        name, equals, folder = text.partition("=")
        path = Path(folder if equals and not Path(text).exists() else text)
        if not equals or path == Path(text):
            name = path.resolve().name
        if not name or not name.isprintable():
            raise ConfigError(f"an artifact is {text!r}, expected FOLDER or NAME=FOLDER")
        if name in found:
            raise ConfigError(
                f"two artifacts have the name {name!r}, expected names that differ",
                hint="name them: bitnet-onnx serve small=FOLDER large=FOLDER",
            )
        found[name] = path
    return found


def opened(folders: Mapping[str, Path], limits: Limits) -> dict[str, Served]:
    """Open all artifacts; where one cannot be opened, none stays open."""
    found: dict[str, Served] = {}
    try:
        for name, folder in folders.items():
            artifact = Artifact.open(folder)
            kind: type[Embedding | Generating] = Generating
            if artifact.manifest["task"] == EMBEDDING:
                kind = Embedding
            found[name] = kind(name, artifact, limits)
    except BaseException:
        closed(found.values(), drain=False)
        raise
    return found


def closed(
    models: Iterable[Served], drain: bool = True, timeout: float | None = None
) -> list[BitNetError]:
    """Close models, each of them whatever another one raises; return what they raised."""
    errors = []
    for served in models:
        try:
            served.close(drain, timeout)
        except BitNetError as error:
            errors.append(error)
    return errors


def _checked_context(name: str, model: Model, limits: Limits) -> int:
    """Return how many tokens a prompt and its answer may have; refuse what cannot be served."""
    check_request(Request(ids=[0], config=model.generation_config, on_event=lambda _: None))
    most = model.session.artifact.context_length
    context = limits.context or most
    if context > most:
        raise ConfigError(
            f"the context is limited to {context} tokens, expected at most the {most} of {name}"
        )
    return context


def _top(logits: np.ndarray, token: int, count: int) -> Top:
    row = logits.astype(np.float64)
    row -= row.max()
    row -= np.log(np.exp(row).sum())
    likely = best(row, min(count, len(row))).tolist() if count else []
    return Top(float(row[token]), [(i, float(row[i])) for i in likely])
