"""A figure of matplotlib, which is an extra."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figure(width: float, height: float) -> Figure:
    """Size in inches. Exit code 2 without matplotlib; tables are written before."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        print("error: no plot without matplotlib: pip install 'bitnet-onnx[bench]'")
        raise SystemExit(2) from None
    return Figure(figsize=(width, height), layout="constrained")
