"""The vectors that TypeScript and C++ replay are what Python computes now."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from bitnet_onnx.exporter.export import export
from mobile_demo.vectors import make
from tests.support.native.edge import onnxruntime_library, program
from tests.support.paths import DEMO, ROOT


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(DEMO, tmp_path_factory.mktemp("stock") / "artifact", target="stock")


def test_the_vectors_are_pythons(artifact: Path) -> None:
    """Renew them with: python -m mobile_demo.vectors.make."""
    for name, content in make.made(artifact).items():
        assert (make.VECTORS.parent / name).read_text("utf-8") == content, name


def test_the_engine_for_native_apps_replays_every_kind(artifact: Path) -> None:
    """As web/ does; each has a table of the kinds, and fails at one that the table lacks."""
    call = [program("chat_vectors_test"), ROOT, artifact, onnxruntime_library()]
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == list(json.loads(make.VECTORS.read_text("utf-8")))


def test_a_kind_that_the_engine_does_not_replay_fails(tmp_path: Path) -> None:
    vectors = json.loads(make.VECTORS.read_text("utf-8"))
    first = next(iter(vectors))
    without = {kind: value for kind, value in vectors.items() if kind != first}
    for changed in (vectors | {"other": []}, without, without | {"other": []}):
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        (root / "mobile_demo" / "vectors").mkdir(parents=True)
        (root / "mobile_demo" / "vectors" / make.VECTORS.name).write_text(json.dumps(changed))
        (root / "mobile_demo" / "vectors" / make.CHAT.name).symlink_to(make.CHAT)
        (root / "bitnet_onnx").mkdir()
        (root / "bitnet_onnx" / "demo").symlink_to(DEMO)
        done = subprocess.run([program("chat_vectors_test"), root], capture_output=True, text=True)
        assert done.returncode == 1, done.stderr
