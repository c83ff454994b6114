"""Long answers are written in pieces, and are the JSON that one call would write."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

pytest.importorskip("starlette")

from bitnet_onnx.serve.api.common import PIECE, long_answer
from bitnet_onnx.serve.api.errors import encoded


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"a": [], "b": "é\ud800"},
        *({"tokens": list(range(n)), "count": n} for n in (1, PIECE, PIECE + 1, 3 * PIECE)),
        {"data": [{"embedding": [0.1, -1e-9], "index": i} for i in range(PIECE + 3)], "a": None},
        {"é": [["a", None], {}] * PIECE, "b": {"c": [1] * 2 * PIECE}},
    ],
)
def test_the_pieces_are_the_whole(value: dict[str, Any]) -> None:
    answer = asyncio.run(long_answer(lambda given: given, value))
    assert answer.body == encoded(value)
    assert answer.headers["content-type"] == "application/json"
