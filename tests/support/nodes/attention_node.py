"""One attention node with fitting inputs, with and without the library, and torch's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from onnx import TensorProto, helper

from bitnet_onnx import native
from bitnet_onnx import operators as ops
from bitnet_onnx.artifact import int4_bytes
from tests.support.nodes.one_node import bodies

INPUTS = (
    "query", "key", "value", "past_key", "past_value", "seqlens_k", "total_sequence_length",
    "cos_cache", "sin_cache",
)  # fmt: skip
INTEGERS = ("seqlens_k", "total_sequence_length")
OUTPUTS = ("output", "present_key", "present_value")
CACHES = ("past_key", "past_value", "present_key", "present_value")
INT8, INT4 = "GroupQueryAttentionInt8", "GroupQueryAttentionInt4"
TYPES = {  # of the caches
    "GroupQueryAttention": np.float32,
    "GroupQueryAttentionF16": np.float16,
    INT8: np.int8,
    INT4: np.uint8,
}
SCALES = ("key_scale", "value_scale")  # of a cache of integers


def names(op: str) -> tuple[list[str], list[str]]:
    """Of inputs and outputs; with QKV after its name, an operator takes the first three as one."""
    first = ("qkv", *INPUTS[3:]) if op.endswith("QKV") else INPUTS
    scales = SCALES if op.startswith((INT8, INT4)) else ()
    return (
        [*first, *(f"past_{name}" for name in scales)],
        [*OUTPUTS, *(f"present_{name}" for name in scales)],
    )


def session(op: str, library: bool, threads: int = 2, window: int = 0) -> ort.InferenceSession:
    fed, found = names(op)
    kinds = dict.fromkeys((*fed, *found), TensorProto.FLOAT)
    kinds |= dict.fromkeys(INTEGERS, TensorProto.INT32)
    cache = np.dtype(TYPES[op.removesuffix("QKV")])
    kinds |= dict.fromkeys(CACHES, helper.np_dtype_to_tensor_dtype(cache))
    values = {name: helper.make_tensor_value_info(name, kind, None) for name, kind in kinds.items()}
    attributes: dict[str, Any] = {"window": window} if window else {}
    graph = helper.make_graph(
        [helper.make_node(op, fed, found, domain="bitnet", **attributes)],
        "attention",
        [values[name] for name in fed],
        [values[name] for name in found],
    )
    imports = [helper.make_opsetid("", ops.OPSET), helper.make_opsetid("bitnet", ops.VERSION)]
    model = helper.make_model(
        graph,
        opset_imports=imports,
        functions=bodies(),
        ir_version=11,
    )
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    if library:
        options.register_custom_ops_library(str(native.library_path()))
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def inputs(op: str, shape: tuple[Any, ...], seed: int = 0) -> dict[str, np.ndarray]:
    batch, new, heads, kv_heads, width, past, last = shape
    random = np.random.default_rng(seed)

    def floats(*dims: int) -> np.ndarray:
        return 2 * random.standard_normal(dims).astype(np.float32)

    kept = int4_bytes(width) if op == INT4 else width
    cache, of_row = (batch, kv_heads, past, kept), (batch, kv_heads, past)
    if op in (INT8, INT4):
        caches = [random.integers(-128, 128, cache).astype(TYPES[op]) for _ in range(2)]
        scales = [np.abs(floats(*of_row)) / np.float32(50) for _ in range(2)]
    else:
        caches, scales = [floats(*cache).astype(TYPES[op]) for _ in range(2)], []
    return dict(
        zip(
            names(op)[0],
            [
                floats(batch, new, heads * width),
                *(floats(batch, new, kv_heads * width) for _ in range(2)),
                *caches,
                np.array(last, np.int32),
                np.array(max(*last, new - 1) + 1, np.int32),
                *(floats(300, width // 2) for _ in range(2)),
                *scales,
            ],
            strict=True,
        )
    )


def of_torch(op: str, fed: dict[str, np.ndarray], window: int = 0) -> list[np.ndarray]:
    operators = torch.ops.bitnet
    scaled = op in (INT8, INT4)
    call = operators.group_query_attention_int8 if scaled else operators.group_query_attention
    return [found.numpy() for found in call(*map(torch.from_numpy, fed.values()), window)]


def side_by_side(fed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """As the operator with QKV after its name takes it."""
    qkv = np.concatenate([fed[name] for name in INPUTS[:3]], axis=-1)
    return {"qkv": qkv, **{name: array for name, array in fed.items() if name not in INPUTS[:3]}}
