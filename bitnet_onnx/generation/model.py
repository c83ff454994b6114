"""A loaded model: an artifact with its session, tokenizer and generation options.

The public face of generation. Knows sessions, tokenizers and chats, which do the work; does not
know ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ..artifact import EMBEDDING, Artifact
from ..embedding.model import EmbeddingModel
from ..errors import GenerationError
from ..runtime.cache.kinds import CACHES
from ..runtime.integers import Ids, integers, token_ids
from ..runtime.owned import MODEL_UNCOPIED, Owned
from ..runtime.session import Session
from ..runtime.vectors import VectorSession
from ..text.tokenizer import Tokenizer
from .chat import Chat
from .config import GenerationConfig, checked
from .extras import Extras, of_call
from .text import TextResult, TextStream, generate_text, of_chat, text_stream

__all__ = ["Model", "load"]

Message = Mapping[str, Any]
Objects = Sequence[Mapping[str, Any]]
Prompt = str | Ids | Sequence[Message]


def load(
    artifact: str | Path | Artifact,
    *,
    threads: int = 0,
    custom_ops: bool = True,
    generation_config: GenerationConfig | None = None,
    cache: str | None = None,
    sinks: int | None = None,
    cache_dir: str | Path | None = None,
) -> Model | EmbeddingModel:
    """Open an artifact folder as a model that is ready to answer, or to embed texts.

    threads: 0 for one per core. custom_ops: False runs the function bodies of stock operators.
    generation_config: the options of calls that name none; None takes those of the artifact's
    generation_config.json. cache, sinks, cache_dir: as in ``Session``; without a cache, the
    ``cache_implementation`` of the options is it. Raises ArtifactError, LibraryError,
    TokenizerError or GenerationError.
    """
    opened = artifact if isinstance(artifact, Artifact) else Artifact.open(artifact)
    if opened.manifest["task"] == EMBEDDING:
        if generation_config is not None:
            raise GenerationError(
                f"generation_config is given, but {opened.folder} embeds texts, expected none"
            )
        for name, value in (("cache", cache), ("sinks", sinks), ("cache_dir", cache_dir)):
            if value is not None:
                raise GenerationError(
                    f"{name} is {value!r}, but {opened.folder} embeds texts, expected none"
                )
        return EmbeddingModel(VectorSession(opened, threads=threads, custom_ops=custom_ops))
    options = generation_config or GenerationConfig.of_folder(opened.folder)[0]
    kind = options.cache_implementation or CACHES[0] if cache is None else cache
    session = Session(
        opened,
        threads=threads,
        custom_ops=custom_ops,
        cache=kind,
        sinks=sinks,
        cache_dir=cache_dir,
    )
    if cache is not None:  # it goes before the one that the options name
        options = replace(options, cache_implementation=None)
    return Model(session, Tokenizer.from_folder(opened.folder), options)


class Model(Owned):
    """A session with its tokenizer; made by ``load``.

    A prompt is a text, which is encoded as it is; or messages ``{"role": ..., "content": ...}``,
    which are put into the model's chat template; or token ids. Options are a GenerationConfig, and
    keywords that change some of them: ``model.generate("Once", max_new_tokens=20)``. A
    GenerationConfig is obeyed as it is; without one, a call starts from ``generation_config``,
    which holds what the artifact's generation_config.json asks for. The fields of
    ``generation.extras.Extras``, which transformers' generate takes too, are keywords as well:
    logits_processor, stopping_criteria, prefix_allowed_tokens_fn and negative_prompt_ids, or
    negative_prompt, which is encoded like a prompt; structured_outputs, named as in vLLM, gives the
    answer a form, such as ``{"json": schema}``. tools (JSON schemas), documents
    and chat_template_kwargs reach the chat template of prompts that are messages. A model has one
    user at a time: load it again for another user; both share the weights.
    """

    uncopied = MODEL_UNCOPIED

    def __init__(
        self,
        session: Session,
        tokenizer: Tokenizer,
        generation_config: GenerationConfig | None = None,
    ) -> None:
        self.session = session
        self.tokenizer = tokenizer
        self.generation_config = generation_config or GenerationConfig()
        """The options of calls without a GenerationConfig."""

    def generate(
        self,
        prompt: Prompt,
        config: GenerationConfig | None = None,
        *,
        tools: Objects | None = None,
        documents: Objects | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        **changes: Any,
    ) -> TextResult:
        """Continue one prompt; return its text and, in ``result``, its ids.

        Like all methods, raises GenerationError, TokenizerError or SessionError.
        """
        ids = self.encode(
            prompt, tools=tools, documents=documents, chat_template_kwargs=chat_template_kwargs
        )
        results = self.generate_batch([ids], config, **changes)
        return replace(results[0], sequences=tuple(results))

    def generate_batch(
        self,
        prompts: Sequence[Prompt],
        config: GenerationConfig | None = None,
        *,
        on_text: Callable[[int, str], None] | None = None,
        tools: Objects | None = None,
        documents: Objects | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        **changes: Any,
    ) -> list[TextResult]:
        """Continue several prompts in one batch; on_text(row, piece) sees each piece of text.

        With num_return_sequences, the results of one prompt are neighbours.
        """
        ids = [
            self.encode(
                prompt, tools=tools, documents=documents, chat_template_kwargs=chat_template_kwargs
            )
            for prompt in prompts
        ]
        call = self._call(config, changes)
        return generate_text(self.session, self.tokenizer, ids, *call, on_text=on_text)

    def stream(
        self,
        prompt: Prompt,
        config: GenerationConfig | None = None,
        *,
        tools: Objects | None = None,
        documents: Objects | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        **changes: Any,
    ) -> TextStream:
        """Continue one prompt and yield its text in pieces."""
        call = self._call(config, changes)
        ids = self.encode(
            prompt, tools=tools, documents=documents, chat_template_kwargs=chat_template_kwargs
        )
        return text_stream(self.session, self.tokenizer, ids, *call)

    def chat(
        self,
        system: str | None = None,
        *,
        tools: Objects | None = None,
        documents: Objects | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        on_notice: Callable[[str], None] | None = None,
    ) -> Chat:
        """Start a conversation, whose cache is kept from turn to turn."""
        return Chat(
            self.session,
            self.tokenizer,
            system,
            tools=tools,
            documents=documents,
            chat_template_kwargs=chat_template_kwargs,
            config=of_chat(self.generation_config, self.tokenizer),
            on_notice=on_notice,
        )

    def score(self, prompt: Prompt) -> np.ndarray:
        """Return float64 log-probabilities [S - 1]: of each token but the first, given all before.

        Their sum is the log-likelihood of the text; ``exp(-mean)`` is its perplexity. At most the
        logits of 256 positions are in memory at a time.
        """
        ids = token_ids(self.encode(prompt), self.session.vocab_size)
        if len(ids) < 2:
            return np.empty(0)
        self.session.reset()
        scored, start = np.empty(len(ids) - 1), 0
        for logits in self.session.score(ids[:-1]):
            end = start + len(logits)
            scored[start:end] = _log_probabilities(logits, ids[start + 1 : end + 1])
            start = end
        return scored

    def encode(
        self,
        prompt: Prompt,
        *,
        tools: Objects | None = None,
        documents: Objects | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> list[int]:
        """Return the ids of a prompt, as the methods feed it."""
        found: Any = prompt
        chat = isinstance(prompt, Sequence) and not isinstance(prompt, str) and len(prompt)
        if chat and isinstance(prompt[0], Mapping):
            return self.tokenizer.encode_chat(
                found,
                tools=tools,
                documents=documents,
                chat_template_kwargs=chat_template_kwargs,
            )
        if tools is not None or documents is not None or chat_template_kwargs:
            raise GenerationError(
                "tools, documents or chat_template_kwargs are given with a prompt that is not a"
                " chat, expected messages",
                hint='write the prompt as [{"role": "user", "content": "..."}]',
            )
        if isinstance(prompt, str):
            return self.tokenizer.encode(prompt)
        return integers("token id", found)

    def embed(self, *texts: Any, **options: Any) -> NoReturn:
        """Refuse: only an artifact that embeds texts has it; see ``EmbeddingModel``."""
        raise GenerationError(
            f"{self.session.artifact.folder} generates texts, expected an artifact that embeds",
            hint="export a network that embeds texts, such as microsoft/bitnet-embedding-0.6b",
        )

    def close(self) -> None:
        """Free the cache and ONNX Runtime's session."""
        self.session.close()

    def _call(
        self, config: GenerationConfig | None, changes: dict[str, Any]
    ) -> tuple[GenerationConfig, Extras]:
        return of_call(checked(config) or self.generation_config, changes, self.encode)


def _log_probabilities(logits: np.ndarray, chosen: Sequence[int]) -> np.ndarray:
    """Return the log softmax of logits [S, V] at one id for each position: float64 [S]."""
    scores = np.empty(len(chosen))
    for position, token in enumerate(chosen):  # one position in float64 at a time
        row = logits[position].astype(np.float64)
        row -= row.max()
        scores[position] = row[token] - np.log(np.exp(row).sum())
    return scores
