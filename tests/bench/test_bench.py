"""What bench counts: zeros that were skipped, and where the time of a step goes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from bitnet_onnx import native
from bitnet_onnx.artifact import Artifact
from bitnet_onnx.bench.breakdown import OperatorCost, breakdown, describe_breakdown, linear_groups
from bitnet_onnx.bench.measure import BenchResult, bench, describe
from bitnet_onnx.cli.main import main
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.verification.taps import TappedSession
from bitnet_onnx.weights.ternary import absmax_int8
from tests.support import checkpoints


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return Artifact.open(checkpoints.exported(tmp_path_factory, **checkpoints.TIED)[1])


def test_zeros_are_counted_as_the_activations_show_them(artifact: Artifact) -> None:
    """The library's counters against what entered down_proj in the same steps, looked at."""
    ids = [5, 6, 7, 8]
    counters = native.Counters()
    session = Session(artifact, threads=1, counters=counters)
    tapped = TappedSession(artifact, threads=1)
    gates, zeros = [], []
    for token in ids:
        session.decode([token])
    skipped = counters.skipped()
    for token in ids:
        tapped.prefill([token])
        for name, x in tapped.inputs.items():
            if name.endswith("down_proj"):
                codes = absmax_int8(torch.from_numpy(x))[0]
                gates.append(int((x == 0).sum()))
                zeros.append(int((codes == 0).sum()))
    row_bytes = 64  # of a row of up_proj and of a column of down_proj: 64 codes, padded to 256
    assert skipped == (sum(gates) * row_bytes, sum(zeros) * row_bytes, 0, 0)
    result = bench(artifact.folder, threads=1, prompt_tokens=4, new_tokens=8, runs=1)
    assert result.zero_gates is not None
    assert result.zero_activations is not None
    assert result.zero_gates == pytest.approx(0.5, abs=0.25)
    assert result.zero_gates < result.zero_activations < 1


def test_a_breakdown_adds_up_to_the_step(artifact: Artifact) -> None:
    """Shares are of the whole step, and the linears' bytes are the weights that were read."""
    found = breakdown(artifact, threads=1, context=4)
    costs = found.costs
    assert sum(cost.seconds for cost in costs) == pytest.approx(found.profiled_step_seconds)
    assert [cost.seconds for cost in costs] == sorted((c.seconds for c in costs), reverse=True)
    by_name = {cost.operator.partition(" ")[0]: cost for cost in costs}
    assert by_name["TernaryFeedForward"].calls == artifact.num_hidden_layers
    whole = parameters(artifact)
    assert 0 < by_name["TernaryFeedForward"].bytes < whole["TernaryFeedForward"]
    assert by_name["TernaryMatMul"].bytes > 0
    assert by_name["Bf16MatMul"].bytes == whole["Bf16MatMul"]
    assert found.ternary.bytes == sum(c.bytes for c in costs if c.operator.startswith("Ternary"))
    assert found.head.bytes == whole["Bf16MatMul"]
    own = found.ternary.seconds + found.head.seconds
    assert 0 < found.head.seconds < own < found.step_seconds
    assert found.everything_else == pytest.approx(1 - own / found.step_seconds)
    table = describe_breakdown(found, 1e9).splitlines()
    assert len(table) == len(costs) + 7


@pytest.mark.parametrize(
    ("operators", "ternary", "name"),
    [
        (["TernaryMatMul", "TernaryFeedForward", "Bf16MatMul"], 2, "head"),
        (["TernaryMatMul", "TernaryExperts", "TwoStepMatMul"], 2, "head"),
        (["Bf16MatMul", "Bf16Experts"], 0, "float linears and head"),
        (["Int8MatMul", "Int8Experts", "TwoStepInt4MatMul"], 0, "float linears and head"),
        (["TernaryMatMul", "Int8Experts", "Int8MatMul"], 1, "float linears and head"),
        (["Bf16MatMul"], 0, "float linears and head"),
    ],
)
def test_only_ternary_operators_are_ternary_linears(
    operators: list[str], ternary: int, name: str
) -> None:
    costs = [OperatorCost(f"{operator} 4x8", 1, 1.0, 8) for operator in (*operators, "Softmax")]
    groups = linear_groups(costs)
    assert list(groups) == ["ternary linears", name]
    assert [*groups["ternary linears"], *groups[name]] == costs[:-1]
    assert len(groups["ternary linears"]) == ternary


def test_sessions_count_apart(artifact: Artifact) -> None:
    mine, others = native.Counters(), native.Counters()
    sessions = [Session(artifact, threads=1, counters=c) for c in (mine, others, None)]
    sessions[0].prefill([5, 6, 7])
    sessions[2].prefill([5, 6, 7])
    assert mine.seconds("TernaryMatMul") > 0
    assert mine.seconds("MatMul") == 0  # not the library's
    assert mine.skipped().columns > 0
    assert others.seconds("TernaryMatMul") == 0
    assert others.skipped() == (0, 0, 0, 0)


def test_a_session_outlives_its_counters(artifact: Artifact) -> None:
    counters = native.Counters()
    session = Session(artifact, threads=1, counters=counters)
    expected = session.decode([5]).copy()
    del counters
    session.reset()
    assert (session.decode([5]) == expected).all()


def parameters(artifact: Artifact) -> dict[str, int]:
    """Bytes of initializers by operator, read from the graph alone."""
    graph = onnx.load(artifact.model_path, load_external_data=False).graph
    sizes = {
        t.name: int(np.prod(t.dims)) * onnx.helper.tensor_dtype_to_np_dtype(t.data_type).itemsize
        for t in graph.initializer
    }
    totals: dict[str, int] = {}
    for node in graph.node:
        used: Sequence[str] = [name for name in node.input if name in sizes]
        totals[node.op_type] = totals.get(node.op_type, 0) + sum(sizes[name] for name in used)
    return totals


def test_the_command_prints_both(artifact: Artifact, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["bench", str(artifact.folder), "--prompt-tokens", "4", "--runs", "1", "--profile"]
    assert main([*arguments, "--max-new-tokens", "30"]) == 0
    out = capsys.readouterr().out
    assert "of the gates" in out
    assert "TernaryFeedForward" in out
    assert main([*arguments, "--max-new-tokens", "30", "--format", "json"]) == 0
    fields = json.loads(capsys.readouterr().out)
    profile = fields["profile"]
    assert {"operator", "calls", "seconds", "bytes"} == set(profile["costs"][0])
    assert profile["step_seconds"] > 0
    assert main([*arguments, "--max-new-tokens", "8"]) == 2
    assert "expected 25 or more with --profile" in capsys.readouterr().err


def test_no_line_on_zeros_where_none_can_be_skipped(demo_artifact: Path) -> None:
    result = bench(demo_artifact, threads=1, prompt_tokens=4, new_tokens=4, runs=1)
    assert "zeros" in describe(result)
    fields = {**result.to_dict(), "zero_gates": None, "zero_activations": None}
    assert "zeros" not in describe(BenchResult(**fields))  # type: ignore[arg-type]
