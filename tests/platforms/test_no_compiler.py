"""A machine without a C++ compiler and CMake: `make demo` takes PyPI's ziglang and cmake."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.environment import no_network
from tests.support.paths import ROOT

LIBRARY = "bitnet_onnx/lib/libbitnet_onnx_ops.so"
BUILDS = re.compile(r"(^|-)(cc|c\+\+|c89|c99|gcc|g\+\+|clang|clang\+\+|cmake)(-[\d.]+)?$")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="builds for Linux"),
    pytest.mark.skipif(not shutil.which("git"), reason="no git: its list is what a clone holds"),
]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The tracked files alone, as a clone has them."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in filter(os.path.isfile, (ROOT / n for n in listed.stdout.splitlines())):
        copy = tmp_path / "checkout" / Path(name).relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(name, copy)
    return tmp_path / "checkout"


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder of links to every program of this machine that does not build C++."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for place in ("/usr/local/bin", "/usr/bin", "/bin"):
        for program in Path(place).iterdir():
            link = folder / program.name
            if not BUILDS.search(program.name) and not link.is_symlink():
                link.symlink_to(program)
    return folder


def test_make_builds_the_library_with_ziglang(checkout: Path, programs: Path) -> None:
    ours = ("CXX", "CC", "PYTHONPATH", "VIRTUAL_ENV", "BITNET_ONNX_LIBRARY", "MAKEFLAGS")
    environment = {k: v for k, v in os.environ.items() if k not in ours}
    done = subprocess.run(
        ["make", LIBRARY],
        cwd=checkout,
        env=environment | {"PATH": str(programs)},
        capture_output=True,
        text=True,
    )
    if done.returncode and no_network(done.stdout + done.stderr):
        pytest.skip("pip cannot get ziglang: no package index answers")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ziglang" in (checkout / "build/dev/CMakeCache.txt").read_text()

    best = "from bitnet_onnx import native; print(native.kernels()[-1])"
    found = [
        subprocess.run(
            [sys.executable, "-c", best],
            cwd=ROOT,
            env=environment | {"BITNET_ONNX_LIBRARY": str(library)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for library in (checkout / LIBRARY, ROOT / LIBRARY)
    ]
    assert found[0] == found[1] != ""
