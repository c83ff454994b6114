"""Inputs that an operator must refuse, each with a part of the sentence that it answers with."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from onnx import TensorProto

from tests.support.nodes.one_node import GROUPED, OPS, model, session

__all__ = ["bad_cases", "try_bad"]


def bad_cases() -> dict[str, tuple[str, dict[str, np.ndarray], str]]:
    """Name -> (operator, its inputs, a part of the sentence)."""
    x, w, s = np.ones((2, 70), np.float32), np.zeros((3, 64), np.uint8), np.ones(1, np.float32)
    i8, s3 = np.ones((3, 70), np.int8), np.ones(3, np.float32)
    bf = np.ones((3, 70), ml_dtypes.bfloat16)
    wide = np.ones((1, (1 << 17) + 1), np.float32)
    t, i, b = OPS[0], OPS[2], OPS[1]
    g, f = GROUPED
    two, i1 = "TwoStepMatMul", {"scale": s3, "bound": s3}
    xg, s31 = np.ones((2, 128), np.float32), np.ones((3, 1), np.float32)
    i4, i6, two4 = "Int4MatMul", "Int6MatMul", "TwoStepInt4MatMul"
    l8, u4 = np.ones((3, 8), np.int8), np.zeros((3, 128), np.uint8)
    scan = {"codes": u4, "levels": l8, "scale": s3, "bound": s3}
    deep = np.ones((1,) * 17 + (70,), np.float32)
    return {
        "columns": (t, {"X": x, "W": w[:, :63], "scale": s}, "W has 63 columns, expected 64"),
        "more columns": (t, {"X": x, "W": np.zeros((3, 128), np.uint8), "scale": s}, "128 columns"),
        "no columns": (t, {"X": x, "W": w[:, :0], "scale": s}, "W has 0 columns"),
        "flat": (t, {"X": x, "W": w.ravel(), "scale": s}, "W has 1 dimensions, expected 2"),
        "rank 3": (t, {"X": x, "W": w[None], "scale": s}, "W has 3 dimensions"),
        "pair of scales": (t, {"X": x, "W": w, "scale": s3[:2]}, "expected shape [1]"),
        "no scale": (t, {"X": x, "W": w, "scale": s[:0]}, "expected shape [1]"),
        "scalar scale": (t, {"X": x, "W": w, "scale": s[0]}, "expected shape [1]"),
        "scalar x": (t, {"X": x[0, 0], "W": w, "scale": s}, "X is a scalar"),
        "empty x": (t, {"X": x[:, :0], "W": w, "scale": s}, "X has 0 columns (K)"),
        "too wide": (t, {"X": wide, "W": np.zeros((1, 513 * 64), np.uint8), "scale": s}, "131073"),
        "too deep": (t, {"X": deep, "W": w, "scale": s}, "18 dimensions"),
        "int8 columns": (i, {"X": x, "W": i8[:, :69], "scale": s3}, "W has 69 columns"),
        "int8 scales": (i, {"X": x, "W": i8, "scale": s}, "expected shape [3]"),
        "int8 rank": (i, {"X": x, "W": i8[0], "scale": s3}, "W has 1 dimensions"),
        "bf16 columns": (b, {"X": x[:, :9], "W": bf}, "W has 70 columns"),
        "bf16 rank": (b, {"X": x, "W": bf[None]}, "W has 3 dimensions"),
        "two columns": (two, {"X": x[:, :9], "W": bf, "scan": i8, **i1}, "W has 70 columns"),
        "two scans": (two, {"X": x, "W": bf, "scan": i8[:2], **i1}, "140 elements, expected W's"),
        "two ranks": (two, {"X": x, "W": bf, "scan": i8[0], **i1}, "scan has 1 dimensions"),
        "two bounds": (two, {"X": x, "W": bf, "scan": i8, **i1, "bound": s}, "bound has 1 dim"),
        "two scales": (two, {"X": x, "W": bf, "scan": i8, **i1, "scale": s}, "scale has 1 dim"),
        "int4 columns": (i4, {"X": x, "W": w, "levels": l8, "scale": s3}, "expected [3, 128]"),
        "int6 columns": (i6, {"X": x, "W": u4, "levels": l8, "scale": s3}, "expected [3, 192]"),
        "int4 rank": (i4, {"X": x, "W": u4[0], "levels": l8, "scale": s3}, "W has 1 dimensions"),
        "int4 levels": (i4, {"X": x, "W": u4, "levels": l8[:2], "scale": s3}, "16 elements, exp"),
        "int4 scales": (i4, {"X": x, "W": u4, "levels": l8, "scale": s}, "expected shape [3]"),
        "int4 codes": (i4, {"X": x, "W": i8, "levels": l8, "scale": s3}, "tensor(int8)"),
        "two codes": (two4, {"X": x, "W": bf, **scan, "codes": w}, "codes has 2 dimensions and"),
        "two levels": (two4, {"X": x, "W": bf, **scan, "levels": l8[:, :7]}, "21 elements, exp"),
        "two codes of 6": ("TwoStepInt6MatMul", {"X": x, "W": bf, **scan}, "expected [3, 192]"),
        "two int4 columns": (two4, {"X": x[:, :9], "W": bf, **scan}, "W has 70 columns"),
        "two int4 bounds": (two4, {"X": x, "W": bf, **scan, "bound": s}, "bound has 1 dim"),
        "float64 x": (t, {"X": x.astype(np.float64), "W": w, "scale": s}, "tensor(double)"),
        "int8 codes": (t, {"X": x, "W": w.astype(np.int8), "scale": s}, "tensor(int8)"),
        "uint8 table": (i, {"X": x, "W": i8.astype(np.uint8), "scale": s3}, "tensor(uint8)"),
        "float table": (b, {"X": x, "W": x}, "tensor(float)"),
        "group scales of one": (t, {"X": xg, "W": w, "scale": s31}, "expected shape [1]"),
        "no whole group": (g, {"X": x, "W": w, "scale": s31}, "70 columns (K), expected a mul"),
        "group columns": (g, {"X": xg, "W": w[:, :32], "scale": s31}, "W has 32 columns"),
        "one scale": (g, {"X": xg, "W": w, "scale": s}, "scale has 1 dimensions, expected 2"),
        "scales of rows": (g, {"X": xg, "W": w, "scale": s31.T}, "[1, 3], expected [3, 1]"),
        "more scales": (f, {"X": xg, "W": w, "scale": np.ones((3, 2), np.float32)}, "[3, 2], exp"),
        "no half group": (f, {"X": xg[:, 64:], "W": w, "scale": s31}, "64 columns (K)"),
        "int8 group codes": (f, {"X": xg, "W": w.astype(np.int8), "scale": s31}, "tensor(int8)"),
    }


ELEMENT_TYPES = {np.dtype("float64"): TensorProto.DOUBLE, np.dtype("float32"): TensorProto.FLOAT}


def try_bad() -> dict[str, str]:
    """What each bad case is answered with; W and scale once fed, once constant."""
    answers = {}
    for name, (op, given, _) in bad_cases().items():
        for fed in (("X",), ("X", "scale") if op.startswith("Ternary") else ("X",)):
            inputs = {key: np.asarray(given[key]) for key in fed}
            kept = {key: np.asarray(value) for key, value in given.items() if key not in fed}
            types = {key: ELEMENT_TYPES[value.dtype] for key, value in inputs.items()}
            try:
                session(model(op, kept, types), library=True).run(None, inputs)
                answers[f"{name} {fed}"] = "no error"
            except Exception as error:
                answers[f"{name} {fed}"] = str(error)
    return answers
