"""A smaller model drafts: the same greedy ids, and sampled ids of the same distribution."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitnet_onnx.cli.main import main
from bitnet_onnx.errors import GenerationError
from bitnet_onnx.generation.config import GenerationConfig
from bitnet_onnx.generation.extras import Extras
from bitnet_onnx.generation.loop import generate, stream
from bitnet_onnx.generation.model import Model, load
from bitnet_onnx.generation.sampling import Drawn, Sampler
from tests.support.text.fakes import FakeSession, fake_logits, make_tokenizer

VOCAB = 12
PROMPT = [4, 5, 6, 4, 5]
CONSTANT: dict[str, Any] = {"num_assistant_tokens_schedule": "constant", "num_assistant_tokens": 4}


class Counting(FakeSession):
    """Counts the positions of its calls after the prompt's."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.calls: list[int] = []
        super().__init__(*arguments, **options)

    def score(self, ids: Sequence[int], row: int = 0) -> np.ndarray:
        self.calls.append(len(ids))
        return super().score(ids, row)


class Alike(FakeSession):
    """Has nearly the logits of another session: a share of noise is added."""

    noise = 0.3

    def _append(self, row: int, *ids: int) -> None:
        super()._append(row, *ids)
        noise = fake_logits([7, *self.cache[row]], self.vocab_size)
        self._logits[row] += self.noise * noise


def outcome(
    session: FakeSession,
    config: GenerationConfig,
    draft: FakeSession | None = None,
    prompt: list[int] = PROMPT,
) -> Any:
    (result,) = generate(session, [prompt], config, Extras(assistant_model=draft))
    return result.ids, result.finish_reason, list(session.ids()), session.lengths


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"eos_token_id": [3, 7]},
        {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2, "eos_token_id": 2},
        {"min_new_tokens": 9, "eos_token_id": list(range(0, VOCAB, 2))},
        {"suppress_tokens": list(range(2, VOCAB)), "no_repeat_ngram_size": 6},
        {"watermarking_config": {"greenlist_ratio": 0.5}},
    ],
)
@pytest.mark.parametrize("schedule", ["constant", "heuristic", "heuristic_transient", None])
@pytest.mark.parametrize("vocab", [VOCAB, VOCAB + 3, VOCAB - 4])
def test_greedy_ids_are_those_without_an_assistant(
    options: dict[str, Any], schedule: str | None, vocab: int
) -> None:
    for length in (1, 2, 20):
        plain = GenerationConfig(max_new_tokens=length, **options)
        config = plain.changed(
            num_assistant_tokens=3,
            num_assistant_tokens_schedule=schedule,
            assistant_confidence_threshold=0.1,
        )
        for context, room in ((99, 99), (17, 99), (99, 9), (99, 3), (len(PROMPT), 99)):
            expected = outcome(FakeSession(VOCAB, context), plain)
            for kind in (FakeSession, Alike):
                draft = kind(vocab, room)
                assert outcome(FakeSession(VOCAB, context), config, draft) == expected


def test_an_assistant_that_agrees_takes_few_calls() -> None:
    session = Counting(VOCAB, 99)
    config = GenerationConfig(max_new_tokens=31, assistant_confidence_threshold=0.0, **CONSTANT)
    outcome(session, config, FakeSession(VOCAB, 99))
    assert session.calls == [5] * 6
    sure = config.changed(assistant_confidence_threshold=1.0)
    session = Counting(VOCAB, 99)
    draft = FakeSession(VOCAB, 99)
    outcome(session, sure, draft)
    assert session.calls == [2] * 15  # no draft follows one that is not sure


def test_the_assistant_reads_each_id_once() -> None:
    session, draft = FakeSession(VOCAB, 99), FakeSession(VOCAB, 99)
    fed = 0
    append = FakeSession._append

    def counted(self: FakeSession, row: int, *ids: int) -> None:
        nonlocal fed
        fed += len(ids) if self is draft else 0
        append(self, row, *ids)

    config = GenerationConfig(max_new_tokens=26, assistant_confidence_threshold=0.0, **CONSTANT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeSession, "_append", counted)
        ids, *_ = outcome(session, config, draft)
        assert fed == len(PROMPT) + 25 - 1
        fed = 0
        stream(session, [*PROMPT, *ids[:10], 0], config, Extras(assistant_model=draft))
        longer = [*PROMPT, *ids[:10], 0]
        running = stream(session, longer, config, Extras(assistant_model=draft))
        next(running)
        assert fed <= 1
        running.close()


