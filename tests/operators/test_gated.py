"""GatedSilu and GatedGelu three times: torch, the function bodies, the library."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto

from bitnet_onnx import operators as ops
from tests.support.nodes.one_node import model, session

IN_TORCH: dict[str, Any] = {"GatedSilu": ops.gated_silu, "GatedGelu": ops.gated_gelu}
SHAPES = [(1,), (7,), (1, 1, 2048), (2, 3, 15), (33, 515), (3, 0, 5), (1, 9, 6912)]
EDGES = [0.0, -0.0, 1e-30, -1e-40, 5.0, -5.0, 87.5, -87.0, -100.0, 3e38, -3e12, np.nan, np.inf]


def run(op: str, fed: dict[str, np.ndarray], library: bool, threads: int = 1) -> np.ndarray:
    made = model(op, {}, dict.fromkeys(fed, TensorProto.FLOAT))
    (y,) = session(made, library, threads).run(None, fed)
    return np.asarray(y)


@pytest.mark.parametrize("op", IN_TORCH)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_torch_the_body_and_the_library_give_the_same_bits(op: str, shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    fed = {n: (5 * random.standard_normal(shape)).astype(np.float32) for n in ("gate", "up")}
    expected = IN_TORCH[op](torch.from_numpy(fed["gate"]), torch.from_numpy(fed["up"])).numpy()
    for found in (run(op, fed, False), run(op, fed, True), run(op, fed, True, threads=2)):
        np.testing.assert_array_equal(found, expected, strict=True)


@pytest.mark.parametrize("op", IN_TORCH)
def test_numbers_at_the_edges_give_the_same_bits(op: str) -> None:
    gate = np.array([EDGES] * len(EDGES), np.float32)
    fed = {"gate": gate, "up": np.ascontiguousarray(gate.T)}
    with np.errstate(all="ignore"):
        expected = IN_TORCH[op](torch.from_numpy(gate), torch.from_numpy(fed["up"])).numpy()
    for library in (False, True):
        np.testing.assert_array_equal(run(op, fed, library), expected, strict=True)


@pytest.mark.parametrize("op", IN_TORCH)
def test_other_shapes_are_refused(op: str) -> None:
    fed = {"gate": np.ones((2, 3), np.float32), "up": np.ones((3, 2), np.float32)}
    with pytest.raises(Exception, match="up has the shape"):
        run(op, fed, library=True)
