"""Each operator four ways: the library, its function body of stock operators, torch, NumPy.

The ternary operators and Int8MatMul sum integers, and the scales of groups in one order, so all
four agree bit for bit. Bf16MatMul sums float64 products that are exact: the library keeps to one
order on every CPU and equals the formula bit for bit; stock operators and torch sum in an order of
their own, which may move the rounded float32 by one unit in the last place, more only where the
terms cancel. TwoStepMatMul: see test_two_step.py, and test_int4_head.py
for heads of 4 and 6 bits.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from onnx import TensorProto

from bitnet_onnx import native
from bitnet_onnx import operators as ops
from tests.support.nodes.bad_inputs import bad_cases
from tests.support.nodes.one_node import (
    EVERY_CASE,
    GROUPED,
    LEVELS,
    OPS,
    constants,
    expected,
    model,
    on_every_kernel,
    pack,
    run,
    unpack,
    width,
)
from tests.support.paths import ROOT

EXACT = ("TernaryMatMul", "Int8MatMul", *GROUPED, *LEVELS)
K_SIZES = [1, 2, 63, 64, 65, 127, 128, 129, 255, 256, 257, 640, 1023]
N_SIZES = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33]


def activations(*shape: int, seed: int = 0) -> np.ndarray:
    """Random rows of very different sizes; the third is zero, the fourth below the clamp."""
    random = np.random.default_rng(seed)
    x = random.standard_normal(shape).astype(np.float32)
    rows = x.reshape(-1, shape[-1])
    rows *= (10.0 ** random.integers(-4, 5, (rows.shape[0], 1))).astype(np.float32)
    rows[2:3] = 0
    rows[3:4] *= np.float32(1e-12)
    return x


def in_torch(op: str, x: np.ndarray, made: dict[str, np.ndarray]) -> np.ndarray:
    function = {
        "TernaryMatMul": ops.ternary_matmul,
        "TernaryGroupMatMul": ops.ternary_matmul,
        "TernaryFloatMatMul": ops.ternary_float_matmul,
        "Bf16MatMul": ops.bf16_matmul,
        "Int8MatMul": ops.int8_matmul,
        "TwoStepMatMul": ops.two_step_matmul,
        "Int6MatMul": ops.level_matmul,
        "Int4MatMul": ops.level_matmul,
        "TwoStepInt6MatMul": ops.two_step_int6_matmul,
        "TwoStepInt4MatMul": ops.two_step_int4_matmul,
    }[op]
    tensors = []
    for array in made.values():
        if array.dtype == ml_dtypes.bfloat16:
            tensors.append(torch.from_numpy(array.view(np.uint16)).view(torch.bfloat16))
        else:
            tensors.append(torch.from_numpy(array))
    return function(torch.from_numpy(x), *tensors).numpy()


def check(op: str, x: np.ndarray, made: dict[str, np.ndarray]) -> None:
    """All four agree; without rows three: ONNX Runtime's own reductions fail on empty input."""
    library = run(op, x, made, library=True)
    assert library.dtype == np.float32
    assert library.shape == (*x.shape[:-1], made["W"].shape[0])
    np.testing.assert_array_equal(library, expected(op, x, made))
    others = [in_torch(op, x, made)]
    if x.size:
        others.append(run(op, x, made, library=False))
    for other in others:
        if op in EXACT:
            np.testing.assert_array_equal(other, library)
        else:
            close_sums(other, library, x, made["W"])


def close_sums(found: np.ndarray, wanted: np.ndarray, x: np.ndarray, w: np.ndarray) -> None:
    """One unit in the last place, or K roundings of float64 of the sum of magnitudes."""
    with np.errstate(all="ignore"):
        magnitudes = np.abs(x).astype(np.float64) @ np.abs(w.astype(np.float64)).T
        bound = np.maximum(np.spacing(np.abs(wanted)), magnitudes * x.shape[-1] * 2.0**-53)
        same = (found == wanted) | (np.isnan(found) & np.isnan(wanted))  # infinities too
        assert (same | (np.abs(found - wanted) <= bound)).all()


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("features", K_SIZES)
def test_awkward_widths(op: str, features: int) -> None:
    features = width(op, features)
    check(op, activations(6, features, seed=features), constants(op, 6, features, features))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("rows", N_SIZES)
