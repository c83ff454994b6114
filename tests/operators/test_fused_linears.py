"""TernaryFeedForward and TernaryNormMatMul three times: torch, the function bodies, the library."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from bitnet_onnx import operators as ops
from tests.support.nodes.fused_linears import FEED_FORWARD, NORM_LINEAR, inputs, run
from tests.support.nodes.one_node import INPUTS, on_every_kernel

IN_TORCH: dict[str, Any] = {
    FEED_FORWARD: ops.ternary_feed_forward,
    NORM_LINEAR: ops.ternary_norm_matmul,
}
both = pytest.mark.parametrize("op", IN_TORCH)
# X's dimensions, N and M; from 6 rows on other kernels are taken
SHAPES = [((1,), 1, 1), ((1, 1, 70), 300, 65), ((2, 3, 300), 70, 257), ((3, 2560), 691, 40)]


@both
@pytest.mark.parametrize(("shape", "n", "m"), SHAPES, ids=str)
def test_torch_the_body_and_the_library_give_the_same_bits(
    op: str, shape: tuple[int, ...], n: int, m: int
) -> None:
    fed = inputs(op, shape, n, m)
    expected = IN_TORCH[op](*(torch.from_numpy(fed[name]) for name in INPUTS[op]))
    if op == FEED_FORWARD and n > 1:
        assert (expected[1] == 0).any()  # some gates are closed
    (y,) = run(op, fed, library=False)
    np.testing.assert_array_equal(y, expected[0].numpy(), strict=True)
    for found in (run(op, fed, True), run(op, fed, True, threads=2)):
        for mine, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(mine, theirs.numpy(), strict=True)


@both
def test_the_second_output_may_be_left_out(op: str) -> None:
    fed = inputs(op, (2, 70), 40, 9)
    (y,) = run(op, fed, library=True, outputs=1)
    np.testing.assert_array_equal(y, run(op, fed, library=True)[0])


@both
def test_a_nan_stays_in_its_row(op: str) -> None:
    fed = inputs(op, (3, 70), 40, 9)
    fed["X"][1, 7] = np.nan
    for library in (True, False):
        for y in run(op, fed, library):
            assert np.isnan(y).all(1).tolist() == np.isnan(y).any(1).tolist() == [0, 1, 0]


@both
def test_nothing_in_nothing_out(op: str) -> None:
    y, normed = run(op, inputs(op, (2, 0, 70), 40, 9), library=True)
    features = (9, 40) if op == FEED_FORWARD else (40, 70)
    assert (y.shape, normed.shape) == ((2, 0, features[0]), (2, 0, features[1]))


def test_every_kernel_gives_the_same_bits() -> None:
    code = (
        "from tests.support.nodes.fused_linears import FEED_FORWARD, NORM_LINEAR, inputs, run\n"
        "for op in (FEED_FORWARD, NORM_LINEAR):\n"
        "    for rows in (1, 5, 6):\n"
        "        fed = inputs(op, (rows, 300), 700, 300)\n"
        "        print([y.tobytes().hex() for y in run(op, fed, True)])"
    )
    assert len(set(on_every_kernel(code).values())) == 1


BAD = {
    "scalar X": ("X", np.ones((), np.float32), "X is a scalar"),
    "no X": ("X", np.ones((2, 0), np.float32), "X has 0 columns"),
    "gate of another width": ("gate", np.zeros((40, 128), np.uint8), "gate has 128 columns"),
    "gate without rows": ("gate", np.zeros((0, 64), np.uint8), "gate has 0 rows (N)"),
    "up of another size": ("up", np.zeros((41, 64), np.uint8), "[41, 64], expected that of gate"),
    "two scales": ("gate_scale", np.ones(2, np.float32), "gate_scale has 1 dimensions and 2"),
    "no scale": ("up_scale", np.ones(0, np.float32), "up_scale has 1 dimensions and 0 elements"),
    "norm of another size": ("norm", np.ones(39, np.float32), "39 elements, expected shape [40]"),
    "two epsilons": ("epsilon", np.ones(2, np.float32), "epsilon has 1 dimensions and 2"),
    "down by row": ("down", np.zeros((9, 64), np.uint8), "down has the shape [9, 64]"),
    "down of another width": (
        "down",
        np.zeros((40, 128), np.uint8),
        "down has the shape [40, 128]",
    ),
    "flat down": ("down", np.zeros(40, np.uint8), "down has the shape [40]"),
    "more outputs": ("down_scale", np.ones(257, np.float32), "down has the shape [40, 64]"),
    "square scale": ("down_scale", np.ones((3, 3), np.float32), "down_scale has the shape [3, 3]"),
}


@pytest.mark.parametrize(("name", "value", "sentence"), BAD.values(), ids=BAD)
def test_a_bad_input_is_a_sentence(name: str, value: np.ndarray, sentence: str) -> None:
    check_bad(FEED_FORWARD, name, value, sentence)


BAD_NORM = {
    "norm of another size": ("norm", np.ones(71, np.float32), "71 elements, expected shape [70]"),
    "two epsilons": ("epsilon", np.ones(2, np.float32), "epsilon has 1 dimensions and 2"),
    "W of another width": ("W", np.zeros((40, 128), np.uint8), "W has 128 columns"),
    "scale of another size": ("scale", np.ones(39, np.float32), "39 elements, expected shape [1]"),
    "scalar X": ("X", np.ones((), np.float32), "X is a scalar"),
}


@pytest.mark.parametrize(("name", "value", "sentence"), BAD_NORM.values(), ids=BAD_NORM)
def test_a_bad_input_beside_a_norm_is_a_sentence(
    name: str, value: np.ndarray, sentence: str
) -> None:
    check_bad(NORM_LINEAR, name, value, sentence)


def check_bad(op: str, name: str, value: np.ndarray, sentence: str) -> None:
    fed = inputs(op, (2, 70), 40, 9)
    fed[name] = value
    with pytest.raises(Exception, match=f"{op}: ") as caught:
        run(op, fed, library=True)
    assert sentence in str(caught.value)
