"""A run over the nodes of a Ray cluster, one of which is lost."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="the extra server")
pytest.importorskip("prometheus_client", reason="the extra server")

from tests.support.paths import ROOT
from tests.support.serve.bulk import read, request

ray = pytest.importorskip("ray", reason="the extra ray")
pytestmark = pytest.mark.slow
COUNT = 600


@pytest.mark.parametrize("options", [[], ["--ship"]], ids=["shared", "shipped"])
def test_a_lost_node_loses_no_line(demo_artifact: Path, tmp_path: Path, options: list[str]) -> None:
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(b"".join(request(f"r{i}", f"What is {i}") for i in range(COUNT)) + b"bad")
    node = {"num_cpus": 1, "object_store_memory": 100 << 20}
    cluster = cluster_utils.Cluster(
        initialize_head=True, head_node_args={**node, "include_dashboard": False}
    )
    try:
        second = cluster.add_node(**node)
        child = subprocess.Popen(
            [sys.executable, "-m", "bitnet_onnx", "batch", str(demo_artifact), str(source),
             "-o", str(target), "--threads=1", "--ray", cluster.address, *options],
            cwd=ROOT,
        )  # fmt: skip
        while child.poll() is None and not (target.exists() and target.stat().st_size):
            time.sleep(0.1)
        cluster.remove_node(second, allow_graceful=False)
        assert child.wait(120) == 1, "one line is wrong"
    finally:
        cluster.shutdown()
    found = [str(answer["custom_id"]) for answer in read(target)]
    assert sorted(found) == sorted(["None", *(f"r{i}" for i in range(COUNT))])
    assert sum(answer["response"] is None for answer in read(target)) == 1


def test_a_cluster_that_is_not_there_is_said(demo_artifact: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(request("a"))
    command = [sys.executable, "-m", "bitnet_onnx", "batch", str(demo_artifact), str(source),
               "-o", str(tmp_path / "out.jsonl"), "--ray"]  # fmt: skip
    for address in ("auto", "nonsense://"):
        done = subprocess.run([*command, address], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 2, done.stderr
        assert "error: there is no Ray cluster at" in done.stderr
