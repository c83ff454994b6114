"""A mixture of experts as a model of one node, with random inputs, and torch's own."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
import torch
from onnx import TensorProto, helper, numpy_helper

from bitnet_onnx import native
from bitnet_onnx import operators as ops
from tests.support.nodes.one_node import bodies, pack, session

__all__ = ["IN_TORCH", "KINDS", "in_torch", "inputs", "model", "run"]

KINDS = ("TernaryExperts", "Bf16Experts", "Int8Experts")
IN_TORCH: dict[str, Any] = {
    "TernaryExperts": ops.ternary_experts,
    "Bf16Experts": ops.bf16_experts,
    "Int8Experts": ops.int8_experts,
}


def inputs(
    kind: str, shape: tuple[int, ...], experts: int, inner: int, seed: int = 0
) -> dict[str, np.ndarray]:
    """X of this shape, and weights; products are of the order of 1."""
    random = np.random.default_rng(seed)
    features = shape[-1]
    x = random.standard_normal(shape).astype(np.float32)
    router = random.standard_normal((experts, features)).astype(np.float32)
    sizes = {"gate_up": (2 * inner, features), "down": (features, inner)}
    made = {"X": x, "router": router}
    for name, (rows, columns) in sizes.items():
        scale = 2 / np.sqrt(columns)
        if kind == "Bf16Experts":
            weight = random.standard_normal((experts, rows, columns)) * scale
            made[name] = weight.astype(ml_dtypes.bfloat16)
            continue
        if kind == "Int8Experts":
            weight = random.integers(-128, 128, (experts, rows, columns))
            made[name] = weight.astype(np.int8)
            of: tuple[int, ...] = (experts, rows)
            scale /= 74
        else:
            codes = random.integers(-1, 2, (experts, rows, columns))
            made[name] = np.stack([pack(matrix) for matrix in codes])
            of = (experts, 2) if name == "gate_up" else (experts,)
        made[f"{name}_scale"] = (scale * (0.5 + random.random(of))).astype(np.float32)
    return made


def model(
    kind: str,
    made: dict[str, np.ndarray],
    k: int | None,
    functions: list[ir.Function] | None = None,
    limit: float = 0.0,
) -> bytes:
    """X is an input of the graph, the weights are initializers."""
    attributes: dict[str, Any] = {} if k is None else {"k": k}
    attributes |= {"limit": limit} if limit else {}
    graph = helper.make_graph(
        [helper.make_node(kind, list(made), ["Y"], domain="bitnet", **attributes)],
        "one_node",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in made.items() if name != "X"],
    )
    made_of = None if functions is None else list(map(ir.serde.serialize_function, functions))
    imports = [("", ops.OPSET), ("bitnet", ops.VERSION), ("com.microsoft", 1)]
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid(*pair) for pair in imports],
        functions=bodies() if made_of is None else made_of,
        ir_version=11,
    ).SerializeToString()


def run(
    kind: str,
    made: dict[str, np.ndarray],
    k: int | None,
    library: bool,
    threads: int = 1,
    counters: native.Counters | None = None,
    functions: list[ir.Function] | None = None,
    limit: float = 0.0,
) -> np.ndarray:
    opened = session(model(kind, made, k, functions, limit), library, threads, counters)
    y: np.ndarray = opened.run(None, {"X": made["X"]})[0]
    return y


def in_torch(kind: str, made: dict[str, np.ndarray], k: int, limit: float = 0.0) -> np.ndarray:
    def tensor(array: np.ndarray) -> torch.Tensor:
        if array.dtype == ml_dtypes.bfloat16:
            return torch.from_numpy(array.view(np.uint16)).view(torch.bfloat16)
        return torch.from_numpy(array)

    y: np.ndarray = IN_TORCH[kind](*map(tensor, made.values()), k, limit).numpy()
    return y
