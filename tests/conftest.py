"""Fixtures that several test files share, such as the bundled model, exported once a session."""

from __future__ import annotations

import copy
import functools
import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx_ir as ir
import onnxruntime as ort
import pytest
from hypothesis import settings
from torch.onnx._internal.exporter._constants import TORCHLIB_OPSET
from torch.onnx._internal.exporter._registration import ONNXRegistry

from bitnet_onnx.exporter import embedding
from bitnet_onnx.exporter import trace as trace_module
from bitnet_onnx.exporter.tracing.repeated import content
from bitnet_onnx.runtime import open as open_module
from tests.support.paths import DEMO, ROOT

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# Tests do not depend on time: a busy machine must not make one fail.
settings.register_profile("bitnet_onnx", deadline=None)
settings.load_profile("bitnet_onnx")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run files with slow tests first, so that the last worker does not end with one."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """Leave what the imports made out of later collections, a tenth of the time of an export."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _one_registry() -> Iterator[None]:
    """Give each export a copy of torch's table of operators, which takes a quarter of a second."""
    made, tables = ONNXRegistry.from_torchlib, dict[int, ONNXRegistry]()

    def copied(_: type[ONNXRegistry], opset_version: int = TORCHLIB_OPSET) -> ONNXRegistry:
        if opset_version not in tables:
            tables[opset_version] = made(opset_version)
        found = copy.copy(tables[opset_version])
        found.functions = {name: list(known) for name, known in found.functions.items()}
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", classmethod(copied))
        yield


@pytest.fixture(scope="session", autouse=True)
def _one_trace() -> Iterator[None]:
    """Let torch trace equal networks once: it takes three quarters of the time of an export."""
    made, graphs = trace_module.traced, dict[str, ir.Model]()

    @functools.wraps(made)
    def copied(network: Any, example: Any, shapes: Any, inputs: Any, outputs: Any) -> ir.Model:
        given = [(tensor.shape, tensor.dtype) for tensor in example]
        # A graph depends on nothing else: a network on the meta device has no weights.
        key = repr((content(network), given, shapes, list(inputs), list(outputs)))
        assert " object at 0x" not in key  # an address, which another object may have later
        if key not in graphs:
            graphs[key] = made(network, example, shapes, inputs, outputs)
        return graphs[key].clone()

    with pytest.MonkeyPatch.context() as patch:
        for module in (trace_module, embedding):
            patch.setattr(module, "traced", copied)
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_spinning() -> Iterator[None]:
    """Let threads of ONNX Runtime sleep while they wait: they took the core of another worker."""
    made = open_module._options

    def quiet(threads: int) -> ort.SessionOptions:
        options = made(threads)
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return options

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(open_module, "_options", quiet)
        yield


@pytest.fixture(scope="session")
def demo_checkpoint() -> Path:
    """Return the bundled model in the published packed layout."""
    return DEMO


@pytest.fixture(scope="session")
def demo_artifact(demo_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export the bundled model by ``bitnet-onnx export``."""
    from bitnet_onnx.cli.main import main

    artifact = tmp_path_factory.mktemp("artifacts") / "demo"
    assert not main(["export", str(demo_checkpoint), "-o", str(artifact)])
    return artifact


@pytest.fixture(scope="session")
def built_page() -> Path:
    """Return the page for browsers, which ``make test`` builds."""
    page = ROOT / "bitnet_onnx" / "web"
    if not (page / "index.html").is_file():
        pytest.skip("the page is not built: make web")
    return page


@pytest.fixture(scope="module", params=["tied", "untied"])
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """Make a tiny checkpoint and its artifact: tied with a bf16 head, or untied with int8."""
    from tests.support import checkpoints

    options = {"tied": checkpoints.TIED, "untied": checkpoints.UNTIED}[request.param]
    return checkpoints.exported(tmp_path_factory, **options)
