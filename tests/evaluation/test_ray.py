"""``evaluate`` and ``embed`` over two nodes of Ray, one of which is killed meanwhile."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from time import sleep
from typing import Any

import pytest

pytest.importorskip("pyarrow", reason="the extra ray")
ray = pytest.importorskip("ray", reason="the extra ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")
pytestmark = pytest.mark.slow

from bitnet_onnx.cli.main import main  # noqa: E402
from tests.support.embedding.artifacts import embedding_artifact  # noqa: E402
from tests.support.native.person import Person  # noqa: E402
from tests.support.questions import questions  # noqa: E402

COMMAND = (sys.executable, "-m", "bitnet_onnx")


@pytest.fixture
def nodes() -> Iterator[tuple[Any, Any]]:
    """Return a cluster of two nodes, and the second of them."""
    node = {"num_cpus": 1, "object_store_memory": 100 << 20}
    cluster = cluster_utils.Cluster(
        initialize_head=True, head_node_args={**node, "include_dashboard": False}
    )
    try:
        yield cluster, cluster.add_node(**node)
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.mark.parametrize(
    ("kind", "unit", "options"),
    [
        ("text", "window", ["--max-length=128"]),
        ("choices", "choice", ["--apply-chat-template"]),
        ("answers", "answer", ["--apply-chat-template", "--ship"]),
    ],
)
def test_a_lost_node_changes_no_number(
    demo_artifact: Path, tmp_path: Path, capsys: Any, nodes: Any, kind: str, unit: str, options: Any
) -> None:
    asked = [record | {"choices": [record["answer"], "no"]} for record in questions()[:400]]
    file = tmp_path / kind
    if kind == "text":
        file.write_text("\n".join(f"{r['question']} {r['answer']}" for r in asked))
    else:
        lines = [r | {"answer": 0} if kind == "choices" else r for r in asked]
        file.write_text("\n".join(map(json.dumps, lines)))
    command = ["evaluate", str(demo_artifact), f"--{kind}-file", str(file), "--format=json"]
    command += ["--threads=1", *options]
    assert main([word for word in command if word != "--ship"]) == 0
    here = json.loads(capsys.readouterr().out)
    cluster, second = nodes
    somebody = Person(*COMMAND, *command, "--ray", cluster.address)
    somebody.sees(f"{unit} [1-9]")  # the first results are there
    cluster.remove_node(second, allow_graceful=False)
    assert somebody.ends() == 0, somebody.screen
    (shown,) = re.findall(r"\[\s*\{.*\}\s*\]", somebody.screen, re.DOTALL)
    assert json.loads(shown) == here


@pytest.mark.parametrize("options", [[], ["--ship"]], ids=["shared", "shipped"])
def test_a_lost_node_changes_no_vector(
    tmp_path: Path, capsys: Any, nodes: Any, options: list[str]
) -> None:
    artifact = embedding_artifact(tmp_path)
    texts, output = tmp_path / "texts", tmp_path / "vectors.npy"
    texts.write_text("".join(f"{'word ' * (number % 5)}{number}\n" for number in range(20_000)))
    command = ["embed", str(artifact), "--file", str(texts), "--batch-size=64", "--threads=1"]
    command += ["--format=npy", "-o"]
    assert main([*command, str(tmp_path / "here.npy")]) == 0
    cluster, second = nodes
    somebody = Person(*COMMAND, *command, str(output), "--ray", cluster.address, *options)
    ray.init(address=cluster.address)
    while ray.available_resources().get("CPU", 0):  # until both nodes have an actor
        sleep(0.1)
    cluster.remove_node(second, allow_graceful=False)
    assert somebody.ends() == 0, somebody.screen
    assert output.read_bytes() == (tmp_path / "here.npy").read_bytes()
