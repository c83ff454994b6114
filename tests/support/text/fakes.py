"""Sessions without a model, and small tokenizers, for the tests of text and of the loop."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from bitnet_onnx.runtime.hidden import Layers
from bitnet_onnx.text.tokenizer import Tokenizer
from tests.support.generation.toy_states import toy_head, toy_logits, toy_states

# The template of BitNet b1.58 2B-4T, which does not write a bos.
BITNET = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = message['role'] | capitalize + ': '+ message['content'] | trim"
    " + '<|eot_id|>' %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}"
)
CHATML = (
    "{{ bos_token }}{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n'"
    " + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Begins with the number of messages, so that every new turn changes the text before it.
REWRITING = (
    "{{ messages | length }}{% for message in messages %}[{{ message.role }}]"
    "{{ message.content }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
SPECIAL = [
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|eot_id|>",
    "<|im_start|>",
    "<|im_end|>",
]


@cache
def backend_json(post_processor: bool = False) -> str:
    """Train a byte-level BPE tokenizer.json; the post-processor, if any, adds bos and eos."""
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    corpus = ["User: hello world", "Assistant: hello there", "the cat sat 🙂 die Tür", "User: the"]
    backend.train_from_iterator(corpus * 5, trainer)
    if post_processor:
        bos, eos = (SPECIAL[0], 0), (SPECIAL[1], 1)
        backend.post_processor = processors.TemplateProcessing(
            single=f"{bos[0]} $A {eos[0]}", special_tokens=[bos, eos]
        )
    return backend.to_str()


def make_tokenizer(template: str | None = BITNET, post_processor: bool = True) -> Tokenizer:
    return Tokenizer(
        tokenizers.Tokenizer.from_str(backend_json(post_processor)),
        config={"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"},
        generation_config={"eos_token_id": [1, 2]},
        chat_template=template,
    )


def fake_logits(ids: Sequence[int], vocab_size: int) -> np.ndarray:
    """Return logits that depend on every id and its position, so that a wrong cache is noticed."""
    return toy_logits(ids, vocab_size)


class FakeSession:
    """A session whose cache is the ids; it counts the ids of prefill and is its own lease."""

    exact_in_groups = True
    layers: Layers | None = Layers(5, False)

    def __init__(
        self, vocab_size: int = 300, context_length: int = 256, never: Sequence[int] = ()
    ) -> None:
        self.vocab_size, self.context_length = vocab_size, context_length
        self._never = list(never)  # ids that are never the likeliest
        self.computed = 0  # ids fed to prefill
        self.reset()

    def reset(self, batch_size: int = 1) -> None:
        self.batch_size = batch_size
        self.cache: list[list[int]] = [[] for _ in range(batch_size)]
        self._logits = np.empty((batch_size, self.vocab_size), np.float32)

    def claim(self) -> FakeSession:
        return self

    def exact_for(self, positions: int) -> bool:
        return self.exact_in_groups

    def early_exit(self, layers: int) -> FakeSession:
        raise NotImplementedError

    def release(self) -> None:
        pass

    @property
    def lengths(self) -> list[int]:
        return [len(row) for row in self.cache]

    def ids(self, row: int = 0) -> list[int]:
        return self.cache[row]

    def prefill(self, ids: Sequence[int], row: int = 0) -> np.ndarray:
        assert len(ids) > 0
        self.computed += len(ids)
        self._append(row, *ids)
        return self._logits[row]

    def prefill_rows(self, prompts: Sequence[Sequence[int]]) -> np.ndarray:
        assert len(prompts) == self.batch_size
        return np.stack([self.prefill(ids, row) for row, ids in enumerate(prompts)])

    def decode(self, ids: Sequence[int]) -> np.ndarray:
        assert len(ids) == self.batch_size
        for row, token in enumerate(ids):
            self._append(row, token)
        return self._logits

    def score(self, ids: Sequence[int], row: int = 0) -> np.ndarray:
        assert len(ids) > 0
        found = []
        for token in ids:
            self._append(row, token)
            found.append(self._logits[row].copy())
        return np.stack(found)

    def prefill_states(self, ids: Sequence[int], row: int = 0) -> tuple[np.ndarray, np.ndarray]:
        start, logits = len(self.cache[row]), self.prefill(ids, row)
        ends = range(start + 1, start + len(ids) + 1)
        return logits, np.stack([self._states(self.cache[row][:end])[-1] for end in ends])

    @property
    def hidden_states(self) -> np.ndarray:
        return np.stack([self._states(ids) for ids in self.cache], axis=1)[:, :, None]

    def early_logits(self, layers: Sequence[int]) -> np.ndarray:
        states: np.ndarray = self.hidden_states[list(layers), :, 0]
        return states @ toy_head(self.vocab_size).T

    def _states(self, ids: Sequence[int]) -> np.ndarray:
        assert self.layers is not None
        return toy_states(ids, self.layers.count + 1)

    def truncate(self, length: int, row: int = 0) -> None:
        assert 0 <= length <= len(self.cache[row])
        del self.cache[row][length:]

    def reorder(self, order: Sequence[int]) -> None:
        self.cache = [list(self.cache[row]) for row in order]
        self.batch_size = len(order)
        self._logits = self._logits[list(order)]

    def _append(self, row: int, *ids: int) -> None:
        self.cache[row] += [int(token) for token in ids]
        assert len(self.cache[row]) <= self.context_length, "the row overflows its context"
        self._logits[row] = fake_logits(self.cache[row], self.vocab_size)
        self._logits[row, self._never] = -100


class ScriptedSession(FakeSession):
    """A session whose logits choose the given ids, whatever the prompt."""

    exact_in_groups = False  # a draft that is refused would take an id of the script

    def __init__(self, script: Sequence[int], **sizes: Any) -> None:
        super().__init__(**sizes)
        self._script = iter(script)

    def _append(self, row: int, *ids: int) -> None:
        super()._append(row, *ids)
        self._logits[row] = 0
        self._logits[row, next(self._script)] = 1
