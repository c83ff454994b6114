"""Rows that are read together have the bits of rows that are read alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitnet_onnx.errors import GenerationError, SessionError
from bitnet_onnx.exporter.export import export
from bitnet_onnx.generation.config import GenerationConfig
from bitnet_onnx.generation.loop import generate
from bitnet_onnx.runtime import steps as steps_module
from bitnet_onnx.runtime.session import Session
from tests.support.networks import NETWORKS

LENGTHS = {
    "equal": [6, 6, 6, 6],
    "falling": [19, 18, 12, 12, 5, 1],
    "padded": [25, 24, 23, 22, 21, 20, 19, 18],
    "mixed": [1, 12, 3, 12, 30, 2],
    "one token each": [1] * 5,
    "long and short": [40, 2, 2, 2],
    "one row": [13],
}
EXPORTS: dict[str, tuple[str, dict[str, Any]]] = {
    "bf16 head": ("bitnet", {}),
    "int8 head": ("bitnet", {"head": "int8"}),
    "two-step head": ("bitnet", {"head": "two-step"}),
    "float32 head": ("bitnet", {"head": "float32"}),
    "float16 cache": ("bitnet", {"kv_cache": "float16"}),
    "int8 cache": ("bitnet", {"kv_cache": "int8"}),
    "no passes": ("bitnet", {"passes": ()}),
    "wide heads": ("wide-heads", {}),
    "qwen3": ("qwen3", {"kv_cache": "int8"}),
    "minicpm": ("minicpm", {"kv_cache": "float16"}),
    "stock": ("bitnet", {"target": "stock"}),
}


def prompts_of(lengths: list[int]) -> list[list[int]]:
    return [
        [(7 * i * i + 5 * i + 11 * row) % 90 + 3 for i in range(length)]
        for row, length in enumerate(lengths)
    ]


@pytest.fixture(scope="module", params=EXPORTS)
def session(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Session:
    path = tmp_path_factory.mktemp("rows")
    network, options = EXPORTS[request.param]
    NETWORKS[network](path / "c")
    return Session(export(path / "c", path / "a", **options), threads=1)


@pytest.fixture
def one(demo_artifact: Path) -> Session:
    return Session(demo_artifact, threads=1)


def alone(session: Session, prompts: list[list[int]], ids: list[int]) -> list[list[Any]]:
    """Return each row's logits after its prompt and after one more id, and its cache."""
    found = []
    for prompt, token in zip(prompts, ids, strict=True):
        session.reset()
        first = session.prefill(prompt).copy()
        cache = session.take().buffers
        found.append([first, session.decode([token])[0].copy(), cache])
    return found


@pytest.mark.parametrize("chunk", [256, 16])
@pytest.mark.parametrize("name", LENGTHS)
def test_a_row_has_the_bits_that_it_has_alone(
    session: Session, monkeypatch: pytest.MonkeyPatch, name: str, chunk: int
) -> None:
    monkeypatch.setattr(steps_module, "CHUNK", chunk)
    prompts = prompts_of(LENGTHS[name])
    ids = [40 + row for row in range(len(prompts))]
    expected = alone(session, prompts, ids)
    session.reset(len(prompts))
    found = session.prefill_rows(prompts)
    held = [session.take(row) for row in range(len(prompts))]
    exact = session._steps.exact_in_groups or len(prompts) == 1
    decoded = session.decode(ids)
    for row, (first, second, cache) in enumerate(expected):
        assert np.array_equal(found[row], first)
        assert held[row].ids.tolist() == prompts[row]
        for part, buffer in held[row].buffers.items():
            assert np.array_equal(buffer, cache[part])
        # ONNX Runtime's own products of several rows round differently, in a step of a batch too.
        close = np.allclose(decoded[row], second, rtol=1e-4, atol=1e-4)
        assert np.array_equal(decoded[row], second) if exact else close


def test_rows_with_a_past_are_continued(session: Session) -> None:
    first, second = prompts_of([3, 9, 1]), prompts_of([8, 2, 8])
    expected = []
    for one, two in zip(first, second, strict=True):
        session.reset()
        session.prefill(one)
        expected.append(session.prefill(two).copy())
    session.reset(3)
    before = session.prefill_rows(first)
    kept = before.copy()
    assert np.array_equal(session.prefill_rows(second), expected)
    assert np.array_equal(before, kept)  # no later step writes into it
    assert [session.ids(row) for row in range(3)] == [
        a + b for a, b in zip(first, second, strict=True)
    ]


@pytest.mark.parametrize("first", [0, 1, 2])
def test_neighbours_are_filled_beside_others(one: Session, first: int) -> None:
    """Of which each has a past."""
    past, new = prompts_of([3, 9, 1, 5]), prompts_of([8, 2])
    expected = []
    for row, ids in enumerate(new, first):
        one.reset()
        expected.append(one.prefill(past[row] + ids).copy())
    one.reset(4)
    lease = one.claim()
    lease.prefill_rows(past)
    assert np.array_equal(lease.prefill_rows(new, first), expected)
    for row in range(4):
        own = new[row - first] if 0 <= row - first < 2 else []
        assert lease.ids(row) == past[row] + own
    for wrong, count, message in [
        (3, 2, "row is 4, expected 0 to 3"),
        (-1, 2, "row is -1, expected 0 to 3"),
        (0, 0, "prefill_rows got 0 prompts, expected one for each of 4 rows"),
    ]:
        with pytest.raises(GenerationError, match=message):
            lease.prefill_rows(new[:count], wrong)
    lease.release()


