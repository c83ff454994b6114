"""Embedding requests that share calls: each gets its own vectors, or its own error."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from bitnet_onnx.embedding.together import Together
from bitnet_onnx.errors import GenerationError, SessionError


class Model:
    """Embeds a text as its length; its first call waits until the others have come."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.first, self.go = threading.Event(), threading.Event()
        self.closed = False

    def embed(self, texts: list[str], prompt: str | None, dimensions: int | None) -> np.ndarray:
        self.calls.append(texts)
        if not self.first.is_set():
            self.first.set()
            assert self.go.wait(60)
        if self.closed:
            raise SessionError("the session is closed")
        for number, text in enumerate(texts):
            if len(text) > 9:
                raise GenerationError(f"text {number} is long")
        if len(texts) > 5:
            raise MemoryError
        return np.array([[len(text) + len(prompt or ""), dimensions or 0] for text in texts])

    def close(self) -> None:
        self.closed = True


def shared(*requests: tuple[Any, ...]) -> tuple[Model, list[Future[np.ndarray]]]:
    """Return the model after these requests, all of which came while a first one ran."""
    model = Model()
    together = Together(model)  # type: ignore[arg-type]
    with ThreadPoolExecutor(len(requests) + 1) as pool:
        pool.submit(together.embed, ["first"], None, None)
        assert model.first.wait(60)
        made = [pool.submit(together.embed, *request) for request in requests]
        while len(together._waiting) < len(requests):
            threading.Event().wait(0.001)
        model.go.set()
    return model, made


def test_what_comes_while_one_runs_is_one_call() -> None:
    model, found = shared(*((["a" * n, "b"], None, None) for n in range(1, 3)))
    assert sorted(model.calls[1]) == ["a", "aa", "b", "b"]
    assert len(model.calls) == 2
    assert [each.result()[:, 0].tolist() for each in found] == [[1, 1], [2, 1]]


def test_options_are_not_mixed() -> None:
    options = [(None, None), ("None", None), (None, 7), ("q", 7), (None, None)]
    model, found = shared(*(([f"{n}"], *both) for n, both in enumerate(options)))
    assert sorted(map(sorted, model.calls[1:])) == [["0", "4"], ["1"], ["2"], ["3"]]
    for (prompt, dimensions), each in zip(options, found, strict=True):
        assert each.result().tolist() == [[1 + len(prompt or ""), dimensions or 0]]


def test_an_error_is_that_of_its_own_request() -> None:
    _, found = shared((["a"], None, None), (["b", "c" * 10], None, None), (["d"], None, None))
    assert [found[0].result().tolist(), found[2].result().tolist()] == [[[1, 0]], [[1, 0]]]
    with pytest.raises(GenerationError, match="text 1 is long"):
        found[1].result()


def test_calls_that_do_not_fit_together_are_made_alone() -> None:
    model, found = shared(*((["a", "b", "c"], None, None) for _ in range(3)))
    assert [len(call) for call in model.calls] == [1, 9, 3, 3, 3]
    assert all(each.result().tolist() == [[1, 0]] * 3 for each in found)


def test_a_closed_model_says_so_to_all() -> None:
    model = Model()
    together = Together(model)  # type: ignore[arg-type]
    model.first.set()
    together.close()
    with pytest.raises(SessionError, match="the session is closed"):
        together.embed(["a"], None, None)
