"""The vectors that TypeScript and C++ replay are what Python computes now."""

from __future__ import annotations

from pathlib import Path

from bitnet_onnx.exporter.export import export
from mobile_demo.vectors import make
from tests.support.paths import DEMO


def test_the_vectors_are_pythons(tmp_path: Path) -> None:
    """Renew them with: python -m mobile_demo.vectors.make."""
    artifact = export(DEMO, tmp_path / "artifact", target="stock")
    for name, content in make.made(artifact).items():
        assert (make.VECTORS.parent / name).read_text("utf-8") == content, name
