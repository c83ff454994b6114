"""Passes change the graph, but no bit of the logits."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from bitnet_onnx.errors import ConfigError
from bitnet_onnx.exporter.export import export
from bitnet_onnx.exporter.options import PASSES
from bitnet_onnx.exporter.passes.norms import NORM_LINEAR
from bitnet_onnx.exporter.passes.projections import JOINABLE, PARTS
from bitnet_onnx.exporter.passes.zeros import FEED_FORWARD
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.weights.open import open_checkpoint
from bitnet_onnx.weights.ternary import pack
from tests.support import checkpoints
from tests.support.sessions import scores

LINEARS = (*JOINABLE, FEED_FORWARD, NORM_LINEAR)
QKV = "model.layers.0.self_attn.q_proj+k_proj+v_proj"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Make a checkpoint, and its artifacts with all passes, with none, and without each one."""
    folder = tmp_path_factory.mktemp("optimize")
    checkpoints.make(folder / "checkpoint", hidden=60, heads=6, inner=100)
    made = {"checkpoint": folder / "checkpoint"}
    others = {name: [other for other in PASSES if other != name] for name in PASSES}
    for name, passes in {"fused": PASSES, "plain": (), **others}.items():
        made[name] = export(made["checkpoint"], folder / name, passes=passes)
    return made


def operators(folder: Path) -> Counter[str]:
    graph = onnx.load(folder / "model.onnx", load_external_data=False).graph
    return Counter(node.op_type for node in graph.node)


@pytest.mark.parametrize("name", ["plain", *PASSES])
def test_a_pass_changes_the_graph_but_no_bit_of_the_logits(
    folders: dict[str, Path], name: str
) -> None:
    assert operators(folders[name]) != operators(folders["fused"])
    ids = [int(x) for x in np.random.default_rng(0).integers(0, 96, 40)]
    for custom_ops in (True, False):
        fused, other = (Session(folders[kind], custom_ops=custom_ops) for kind in ("fused", name))
        np.testing.assert_array_equal(scores(fused, ids), scores(other, ids))
        for token in ids[:8]:
            np.testing.assert_array_equal(fused.decode([token]), other.decode([token]))


def test_each_residual_sum_is_fused_into_the_norm_that_reads_it(folders: dict[str, Path]) -> None:
    """Only the last sum is not: its norm reads the kept positions only."""
    plain, fused = operators(folders["plain"]), operators(folders["fused"])
    assert (plain["Add"], plain["RMSNorm"], plain["AddRMSNorm"]) == (4, 9, 0)
    assert (fused["Add"], fused["RMSNorm"], fused["AddRMSNorm"]) == (1, 1, 3)


def test_joined_projections_keep_the_rows_and_scales_of_their_parts(
    folders: dict[str, Path],
) -> None:
    source = open_checkpoint(folders["checkpoint"])
    owner, _, parts = QKV.rpartition(".")
    read = [source.ternary(f"{owner}.{part}") for part in parts.split(PARTS)]
    model = onnx.load(folders["fused"] / "model.onnx")
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    codes = np.concatenate([pack(codes).numpy() for codes, _ in read])
    scales = np.concatenate([np.repeat(scale.numpy(), len(codes)) for codes, scale in read])
    np.testing.assert_array_equal(stored[f"{QKV}.weight"], codes)
    np.testing.assert_array_equal(stored[f"{QKV}.weight_scale"], scales)
    assert not [name for name in stored if name.endswith("q_proj.weight")]


def test_only_the_projections_of_attention_are_joined(folders: dict[str, Path]) -> None:
    def linears(name: str) -> list[str]:
        graph: Any = onnx.load(folders[name] / "model.onnx", load_external_data=False).graph
        nodes = [node for node in graph.node if node.op_type in LINEARS]
        weights = [name for node in nodes for name in node.input if name.endswith("_proj.weight")]
        return [weight.removesuffix(".weight").rpartition(".")[2] for weight in weights]

    plain = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    assert linears("plain") == 2 * plain
    assert linears("fused") == 2 * ["q_proj+k_proj+v_proj", *plain[3:]]


def test_attention_reads_joined_projections_without_a_split(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    split, whole = operators(folders["attention"]), operators(folders["fused"])
    assert (split["Split"], split["GroupQueryAttention"]) == (2, 2)
    assert (whole["Split"], whole["GroupQueryAttentionQKV"]) == (0, 2)
    for name in ("attention", "fused"):
        stored = onnx.load(folders[name] / "model.onnx", load_external_data=False).graph.initializer
        rows = [tensor.name for tensor in stored if tensor.name.endswith(".rows")]
        assert len(rows) == operators(folders[name])["Split"]
    checkpoints.make_grouped(tmp_path / "checkpoint")  # it has norms of q and k before attention
    normed = operators(export(tmp_path / "checkpoint", tmp_path / "artifact"))
    assert (normed["Split"], normed["GroupQueryAttention"]) == (1, 1)


def test_down_proj_is_stored_by_column(folders: dict[str, Path]) -> None:
    name = "model.layers.1.mlp.down_proj"
    codes, scale = open_checkpoint(folders["checkpoint"]).ternary(name)
    model = onnx.load(folders["fused"] / "model.onnx")
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    np.testing.assert_array_equal(stored[f"{name}.weight"], pack(codes.T.contiguous()))
    np.testing.assert_array_equal(stored[f"{name}.weight_scale"], scale.repeat(len(codes)))


def test_an_unknown_pass_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="passes names 'nothing', expected some of: projections"):
        export(folders["checkpoint"], tmp_path / "out", passes=["nothing"])
    assert not list(tmp_path.iterdir())
