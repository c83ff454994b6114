"""TernaryFeedForward and TernaryNormMatMul as models of one node, with random inputs."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from tests.support.nodes.one_node import model, pack, session

__all__ = ["FEED_FORWARD", "NORM_LINEAR", "inputs", "run"]

FEED_FORWARD, NORM_LINEAR = "TernaryFeedForward", "TernaryNormMatMul"
TYPES = {np.dtype("float32"): TensorProto.FLOAT, np.dtype("uint8"): TensorProto.UINT8}


def inputs(op: str, shape: tuple[int, ...], n: int, m: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Gates are open and closed about equally. TernaryNormMatMul has no M."""
    random = np.random.default_rng(seed)

    def codes(rows: int, columns: int) -> np.ndarray:
        return pack(random.integers(-1, 2, (rows, columns)))

    x = random.standard_normal(shape).astype(np.float32)
    if op == NORM_LINEAR:
        return {
            "X": x,
            "W": codes(n, shape[-1]),
            "scale": random.random(n, np.float32) + np.float32(0.01),
            "norm": random.standard_normal(shape[-1]).astype(np.float32),
            "epsilon": np.array([1e-5], np.float32),
        }
    return {
        "X": x,
        "gate": codes(n, shape[-1]),
        "up": codes(n, shape[-1]),
        "gate_scale": np.array([0.7], np.float32),
        "up_scale": np.array([1.3], np.float32),
        "norm": random.standard_normal(n).astype(np.float32),
        "epsilon": np.array([1e-5], np.float32),
        "down": codes(n, m),
        "down_scale": random.random(m, np.float32) + np.float32(0.01),
    }


def run(
    op: str, fed: dict[str, np.ndarray], library: bool, threads: int = 1, outputs: int = 2
) -> list[np.ndarray]:
    """Y, and from the library what its norm gives: the function bodies leave that out."""
    types = {name: TYPES[array.dtype] for name, array in fed.items()}
    made = model(op, {}, types, outputs if library else 1)
    return list(session(made, library, threads).run(None, fed))
