"""After the last attention only the kept positions are computed, and their logits are the same."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from bitnet_onnx.artifact import Artifact
from bitnet_onnx.exporter.export import export
from bitnet_onnx.exporter.options import PASSES
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.runtime.steps import CHUNK
from bitnet_onnx.verification.taps import TappedSession
from tests.support import checkpoints, float_networks, oracle_networks
from tests.support.granite import networks as granite
from tests.support.sessions import scores

LENGTH = 2 * CHUNK


def _saved(kind: str, **changes: Any) -> Callable[[Path], Path]:
    changes["max_position_embeddings"] = LENGTH
    return lambda folder: oracle_networks.save(
        float_networks.variant(kind, **changes), folder, torch.bfloat16
    )


# What stands after the last attention: ternary linears with norms of their own or without, a
# mixture of experts, multipliers and biases between float linears; and a network of one layer.
NETWORKS: dict[str, Callable[[Path], Path]] = {
    "bitnet": lambda folder: checkpoints.make(folder, context=LENGTH),
    "one layer": lambda folder: checkpoints.make(folder, context=LENGTH, layers=1),
    "group scales": lambda folder: checkpoints.make_grouped(folder, context=LENGTH),
    "experts": lambda folder: granite.save(
        granite.draw(24, max_position_embeddings=LENGTH), folder
    ),
    "biases": _saved("llama, tied, biases"),
    "multipliers": _saved("granite"),
}
EVERY_OTHER = tuple(name for name in PASSES if name != "kept")
"""All passes but this one."""


def logits(session: Session, ids: list[int]) -> list[np.ndarray]:
    """Those of a prompt of several calls, of a step, and after each id of a short one."""
    found = [session.prefill(ids), session.decode([7])[0]]
    session.reset()
    return [*found, scores(session, ids[:9])]


@pytest.fixture(scope="module", params=NETWORKS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The artifacts of a network without the pass and with it."""
    folder = tmp_path_factory.mktemp("kept")
    return both(NETWORKS[request.param](folder / "c"), folder)


def both(checkpoint: Path, folder: Path, **options: Any) -> list[Path]:
    return [
        export(checkpoint, folder / str(len(passes)), passes=passes, **options)
        for passes in (EVERY_OTHER, PASSES)
    ]


def graph_of(folder: Path) -> Any:
    return onnx.load(folder / "model.onnx", load_external_data=False).graph


def same_logits(artifacts: list[Path]) -> bool:
    ids = np.random.default_rng(0).integers(2, 90, CHUNK + 40).tolist()
    found = []
    for folder in artifacts:
        with Session(folder, threads=1) as session:
            found.append(logits(session, ids))
    return all(np.array_equal(other, mine) for other, mine in zip(*found, strict=True))


def test_logits_are_the_same(pair: list[Path]) -> None:
    assert same_logits(pair)


def test_only_kept_positions_go_on_after_the_last_attention(pair: list[Path]) -> None:
    graph = graph_of(pair[1])
    last = [node for node in graph.node if "Attention" in node.op_type][-1]
    readers = [node for node in graph.node if last.output[0] in node.input]
    assert [node.op_type for node in readers] == ["Slice"]
    slices = [node for node in graph.node if node.op_type == "Slice"]
    assert len(slices) == 2
    made = {name for n in graph.node if n.op_type != "Constant" for name in n.output}
    fed = {name for node in slices for name in node.output}
    for node in list(graph.node)[list(graph.node).index(readers[0]) :]:
        if node.op_type != "Slice":  # it reads weights, and what comes from the kept positions
            activations = {name for name in node.input if name in made}
            assert activations <= fed, node
            fed.update(node.output)


def test_verify_sees_the_last_position_of_a_long_prompt(tmp_path: Path) -> None:
    ids = np.random.default_rng(2).integers(2, 90, CHUNK + 1).tolist()
    found = []
    for folder in both(NETWORKS["bitnet"](tmp_path / "c"), tmp_path):
        with TappedSession(Artifact.open(folder)) as session:
            session.prefill(ids)
            found.append(session.inputs)
    whole, last = found
    assert whole.keys() == last.keys()
    for name, mine in last.items():
        after = re.match(r"model\.layers\.1\.(self_attn\.o_proj|mlp\.)", name) is not None
        assert mine.shape[1] == (1 if after else len(ids))
        np.testing.assert_array_equal(mine, whole[name][:, -mine.shape[1] :])


def test_a_stock_graph_gives_the_same_logits(tmp_path: Path) -> None:
    pair = both(NETWORKS["bitnet"](tmp_path / "c"), tmp_path, target="stock")
    assert same_logits(pair)
    cut = [[n for n in graph_of(folder).node if n.op_type == "Slice"] for folder in pair]
    assert len(cut[1]) == len(cut[0]) + 1


def test_hidden_states_are_the_same(tmp_path: Path) -> None:
    """The input of the last layer is an output, too."""
    states = []
    for folder in both(NETWORKS["bitnet"](tmp_path / "c"), tmp_path, outputs="hidden-states"):
        with Session(folder, threads=1) as session:
            session.prefill(list(range(2, 80)))
            states.append(session.hidden_states)
    np.testing.assert_array_equal(states[1], states[0])


def test_a_network_of_many_layers_is_exported(tmp_path: Path) -> None:
    checkpoint = _saved("llama", num_hidden_layers=260)(tmp_path / "c")
    slices = [n for n in graph_of(export(checkpoint, tmp_path / "a")).node if n.op_type == "Slice"]
    assert len(slices) == 2