def test_awkward_heights(op: str, rows: int) -> None:
    features = width(op, 130)
    check(op, activations(3, features, seed=rows), constants(op, rows, features, rows))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize(
    "shape", [(70,), (1, 70), (2, 3, 70), (2, 1, 3, 70), (0, 70), (2, 0, 70), (9, 70), (70, 70)]
)
def test_batch_dimensions(op: str, shape: tuple[int, ...]) -> None:
    features = width(op, shape[-1])
    check(op, activations(*shape[:-1], features), constants(op, 11, features, 0))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_a_row_with_a_nan_or_an_infinity(op: str, poison: float) -> None:
    features = width(op, 300)
    x, made = activations(7, features, seed=9), constants(op, 10, features, 9)
    x[1, 0] = x[4, 299] = poison
    check(op, x, made)
    bad = ~np.isfinite(run(op, x, made, library=True))
    assert bad.all(1).tolist() == [False, True, False, False, True, False, False]
    assert bad.any(1).tolist() == bad.all(1).tolist()


@pytest.mark.parametrize("sign", [1, -1])
def test_the_worst_case_of_ternary_sums(sign: int) -> None:
    """All +1 x -128 cannot occur: absmax gives at most 127; all of those, at K = 6912."""
    x = np.full((3, 6912), -3.0 * sign, np.float32)
    made = {"W": pack(np.full((5, 6912), sign)), "scale": np.ones(1, np.float32)}
    check("TernaryMatMul", x, made)
    worst = np.float32(-127 * 6912) * (np.float32(1) / (np.float32(127) / np.float32(3)))
    assert (run("TernaryMatMul", x, made, library=True) == worst).all()


@pytest.mark.parametrize("op", GROUPED)
@pytest.mark.parametrize("sign", [1, -1])
def test_the_worst_case_of_group_sums(op: str, sign: int) -> None:
    x = np.full((3, 6912), -3.0 * sign, np.float32)
    made = {"W": pack(np.full((5, 6912), sign)), "scale": np.full((5, 54), 0.5, np.float32)}
    check(op, x, made)
    assert (run(op, x, made, library=True) == -1.5 * 6912).all()
    for scale in (0.0, 3e38, 1e-45):
        check(op, x, {**made, "scale": np.full((5, 54), scale, np.float32)})


@pytest.mark.parametrize("features", [128, 384, 6912])
def test_activations_that_are_not_quantized_stay_within_their_bound(features: int) -> None:
    """Against sums in float64: 2**-31 of the largest |x| for each term, and the last rounding."""
    x, made = activations(9, features, seed=3), constants("TernaryFloatMatMul", 20, features, 3)
    x[5:, ::64] *= 1000  # outliers, as real models have
    weight = unpack(made["W"], features) * np.repeat(made["scale"].astype(np.float64), 128, axis=1)
    exact = x.astype(np.float64) @ weight.T
    peak = np.maximum(np.abs(x).max(1, keepdims=True), 2.0**-126)
    bound = 2.0**-31 * peak * np.abs(weight).sum(1) * 1.001 + np.abs(exact) * 2.0**-24
    found = run("TernaryFloatMatMul", x, made, library=True)
    assert (np.abs(found - exact) <= bound + 2.0**-149).all()


