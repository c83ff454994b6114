"""The caller's own functions: they see ids and scores, and what they return is checked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bitnet_onnx.errors import GenerationError
from bitnet_onnx.generation.config import GenerationConfig
from bitnet_onnx.generation.extras import Extras
from bitnet_onnx.generation.loop import generate, stream
from bitnet_onnx.generation.model import Model
from tests.support.text.fakes import FakeSession, fake_logits, make_tokenizer
from tests.support.toy_model import transformers_generate, transformers_processors

VOCAB = 20
PROMPTS = [[4, 5, 6, 4, 5], [7], [1, 2]]
GREEDY = GenerationConfig(max_new_tokens=9, eos_token_id=3)


def ids_with(extras: Extras, config: GenerationConfig = GREEDY) -> list[list[int]]:
    return [r.ids for r in generate(FakeSession(VOCAB, 99), PROMPTS, config, extras)]


def theirs_with(values: dict[str, Any] | None = None, **arguments: Any) -> list[list[int]]:
    options = {"max_new_tokens": 9, "eos_token_id": 3, **(values or {})}
    return [
        transformers_generate(VOCAB, prompt, options, **arguments)
        .sequences[0, len(prompt) :]
        .tolist()
        for prompt in PROMPTS
    ]


def shifted(ids: list[int], scores: np.ndarray) -> np.ndarray:
    assert isinstance(ids, list)
    assert scores.dtype == np.float32
    scores[(ids[-1] + 1) % VOCAB] += len(ids)
    return scores


def after_the_last(_: int, ids: Any) -> list[int]:
    last = int(ids[-1])
    return [(last + 1) % VOCAB, (last + 5) % VOCAB, 0]


def test_a_function_changes_scores_where_transformers_lets_it() -> None:
    torch = pytest.importorskip("torch")
    from transformers import LogitsProcessorList

    def theirs(ids: Any, scores: Any) -> Any:
        return torch.from_numpy(shifted(ids[0].tolist(), scores[0].numpy().copy()))[None]

    for values in ({}, {"suppress_tokens": [5, 6, 7]}, {"min_new_tokens": 3}):
        config = GREEDY.changed(**values)
        expected = theirs_with(values, logits_processor=LogitsProcessorList([theirs]))
        assert ids_with(Extras(logits_processor=[shifted]), config) == expected
        assert ids_with(Extras(logits_processor=shifted), config) == expected
    assert ids_with(Extras(logits_processor=[shifted, shifted])) == theirs_with(
        logits_processor=LogitsProcessorList([theirs, theirs])
    )


def test_a_function_says_which_tokens_may_come_next() -> None:
    for values in ({}, {"suppress_tokens": [0]}, {"no_repeat_ngram_size": 2}):
        found = ids_with(Extras(prefix_allowed_tokens_fn=after_the_last), GREEDY.changed(**values))
        assert found == theirs_with(values, prefix_allowed_tokens_fn=after_the_last)


def test_where_all_allowed_tokens_are_forbidden_they_are_equally_likely() -> None:
    torch: Any = pytest.importorskip("torch")

    from bitnet_onnx.generation.processors.order import Processors
    from bitnet_onnx.generation.processors.past import Past

    values: dict[str, Any] = {"bad_words_ids": [[5], [9]]}
    scores = fake_logits([1, 4], VOCAB)
    ours = Processors(
        GenerationConfig(**values), Extras(prefix_allowed_tokens_fn=lambda *_: [5, 9])
    )(Past([1, 4]), scores)
    theirs = transformers_processors(
        VOCAB, [1, 4], values, prefix_allowed_tokens_fn=lambda *_: [5, 9]
    )(torch.tensor([[1, 4]]), torch.from_numpy(scores)[None])
    np.testing.assert_array_equal(ours, theirs[0].numpy())


def test_a_function_gets_the_number_of_its_prompt() -> None:
    seen: set[int] = set()

    def allowed(prompt: int, ids: list[int]) -> list[int]:
        assert ids[: len(PROMPTS[prompt])] == PROMPTS[prompt]
        seen.add(prompt)
        return [prompt]

    config = GREEDY.changed(do_sample=True, num_return_sequences=2, eos_token_id=None)
    found = ids_with(Extras(prefix_allowed_tokens_fn=allowed), config)
    assert found == [[0] * 9] * 2 + [[1] * 9] * 2 + [[2] * 9] * 2
    assert seen == {0, 1, 2}


def test_a_function_ends_a_sequence() -> None:
    torch = pytest.importorskip("torch")
    from transformers import StoppingCriteriaList

    def ended(ids: list[int], scores: None) -> bool:
        assert scores is None
        return len(ids) % 4 == 0

    def theirs(ids: Any, _: Any, **__: Any) -> Any:
        return torch.tensor([row.shape[0] % 4 == 0 for row in ids])

    expected = theirs_with(stopping_criteria=StoppingCriteriaList([theirs]))
    assert ids_with(Extras(stopping_criteria=[ended])) == expected
    results = generate(FakeSession(VOCAB, 99), PROMPTS, GREEDY, Extras(stopping_criteria=ended))
    assert [r.finish_reason for r in results] == [
        "stop" if r.ids[-1] == 3 else "criteria" for r in results
    ]
    streamed = stream(FakeSession(VOCAB, 99), PROMPTS[2], GREEDY, Extras(stopping_criteria=ended))
    assert list(streamed) == expected[2]


def test_they_are_keywords_of_every_method() -> None:
    model = Model(FakeSession(), make_tokenizer())  # type: ignore[arg-type]
    options: dict[str, Any] = {
        "max_new_tokens": 5, "logits_processor": [lambda ids, scores: scores + 1],
        "stopping_criteria": lambda ids, _: len(ids) > 12, "eos_token_id": None,
        "prefix_allowed_tokens_fn": lambda prompt, ids: [260],
    }  # fmt: skip
    assert set(model.generate([1] * 9, **options).result.ids) == {260}
    assert len(model.generate_batch([[1] * 9, [1]], **options)[0].result.ids) == 4
    assert len(model.stream([1, 2], **options).text) == 0
    chat = model.chat()
    assert "".join(chat.send("hello", **options))
    assert chat.result is not None
    assert (chat.result.ids, chat.result.finish_reason) == ([260] * 4, "criteria")


@pytest.mark.parametrize(
    ("extras", "words"),
    [
        ({"logits_processor": 5}, "logits_processor is 5, expected a function"),
        ({"logits_processor": [len, "x"]}, "logits_processor is .*, expected a function"),
        ({"stopping_criteria": "len"}, "stopping_criteria is 'len', expected a function"),
        ({"prefix_allowed_tokens_fn": [1]}, r"prefix_allowed_tokens_fn is \[1\], expected a func"),
        ({"logits_processor": lambda ids, s: None}, r"returned .*NoneType.*, expected scores \[20"),
        ({"logits_processor": lambda ids, s: s[:3]}, r"returned \[3\], expected scores \[20\]"),
        ({"logits_processor": lambda ids, s: "x"}, "returned .*str.*, expected scores"),
        ({"logits_processor": lambda ids, s: s * np.nan}, "make the highest logit nan"),
        ({"logits_processor": lambda ids, s: s - np.inf}, "forbid every token after 5 tokens"),
        ({"prefix_allowed_tokens_fn": lambda *_: []}, "returned no token after 5 tokens, expected"),
        ({"prefix_allowed_tokens_fn": lambda *_: [1, 20]}, "returned the id 20 after 5 tokens"),
        ({"prefix_allowed_tokens_fn": lambda *_: [-1]}, "returned the id -1 after 5 tokens"),
        ({"prefix_allowed_tokens_fn": lambda *_: None}, "returned no list of token ids"),
        ({"prefix_allowed_tokens_fn": lambda *_: [1.5]}, "returned no list of token ids"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(extras: dict[str, Any], words: str) -> None:
    with pytest.raises(GenerationError, match=words) as caught:
        ids_with(Extras(**extras))
    assert "\n" not in str(caught.value)


def test_what_a_function_raises_reaches_the_caller() -> None:
    def broken(ids: list[int], scores: np.ndarray) -> np.ndarray:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        ids_with(Extras(logits_processor=broken))
