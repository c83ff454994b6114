"""Models of one operator, as ONNX bytes, and the formulas of the operators in plain NumPy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import torch
from onnx import FunctionProto, TensorProto, helper, numpy_helper

from bitnet_onnx import native
from bitnet_onnx import operators as ops
from bitnet_onnx.weights.levels import level_bounds, level_rows, row_deviations
from bitnet_onnx.weights.ternary import int8_rows, row_bounds
from tests.support.paths import ROOT

GROUPED = ("TernaryGroupMatMul", "TernaryFloatMatMul")  # a scale for each 128 weights along K
LEVELS = {"Int6MatMul": 6, "Int4MatMul": 4}  # bits of a weight
SUMS = ("TernaryMatMul", "Bf16MatMul", "Int8MatMul", *GROUPED)
LEVEL_HEADS = {"TwoStepInt6MatMul": 6, "TwoStepInt4MatMul": 4}
OPS = (*SUMS, "TwoStepMatMul", *LEVELS, *LEVEL_HEADS)
INPUTS = {
    "Bf16MatMul": ["X", "W"],
    "TwoStepMatMul": ["X", "W", "scan", "scale", "bound"],
    **{op: ["X", "W", "codes", "levels", "scale", "bound"] for op in LEVEL_HEADS},
    **{op: ["X", "W", "levels", "scale"] for op in LEVELS},
    "RMSNorm": ["X", "weight", "epsilon"],
    "AddRMSNorm": ["X", "residual", "weight", "epsilon"],
    "GatedSilu": ["gate", "up"],
    "GatedGelu": ["gate", "up"],
    "TernaryNormMatMul": ["X", "W", "scale", "norm", "epsilon"],
    "TernaryFeedForward": [
        "X", "gate", "up", "gate_scale", "up_scale", "norm", "epsilon", "down", "down_scale",
    ],
}  # fmt: skip
EVERY_CASE = """
import hashlib, json, sys
from pathlib import Path
import numpy as np, onnxruntime as ort
digest = hashlib.sha256()
for path in sorted(Path(sys.argv[1]).glob("*.onnx")):
    options = ort.SessionOptions()
    options.register_custom_ops_library(sys.argv[2])
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    digest.update(session.run(None, {"X": np.load(path.with_suffix(".npy"))})[0].tobytes())
print(digest.hexdigest())
"""

OUTPUTS = {
    "AddRMSNorm": ["Y", "sum"],
    "TernaryNormMatMul": ["Y", "normed"],
    "TernaryFeedForward": ["Y", "normed"],
}


@cache
def bodies() -> list[FunctionProto]:
    """The bodies of all operators, made once: that takes ten times as long as a session."""
    return [ir.serde.serialize_function(function) for function in ops.functions()]


def width(op: str, features: int) -> int:
    """The nearest K from ``features`` on that the operator accepts."""
    return -(-features // 128) * 128 if op in GROUPED else features


def model(
    op: str, constants: Mapping[str, np.ndarray], fed: Mapping[str, int], outputs: int | None = None
) -> bytes:
    """``constants`` are initializers; ``fed`` are inputs of the graph with unknown shape."""
    names, results = INPUTS.get(op, ["X", "W", "scale"]), OUTPUTS.get(op, ["Y"])[:outputs]
    graph = helper.make_graph(
        [helper.make_node(op, names, results, domain="bitnet")],
        "one_node",
        [helper.make_tensor_value_info(name, dtype, None) for name, dtype in fed.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in results],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    imports = [("", ops.OPSET), ("bitnet", ops.VERSION)]
    made = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid(*pair) for pair in imports],
        functions=bodies(),
        ir_version=11,
    )
    return made.SerializeToString()


def session(
    made: bytes, library: bool, threads: int = 1, counters: native.Counters | None = None
) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    if counters is not None:
        options.add_session_config_entry(*counters.session_entry)
    if library:
        options.register_custom_ops_library(str(native.library_path()))
    return ort.InferenceSession(made, options, providers=["CPUExecutionProvider"])


def run(
    op: str,
    x: np.ndarray,
    constants: Mapping[str, np.ndarray],
    library: bool,
    threads: int = 1,
    counters: native.Counters | None = None,
) -> Any:
    made = model(op, constants, {"X": TensorProto.FLOAT})
    return session(made, library, threads, counters).run(None, {"X": x})[0]


def constants(op: str, rows: int, features: int, seed: int) -> dict[str, np.ndarray]:
    """Random weights of an operator; the ternary ones packed, their padding with code 1."""
    random = np.random.default_rng(seed)
    if op in ("Bf16MatMul", "TwoStepMatMul", *LEVEL_HEADS):
        table = random.standard_normal((rows, features)).astype(ml_dtypes.bfloat16)
        if op in LEVEL_HEADS:
            return two_step_levels(table, LEVEL_HEADS[op])
        return two_step(table) if op == "TwoStepMatMul" else {"W": table}
    if op in LEVELS:
        blocks = -(-features // 256)
        sizes = {"W": 32 * LEVELS[op] * blocks, "levels": 8 * blocks}
        made = {name: random.integers(0, 256, (rows, size)) for name, size in sizes.items()}
        return {
            "W": made["W"].astype(np.uint8),
            "levels": made["levels"].astype(np.int8),
            "scale": random.random(rows, np.float32) + np.float32(0.01),
        }
    if op == "Int8MatMul":
        weight = random.integers(-128, 128, (rows, features)).astype(np.int8)
        return {"W": weight, "scale": random.random(rows, np.float32) + np.float32(0.01)}
    shape = (rows, features // 128) if op in GROUPED else 1
    return {
        "W": pack(random.integers(-1, 2, (rows, features))),
        "scale": random.random(shape, np.float32) + np.float32(0.01),
    }


def two_step(table: np.ndarray) -> dict[str, np.ndarray]:
    """A bfloat16 table with what the two-step head stores beside it."""
    weight = torch.from_numpy(table.view(np.uint16)).view(torch.bfloat16)
    scan, scale = int8_rows(weight)
    bound = row_bounds(weight, scan, scale)
    return {"W": table, "scan": scan.numpy(), "scale": scale.numpy(), "bound": bound.numpy()}


def two_step_levels(table: np.ndarray, bits: int) -> dict[str, np.ndarray]:
    """The same with a copy of 4 or 6 bits a weight."""
    weight = torch.from_numpy(table.view(np.uint16)).view(torch.bfloat16)
    rows = level_rows(weight, bits)
    made = {name: values.numpy() for name, values in rows._asdict().items()}
    bounds = row_deviations if bits == 4 else level_bounds
    return {"W": table, **made, "bound": bounds(weight, rows).numpy()}


def level_weights(codes: np.ndarray, levels: np.ndarray, features: int) -> np.ndarray:
    """Integers [N, K] of the picture in level_gemv.h, weight by weight."""
    bits = codes.shape[1] // levels.shape[1] // 4
    k = np.arange(features)
    lane, block = k % 64, k // 256 * 32 * bits
    pairs = codes[:, block + k % 256 // 128 * 64 + lane]
    found = np.where(k // 64 % 2, pairs >> 4, pairs & 15).astype(np.int64)
    if bits == 6:
        found += 16 * (codes[:, block + 128 + lane] >> (k // 64 % 4 * 2) & 3)
    return levels[:, k // 256 * 8 + k // 4 % 8].astype(np.int64) * (found - 2 ** (bits - 1))


def pack(codes: np.ndarray) -> np.ndarray:
    """[N, K] in {-1, 0, 1} -> uint8 [N, 64 * ceil(K / 256)], from the picture of the layout."""
    rows, features = codes.shape
    padded = np.zeros((rows, -(-features // 256) * 256), np.int64)
    padded[:, :features] = codes
    fields = padded.reshape(rows, -1, 4, 64) + 1
    weights = np.array([1, 4, 16, 64])[:, None]
    return (fields * weights).sum(2).reshape(rows, -1).astype(np.uint8)


def unpack(packed: np.ndarray, features: int) -> np.ndarray:
    fields = packed.reshape(packed.shape[0], -1, 1, 64) >> np.array([0, 2, 4, 6])[:, None] & 3
    return fields.reshape(packed.shape[0], -1)[:, :features].astype(np.int64) - 1


def expected(op: str, x: np.ndarray, made: Mapping[str, np.ndarray]) -> np.ndarray:
    """The normative formula, every float32 operation by itself and in order."""
    with np.errstate(all="ignore"):
        return _FORMULAS[op](x, made)


def _quantize(x: np.ndarray, peak: int, lowest: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Integers, act_scale [..., 1], and which rows hold a NaN or an infinity."""
    absmax = np.abs(x).max(-1, keepdims=True)
    act_scale = np.float32(peak) / np.maximum(absmax, np.float32(1e-5))
    poisoned = ~np.isfinite(x).all(-1, keepdims=True)
    scaled = np.where(poisoned, np.float32(0), x * act_scale)
    return np.rint(scaled).clip(lowest, peak).astype(np.int64), act_scale, poisoned