def test_the_shape_of_the_scale_chooses_the_node() -> None:
    class Network(torch.nn.Module):
        def __init__(self, op: str) -> None:
            super().__init__()
            made = constants(op, 6, 256, 1)
            self.packed = torch.nn.Buffer(torch.from_numpy(made["W"]))
            self.scale = torch.nn.Buffer(torch.from_numpy(made["scale"]))
            self.function = {"TernaryFloatMatMul": torch.ops.bitnet.ternary_float_matmul}.get(
                op, torch.ops.bitnet.ternary_matmul
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.function(x, self.packed, self.scale)

    for op in ("TernaryMatMul", *GROUPED):
        exported = torch.onnx.export(
            Network(op).eval(), (torch.ones(2, 256),), dynamo=True, verbose=False, opset_version=18,
            custom_translation_table=ops.translations(),
        )  # fmt: skip
        assert exported is not None
        assert [node.op_type for node in exported.model.graph] == [op]


@pytest.mark.parametrize("op", LEVELS)
@pytest.mark.parametrize("level", [-128, 127])
def test_the_worst_case_of_level_sums(op: str, level: int) -> None:
    x = np.full((2, 6912), 7.0, np.float32)
    blocks = 27
    made: dict[str, np.ndarray] = {
        "W": np.zeros((3, 32 * LEVELS[op] * blocks), np.uint8),
        "levels": np.full((3, 8 * blocks), level, np.int8),
        "scale": np.ones(3, np.float32),
    }
    check(op, x, made)


def test_the_worst_case_of_int8_sums() -> None:
    x = np.full((2, 6912), 7.0, np.float32)
    made: dict[str, np.ndarray] = {
        "W": np.full((3, 6912), -128, np.int8),
        "scale": np.ones(3, np.float32),
    }
    check("Int8MatMul", x, made)


@pytest.mark.parametrize("op", OPS)
def test_halves_extremes_and_subnormals(op: str) -> None:
    size = width(op, 64)
    x = np.zeros((4, size), np.float32)
    x[0] = np.arange(size) - 31.5
    x[0, 0] = 127  # the scale is 1: all others are ties
    x[1] = np.float32(3e38) * np.linspace(-1, 1, size, dtype=np.float32)
    x[2] = np.float32(1e-40)
    x[3] = np.linspace(-1e-5, 1e-5, size, dtype=np.float32)
    check(op, x, constants(op, 5, size, 1))


@pytest.mark.parametrize("op", OPS)
def test_two_threads_compute_the_same_bits(op: str) -> None:
    features = width(op, 515)
    x, made = activations(40, features), constants(op, 300, features, 2)
    one, two = (run(op, x, made, library=True, threads=n) for n in (1, 2))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("op", OPS)
def test_a_row_does_not_depend_on_its_neighbours(op: str) -> None:
    features = width(op, 300)
    x, made = activations(13, features, seed=4), constants(op, 20, features, 4)
    together = run(op, x, made, library=True)
    alone = np.concatenate([run(op, row[None], made, library=True) for row in x])
    np.testing.assert_array_equal(together, alone)


# ------------------------------------------------------------------------------ other processes


def test_every_kernel_computes_the_same_bits(tmp_path: Path) -> None:
    case = 0
    for op in OPS:
        for rows, features, count in [(7, 1, 3), (33, 257, 1), (65, 640, 9), (20, 6912, 2)]:
            features = width(op, features)
            made = model(op, constants(op, rows, features, case), {"X": TensorProto.FLOAT})
            (tmp_path / f"{case:02}.onnx").write_bytes(made)
            x = activations(count, features, seed=case)
            if count > 4:
                x[4, 7] = np.nan
            np.save(tmp_path / f"{case:02}.npy", x)
            case += 1
    digests = on_every_kernel(EVERY_CASE, tmp_path, native.library_path())
    assert "scalar" in digests
    assert len(set(digests.values())) == 1, digests


TRY_ALL = """
import json, sys
from tests.support.nodes.bad_inputs import try_bad
print(json.dumps(try_bad()))
"""


def test_no_bad_input_passes_or_crashes_the_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TRY_ALL], capture_output=True, text=True, cwd=ROOT
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    answers = json.loads(done.stdout)
    assert len(answers) >= len(bad_cases())
    sentences = {name: sentence for name, (_, _, sentence) in bad_cases().items()}
    for name, answer in answers.items():
        assert sentences[name.partition(" (")[0]] in answer, (name, answer)


def test_there_is_one_function_for_each_operator() -> None:
    attention = [f"GroupQueryAttention{cache}" for cache in ("", "F16", "Int8", "Int4")]
    attention += [f"{name}QKV" for name in attention]
    others = ["RMSNorm", "AddRMSNorm", "TernaryGatedMatMul", "TernaryColumnMatMul"]
    others += ["TernaryFeedForward", "TernaryNormMatMul", "GatedSilu", "GatedGelu"]
    others += ["Hadamard"]
    others += [f"{kind}Experts" for kind in ("Ternary", "Bf16", "Int8", "Float")]
    assert [function.name for function in ops.functions()] == [*OPS, *attention, *others]
