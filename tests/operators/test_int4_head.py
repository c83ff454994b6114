"""Heads of 4 and 6 bits: how tables are rounded, and what the heads of two steps promise.

Which rows a head of two steps reads is the same in the library, the function body, torch and NumPy,
as in test_two_step.py.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from bitnet_onnx import native
from bitnet_onnx import operators as ops
from bitnet_onnx.artifact import Artifact
from bitnet_onnx.cli.main import main
from bitnet_onnx.errors import CheckpointError, ConfigError
from bitnet_onnx.exporter.export import export
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.verification.compare import verify
from bitnet_onnx.weights.levels import (
    code_bytes,
    integer_rows,
    level_bounds,
    level_rows,
    row_deviations,
)
from bitnet_onnx.weights.open import open_checkpoint
from tests.support import checkpoints
from tests.support.artifacts import initializers
from tests.support.nodes.one_node import (
    EVERY_CASE,
    level_weights,
    model,
    on_every_kernel,
    run,
    two_step_levels,
    two_step_levels_choice,
)
from tests.support.nodes.two_steps import check_choice, check_largest, random_table
from tests.support.questions import answers, compared
from tests.support.sessions import scores

OPS = {4: "TwoStepInt4MatMul", 6: "TwoStepInt6MatMul"}
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
IDS = [17, 3, 88, 40, 5]
TWO_STEPS = ("two-step-int4", "two-step-int6")
HEADS = ("int4", "int6", *TWO_STEPS)

both = pytest.mark.parametrize("bits", OPS)


# -------------------------------------------------------------------------------- the rounding


@pytest.mark.parametrize("bits", [4, 6])
@pytest.mark.parametrize("features", [1, 40, 256, 257, 700])
@pytest.mark.parametrize("size", [1e-36, 1e-3, 1.0, 1e30])
def test_a_weight_is_rounded_to_the_nearest_of_its_group(
    bits: int, features: int, size: float
) -> None:
    random = np.random.default_rng(features)
    values = random.standard_normal((30, features)) * size
    table = torch.from_numpy(values).to(torch.bfloat16)
    rows = level_rows(table, bits)
    integers = integer_rows(rows, features)
    codes, levels = rows.codes.numpy(), rows.levels.numpy()
    assert codes.shape == (30, code_bytes(features, bits))
    np.testing.assert_array_equal(integers.numpy(), level_weights(codes, levels, features))
    step = np.abs(levels[:, np.arange(features) // 256 * 8 + np.arange(features) // 4 % 8])
    step = step * rows.scale.numpy().astype(np.float64)[:, None]
    error = (
        table.double().numpy() - integers.double().numpy() * rows.scale.double().numpy()[:, None]
    )
    zero = 1 << (bits - 1)
    clipped = integers.abs().numpy() == (zero - 1) * step / rows.scale.numpy()[:, None]
    assert (np.abs(error) <= step * np.where(clipped, 1.001, 0.501) + 1e-30).all()
    if features > 1 and size < 1e20:
        assert np.abs(step).max() <= np.abs(values).max() / zero * 1.02 + 1e-30


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0, 3e-39, -1e-30])
def test_rows_of_one_value(value: float) -> None:
    table = torch.full((5, 300), value).to(torch.bfloat16)
    for bits in (4, 6):
        rows = level_rows(table, bits)
        found = integer_rows(rows, 300).double() * rows.scale.double()[:, None]
        assert torch.isfinite(found).all()
        assert (found - table.double()).abs().max() <= max(abs(value) * 1e-6, 1e-30)


def test_deviations_hold_for_independent_tokens_and_are_not_loose() -> None:
    """Of 8 deviations normal errors use up to 5.5; rows that the copy holds exactly have none."""
    random = torch.Generator().manual_seed(1)
    table = torch.randn(3000, 640, generator=random).to(torch.bfloat16)
    rows = level_rows(table, 4)
    bound = row_deviations(table, rows)
    x = torch.randn(100, 640, generator=random)
    x[:, ::50] *= 20
    rough = ops.level_matmul(x, *rows)
    error = (rough.double() - x.double() @ table.double().T).abs()
    used = 8 * error / (bound.double() * ops.scan_slack(x).double())
    assert 4 < used.max() < 6
    assert 0.9 < used.square().mean().sqrt() < 1.1
    exact = (integer_rows(rows, 640) * 2.0**-9).to(torch.bfloat16)
    same = level_rows(exact, 4)
    assert row_deviations(exact, same).median() < bound.median()


# ---------------------------------------------------------------------------------- the operator


def check(x: np.ndarray, made: dict[str, np.ndarray]) -> np.ndarray:
    """All four choose the same rows; the largest are exact where the bounds hold."""
    copy = {"W": made["codes"], "levels": made["levels"], "scale": made["scale"]}
    bits = made["codes"].shape[1] // made["levels"].shape[1] // 4
    rough = run(f"Int{bits}MatMul", x, copy, library=True)
    choice = two_step_levels_choice(x, made)
    in_torch = ops.two_step_int4_matmul if bits == 4 else ops.two_step_int6_matmul
    check_choice(OPS[bits], x, made, rough, choice, in_torch)
    return choice


@both
@settings(max_examples=10)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.sampled_from([1, 64, 127, 128, 129, 200, 1000]),
    features=st.sampled_from([64, 300, 513]),  # of few, an error is far from normal
    spread=st.sampled_from([0.0, 0.3, 3.0]),
    size=st.sampled_from([1e-30, 1e-6, 1.0, 1e6, 1e17, 1e25]),
    outliers=st.booleans(),
)
def test_the_largest_are_those_of_the_bf16_head(
    bits: int, seed: int, rows: int, features: int, spread: float, size: float, outliers: bool
) -> None:
    x = np.random.default_rng(seed + 1).standard_normal((3, features)) * size
    if outliers:
        x[:, ::37] *= 20
    check(x.astype(np.float32), two_step_levels(random_table(seed, rows, features, spread), bits))


@settings(max_examples=15)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.sampled_from([1, 64, 129, 1000]),
    features=st.sampled_from([1, 3, 9, 10, 300]),
    spread=st.sampled_from([0.0, 3.0]),
    size=st.sampled_from([1e-30, 1e-6, 1.0, 1e17, 1e25]),
    large=st.integers(0, 4),
)
def test_the_promise_is_kept_whatever_the_token(
    seed: int, rows: int, features: int, spread: float, size: float, large: int
) -> None:
    """Also along rows and along errors of the copy, and with few elements that hold the norm."""
    table, random = random_table(seed, rows, features, spread), np.random.default_rng(seed + 1)
    made = two_step_levels(table, 6)
    error = (
        table.astype(np.float64)
        - level_weights(made["codes"], made["levels"], features)
        * made["scale"].astype(np.float64)[:, None]
    )
    x = random.standard_normal((4, features))
    x[1], x[2] = table[0].astype(np.float64), error[rows // 2] * 1e3
    x[3] = np.sign(error[-1]) * np.abs(error[-1]).max() * 1e3
    x[:, random.integers(0, features, large)] *= 300
    check((x * size).clip(-1e30, 1e30).astype(np.float32), made)


@pytest.mark.parametrize("scale", [1e-38, 1e-7, 1.0, 1e13])
@pytest.mark.parametrize("features", [1, 9, 17, 300, 2560])
def test_the_proven_bound_holds_and_is_not_loose(scale: float, features: int) -> None:
    """Against sums in extended precision; tokens along the error of a row come close to it."""
    random = torch.Generator().manual_seed(features)
    weight = (torch.randn(200, features, generator=random) * scale).to(torch.bfloat16)
    rows = level_rows(weight, 6)
    bound = level_bounds(weight, rows)
    integers = integer_rows(rows, features).double()
    error = weight.double() - integers * rows.scale.double().unsqueeze(1)
    along = error[:40].float() / error[:40].abs().amax(1, keepdim=True).clamp(min=1e-45)
    peaked = torch.randn(20, features, generator=random)
    peaked[:, :: max(1, features // 9)] *= 100
    tokens = torch.cat([peaked, along, along.sign(), torch.eye(features)[:9]])
    for size in (1e-20, 1e-5, 1.0, 1e17):
        x = tokens * size
        room = bound.double() * ops.split_slack(x).double()
        exact = x.numpy().astype(np.longdouble) @ weight.double().numpy().astype(np.longdouble).T
        found, other = ops.level_matmul(x, *rows), ops.bf16_matmul(x, weight)
        assert (np.abs(found.numpy() - exact) <= room.numpy()).all()
        assert ((found.double() - other.double()).abs() <= room).all()
        if features == 2560 and scale == size == 1.0:
            assert ((found.double() - other.double()).abs() / room).max() > 0.8
            plain = bound.double() * ops.scan_slack(x).double()
            assert (room[:20] < 0.95 * plain[:20]).all()


@both
def test_few_rows_are_read_of_a_large_table(bits: int) -> None:
    made, x = two_step_levels(random_table(0, 20_000, 256, 0), bits), np.random.default_rng(1)
    rows = x.standard_normal((4, 256)).astype(np.float32)
    counts = check(rows, made).sum(1)
    assert (counts < 1500).all(), counts
    assert (counts >= 128).all()
    counters = native.Counters()
    run(OPS[bits], rows[:1], made, library=True, threads=2, counters=counters)
    assert counters.skipped().head == (20_000 - counts[0]) * 256 * 2


@both
@pytest.mark.parametrize("times", [2, 64, 129, 500])
def test_equal_rows_are_chosen_together(bits: int, times: int) -> None:
    table = np.repeat(random_table(3, -(-500 // times), 70, 0), times, axis=0)
    x = np.random.default_rng(4).standard_normal((3, 70)).astype(np.float32)
    choice = check(x, two_step_levels(table, bits))
    for start in range(0, len(table), times):
        assert (choice[:, start] == choice[:, start : start + times].T).all()


@both
def test_zeros_and_bounds_beyond_all(bits: int) -> None:
    made = two_step_levels(random_table(6, 300, 40, 0), bits)
    x = np.random.default_rng(7).standard_normal((2, 40)).astype(np.float32)
    assert check(np.zeros((1, 40), np.float32), made).all()
    for wide in (3e38, np.inf):
        bound = np.where(np.arange(300) % 3 == 0, np.float32(wide), made["bound"])
        assert check(x, {**made, "bound": bound})[:, ::3].all()


def test_every_kernel_chooses_and_computes_the_same(tmp_path: Path) -> None:
    for case, (bits, spread) in enumerate(product(OPS, (0.0, 0.5))):
        made = two_step_levels(random_table(case, 3000, 130, spread), bits)
        (tmp_path / f"{case}.onnx").write_bytes(model(OPS[bits], made, {"X": TensorProto.FLOAT}))
        x = np.random.default_rng(case).standard_normal((7, 130)).astype(np.float32)
        x[3, 5] = np.nan
        np.save(tmp_path / f"{case}.npy", x)
    digests = on_every_kernel(EVERY_CASE, tmp_path, native.library_path())
    assert len(set(digests.values())) == 1


# ------------------------------------------------------------------------------------ artifacts

SIZES: dict[str, Any] = {"vocab": 700, "layers": 1}


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def folders(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Path, Path]]:
    """By head, a checkpoint and its artifact."""
    made: dict[str, tuple[Path, Path]] = {}

    def of(head: str) -> tuple[Path, Path]:
        if head not in made:
            made[head] = checkpoints.exported(
                tmp_path_factory, head=head, tied=request.param, **SIZES
            )
        return made[head]

    return of


Folders = Callable[[str], tuple[Path, Path]]


@pytest.mark.parametrize("head", HEADS)
def test_what_is_stored(folders: Folders, head: str) -> None:
    folder, artifact = folders(head)
    source, stored = open_checkpoint(folder), initializers(artifact)
    tied = source.config.tie_word_embeddings
    name = EMBEDDING if tied else HEAD
    table, prefix = source.tensor(name), name.removesuffix(".weight")
    assert stored[EMBEDDING].data_type == TensorProto.BFLOAT16
    assert (HEAD in stored) == (not tied and head in TWO_STEPS)
    rows = level_rows(table, 6 if head.endswith("int6") else 4)
    expected: dict[str, torch.Tensor] = rows._asdict()
    if head in TWO_STEPS:
        bounds = level_bounds if head.endswith("int6") else row_deviations
        expected["bound"] = bounds(table, rows)
    for part, wanted in expected.items():
        tensor = stored[f"{prefix}.{part}"]
        kind = wanted.numpy().dtype
        found = np.frombuffer(tensor.raw_data, kind).reshape(wanted.shape)
        np.testing.assert_array_equal(found, wanted)
    assert Artifact.open(artifact).head == head


@pytest.mark.parametrize("against", ["torch", "transformers"])
@pytest.mark.parametrize("head", HEADS)
def test_verify_agrees(folders: Folders, head: str, against: str) -> None:
    folder, artifact = folders(head)
    (result,) = verify(folder, artifact, [IDS], 16, against=against)
    assert result.agrees, result.to_dict()


@pytest.mark.parametrize("head", HEADS)
def test_the_bodies_give_the_logits_of_the_library(folders: Folders, head: str) -> None:
    one, other = (Session(folders(head)[1], custom_ops=custom) for custom in (True, False))
    np.testing.assert_array_equal(scores(one, IDS), scores(other, IDS))


@pytest.mark.parametrize("head", TWO_STEPS)
def test_the_largest_logits_are_those_of_the_bf16_artifact(folders: Folders, head: str) -> None:
    found = scores(Session(folders(head)[1]), IDS)
    exact = scores(Session(folders("bf16")[1]), IDS)
    check_largest(found, exact)
    assert (found != exact).any()


def test_verify_says_what_is_compared(folders: Folders, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--prompt-ids", "17,3", "--max-new-tokens", "2"]
    said = {"int4": "rounded to int4", "int6": "rounded to int6"}
    said["two-step-int6"] = "beyond the scan's proven bound"
    for head in HEADS:
        assert main(["verify", *map(str, folders(head)), *options]) == 0
        assert said.get(head, "beyond the scan's statistical bound") in capsys.readouterr().err


@pytest.mark.parametrize("head", TWO_STEPS)
def test_a_table_without_bounds_is_refused(tmp_path: Path, head: str) -> None:
    fields = checkpoints.config_fields(layers=1)
    made = checkpoints.tensors(fields)
    made[EMBEDDING][3, 5] = 1e14
    checkpoints.write(tmp_path / "c", fields, made)
    with pytest.raises(CheckpointError, match=f"or more, expected less for --head {head}"):
        export(tmp_path / "c", tmp_path / "out", head=head, allow_degenerate=True)
    assert not (tmp_path / "out").exists()
    export(tmp_path / "c", tmp_path / "out", head="int4", allow_degenerate=True)


@pytest.mark.parametrize("head", HEADS)
def test_stock_operators_have_no_such_head(
    demo_checkpoint: Path, tmp_path: Path, head: str
) -> None:
    with pytest.raises(ConfigError, match=f"head is '{head}', which only the custom operator"):
        export(demo_checkpoint, tmp_path / "a", target="stock", head=head)


@pytest.mark.parametrize("head", TWO_STEPS)
def test_the_bundled_model_gives_the_same_ids(
    demo_checkpoint: Path, demo_artifact: Path, tmp_path: Path, head: str
) -> None:
    folder = export(demo_checkpoint, tmp_path / head, head=head)
    questions = list(islice(compared(), 0, None, 3))
    expected = answers(Session(demo_artifact), demo_artifact, questions)
    assert answers(Session(folder), folder, questions) == expected
    assert answers(Session(folder, custom_ops=False), folder, questions[:30]) == expected[:30]