def test_an_accepted_id_is_distributed_as_without_a_draft() -> None:
    """Exactly: the chances of every case are added up, where drafts are drawn from q."""
    for seed in range(6):
        generator = np.random.default_rng(seed)
        p, q = generator.dirichlet(np.ones(6), 2)
        p[seed % 6], q[(seed + 1) % 6] = 0, 0
        p, q = p / p.sum(), q / q.sum()
        kept = np.minimum(p, q)
        left = np.maximum(p - q, 0)
        np.testing.assert_allclose(kept + (1 - kept.sum()) * left / left.sum(), p, atol=1e-12)
        logits = np.where(p > 0, np.log(np.maximum(p, 1e-300)), -np.inf).astype(np.float32)
        sampler = Sampler(GenerationConfig(do_sample=True, top_k=0, seed=seed))
        sampler.observe([0])
        ids, count = np.arange(6)[q > 0], 3000
        drawn = Drawn(ids, q[q > 0])
        drafts = generator.choice(6, count, p=q)
        found = Counter(sampler.accept(logits, int(draft), drawn) for draft in drafts)
        shares = np.array([found[token] for token in range(6)]) / count
        # Five standard deviations of a share.
        assert (np.abs(shares - p) <= 5 * np.sqrt(p * (1 - p) / count) + 1e-9).all()


def test_sampled_ids_have_the_same_distribution() -> None:
    """Pairs of new ids, from seeds, with an assistant that differs and without one."""
    count, shares = 1500, []
    for draft in (None, Alike(5, 99)):
        found: Counter[tuple[int, ...]] = Counter()
        for seed in range(count):
            config = GenerationConfig(do_sample=True, seed=seed, max_new_tokens=3, top_k=4)
            if draft is not None:
                config = config.changed(assistant_confidence_threshold=0.0, **CONSTANT)
            ids, *_ = outcome(FakeSession(5, 99), config, draft, [1, 2])
            found[tuple(ids)] += 1
        shares.append(found)
    for key in shares[0].keys() | shares[1].keys():
        a, b = shares[0][key], shares[1][key]
        assert abs(a - b) <= 5 * np.sqrt(a + b) + 1
    assert shares[0] != shares[1]


def test_a_stop_string_among_drafts_ends_the_text() -> None:
    tokenizer = make_tokenizer()
    model, draft = (Model(FakeSession(), tokenizer) for _ in range(2))  # type: ignore[arg-type]
    long = model.generate("hello", max_new_tokens=30)
    for start in range(0, len(long.text), 4):
        stop = long.text[start : start + 2]
        expected = model.generate("hello", max_new_tokens=30, stop_strings=stop)
        options: dict[str, Any] = {
            "assistant_model": draft, "max_new_tokens": 30, "stop_strings": stop, **CONSTANT,
        }  # fmt: skip
        found = model.generate("hello", assistant_confidence_threshold=0.0, **options)
        assert (found.text, found.result.ids) == (expected.text, expected.result.ids)
        assert "".join(model.stream("hello", **options)) == expected.text
    assert "".join(model.chat().send("hello", assistant_model=draft, max_new_tokens=9))


@pytest.mark.parametrize(
    ("assistant", "options", "words"),
    [
        (5, {}, "assistant_model is 5, expected a model that load returned"),
        ("self", {}, "assistant_model is the model that it shall assist, expected a smaller one"),
        ("other", {"prompt_lookup_num_tokens": 3}, "prompt_lookup_num_tokens is 3, expected one"),
        (
            "other",
            {"assistant_early_exit": 3},
            "assistant_model is given and assistant_early_exit is 3, expected one",
        ),
        ("other", {"guidance_scale": 2.0}, "given with guidance_scale 2.0, expected one of them"),
        (
            "other",
            {"num_return_sequences": 2, "do_sample": True},
            "assistant_model is given for 2 sequences, expected one",
        ),
    ],
)
def test_what_cannot_assist_is_refused(assistant: Any, options: Any, words: str) -> None:
    model, other = (Model(FakeSession(), make_tokenizer()) for _ in range(2))  # type: ignore[arg-type]
    found = {"self": model, "other": other}.get(assistant, assistant)
    with pytest.raises(GenerationError, match=words):
        model.generate("hello", assistant_model=found, **options)


def test_an_assistant_of_another_artifact(
    demo_artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with load(demo_artifact, threads=1) as model, load(demo_artifact, threads=1) as draft:
        question = [{"role": "user", "content": "What is 27 + 5?"}]
        plain = model.generate(question, max_new_tokens=12, eos_token_id=None)
        found = model.generate(
            question, max_new_tokens=12, eos_token_id=None, assistant_model=draft, **CONSTANT
        )
        assert found.result.ids == plain.result.ids
    command = ["generate", str(demo_artifact), "What is 27 + 5?", "--num-assistant-tokens", "3"]
    assert main([*command, "--assistant", str(demo_artifact)]) == 0
    assert capsys.readouterr().out == "32\n"
    assert main(command) == 2
    assert capsys.readouterr().err == (
        "error: --num-assistant-tokens acts only on drafts, expected --assistant with it\n"
        "hint: add --assistant ARTIFACT\n"
    )
