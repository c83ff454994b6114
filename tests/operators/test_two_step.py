"""The two-step head: its largest logits are the bf16 head's, to the bit, and few rows are read.

Which rows are read is the same in the library, the function body, torch and NumPy; what is then
computed of them is Bf16MatMul, of which the library alone has one order of sums.
"""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from bitnet_onnx import native
from bitnet_onnx import operators as ops
from bitnet_onnx.artifact import Artifact
from bitnet_onnx.bench.measure import weight_bytes
from bitnet_onnx.cli.main import main
from bitnet_onnx.errors import CheckpointError
from bitnet_onnx.exporter.export import export
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.verification.compare import verify
from bitnet_onnx.weights.open import open_checkpoint
from bitnet_onnx.weights.ternary import int8_rows, row_bounds
from tests.support import checkpoints
from tests.support.artifacts import initializers
from tests.support.nodes.one_node import (
    EVERY_CASE,
    model,
    on_every_kernel,
    run,
    two_step,
    two_step_choice,
)
from tests.support.nodes.two_steps import check_choice, check_largest, random_table
from tests.support.questions import answers, compared
from tests.support.sessions import scores

OP = "TwoStepMatMul"
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
IDS = [17, 3, 88, 40, 5]


def check(x: np.ndarray, made: dict[str, np.ndarray]) -> np.ndarray:
    """The promise, and that all four choose the same rows; returns the choice."""
    rough = run("Int8MatMul", x, {"W": made["scan"], "scale": made["scale"]}, library=True)
    choice = two_step_choice(x, made)
    check_choice(OP, x, made, rough, choice, ops.two_step_matmul)
    return choice


