"""What the clients are asked, and of which folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from bitnet_onnx.exporter import export as export_module
from tests.support import clients
from tests.support.paths import DEMO

SPLIT = 500_000  # bytes: the bundled model then has three data files


@pytest.fixture(scope="session")
def stock_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_module.export(DEMO, tmp_path_factory.mktemp("stock") / "artifact", target="stock")


@pytest.fixture(scope="session")
def split_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stock artifact of three data files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export_module, "PART", SPLIT)
        folder = tmp_path_factory.mktemp("split") / "artifact"
        return export_module.export(DEMO, folder, target="stock")


@pytest.fixture(scope="session")
def cases(demo_artifact: Path) -> clients.Cases:
    """What the bundled model is asked, and what it answers through bitnet_onnx."""
    return clients.ours(demo_artifact)