@pytest.mark.parametrize("free", [0, 1, 9])
def test_padding_stays_within_the_context(one: Session, free: int) -> None:
    new = prompts_of([12, 11, 3, 2])
    full = one.context_length - free
    past = prompts_of([full - 12, full - 11, full - 3, full - 2])
    one.reset(4)
    one.prefill_rows(past)
    found = one.prefill_rows(new)
    assert one.lengths == (full,) * 4
    for row in range(4):
        one.reset()
        assert np.array_equal(one.prefill(past[row] + new[row]), found[row])


def test_two_threads_give_the_same_bits(demo_artifact: Path, one: Session) -> None:
    prompts = prompts_of([25, 24, 24, 3, 3, 1])
    other = Session(demo_artifact, threads=2)
    for session in (one, other):
        session.reset(len(prompts))
    assert np.array_equal(one.prefill_rows(prompts), other.prefill_rows(prompts))


def test_a_batch_answers_as_each_of_its_prompts(one: Session) -> None:
    """Whatever the order of their lengths; on_token is told the number of the prompt."""
    prompts = prompts_of([2, 31, 7, 1, 31, 150, 7])
    config = GenerationConfig(max_new_tokens=9, eos_token_id=())
    expected = [generate(one, [prompt], config)[0].ids for prompt in prompts]
    seen: list[list[int]] = [[] for _ in prompts]
    results = generate(one, prompts, config, on_token=lambda row, token: seen[row].append(token))
    assert [result.ids for result in results] == expected == seen
    assert [result.prompt_tokens for result in results] == list(map(len, prompts))
    stopped = generate(one, prompts, config, on_token=lambda row, _: row == 5)
    assert [result.finish_reason for result in stopped].index("stop_string") == 5


def test_short_prompts_are_read_in_few_calls(one: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[list[int]] = []
    run = steps_module.Steps.run

    def counted(self: Any, binding: Any) -> None:
        run(self, binding)
        shapes.append(binding.get_outputs()[-1].shape())

    monkeypatch.setattr(steps_module.Steps, "run", counted)
    generate(one, prompts_of([9, 20, 9, 20]), GenerationConfig(max_new_tokens=1))
    vocab = one.vocab_size
    assert shapes == [[2, 0, vocab], [4, 1, vocab]]  # no logits that nobody reads


# -------------------------------------------------------------------------------------- refuse


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([[1, 2], []], "the list of ids is empty, expected at least one id"),
        ([[1], [2], [3]], "prefill_rows got 3 prompts, expected one for each of 2 rows"),
        ([], "prefill_rows got 0 prompts"),
        ([[1], [832]], "token id 832 is outside the vocabulary"),
        ([[1], [2.5]], "expected an integer"),
        ([[1], "ab"], "expected a sequence of integers"),
        ([[1], [2] * 5000], "row 1 would hold 5002 positions, expected at most the context"),
        (5, "the prompts are 5, expected a list of lists of ids"),
        ("ab", "the prompts are 'ab', expected a list of lists of ids"),
        (np.array(5), "expected a list of lists of ids"),
        (np.array([1, 2]), "expected a list of lists of ids"),
        ({0: [1], 1: [2]}, "expected a list of lists of ids"),
    ],
)
def test_wrong_prompts_are_refused_and_change_nothing(
    one: Session, prompts: Any, message: str
) -> None:
    one.reset(2)
    one.prefill([5, 6], 1)
    with pytest.raises(GenerationError, match=message):
        one.prefill_rows(prompts)
    assert [one.ids(0), one.ids(1)] == [[], [5, 6]]


@pytest.mark.parametrize("failing", range(2))
@pytest.mark.parametrize("error", [SessionError("failed"), MemoryError(), KeyboardInterrupt()])
def test_an_error_in_any_call_counts_no_position(
    one: Session, monkeypatch: pytest.MonkeyPatch, failing: int, error: BaseException
) -> None:
    one.reset(4)
    past, new = prompts_of([2, 5, 1, 4]), prompts_of([30, 30, 30, 12])
    monkeypatch.setattr(steps_module, "CHUNK", 64)  # a call of three rows, and one of four
    one.prefill_rows(past)
    run, left = steps_module.Steps.run, failing

    def fails(self: Any, binding: Any) -> None:
        nonlocal left
        run(self, binding)
        left -= 1
        if left < 0:
            raise error

    with monkeypatch.context() as patched:
        patched.setattr(steps_module.Steps, "run", fails)
        with pytest.raises(type(error)):
            one.prefill_rows(new)
    assert [one.ids(row) for row in range(4)] == past
    found = one.prefill_rows(new)
    for row in range(4):
        one.reset()
        one.prefill(past[row])
        assert np.array_equal(one.prefill(new[row]), found[row])
