"""What the engine for native apps adds to an app, beside the custom operators."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.paths import ROOT

MOST = 160_000  # bytes


@pytest.mark.slow
def test_the_engine_is_small(tmp_path: Path) -> None:
    """The file that is shipped: the shared library for releases, stripped, with every function of
    bitnet_edge.h, and without the operators, which are a library beside it then."""
    compiler = os.environ.get("CXX") or shutil.which("c++") or "none"
    if "Free Software Foundation" not in version(compiler):
        pytest.skip("the bar is for GCC: other compilers cannot link the engine as a whole here")
    options = ("-DCMAKE_BUILD_TYPE=Release", "-DBITNET_EDGE_OPERATORS=loaded")
    cmake = shutil.which("cmake") or "cmake"
    source = ROOT / "mobile_demo" / "engine"
    subprocess.run([cmake, "-S", source, "-B", tmp_path, *options], check=True)
    subprocess.run([cmake, "--build", tmp_path, "--target", "bitnet_edge", "-j2"], check=True)
    library = tmp_path / "libbitnet_edge.so"
    assert library.stat().st_size <= MOST
    names = subprocess.run(
        ["nm", "-D", "--defined-only", "-P", library], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    header = (source / "bitnet_edge.h").read_text("utf-8")
    assert len(names) > 10
    assert all(name.split()[0] + "(" in header for name in names)


def version(compiler: str) -> str:
    try:
        return subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout
    except OSError:
        return ""
