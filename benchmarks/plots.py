"""Figures of matplotlib, an optional package."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figure(width: float, height: float) -> Figure:
    """Return a figure, sized in inches; exit with 2 without matplotlib, after the tables."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        print("error: a plot needs matplotlib: pip install 'bitnet-onnx[bench]'")
        raise SystemExit(2) from None
    return Figure(figsize=(width, height), layout="constrained")
