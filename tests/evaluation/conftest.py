"""One tiny network for the tests of this folder: checkpoint, artifact, transformers' own."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bitnet_onnx.exporter.export import export
from tests.support.evaluation import networks


class Tiny(NamedTuple):
    checkpoint: Path
    artifact: Path
    network: Any


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    folder = tmp_path_factory.mktemp("evaluation")
    (folder / "checkpoint").mkdir()
    network = networks.write(folder / "checkpoint")
    export(folder / "checkpoint", folder / "artifact")
    return Tiny(folder / "checkpoint", folder / "artifact", network)
