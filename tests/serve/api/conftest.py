"""One server for all tests of the endpoints: the bundled model, and it with a template of tools."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import bitnet_onnx
from bitnet_onnx.generation.model import Model

if TYPE_CHECKING:
    from tests.support.serve.serving import Served


@pytest.fixture(scope="session")
def server(demo_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    for package in ("starlette", "uvicorn", "prometheus_client", "httpx"):
        pytest.importorskip(package)
    from tests.support.serve.serving import served, with_template

    calling = with_template(demo_artifact, tmp_path_factory.mktemp("served") / "calling")
    with served({"demo": demo_artifact, "calling": calling}) as found:
        yield found


@pytest.fixture(scope="session")
def alone(demo_artifact: Path) -> Iterator[Model]:
    """Return the bundled model, which nobody serves."""
    with bitnet_onnx.load(demo_artifact, threads=1) as model:
        assert isinstance(model, Model)
        yield model
