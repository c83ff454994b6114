"""Folders of the checkout."""

from __future__ import annotations

from pathlib import Path

__all__ = ["DEMO", "PACKAGE", "ROOT"]

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "bitnet_onnx"
DEMO = PACKAGE / "demo"
