"""Compare the ternary GEMM with ONNX Runtime's own int8 GEMM, in turns, at the shapes of 2B-4T.

``python -m benchmarks.gemm`` prints medians in multiply-adds a second. The ternary GEMM also
quantizes its float32 activations and scales its sums; MatMulInteger (uint8 by int8) takes bytes and
returns int32.
"""

from __future__ import annotations

import argparse
import statistics
from time import perf_counter

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from bitnet_onnx import native
from bitnet_onnx.operators import DOMAIN, OPSET, VERSION

from .peers import machine

SHAPES = ((2560, 3840), (2560, 2560), (2560, 6912), (6912, 2560))  # K, N


def session(op: str, k: int, weights: list[np.ndarray], threads: int) -> ort.InferenceSession:
    """Return a session of one operator with the input x [m, k]."""
    ternary = op == "TernaryMatMul"
    x_type, y_type = (
        (TensorProto.FLOAT, TensorProto.FLOAT)
        if ternary
        else (TensorProto.UINT8, TensorProto.INT32)
    )
    names = [f"w{i}" for i in range(len(weights))]
    graph = helper.make_graph(
        [helper.make_node(op, ["x", *names], ["y"], domain=DOMAIN if ternary else "")],
        "one",
        [helper.make_tensor_value_info("x", x_type, ["m", k])],
        [helper.make_tensor_value_info("y", y_type, None)],
        [numpy_helper.from_array(w, name) for w, name in zip(weights, names, strict=True)],
    )
    imports = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, VERSION)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=11)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.register_custom_ops_library(str(native.library_path()))
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def timed(one: ort.InferenceSession, x: np.ndarray) -> float:
    start = perf_counter()
    one.run(None, {"x": x})
    return perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gemm", description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=int, nargs="+", default=[128, 512], help="M")
    parser.add_argument("--runs", type=int, default=15)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    print(f"{machine()}; {args.threads} threads, medians of {args.runs} runs in turns\n")
    print("| K | N | M | ternary, G/s | MatMulInteger, G/s | ratio |\n|---|---|---|---|---|---|")
    for k, n in SHAPES:
        codes = rng.integers(-1, 2, (k, n), dtype=np.int8)
        packed = rng.integers(0, 256, (n, -(-k // 256) * 64), dtype=np.uint8) & 0b10101010
        ternary = session("TernaryMatMul", k, [packed, np.ones(1, np.float32)], args.threads)
        stock = session("MatMulInteger", k, [codes], args.threads)
        for m in args.rows:
            floats = rng.standard_normal((m, k), dtype=np.float32)
            bytes_ = rng.integers(0, 256, (m, k), dtype=np.uint8)
            times = [(timed(ternary, floats), timed(stock, bytes_)) for _ in range(args.runs)]
            first, second = (
                m * k * n / statistics.median(t) / 1e9 for t in zip(*times, strict=True)
            )
            print(
                f"| {k} | {n} | {m} | {first:.0f} | {second:.0f} | {first / second:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
