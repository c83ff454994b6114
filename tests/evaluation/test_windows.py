"""Windows of a text: the counts of transformers' guide, and what is refused."""

from __future__ import annotations

from itertools import pairwise

import pytest

from bitnet_onnx.errors import GenerationError
from bitnet_onnx.evaluation.windows import sizes, windows


@pytest.mark.parametrize(
    ("total", "max_length", "stride"),
    [(2, 8, 8), (8, 8, 8), (9, 8, 8), (17, 8, 8), (30, 8, 3), (30, 8, 1), (31, 8, 7), (5, 2, 1)],
)
def test_each_token_but_the_first_of_disjoint_windows_is_predicted_once(
    total: int, max_length: int, stride: int
) -> None:
    found = windows(total, max_length, stride)
    for window in found:
        assert 2 <= window.end - window.begin <= max_length
        assert window.begin % stride == 0
        assert window.first + window.predicted == window.end - window.begin
    for before, after in pairwise(found):
        assert after.end - after.new == before.end
    predicted = [w.begin + place for w in found for place in range(w.first, w.end - w.begin)]
    starts = {0} if stride < max_length else set(range(0, total, stride))
    assert predicted == [place for place in range(total) if place not in starts]


def test_defaults_are_the_context_and_the_guides_stride() -> None:
    assert sizes(4096, None, None) == (4096, 512)
    assert sizes(256, None, None) == (256, 256)
    assert sizes(4096, 100, None) == (100, 100)
    assert sizes(4096, 1024, 1024) == (1024, 1024)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((64, 65, None), "max_length is 65, expected 2 to the context of 64"),
        ((64, 1, None), "max_length is 1, expected 2"),
        ((64, 32, 33), "stride is 33, expected 1 to max_length, which is 32"),
        ((64, None, 0), "stride is 0, expected 1"),
        ((64, 2.0, None), "max_length is 2.0, expected an integer"),
        ((64, None, True), "stride is True, expected an integer"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(arguments: tuple[int, int, int], what: str) -> None:
    with pytest.raises(GenerationError, match=what):
        sizes(*arguments)


@pytest.mark.parametrize(("total", "what"), [(0, "0 tokens"), (1, "1 token,")])
def test_a_text_without_a_prediction_is_refused(total: int, what: str) -> None:
    with pytest.raises(GenerationError, match=f"the text has {what}"):
        windows(total, 8, 4)
