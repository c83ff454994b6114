"""RMSNorm and AddRMSNorm three times: torch, the function bodies, the library."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto

from bitnet_onnx import operators as ops
from tests.support.nodes.one_node import INPUTS, model, session

IN_TORCH: dict[str, Any] = {
    "RMSNorm": ops.rms_norm,
    "AddRMSNorm": ops.add_rms_norm,
}
both = pytest.mark.parametrize("op", IN_TORCH)
SHAPES = [(1,), (70,), (1, 1, 2560), (2, 3, 15), (5, 1), (33, 515), (2, 1, 3, 17), (3, 6912)]


def inputs(op: str, shape: tuple[int, ...], seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)

    def floats(*sizes: int) -> np.ndarray:
        return random.standard_normal(sizes).astype(np.float32)

    made = {
        "X": floats(*shape),
        "weight": floats(shape[-1]),
        "epsilon": np.array([1e-5], np.float32),
    }
    return made | ({"residual": 100 * floats(*shape)} if op == "AddRMSNorm" else {})


def run(op: str, fed: dict[str, np.ndarray], library: bool, threads: int = 1) -> list[np.ndarray]:
    made = model(op, {}, dict.fromkeys(fed, TensorProto.FLOAT))
    return list(session(made, library, threads).run(None, fed))


def in_torch(op: str, fed: dict[str, np.ndarray]) -> list[np.ndarray]:
    results = IN_TORCH[op](*(torch.from_numpy(fed[name]) for name in INPUTS[op]))
    return [y.numpy() for y in (results if isinstance(results, tuple) else [results])]


@both
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_torch_the_body_and_the_library_give_the_same_bits(op: str, shape: tuple[int, ...]) -> None:
    fed = inputs(op, shape)
    expected = in_torch(op, fed)
    for found in (run(op, fed, False), run(op, fed, True), run(op, fed, True, threads=2)):
        for mine, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(mine, theirs, strict=True)


def test_the_sum_is_what_the_norm_is_of() -> None:
    fed = inputs("AddRMSNorm", (4, 33))
    y, total = run("AddRMSNorm", fed, library=True)
    np.testing.assert_array_equal(total, fed["X"] + fed["residual"])
    plain = {"X": total, "weight": fed["weight"], "epsilon": fed["epsilon"]}
    np.testing.assert_array_equal(y, run("RMSNorm", plain, library=True)[0])


@both
def test_nothing_in_nothing_out(op: str) -> None:
    for y in run(op, inputs(op, (2, 0, 70)), library=True):
        assert y.shape == (2, 0, 70)


@both
def test_a_nan_stays_in_its_row(op: str) -> None:
    fed = inputs(op, (3, 40))
    fed.get("residual", fed["X"])[1, 7] = np.nan
    for library in (True, False):
        y = run(op, fed, library)[0]
        assert np.isnan(y).all(1).tolist() == np.isnan(y).any(1).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("op", "name", "shape", "message"),
    [
        ("RMSNorm", "X", (), "X is a scalar"),
        ("RMSNorm", "weight", (8,), "weight has 1 dimensions and 8 elements, expected shape [9]"),
        ("AddRMSNorm", "X", (), "X is a scalar"),
        ("AddRMSNorm", "residual", (9,), "residual has the shape [9], expected that of X"),
        ("AddRMSNorm", "residual", (1, 9), "residual has the shape [1, 9]"),  # not broadcast
        ("AddRMSNorm", "residual", (9, 2), "residual has the shape [9, 2]"),
        ("AddRMSNorm", "weight", (1, 9), "weight has 2 dimensions"),
        ("AddRMSNorm", "epsilon", (2,), "epsilon has 1 dimensions and 2 elements"),
    ],
)
def test_a_wrong_shape_is_refused(op: str, name: str, shape: tuple[int, ...], message: str) -> None:
    fed = inputs(op, (2, 9)) | {name: np.ones(shape, np.float32)}
    with pytest.raises(Exception, match=f"{op}: ") as error:
        run(op, fed, library=True)
    assert message in str(error.value)