@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.sampled_from([1, 63, 64, 65, 200, 1000]),
    features=st.sampled_from([1, 3, 64, 300]),
    spread=st.sampled_from([0.0, 0.3, 3.0]),
    size=st.sampled_from([1e-30, 1e-6, 1.0, 1e6, 1e17, 1e25]),
    outliers=st.booleans(),
    peaked=st.booleans(),
)
def test_the_largest_are_those_of_the_bf16_head(
    seed: int, rows: int, features: int, spread: float, size: float, outliers: bool, peaked: bool
) -> None:
    table = random_table(seed, rows, features, spread)
    x = np.random.default_rng(seed + 1).standard_normal((3, features)) * size
    if outliers:
        x[:, ::37] *= 200
    if peaked:  # rows that point where the tokens do
        x[1:] = table[[0, rows // 2]].astype(np.float64) * size
        x = x.clip(-1e30, 1e30)
    check(x.astype(np.float32), two_step(table))


def test_few_rows_are_read_of_a_large_table() -> None:
    made, x = two_step(random_table(0, 20_000, 256, 0)), np.random.default_rng(1)
    rows = x.standard_normal((4, 256)).astype(np.float32)
    counts = check(rows, made).sum(1)
    assert (counts < 1000).all(), counts
    assert (counts >= 64).all()
    counters = native.Counters()
    run(OP, rows[:1], made, library=True, threads=2, counters=counters)
    assert counters.skipped().head == (20_000 - counts[0]) * 256 * 2


@pytest.mark.parametrize("times", [2, 3, 64, 65, 500])
def test_equal_rows_are_chosen_together(times: int) -> None:
    table = np.repeat(random_table(3, -(-500 // times), 70, 0), times, axis=0)
    x = np.random.default_rng(4).standard_normal((3, 70)).astype(np.float32)
    choice = check(x, two_step(table))
    for start in range(0, len(table), times):
        assert (choice[:, start] == choice[:, start : start + times].T).all()


@pytest.mark.parametrize("value", [0.0, 1.0, -3e-39])
def test_tables_of_one_value(value: float) -> None:
    made = two_step(np.full((300, 40), value, ml_dtypes.bfloat16))
    assert check(np.random.default_rng(5).standard_normal((2, 40)).astype(np.float32), made).all()


def test_zeros_and_bounds_beyond_all() -> None:
    made = two_step(random_table(6, 300, 40, 0))
    x = np.random.default_rng(7).standard_normal((2, 40)).astype(np.float32)
    assert check(np.zeros((1, 40), np.float32), made).all()
    for wide in (3e38, np.inf):
        bound = np.where(np.arange(300) % 3 == 0, np.float32(wide), made["bound"])
        assert check(x, {**made, "bound": bound})[:, ::3].all()
        assert check(x, {**made, "bound": np.full(300, wide, np.float32)}).all()


@pytest.mark.parametrize("scale", [1e-38, 1e-7, 1.0, 1e13])
@pytest.mark.parametrize("features", [1, 17, 300, 2560])
def test_the_bound_holds_and_is_not_loose(scale: float, features: int) -> None:
    """Against sums in extended precision, for weights on steps of the int8 copy and half between.

    Those half between, with tokens along the error, come close to the bound.
    """
    random = np.random.default_rng(features)
    codes = random.integers(-126, 127, (200, features)) + random.choice([0, 0.5], (200, 1))
    codes[:, 0] = 127
    weight = torch.from_numpy(codes * scale / 127).to(torch.bfloat16)
    rounded, scales = int8_rows(weight)
    bound = row_bounds(weight, rounded, scales)
    error = weight.double() - rounded.double() * scales.double().unsqueeze(1)
    tokens = torch.cat(
        [torch.randn(20, features), error[:20].float() / scale, torch.eye(features)[:9]]
    )
    for size in (1e-20, 1e-5, 1.0, 1e17):
        x = tokens * size
        slack = bound.double() * ops.scan_slack(x).double()
        exact = x.numpy().astype(np.longdouble) @ weight.double().numpy().astype(np.longdouble).T
        for found in (ops.int8_matmul(x, rounded, scales), ops.bf16_matmul(x, weight)):
            assert (np.abs(found.numpy() - exact) <= slack.numpy()).all()
        both = ops.int8_matmul(x, rounded, scales).double() - ops.bf16_matmul(x, weight).double()
        assert (both.abs() <= slack).all()
        if features == 2560 and scale == size == 1.0:
            assert (both.abs() / slack).max() > 0.8


def test_every_kernel_chooses_and_computes_the_same(tmp_path: Path) -> None:
    for case, spread in enumerate((0.0, 0.5)):
        made = two_step(random_table(case, 3000, 130, spread))
        (tmp_path / f"{case}.onnx").write_bytes(model(OP, made, {"X": TensorProto.FLOAT}))
        x = np.random.default_rng(case).standard_normal((7, 130)).astype(np.float32)
        x[3, 5] = np.nan
        np.save(tmp_path / f"{case}.npy", x)
    digests = on_every_kernel(EVERY_CASE, tmp_path, native.library_path())
    assert len(set(digests.values())) == 1


# ------------------------------------------------------------------------------------ artifacts

SIZES: dict[str, Any] = {"vocab": 700, "layers": 1}  # of which few logits are among the 64 largest


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    return checkpoints.exported(tmp_path_factory, head="two-step", tied=request.param, **SIZES)


def test_what_is_stored(pair: tuple[Path, Path]) -> None:
    source, stored = open_checkpoint(pair[0]), initializers(pair[1])
    name = EMBEDDING if source.config.tie_word_embeddings else HEAD
    table, prefix = source.tensor(name), name.removesuffix(".weight")
    assert stored[name].data_type == TensorProto.BFLOAT16
    assert sum(tensor.dims == [700, 64] for tensor in stored.values()) == 2 + (name == HEAD)
    rounded, scales = int8_rows(table)
    expected = {"scan": rounded, "scan_scale": scales, "scan_bound": None}
    expected["scan_bound"] = row_bounds(table, rounded, scales)
    for part, wanted in expected.items():
        assert wanted is not None
        tensor = stored[f"{prefix}.{part}"]
        kind = np.int8 if part == "scan" else np.float32
        found = np.frombuffer(tensor.raw_data, kind).reshape(wanted.shape)
        np.testing.assert_array_equal(found, wanted)
    artifact = Artifact.open(pair[1])
    assert artifact.head == "two-step"
    assert artifact.data_size - weight_bytes(artifact) == (0 if name == EMBEDDING else 700 * 64 * 2)


@pytest.mark.parametrize("against", ["torch", "transformers"])
def test_ids_and_largest_logits_are_the_references(pair: tuple[Path, Path], against: str) -> None:
    checkpoint, artifact = open_checkpoint(pair[0]), Artifact.open(pair[1])
    (result,) = verify(checkpoint, artifact, [IDS], 24, against=against)
    assert result.agrees, result.to_dict()


def test_logits_are_those_of_the_bf16_artifact(
    pair: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    tied = open_checkpoint(pair[0]).config.tie_word_embeddings
    other = checkpoints.exported(tmp_path_factory, tied=tied, **SIZES)[1]
    for custom_ops in (True, False):
        sessions = [Session(path, custom_ops=custom_ops) for path in (pair[1], other)]
        found, exact = (scores(session, IDS) for session in sessions)
        check_largest(found, exact)
        assert (found != exact).any()


def test_verify_finds_another_head(
    pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fields = json.loads((pair[0] / "config.json").read_text())
    made = checkpoints.tensors(fields)
    made["model.norm.weight"] = made["model.norm.weight"] * 1.1
    checkpoints.write(tmp_path, fields, made)
    options = ["--prompt-ids", "17,3", "--max-new-tokens", "2"]
    assert main(["verify", str(tmp_path), str(pair[1]), *options]) == 1
    captured = capsys.readouterr()
    assert "the first difference is in the head" in captured.out
    assert "64 largest logits" in captured.err


def test_a_table_without_bounds_is_refused(tmp_path: Path) -> None:
    fields = checkpoints.config_fields(layers=1)
    made = checkpoints.tensors(fields)
    made[EMBEDDING][3, 5] = 1e14
    checkpoints.write(tmp_path / "c", fields, made)
    with pytest.raises(CheckpointError, match=f"{EMBEDDING} holds a weight of 2") as caught:
        export(tmp_path / "c", tmp_path / "out", head="two-step", allow_degenerate=True)
    assert caught.value.hint == "export with --head bf16"
    assert not (tmp_path / "out").exists()


def test_the_bundled_model_gives_the_same_ids(
    demo_checkpoint: Path, demo_artifact: Path, tmp_path: Path
) -> None:
    folder = export(demo_checkpoint, tmp_path / "two-step", head="two-step")
    questions = list(islice(compared(), 0, None, 3))
    assert len(questions) >= 80
    expected = answers(Session(demo_artifact), demo_artifact, questions)
    assert answers(Session(folder), folder, questions) == expected
    assert answers(Session(folder, custom_ops=False), folder, questions[:30]) == expected[:30]