def _ternary(x: np.ndarray, made: Mapping[str, np.ndarray]) -> np.ndarray:
    quantized, act_scale, poisoned = _quantize(x, 127, -128)
    sums = quantized @ unpack(made["W"], x.shape[-1]).T
    return np.where(poisoned, np.nan, sums.astype(np.float32) * (made["scale"] / act_scale))


def _total(quantized: np.ndarray, made: Mapping[str, np.ndarray]) -> np.ndarray:
    """The sum over groups, first to last, of (sum of integers) * scale, in float64."""
    codes = unpack(made["W"], quantized.shape[-1])
    total = np.zeros((*quantized.shape[:-1], codes.shape[0]))
    for group in range(quantized.shape[-1] // 128):
        part = slice(128 * group, 128 * group + 128)
        sums = quantized[..., part] @ codes[:, part].T
        total = total + sums * made["scale"][:, group].astype(np.float64)
    return total


def _group(x: np.ndarray, made: Mapping[str, np.ndarray]) -> np.ndarray:
    quantized, act_scale, poisoned = _quantize(x, 127, -128)
    y = _total(quantized, made) / act_scale.astype(np.float64)
    return np.where(poisoned, np.nan, y.astype(np.float32))


def _float(x: np.ndarray, made: Mapping[str, np.ndarray]) -> np.ndarray:
    """x as whole multiples of its largest / 2**30, in four digits of -128 to 127."""
    poisoned = ~np.isfinite(x).all(-1, keepdims=True)
    wide = np.where(poisoned, 0, x).astype(np.float64)
    act_scale = 2.0**30 / np.maximum(np.abs(wide).max(-1, keepdims=True), 2.0**-126)
    value = np.rint(wide * act_scale).astype(np.int64)
    digits = []
    for _ in range(4):
        digits.append((value + 128) % 256 - 128)
        value = (value - digits[-1]) // 256
    assert not value.any()
    totals = [_total(digit, made) for digit in digits]
    total = ((totals[3] * 256 + totals[2]) * 256 + totals[1]) * 256 + totals[0]
    return np.where(poisoned, np.nan, (total / act_scale).astype(np.float32))


def _int8(x: np.ndarray, made: Mapping[str, np.ndarray]) -> np.ndarray:
    quantized, act_scale, poisoned = _quantize(x, 32512, -32512)
    sums = (quantized @ made["W"].astype(np.int64).T).astype(np.float32)
    return np.where(poisoned, np.nan, sums * made["scale"] * (np.float32(1) / act_scale))


def _levels(x: np.ndarray, made: Mapping[str, np.ndarray]) -> np.ndarray:
    return _int8(x, {**made, "W": level_weights(made["W"], made["levels"], x.shape[-1])})


def _bf16(x: np.ndarray, made: Mapping[str, np.ndarray]) -> np.ndarray:
    """16 lanes of float64: lane l sums k = l, l + 16, ...; then they are added pairwise."""
    weight = made["W"].astype(np.float64)
    lanes = np.zeros((*x.shape[:-1], weight.shape[0], 16))
    for k in range(x.shape[-1]):
        lanes[..., k % 16] += x[..., k : k + 1].astype(np.float64) * weight[:, k]
    for width in (8, 4, 2, 1):
        lanes = lanes[..., :width] + lanes[..., width : 2 * width]
    return lanes[..., 0].astype(np.float32)


def _slack(x: np.ndarray) -> np.ndarray:
    """What the bounds of a scan are multiplied by."""
    quantized, act_scale, _ = _quantize(x, 32512, -32512)
    inverse = np.float32(1) / act_scale
    norm = np.sqrt((quantized**2).sum(-1, keepdims=True).astype(np.float64))
    slack = (np.maximum(norm, 32512.0) * inverse.astype(np.float64)).astype(np.float32)
    return np.where(inverse < np.float32(2.0**48), slack, np.float32(np.inf))


def two_step_choice(x: np.ndarray, made: Mapping[str, np.ndarray]) -> np.ndarray:
    """Which results of TwoStepMatMul are those of Bf16MatMul, where x is finite."""
    rough = _int8(x, {"W": made["scan"], "scale": made["scale"]})
    with np.errstate(over="ignore"):
        room = made["bound"] * _slack(x)
    least = np.sort(rough - room)[..., -64:][..., :1]
    return ~(rough + room < least)


def _split_slack(x: np.ndarray) -> np.ndarray:
    """The same for proven bounds of 6 bits: integers are large from some power of two on."""
    quantized, act_scale, _ = _quantize(x, 32512, -32512)
    inverse, size = np.float32(1) / act_scale, np.abs(quantized)
    part, norms = min(1.0, 3 / np.sqrt(np.float64(x.shape[-1]))), []
    for bits in range(17):
        large = size >= 1 << bits
        square = (np.where(large, 0, size) ** 2).sum(-1, keepdims=True)
        norms.append(part * np.where(large, size, 0).sum(-1, keepdims=True) + np.sqrt(square))
    norm = np.maximum(np.min(norms, axis=0), 32512.0)
    slack = (norm * inverse.astype(np.float64)).astype(np.float32)
    return np.where(inverse < np.float32(2.0**48), slack, np.float32(np.inf))


def two_step_levels_choice(x: np.ndarray, made: Mapping[str, np.ndarray]) -> np.ndarray:
    """Which results of a head of 4 or 6 bits are those of Bf16MatMul, where x is finite."""
    slack = _slack if made["codes"].shape[1] == 16 * made["levels"].shape[1] else _split_slack
    rough, exact = _levels(x, {**made, "W": made["codes"]}), _bf16(x, made)
    first = rough >= np.sort(rough)[..., -128:][..., :1]
    least = np.sort(np.where(first, exact, -np.inf))[..., -64:][..., :1]
    with np.errstate(over="ignore"):
        return first | ~(rough + made["bound"] * slack(x) < least)


def _two_step_levels(x: np.ndarray, made: Mapping[str, np.ndarray]) -> np.ndarray:
    rough = _levels(x, {**made, "W": made["codes"]})
    return np.where(two_step_levels_choice(x, made) & ~np.isnan(rough), _bf16(x, made), rough)


def _two_step(x: np.ndarray, made: Mapping[str, np.ndarray]) -> np.ndarray:
    rough = _int8(x, {"W": made["scan"], "scale": made["scale"]})
    return np.where(two_step_choice(x, made) & ~np.isnan(rough), _bf16(x, made), rough)


_FORMULAS = {
    "TernaryMatMul": _ternary,
    "TernaryGroupMatMul": _group,
    "TernaryFloatMatMul": _float,
    "Int8MatMul": _int8,
    "Bf16MatMul": _bf16,
    "TwoStepMatMul": _two_step,
    **dict.fromkeys(LEVELS, _levels),
    **dict.fromkeys(LEVEL_HEADS, _two_step_levels),
}


# Imports once what takes seconds, then forks: a process takes its kernel when it loads the library.
FORKS = """
import json, os, sys
from tests.support.nodes.one_node import native
kernels, folder, code = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
del sys.argv[1:4]
for kernel in kernels:
    if (child := os.fork()) == 0:
        os.environ["BITNET_ONNX_KERNEL"] = kernel
        with open(os.path.join(folder, kernel), "w") as sys.stdout:
            exec(code, {})
        os._exit(native.active_kernel() != kernel)
    if os.waitpid(child, 0)[1]:
        sys.exit(f"the kernel is {kernel}")
"""


def on_every_kernel(code: str, *arguments: str | Path) -> dict[str, str]:
    """By kernel what ``code`` prints, in a process for each; it may import ``tests.support``."""
    kernels = native.kernels()
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", FORKS, json.dumps(kernels), folder, code, *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return {kernel: (Path(folder) / kernel).read_text().strip() for kernel in kernels}
