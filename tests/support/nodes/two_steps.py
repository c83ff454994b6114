"""What both heads of two steps are tested with: tables, and the promise of one result."""

from __future__ import annotations

from collections.abc import Callable

import ml_dtypes
import numpy as np
import torch

from bitnet_onnx import operators as ops
from tests.support.nodes.one_node import run

__all__ = ["check_choice", "check_largest", "random_table"]


def random_table(seed: int, rows: int, features: int, spread: float) -> np.ndarray:
    """Rows of very different sizes where ``spread`` is not 0."""
    random = np.random.default_rng(seed)
    sizes = 10.0 ** random.uniform(-spread, spread, (rows, 1))
    return (random.standard_normal((rows, features)) * sizes).astype(ml_dtypes.bfloat16)


def check_largest(found: np.ndarray, exact: np.ndarray) -> None:
    """The 64 largest of each row are exact, and no other one reaches them."""
    least = np.sort(exact)[:, -64:][:, :1]
    np.testing.assert_array_equal(found[exact >= least], exact[exact >= least])
    assert (found < least)[exact < least].all()


def check_choice(
    op: str,
    x: np.ndarray,
    made: dict[str, np.ndarray],
    rough: np.ndarray,
    choice: np.ndarray,
    in_torch: Callable[..., torch.Tensor],
) -> None:
    """The library, the body and torch take the exact results of the chosen rows.

    made: the operator's inputs after X, in order. rough: the results of the scan. choice: NumPy's.
    """
    found = run(op, x, made, library=True)
    exact = run("Bf16MatMul", x, {"W": made["W"]}, library=True)
    np.testing.assert_array_equal(found, np.where(choice, exact, rough))
    check_largest(found, exact)
    assert (found.argmax(1) == exact.argmax(1)).all()

    table = torch.from_numpy(made["W"].view(np.uint16)).view(torch.bfloat16)
    rest = [torch.from_numpy(value) for name, value in made.items() if name != "W"]
    for other, precise in (
        (run(op, x, made, library=False), run("Bf16MatMul", x, {"W": made["W"]}, library=False)),
        (
            in_torch(torch.from_numpy(x), table, *rest).numpy(),
            ops.bf16_matmul(torch.from_numpy(x), table).numpy(),
        ),
    ):
        np.testing.assert_array_equal(other, np.where(choice, precise, rough))
